"""What should be believed of a stream of claims, by the definition, moment by moment, in plain Python.

Nothing here is kept up to date: every question goes through all that was told. It shares no code with
`embodmem.semantic` but the class `Claim` that carries the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from embodmem.semantic import Claim

Statement = tuple[str, str]


@dataclass(frozen=True)
class Told:
    """One claim that was taken in: who told it when, and the moments that it speaks of."""

    order: int
    known: int
    says: str
    statement: Statement
    begin: int
    last: int | None
    goes_on: bool
    weight: float


@dataclass
class Oracle:
    """The rules of belief, and all that was told of each subject."""

    single: tuple[str, ...] = ("on", "in", "at", "held by")
    exclusive: tuple[tuple[str, ...], ...] = (("on", "in", "held by"),)
    strongest: tuple[str, ...] = ()
    trust: dict[str, float] = field(default_factory=dict)
    told: dict[str, list[Told]] = field(default_factory=dict)
    learnt: int = 0
    regions: tuple[str, ...] = ()

    def weight(self, claim: Claim) -> float:
        """What it counts against others."""
        return claim.confidence * self.trust.get(claim.source, 1.0) if claim.relation in self.strongest else 1.0

    def excludes(self, one: Statement, other: Statement) -> bool:
        """Whether two statements cannot hold at once."""
        if one == other:
            return False
        if one[0] == other[0]:
            return one[0] in self.single
        if one[1] in self.regions or other[1] in self.regions:
            return False
        return any(one[0] in group and other[0] in group for group in self.exclusive)

    def tell(self, claim: Claim, check: bool = True) -> str:
        """Take in a claim; what becomes of it: "new", "known" or "refused". Without `check` it is always taken in."""
        begin = (claim.valid_until_ns if claim.says == "ended" else claim.valid_from_ns) or 0
        times = [claim.valid_from_ns, claim.valid_until_ns, claim.seen_ns, 0]
        known = max(t for t in times if t is not None) if claim.known_ns is None else claim.known_ns
        goes_on = claim.says == "ended" or (claim.says == "holds" and claim.valid_until_ns is None)
        if goes_on:
            last: int | None = max(begin, (known if claim.seen_ns is None else claim.seen_ns) - 1)
        else:
            last = None if claim.valid_until_ns is None else claim.valid_until_ns - 1
        mine = self.told.setdefault(claim.subject, [])
        what = (claim.relation, claim.object)
        learnt = max(self.learnt, known)
        new = Told(len(mine), learnt, claim.says, what, begin, last, goes_on, self.weight(claim))
        if not check:
            mine.append(new)
            self.learnt = learnt
            return "new"
        before, left = self.everything(claim.subject), self.standing(claim.subject, None)
        mine.append(new)
        if self.everything(claim.subject) != before:
            self.learnt = learnt
            return "new"
        at = [moment for moment in self.moments(claim.subject) if moment >= begin]
        if claim.says != "never":
            at = [begin]
        elif last is not None:
            at = [moment for moment in at if moment <= last]
        held = any(self.is_about(new, s) for moment in at for s in self.at(claim.subject, moment))
        if held == (claim.says == "holds"):
            touched = any(list(self.without(one, new)) != [one] for one in left)
            if claim.says != "never" or begin > 0 or touched:
                self.learnt = learnt
            return "known"
        mine.pop()
        return "refused"

    @staticmethod
    def is_about(told: Told, statement: Statement) -> bool:
        """Whether a claim speaks of a statement itself."""
        return told.statement[0] == statement[0] and told.statement[1] in ("", statement[1])

    def moments(self, subject: str) -> list[int]:
        """All times at which anything can change."""
        found = {0}
        for told in self.told.get(subject, ()):
            found |= {told.begin, *(() if told.last is None else (told.last, told.last + 1))}
        return sorted(found)

    def everything(self, subject: str) -> list[set[Statement]]:
        """What holds at each of those times, where it differs from the time before."""
        held: list[tuple[int, set[Statement]]] = []
        for moment in self.moments(subject):
            now = self.at(subject, moment)
            if not held or held[-1][1] != now:
                held.append((moment, now))
        return held  # type: ignore[return-value]

    def standing(self, subject: str, known: int | None) -> list[Told]:
        """The claims that count, denials carried out."""
        left: list[Told] = []
        for told in self.told.get(subject, ()):
            if known is not None and told.known > known:
                continue
            if told.says != "never":
                left.append(told)
                continue
            left = [part for claim in left for part in self.without(claim, told)]
            if told.begin > 0:
                left.append(replace(told, says="ended", last=told.begin, goes_on=True))
        return left

    @staticmethod
    def without(claim: Told, denial: Told) -> Iterator[Told]:
        """What is left of a claim."""
        end = float("inf") if denial.last is None else denial.last
        if claim.says != "holds" or claim.statement != denial.statement or claim.weight > denial.weight:
            yield claim
            return
        assert claim.last is not None
        if claim.last < denial.begin or claim.begin > end:
            yield claim
            return
        if claim.begin < denial.begin:
            yield replace(claim, last=denial.begin - 1)
        if claim.last > end:
            yield replace(claim, begin=int(end) + 1)

    def at(self, subject: str, moment: int, known: int | None = None) -> set[Statement]:
        """What holds at a moment, as believed at a time."""
        standing = self.standing(subject, known)
        return {s for s in {t.statement for t in standing if t.says == "holds"} if self.holds(standing, s, moment)}

    def holds(self, standing: list[Told], statement: Statement, moment: int) -> bool:
        """Whether a statement holds at a moment."""
        sides = []
        for told in standing:
            if told.says == "ended":
                side = -1 if self.is_about(told, statement) else 0
            else:
                side = 1 if told.statement == statement else -1 if self.excludes(told.statement, statement) else 0
            if side:
                sides.append((told, side))
        best: tuple[tuple[float, bool, int, int], int] | None = None
        for told, side in sides:
            against = [
                other
                for other, theirs in sides
                if theirs != side and other.goes_on and other.order > told.order and other.weight >= told.weight
            ]
            if told.begin > moment or any(o.begin <= told.begin <= o.last for o in against):  # type: ignore[operator]
                continue
            if not told.goes_on:
                assert told.last is not None
                cuts = [o.begin for o in against if told.begin < o.begin <= told.last]
                if moment >= min([told.last + 1, *cuts]):
                    continue
            key = (told.weight, not told.goes_on, told.begin if told.goes_on else 0, told.order)
            if best is None or key > best[0]:
                best = (key, side)
        return best is not None and best[1] > 0
