"""What another memory learnt to do, taken into this one: what its cases earned, and its skills."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from embodmem.procedural.skills import KIND, SCRIPT, Skills

if TYPE_CHECKING:
    from embodmem.procedural.memory import ProceduralMemory


def adopt(ours: ProceduralMemory, theirs: ProceduralMemory, rows: Mapping[int, int]) -> int:
    """Take in what cases earned in which state, and skills with their versions and uses; done twice it adds nothing.

    A skill that says the same as one here, or that rests on experiences of one here, is that one: it keeps what it
    says here, and the uses of both count; `distil` may better it from all experiences.

    Args:
        ours: Takes it in.
        theirs: Is read.
        rows: Row ids of their experiences -> row ids here.

    Returns:
        How many skills are new.
    """
    with ours.store.transaction() as db, theirs.store.read() as source:
        for case, terms, q, n in source.execute("SELECT id, terms, q, n FROM case_value ORDER BY number").fetchall():
            if case in rows:
                db.execute(
                    "INSERT INTO case_value (id, terms, q, n) SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS "
                    "(SELECT 1 FROM case_value WHERE id = ?1 AND terms = ?2)",
                    (rows[case], terms, q, n),
                )
        return _Adoption(ours, db, source, rows).skills()


class _Adoption:
    def __init__(
        self, ours: ProceduralMemory, db: sqlite3.Connection, source: sqlite3.Connection, rows: Mapping[int, int]
    ) -> None:
        self.kept, self.records = ours.skill_store, ours.records
        self.db, self.source, self.rows = db, source, rows
        self.here = _contents(db)
        self.rests = Skills.evidence(db)

    def skills(self) -> int:
        new = 0
        rests = Skills.evidence(self.source)
        for number, (content, first_ns, last_ns, data) in _contents(self.source).items():
            evidence = sorted({self.rows[ref] for ref in rests.get(number, ()) if ref in self.rows})
            mine = self._same(content, set(evidence))
            if mine is None:
                mine = self.kept.add_known(json.loads(content), evidence, (first_ns, last_ns), data)
                self._history(number, mine)
                new += 1
            self._uses(number, mine)
            self.kept.settle(self.db, mine, last_ns)
        return new

    def _same(self, content: str, evidence: set[int]) -> int | None:
        """The skill here that says the same, or else shares most experiences."""
        for number, (said, *_) in self.here.items():
            if said == content:
                return number
        shared = max(((len(known & evidence), -n) for n, known in self.rests.items()), default=(0, 0))
        return -shared[1] if shared[0] else None

    def _history(self, number: int, mine: int) -> None:
        sql = "SELECT version, stamp_ns, what, why, content FROM skill_change WHERE id = ? ORDER BY number"
        self.db.executemany(
            "INSERT INTO skill_change (id, version, stamp_ns, what, why, content) VALUES (?, ?, ?, ?, ?, ?)",
            [(mine, *row) for row in self.source.execute(sql, (number,))],
        )

    def _uses(self, number: int, mine: int) -> None:
        sql = "SELECT experience, success, stamp_ns FROM skill_use WHERE id = ? ORDER BY number"
        for experience, success, stamp_ns in self.source.execute(sql, (number,)).fetchall():
            rests = self.rows.get(experience)
            self.db.execute(
                "INSERT OR IGNORE INTO skill_use (id, experience, success, stamp_ns) SELECT ?1, ?2, ?3, ?4 "
                "WHERE ?2 IS NOT NULL OR NOT EXISTS (SELECT 1 FROM skill_use WHERE id = ?1 AND experience IS NULL "
                "AND success = ?3 AND stamp_ns = ?4)",
                (mine, rests, success, stamp_ns),
            )


def _contents(db: sqlite3.Connection) -> dict[int, tuple[str, int, int, dict[str, Any]]]:
    """Row id of each skill, deprecated ones too -> what it says as JSON, since when and until when, and its data."""
    sql = f"SELECT id, first_ns, last_ns, data FROM record WHERE kind = '{KIND}' ORDER BY id"
    found = {}
    for number, first_ns, last_ns, text in db.execute(sql).fetchall():
        data = json.loads(text)
        found[number] = (json.dumps({name: data[name] for name in SCRIPT}), first_ns, last_ns, data)
    return found
