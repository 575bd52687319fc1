"""What an event bears: action, modality, a vector of its own, a content hash."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.agents import merge
from embodmem.config import Config, LifecycleConfig, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.encoders import HashingEncoder
from embodmem.episodic import EpisodicMemory
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.lifecycle import Lifecycle
from embodmem.store import Store
from embodmem.store.schema import STEPS, migrate
from embodmem.types import Event, Percept, Query

S, DAY = 10**9, 86_400 * 10**9
CONFIG = Config(spatial=SpatialConfig(budget_mib=1), lifecycle=LifecycleConfig(undo_s=0.0, repeat_s=10.0))


def opened(path: Path | None = None, dim: int = 64) -> EmbodiedMemory:
    return EmbodiedMemory(path, config=CONFIG, encoder=HashingEncoder(dim))


@pytest.fixture
def memory() -> Iterator[EmbodiedMemory]:
    with opened() as memory:
        yield memory


def unit(seed: int, dim: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def heard(stamp_ns: int, text: str = "a door slams", **more: object) -> Event:
    return Event(stamp_ns=stamp_ns, kind="heard", text=text, **more)  # type: ignore[arg-type]


def test_action_and_modality_are_kept_and_filter(memory: EmbodiedMemory) -> None:
    memory.write(heard(1, "the cup is in the hand", action="Grasp", modality="Touch"))
    memory.write(heard(2, "a cup falls", modality="sound"))
    (item,) = memory.recall(Query(action="grasp"))
    assert (item.data["action"], item.data["modality"]) == ("Grasp", "Touch")
    assert [i.text for i in memory.recall(Query(text="cup", modality="SOUND"))] == ["a cup falls"]
    assert memory.recall(Query(action="grasp", modality="sound")) == []
    assert len(memory.episodic.timeline(Query(action=""))) == 2  # what is left empty is open
    assert [i.text for i in memory.episodic.timeline(Query(modality="touch"))] == ["the cup is in the hand"]
    assert memory.forget(Query(modality="sound")) > 0
    assert [i.text for i in memory.episodic.timeline()] == ["the cup is in the hand"]


def test_an_event_is_found_by_the_vector_it_came_with(memory: EmbodiedMemory) -> None:
    for i in range(5):
        memory.write(heard(i, f"noise {i}", embedding=unit(i, 32), embedding_model="ears"))
    memory.write(heard(5, "noise 5"))
    best = memory.recall(Query(embedding=unit(3, 32), embedding_model="ears"), k=2)
    assert best[0].text == "noise 3" and best[0].why["episodic.meaning"] == pytest.approx(1.0)
    assert (best[0].data["embedding_model"], best[0].data["embedding_dim"]) == ("ears", 32)
    only = memory.recall(Query(embedding=unit(3, 32), embedding_model="ears", between_ns=(4, 9)), k=5)
    assert [item.text for item in only] == ["noise 4"]  # filters come first, and what has no such vector is no answer
    model, vector = memory.episodic.embedding_of(best[0].id) or ("", np.zeros(0))
    assert model == "ears" and np.array_equal(vector, unit(3, 32))
    assert memory.recall(Query(embedding=unit(3, 7), embedding_model="eyes")) == []


def test_a_vector_of_the_encoders_own_model_takes_the_place_of_the_texts(tmp_path: Path) -> None:
    name = HashingEncoder(64).name
    for model, file in (("", "a.mem"), (name, "b.mem")):
        with opened(tmp_path / file) as memory:
            memory.write(heard(1, "a door slams", embedding=unit(1, 64), embedding_model=model))
            assert memory.recall(Query(embedding=unit(1, 64)))[0].why["episodic.meaning"] == pytest.approx(1.0)
            assert memory.recall("door")[0].data["embedding_model"] == name
    with opened(tmp_path / "a.mem", dim=32) as memory:  # another encoder: words again, and the old vector by its name
        assert memory.recall("door")[0].why.keys() >= {"episodic.words", "episodic.meaning", "working.words"} | {
            "working.meaning"
        }
        assert memory.recall(Query(embedding=unit(1, 64), embedding_model=name))[0].text == "a door slams"
    with opened(tmp_path / "a.mem") as memory:  # and back
        assert memory.recall(Query(embedding=unit(1, 64)))[0].why["episodic.meaning"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "dim, model, said",
    [(7, "", r"\(64,\).*or embedding_model.*got \(7,\)"), (7, "ears", r"\(32,\).*'ears'.*got \(7,\)")],
)
def test_another_dimension_is_an_error_and_nothing_is_kept(
    memory: EmbodiedMemory, dim: int, model: str, said: str
) -> None:
    memory.write(heard(1, embedding=unit(1, 32), embedding_model="ears"))
    with pytest.raises(InvalidInput, match=said):
        memory.write(heard(2, embedding=unit(2, dim), embedding_model=model))
    assert len(memory.episodic.timeline()) == 1 and memory.newest_stamp() == 1
    with pytest.raises(InvalidInput, match="wanted an embedding"):
        memory.recall(Query(embedding=unit(2, dim), embedding_model=model))


def test_without_an_encoder_the_model_has_to_be_named() -> None:
    memory = EpisodicMemory(Records(Store(), None))
    with pytest.raises(InvalidInput, match="wanted embedding_model"):
        memory.write(heard(1, embedding=unit(1, 8)))
    memory.write(heard(1, embedding=unit(1, 8), embedding_model="ears"))
    assert len(memory.recall(Query(embedding=unit(1, 8), embedding_model="ears"))) == 1
    memory.store.close()
    for wrong in ({"embedding_model": "ears"}, {"embedding": np.zeros(3)}, {"action": 3}):
        with pytest.raises(InvalidInput):
            heard(1, **wrong)
    with pytest.raises(InvalidInput, match="got none"):
        Query(embedding_model="ears")


def test_a_view_keeps_its_vector(memory: EmbodiedMemory) -> None:
    memory.write(Percept(stamp_ns=1, T_world_sensor=np.eye(4), embedding=unit(1, 16), embedding_model="clip"))
    (item,) = memory.recall(Query(embedding=unit(1, 16), embedding_model="clip"))
    assert item.kind == "keyframe" and item.data["embedding_dim"] == 16


texts = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=5, max_size=5), st.lists(texts, min_size=5, max_size=5))
def test_the_content_hash_tells_what_was_said(one: list[str], other: list[str]) -> None:
    def event(parts: list[str], stamp: int, agent: str) -> Event:
        kind, text, action, outcome, modality = parts
        return Event(
            stamp_ns=stamp,
            kind="k" + kind,
            text="t" + text,
            action=action,
            outcome=outcome,
            modality=modality,
            agent=agent,
            source=agent,
        )

    a, b = event(one, 1, "ann"), event(other, 2, "ben")
    assert (a.content_hash == b.content_hash) == (one == other)
    assert len(a.content_hash) == 32 and a.content_hash == event(one, 9, "x").content_hash
    seen = replace(a, embedding=unit(1, 8), embedding_model="ears")
    assert seen.content_hash != a.content_hash and replace(seen).content_hash == seen.content_hash


def test_what_says_the_same_is_found_by_its_hash(memory: EmbodiedMemory) -> None:
    memory.write(heard(1, objects=("door",)))
    memory.write(heard(2, "a door closes"))
    memory.write(heard(3, agent="ann"))
    said = heard(0).content_hash
    assert [item.first_seen_ns for item in memory.episodic.same_content(said)] == [1, 3]
    with pytest.raises(InvalidInput, match="in hex"):
        memory.episodic.same_content("door")


def test_what_differs_in_action_or_vector_does_not_go_on_a_run(memory: EmbodiedMemory) -> None:
    life = Lifecycle(memory)
    same = [heard(s * S, action="wait") for s in range(3)]
    other = [heard(3 * S, action="go"), heard(4 * S, embedding=unit(1, 8), embedding_model="ears")]
    assert [life.write(event) for event in (*same, *other)] == [True, False, False, True, True]


def test_all_of_it_is_kept_in_merging_and_gone_when_forgotten(tmp_path: Path) -> None:
    vector = unit(1, 24)
    with opened(tmp_path / "a.mem") as memory:
        life = Lifecycle(memory)
        for i in range(3):
            life.write(heard(i * 60 * S, action="wait", modality="sound", embedding=vector, embedding_model="ears"))
        assert life.run(now_ns=DAY).merged == 2
        life.run(now_ns=2 * DAY)  # the parts are gone for good
        query = Query(embedding=vector, embedding_model="ears", modality="sound", action="wait")
        (item,) = memory.recall(query)
        assert item.data["count"] == 3 and memory.episodic.same_content(item.data["content_hash"])[0].id == item.id
        with opened(tmp_path / "b.mem") as other:
            assert merge(other, memory).records == 1
            assert other.recall(query)[0].data["content_hash"] == item.data["content_hash"]
            assert other.episodic.same_content(item.data["content_hash"])
        state = memory.episodic.state_dict()
        copy = EpisodicMemory(Records(Store(), HashingEncoder(64)))
        copy.load_state_dict(state)
        assert copy.recall(query)[0].text == item.text
        copy.store.close()
        memory.forget(Query(modality="sound"))
        for file in tmp_path.glob("a.mem*"):
            assert vector.tobytes() not in file.read_bytes(), file


def test_a_purge_takes_the_vectors_too(tmp_path: Path) -> None:
    vector = unit(2, 24)
    with opened(tmp_path / "a.mem") as memory:
        memory.write(heard(1, embedding=vector, embedding_model="ears", source="stranger"))
        assert memory.purge("stranger") > 0
        for file in tmp_path.glob("a.mem*"):
            assert vector.tobytes() not in file.read_bytes(), file


def test_a_file_of_before_opens(path: Path) -> None:
    before = next(i for i, step in enumerate(STEPS) if "event_content" in step)
    db = sqlite3.connect(path)
    migrate(db, STEPS[:before])
    db.execute(
        "INSERT INTO record (kind, subkind, text, first_ns, last_ns, data) VALUES ('event', 'told', 'keys', 1, 1, '{}')"
    )
    db.commit()
    db.close()
    with opened(path) as memory:
        assert memory.recall("keys")[0].data == {"kind": "told"}
        memory.write(heard(2, embedding=unit(1, 8), embedding_model="ears"))
        assert len(memory.recall(Query(embedding=unit(1, 8), embedding_model="ears"))) == 1
