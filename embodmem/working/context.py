"""The items that are in the context now, and the ways in and out of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from embodmem.config_agent import WorkingConfig
from embodmem.errors import InvalidInput
from embodmem.index import Record, Records
from embodmem.index.filters import row_id
from embodmem.types import Recall
from embodmem.working.bounds import Count, Held, Usage, in_order, surplus, usage
from embodmem.working.edits import Place
from embodmem.working.ledger import KIND, Ledger

_TABLES = ("working_spilled", "working_edit", "working_edit_item")


class Context:
    """Keeps the context within its bounds, within the caller's transaction.

    Args:
        records: Where items are kept.
        config: The bounds.
        count: Counts the tokens of a text.
    """

    def __init__(self, records: Records, config: WorkingConfig, count: Count) -> None:
        self.records, self.config, self.count = records, config, count
        self.ledger = Ledger(records)
        self._held: dict[int, Held] | None = None

    def reload(self) -> None:
        """Read the items again at the next use."""
        self._held = None

    @property
    def held(self) -> dict[int, Held]:
        """Row id -> what is needed of each item in the context; read again where another process writes."""
        if self._held is None or self.records.store.read_only:
            sql = (
                "SELECT r.id, r.first_ns, r.text, r.data, (SELECT json_group_array(tag) FROM record_tag t "
                f"WHERE t.id = r.id) FROM record r WHERE r.kind = '{KIND}'"
            )
            with self.records.store.read() as db:
                rows = db.execute(sql).fetchall()
            self._held = {n: self._light(n, ns, text, json.loads(d), json.loads(t)) for n, ns, text, d, t in rows}
        return self._held

    @staticmethod
    def _light(number: int, stamp_ns: int, text: str, data: Mapping[str, Any], tags: Iterable[str]) -> Held:
        # Items of files that were written before there was a salience have none.
        return Held(number, stamp_ns, text, bool(data["pinned"]), float(data.get("salience", 1.0)), frozenset(tags))

    def usage(self) -> Usage:
        """What the context takes."""
        return usage(self.held.values(), self.count)

    def newest_ns(self) -> int:
        """The stamp of the newest item; 0 while there is none."""
        return max((item.stamp_ns for item in self.held.values()), default=0)

    def novelty(self, tags: Sequence[str]) -> float:
        """1, and more for what is about other things than the context: 1 + the part of the tags that is new."""
        about = {tag.lower() for tag in tags if tag}
        known = frozenset[str]().union(*(item.tags for item in self.held.values()))
        return 1.0 + len(about - known) / len(about) if about else 1.0

    def sinks(self, root: int) -> set[int]:
        """Row ids of the first items: of the task at hand (noted after its root), or of the whole context."""
        if not self.config.sinks:
            return set()
        first = [item.number for item in in_order(self.held.values()) if item.number > root]
        return set(first[: self.config.sinks])

    def put(self, db: sqlite3.Connection, record: Record, root: int) -> int:
        """Add an item and make room for it; returns its row id."""
        number = self.add(record)
        self.make_room(db, {number}, root)
        return number

    def add(self, record: Record) -> int:
        """Add an item."""
        held, number = self.held, self.records.add(record)
        tags = [tag.lower() for tag in record.tags if tag]
        held[number] = self._light(number, int(record.first_ns), record.text, record.data, tags)
        return number

    def make_room(self, db: sqlite3.Connection, kept: Collection[int], root: int) -> None:
        """Move out what does not fit."""
        for item in surplus(self.held.values(), self.config, self.count, self.sinks(root), kept):
            self.take_out(db, [item.number], "evicted")

    def take_out(self, db: sqlite3.Connection, numbers: Iterable[int], reason: str, holder: int | None = None) -> None:
        """Move items out; one that is out already gets another reason, if something stands for it now."""
        for number in numbers:
            if number in self.held:
                self.ledger.spill(db, number, reason, holder)
                del self.held[number]
            elif holder is not None:
                self.ledger.move(db, number, reason, holder)
            else:
                raise InvalidInput(f"working: wanted an item of the context, but '{KIND}:{number}' left it")

    def number(self, record_id: str) -> int:
        """Row id of an item, in the context or not.

        Raises:
            InvalidInput: There is no such item.
        """
        if record_id.startswith(f"{KIND}:"):
            number = row_id(record_id)
            with self.records.store.read() as db:
                if number in self.held or self.ledger.find(db, number) is not None:
                    return number
        raise InvalidInput(f"working: wanted the id of an item, got {record_id!r}")

    def set_pinned(self, db: sqlite3.Connection, number: int, pinned: bool) -> None:
        """Pin an item, or let it go."""
        if number in self.held:
            self.write_data(db, number, {"pinned": pinned})
            self.held[number].pinned = pinned
        else:
            self.ledger.change(db, number, {"pinned": pinned})

    @staticmethod
    def write_data(db: sqlite3.Connection, number: int, values: Mapping[str, Any]) -> None:
        """Change what an item of the context carries."""
        db.execute("UPDATE record SET data = json_patch(data, ?) WHERE id = ?", (json.dumps(dict(values)), number))

    def restore(self, db: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, Place]:
        """Bring items back; in the place of a summary, what it stands for. Returns where what that moved was."""
        moved: dict[int, Place] = {}
        for number in numbers:
            parts = [row_id(item.id) for item in self.parts(db, number)]
            if parts:
                moved |= self.places(db, [*parts, number])
                if number in self.held:
                    self.take_out(db, [number], "unfolded")
            for part in parts or [number]:
                if part in self.held:
                    raise InvalidInput(f"working: wanted an item that left the context, but '{KIND}:{part}' is in it")
                self.bring_in(db, part)
        return moved

    def bring_in(self, db: sqlite3.Connection, number: int) -> None:
        """Bring one item back as it was."""
        self.ledger.restore(db, number)
        sql = "SELECT first_ns, text, data FROM record WHERE id = ?"
        stamp_ns, text, data = db.execute(sql, (number,)).fetchone()
        self.held[number] = self._light(number, stamp_ns, text, json.loads(data), self.tags(db, [number]))

    def parts(self, db: sqlite3.Connection, number: int) -> list[Recall]:
        """What a summary stands for, as it was."""
        return self.ledger.read(db, self.ledger.numbers(db, "s.holder = ?", (number,)))

    def tags(self, db: sqlite3.Connection, numbers: Sequence[int]) -> list[str]:
        """The tags of items, in the context or not."""
        sql = (
            "SELECT DISTINCT tag FROM record_tag WHERE id IN (SELECT value FROM json_each(?1) UNION "
            "SELECT id FROM working_spilled WHERE item IN (SELECT value FROM json_each(?1))) ORDER BY tag"
        )
        return [tag for (tag,) in db.execute(sql, (json.dumps(list(numbers)),))]

    def places(self, db: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, Place]:
        """Where items are."""
        made: dict[int, Place] = {}
        for number in numbers:
            if number in self.held:
                made[number] = {"in": True, "pinned": self.held[number].pinned}
                continue
            sql = "SELECT reason, holder, json_extract(content, '$.data.pinned') FROM working_spilled WHERE item = ?"
            row = db.execute(sql, (number,)).fetchone()
            made[number] = row and {"in": False, "reason": row[0], "holder": row[1], "pinned": bool(row[2])}
        return made

    def all_places(self, db: sqlite3.Connection, besides: Iterable[int]) -> dict[int, Place]:
        """Where all items of the context are, and these."""
        return self.places(db, {*self.held, *besides})

    def change_back(self, db: sqlite3.Connection, number: int, was: Place, now: Place) -> None:
        """Undo what an edit did to an item: what it did not change stays as it is by now."""
        if was is None:  # it was made by the edit
            db.execute("DELETE FROM working_edit_item WHERE item = ?", (number,))
            self.held.pop(number, None)
            self.records.remove([number])
            return
        here = self.places(db, [number])[number]
        if now is None or here is None:
            return
        if was["in"] and not now["in"] and not here["in"]:
            self.bring_in(db, number)
        elif not was["in"] and now["in"] and here["in"]:
            self.take_out(db, [number], was["reason"], was["holder"])
        elif not was["in"] and not here["in"]:
            self.ledger.move(db, number, was["reason"], was["holder"])
        if was["pinned"] != now["pinned"]:
            self.set_pinned(db, number, was["pinned"])

    def clear(self, db: sqlite3.Connection) -> None:
        """Forget what left and what was edited; the items themselves are the caller's."""
        for table in _TABLES:
            db.execute(f"DELETE FROM {table}")
        self.reload()

    def state(self, db: sqlite3.Connection) -> dict[str, Any]:
        """The rows of its tables."""
        return {table: [list(row) for row in db.execute(f"SELECT * FROM {table}")] for table in _TABLES}

    def load_state(self, db: sqlite3.Connection, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave, as far as the records that it rests on are there."""
        known = {row[0] for row in db.execute("SELECT id FROM record")}
        for table in _TABLES:
            rows = [row for row in state.get(table, ()) if table != "working_spilled" or row[1] in known]
            if rows:
                db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        self.reload()
