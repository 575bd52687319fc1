"""Facts on two time axes."""

from __future__ import annotations

from pathlib import Path

import pytest

from embodmem.config import SemanticConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.semantic import Fact, SemanticMemory
from embodmem.store import Store
from embodmem.types import Event, Query


@pytest.fixture
def memory(records: Records) -> SemanticMemory:
    return SemanticMemory(records)


def said(facts: list[Fact]) -> list[str]:
    return [f"{f.subject} {f.relation} {f.object}" for f in facts]


def spans(facts: list[Fact]) -> list[tuple[str, int, int | None]]:
    return [(f.object, f.valid_from_ns, f.valid_until_ns) for f in facts]


def test_a_new_object_supersedes_the_old_one(memory: SemanticMemory) -> None:
    memory.assert_fact("mug", "on", "table", valid_from_ns=10)
    memory.assert_fact("mug", "on", "shelf", valid_from_ns=20)
    assert said(memory.facts()) == ["mug on shelf"]
    assert spans(memory.history("mug")) == [("table", 10, 20), ("shelf", 20, None)]
    assert [f.text for f in memory.history("mug")] == ["mug was on table", "mug is on shelf"]


def test_what_already_holds_changes_nothing(memory: SemanticMemory) -> None:
    first = memory.assert_fact("mug", "on", "table", valid_from_ns=10)
    assert memory.assert_fact("mug", "on", "table", valid_from_ns=30, confidence=0.2) == first
    assert spans(memory.history("mug")) == [("table", 10, None)]
    assert memory.facts()[0].confidence == 1.0


def test_relations_of_several_objects_and_of_one(memory: SemanticMemory) -> None:
    for thing in ("milk", "tea"):
        memory.assert_fact("ann", "likes", thing, valid_from_ns=1)
        memory.assert_fact("ann", "in", f"room of {thing}", valid_from_ns=1)
    assert said(memory.facts("ann")) == ["ann likes milk", "ann likes tea", "ann in room of tea"]


def test_what_is_in_the_drawer_is_on_the_desk_no_more(memory: SemanticMemory) -> None:
    memory.assert_fact("keys", "in", "office", valid_from_ns=5)
    memory.assert_fact("keys", "on", "desk", valid_from_ns=10)
    assert sorted(said(memory.facts("keys"))) == ["keys in office", "keys on desk"]  # a room holds the desk, too
    memory.assert_fact("keys", "in", "drawer", valid_from_ns=20)
    assert said(memory.facts("keys")) == ["keys in drawer"]
    assert sorted(said(memory.facts_at(15, None, "keys"))) == ["keys in office", "keys on desk"]
    memory.assert_fact("keys", "on", "table", valid_from_ns=30)
    assert said(memory.facts("keys")) == ["keys on table"]
    memory.rules.rooms = lambda: ("library",)  # a room that the scene knows
    memory.assert_fact("keys", "in", "library", valid_from_ns=40)
    assert sorted(said(memory.facts("keys"))) == ["keys in library", "keys on table"]


def test_disjoint_relations_stay_apart(memory: SemanticMemory) -> None:
    memory.assert_fact("mug", "on", "table", valid_from_ns=10)
    memory.assert_fact("mug", "in", "kitchen", valid_from_ns=10)
    memory.assert_fact("mug", "colour", "red", valid_from_ns=10)
    memory.assert_fact("book", "on", "table", valid_from_ns=10)
    memory.assert_fact("mug", "held by", "robot", valid_from_ns=20)  # excludes "on", and nothing else
    assert said(memory.facts("mug")) == ["mug in kitchen", "mug colour red", "mug held by robot"]
    assert said(memory.facts(relation="on")) == ["book on table"]
    assert said(memory.facts(object="table")) == ["book on table"]
    assert memory.retract("mug", "in", until_ns=30) == 1
    assert said(memory.facts("mug")) == ["mug colour red", "mug held by robot"]
    memory.assert_fact("mug", "on", "shelf", valid_from_ns=40)
    assert said(memory.facts("mug")) == ["mug colour red", "mug on shelf"]
    assert spans(memory.history("mug", "held by")) == [("robot", 20, 40)]


def test_relations_of_another_configuration(records: Records) -> None:
    memory = SemanticMemory(records, SemanticConfig(single_valued=("capital",), exclusive=(("open", "shut"),)))
    for n, (subject, relation, object) in enumerate(
        [("a", "capital", "x"), ("a", "capital", "y"), ("a", "on", "x"), ("a", "on", "y"), ("door", "open", "yes")]
    ):
        memory.assert_fact(subject, relation, object, valid_from_ns=n)
    memory.assert_fact("door", "shut", "yes", valid_from_ns=9)
    assert said(memory.facts()) == ["a capital y", "a on x", "a on y", "door shut yes"]


def test_retracting(memory: SemanticMemory) -> None:
    memory.assert_fact("mug", "on", "table", valid_from_ns=10)
    assert memory.retract("mug", "under", until_ns=20) == 0
    assert memory.retract("mug", "on", until_ns=20) == 1
    assert memory.retract("mug", "on", until_ns=30) == 0
    assert memory.facts("mug") == []
    assert spans(memory.history("mug")) == [("table", 10, 20)]
    memory.assert_fact("mug", "on", "table", valid_from_ns=50)
    assert spans(memory.history("mug")) == [("table", 10, 20), ("table", 50, None)]


def test_what_is_learnt_late_cuts_what_had_ended_since(memory: SemanticMemory) -> None:
    memory.assert_fact("mug", "on", "table", valid_from_ns=10)
    memory.assert_fact("mug", "on", "shelf", valid_from_ns=20)
    memory.assert_fact("mug", "on", "floor", valid_from_ns=30)
    memory.assert_fact("mug", "on", "chair", valid_from_ns=15, known_from_ns=40)
    assert spans(memory.history("mug")) == [("table", 10, 15), ("chair", 15, None)]
    assert [f.text for f in memory.history("mug")] == ["mug was on table", "mug is on chair"]
    assert [f.object for t in (12, 17, 25, 35) for f in memory.facts_at(t)] == ["table", "chair", "chair", "chair"]
    before = [f.object for t in (12, 17, 25, 35) for f in memory.facts_at(t, known_ns=39)]
    assert before == ["table", "table", "shelf", "floor"]  # what was believed before stays to be asked
    texts = sorted(item.text for item in memory.recall("mug", 10))
    assert texts == ["mug is on chair", "mug was on table"]


def test_clocks_out_of_order_turn_no_belief_around(path: Path) -> None:
    store = Store(path)
    memory = SemanticMemory(Records(store, None))
    memory.write(Event(stamp_ns=100, kind="pick", text="took the mug", objects=("mug",), agent="ann"))
    memory.write(Event(stamp_ns=40, kind="place", text="put it down", objects=("mug",), agent="bob"))  # his clock
    assert said(memory.facts()) == ["mug held by ann"]  # it began after that, and stays
    memory.assert_fact("mug", "on", "table", valid_from_ns=50)
    assert spans(memory.history("mug")) == [("table", 50, 100), ("ann", 100, None)]
    assert [f.known_from_ns for f in memory.history("mug")] == [100, 100]
    with pytest.raises(InvalidInput), store.transaction():
        memory.assert_fact("book", "on", "table", valid_from_ns=900)
        memory.assert_fact("book", "on", " ", valid_from_ns=900)
    memory.assert_fact("book", "on", "table", valid_from_ns=60)
    assert memory.facts("book")[0].known_from_ns == 100  # and not 900, which was rolled back
    store.close()
    store = Store(path)
    memory = SemanticMemory(Records(store, None))
    memory.retract("mug", "on", until_ns=70)
    with store.read() as db:
        rows = db.execute("SELECT known_from_ns, known_until_ns FROM fact ORDER BY id").fetchall()
    assert rows == [(100, None), (100, 100), (100, None), (100, None)]
    store.close()


# The mug was put on the table at 10, which was seen at 12. At 30 somebody told that it had been moved to the shelf
# at 20. At 50 it was seen that it was gone since 40.
AS_OF = [
    # valid, known, answer
    (5, None, []),
    (10, None, ["table"]),
    (19, None, ["table"]),
    (20, None, ["shelf"]),
    (39, None, ["shelf"]),
    (40, None, []),
    (15, 11, []),
    (15, 12, ["table"]),
    (25, 29, ["table"]),
    (25, 30, ["shelf"]),
    (15, 30, ["table"]),
    (45, 30, ["shelf"]),
    (45, 49, ["shelf"]),
    (45, 50, []),
    (25, 50, ["shelf"]),
    (1000, 49, ["shelf"]),
    (9, 1000, []),
]


def told(memory: SemanticMemory) -> None:
    memory.assert_fact("mug", "on", "table", valid_from_ns=10, known_from_ns=12)
    memory.assert_fact("mug", "on", "shelf", valid_from_ns=20, known_from_ns=30)
    memory.retract("mug", "on", until_ns=40, known_ns=50)


@pytest.mark.parametrize("valid, known, answer", AS_OF)
def test_as_of(memory: SemanticMemory, valid: int, known: int | None, answer: list[str]) -> None:
    memory.assert_fact("book", "on", "floor", valid_from_ns=0)
    told(memory)
    assert [f.object for f in memory.facts_at(valid, known, subject="mug")] == answer
    both = memory.facts_at(valid, known)
    assert {f.object for f in both if f.subject == "mug"} == set(answer)
    assert [f.object for f in both if f.subject == "book"] == ["floor"]


def test_what_was_believed_stays_after_a_restart(path: Path) -> None:
    store = Store(path)
    told(SemanticMemory(Records(store, None)))
    store.close()
    store = Store(path, "r")
    memory = SemanticMemory(Records(store, None))
    for valid, known, answer in AS_OF:
        assert [f.object for f in memory.facts_at(valid, known)] == answer
    store.close()


def test_events_state_who_holds_what(memory: SemanticMemory) -> None:
    memory.assert_fact("mug", "on", "table", valid_from_ns=1)
    memory.write(Event(stamp_ns=10, kind="pick", text="picked up the mug", objects=("mug",), agent="ann"))
    assert said(memory.facts()) == ["mug held by ann"]
    memory.write(Event(stamp_ns=20, kind="told", text="the mug is nice", objects=("mug",), agent="ann"))
    memory.write(Event(stamp_ns=30, kind="place", text="put it down", objects=("mug",), agent="ann"))
    assert memory.facts() == []
    memory.write(Event(stamp_ns=40, kind="pick", text="picked it up", objects=("mug", "spoon")))
    assert said(memory.facts()) == ["mug held by robot", "spoon held by robot"]
    memory.write(Event(stamp_ns=50, kind="drop", text="dropped the spoon", objects=("spoon",)))
    assert said(memory.facts()) == ["mug held by robot"]
    assert spans(memory.history("mug")) == [("table", 1, 10), ("ann", 10, 30), ("robot", 40, None)]


def test_facts_are_recalled_in_words_and_only_what_is_believed(memory: SemanticMemory) -> None:
    memory.assert_fact("object:3", "on", "object:7", valid_from_ns=10, names=("mug", "oak table"))
    memory.assert_fact("object:3", "on", "object:8", valid_from_ns=20, names=("mug", "shelf"))
    texts = [item.text for item in memory.recall("mug", 10)]
    assert sorted(texts) == ["mug is on shelf", "mug was on oak table"]  # closed facts once, in the past tense
    for label in ("mug", "object:3", "Oak Table", "object:7"):
        assert memory.recall(Query(labels=(label,))), label
    item = memory.recall("shelf", 1)[0]
    assert dict(item.data) == {
        "subject": "object:3",
        "relation": "on",
        "object": "object:8",
        "valid_from_ns": 20,
        "valid_until_ns": None,
        "known_from_ns": 20,
    }


def test_evidence_stays_with_the_fact(records: Records) -> None:
    from embodmem.episodic import EpisodicMemory

    episodic, memory = EpisodicMemory(records), SemanticMemory(records)
    number = episodic.add_event(Event(stamp_ns=1, kind="told", text="ann said so"))
    memory.assert_fact("mug", "on", "table", valid_from_ns=1, evidence=[number])
    memory.retract("mug", "on", until_ns=5)
    assert memory.recall("mug", 1)[0].evidence == (f"event:{number}",)
    episodic.forget(Query(text="ann said so"))
    assert memory.recall("mug", 1)[0].evidence == ()


def test_forgetting_takes_the_history_along(memory: SemanticMemory) -> None:
    told(memory)
    memory.assert_fact("book", "on", "floor", valid_from_ns=0)
    assert memory.forget(Query(labels=("mug",))) == 4  # what was said, and how each of the two ended
    assert memory.history("mug") == [] and memory.facts_at(25, 29, subject="mug") == []
    assert said(memory.facts()) == ["book on floor"]


@pytest.mark.parametrize(
    "subject, relation, object, confidence",
    [("", "on", "b", 1.0), ("a", " ", "b", 1.0), ("a", "on", "", 1.0), ("a", "on", "b", 1.5), ("a", "on", "b", -0.1)]
    + [("a", "on", "b", float("nan"))],
)
def test_what_is_refused(memory: SemanticMemory, subject: str, relation: str, object: str, confidence: float) -> None:
    with pytest.raises(InvalidInput, match="wanted subject, relation, object and confidence"):
        memory.assert_fact(subject, relation, object, valid_from_ns=1, confidence=confidence)
    assert memory.facts() == []


def test_times_are_whole_nanoseconds(memory: SemanticMemory) -> None:
    for bad in (1.5, -1, 2**63, None, "1"):
        with pytest.raises(InvalidInput, match="valid_from_ns"):
            memory.assert_fact("a", "on", "b", valid_from_ns=bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="until_ns"):
            memory.retract("a", "on", until_ns=bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="known_from_ns"):
        memory.assert_fact("a", "on", "b", valid_from_ns=1, known_from_ns=0.5)  # type: ignore[arg-type]


def test_the_encoder_hears_of_facts(path: Path) -> None:
    store = Store(path)
    memory = SemanticMemory(Records(store, HashingEncoder()))
    memory.assert_fact("mug", "on", "table", valid_from_ns=1)
    assert "meaning" in memory.recall("where is the mug", 1)[0].why
    store.close()
