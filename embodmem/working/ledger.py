"""Where items go that leave the context: to episodic memory, so that nothing is lost.

An item that stands for a record which says the same is removed, and the ledger notes what that record does not tell.
Any other item becomes an event of kind "noted" in place, with all its indexes, so that what is recalled or forgotten by
words, labels or time concerns it as before. The ledger holds no words but tags that its record has, too, and goes with
that record.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from embodmem.errors import InvalidInput
from embodmem.index import Record, Records
from embodmem.types import Recall

KIND = "item"


class Ledger:
    """Moves items out of the context and back, within the caller's transaction.

    Args:
        records: Where they are kept.
    """

    def __init__(self, records: Records) -> None:
        self.records = records

    def spill(self, db: sqlite3.Connection, number: int, reason: str, holder: int | None = None) -> None:
        """Move an item out of the context.

        Args:
            db: The running transaction.
            number: Row id of the item.
            reason: "evicted", "hidden", "summarised", "folded" or "unfolded".
            holder: Row id of the item that stands for it, a summary.
        """
        sql = f"SELECT text, agent, first_ns, data FROM record WHERE id = ? AND kind = '{KIND}'"
        row = db.execute(sql, (number,)).fetchone()
        if row is None:
            return
        text, agent, stamp_ns, data = row
        tags = [tag for (tag,) in db.execute("SELECT tag FROM record_tag WHERE id = ? ORDER BY tag", (number,))]
        refs = [ref for (ref,) in db.execute("SELECT ref FROM record_link WHERE id = ? ORDER BY ref", (number,))]
        insert = "INSERT INTO working_spilled (item, id, reason, holder, content) VALUES (?, ?, ?, ?, ?)"
        if len(refs) == 1 and self._says_the_same(db, refs[0], row[:3], tags):
            content = {"data": json.loads(data), "tags": tags}
            db.execute(insert, (number, refs[0], reason, holder, json.dumps(content)))
            self.records.remove([number])
            return
        kept = json.loads(data)
        record = Record(kind="event", subkind="noted", text=text, first_ns=stamp_ns, last_ns=stamp_ns, agent=agent)
        record.tags, record.evidence, record.data = tags, refs, {"objects": tags, "outcome": ""}
        self.records.replace(number, record)
        if refs or kept.get("view"):  # its record, or the keyframes, answer for it
            db.execute("UPDATE record SET live = 0 WHERE id = ?", (number,))
        db.execute(insert, (number, number, reason, holder, json.dumps({"data": kept})))

    @staticmethod
    def _says_the_same(db: sqlite3.Connection, ref: int, said: tuple[Any, ...], tags: list[str]) -> bool:
        other = db.execute("SELECT text, agent, first_ns FROM record WHERE id = ?", (ref,)).fetchone()
        known = {tag for (tag,) in db.execute("SELECT tag FROM record_tag WHERE id = ?", (ref,))}
        return other == said and known.issuperset(tags)

    def restore(self, db: sqlite3.Connection, number: int) -> None:
        """Bring an item back as it was."""
        row = db.execute("SELECT id, content FROM working_spilled WHERE item = ?", (number,)).fetchone()
        if row is None:
            raise InvalidInput(f"working: wanted an item that left the context, got 'item:{number}'")
        where, content = row[0], json.loads(row[1])
        text, agent, ns = db.execute("SELECT text, agent, first_ns FROM record WHERE id = ?", (where,)).fetchone()
        record = Record(kind=KIND, text=text, first_ns=ns, last_ns=ns, agent=agent, data=content["data"])
        if where == number:
            record.tags = [tag for (tag,) in db.execute("SELECT tag FROM record_tag WHERE id = ?", (number,))]
            record.evidence = [ref for (ref,) in db.execute("SELECT ref FROM record_link WHERE id = ?", (number,))]
            self.records.replace(number, record)
            db.execute("UPDATE record SET live = 1 WHERE id = ?", (number,))
        else:
            record.tags, record.evidence = content["tags"], [where]
            self.records.add(record, number)
        db.execute("DELETE FROM working_spilled WHERE item = ?", (number,))

    def find(self, db: sqlite3.Connection, number: int) -> tuple[str, int | None] | None:
        """Why an item left the context and what stands for it; None where it is in the context, or nowhere."""
        row = db.execute("SELECT reason, holder FROM working_spilled WHERE item = ?", (number,)).fetchone()
        return None if row is None else (row[0], row[1])

    def move(self, db: sqlite3.Connection, number: int, reason: str, holder: int | None) -> None:
        """Give an item that has left another reason and holder."""
        db.execute("UPDATE working_spilled SET reason = ?, holder = ? WHERE item = ?", (reason, holder, number))

    def change(self, db: sqlite3.Connection, number: int, values: Mapping[str, Any]) -> None:
        """Change what an item that has left carries."""
        sql = "UPDATE working_spilled SET content = json_patch(content, ?) WHERE item = ?"
        db.execute(sql, (json.dumps({"data": dict(values)}), number))

    def numbers(self, db: sqlite3.Connection, condition: str, values: tuple[Any, ...]) -> list[int]:
        """Row ids of the items that have left and meet a condition on the ledger, in the order they were noted."""
        sql = f"SELECT s.item FROM working_spilled s JOIN record r ON r.id = s.id WHERE {condition}"
        return [row[0] for row in db.execute(f"{sql} ORDER BY r.first_ns, s.item", values)]

    def read(self, db: sqlite3.Connection, numbers: list[int]) -> list[Recall]:
        """Items that have left, as they were in the context."""
        sql = "SELECT s.item, s.id, s.content FROM working_spilled s WHERE s.item IN (SELECT value FROM json_each(?))"
        rows = {item: (where, json.loads(c)) for item, where, c in db.execute(sql, (json.dumps(numbers),))}
        found = {item.id.rpartition(":")[2]: item for item in self.records.get([where for where, _ in rows.values()])}
        made = []
        for number in numbers:
            if number not in rows:
                continue
            where, content = rows[number]
            item = found[str(where)]
            agent = {"agent": item.data["agent"]} if "agent" in item.data else {}
            evidence = item.evidence if where == number else (item.id,)
            data = {**content["data"], **agent}
            ns = item.first_seen_ns
            made.append(
                replace(
                    item,
                    kind=KIND,
                    id=f"{KIND}:{number}",
                    position=None,
                    label="",
                    last_seen_ns=ns,
                    evidence=evidence,
                    data=data,
                )
            )
        return made
