"""Exact search by meaning over the vectors of all records."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.index.bits import unpack
from embodmem.index.codes import FEW, Estimate, best_first, contenders, dots
from embodmem.index.hydrate import FEW_IDS, among
from embodmem.index.mirror import Mirror
from embodmem.index.passed import Passed
from embodmem.index.rows import At, Rows, picked

_CHUNK = 8192

_NEIGHBOURS = 32
"""How many neighbours the approximate index is asked for, at least: its own order is that of bytes."""

_LIKELY = np.float32(0.2)
"""Of what the approximate index finds, vectors are read where the bytes leave this part of their bound open. The bound
holds for the worst of all vectors; for vectors at random this is four times the standard deviation."""

_LEAST_SHARE = 4
"""The approximate index is asked where at least one in so many records passes the filters."""

NO_VECTOR = -1.0
"""The cosine that stands for having no vector."""


Best = tuple[list[int], list[float]]
"""Row ids and their cosines, best first."""


class Likes(NamedTuple):
    """Records that are like a query.

    Attributes:
        at: (M,) where they stand among those that were looked at, best first.
        cosines: (M,) of each.
    """

    at: NDArray[np.int64]
    cosines: NDArray[np.float32]

    def above(self, floor: float) -> Likes:
        """Those of `floor` or more."""
        count = int(np.count_nonzero(self.cosines >= floor))
        return self if count == len(self.at) else Likes(self.at[:count], self.cosines[:count])


_NONE = Likes(np.empty(0, np.int64), np.empty(0, np.float32))


class Vectors:
    """Embeddings by record id.

    All are held in RAM as bytes: a first pass over those finds what may be among the best, with a bound of its error.
    The vectors of these alone are multiplied as they are; small memories hold them in RAM, too, large ones read them
    from the file. The answer is that of all exact products.

    Args:
        mirror: The rows in RAM.
        dim: Length of a vector.
    """

    def __init__(self, mirror: Mirror, dim: int) -> None:
        self._mirror = mirror
        self._dim = dim

    def best(
        self, db: sqlite3.Connection, ids: NDArray[np.int64], query: NDArray[np.float32], depth: int, floor: float
    ) -> Best:
        """The `depth` records with the largest cosine to a query and their cosines, best first, none below `floor`.

        Args:
            db: From `Store.read`.
            ids: (N,) among which to choose, ascending.
            query: (dim,) of unit norm.
            depth: At most so many.
            floor: The least cosine.
        """
        with self._mirror.at(db) as rows:
            if rows is not None:
                return self.best_rows(db, rows, rows.rows_of(ids), query, depth, floor)
        cosines = self._scores(db, None, ids, query[None])[0]
        best = best_first(cosines, depth)
        return _above(floor, ids[best], cosines[best])

    def best_rows(
        self, db: sqlite3.Connection, rows: Rows, at: At, query: NDArray[np.float32], depth: int, floor: float
    ) -> Best:
        """As `best`, among rows in RAM; while these are as the reader sees them (`Mirror.at`)."""
        found, cosines = self._best_rows(db, _Pass(rows, query), rows.with_vector(at), depth, floor)
        return _above(floor, rows.column("ids")[found], cosines)

    def likes(
        self, db: sqlite3.Connection, passed: Passed, queries: NDArray[np.float32], depth: int, floor: float
    ) -> list[list[Likes]]:
        """Of each query and each group of some records the `depth` with the largest cosine, none below `floor`.

        Args:
            db: From `Store.read`.
            passed: All among which to choose.
            queries: (V, dim) of unit norm.
            depth: At most so many.
            floor: The least cosine.
        """
        with self._mirror.at(db) as rows:
            found = []
            for query in queries:
                one = None if rows is None else _Pass(rows, query)
                each = range(len(passed.parts))
                found.append([self._likes_of(db, one, passed, group, query, depth, floor) for group in each])
        return [[one_of.above(floor) for one_of in of_query] for of_query in found]

    def _likes_of(
        self,
        db: sqlite3.Connection,
        one: _Pass | None,
        passed: Passed,
        group: int,
        query: NDArray[np.float32],
        depth: int,
        floor: float,
    ) -> Likes:
        """Those of one group, by number; `one` goes over the rows in RAM, None reads the file."""
        if one is None:
            cosines = self._scores(db, None, passed.ids[passed.parts[group]], query[None])[0]
            best = best_first(cosines, depth)  # of equals the lower id comes first
            return Likes(np.arange(len(passed.ids))[passed.parts[group]][best], cosines[best])
        at, part = one.rows.rows_of(passed.ids), passed.lying_in(one.rows)[group]
        found, cosines = self._best_rows(db, one, part, depth, floor)
        return Likes(found - at.start if isinstance(at, slice) else np.searchsorted(at, found), cosines)

    def _best_rows(
        self, db: sqlite3.Connection, one: _Pass, part: At, depth: int, floor: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Of some rows with a vector the `depth` with the largest cosine, and those, best first."""
        rows, query = one.rows, one.query
        near = None if rows.is_exact else self._near(one, part, depth)
        found = one.contenders(part, depth, floor) if near is None else one.likely(near, depth, floor)
        if not len(found):
            return _NONE
        if rows.is_exact:
            cosines = dots(query[None], picked(rows.column("exact"), found))[0]
        else:
            cosines = self._read_scores(db, rows.column("ids")[found], query)
        best = best_first(cosines, depth)  # of equals the lower id comes first
        return found[best], cosines[best]

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
            scores[:, there] = dots(queries, picked(rows.column("exact"), at[there]))
            return scores
        for part, vectors in self._from_file(db, ids):
            scores[:, np.searchsorted(ids, part)] = dots(queries, vectors)
        return scores

    def _read_scores(
        self, db: sqlite3.Connection, ids: NDArray[np.int64], query: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(N,) cosines with one query of records that are few, by the vectors in the file."""
        size = next((size for size in FEW_IDS if size >= len(ids)), 0)
        if size:
            values = [*ids.tolist(), *[None] * (size - len(ids))]
            blobs: tuple[bytes | None, ...] = db.execute(_in_one_row(size), values).fetchone()[: len(ids)]
            whole = [blob for blob in blobs if blob is not None and len(blob) == 4 * self._dim]
            if len(whole) == len(blobs):  # as nearly always
                vectors = np.frombuffer(b"".join(whole), np.float32).reshape(-1, self._dim)
                read: NDArray[np.float32] = dots(query[None], vectors)[0]
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

    def _near(self, one: _Pass, part: At, depth: int) -> NDArray[np.int64] | None:
        """Of some rows, what the approximate index finds and what changed since it was made; None: search exactly."""
        rows, among = one.rows, part.stop - part.start if isinstance(part, slice) else len(part)
        if not self._mirror.approximate.above or _LEAST_SHARE * among < rows.n:
            return None  # among few, an exact search costs less than neighbours that mostly do not pass
        count = max(_NEIGHBOURS, 2 * depth) * rows.n // among
        count += count // 2 * (among < rows.n)  # of what passes, some more: it may not be spread evenly
        found = self._mirror.approximate.near(rows, one.code, count)
        if found is None:
            return None
        near, changed = (_those_in(rows.find(ids), part) if len(ids) else ids for ids in found)
        if len(near) + len(changed) < min(depth, among):
            return None
        return np.union1d(near, changed) if len(changed) else near


@cache
def _in_one_row(count: int) -> str:
    """SQL that reads the vectors of so many records as the columns of one row, in their order: two thirds of the time
    of a list after IN, which SQLite sorts first.
    """
    return "SELECT " + ", ".join(["(SELECT embedding FROM record_vector WHERE id = ?)"] * count)


class _Pass:
    """A first pass over the codes of rows, with one query.

    Args:
        rows: The rows in RAM.
        query: (dim,) of unit norm.
    """

    def __init__(self, rows: Rows, query: NDArray[np.float32]) -> None:
        self.rows, self.query = rows, query
        self._estimate = Estimate(query)
        self._columns = [rows.column(name) for name in ("codes", "scale", "error")]
        self._whole: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def code(self) -> NDArray[np.int8]:
        """(dim,) the query in bytes."""
        return self._estimate.code

    def contenders(self, at: At, depth: int, floor: float) -> NDArray[np.int64]:
        """Which rows (N,), ascending, of some with a vector may be among the `depth` with the largest cosine."""
        if not (at.stop - at.start if isinstance(at, slice) else len(at)):
            return _NONE.at
        if self.rows.is_exact and not isinstance(at, slice) and len(at) <= FEW:
            return at
        cosines, bounds = self._rough(at)
        best = contenders(cosines, bounds, depth, floor)
        best = best + at.start if isinstance(at, slice) else at[best]
        if len(best) > depth and len(cosines) > FEW and not self.rows.is_exact:  # the exact vectors cost a read each
            best = best[contenders(*self._estimate.fine(*(picked(c, best) for c in self._columns)), depth, floor)]
        return best

    def likely(self, at: NDArray[np.int64], depth: int, floor: float) -> NDArray[np.int64]:
        """As `contenders`, of rows that the approximate index has found: one in some thousand times one is left out."""
        if not len(at):
            return at
        cosines, bounds = self._rough(at)
        return at[contenders(cosines, bounds * _LIKELY, depth, floor)]

    def _rough(self, at: At) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if isinstance(at, slice) or 3 * len(at) <= self.rows.n:
            return self._estimate.rough(*(picked(column, at) for column in self._columns))
        if self._whole is None:  # a pass over all of them beats a copy of many
            self._whole = self._estimate.rough(*self._columns)
        return picked(self._whole[0], at), picked(self._whole[1], at)


def _those_in(some: NDArray[np.int64], part: At) -> NDArray[np.int64]:
    """Those of some rows that are among many, both ascending."""
    if isinstance(part, slice):
        is_in = (some >= part.start) & (some < part.stop)
    else:
        is_in = part[np.minimum(np.searchsorted(part, some), len(part) - 1)] == some
    found: NDArray[np.int64] = some[is_in]
    return found


def _above(floor: float, ids: NDArray[np.int64], cosines: NDArray[np.float32]) -> Best:
    """Those of `floor` or more, of some that stand best first."""
    numbers, values = ids.tolist(), cosines.tolist()
    if values and values[-1] < floor:
        count = int(np.count_nonzero(cosines >= floor))
        return numbers[:count], values[:count]
    return numbers, values
