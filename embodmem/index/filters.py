"""The filters of a Query as SQL over records: applied exactly, before anything is ranked."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.types import Query


def row_id(record_id: str) -> int:
    """The number in an id such as "object:12".

    Raises:
        InvalidInput: It is no such id.
    """
    kind, _, number = record_id.rpartition(":")
    if not kind or not number.isdecimal() or int(number) >= 2**63:
        raise InvalidInput(f"id: wanted kind:number such as 'object:12', got {record_id!r}")
    return int(number)


def is_open(query: Query) -> bool:
    """Whether no filter and no words are set, so that everything matches: `near` without a radius, and an embedding,
    only rank.
    """
    begin, end = query.between_ns or (None, None)
    unset = (query.text, query.radius_m, query.within, begin, end, query.agent)
    return all(value is None for value in unset) and not (query.kinds or query.labels or query.ids or query.sources)


def where(query: Query, kinds: tuple[str, ...], live: bool) -> tuple[str, list[Any]]:
    """A condition on `record` that every match fulfils; `near` and `within` are made exact by `matching`.

    Args:
        query: What is looked for.
        kinds: Only records of these kinds, whatever the query says; () for all.
        live: Leave out what is kept for the history only.

    Returns:
        SQL after WHERE, and its parameters.
    """
    terms, values = ["live"] if live else ["1"], list[Any]()

    def one_of(column: str, options: tuple[Any, ...]) -> str:
        values.append(json.dumps(options))  # one parameter: SQLite takes no more than 32,766
        return f"{column} IN (SELECT value FROM json_each(?))"

    if kinds:
        terms.append(one_of("kind", kinds))
    if query.kinds:
        terms.append(f"({one_of('kind', query.kinds)} OR {one_of('subkind', query.kinds)})")
    if query.labels:
        tags = one_of("tag", tuple(label.lower() for label in query.labels))
        terms.append(f"id IN (SELECT id FROM record_tag WHERE {tags})")
    if query.ids:
        terms.append(one_of("id", tuple(row_id(record_id) for record_id in query.ids)))
        terms.append(one_of("kind || ':' || id", query.ids))
    if query.sources:
        terms.append(one_of("source", query.sources))
    if query.agent is not None:
        terms.append("agent = ?")
        values.append(query.agent)
    begin, end = query.between_ns or (None, None)
    if begin is not None:
        # A fact that still holds has no end yet; its last_ns is when it was learnt.
        holds = "SELECT id FROM fact WHERE valid_until_ns IS NULL AND known_until_ns IS NULL"
        terms.append(f"(last_ns >= ? OR (kind = 'fact' AND id IN ({holds})))")
        values.append(begin)
    if end is not None:
        terms.append("first_ns <= ?")
        values.append(end)
    for lower, upper in _boxes(query):
        terms.append(
            "id IN (SELECT id FROM record_box "
            "WHERE x1 >= ? AND y1 >= ? AND z1 >= ? AND x0 <= ? AND y0 <= ? AND z0 <= ?)"
        )
        values.extend([*lower.tolist(), *upper.tolist()])
    return " AND ".join(terms), values


def _boxes(query: Query) -> list[NDArray[np.float64]]:
    boxes = [] if query.within is None else [query.within]
    if query.near is not None and query.radius_m is not None:
        # Wider by what rounding may take: `matching` is exact.
        reach = query.radius_m + 1e-12 * (np.abs(query.near) + query.radius_m)
        boxes.append(np.stack([query.near - reach, query.near + reach]))
    return boxes


def matching(
    db: sqlite3.Connection, query: Query, kinds: tuple[str, ...], live: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All records that pass every filter.

    Returns:
        ids (N,), and distances (N,) in metres from `query.near` to each record's box; NaN without `near` or place.
    """
    condition, values = where(query, kinds, live)
    if query.near is None and query.within is None:
        ids = np.array(db.execute(f"SELECT id FROM record WHERE {condition} ORDER BY id", values).fetchall(), np.int64)
        return ids.reshape(-1), np.full(len(ids), np.nan)
    rows = db.execute(f"SELECT id, x0, y0, z0, x1, y1, z1 FROM record WHERE {condition} ORDER BY id", values).fetchall()
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    ids, lower, upper = table[:, 0].astype(np.int64), table[:, 1:4], table[:, 4:]
    keep = np.ones(len(ids), dtype=np.bool_)
    # The R*Tree holds float32 rounded outwards; the columns are exact.
    if query.within is not None:
        keep &= ((upper >= query.within[0]) & (lower <= query.within[1])).all(axis=1)
    distance = np.full(len(ids), np.nan)
    if query.near is not None:
        distance = np.linalg.norm(np.maximum(np.maximum(lower - query.near, query.near - upper), 0.0), axis=1)
        if query.radius_m is not None:
            keep &= distance <= query.radius_m
    return ids[keep], distance[keep]
