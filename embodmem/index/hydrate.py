"""Rows of the file as answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from embodmem.index.held import Held
from embodmem.store import Store
from embodmem.types import Recall

_COLUMNS = "id, kind, subkind, label, text, first_ns, last_ns, x, y, z, data, agent, source"
_LABEL, _TEXT, _DATA = 3, 4, 10
_ROW_BYTES = 600
"""About what a row takes beside its text and its data."""

_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
"""Lists of few numbers have one of these lengths, so that SQLite meets the same statements again."""

_decode = json.JSONDecoder().raw_decode


def among(numbers: Sequence[int] | Sequence[str]) -> tuple[str, list[int | str]]:
    """What stands after `id` to choose some, and its parameters; a few by name cost less than a list taken apart."""
    for size in _SIZES:
        if 0 < len(numbers) <= size:
            return f"IN (?{', ?' * (size - 1)})", [*numbers, *[numbers[-1]] * (size - len(numbers))]
    return "IN (SELECT value FROM json_each(?))", [json.dumps(numbers)]


Row = tuple[Any, ...]
"""What the table `record` holds of one, as `_COLUMNS` names it."""


class Said(NamedTuple):
    """What a record says, and who says it.

    Attributes:
        kind: Of the record.
        subkind: An event's own kind.
        source: Who says so.
        text: What.
    """

    kind: str
    subkind: str
    source: str
    text: str


class Contents:
    """Rows of the table `record`, held until they change.

    Args:
        store: The memory's file.
    """

    def __init__(self, store: Store) -> None:
        self._held: Held[Row] = Held(store, lambda row: len(row[_TEXT]) + len(row[_DATA]) + _ROW_BYTES)

    def rows(self, db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Row]:
        """Row id -> row, of those that exist."""

        def read(left: list[int]) -> dict[int, Row]:
            given, values = among(left)
            return {row[0]: row for row in db.execute(f"SELECT {_COLUMNS} FROM record WHERE id {given}", values)}

        return self._held.of(numbers, read)

    def texts(self, db: sqlite3.Connection, numbers: Sequence[int]) -> tuple[list[str], list[str]]:
        """Labels and texts of records that exist, in their order."""
        rows = self.rows(db, numbers)
        return [rows[n][_LABEL] for n in numbers], [rows[n][_TEXT] for n in numbers]

    def said(self, db: sqlite3.Connection, numbers: Sequence[int]) -> list[Said]:
        """What records that exist say, in this order: `hydrate` without all else."""
        rows = self.rows(db, numbers)
        return [_said(rows[n]) for n in numbers]

    def hydrate(
        self,
        db: sqlite3.Connection,
        numbers: Sequence[int],
        scores: Sequence[float] | None = None,
        whys: Sequence[dict[str, float]] | None = None,
    ) -> list[Recall]:
        """The records of these row ids, in this order, with their scores and reasons; missing ones are left out."""
        numbers = [int(n) for n in numbers]
        rows, evidence = self.rows(db, numbers), _evidence(db, numbers)
        given = zip(numbers, scores or repeat(0.0), whys or ({} for _ in numbers))  # noqa: B905  # repeat has no end
        return [_recall(rows[n], score, why, tuple(evidence.get(n, ()))) for n, score, why in given if n in rows]


def _said(row: Row) -> Said:
    _, kind, subkind, _, text, *_, data, _, source = row
    if (not subkind and '"kind"' in data) or (not source and '"source"' in data):  # not in the columns
        extra = _decode(data)[0]
        subkind, source = subkind or str(extra.get("kind", "")), source or str(extra.get("source", ""))
    return Said(kind, subkind, source, text)


def _recall(row: Row, score: float, why: dict[str, float], evidence: tuple[str, ...]) -> Recall:
    number, kind, subkind, label, text, first_ns, last_ns, x, y, z, data, agent, source = row
    extra = {} if data == "{}" else _decode(data)[0]
    if subkind:
        extra["kind"] = subkind
    if agent:
        extra["agent"] = agent
    if source:
        extra["source"] = source
    return Recall(
        kind=kind,
        id=f"{kind}:{number}",
        score=score,
        position=None if x is None else np.array([x, y, z]),
        first_seen_ns=first_ns,
        last_seen_ns=last_ns,
        label=label,
        text=text,
        evidence=evidence,
        why=why,
        data=extra,
    )


def _evidence(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, list[str]]:
    """Row id -> ids of what it rests on."""
    found: dict[int, list[str]] = {}
    given, values = among(numbers)
    sql = (
        "SELECT l.id, e.kind, e.id FROM record_link l JOIN record e ON e.id = l.ref "
        f"WHERE l.id {given} ORDER BY l.id, l.ref"
    )
    for number, kind, ref in db.execute(sql, values):
        found.setdefault(number, []).append(f"{kind}:{ref}")
    return found
