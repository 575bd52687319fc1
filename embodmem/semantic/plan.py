"""From the times in which statements held to the facts to close and to make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from embodmem.semantic.evidence import Evidence, Piece
from embodmem.semantic.facts import Fact

Statement = tuple[str, str]
"""Relation and object, of the subject that a claim is about."""


@dataclass(slots=True)
class Draft:
    """A fact as it should be.

    Attributes:
        from_ns: Since when, ns.
        until_ns: Until when, ns; None: still.
        place: Where that is.
        origin: What it is said after: a fact that is there, or the claim that it begins with.
        weight: What it counts against others.
        carriers: The claims that say so, one after another.
    """

    from_ns: int
    until_ns: int | None
    place: str
    origin: Fact | Evidence
    weight: float
    carriers: list[Evidence] = field(default_factory=list)

    def is_as(self, row: Fact, by_weight: bool) -> bool:
        """Whether a fact says just this."""
        same = (row.valid_from_ns, row.valid_until_ns, row.place) == (self.from_ns, self.until_ns, self.place)
        return same and (not by_weight or row.confidence == self.origin.confidence)

    def meets(self, from_ns: int, until_ns: int | None) -> bool:
        """Whether it holds at some time in from_ns <= time < until_ns."""
        before = self.until_ns is not None and self.until_ns <= from_ns
        return not before and (until_ns is None or self.from_ns < until_ns)


@dataclass(slots=True)
class Plan:
    """What would change.

    Attributes:
        closed: Facts that are believed no longer.
        made: What is believed instead, with the facts of the same statement that go for it.
        kept: What is believed already, and the fact that says so.
    """

    closed: list[Fact] = field(default_factory=list)
    made: list[tuple[Statement, Draft, list[Fact]]] = field(default_factory=list)
    kept: list[tuple[Statement, Draft, Fact]] = field(default_factory=list)

    def add(
        self,
        statement: Statement,
        drafts: Sequence[Draft],
        rows: Sequence[Fact],
        by_weight: bool,
        without: str | None = None,
    ) -> None:
        """Take up how a statement should be believed, and how it is; facts of the source `without` are not kept."""
        left = list(rows)
        made = []
        for draft in drafts:
            as_is = next((row for row in left if draft.is_as(row, by_weight) and row.source != without), None)
            if as_is is None:
                made.append(draft)
            else:
                left.remove(as_is)
                self.kept.append((statement, draft, as_is))
        for draft in made:
            gone = [row for row in left if draft.meets(row.valid_from_ns, row.valid_until_ns)]
            self.made.append((statement, draft, gone))
        self.closed.extend(left)

    def held(self, is_about: Callable[[Statement], bool], from_ns: int, until_ns: int | None) -> list[Fact | None]:
        """The facts that say that something holds at some time between; None for one that is yet to be made."""
        kept = [row for what, draft, row in self.kept if is_about(what) and draft.meets(from_ns, until_ns)]
        return [*kept, *(None for what, draft, _ in self.made if is_about(what) and draft.meets(from_ns, until_ns))]


def stitch(pieces: Sequence[Piece], rows: Sequence[Fact], since_ns: int, weigh: Callable[[Fact], float]) -> list[Draft]:
    """The facts that a statement should have, from `since_ns` on together with what reaches up to there.

    Args:
        pieces: When it held, from `since_ns` on.
        rows: The facts that are believed of it, and do not end before `since_ns`.
        since_ns: Before it, nothing changes, ns.
        weigh: What a fact counts against others.
    """
    drafts = [
        Draft(row.valid_from_ns, since_ns, row.place, row, weigh(row)) for row in rows if row.valid_from_ns < since_ns
    ]
    for piece in pieces:
        claim = piece.carrier
        last = drafts[-1] if drafts and drafts[-1].until_ns == piece.from_ns else None
        place = claim.place or ("" if last is None else last.place)
        origin = claim if claim.row is None else claim.row
        if last is not None and (last.place, last.weight) == (place, claim.weight):
            last.until_ns = piece.until_ns
            last.carriers.append(claim)
        else:
            drafts.append(Draft(piece.from_ns, piece.until_ns, place, origin, claim.weight, [claim]))
    return drafts


def denied(claims: Sequence[Evidence], mark: Evidence, until_ns: int) -> tuple[list[Evidence], list[Evidence]]:
    """What stays of claims for a statement when it did not hold in mark.from_ns <= time < until_ns.

    Args:
        claims: Claims for and against all kinds of statements.
        mark: An ending of the statement at the time from which it did not hold; it weighs as much as the denial.
        until_ns: Until when, ns.

    Returns:
        The claims that are touched, and what takes their place, in their places in the order of telling.
    """
    gone, instead = [], []
    begin = mark.from_ns
    for claim in claims:
        about = claim.holds and (claim.relation, claim.object) == (mark.relation, mark.object)
        if not about or claim.weight > mark.weight or claim.last_ns < begin or claim.from_ns >= until_ns:
            continue
        gone.append(claim)
        if claim.from_ns < begin:
            instead.append(replace(claim, id=0, last_ns=begin - 1))
        if claim.last_ns >= until_ns:
            instead.append(replace(claim, id=0, from_ns=until_ns))
    return gone, instead
