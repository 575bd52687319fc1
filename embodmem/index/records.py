"""Records: the one form in which objects, keyframes, events, facts and notes are kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.index.search import Search
from embodmem.store import Store
from embodmem.types import Encoder


@dataclass(slots=True, kw_only=True)
class Record:
    """One thing to keep.

    Attributes:
        kind: "object", "room", "keyframe", "event", "fact" or "item".
        first_ns: When it was first seen or began, ns.
        last_ns: When it was last seen or ended, ns.
        label: What it is.
        text: It in words; goes to the word index and the encoder.
        subkind: An event's own kind.
        agent: Whose it is.
        source: Who says so; "" for what was perceived.
        position: (3,) metres in the world, or None.
        box: (2, 3) lower and upper corner; None takes the position as a point.
        tags: Labels and ids by which label filters find it, its label always included.
        evidence: Row ids that it rests on.
        data: What its kind adds; plain values.
    """

    kind: str
    first_ns: int
    last_ns: int
    label: str = ""
    text: str = ""
    subkind: str = ""
    agent: str = ""
    source: str = ""
    position: NDArray[np.float64] | None = None
    box: NDArray[np.float64] | None = None
    tags: Iterable[str] = ()
    evidence: Sequence[int] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Its row of the table `record`, without id and embedding."""
        position = [None] * 3 if self.position is None else np.asarray(self.position, np.float64).tolist()
        corners = [*position, *position] if self.box is None else np.asarray(self.box, np.float64).reshape(6).tolist()
        names = ("x", "y", "z", "x0", "y0", "z0", "x1", "y1", "z1")
        return {
            "kind": self.kind,
            "subkind": self.subkind,
            "agent": self.agent,
            "source": self.source,
            "label": self.label,
            "text": self.text,
            "first_ns": int(self.first_ns),
            "last_ns": int(self.last_ns),
            **dict(zip(names, (*position, *corners), strict=True)),
            "data": json.dumps(dict(self.data)),
        }


class Records(Search):
    """Adds, changes, removes and finds records; all indexes follow within the same transaction.

    Texts are encoded in one batch just before the transaction commits.

    Args:
        store: The memory's file.
        encoder: Texts to vectors; None leaves the channel "meaning" out.
    """

    def __init__(self, store: Store, encoder: Encoder | None) -> None:
        super().__init__(store, encoder)
        self._to_encode: dict[int, str] = {}
        store.before_commit.append(self._encode_pending)
        store.after_rollback.append(self._to_encode.clear)

    def add(self, record: Record, number: int | None = None) -> int:
        """Keep a record; returns its row id, which is `number` for one that comes back after it was removed."""
        columns = record.columns() if number is None else {"id": number, **record.columns()}
        with self.store.transaction() as db:
            names, marks = ", ".join(columns), ", ".join("?" * len(columns))
            cursor = db.execute(f"INSERT INTO record ({names}) VALUES ({marks})", tuple(columns.values()))
            number = int(cursor.lastrowid or 0)
            self._set_tags(db, number, record)
            if record.text:
                self._to_encode[number] = record.text
        return number

    def replace(self, number: int, record: Record) -> None:
        """Change a record in place; its text is encoded again only when it differs."""
        columns = record.columns()
        with self.store.transaction() as db:
            old = db.execute("SELECT text FROM record WHERE id = ?", (number,)).fetchone()
            if old is None:
                raise InvalidInput(f"record: wanted one that exists, got row {number}")
            assigned = ", ".join(f"{name} = ?" for name in columns)
            db.execute(f"UPDATE record SET {assigned} WHERE id = ?", (*columns.values(), number))
            self._set_tags(db, number, record)
            if record.text != old[0]:
                self._to_encode[number] = record.text

    @staticmethod
    def _set_tags(db: sqlite3.Connection, number: int, record: Record) -> None:
        tags = {tag.lower() for tag in (record.label, *record.tags) if tag}
        db.execute("DELETE FROM record_tag WHERE id = ?", (number,))
        db.executemany("INSERT INTO record_tag VALUES (?, ?)", [(tag, number) for tag in sorted(tags)])
        db.execute("DELETE FROM record_link WHERE id = ?", (number,))
        db.executemany("INSERT OR IGNORE INTO record_link VALUES (?, ?)", [(number, ref) for ref in record.evidence])

    def remove(self, numbers: Iterable[int]) -> int:
        """Remove records from every index; returns how many were there. `Store.erase_traces` cleans the disk."""
        rows = [int(number) for number in numbers]
        with self.store.transaction() as db:
            sql = "DELETE FROM record WHERE id IN (SELECT value FROM json_each(?))"
            gone = int(db.execute(sql, (json.dumps(rows),)).rowcount)
            for number in rows:
                self._to_encode.pop(number, None)
            self._vectors.drop(rows)
        return gone

    def _encode_pending(self, db: sqlite3.Connection) -> None:
        if not self._to_encode:
            return
        if self.encoder is None:  # an encoder fills in what is missing when it is there again
            sql = "UPDATE record SET embedding = NULL WHERE id = ? AND embedding IS NOT NULL"
            db.executemany(sql, [(number,) for number in self._to_encode])
            self._to_encode.clear()
            return
        numbers = list(self._to_encode)
        vectors = self.encode([self._to_encode[number] for number in numbers])
        db.executemany(
            "UPDATE record SET embedding = ? WHERE id = ?",
            [(vector.tobytes(), number) for vector, number in zip(vectors, numbers, strict=True)],
        )
        self._vectors.put(numbers, vectors)
        self._to_encode.clear()

    def encode_texts(self, missing_only: bool = False) -> None:
        """Encode the texts of all records again, or of those alone that have no vector."""
        with self.store.transaction() as db:
            condition = "text != '' AND embedding IS NULL" if missing_only else "text != '' OR embedding IS NOT NULL"
            self._to_encode.update(db.execute(f"SELECT id, text FROM record WHERE {condition}").fetchall())
            if not missing_only:
                self._vectors.invalidate()

    def invalidate_vectors(self) -> None:
        """Read all vectors again at the next search, after rows were written past `add` and `replace`."""
        self._vectors.invalidate()
