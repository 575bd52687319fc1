"""What associative stores have in common: they name what they hold, and answer many fragments at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput

Floats = NDArray[np.float32]


class AssociativeStore:
    """Ids of patterns, in the order of writing."""

    def __init__(self) -> None:
        self._ids = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) of what is stored, in the order of writing."""
        ids: NDArray[np.int64] = self._ids.copy()
        return ids

    def _called_up(
        self, fragments: Floats, k: int, chunk: int, score: Callable[[Floats], Floats]
    ) -> tuple[NDArray[np.int64], Floats]:
        """Ids and scores (Q, k), best first, of the k stored patterns with the largest score for each fragment (Q, D).

        Args:
            fragments: What is asked, (Q, D).
            k: How many; fewer where fewer are stored.
            chunk: Fragments that are scored at once.
            score: Fragments (q, D) to scores (q, N) of all that is stored.

        Raises:
            InvalidInput: Nothing is stored.
        """
        if not len(self):
            raise InvalidInput(f"{type(self).__name__.lower()}: wanted stored patterns, got an empty store")
        k = min(k, len(self))
        ids, found = np.empty((len(fragments), k), np.int64), np.empty((len(fragments), k), np.float32)
        for at in range(0, len(fragments), chunk):
            part = slice(at, at + chunk)
            scores = score(fragments[part])
            order = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            by_score = np.argsort(-np.take_along_axis(scores, order, axis=1), axis=1, kind="stable")
            order = np.take_along_axis(order, by_score, axis=1)
            ids[part], found[part] = self._ids[order], np.take_along_axis(scores, order, axis=1)
        return ids, found
