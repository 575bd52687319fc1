"""What is asked of facts: now, at a time, as believed at a time, and what changed; filters are SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from embodmem.checks import check_between, check_stamp
from embodmem.errors import InvalidInput
from embodmem.semantic.facts import Change, Fact
from embodmem.semantic.rules import Rules
from embodmem.semantic.table import FactTable


def known(known_ns: int | None) -> tuple[str, tuple[int, ...]]:
    """The condition that a fact was believed at a time (None: is believed now), and its values."""
    if known_ns is None:
        return "f.known_until_ns IS NULL", ()
    check_stamp(known_ns, "known_ns")
    return "f.known_from_ns <= ? AND ifnull(f.known_until_ns > ?, 1)", (known_ns, known_ns)


def held(valid_ns: int | None, known_ns: int | None) -> tuple[str, tuple[int, ...]]:
    """The condition that a fact held in the world at a time (None: holds still), as believed at a time (`known`)."""
    condition, values = known(known_ns)
    if valid_ns is None:
        return f"{condition} AND f.valid_until_ns IS NULL", values
    return f"{condition} AND f.valid_from_ns <= ? AND ifnull(f.valid_until_ns > ?, 1)", (*values, valid_ns, valid_ns)


class FactReads:
    """Typed reads of the semantic memory; each is one statement in SQL, so it sees one state."""

    table: FactTable
    rules: Rules

    def _find(
        self,
        condition: str,
        values: Sequence[Any],
        parts: tuple[str | None, str | None, str | None],
        limit: int = -1,
        order: str = "f.valid_from_ns, f.id",
    ) -> list[Fact]:
        also: list[str] = []
        asked: list[Any] = []
        for way in self.rules.asked(*parts):
            terms = ["1"]
            for name, part in zip(("subject", "relation", "object"), way, strict=True):
                if part is not None:
                    terms.append(f"f.{name} = ?")
                    asked.append(part)
            also.append(f"({' AND '.join(terms)})")
        return self.table.select(f"{condition} AND ({' OR '.join(also)})", (*values, *asked), order, limit)

    def facts(self, subject: str | None = None, relation: str | None = None, object: str | None = None) -> list[Fact]:
        """What is believed to hold now, of these parts; None leaves a part open. Oldest first."""
        return self._find("f.known_until_ns IS NULL AND f.valid_until_ns IS NULL", (), (subject, relation, object))

    def facts_at(
        self,
        valid_ns: int,
        known_ns: int | None = None,
        subject: str | None = None,
        relation: str | None = None,
        object: str | None = None,
        *,
        place: str | None = None,
        source: str | None = None,
        min_confidence: float = 0.0,
    ) -> list[Fact]:
        """What held in the world at `valid_ns`, as believed at `known_ns` (None: as believed now). Oldest first.

        Args:
            valid_ns: When in the world, ns.
            known_ns: When in the memory, ns.
            subject: Only of this subject.
            relation: Only of this relation.
            object: Only of this object.
            place: Only what was there.
            source: Only what this source said.
            min_confidence: Only what is at least so sure.
        """
        condition, values = held(valid_ns, known_ns)
        return self._find(
            f"{condition} AND f.confidence >= ? AND ifnull(?, f.place) = f.place AND ifnull(?, r.source) = r.source",
            (*values, min_confidence, place, source),
            (subject, relation, object),
        )

    def value(
        self, subject: str, relation: str, *, valid_ns: int | None = None, known_ns: int | None = None
    ) -> Fact | None:
        """What a relation holds of: now, or at a time; of several the one that began last; None where there is none."""
        condition, values = held(valid_ns, known_ns)
        found = self._find(condition, values, (subject, relation, None), 1, "f.valid_from_ns DESC, f.id DESC")
        return found[0] if found else None

    def timeline(self, subject: str, relation: str, *, known_ns: int | None = None) -> list[Fact]:
        """All that a relation held of, one after another, as believed now or at a time. Oldest first."""
        condition, values = known(known_ns)
        return self._find(condition, values, (subject, relation, None))

    def history(self, subject: str, relation: str | None = None) -> list[Fact]:
        """All that is believed now of a subject, past and present. Oldest first."""
        return self._find("f.known_until_ns IS NULL", (), (subject, relation, None))

    def changed_between(
        self,
        begin_ns: int,
        end_ns: int,
        axis: Literal["valid", "known"] = "valid",
        *,
        subject: str | None = None,
        relation: str | None = None,
    ) -> list[Change]:
        """What changed in begin_ns <= time < end_ns, in its order.

        Args:
            begin_ns: From when on, ns.
            end_ns: Until when, ns.
            axis: "valid": what began and ended in the world, as believed now; "known": what the memory learnt and
                what it believed no longer.
            subject: Only of this subject.
            relation: Only of this relation.

        Raises:
            InvalidInput: The times are no whole numbers or out of order, or there is no such axis.
        """
        span = check_between((begin_ns, end_ns), "changed_between")
        if axis not in ("valid", "known") or None in span:
            raise InvalidInput(f"changed_between: wanted two times and axis 'valid' or 'known', got {span}, {axis!r}")
        condition = "f.known_until_ns IS NULL" if axis == "valid" else "1"
        both = []
        for column, what in ((f"{axis}_from_ns", 0), (f"{axis}_until_ns", 1)):
            within = f"{condition} AND f.{column} >= ? AND f.{column} < ?"
            for fact in self._find(within, span, (subject, relation, None)):
                both.append(Change(getattr(fact, column), _WORDS[axis][what], fact))
        return sorted(
            both, key=lambda change: (change.stamp_ns, change.what in ("began", "learnt"), change.fact.number)
        )


_WORDS: dict[str, tuple[Literal["began", "learnt"], Literal["ended", "dropped"]]] = {
    "valid": ("began", "ended"),
    "known": ("learnt", "dropped"),
}
