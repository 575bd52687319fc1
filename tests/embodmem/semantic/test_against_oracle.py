"""Beliefs on two time axes, against their definition in plain Python, whatever is told in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from benchmarks.facts_oracle import Oracle
from embodmem.config import RelationRule, SemanticConfig
from embodmem.index import Records
from embodmem.semantic import Claim, SemanticMemory
from embodmem.store import Store

RELATIONS = ("on", "held by", "likes", "in", "open", "shut", "owner")
CONFIG = SemanticConfig(
    single_valued=("on", "in", "held by", "owner"),
    exclusive=(("on", "in", "held by"), ("open", "shut")),
    regions=("c",),
    relations={"owner": RelationRule(keeps="strongest"), "in": RelationRule(min_confidence=0.2)},
    trust={"radio": 0.5},
)
TIMES = st.integers(0, 30)
OPERATIONS = {"new": {"ADD", "UPDATE", "DELETE"}, "known": {"NOOP"}, "refused": {"REJECT"}}


@st.composite
def claims(draw: Any) -> Claim:
    says = draw(st.sampled_from(["holds", "holds", "holds", "ended", "never"]))
    begin, length = draw(TIMES), draw(st.integers(1, 12))
    parts: dict[str, Any] = {"object": draw(st.sampled_from("abc"))}
    if says == "ended":
        parts |= {"valid_until_ns": begin, "object": draw(st.sampled_from(["", "a", "b"]))}
    elif says == "never" or draw(st.integers(0, 3)) == 0:
        parts |= {"valid_from_ns": begin, "valid_until_ns": begin + length}
        if says == "never" and draw(st.booleans()):
            parts = {"object": parts["object"]}
    else:
        parts["valid_from_ns"] = begin
    return Claim(
        says=says,
        subject=draw(st.sampled_from(["mug", "mug", "book"])),
        relation=draw(st.sampled_from(RELATIONS)),
        known_ns=begin + draw(st.integers(-4, 12)) if begin > 4 else None,
        seen_ns=draw(st.sampled_from([None, begin, begin, begin + 3])),
        confidence=draw(st.sampled_from([1.0, 1.0, 0.5, 0.25])),
        source=draw(st.sampled_from(["", "ann", "radio"])),
        **parts,
    )


class Beliefs(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.store = Store()
        self.memory = SemanticMemory(Records(self.store, None), CONFIG)
        self.oracle = Oracle(CONFIG.single_valued, CONFIG.exclusive, ("owner",), dict(CONFIG.trust))
        self.oracle.regions = CONFIG.regions
        self.said: list[Claim] = []

    def tell(self, claim: Claim) -> None:
        before = self.rows()
        decision = self.memory.update(claim)
        after = self.rows()
        what = self.oracle.tell(claim)
        strongest = claim.relation == "owner" and decision.operation == "UPDATE"  # of another weight is an update, too
        assert decision.operation in OPERATIONS[what] or strongest, (claim, decision, what)
        assert {f"fact:{row[0]}" for row in after} - {f"fact:{row[0]}" for row in before} == set(decision.made)
        closed = {row[0] for row in before if row[-1] is None} - {row[0] for row in after if row[-1] is None}
        assert {f"fact:{number}" for number in closed} == set(decision.closed)
        kept = {row[0]: row[:-1] for row in after}
        assert all(kept[row[0]] == row[:-1] for row in before)  # nothing is rewritten or lost
        if claim.says == "holds" and claim.relation != "owner" and decision.operation != "REJECT":
            held = self.memory.facts_at(claim.valid_from_ns, None, claim.subject, claim.relation, claim.object)
            assert [fact.id for fact in held] == [decision.fact]
        self.check(claim.subject, None)

    def rows(self) -> list[tuple[Any, ...]]:
        with self.store.read() as db:
            return db.execute(
                "SELECT id, subject, relation, object, valid_from_ns, valid_until_ns, known_from_ns, known_until_ns "
                "FROM fact ORDER BY id"
            ).fetchall()

    @rule(claim=claims())
    def take(self, claim: Claim) -> None:
        self.said.append(claim)
        self.tell(claim)

    @rule(claim=claims(), number=st.integers(0, 100))
    def repeat(self, claim: Claim, number: int) -> None:
        if self.said:
            self.tell(self.said[number % len(self.said)])

    @rule(claim=claims())
    def twice(self, claim: Claim) -> None:
        self.take(claim)
        held = self.rows()
        again = self.memory.update(claim)
        assert again.operation in ("NOOP", "REJECT") and self.rows() == held, (claim, again)
        self.oracle.tell(claim)

    @rule()
    def reopen(self) -> None:
        self.memory = SemanticMemory(Records(self.store, None), CONFIG)

    def check(self, subject: str, known: int | None) -> None:
        for moment in {*range(0, 48, 6), *self.oracle.moments(subject)}:
            held = self.memory.facts_at(moment, known, subject)
            found = [(fact.relation, fact.object) for fact in held]
            assert len(found) == len(set(found)), held
            assert set(found) == self.oracle.at(subject, moment, known), (moment, known)

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        for subject in ("mug", "book"):
            for known in range(0, self.oracle.learnt + 1, 7):
                self.check(subject, known)
            now = {(f.relation, f.object) for f in self.memory.facts(subject)}
            assert now == self.oracle.at(subject, 10**6)
        for row in self.rows():
            assert row[5] is None or row[4] < row[5]
            assert row[7] is None or row[6] <= row[7]
        self.store.close()


Beliefs.TestCase.settings = settings(
    max_examples=40, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)
TestBeliefs = Beliefs.TestCase
