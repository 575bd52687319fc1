"""What happened where: events and views keyed by their place (SAT, Cho et al., ICLR 2024: place-centric episodes)."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.checks import check_point
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.index.filters import matching
from embodmem.query import Query
from embodmem.types import Recall


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A place where something happened.

    Attributes:
        key: A room's name, or the cell of a grid, "cell:3,-1,0".
        position: (3,) mean of where it happened, metres in the world, or None where only the room is known.
        count: How many events and views; one that stands for several counts as one.
        first_ns: When the first of them began, ns.
        last_ns: When the last of them ended, ns.
        ids: They, by time.
    """

    key: str
    position: NDArray[np.float64] | None
    count: int
    first_ns: int
    last_ns: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns (N,) of what passes, by time; `xyz` is (N, 3) metres, NaN without a place."""

    ids: NDArray[np.int64]
    names: list[str]
    rooms: list[str]
    xyz: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def _read(db: sqlite3.Connection, records: Records, query: Query, kinds: tuple[str, ...]) -> _Rows:
    ids, _ = matching(db, query, kinds, mirror=records.mirror)
    rows = db.execute(
        "SELECT id, kind || ':' || id, CASE kind WHEN 'event' THEN ifnull(json_extract(data, '$.place'), '') "
        "ELSE label END, x, y, z, first_ns, last_ns FROM record WHERE id IN (SELECT value FROM json_each(?)) "
        "ORDER BY first_ns, id",
        (json.dumps(ids.tolist()),),
    ).fetchall()
    return _Rows(
        ids=np.array([row[0] for row in rows], np.int64),
        names=[row[1] for row in rows],
        rooms=[row[2] for row in rows],
        xyz=np.array([row[3:6] for row in rows], np.float64).reshape(-1, 3),
        first=np.array([row[6] for row in rows], np.int64),
        last=np.array([row[7] for row in rows], np.int64),
    )


def _check_cell(cell_m: float) -> float:
    if not (np.isfinite(cell_m) and cell_m > 0):
        raise InvalidInput(f"places: wanted a cell_m above 0 m, got {cell_m}")
    return float(cell_m)


def places(records: Records, query: Query, kinds: tuple[str, ...], by: str, cell_m: float) -> list[Place]:
    """See `EpisodicMemory.places`."""
    if by not in ("room", "cell"):
        raise InvalidInput(f"places: wanted by='room' or 'cell', got {by!r}")
    _check_cell(cell_m)
    with records.store.read() as db:
        rows = _read(db, records, query, kinds)
    cells = np.floor(rows.xyz / cell_m)
    here = ~np.isnan(cells[:, 0])
    if by == "cell":
        grid, at = np.unique(cells[here], axis=0, return_inverse=True)
        names, chosen = [f"cell:{x:.0f},{y:.0f},{z:.0f}" for x, y, z in grid + 0.0], np.flatnonzero(here)
    else:
        chosen = np.flatnonzero(np.array([bool(room) for room in rows.rooms], np.bool_))
        rooms, at = np.unique(np.array([rows.rooms[i] for i in chosen], dtype=str), return_inverse=True)
        names = rooms.tolist()
    order = chosen[np.argsort(at.reshape(-1), kind="stable")]  # by time within each
    ends = np.cumsum(np.bincount(at.reshape(-1), minlength=len(names)))[:-1]
    found = [_place(name, rows, part) for name, part in zip(names, np.split(order, ends), strict=False)]
    return sorted(found, key=lambda place: (-place.count, place.key))


def _place(key: str, rows: _Rows, part: NDArray[np.int64]) -> Place:
    xyz = rows.xyz[part]
    known = xyz[~np.isnan(xyz[:, 0])]
    return Place(
        key=key,
        position=known.mean(axis=0) if len(known) else None,
        count=len(part),
        first_ns=int(rows.first[part].min()),
        last_ns=int(rows.last[part].max()),
        ids=tuple(rows.names[i] for i in part.tolist()),
    )


def happened_at(
    records: Records, place: str | ArrayLike, query: Query, kinds: tuple[str, ...], cell_m: float, k: int
) -> list[Recall]:
    """See `EpisodicMemory.happened_at`."""
    if k < 1:
        raise InvalidInput(f"k: wanted 1 or more, got {k}")
    _check_cell(cell_m)
    point = None if isinstance(place, str) else check_point(place, "happened_at: place")
    with records.store.read() as db:
        rows = _read(db, records, query, kinds)
        rings = _rings(rows, place, point, cell_m)
        order = np.argsort(rings, kind="stable")  # by time within each ring
        order = order[np.isfinite(rings[order])][:k]
        items = records.get(rows.ids[order].tolist())
    return [_near(item, float(rings[i])) for item, i in zip(items, order.tolist(), strict=True)]


def _rings(
    rows: _Rows, place: str | ArrayLike, point: NDArray[np.float64] | None, cell_m: float
) -> NDArray[np.float64]:
    """(N,) how many cells away each is: 0 in the cell, or the room, itself; inf where that is not known."""
    if point is None:
        wanted = str(place).lower()
        inside = np.array([room.lower() == wanted for room in rows.rooms], np.bool_)
        placed = rows.xyz[inside & ~np.isnan(rows.xyz[:, 0])]
        rings = np.full(len(rows.ids), np.inf)
        if len(placed):  # what is outside is as far as from the box of all that happened inside
            low, high = placed.min(axis=0), placed.max(axis=0)
            away = np.maximum(np.maximum(low - rows.xyz, rows.xyz - high), 0.0).max(axis=1)
            rings = np.where(np.isnan(away), np.inf, 1.0 + np.floor(away / cell_m))
        rings[inside] = 0.0
        return rings
    away = np.abs(np.floor(rows.xyz / cell_m) - np.floor(point / cell_m)).max(axis=1)
    return np.where(np.isnan(away), np.inf, away)


def _near(item: Recall, ring: float) -> Recall:
    return replace(item, score=1.0 / (1.0 + ring), why={"cells away": ring})
