"""The vectors of all records in one matrix, kept in step with the file."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from embodmem.store import Store


class Vectors:
    """Embeddings by record id, exact search by one matrix product.

    Filled from the file at the first use, and again when another process has written to it.
    """

    def __init__(self, store: Store, dim: int) -> None:
        self._store = store
        self._dim = dim
        self._mutex = threading.Lock()
        self._version: int | None = None
        self._reset()
        self._put_unfilled = False
        store.after_rollback.append(self.invalidate)
        store.after_commit.append(self._after_commit)

    def _reset(self) -> None:
        self._row: dict[int, int] = {}
        self._free: list[int] = []
        self._matrix = np.empty((0, self._dim), dtype=np.float32)

    def invalidate(self) -> None:
        """Forget what is held; the next search reads the file again."""
        with self._mutex:
            self._version = None

    def put(self, ids: list[int], vectors: NDArray[np.float32]) -> None:
        """Add or replace vectors (N, dim)."""
        with self._mutex:
            if self._version is None:
                self._put_unfilled = True
            else:
                self._put(ids, vectors)

    def _after_commit(self) -> None:
        # Another thread may have filled the matrix from the file as it was just before this commit.
        if self._put_unfilled:
            self._put_unfilled = False
            self.invalidate()

    def drop(self, ids: list[int]) -> None:
        """Give the rows of removed records to later ones."""
        with self._mutex:
            self._free.extend(self._row.pop(i) for i in ids if i in self._row)

    def _put(self, ids: list[int], vectors: NDArray[np.float32]) -> None:
        fresh = [i for i in dict.fromkeys(ids) if i not in self._row]
        lacking, rows = len(fresh) - len(self._free), len(self._matrix)
        if lacking > 0:
            grown = np.empty((max(256, rows + lacking, 2 * rows), self._dim), dtype=np.float32)
            grown[:rows] = self._matrix
            self._matrix = grown
            self._free.extend(range(len(grown) - 1, rows - 1, -1))
        self._row.update((i, self._free.pop()) for i in fresh)
        self._matrix[[self._row[i] for i in ids]] = vectors

    def _fill(self) -> None:
        # Asked for before the rows are read, so that these are as new as the version says, or newer. This process's own
        # writes keep the version and come in through `put`.
        version = self._store.foreign_version()
        if version == self._version:
            return
        with self._store.read() as db:
            rows = db.execute("SELECT id, embedding FROM record WHERE embedding IS NOT NULL").fetchall()
        self._reset()
        if rows:
            self._put(
                [row[0] for row in rows],
                np.frombuffer(b"".join(row[1] for row in rows), np.float32).reshape(-1, self._dim),
            )
        self._version = version

    def scores(self, ids: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of each record with a query of unit norm (dim,); -1 for a record without a vector.

        Returns:
            (N,) float32 for ids (N,).
        """
        with self._mutex:
            self._fill()
            rows = np.fromiter((self._row.get(i, -1) for i in ids.tolist()), np.int64, len(ids))
            scores = np.full(len(ids), -1.0, dtype=np.float32)
            known = rows >= 0
            scores[known] = self._matrix[rows[known]] @ query
        return scores
