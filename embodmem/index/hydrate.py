"""Rows of the file as answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np

from embodmem.types import Recall

_COLUMNS = "id, kind, subkind, label, text, first_ns, last_ns, x, y, z, data, agent, source"
_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
"""Lists of few numbers have one of these lengths, so that SQLite meets the same statements again."""

_decode = json.JSONDecoder().raw_decode


def among(numbers: Sequence[int] | Sequence[str]) -> tuple[str, list[int | str]]:
    """What stands after `id` to choose some, and its parameters; a few by name cost less than a list taken apart."""
    for size in _SIZES:
        if 0 < len(numbers) <= size:
            return f"IN (?{', ?' * (size - 1)})", [*numbers, *[numbers[-1]] * (size - len(numbers))]
    return "IN (SELECT value FROM json_each(?))", [json.dumps(numbers)]


def hydrate(
    db: sqlite3.Connection,
    numbers: Sequence[int],
    scores: Mapping[int, float],
    why: Mapping[int, Mapping[str, float]],
) -> list[Recall]:
    """The records of these row ids, in this order; missing ones are left out."""
    numbers = [int(n) for n in numbers]
    given, values = among(numbers)
    rows = db.execute(f"SELECT {_COLUMNS} FROM record WHERE id {given}", values).fetchall()
    evidence = _evidence(db, given, values)
    found = {}
    for number, kind, subkind, label, text, first_ns, last_ns, x, y, z, data, agent, source in rows:
        extra = {} if data == "{}" else _decode(data)[0]
        if subkind:
            extra["kind"] = subkind
        if agent:
            extra["agent"] = agent
        if source:
            extra["source"] = source
        found[number] = Recall(
            kind=kind,
            id=f"{kind}:{number}",
            score=scores.get(number, 0.0),
            position=None if x is None else np.array([x, y, z]),
            first_seen_ns=first_ns,
            last_seen_ns=last_ns,
            label=label,
            text=text,
            evidence=tuple(evidence.get(number, ())),
            why=dict(why.get(number, ())),
            data=extra,
        )
    return [found[n] for n in numbers if n in found]


def _evidence(db: sqlite3.Connection, given: str, values: Sequence[int | str]) -> dict[int, list[str]]:
    """Row id -> ids of what it rests on, for the records that `given` chooses."""
    found: dict[int, list[str]] = {}
    sql = (
        "SELECT l.id, e.kind, e.id FROM record_link l JOIN record e ON e.id = l.ref "
        f"WHERE l.id {given} ORDER BY l.id, l.ref"
    )
    for number, kind, ref in db.execute(sql, values):
        found.setdefault(number, []).append(f"{kind}:{ref}")
    return found
