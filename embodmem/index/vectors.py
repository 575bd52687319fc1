"""Exact search by meaning over the vectors of all records."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embodmem.index.bits import unpack
from embodmem.index.codes import FEW, Estimate, best_first, contenders, products, quantise
from embodmem.index.hydrate import among
from embodmem.index.mirror import Mirror
from embodmem.index.rows import At, Rows, dense, kept

_CHUNK = 8192

_NEIGHBOURS = 32
"""How many neighbours the approximate index is asked for, at least: its own order is that of bytes."""

_LEAST_SHARE = 4
"""The approximate index is asked where at least one in so many records passes the filters."""

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
                ids = self._contenders(rows, rows.rows_of(ids), query, depth, floor) if near is None else near
                scores = self._read_scores(db, ids, query)
            else:
                scores = self._scores(db, rows, ids, query[None])[0]
        best = best_first(scores, depth)  # of equals the lower id comes first
        return {i: like for i, like in zip(ids[best].tolist(), scores[best].tolist(), strict=True) if like >= floor}

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

    def _read_scores(
        self, db: sqlite3.Connection, ids: NDArray[np.int64], query: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(N,) cosines with one query of records that are few, by the vectors in the file."""
        numbers = ids.tolist()
        given, values = among(numbers)
        blobs = dict(db.execute(f"SELECT id, embedding FROM record_vector WHERE id {given}", values).fetchall())
        if len(blobs) == len(numbers) and set(map(len, blobs.values())) == {4 * self._dim}:  # as nearly always
            joined = b"".join([blobs[number] for number in numbers])
            read: NDArray[np.float32] = products(query[None], np.frombuffer(joined, np.float32).reshape(-1, self._dim))[
                0
            ]
            return read
        scores: NDArray[np.float32] = self._scores(db, None, ids, query[None])[0]
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
        near, changed = (_those_in(part, ids) if len(part) else part for part in found)
        if len(near) + len(changed) < min(depth, len(ids)):
            return None
        all_found = np.union1d(near, changed) if len(changed) else near
        return self._contenders(rows, rows.rows_of(all_found), query, depth, floor)

    @staticmethod
    def _contenders(rows: Rows, at: At, query: NDArray[np.float32], depth: int, floor: float) -> NDArray[np.int64]:
        at = kept(at, rows.column("has")[at])
        columns = [rows.column(name) for name in ("codes", "scale", "error")]
        estimate = Estimate(query)
        if not isinstance(at, slice) and 3 * len(at) > rows.n:  # a pass over all of them beats a copy of many
            cosines, bounds = (values[at] for values in estimate.rough(*columns))
        else:
            cosines, bounds = estimate.rough(*(column[at] for column in columns))
        best = contenders(cosines, bounds, depth, floor)
        best = best + at.start if isinstance(at, slice) else at[best]
        if len(best) > depth and len(cosines) > FEW:
            best = best[contenders(*estimate.fine(*(column[best] for column in columns)), depth, floor)]
        found: NDArray[np.int64] = rows.column("ids")[best]
        return found


def _those_in(some: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some that are among many, both ascending."""
    at = np.minimum(np.searchsorted(ids, some), len(ids) - 1)
    found: NDArray[np.int64] = some[ids[at] == some]
    return found
