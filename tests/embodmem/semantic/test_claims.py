"""Claims and what becomes of them: one example for each rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embodmem.config import RelationRule, SemanticConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.semantic import Claim, Fact, SemanticMemory
from embodmem.store import Store
from embodmem.store.schema import STEPS, migrate
from embodmem.types import Query

RULES = SemanticConfig(
    single_valued=("on", "in", "held by", "owner"),
    relations={
        "owner": RelationRule(keeps="strongest", min_confidence=0.1),
        "holds": RelationRule(inverse_of="held by"),
        "next to": RelationRule(symmetric=True),
    },
    trust={"radio": 0.25},
)


@pytest.fixture
def memory(records: Records) -> SemanticMemory:
    return SemanticMemory(records, RULES)


def said(
    memory: SemanticMemory, says: str = "holds", at: int | None = None, until: int | None = None, **more: Any
) -> str:
    parts = {"subject": "mug", "relation": "on", "object": "table"} | more
    claim = Claim(says=says, valid_from_ns=at, valid_until_ns=until, **parts)  # type: ignore[arg-type]
    return memory.update(claim).operation


def spans(facts: list[Fact]) -> list[tuple[str, int, int | None]]:
    return [(f.object, f.valid_from_ns, f.valid_until_ns) for f in facts]


def test_the_five_operations(memory: SemanticMemory) -> None:
    assert said(memory, at=10) == "ADD"
    assert said(memory, at=10) == "NOOP"
    assert said(memory, at=20, object="shelf") == "UPDATE"
    assert said(memory, "ended", until=30, object="") == "DELETE"
    assert said(memory, at=5, relation="owner", object="ann") == "ADD"
    assert said(memory, at=40, relation="owner", object="bob", source="radio") == "REJECT"
    decision = memory.update(
        Claim(subject="mug", relation="on", object="floor", valid_from_ns=25, source="ann", known_ns=50, place="hall")
    )
    assert decision.operation == "UPDATE" and "'mug was on shelf'" in decision.reason
    assert len(decision.made) == 2 and len(decision.closed) == 1  # the shelf anew, and the floor
    assert spans(memory.timeline("mug", "on")) == [("table", 10, 20), ("shelf", 20, 25), ("floor", 25, None)]
    fact = memory.value("mug", "on")
    assert fact is not None and (fact.id, fact.place, fact.source) == (decision.fact, "hall", "ann")


def test_what_was_true_of_march_leaves_today_alone(memory: SemanticMemory) -> None:
    said(memory, at=10)
    assert said(memory, at=30, until=40, object="shelf") == "UPDATE"
    assert spans(memory.timeline("mug", "on")) == [("table", 10, 30), ("shelf", 30, 40), ("table", 40, None)]
    assert said(memory, at=2, until=5, object="floor") == "ADD"
    assert said(memory, at=32, until=35, object="shelf") == "NOOP"
    assert [f.object for f in memory.facts("mug")] == ["table"]


def test_what_is_handed_in_late_finds_its_place(memory: SemanticMemory) -> None:
    said(memory, "ended", until=50)  # before anything is known that could end
    for at, where in ((30, "floor"), (10, "table"), (20, "shelf"), (15, "chair"), (40, "bed")):
        said(memory, at=at, object=where, seen_ns=at, known_ns=60)
    said(memory, "ended", until=25, object="", seen_ns=25, known_ns=70)
    said(memory, at=45, object="table", seen_ns=45, known_ns=70)
    line = [("table", 10, 15), ("chair", 15, 20), ("shelf", 20, 25), ("floor", 30, 40), ("bed", 40, 45)]
    assert spans(memory.timeline("mug", "on")) == [*line, ("table", 45, 50)]
    assert memory.value("mug", "on") is None
    assert memory.value("mug", "on", valid_ns=47).object == "table"  # type: ignore[union-attr]


def test_who_vouches_for_the_time_between(memory: SemanticMemory) -> None:
    said(memory, at=30, object="floor")
    assert said(memory, at=15, object="chair", known_ns=50) == "UPDATE"  # "since 15", said at 50
    assert spans(memory.timeline("mug", "on")) == [("chair", 15, None)]


def test_a_denial_brings_back_what_was_displaced(memory: SemanticMemory) -> None:
    said(memory, at=10)
    said(memory, at=20, object="shelf", source="radio")
    decision = memory.update(Claim(subject="mug", relation="on", object="shelf", says="never", known_ns=30))
    assert decision.operation == "DELETE" and "'mug is on shelf' was not so" in decision.reason
    assert spans(memory.timeline("mug", "on")) == [("table", 10, None)]
    assert [f.text for f in memory.facts("mug")] == ["mug is on table"]
    assert [f.object for f in memory.facts_at(25, 29)] == ["shelf"]  # what was believed then
    assert memory.update(Claim(subject="mug", relation="on", object="shelf", says="never")).operation == "NOOP"
    said(memory, "ended", until=40)  # an ending is another thing: it was so before
    assert spans(memory.timeline("mug", "on")) == [("table", 10, 40)]


def test_more_weight_decides_where_the_rule_says_so(memory: SemanticMemory) -> None:
    who: dict[str, Any] = {"relation": "owner"}
    assert said(memory, at=10, object="ann", **who) == "ADD"
    rejected = memory.update(Claim(subject="mug", relation="owner", object="bob", valid_from_ns=20, confidence=0.5))
    assert rejected.operation == "REJECT" and "'mug is owner ann' weighs more" in rejected.reason
    assert rejected.fact == memory.value("mug", "owner").id  # type: ignore[union-attr]
    assert said(memory, "ended", until=30, object="ann", source="radio", **who) == "REJECT"
    assert said(memory, "never", object="ann", confidence=0.9, known_ns=30, **who) == "REJECT"
    assert said(memory, at=5, object="eve", confidence=0.05, **who) == "REJECT"
    assert spans(memory.timeline("mug", "owner")) == [("ann", 10, None)]
    assert said(memory, at=20, object="bob", **who) == "UPDATE"  # of equal weight the newest
    assert said(memory, at=12, until=15, object="eve", confidence=0.5, **who) == "REJECT"


def test_confidence_rises_where_weight_counts(memory: SemanticMemory) -> None:
    said(memory, at=10, relation="owner", object="ann", confidence=0.4)
    assert said(memory, at=10, relation="owner", object="ann", confidence=0.9) == "UPDATE"
    assert [f.confidence for f in memory.facts("mug")] == [0.9]
    assert said(memory, at=10, relation="owner", object="ann", confidence=0.3) == "NOOP"
    assert said(memory, at=20, relation="owner", object="bob", confidence=0.8) == "REJECT"


def test_inverse_and_symmetric_relations_are_kept_once(memory: SemanticMemory) -> None:
    assert said(memory, at=10, subject="ann", relation="holds", object="mug", names=("Ann", "the mug")) == "ADD"
    assert said(memory, at=10, relation="held by", object="ann") == "NOOP"
    for facts in (memory.facts("ann", "holds"), memory.facts("mug", "held by"), memory.facts(None, "holds", "mug")):
        assert [(f.subject, f.relation, f.object) for f in facts] == [("mug", "held by", "ann")]
        assert facts[0].text == "the mug is held by Ann"
    assert memory.value("ann", "holds").subject == "mug"  # type: ignore[union-attr]
    assert said(memory, at=10, subject="sofa", relation="next to", object="lamp") == "ADD"
    assert said(memory, at=20, subject="lamp", relation="next to", object="sofa") == "NOOP"
    assert len(memory.facts("lamp", "next to")) == len(memory.facts("sofa", "next to")) == 1
    assert said(memory, "ended", until=30, subject="sofa", relation="next to", object="lamp") == "DELETE"
    with pytest.raises(InvalidInput, match="wanted the object of 'ann' 'holds' that ended"):
        said(memory, "ended", until=30, subject="ann", relation="holds", object="")


def test_places(memory: SemanticMemory) -> None:
    said(memory, at=10)
    assert said(memory, at=20, place="kitchen") == "UPDATE"
    assert said(memory, at=30) == "NOOP"  # who names no place changes none
    assert said(memory, at=40, place="bath") == "UPDATE"
    line = [(f.place, f.valid_from_ns, f.valid_until_ns) for f in memory.timeline("mug", "on")]
    assert line == [("", 10, 20), ("kitchen", 20, 40), ("bath", 40, None)]
    assert [f.valid_from_ns for f in memory.facts_at(25, place="kitchen")] == [20]
    assert memory.facts_at(25, place="bath") == [] and len(memory.recall(Query(labels=("kitchen",)))) == 1


def test_filters_of_a_moment(memory: SemanticMemory) -> None:
    said(memory, at=10, source="ann", confidence=0.9)
    said(memory, at=10, subject="book", source="radio", confidence=0.4)
    assert [f.subject for f in memory.facts_at(10, source="ann")] == ["mug"]
    assert [f.subject for f in memory.facts_at(10, min_confidence=0.5)] == ["mug"]
    assert [f.subject for f in memory.facts_at(10, relation="on", object="table")] == ["mug", "book"]


def test_what_changed(memory: SemanticMemory) -> None:
    said(memory, at=10)
    said(memory, at=20, object="shelf", known_ns=50, seen_ns=20)
    said(memory, "ended", until=40, object="", known_ns=60)
    world = [(c.stamp_ns, c.what, c.fact.object) for c in memory.changed_between(10, 41)]
    assert world == [(10, "began", "table"), (20, "ended", "table"), (20, "began", "shelf"), (40, "ended", "shelf")]
    learnt = [(c.stamp_ns, c.what, c.fact.object) for c in memory.changed_between(50, 60, "known", subject="mug")]
    assert learnt == [(50, "dropped", "table"), (50, "learnt", "shelf"), (50, "learnt", "table")]
    assert memory.changed_between(41, 50) == memory.changed_between(0, 99, relation="in") == []
    for bad in ((5, 1), (None, 1), (0, 1.5)):
        with pytest.raises(InvalidInput, match="changed_between"):
            memory.changed_between(*bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="axis 'valid' or 'known'"):
        memory.changed_between(0, 1, "both")  # type: ignore[arg-type]


def test_evidence_grows_without_a_new_row(records: Records) -> None:
    from embodmem.episodic import EpisodicMemory
    from embodmem.types import Event

    episodic, memory = EpisodicMemory(records), SemanticMemory(records)
    seen = [episodic.add_event(Event(stamp_ns=i, kind="told", text=f"said {i}")) for i in range(4)]
    for number, at in zip(seen, (10, 10, 30, 20), strict=True):
        assert said(memory, at=at, evidence=[number]) == ("ADD" if number == seen[0] else "NOOP")
    assert memory.recall("mug", 1)[0].evidence == tuple(f"event:{number}" for number in seen)
    with memory.store.read() as db:
        assert db.execute("SELECT count(*) FROM fact").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM fact_claim").fetchone() == (3,)  # what is said again is kept once
    said(memory, at=25, object="shelf", seen_ns=25, evidence=[seen[3], 999])
    assert [len(item.evidence) for item in memory.recall("shelf", 1)] == [1]


@pytest.mark.parametrize(
    "parts, words",
    [
        ({"says": "was"}, "wanted says 'holds', 'ended' or 'never', got 'was'"),
        ({}, "wanted valid_from_ns with says='holds'"),
        ({"says": "ended"}, "wanted valid_until_ns with says='ended'"),
        ({"valid_from_ns": 5, "valid_until_ns": 5}, "wanted valid_from_ns < valid_until_ns, got 5 and 5"),
        ({"valid_from_ns": 5, "object": ""}, "wanted subject, relation, object"),
        ({"valid_from_ns": 5, "seen_ns": -1}, "seen_ns: wanted"),
        ({"valid_from_ns": 5, "known_ns": 1.5}, "known_ns: wanted whole nanoseconds"),
        ({"valid_from_ns": 5, "position": (1, 2)}, "claim: position: wanted a finite point"),
        ({"valid_from_ns": 5, "place": 3}, "wanted text, got 3"),
        ({"valid_from_ns": 5, "text": "\ud800"}, "half a surrogate pair"),
    ],
)
def test_what_is_no_claim(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Claim(**({"subject": "mug", "relation": "on", "object": "table"} | parts))


def test_claims_go_with_what_is_forgotten(path: Path) -> None:
    store = Store(path)
    memory = SemanticMemory(Records(store, None))
    said(memory, at=10, subject="zeppelin", object="hangar", text="the zeppelin is in its hangar")
    said(memory, at=10, subject="mug", object="zeppelin")
    said(memory, "ended", until=20, subject="zeppelin", relation="under", object="")
    said(memory, "ended", until=20, subject="spoon", relation="under", object="zeppelin")
    said(memory, at=10, subject="book")
    assert memory.forget(Query(labels=("zeppelin",))) == 2
    store.close()
    assert b"zeppelin" not in path.read_bytes() and b"hangar" not in path.read_bytes()
    store = Store(path)
    memory = SemanticMemory(Records(store, None))
    assert [f.subject for f in memory.facts()] == ["book"]
    memory.clear()
    with store.read() as db:
        assert db.execute("SELECT count(*) FROM fact_claim").fetchone() == (0,)
    store.close()


def test_states_carry_the_claims(records: Records) -> None:
    memory = SemanticMemory(records, RULES)
    said(memory, at=10)
    said(memory, at=20, object="shelf")
    state = memory.state_dict()
    other = SemanticMemory(Records(Store(), None), RULES)
    other.load_state_dict(state)
    assert said(other, "never", object="shelf", known_ns=30) == "DELETE"
    assert spans(other.timeline("mug", "on")) == [("table", 10, None)]
    older = {name: part for name, part in state.items() if name != "fact_claim"}
    other.load_state_dict(older)
    said(other, at=15, object="chair", seen_ns=15, known_ns=30)
    assert spans(other.timeline("mug", "on")) == [("table", 10, 15), ("chair", 15, 20), ("shelf", 20, None)]
    other.store.close()


def test_a_file_from_before_claims_were_kept(path: Path) -> None:
    from embodmem.store.files import connect

    path.touch()
    db = connect(path, writable=True)
    before = next(i for i, step in enumerate(STEPS) if "fact_claim" in step)
    migrate(db, STEPS[:before])
    db.executescript(
        "INSERT INTO record (kind, label, text, first_ns, last_ns, live) VALUES "
        "('fact', 'mug', 'mug was on table', 10, 20, 1), ('fact', 'mug', 'mug is on shelf', 20, 20, 1), "
        "('fact', 'mug', 'mug is on table', 10, 10, 0);"
        "INSERT INTO fact VALUES (1, 'mug', 'on', 'table', 10, 20, 20, NULL, 1.0), "
        "(2, 'mug', 'on', 'shelf', 20, NULL, 20, NULL, 0.5), (3, 'mug', 'on', 'table', 10, NULL, 10, 20, 1.0);"
    )
    db.close()
    store = Store(path)
    memory = SemanticMemory(Records(store, HashingEncoder(64)))
    assert [f.confidence for f in memory.timeline("mug", "on")] == [1.0, 0.5]
    said(memory, at=15, object="chair", seen_ns=15, known_ns=30)
    assert spans(memory.timeline("mug", "on")) == [("table", 10, 15), ("chair", 15, 20), ("shelf", 20, None)]
    assert [f.text for f in memory.timeline("mug", "on")] == ["mug was on table", "mug was on chair", "mug is on shelf"]
    store.close()


def test_forgetting_a_part_of_the_history_leaves_what_is_believed(memory: SemanticMemory) -> None:
    said(memory, at=10)
    decision = memory.update(Claim(subject="mug", relation="on", object="shelf", valid_from_ns=20))
    assert memory.forget(Query(ids=decision.closed)) == 1  # that it is on the table, as was believed before
    said(memory, at=15, object="chair", seen_ns=15, known_ns=30)
    assert spans(memory.timeline("mug", "on")) == [("table", 10, 15), ("chair", 15, 20), ("shelf", 20, None)]
    assert memory.forget(Query(labels=("chair",))) == 1
    said(memory, at=25, object="floor", seen_ns=25)
    said(memory, at=5, object="bed", seen_ns=5, known_ns=30)
    line = [("bed", 5, 10), ("table", 10, 15), ("shelf", 20, 25), ("floor", 25, None)]
    assert spans(memory.timeline("mug", "on")) == line


def test_without_a_source_is_as_if_it_had_never_said_anything(records: Records) -> None:
    memory, alone = SemanticMemory(records), SemanticMemory(Records(Store(), None))
    told: list[tuple[str, dict[str, Any]]] = [
        ("ann", {"at": 10}),
        ("eve", {"at": 20, "object": "moon"}),
        ("eve", {"at": 30, "object": "shelf"}),
        ("ann", {"at": 40, "object": "shelf", "seen_ns": 40}),
        ("eve", {"says": "ended", "until": 50}),
        ("eve", {"at": 5, "relation": "colour", "object": "red"}),
        ("ann", {"at": 5, "relation": "colour", "object": "red"}),
    ]
    for source, claim in told:
        said(memory, source=source, **claim)
        if source != "eve":
            said(alone, source=source, **claim)
    assert memory.forget_source("eve") == 4 and memory.forget_source("eve") == 0
    for relation in ("on", "colour"):
        assert spans(memory.timeline("mug", relation)) == spans(alone.timeline("mug", relation))
    assert {fact.source for fact in memory.history("mug")} == {"ann"}
    assert memory.forget(Query(sources=("eve",))) == 4  # what it had said stays in the history until then
    assert spans(memory.timeline("mug", "on")) == spans(alone.timeline("mug", "on"))
    said(memory, at=45, object="bed", source="ann")
    said(alone, at=45, object="bed", source="ann")
    assert spans(memory.timeline("mug", "on")) == spans(alone.timeline("mug", "on"))
    alone.store.close()


def test_a_purge_takes_the_claims_along(path: Path) -> None:
    from embodmem import Config, EmbodiedMemory

    with EmbodiedMemory(path, config=Config(encoder="hashing")) as memory:
        said(memory.semantic, at=10, source="ann")
        said(memory.semantic, at=20, object="zeppelin", source="mallory")
        said(memory.semantic, "ended", until=30, source="mallory", relation="under", object="zeppelin")
        memory.purge("mallory")
        assert spans(memory.semantic.timeline("mug", "on")) == [("table", 10, None)]
    assert b"zeppelin" not in path.read_bytes() and b"mallory" not in path.read_bytes()
