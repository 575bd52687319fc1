"""Links between events that are alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import Config, EpisodicConfig, NoteConfig, SpatialConfig, SummaryConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.encoders import HashingEncoder
from embodmem.episodic import EpisodicMemory
from embodmem.errors import ConfigError, InvalidInput
from embodmem.index import Records
from embodmem.store import Store
from embodmem.types import Event, Query

S, DAY = 10**9, 86_400 * 10**9


def settings_of(**notes: object) -> EpisodicConfig:
    return EpisodicConfig(summaries=SummaryConfig(scales_s=(), settle_s=0.0), notes=NoteConfig(**notes))  # type: ignore[arg-type]


@pytest.fixture
def memory() -> Iterator[EpisodicMemory]:
    memory = EpisodicMemory(Records(Store(), HashingEncoder(256)), settings_of(alike=0.4))
    yield memory
    memory.store.close()


def write(memory: EpisodicMemory, *texts: str, begin: int = 0, **more: object) -> None:
    for i, text in enumerate(texts, begin):
        memory.write(Event(stamp_ns=i * S, kind="told", text=text, **more))  # type: ignore[arg-type]


def consolidated(memory: EpisodicMemory, limit: int = 1000) -> None:
    while not memory.consolidate(DAY, limit)[1]:
        pass


def test_links_lead_both_ways_and_the_context_grows(memory: EpisodicMemory) -> None:
    write(memory, "Anna likes green tea", "the red chair is broken", "Anna drinks green tea in the garden")
    consolidated(memory)
    first, chair, third = (item.id for item in memory.timeline())
    assert [item.id for item in memory.linked(first)] == [third]  # the later one refers to it
    assert [item.id for item in memory.linked(third)] == [first] and memory.linked(chair) == []
    assert "garden" in memory.note(first).context and "garden" not in memory.note(first).keywords
    write(memory, "green tea in the garden is for Ben", begin=10, objects=("teapot",))
    consolidated(memory)
    assert {"ben", "teapot"} <= set(memory.note(third).context)
    assert memory.note(third).context[:2] == ("green", "tea")  # what all of them say comes first
    far = memory.linked(first, steps=2)
    assert [item.score for item in far] == sorted((item.score for item in far), reverse=True) and len(far) == 2


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["tea", "mug", "red", "chair", "Anna", "sofa"]), min_size=1, max_size=4), max_size=25
    ),
    st.integers(1, 30),
    st.integers(1, 3),
    st.integers(3, 40),
)
def test_the_links_are_those_of_all_products(texts: list[list[str]], limit: int, links: int, among: int) -> None:
    config = settings_of(alike=0.47, links=links, among=among)
    memory = EpisodicMemory(Records(Store(), HashingEncoder(64)), config)
    write(memory, *(" ".join(text) for text in texts))
    consolidated(memory, limit)
    with memory.store.read() as db:
        rows = db.execute("SELECT id, ref, score FROM note_link").fetchall()
        ids = [row[0] for row in db.execute("SELECT id FROM record WHERE kind = 'event' ORDER BY id")]
    memory.store.close()
    vectors = HashingEncoder(64).encode([" ".join(text) for text in texts])
    cosine = vectors @ vectors.T if len(texts) else np.zeros((0, 0))
    for i, number in enumerate(ids):
        mine = {ref: score for at, ref, score in rows if at == number}
        before = range(max(0, i - among) if limit == 1 else 0, i)
        able = sorted((float(cosine[i, j]) for j in before if 0.47 <= cosine[i, j] <= 0.9999), reverse=True)
        assert len(mine) <= links and all(ref < number for ref in mine)
        if among >= len(ids):  # all earlier ones are looked at
            assert np.allclose(sorted(mine.values(), reverse=True), able[:links], atol=1e-5)
        for ref, score in mine.items():
            assert score == pytest.approx(float(cosine[i, ids.index(ref)]), abs=1e-5)


def test_only_the_newest_are_looked_at(memory: EpisodicMemory) -> None:
    few = EpisodicMemory(Records(Store(), HashingEncoder(256)), settings_of(alike=0.4, among=2))
    write(few, "green tea with Anna", "one", "two", "three")
    consolidated(few)
    write(few, "green tea with Ben", begin=9)
    consolidated(few)
    assert few.linked(few.timeline()[0].id) == []
    few.store.close()


def test_links_go_with_either_end(tmp_path: Path) -> None:
    config = Config(spatial=SpatialConfig(budget_mib=1), episodic=settings_of(alike=0.4))
    with EmbodiedMemory(tmp_path / "m.mem", config=config, encoder=HashingEncoder(256)) as memory:
        for i, (text, source) in enumerate((("the xylophone is green", "stranger"), ("a green xylophone", "user"))):
            memory.write(Event(stamp_ns=i * S, kind="told", text=text, source=source))
        consolidated(memory.episodic)
        kept = memory.episodic.timeline()[1].id
        assert len(memory.episodic.note(kept).links) == 1
        copy = EpisodicMemory(Records(Store(), HashingEncoder(256)))
        copy.load_state_dict(memory.episodic.state_dict())
        assert len(copy.note(kept).links) == 1
        copy.store.close()
        memory.purge("stranger")
        note = memory.episodic.note(kept)
        assert note.links == () and set(note.context) == set(note.keywords)
        memory.forget(Query(text="xylophone"))
        with memory.store.read() as db:
            assert db.execute("SELECT count(*) FROM note_link").fetchone()[0] == 0


def test_what_is_refused_and_turned_off(memory: EpisodicMemory) -> None:
    write(memory, "tea")
    item = memory.timeline()[0].id
    for call in (lambda: memory.linked(item, 0), lambda: memory.linked(item, steps=0), lambda: memory.note("event:99")):
        with pytest.raises(InvalidInput):
            call()
    for wrong in ({"links": -1}, {"alike": 0.0}, {"among": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            NoteConfig(**wrong)
    off = EpisodicMemory(Records(Store(), HashingEncoder(64)), settings_of(links=0))
    write(off, "green tea", "green tea please")
    consolidated(off)
    assert off.linked(off.timeline()[0].id) == []
    off.store.close()
