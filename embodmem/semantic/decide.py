"""What becomes of a claim: which facts are believed from now on, which no longer, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from embodmem.semantic.evidence import Columns, Evidence, when_held
from embodmem.semantic.facts import FOREVER, Claim, Decision, Fact
from embodmem.semantic.plan import Draft, Plan, Statement, denied, stitch
from embodmem.semantic.rules import Rules
from embodmem.semantic.table import FactTable, Words

_Standing = tuple[list[Evidence], list[Evidence], list[Evidence]]
"""The claims to decide from, and of the kept ones those to add and those to drop."""


class Decider:
    """Applies claims to the facts, within the caller's transaction.

    Args:
        table: Facts and claims.
        rules: What decides.
    """

    def __init__(self, table: FactTable, rules: Rules) -> None:
        self.table, self.rules = table, rules

    def decide(self, claim: Claim) -> Decision:
        """Apply a claim in its canonical form."""
        least = self.rules.of(claim.relation).min_confidence
        if claim.confidence < least:
            reason = f"confidence {claim.confidence:g} is below the {least:g} that {claim.relation!r} wants"
            return Decision("REJECT", reason)
        relations = self.rules.bound(claim.relation)
        only = claim.object if claim.object and self.rules.is_alone(claim.relation) else None
        believed = self.table.believed(claim.subject, relations, claim.begin_ns, only)
        claims, added, dropped = self._standing(claim, relations, only, believed)
        plan = self._plan(claim, claims, believed)
        decision = self._judge(claim, plan, believed)
        if decision.operation == "REJECT":
            return decision
        known_ns = self.table.learnt_ns(claim.learnt_ns)
        if added or dropped:
            self.table.note_learnt(known_ns)
        self.table.drop_claims(dropped)
        for evidence in added:
            told = None if evidence.told == FOREVER else evidence.told
            self.table.add_claim(claim.subject, evidence, known_ns, told)
        made = self._carry_out(claim.subject, plan, known_ns)
        return replace(
            decision,
            fact=_carrying(claim, plan, made) or decision.fact,
            made=tuple(made),
            closed=tuple(row.id for row in plan.closed),
        )

    def _standing(
        self, claim: Claim, relations: Sequence[str], only: str | None, believed: Sequence[Fact]
    ) -> _Standing:
        new = self._evidence(claim)
        by_weight = self.rules.keeps_strongest(tuple(relations))
        in_order = claim.says != "never" and not by_weight
        if in_order and self.table.last_claim_ns(claim.subject, relations, only) < claim.begin_ns:
            # Whatever was claimed speaks of the time before: what came of it says it all.
            return [*(self._as_evidence(row) for row in believed), new], [new], []
        kept = self.table.claims(claim.subject, relations, only, self.rules.weight)
        if claim.says == "never":
            until_ns = FOREVER if claim.valid_until_ns is None else claim.valid_until_ns
            dropped, added = denied(kept, new, until_ns)
            if claim.begin_ns > 0:
                added.append(new)
        else:  # said again, a claim takes its own place, and loses none of its evidence
            dropped, added = [c for c in kept if _is_twin(c, new)], [new]
            before = [ref for twin in dropped for ref in twin.data.get("evidence", ())]
            if before:
                new = replace(
                    new, content=json.dumps(new.data | {"evidence": sorted({*before, *new.data["evidence"]})})
                )
                added = [new]
        gone = {c.id for c in dropped}
        return [*(c for c in kept if c.id not in gone), *added], added, dropped

    def _evidence(self, claim: Claim) -> Evidence:
        """The claim as it is kept; a denial as the ending that it leaves behind."""
        data: dict[str, Any] = {"evidence": sorted({int(ref) for ref in claim.evidence})}
        for name in ("place", "text", "names"):
            if getattr(claim, name):
                data[name] = getattr(claim, name)
        if claim.position is not None:
            data["position"] = claim.position.tolist()
        never = claim.says == "never"
        return Evidence(
            id=0,
            told=FOREVER,
            relation=claim.relation,
            object=claim.object,
            holds=claim.says == "holds",
            is_open=claim.is_open or never,
            from_ns=claim.begin_ns,
            last_ns=claim.begin_ns if never else claim.last_ns,
            weight=self.rules.weight(claim.relation, claim.confidence, claim.source),
            confidence=claim.confidence,
            source=claim.source,
            content=json.dumps(data),
        )

    def _as_evidence(self, row: Fact) -> Evidence:
        last_ns = row.valid_from_ns if row.valid_until_ns is None else row.valid_until_ns - 1
        return Evidence(
            id=0,
            told=row.number,
            relation=row.relation,
            object=row.object,
            holds=True,
            is_open=row.valid_until_ns is None,
            from_ns=row.valid_from_ns,
            last_ns=last_ns,
            confidence=row.confidence,
            source=row.source,
            row=row,
        )

    def _plan(self, claim: Claim, claims: Sequence[Evidence], believed: Sequence[Fact]) -> Plan:
        """How the statements that the claim touches should be believed from its beginning on."""
        own, plan, columns = (claim.relation, claim.object), Plan(), Columns(claims)
        if claim.says != "ended":
            self._take_up(plan, own, columns, believed, claim.begin_ns)
        rows = list(believed)
        objects = (claim.object, *(row.object for row in believed))
        if claim.says == "holds" and self.rules.is_slot(
            claim.relation, objects
        ):  # nothing else gives way than for this
            rows = [row for row in rows if any(d.meets(row.valid_from_ns, row.valid_until_ns) for _, d, _ in plan.made)]
        touched = [(row.relation, row.object) for row in rows]
        if claim.says == "never":  # what it had displaced may come back
            touched += [(c.relation, c.object) for c in claims if c.holds]
        for statement in dict.fromkeys(touched):
            if _is_about(claim, statement) if claim.says == "ended" else self.rules.excludes(own, statement):
                self._take_up(plan, statement, columns, believed, claim.begin_ns)
        return plan

    def _take_up(
        self,
        plan: Plan,
        statement: Statement,
        columns: Columns,
        believed: Sequence[Fact],
        begin_ns: int,
        without: str | None = None,
    ) -> None:
        """Work out when a statement should be believed from a time on; no fact of the source `without` is kept."""
        side = np.array([self._side(c, statement) for c in columns.claims], dtype=np.int8)
        rows = [row for row in believed if (row.relation, row.object) == statement]
        drafts = stitch(when_held(columns, side, begin_ns), rows, begin_ns, self._weigh)
        by_weight = self.rules.keeps_strongest(self.rules.bound(statement[0]))
        plan.add(statement, drafts, rows, by_weight, without)

    def drop_source(self, subject: str, relation: str, source: str) -> int:
        """Decide anew what is believed, without the claims of a source; returns how many it had.

        What others said, too, is believed as they said it; what had given way to the source comes back.
        """
        relations = self.rules.bound(relation)
        claims = self.table.claims(subject, relations, None, self.rules.weight)
        gone = [c for c in claims if c.source == source]
        if not gone:
            return 0
        left = [c for c in claims if c.source != source]
        begin = min(c.from_ns for c in gone)
        believed = self.table.believed(subject, relations, begin)
        statements = [(row.relation, row.object) for row in believed] + [
            (c.relation, c.object) for c in left if c.holds
        ]
        plan, columns = Plan(), Columns(left)
        for statement in dict.fromkeys(statements):
            self._take_up(plan, statement, columns, believed, begin, source)
        self.table.drop_claims(gone)
        self._carry_out(subject, plan, self.table.learnt_ns(0))
        return len(gone)

    def _side(self, claim: Evidence, statement: Statement) -> int:
        """Whether a claim speaks for a statement (1), against it (-1) or not of it (0)."""
        if claim.relation == statement[0]:
            if not claim.holds:
                return -1 if claim.object in ("", statement[1]) else 0
            if claim.object == statement[1]:
                return 1
        return -1 if claim.holds and self.rules.excludes((claim.relation, claim.object), statement) else 0

    def _weigh(self, row: Fact) -> float:
        return self.rules.weight(row.relation, row.confidence, row.source)

    def _judge(self, claim: Claim, plan: Plan, believed: Sequence[Fact]) -> Decision:
        begin = claim.begin_ns
        until = claim.valid_until_ns if claim.says == "never" else begin + 1
        held = plan.held(lambda statement: _is_about(claim, statement), begin, until)
        standing = next((row.id for row in held if row is not None), None)
        if plan.made or plan.closed:
            return _changed(claim, plan)
        if claim.says == "holds" and not held:
            own = (claim.relation, claim.object)
            against = [row for row in believed if self.rules.excludes(own, (row.relation, row.object))]
            text = " and ".join(repr(row.text) for row in against) or "what is kept"
            return Decision("REJECT", f"{text} weighs more", against[0].id if against else None)
        if claim.says != "holds" and held:
            texts = " and ".join(repr(row.text) for row in held if row is not None)
            return Decision("REJECT", f"{texts} weighs more", standing)
        if claim.says == "holds":
            return Decision("NOOP", "it was believed already", standing)
        return Decision("NOOP", "nothing of that was believed")

    def _carry_out(self, subject: str, plan: Plan, known_ns: int) -> list[str]:
        """Close what is to be closed, and make what is to be made; ids of the new facts, in the order of the plan."""
        for row in plan.closed:
            self.table.close(row, known_ns)
        made = []
        for (relation, object), draft, gone in plan.made:
            fact = Fact(
                id="",
                subject=subject,
                relation=relation,
                object=object,
                valid_from_ns=draft.from_ns,
                valid_until_ns=draft.until_ns,
                known_from_ns=known_ns,
                known_until_ns=None,
                confidence=draft.origin.confidence,
                text="",
                place=draft.place,
                source=draft.origin.source,
            )
            refs = {ref for c in draft.carriers for ref in c.data.get("evidence", ())}
            refs.update(self.table.evidence_of(gone))
            made.append(self.table.insert(fact, self._words(subject, draft), sorted(refs)))
        for _, draft, row in plan.kept:
            fresh = [ref for c in draft.carriers if c.told == FOREVER for ref in c.data.get("evidence", ())]
            if fresh:
                self.table.add_evidence(row, fresh)
        return made

    def _words(self, subject: str, draft: Draft) -> Words:
        if isinstance(draft.origin, Fact):
            return self.table.words(draft.origin)
        data, (relation, object) = draft.origin.data, (draft.origin.relation, draft.origin.object)
        names = data.get("names", (subject, object))
        text = data.get("text") or f"{names[0]} is {relation} {names[1]}"
        position = data.get("position")
        tags = (subject, object, *names)
        return Words(names[0], text, tags, None if position is None else np.array(position))


def _is_about(claim: Claim, statement: Statement) -> bool:
    """Whether a claim speaks of a statement itself."""
    return claim.relation == statement[0] and claim.object in ("", statement[1])


def _is_twin(kept: Evidence, new: Evidence) -> bool:
    """Whether a claim says the same as one that is kept, by the same source."""
    if (kept.from_ns, kept.last_ns) != (new.from_ns, new.last_ns):
        return False

    def said(c: Evidence) -> tuple[object, ...]:
        what = (c.relation, c.object, c.holds, c.is_open)
        rest = {name: value for name, value in c.data.items() if name != "evidence"}
        return (*what, c.confidence, c.source, str(sorted(rest.items())))

    return said(kept) == said(new)


def _changed(claim: Claim, plan: Plan) -> Decision:
    """The decision about a claim that changes something."""
    own = (claim.relation, claim.object)
    if claim.says != "holds":
        ended = " and ".join(
            dict.fromkeys(repr(row.text) for row in plan.closed if _is_about(claim, (row.relation, row.object)))
        )
        return Decision("DELETE", f"{ended} {'ended' if claim.says == 'ended' else 'was not so'}")
    if not plan.closed:
        return Decision("ADD", "nothing that was believed is against it")
    others = [repr(row.text) for row in plan.closed if (row.relation, row.object) != own]
    if others:
        return Decision("UPDATE", f"it takes the place of {' and '.join(dict.fromkeys(others))}")
    return Decision("UPDATE", "it changes what was believed of the same")


def _carrying(claim: Claim, plan: Plan, made: Sequence[str]) -> str | None:
    """The fact that says what the claim says: at its beginning, or later where until then another weighs more."""
    if claim.says != "holds":
        return None
    own = (claim.relation, claim.object)
    found = [(draft.from_ns, row.id) for what, draft, row in plan.kept if what == own]
    found += [(draft.from_ns, fact) for (what, draft, _), fact in zip(plan.made, made, strict=True) if what == own]
    ends = {draft.from_ns: draft for what, draft, _ in [*plan.kept, *plan.made] if what == own}
    return min((which for which in found if ends[which[0]].meets(claim.begin_ns, None)), default=(0, None))[1]
