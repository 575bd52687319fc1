"""What consolidation changed, why, and the way back (MemOS, Li et al., 2025: provenance, versions, rollback)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from embodmem.errors import InvalidInput
from embodmem.index import Records


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        number: Its number, ascending.
        stamp_ns: When, ns.
        what: "merge" (several records became one), "retire" (one faded), "expire", "reject" (not admitted), "drop"
            (bytes are gone), "thin" and "renew" (vectors in fewer bits, and whole again).
        why: The reason, in words.
        made: Row id of the record that it made, or None.
        parts: Row ids of what it took out of recall, as far as they are still there.
    """

    number: int
    stamp_ns: int
    what: str
    why: str
    made: int | None
    parts: tuple[int, ...]


class Changes:
    """The log of changes; what it took out of recall stays, for the history only, until `settle` drops it.

    Args:
        records: Of the memory.
    """

    def __init__(self, records: Records) -> None:
        self.records, self.store = records, records.store

    def note(self, stamp_ns: int, what: str, why: str, parts: Sequence[int] = (), made: int | None = None) -> int:
        """Log a change and take its parts out of recall; returns its number."""
        with self.store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO change (stamp_ns, what, why, made) VALUES (?, ?, ?, ?)", (stamp_ns, what, why, made)
            )
            number = int(cursor.lastrowid or 0)
            db.executemany("INSERT INTO change_part VALUES (?, ?)", [(number, part) for part in parts])
            ids = json.dumps([int(part) for part in parts])
            db.execute("UPDATE record SET live = 0 WHERE id IN (SELECT value FROM json_each(?))", (ids,))
        return number

    def all(self, since_ns: int = 0, limit: int = 1000) -> list[Change]:
        """Changes since a time, newest first."""
        with self.store.read() as db:
            rows = db.execute(
                "SELECT number, stamp_ns, what, why, made, (SELECT json_group_array(id) FROM change_part p "
                "WHERE p.change = c.number) FROM change c WHERE stamp_ns >= ? ORDER BY number DESC LIMIT ?",
                (since_ns, limit),
            ).fetchall()
        return [Change(n, stamp, what, why, made, tuple(json.loads(ids))) for n, stamp, what, why, made, ids in rows]

    def undo(self, number: int) -> int:
        """Take a change back: what it took out of recall is there again, and what it made is gone.

        Returns:
            How many records are back.

        Raises:
            InvalidInput: There is no such change, or it is settled.
        """
        with self.store.transaction() as db:
            row = db.execute("SELECT made FROM change WHERE number = ?", (number,)).fetchone()
            parts = [part for (part,) in db.execute("SELECT id FROM change_part WHERE change = ?", (number,))]
            if row is None or not parts:
                raise InvalidInput(f"undo: wanted the number of a change that is not settled, got {number}")
            ids = json.dumps(parts)
            db.execute("UPDATE record SET live = 1 WHERE id IN (SELECT value FROM json_each(?))", (ids,))
            db.execute("DELETE FROM change WHERE number = ?", (number,))
            if row[0] is not None:
                self.records.remove([row[0]])
        return len(parts)

    def settle(self, before_ns: int, limit: int) -> list[int]:
        """Drop for good what changes before a time took out of recall, `limit` records at most; returns their row ids.

        What rested on them rests on what they became.
        """
        with self.store.transaction() as db:
            rows = db.execute(
                "SELECT p.id, c.made FROM change_part p JOIN change c ON c.number = p.change "
                "WHERE c.stamp_ns < ? ORDER BY p.change, p.id LIMIT ?",
                (before_ns, limit),
            ).fetchall()
            moved = [(made, part) for part, made in rows if made is not None]
            # A link that is there already stays as it is.
            db.executemany("UPDATE OR IGNORE record_link SET ref = ?1 WHERE ref = ?2 AND id != ?1", moved)
            self.records.remove([part for part, _ in rows])
            db.execute(
                "DELETE FROM change WHERE stamp_ns < ? AND what != 'drop' "
                "AND NOT EXISTS (SELECT 1 FROM change_part p WHERE p.change = number)",
                (before_ns,),
            )
        return [part for part, _ in rows]
