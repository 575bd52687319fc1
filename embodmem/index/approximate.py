"""An approximate index of the vectors of a very large memory (HNSW, of usearch): asked for, or not there.

It lives in RAM alone: nothing of it stands in the file, so there is nothing to erase there, and nothing that could
disagree with the file after a crash; the bytes of a forgotten vector leave the process when the index is made again. A
thread makes it from the rows, which takes seconds for each 10,000 records; until then, searches are exact. What changes
afterwards is noted, and searched exactly beside it; when that is much, the index is made again. What it finds is ranked
by the exact vectors of the file.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import MissingDependency
from embodmem.index.codes import Codes
from embodmem.index.rows import Rows

Ids = NDArray[np.int64]

MOST = 1024
"""More neighbours than this are looked for exactly."""

_CHANGED = 4096
"""So many changes, and a quarter of the rows, are searched beside the index before it is made again."""

_CHUNK = 256
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 64, 72
"""Recall@10 at 200,000 vectors in 2,000 clusters: .95 at an expansion of 48, .975 at 64, .985 at 80."""


class _Made:
    """An index of some rows as they were at one moment, and what changed since."""

    def __init__(self, rows: Rows, ids: Ids) -> None:
        self.rows = rows
        self.count = len(ids)
        self.packed: NDArray[np.uint8] | None = None  # what the index looks at, and does not own
        self.index: Any = None
        self.ids = ids  # those with the same code follow one another
        self.starts = np.empty(0, np.int64)  # (G + 1,) where each group of them begins
        self._changed = np.empty(0, np.int64)
        self.log: list[Ids] = []  # rows append to it
        rows.watched_by(self.log)

    def changed(self) -> Ids:
        """Ids of what changed, ascending."""
        if self.log:
            self._changed = np.unique(np.concatenate([self._changed, *self.log]))
            self.log.clear()
        return self._changed

    def find(self, query: Codes, count: int) -> Ids:
        """Ids of the neighbours, and of all that have a code of theirs, ascending."""
        keys = self.index.search(query, min(count, len(self.starts) - 1), threads=1).keys
        if len(self.starts) == len(self.ids) + 1:  # no two have one code
            return np.sort(self.ids[np.asarray(keys)])
        found = np.asarray(keys).astype(np.int64)
        first, sizes = self.starts[found], self.starts[found + 1] - self.starts[found]
        members = [self.ids[begin : begin + size] for begin, size in zip(first.tolist(), sizes.tolist(), strict=True)]
        return np.sort(np.concatenate(members))


class Approximate:
    """Neighbours of a vector among many, nearly all of the nearest. Called while the mirror's lock is held."""

    def __init__(self) -> None:
        self._above = 0
        self._made: _Made | None = None
        self._next: _Made | None = None
        self._stop = threading.Event()
        self._worker: threading.Thread | None = None

    @property
    def above(self) -> int:
        """From more records than this on, it is used; 0: never."""
        return self._above

    @above.setter
    def above(self, records: int) -> None:
        if records:
            try:
                import usearch.index  # noqa: F401
            except ImportError as error:
                raise MissingDependency("usearch", "ann", "index.approximate_above") from error
        self._above = records

    def near(self, rows: Rows, query: Codes, count: int) -> tuple[Ids, Ids] | None:
        """What may be among the nearest.

        Args:
            rows: The rows in RAM.
            query: (dim,) code of the query.
            count: How many neighbours to look for.

        Returns:
            Ids (N,) of neighbours, and ids (M,) that changed since the index was made and may be anything, both
            ascending; None where the exact search has to do.
        """
        if not self._above or rows.n - rows.gone <= self._above or count > MOST:
            return None
        made = self._current(rows)
        if made is None:
            return None
        ids, changed = made.find(query, count), made.changed()
        return np.setdiff1d(ids, changed, assume_unique=True) if len(changed) else ids, changed

    def _current(self, rows: Rows) -> _Made | None:
        if self._next is not None and self._next.index is not None:
            self._made, self._next = self._next, None
        if self._made is not None and self._made.rows is not rows:
            self._made = None
        if self._next is not None and self._next.rows is not rows:
            self.close()
        made = self._made
        if self._next is None and (made is None or len(made.changed()) > _CHANGED + made.count // 4):
            self._begin(rows)
        return made

    def _begin(self, rows: Rows) -> None:
        at = np.flatnonzero(rows.column("has"))
        ids, codes = rows.column("ids")[at], rows.column("codes")[at]
        self._next = _Made(rows, ids)
        self._stop = threading.Event()
        self._worker = threading.Thread(
            target=_make, args=(self._next, codes, self._stop), name="embodmem-approximate", daemon=True
        )
        self._worker.start()

    def wait(self) -> None:
        """Until an index that is being made is there; not while the mirror's lock is held."""
        if self._worker is not None:
            self._worker.join()

    def close(self) -> None:
        """Stop making one, and drop what there is."""
        self._stop.set()
        self.wait()
        self._made = self._next = self._worker = None


def _make(made: _Made, codes: Codes, stop: threading.Event) -> None:
    """Fill the index of rows (N,) with codes (N, dim).

    Vectors come in no order: sorted ones, as `unique` leaves them, make a worse graph (recall .96 instead of .975). It
    is packed at the end: three fifths of the memory, in large pages, and three quarters of the time of a search.
    Equal vectors, which are common in a life that repeats itself, are one entry: many of them together would be an
    island of neighbours that no search of a graph comes to.
    """
    code = np.ascontiguousarray(codes).view(f"V{codes.shape[1]}").reshape(-1)
    _, first, group, sizes = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    made.ids = made.ids[np.argsort(group, kind="stable")]
    made.starts = np.concatenate([[0], np.cumsum(sizes)])
    index = _empty(codes.shape[1])
    order = np.random.default_rng(0).permutation(len(first))
    for begin in range(0, len(first), _CHUNK):
        if stop.is_set():
            return
        part = order[begin : begin + _CHUNK]
        index.add(part.astype(np.uint64), codes[first[part]], threads=1)
    made.packed = np.frombuffer(index.save(), np.uint8).copy()
    view = _empty(codes.shape[1])
    view.view(made.packed)
    made.index = view


def _empty(dim: int) -> Any:
    from usearch.index import Index

    return Index(
        ndim=dim,
        metric="cos",
        dtype="i8",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        expansion_search=_EXPANSION_SEARCH,
    )
