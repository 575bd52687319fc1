"""Many new records at once, column by column: a call for each value of each record would cost more than its row."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.index.rows import Batch, Group

if TYPE_CHECKING:
    from embodmem.index.records import Record


def rows_of(records: Sequence[Record], begin: int) -> list[tuple[Any, ...]]:
    """Rows of the table `record`, as `Record.values` makes them, with ids from `begin` on."""
    # NaN is NULL for SQLite.
    places = _places(records).tolist()
    return [
        (n, r.kind, r.subkind, r.agent, r.source, r.label, r.text, int(r.first_ns), int(r.last_ns), *place, data)
        for n, (r, place, data) in enumerate(
            zip(records, places, _as_json([r.data for r in records]), strict=True), begin
        )
    ]


def batch_of(records: Sequence[Record], begin: int, vectors: NDArray[np.float32]) -> tuple[Batch, list[Group]]:
    """What a search holds in RAM of new records (N,) with vectors (N, dim), and the groups that its numbers mean."""
    groups: dict[Group, int] = {}
    count = len(records)
    numbers = [groups.setdefault((r.kind, r.subkind, r.agent, r.source, True), len(groups)) for r in records]
    batch = Batch(
        ids=np.arange(begin, begin + count, dtype=np.int64),
        first=np.array([r.first_ns for r in records], dtype=np.int64),
        last=np.array([r.last_ns for r in records], dtype=np.int64),
        box=_places(records)[:, 3:],
        group=np.array(numbers, dtype=np.int32),
        has=np.ones(count, np.bool_),
        exact=vectors,
    )
    return batch, list(groups)


def _places(records: Sequence[Record]) -> NDArray[np.float64]:
    """(N, 9) position, lower and upper corner, metres in the world; NaN where there is none."""
    places = np.full((len(records), 9), np.nan)
    at = [i for i, record in enumerate(records) if record.position is not None]
    if at:
        places[at] = np.tile(np.array([records[i].position for i in at], dtype=np.float64).reshape(-1, 3), 3)
    at = [i for i, record in enumerate(records) if record.box is not None]
    if at:
        places[at, 3:] = np.array([records[i].box for i in at], dtype=np.float64).reshape(-1, 6)
    return places


def _as_json(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each as JSON: written as one list and taken apart at a text that nobody can guess."""
    if not any(values):
        return ["{}"] * len(values)
    mark = secrets.token_hex(16)
    joined = json.dumps([part for value in values for part in (dict(value), mark)])
    return joined[1:-1].removesuffix(f', "{mark}"').split(f', "{mark}", ')
