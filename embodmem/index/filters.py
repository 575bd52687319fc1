"""The filters of a Query as SQL over records: applied exactly, before anything is ranked."""

from __future__ import annotations

import dataclasses
import json
import operator
import sqlite3
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.index.mirror import Mirror
from embodmem.index.rows import At, Group, Rows, kept, picked
from embodmem.types import Query

TOUCHES = "x1 >= ? AND y1 >= ? AND z1 >= ? AND x0 <= ? AND y0 <= ? AND z0 <= ?"

_IN_AREA = (
    f"SELECT m.id FROM (SELECT id AS area FROM record_area WHERE {TOUCHES}) CROSS JOIN record m "
    f"WHERE m.id BETWEEN 64 * area AND 64 * area + 63 AND {TOUCHES}"
)
"""Records whose box touches another one: those of the groups of 64 whose box does, and then each by its own."""


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
    unset = (query.text, query.radius_m, query.within, begin, end, query.agent, query.place, query.as_of_ns)
    named = (query.kinds, query.labels, query.ids, query.sources, query.action, query.modality)
    return all(value is None for value in unset) and not any(named)


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
    if query.as_of_ns is not None:
        # A fact that is believed no longer is not live; whether it was then, its own times say.
        known = "SELECT id FROM fact WHERE known_from_ns <= ? AND ifnull(known_until_ns > ?, 1)"
        terms = [f"((kind != 'fact' AND {terms[0]} AND first_ns <= ?) OR (kind = 'fact' AND id IN ({known})))"]
        values.extend([query.as_of_ns] * 3)

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
    if query.place is not None:
        terms.append("id IN (SELECT id FROM record_tag WHERE tag = ?)")
        values.append(query.place.lower())
    for column, wanted in (("action", query.action), ("modality", query.modality)):
        if wanted:  # said twice, since the index is of what is not empty
            terms.append(f"id IN (SELECT id FROM event_content WHERE {column} = ? AND {column} != '')")
            values.append(wanted.lower())
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
        terms.append(f"id IN ({_IN_AREA})")
        values.extend(2 * [*lower.tolist(), *upper.tolist()])
    return " AND ".join(terms), values


def _boxes(query: Query) -> list[NDArray[np.float64]]:
    boxes = [] if query.within is None else [query.within]
    if query.near is not None and query.radius_m is not None:
        # Wider by what rounding may take: `matching` is exact.
        reach = query.radius_m + 1e-12 * (np.abs(query.near) + query.radius_m)
        boxes.append(np.stack([query.near - reach, query.near + reach]))
    return boxes


def matching(
    db: sqlite3.Connection, query: Query, kinds: tuple[str, ...], live: bool = True, mirror: Mirror | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All records that pass every filter.

    Args:
        db: From `Store.read`.
        query: What is looked for.
        kinds: Only records of these kinds, whatever the query says; () for all.
        live: Leave out what is kept for the history only.
        mirror: The rows in RAM, which answer most filters faster than SQL does.

    Returns:
        ids (N,), ascending, and distances (N,) in metres from `query.near` to each record's box; NaN without `near` or
        place.
    """
    if mirror is not None:
        with mirror.at(db) as rows:
            at = None if rows is None else select(db, rows, query, kinds, live)
            if rows is not None and at is not None:
                ids = rows.ids_of(at)
                if query.near is None:
                    return ids, _NO_DISTANCE[: len(ids)]
                return _place(query, ids, rows.column("box")[at])
    condition, values = where(query, kinds, live)
    if query.near is None and query.within is None:
        ids = np.array(db.execute(f"SELECT id FROM record WHERE {condition} ORDER BY id", values).fetchall(), np.int64)
        return ids.reshape(-1), np.full(len(ids), np.nan)
    rows_ = db.execute(
        f"SELECT id, x0, y0, z0, x1, y1, z1 FROM record WHERE {condition} ORDER BY id", values
    ).fetchall()
    ids = np.array([row[0] for row in rows_], dtype=np.int64)
    return _place(query, ids, np.array([row[1:] for row in rows_], dtype=np.float64).reshape(-1, 6))


_NO_DISTANCE = np.broadcast_to(np.nan, 2**40)
"""As many NaN as are asked for, in 8 bytes."""


def _place(
    query: Query, ids: NDArray[np.int64], box: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Those whose box (N, 6) touches `within` and is near enough, and their distances."""
    if query.within is not None:
        keep = _touches(box.T, *query.within)
        ids, box = ids[keep], box[keep]
    distance = np.full(len(ids), np.nan)
    if query.near is not None:
        lower, upper = box[:, :3], box[:, 3:]
        distance = np.linalg.norm(np.maximum(np.maximum(lower - query.near, query.near - upper), 0.0), axis=1)
        if query.radius_m is not None:
            keep = distance <= query.radius_m
            ids, distance = ids[keep], distance[keep]
    return ids, distance


def _touches(box: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes (6, N) touch one; axis by axis, which costs a third of `all` over rows of three."""
    keep: NDArray[np.bool_] = box[3] >= lower[0]
    for axis, bound in ((4, lower[1]), (5, lower[2])):
        keep &= box[axis] >= bound
    for axis in range(3):
        keep &= box[axis] <= upper[axis]
    return keep


_IN_RAM = (
    "text",
    "around_ns",
    "embedding",
    "embedding_model",
    "near",
    "radius_m",
    "within",
    "between_ns",
    "kinds",
    "labels",
) + (
    "agent",
    "sources",
    "min_gap_s",
    "diversity",
)
"""Fields of a query that `select` knows, or that choose among what passed."""
_BY_SQL = tuple(field.name for field in dataclasses.fields(Query) if field.name not in _IN_RAM)
"""A query with one of the others is left to SQL."""
_by_sql = operator.attrgetter(*_BY_SQL)
_UNSET = _by_sql(Query())


_NEVER = -(2**63)


def is_by_group(query: Query) -> bool:
    """Whether what a record has in common with many (kind, agent, source) decides alone if it passes."""
    others = (query.near, query.radius_m, query.within, query.between_ns)
    is_plain = all(value is None for value in others) and not query.labels
    return is_plain and not _needs_sql(query)


def _needs_sql(query: Query) -> bool:
    """Whether a field is set that the rows do not know."""
    fields = _by_sql(query)
    return fields != _UNSET and any(value not in (None, (), "") for value in fields)


def select(db: sqlite3.Connection, rows: Rows, query: Query, kinds: tuple[str, ...], live: bool) -> At | None:
    """What `where` means, over the rows in RAM.

    Returns:
        Rows (N,), ascending, that fulfil it; None where SQL has to tell.
    """
    if _needs_sql(query):
        return None
    begin, end = query.between_ns or (None, None)
    key = (kinds, tuple(query.kinds), tuple(query.sources), query.agent, live)
    chosen = rows.chosen(key, lambda group: _group_passes(group, query, kinds, live))
    if begin is not None and chosen.facts:
        return None  # whether a fact still holds is not in the rows
    boxes = _boxes(query)
    in_time = None if (begin is None and end is None) or query.labels else rows.in_time(begin, end)
    if query.labels:
        at: At = _labelled(db, rows, query.labels)
    else:
        at, boxes = _in_spans(rows, begin, end, in_time, boxes)
    for lower, upper in boxes:  # first: of a span of time most rows are in it, of a box few
        at = _touching(rows, at, lower, upper)
    if rows.gone or not chosen.every:
        at = kept(at, chosen.groups[picked(rows.column("group"), at)])  # -1, a record that is gone, takes the last
    if in_time is None and (begin is not None or end is not None):
        is_in = picked(rows.column("last"), at) >= (_NEVER if begin is None else begin)
        if end is not None:
            is_in &= picked(rows.column("first"), at) <= end
        at = kept(at, is_in)
    return at


def _touching(rows: Rows, at: At, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> At:
    """Those of some rows whose box touches one; each axis goes over what the one before has left."""
    box = rows.column("box").T
    for axis in range(3):
        is_in = picked(box[axis + 3], at) >= lower[axis]
        is_in &= picked(box[axis], at) <= upper[axis]
        at = kept(at, is_in)
    return at


def _group_passes(group: Group, query: Query, kinds: tuple[str, ...], live: bool) -> bool:
    kind, subkind, agent, source, is_live = group
    return (
        (is_live or not live)
        and (not kinds or kind in kinds)
        and (not query.kinds or kind in query.kinds or subkind in query.kinds)
        and (not query.sources or source in query.sources)
        and (query.agent is None or agent == query.agent)
    )


def _labelled(db: sqlite3.Connection, rows: Rows, labels: tuple[str, ...]) -> NDArray[np.int64]:
    sql = "SELECT id FROM record_tag WHERE tag IN (SELECT value FROM json_each(?))"
    found = db.execute(sql, (json.dumps([label.lower() for label in labels]),)).fetchall()
    at = rows.find(np.unique(np.array([row[0] for row in found], dtype=np.int64)))
    return at[at >= 0]


def _in_spans(
    rows: Rows, begin: int | None, end: int | None, in_time: slice | None, boxes: list[NDArray[np.float64]]
) -> tuple[At, list[NDArray[np.float64]]]:
    """Rows among which all are that fulfil these, none outside of `in_time`, where that is known; and the boxes that
    are still to be looked at.
    """
    if in_time is None and begin is None and end is None:
        in_time = slice(0, rows.n)
    if in_time is not None and not boxes:
        return in_time, boxes
    earliest, latest = -np.inf if begin is None else float(begin), np.inf if end is None else float(end)
    near = rows.spans_in(earliest, latest) if in_time is None else _spans_of(in_time, rows.SPAN)
    of = in_time or slice(0, rows.n)
    if near is not None and not boxes:
        return _rows_of(near, of, rows.SPAN), boxes
    first = 0 if near is None else near.start
    spans = rows.spans()[:, near or slice(None)]
    keep: NDArray[np.bool_] = spans[1] >= earliest
    if end is not None:
        keep &= spans[0] <= latest
    for lower, upper in boxes:
        keep &= _touches(spans[2:], lower, upper)
    found = kept(slice(first, first + len(keep)), keep)
    if isinstance(found, slice):
        return _rows_of(found, of, rows.SPAN), boxes
    at = rows.touching(found, *boxes[0]) if boxes else rows.in_spans(found)
    return at[at.searchsorted(of.start) : at.searchsorted(of.stop)], boxes[1:]


def _spans_of(at: slice, size: int) -> slice:
    """The spans of so many rows in which these rows are."""
    return slice(at.start // size, -(-at.stop // size))


def _rows_of(spans: slice, of: slice, size: int) -> slice:
    """The rows in some spans of so many rows that are in a slice."""
    start = max(of.start, spans.start * size)
    return slice(start, max(start, min(of.stop, spans.stop * size)))
