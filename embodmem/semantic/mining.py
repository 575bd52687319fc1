"""Routines and preferences become facts, with evidence, a few at a time; they end when they are not seen any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embodmem.config import RoutineConfig
from embodmem.errors import InvalidInput
from embodmem.semantic.facts import Claim, Decision, Fact
from embodmem.semantic.preferences import Preference, preference
from embodmem.semantic.routines import DAY_NS, Pattern, find_patterns, hours_held, hours_hit
from embodmem.semantic.table import FactTable

SOURCE = "mined"
"""Source of what was mined; it is never mined again."""

_NOBODY = "somebody"
"""Subject of what an agent without a name does."""

_CURSOR = "semantic.mined"
_MOST_EVIDENCE = 32
_MONDAY_DAYS = 3
"""1 January 1970 was a Thursday, day 3 of a week that begins on Monday."""

Key = tuple[str, str, str, str]
"""What may repeat itself: "fact" and its subject, relation, object; "event" and its agent, kind, thing; or "choice" and
its subject and relation."""


@dataclass(slots=True)
class Mined:
    """What one step of mining came to.

    Attributes:
        begun: Facts about routines and preferences that are new.
        ended: How many of them are not so any more.
        changes: Subject and relation -> a preference whose short average has left the long one.
        examined: How many candidates were looked at.
        finished: Whether that were all; the next step begins anew.
    """

    begun: list[str] = field(default_factory=list)
    ended: int = 0
    changes: dict[tuple[str, str], Preference] = field(default_factory=dict)
    examined: int = 0
    finished: bool = False


class Miner:
    """Looks through what repeats itself.

    Args:
        table: Facts.
        config: The bounds.
        update: Takes in claims.
    """

    def __init__(self, table: FactTable, config: RoutineConfig, update: Callable[[Claim], Decision]) -> None:
        self.table, self.store, self.config, self.update = table, table.store, config, update

    def mine(self, now_ns: int, budget: int) -> Mined:
        """Look at the next candidates, `budget` at most, and write what was found; where it stopped is kept."""
        if budget < 1:
            raise InvalidInput(f"mine: wanted a budget of 1 candidate or more, got {budget}")
        done = Mined()
        with self.store.transaction():
            after = tuple(self.store.get_state(_CURSOR, []))
            keys = [key for key in self._candidates(now_ns) if key > after]
            for key in keys[:budget]:
                self._examine(key, now_ns, done)
                done.examined += 1
            done.finished = len(keys) <= budget
            self.store.set_state(_CURSOR, [] if done.finished else list(keys[budget - 1]))
        return done

    def _begin_ns(self, now_ns: int) -> int:
        """Local midnight, as ns of UTC, at which the days that are looked at begin."""
        offset = self.config.utc_offset_s * 10**9
        return ((now_ns + offset) // DAY_NS - self.config.window_days) * DAY_NS - offset

    def _candidates(self, now_ns: int) -> list[Key]:
        """What may be a routine or a preference, and what was one; in order."""
        begin = max(0, self._begin_ns(now_ns))
        choices = json.dumps(self.config.choices)
        facts = (
            "SELECT DISTINCT 'fact', f.subject, f.relation, f.object FROM fact f JOIN record r ON r.id = f.id WHERE "
            "f.known_until_ns IS NULL AND r.source != ? AND ifnull(f.valid_until_ns > ?, 1) AND f.valid_from_ns <= ? "
            "GROUP BY 1, 2, 3, 4 HAVING count(*) >= ?"
        )
        events = (
            "SELECT 'event', r.agent, r.subkind, t.tag FROM record r JOIN record_tag t ON t.id = r.id WHERE "
            "r.kind = 'event' AND r.live AND t.tag NOT LIKE '%:%' AND r.first_ns BETWEEN ? AND ? "
            "GROUP BY 1, 2, 3, 4 HAVING count(*) >= ?"
        )
        chosen = (
            "SELECT DISTINCT 'choice', subject, relation, '' FROM fact WHERE known_until_ns IS NULL "
            "AND relation IN (SELECT value FROM json_each(?))"
        )
        least = self.config.min_days
        with self.store.read() as db:
            found = db.execute(facts, (SOURCE, begin, now_ns, least)).fetchall()
            found += db.execute(events, (begin, now_ns, least)).fetchall()
            found += db.execute(chosen, (choices,)).fetchall()
        return sorted({tuple(row) for row in found} | self._routines_kept())

    def _routines_kept(self) -> set[Key]:
        """What the routines that are believed are about: they may have to end."""
        held = self.table.select("f.known_until_ns IS NULL AND f.valid_until_ns IS NULL AND r.source = ?", (SOURCE,))
        keys: set[Key] = set()
        for fact in held:
            what, _, _ = fact.object.partition("; ")
            if fact.relation.startswith("usually "):
                keys.add(("fact", fact.subject, fact.relation.removeprefix("usually "), what))
            elif fact.relation.startswith("often "):
                keys.add(
                    (
                        "event",
                        "" if fact.subject == _NOBODY else fact.subject,
                        fact.relation.removeprefix("often "),
                        what,
                    )
                )
        return keys

    def _examine(self, key: Key, now_ns: int, done: Mined) -> None:
        kind, subject, relation, object = key
        if kind == "choice":
            self._examine_choices(subject, relation, now_ns, done)
            return
        rows = self._facts(subject, relation, object, now_ns) if kind == "fact" else None
        begin = self._begin_ns(now_ns)
        if rows is not None:
            spans = np.array([(f.valid_from_ns, min(f.valid_until_ns or now_ns, now_ns)) for f in rows], dtype=np.int64)
            evidence = [fact.number for fact in rows]
        else:
            evidence, stamps = self._events(subject, relation, object, now_ns)
            spans = np.stack([stamps, stamps], axis=1)
        first = spans.min(initial=now_ns)
        skipped = max(0, int(first - begin) // DAY_NS)  # days before anything was known of it could not have shown it
        begin += skipped * DAY_NS
        days = max(0, (now_ns - begin) // DAY_NS)
        patterns: list[Pattern] = []
        if len(spans) and days >= self.config.min_days:
            cells = hours_held(spans, begin, days) if rows is not None else hours_hit(spans[:, 0], begin, days)
            weekday = int(((begin + self.config.utc_offset_s * 10**9) // DAY_NS + _MONDAY_DAYS) % 7)
            patterns = find_patterns(cells, weekday, self.config)
        self._settle(key, rows, patterns, evidence[-_MOST_EVIDENCE:], now_ns, done)

    def _facts(self, subject: str, relation: str, object: str, now_ns: int) -> list[Fact]:
        begin = self._begin_ns(now_ns)
        return self.table.select(
            "f.known_until_ns IS NULL AND f.subject = ? AND f.relation = ? AND f.object = ? AND r.source != ? "
            "AND ifnull(f.valid_until_ns > ?, 1) AND f.valid_from_ns < ?",
            (subject, relation, object, SOURCE, begin, now_ns),
        )

    def _events(self, agent: str, kind: str, thing: str, now_ns: int) -> tuple[list[int], NDArray[np.int64]]:
        sql = (
            "SELECT r.id, r.first_ns FROM record r JOIN record_tag t ON t.id = r.id WHERE r.kind = 'event' AND r.live "
            "AND r.agent = ? AND r.subkind = ? AND t.tag = ? AND r.first_ns BETWEEN ? AND ? ORDER BY r.first_ns"
        )
        with self.store.read() as db:
            rows = db.execute(sql, (agent, kind, thing, max(0, self._begin_ns(now_ns)), now_ns)).fetchall()
        return [row[0] for row in rows], np.array([row[1] for row in rows], dtype=np.int64)

    def _settle(
        self,
        key: Key,
        rows: list[Fact] | None,
        patterns: Iterable[Pattern],
        evidence: list[int],
        now_ns: int,
        done: Mined,
    ) -> None:
        """What is found and not believed begins; what is believed and not found ends."""
        kind, subject, relation, object = key
        relation = f"{'usually' if kind == 'fact' else 'often'} {relation}"
        subject = subject or _NOBODY
        found = {f"{object}; {pattern.text}": pattern for pattern in patterns}
        held = self.table.select(
            "f.known_until_ns IS NULL AND f.valid_until_ns IS NULL AND r.source = ? AND f.subject = ? "
            "AND f.relation = ?",
            (SOURCE, subject, relation),
        )
        believed = {fact.object for fact in held if fact.object.partition("; ")[0] == object}
        for gone in sorted(believed - set(found)):
            ended = Claim(
                subject=subject, relation=relation, object=gone, says="ended", valid_until_ns=now_ns, source=SOURCE
            )
            done.ended += self.update(ended).operation == "DELETE"
        names = self._names(rows, subject, object)
        for what in sorted(set(found) - believed):
            pattern = found[what]
            words = f"{names[0]} is {relation} {names[1]} {pattern.text}"
            if kind == "event":
                words = f"{subject} {relation} {object} {pattern.text}"
            claim = Claim(
                subject=subject,
                relation=relation,
                object=what,
                valid_from_ns=now_ns,
                confidence=pattern.confidence,
                source=SOURCE,
                names=names,
                text=words,
                evidence=evidence,
            )
            made = self.update(claim)
            if made.operation in ("ADD", "UPDATE") and made.fact is not None:
                done.begun.append(made.fact)

    def _names(self, rows: list[Fact] | None, subject: str, object: str) -> tuple[str, str]:
        """Words for subject and object, as the facts say them."""
        if not rows:
            return subject, object
        text = rows[-1].text.replace(" was ", " is ", 1)
        label = self.table.words(rows[-1]).label
        _, between, name = text.partition(f" is {rows[-1].relation} ")
        return label, name if between else object

    def _examine_choices(self, subject: str, relation: str, now_ns: int, done: Mined) -> None:
        rows = self.table.select(
            "f.known_until_ns IS NULL AND f.subject = ? AND f.relation = ? AND f.valid_from_ns <= ?",
            (subject, relation, now_ns),
        )
        if not rows:
            return
        shown = preference([fact.object for fact in rows], self.config)
        if shown.changed:
            done.changes[subject, relation] = shown
        wanted, of = shown.best, f"prefers of {relation!r}"
        held = self.table.select(
            "f.known_until_ns IS NULL AND f.valid_until_ns IS NULL AND f.subject = ? AND f.relation = ? "
            "AND r.source = ?",
            (subject, of, SOURCE),
        )
        if [fact.object for fact in held] == [wanted]:
            return
        for fact in held:
            gone = Claim(
                subject=subject, relation=of, object=fact.object, says="ended", valid_until_ns=now_ns, source=SOURCE
            )
            done.ended += self.update(gone).operation == "DELETE"
        share = (shown.short if shown.changed else shown.fused)[wanted]
        if len(rows) < self.config.min_days or share < self.config.min_share:
            return
        claim = Claim(
            subject=subject,
            relation=of,
            object=wanted,
            valid_from_ns=now_ns,
            confidence=share,
            source=SOURCE,
            text=f"{subject} prefers {wanted}",
            evidence=[fact.number for fact in rows[-_MOST_EVIDENCE:]],
        )
        made = self.update(claim)
        if made.operation in ("ADD", "UPDATE") and made.fact is not None:
            done.begun.append(made.fact)
