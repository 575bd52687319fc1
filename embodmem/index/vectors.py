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
        store.after_rollback.append(self.invalidate)

    def _reset(self) -> None:
        self._row: dict[int, int] = {}
        self._matrix = np.empty((0, self._dim), dtype=np.float32)

    def invalidate(self) -> None:
        """Forget what is held; the next search reads the file again."""
        with self._mutex:
            self._version = None

    def put(self, ids: list[int], vectors: NDArray[np.float32]) -> None:
        """Add or replace vectors (N, dim)."""
        with self._mutex:
            if self._version is not None:
                self._put(ids, vectors)

    def _put(self, ids: list[int], vectors: NDArray[np.float32]) -> None:
        fresh = [i for i in ids if i not in self._row]
        used = len(self._row)
        if used + len(fresh) > len(self._matrix):
            grown = np.empty((max(256, 2 * (used + len(fresh))), self._dim), dtype=np.float32)
            grown[:used] = self._matrix[:used]
            self._matrix = grown
        self._row.update(zip(fresh, range(used, used + len(fresh)), strict=True))
        self._matrix[[self._row[i] for i in ids]] = vectors

    def _fill(self) -> None:
        with self._store.read() as db:
            # Another process's commits change data_version; our own keep it and come in through `put`.
            version = int(db.execute("PRAGMA data_version").fetchone()[0]) if self._store.read_only else 0
            if version == self._version:
                return
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
