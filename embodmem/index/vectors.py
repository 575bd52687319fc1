"""Exact search by meaning over the vectors of all records."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embodmem.index.bits import unpack
from embodmem.index.codes import FEW, Estimate, best_first, contenders, quantise
from embodmem.index.hydrate import among
from embodmem.index.mirror import Mirror
from embodmem.index.rows import Rows, dense

_CHUNK = 8192

_NEIGHBOURS = 32
"""How many neighbours the approximate index is asked for, at least: its own order is that of bytes."""

_LEAST_SHARE = 4
"""The approximate index is asked where at least one in so many records passes the filters."""

_ALONE = 9000
"""Elements of a matrix whose product with a vector OpenBLAS leaves to one thread: it shares those of 9,216 and more."""

NO_VECTOR = -1.0
"""The cosine that stands for having no vector."""


class Vectors:
    """Embeddings by record id.

    Small memories hold all vectors in RAM. Large ones hold them as bytes: a first pass over those finds what may be
    among the best, with a bound of its error, and the vectors of these alone are read from the file. The answer is
    that of all exact products.

    Args:
        mirror: The rows in RAM.
        dim: Length of a vector.
    """

    def __init__(self, mirror: Mirror, dim: int) -> None:
        self._mirror = mirror
        self._dim = dim

    def best(
        self, db: sqlite3.Connection, ids: NDArray[np.int64], query: NDArray[np.float32], depth: int, floor: float
    ) -> dict[int, float]:
        """The `depth` records with the largest cosine to a query, best first, none below `floor`.

        Args:
            db: From `Store.read`.
            ids: (N,) among which to choose, ascending.
            query: (dim,) of unit norm.
            depth: At most so many.
            floor: The least cosine.
        """
        with self._mirror.at(db) as rows:
            if rows is not None and not rows.is_exact:
                near = self._near(rows, ids, query, depth, floor)
                ids = self._contenders(rows, ids, query, depth, floor) if near is None else near
                rows = None
            scores = self._scores(db, rows, ids, query[None])[0]
        chosen = np.flatnonzero(scores >= floor)
        chosen = chosen[best_first(scores[chosen], depth)]  # of equals the lower id comes first
        return dict(zip(ids[chosen].tolist(), scores[chosen].tolist(), strict=True))

    def held(
        self, db: sqlite3.Connection, ids: NDArray[np.int64], queries: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """`scores_each` of many records in one pass; None where the vectors are not held as they are."""
        with self._mirror.at(db) as rows:
            if rows is None or not rows.is_exact:
                return None
            at = rows.find(ids)
            cosines = products(queries, rows.column("exact"))
            cosines[:, ~rows.column("has")] = NO_VECTOR
            if len(at) == rows.n and at.min(initial=0) >= 0:  # they ascend, so these are all
                return cosines
            found: NDArray[np.float32] = cosines[:, at]
            found[:, at < 0] = NO_VECTOR
            return found

    def scores_each(
        self, db: sqlite3.Connection, ids: NDArray[np.int64], queries: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Cosine (V, N) of each record (N,) with queries of unit norm (V, dim); -1 for a record without a vector."""
        with self._mirror.at(db) as rows:
            return self._scores(db, rows if rows is not None and rows.is_exact else None, ids, queries)

    def _scores(
        self, db: sqlite3.Connection, rows: Rows | None, ids: NDArray[np.int64], queries: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        scores = np.full((len(queries), len(ids)), NO_VECTOR, dtype=np.float32)
        if rows is not None:
            at = rows.find(ids)
            there = np.flatnonzero(at >= 0)
            there = there[rows.column("has")[at[there]]]
            part, exact = dense(at[there]), rows.column("exact")
            if isinstance(part, slice) or 3 * len(part) < rows.n:
                scores[:, there] = products(queries, exact[part])
            else:  # a pass over all of them beats a copy of many
                scores[:, there] = products(queries, exact)[:, part]
            return scores
        for part, vectors in self._from_file(db, ids):
            scores[:, np.searchsorted(ids, part)] = queries @ vectors.T
        return scores

    def _from_file(
        self, db: sqlite3.Connection, ids: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for begin in range(0, len(ids), _CHUNK):
            given, values = among(ids[begin : begin + _CHUNK].tolist())
            found = db.execute(f"SELECT id, embedding FROM record_vector WHERE id {given}", values).fetchall()
            if found:
                numbers, blobs = np.array([row[0] for row in found], dtype=np.int64), [row[1] for row in found]
                if all(len(blob) == 4 * self._dim for blob in blobs):  # as nearly always: each as it was made
                    yield numbers, np.frombuffer(b"".join(blobs), np.float32).reshape(-1, self._dim)
                    continue
                has, vectors = unpack(blobs, self._dim)
                yield numbers[has], vectors[has]

    def _near(
        self, rows: Rows, ids: NDArray[np.int64], query: NDArray[np.float32], depth: int, floor: float
    ) -> NDArray[np.int64] | None:
        """Among `ids`, what the approximate index finds and what changed since it was made; None: search exactly."""
        if not self._mirror.approximate.above or _LEAST_SHARE * len(ids) < rows.n:
            return None  # among few, an exact search costs less than neighbours that mostly do not pass
        count = max(_NEIGHBOURS, 2 * depth) * rows.n // len(ids)
        count += count // 2 * (len(ids) < rows.n)  # of what passes, some more: it may not be spread evenly
        found = self._mirror.approximate.near(rows, quantise(query[None])[0][0], count)
        if found is None:
            return None
        near, changed = (_those_in(part, ids) for part in found)
        if len(near) + len(changed) < min(depth, len(ids)):
            return None
        return self._contenders(rows, np.union1d(near, changed), query, depth, floor)

    @staticmethod
    def _contenders(
        rows: Rows, ids: NDArray[np.int64], query: NDArray[np.float32], depth: int, floor: float
    ) -> NDArray[np.int64]:
        at = rows.find(ids)
        if len(at) and at.min() < 0:
            at = at[at >= 0]
        has = rows.column("has")[dense(at)]
        if not has.all():
            at = at[has]
        codes, scale, error = (rows.column(name) for name in ("codes", "scale", "error"))
        estimate, part = Estimate(query), dense(at)
        if not isinstance(part, slice) and 3 * len(at) > rows.n:  # a pass over all of them beats a copy of many
            cosines, bounds = (values[at] for values in estimate.rough(codes, scale, error))
        else:
            cosines, bounds = estimate.rough(codes[part], scale[part], error[part])
        at = at[contenders(cosines, bounds, depth, floor)]
        if len(at) > depth and len(cosines) > FEW:
            cosines, bounds = estimate.fine(codes[at], scale[at], error[at])
            at = at[contenders(cosines, bounds, depth, floor)]
        found: NDArray[np.int64] = rows.column("ids")[at]
        return found


def products(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(V, N) products of queries (V, dim) with vectors (N, dim).

    By pieces that BLAS leaves to one thread: on a machine that is busy, waiting for a second one costs far more than it
    saves, and what comes out does not depend on their number.
    """
    dim, count = vectors.shape[1], len(vectors)
    size = max(1, _ALONE // max(dim, 1))
    whole = count - count % size
    made = np.empty((len(queries), count), np.float32)
    pieces = vectors[:whole].reshape(-1, size, dim)
    for row, query in zip(made, queries, strict=True):
        np.matmul(pieces, query, out=row[:whole].reshape(-1, size))
        np.matmul(vectors[whole:], query, out=row[whole:])
    return made


def _those_in(some: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some that are among many, both ascending."""
    at = np.minimum(np.searchsorted(ids, some), len(ids) - 1)
    found: NDArray[np.int64] = some[ids[at] == some]
    return found
