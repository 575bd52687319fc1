"""Rows of the file as answers."""

from __future__ import annotations

import dataclasses
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
_LABEL, _TEXT, _PLACE, _DATA = 3, 4, slice(7, 10), 10
_ROW_BYTES = 600
"""About what a row takes beside its text and its data."""

FEW_IDS = (1, 2, 4, 8, 10, 12, 16, 20, 24, 32, 48, 64)
"""Lists of few numbers have one of these lengths, so that SQLite meets the same statements again."""

_decode = json.JSONDecoder().raw_decode


def among(numbers: Sequence[int] | Sequence[str]) -> tuple[str, list[int | str]]:
    """What stands after `id` to choose some, and its parameters; a few by name cost less than a list taken apart."""
    for size in FEW_IDS:
        if 0 < len(numbers) <= size:
            return f"IN (?{', ?' * (size - 1)})", [*numbers, *[numbers[-1]] * (size - len(numbers))]
    return "IN (SELECT value FROM json_each(?))", [json.dumps(numbers)]


def listed(numbers: Sequence[int]) -> tuple[str, list[int | str | None]]:
    """A table `listed (number)` to begin a statement with, and its parameters; joined by `CROSS JOIN`, it costs less
    than a list after `IN`, which SQLite sorts first.
    """
    for size in FEW_IDS:
        if len(numbers) <= size:
            values = f"VALUES (?){', (?)' * (size - 1)}"
            return f"WITH listed (number) AS ({values})", [*numbers, *[None] * (size - len(numbers))]
    return "WITH listed (number) AS (SELECT value FROM json_each(?))", [json.dumps(numbers)]


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
            some, values = listed(left)
            sql = f"{some} SELECT {_COLUMNS} FROM listed CROSS JOIN record ON id = number"
            return {row[0]: row for row in db.execute(sql, values)}

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
        rows = self.rows(db, numbers)
        evidence = _evidence(db, list(rows))
        given = zip(numbers, scores or repeat(0.0), whys or ({} for _ in numbers))  # noqa: B905  # repeat has no end
        return _recalls([(rows[n], score, why, tuple(evidence.get(n, ()))) for n, score, why in given if n in rows])


def _said(row: Row) -> Said:
    _, kind, subkind, _, text, *_, data, _, source = row
    if (not subkind and '"kind"' in data) or (not source and '"source"' in data):  # not in the columns
        extra = _decode(data)[0]
        subkind, source = subkind or str(extra.get("kind", "")), source or str(extra.get("source", ""))
    return Said(kind, subkind, source, text)


def _recalls(found: Sequence[tuple[Row, float, dict[str, float], tuple[str, ...]]]) -> list[Recall]:
    """Answers of rows, scores, reasons and what each rests on."""
    datas = _decode(f"[{','.join([each[0][_DATA] for each in found])}]")[0]  # at once: half of the time
    places = np.array([each[0][_PLACE] for each in found], np.float64)  # NaN without a place
    made = []
    for (row, score, why, evidence), data, place in zip(found, datas, places, strict=True):
        number, kind, subkind, label, text, first_ns, last_ns, x, _, _, _, agent, source = row
        if subkind:
            data["kind"] = subkind
        if agent:
            data["agent"] = agent
        if source:
            data["source"] = source
        one = _new(Recall)
        _set_kind(one, kind)
        _set_id(one, f"{kind}:{number}")
        _set_score(one, score)
        _set_position(one, None if x is None else place)
        _set_first(one, first_ns)
        _set_last(one, last_ns)
        _set_label(one, label)
        _set_text(one, text)
        _set_evidence(one, evidence)
        _set_why(one, why)
        _set_data(one, data)
        made.append(one)
    return made


# A frozen class looks each of its fields up by name before it sets it; this is `Recall(...)` in a third of the time.
_new = Recall.__new__
_SETTERS = [getattr(Recall, field.name).__set__ for field in dataclasses.fields(Recall)]
_set_kind, _set_id, _set_score, _set_position, _set_first, _set_last, *_SETTERS = _SETTERS
_set_label, _set_text, _set_evidence, _set_why, _set_data = _SETTERS


def _evidence(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, list[str]]:
    """Row id -> ids of what it rests on."""
    found: dict[int, list[str]] = {}
    some, values = listed(numbers)
    sql = (
        f"{some} SELECT l.id, e.kind, e.id FROM listed CROSS JOIN record_link l ON l.id = number "
        "CROSS JOIN record e ON e.id = l.ref ORDER BY l.id, l.ref"
    )
    for number, kind, ref in db.execute(sql, values):
        found.setdefault(number, []).append(f"{kind}:{ref}")
    return found
