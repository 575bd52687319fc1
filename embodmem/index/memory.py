"""What every memory that is made of records has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from embodmem.errors import InvalidInput
from embodmem.index.choose import depth, spread
from embodmem.index.records import Records
from embodmem.store.changes import note_new
from embodmem.types import Event, Percept, Query, Recall

_TABLES = ("record", "record_tag", "record_link", "object", "keyframe", "fact")
_LATER = ("record_vector", "keyframe_surface", "keyframe_depth")
"""Tables that a state of an older version does not hold."""


class RecordMemory:
    """Recall, forget, clear and state of a memory whose content is records of certain kinds.

    A subclass says which `kinds` are its own and implements `apply`, which writes one experience inside a
    transaction, and `reload`, which reads again what it holds in RAM.
    """

    kinds: ClassVar[tuple[str, ...]]
    tables: ClassVar[tuple[str, ...]] = ()
    """Tables of its own whose rows go with its records: each has the record's row id as `id`."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.store = records.store

    @property
    def name(self) -> str:
        """Under which its stamps are kept."""
        return type(self).__name__

    def write(self, experience: Percept | Event) -> None:
        """Remember it; when this returns, it is on disk.

        Raises:
            StampError: Time went backwards for its agent.
        """
        with self.store.transaction():
            self.store.advance(self.name, experience.agent, experience.stamp_ns)
            self.apply(experience)

    def apply(self, experience: Percept | Event) -> Any:
        """Write one experience inside the caller's transaction."""
        raise TypeError(f"{self.name} does not say how it writes")

    def reload(self) -> None:
        """Read again from the file what is held in RAM; a memory that holds nothing has nothing to do."""

    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        """The k best answers, best first; [] when nothing matches."""
        query = as_query(query)
        return spread(self.records.search(query, depth(query, k) if k > 0 else k, self.looked_at(query)), query, k)

    def looked_at(self, query: Query) -> tuple[str, ...]:
        """The kinds of records among which a query is answered."""
        return self.kinds

    def forget(self, query: Query) -> int:
        """Remove all that matches, from memory and from disk; returns how many records went.

        Raises:
            InvalidInput: The query is empty; `clear` removes everything.
        """
        gone = self.remove(self.records.match(query, self.kinds))
        self.store.erase_traces()
        return gone

    def remove(self, numbers: list[int]) -> int:
        """Remove records of this memory, by row id, from every index; the disk is not yet cleaned."""
        gone = self.records.remove(numbers)
        self.reload()
        return gone

    def clear(self) -> None:
        """Remove everything, stamps included."""
        with self.store.transaction() as db:
            marks = ",".join("?" * len(self.kinds))
            db.execute(f"DELETE FROM record WHERE kind IN ({marks})", self.kinds)
            db.execute("DELETE FROM stamp WHERE owner = ?", (self.name,))
        self.reload()
        self.store.erase_traces()

    def state_dict(self) -> dict[str, Any]:
        """Its rows: table -> {"columns": [...], "rows": [...]}, and its newest stamps."""
        marks = ",".join("?" * len(self.kinds))
        own = f"SELECT id FROM record WHERE kind IN ({marks})"
        encoder = self.records.encoder
        state: dict[str, Any] = {"encoder": None if encoder is None else encoder.name}
        with self.store.read() as db:
            for table in (*_TABLES, *_LATER, *self.tables):
                cursor = db.execute(f"SELECT * FROM {table} WHERE id IN ({own}) ORDER BY id", self.kinds)
                state[table] = {"columns": [c[0] for c in cursor.description], "rows": cursor.fetchall()}
            stamps = db.execute("SELECT agent, ns FROM stamp WHERE owner = ?", (self.name,)).fetchall()
        state["stamps"] = dict(stamps)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace its content by what `state_dict` gave.

        Raises:
            InvalidInput: The state lacks a table, or holds ids that another memory of this file uses.
        """
        missing = [name for name in (*_TABLES, "stamps") if name not in state]
        if missing:
            raise InvalidInput(f"state: wanted {', '.join((*_TABLES, 'stamps'))}; {', '.join(missing)} is missing")
        marks = ",".join("?" * len(self.kinds))
        with self.store.transaction() as db:
            db.execute(f"DELETE FROM record WHERE kind IN ({marks})", self.kinds)
            db.execute("DELETE FROM stamp WHERE owner = ?", (self.name,))
            taken = {row[0] for row in db.execute("SELECT id FROM record")}
            clash = taken & {row[0] for row in state["record"]["rows"]}
            if clash:
                raise InvalidInput(f"state: wanted ids that are free in this file, but {sorted(clash)[:3]} are in use")
            for table in (*_TABLES, *(name for name in (*_LATER, *self.tables) if name in state)):
                columns, rows = state[table]["columns"], state[table]["rows"]
                if table == "record" and "embedding" in columns:  # a state of before vectors stood apart
                    at = columns.index("embedding")
                    columns, rows = _without(columns, at), [_without(row, at) for row in rows]
                if table == "record_link":  # a link to what this file does not hold cannot be kept
                    known = {row[0] for row in db.execute("SELECT id FROM record")}
                    rows = [row for row in rows if row[columns.index("ref")] in known]
                db.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", rows
                )
                for row in rows if table == "record" else ():
                    note_new(db, row[columns.index("id")], row[columns.index("id")])
            stamps = [(self.name, agent, ns) for agent, ns in state["stamps"].items()]
            db.executemany("INSERT INTO stamp VALUES (?, ?, ?)", stamps)
            encoder = self.records.encoder
            if state.get("encoder") != (None if encoder is None else encoder.name):
                own = f"SELECT id FROM record WHERE kind IN ({marks})"
                db.execute(f"DELETE FROM record_vector WHERE id IN ({own})", self.kinds)
            self.records.encode_texts(missing_only=True)
        self.reload()


def _without(values: Sequence[Any], at: int) -> list[Any]:
    return [*values[:at], *values[at + 1 :]]


def as_query(query: Query | str) -> Query:
    """A text becomes a Query for that text."""
    return Query(text=query) if isinstance(query, str) else query
