"""Rows to and from the file: from the records themselves, or from blocks that were sealed to be read fast."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.index.bits import unpack as unpack_vectors
from embodmem.index.rows import Batch, Group, Rows

BLOCK_BITS = 10
"""A block holds the records of 2**10 successive ids; the triggers that drop it know this number."""

_CHUNK = 8192
_ROW = (
    "r.id, r.first_ns, r.last_ns, r.x0, r.y0, r.z0, r.x1, r.y1, r.z1, "
    "r.kind, r.subkind, r.agent, r.source, r.live, {vector} FROM record r "
)
_FIELDS = (("ids", "<i8", 1), ("first", "<i8", 1), ("last", "<i8", 1), ("box", "<f8", 6), ("group", "<i4", 1))
_CODED = (("has", "?"), ("scale", "<f4"), ("error", "<f4"))


def read_rows(
    db: sqlite3.Connection, rows: Rows, condition: str = "1", values: Sequence[object] = ()
) -> Iterator[Batch]:
    """The records that fulfil a condition, by ascending id, in batches."""
    row = _ROW.format(vector="v.embedding" if rows.dim else "NULL")
    join = "LEFT JOIN record_vector v ON v.id = r.id" if rows.dim else ""
    cursor = db.execute(f"SELECT {row} {join} WHERE {condition} ORDER BY r.id", tuple(values))
    while found := cursor.fetchmany(_CHUNK):
        columns = list(zip(*found, strict=True))
        has, exact = unpack_vectors(columns[14], rows.dim)
        groups = [rows.group_number((k, s, a, o, bool(on))) for k, s, a, o, on in zip(*columns[9:14], strict=True)]
        yield Batch(
            ids=np.array(columns[0], dtype=np.int64),
            first=np.array(columns[1], dtype=np.int64),
            last=np.array(columns[2], dtype=np.int64),
            box=np.array(columns[3:9], dtype=np.float64).T,
            group=np.array(groups, dtype=np.int32),
            has=has,
            exact=exact,
        )


def pack(batch: Batch, groups: Sequence[Group]) -> bytes:
    """A block: a line of JSON, then the columns one after the other."""
    batch.as_codes()
    assert batch.codes is not None
    used, local = np.unique(batch.group, return_inverse=True)
    head = {"rows": len(batch.ids), "dim": batch.codes.shape[1], "groups": [groups[i] for i in used.tolist()]}
    columns = [
        local.astype("<i4") if name == "group" else getattr(batch, name).astype(kind) for name, kind, _ in _FIELDS
    ]
    columns += [getattr(batch, name).astype(kind) for name, kind in _CODED]
    return b"".join(
        [json.dumps(head).encode(), b"\n", *(column.tobytes() for column in columns), batch.codes.tobytes()]
    )


def unpack(content: bytes, rows: Rows) -> Batch | None:
    """The rows of a block; None where it holds vectors of another length."""
    line = content.index(b"\n")
    head = json.loads(content[:line])
    n, dim, at = int(head["rows"]), int(head["dim"]), line + 1
    if dim != rows.dim:
        return None

    def take(kind: str, width: int) -> NDArray[np.generic]:
        nonlocal at
        values = np.frombuffer(content, kind, n * width, at)
        at += values.nbytes
        return values.reshape(n, width) if width > 1 else values

    columns = {name: take(kind, width) for name, kind, width in _FIELDS}
    columns.update((name, take(kind, 1)) for name, kind in _CODED)
    columns["codes"] = np.frombuffer(content, np.int8, n * dim, at).reshape(n, dim)
    numbers = [rows.group_number((k, s, a, o, bool(on))) for k, s, a, o, on in head["groups"]]
    columns["group"] = np.array(numbers, dtype=np.int32)[columns["group"]]
    return Batch(**columns)  # type: ignore[arg-type]  # the columns are of the types that _FIELDS says
