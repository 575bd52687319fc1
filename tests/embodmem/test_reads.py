"""Typed reads of what happened, and the filters and choices of a query that came with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem import EmbodiedMemory, Event, Query, Recall
from embodmem.config import Config, SpatialConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import InvalidInput
from embodmem.index.choose import spread

S = 10**9


@pytest.fixture
def memory() -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory(config=Config(spatial=SpatialConfig(budget_mib=1)), encoder=HashingEncoder(64)) as memory:
        yield memory


def at(x: float) -> np.ndarray:
    T = np.eye(4)
    T[0, 3] = x
    return T


def fill(memory: EmbodiedMemory) -> None:
    memory.scene.add_room("kitchen", (-1, -1, -1), (1, 1, 1))
    memory.scene.add_room("study", (4, -1, -1), (6, 1, 1))
    for i, (kind, text, x) in enumerate(
        (("pick", "picked the mug", 0.0), ("place", "placed the mug", 5.0), ("pick", "picked the book", 5.0),
         ("wait", "waited", 0.2), ("pick", "picked the mug", 0.1))
    ):  # fmt: skip
        event = Event(stamp_ns=i * 100 * S, kind=kind, text=text, T_world_body=at(x), until_ns=(i * 100 + 30) * S)
        memory.write(event)


def test_first_last_before_after(memory: EmbodiedMemory) -> None:
    fill(memory)
    episodic, picks = memory.episodic, Query(kinds=("pick",))
    first, last = episodic.first(picks), episodic.last(picks)
    assert first is not None and last is not None
    assert (first.first_seen_ns, last.first_seen_ns) == (0, 400 * S)
    assert episodic.first(Query(kinds=("never",))) is None
    assert [i.text for i in episodic.before(250 * S, k=2)] == ["picked the book", "placed the mug"]
    assert [i.first_seen_ns for i in episodic.before(220 * S, picks)] == [0]  # the one at 200 had not ended
    assert [i.first_seen_ns for i in episodic.after(0, picks, k=5)] == [200 * S, 400 * S]
    assert episodic.after(400 * S) == [] and episodic.before(0) == []
    assert episodic.before(100 * S, Query(between_ns=(150 * S, None))) == []


def test_how_often_and_how_long(memory: EmbodiedMemory) -> None:
    fill(memory)
    memory.write(Event(stamp_ns=410 * S, kind="pick", text="picked both", until_ns=420 * S))
    assert memory.episodic.how_often(Query(kinds=("pick",))) == 4
    assert memory.episodic.how_often(Query(kinds=("pick",), place="kitchen")) == 2
    assert memory.episodic.how_long_s(Query(kinds=("pick",))) == pytest.approx(90.0)  # the last went on within another
    assert memory.episodic.how_long_s(Query(kinds=("never",))) == 0.0


def test_been_here(memory: EmbodiedMemory) -> None:
    fill(memory)
    visits = memory.episodic.been_here((0.0, 0.0, 0.0), 1.0, pause_s=100.0)
    assert [(v.from_ns // S, v.until_ns // S, len(v.ids)) for v in visits] == [(0, 30, 1), (300, 430, 2)]
    assert memory.episodic.been_here((50.0, 0.0, 0.0), 1.0) == []
    with pytest.raises(InvalidInput, match="above 0 m"):
        memory.episodic.been_here((0, 0, 0), 0.0)


def test_a_place_is_a_filter(memory: EmbodiedMemory) -> None:
    fill(memory)
    found = {i.text for i in memory.recall(Query(text="picked", place="Study", kinds=("event",)))}
    assert "picked the book" in found and "picked the mug" not in found
    found = {i.text for i in memory.recall(Query(place="study", kinds=("event",)))}
    assert found == {"placed the mug", "picked the book"}
    assert memory.recall(Query(text="mug", place="attic")) == []


def test_what_was_known_then(memory: EmbodiedMemory) -> None:
    facts = memory.semantic
    facts.assert_fact("mug", "on", "desk", valid_from_ns=10, known_from_ns=10)
    facts.assert_fact("mug", "on", "shelf", valid_from_ns=50, known_from_ns=50)
    memory.write(Event(stamp_ns=60, kind="told", text="the mug is mine"))

    def known(as_of_ns: int | None) -> set[str]:
        return {i.text for i in memory.recall(Query(text="mug", as_of_ns=as_of_ns), 20) if i.kind in ("fact", "event")}

    assert known(5) == set() and known(10) == {"mug is on desk"} and known(49) == {"mug is on desk"}
    assert known(55) == {"mug was on desk", "mug is on shelf"}
    assert known(60) == known(None) == {"mug was on desk", "mug is on shelf", "the mug is mine"}


def test_answers_apart_in_time_and_in_words(memory: EmbodiedMemory) -> None:
    for i in range(20):
        memory.write(Event(stamp_ns=i * 10 * S, kind="told", text=f"the red mug is on the table {i % 2}"))
    memory.write(Event(stamp_ns=300 * S, kind="told", text="a mug was broken in the garden"))
    plain = memory.recall(Query(text="red mug", kinds=("event",)), 3)
    assert all("table" in i.text for i in plain)
    apart = memory.recall(Query(text="red mug", kinds=("event",), min_gap_s=60.0), 4)
    stamps = sorted(i.first_seen_ns for i in apart)
    assert len(apart) == 4 and min(np.diff(stamps)) >= 60 * S
    diverse = memory.recall(Query(text="red mug", kinds=("event",), diversity=0.7), 3)
    assert diverse[0].text.startswith("the red mug") and any("garden" in i.text for i in diverse)
    for wrong in ({"min_gap_s": -1.0}, {"diversity": 1.5}):
        with pytest.raises(InvalidInput, match="min_gap_s from 0"):
            Query(**wrong)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 40), st.sampled_from(["a b", "a c", "d e f"])), max_size=15),
    st.integers(1, 8),
    st.one_of(st.just(0.0), st.floats(0.01, 200)),
    st.floats(0, 1),
)
def test_spread_keeps_its_word(rows: list[tuple[int, int, str]], k: int, gap_s: float, diversity: float) -> None:
    items = [
        Recall(
            kind="event", id=f"event:{i}", score=1.0 / (1 + i), position=None, first_seen_ns=s * S,
            last_seen_ns=(s + long) * S, label="", text=text,
        )
        for i, (s, long, text) in enumerate(rows)
    ]  # fmt: skip
    query = Query(min_gap_s=gap_s, diversity=diversity)
    chosen = spread(items, query, k)
    assert len(chosen) <= k and len({i.id for i in chosen}) == len(chosen)
    if gap_s:
        for a in chosen:
            for b in chosen:
                if a is not b:
                    assert max(b.first_seen_ns - a.last_seen_ns, a.first_seen_ns - b.last_seen_ns) >= int(gap_s * 1e9)
    if items:
        assert chosen[0].id == "event:0"
    if not gap_s:
        assert len(chosen) == min(k, len(items))
