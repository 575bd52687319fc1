"""What many rows have in common, so that a filter passes over most of them at once: times, places and their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1024
"""Spans that are summed up in one go: a few megabytes."""

_ROWS_AT_ONCE = 16_384
"""Rows whose order is looked at in one go."""


class Spans:
    """Times and places of rows that follow one another, summed up.

    Args:
        size: How many rows a span has.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._dirty: set[int] = set()
        self._sums = np.empty((8, 0))
        self.by_time = True
        """Whether the spans follow one another in time, as of the last `of`."""

    def touch(self, at: NDArray[np.int64]) -> None:
        """These rows have changed."""
        self._dirty.update(np.unique(at // self._size).tolist())

    def touch_from(self, begin: int, end: int) -> None:
        """The rows from `begin` to before `end` have changed."""
        self._dirty.update(range(begin // self._size, (end - 1) // self._size + 1))

    def begin_anew(self, rows: int) -> None:
        """There are so many rows, and all of them are others."""
        self._dirty = set(range(-(-rows // self._size)))
        self._sums = self._sums[:, : len(self._dirty)]

    def of(self, held: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.float64]:
        """(8, S): of each span the earliest begin, the latest end (ns), the lower and the upper corner (m).

        float64 holds stamps to some 100 ns: compare them with the same rounding. Inf and -inf where no row has a place.

        Args:
            held: Columns, as `Batch` names them.
            n: So many rows of them count.
        """
        count = -(-n // self._size)
        if not self._dirty:
            return self._sums[:, :count]
        if self._sums.shape[1] < count:
            grown = np.zeros((8, max(count, 2 * self._sums.shape[1])))
            grown[:, : self._sums.shape[1]] = self._sums
            self._sums = grown
        dirty = np.array(sorted(self._dirty), dtype=np.int64)
        for begin in range(0, len(dirty), _AT_ONCE):
            numbers = dirty[begin : begin + _AT_ONCE]
            self._sums[:, numbers] = self._sum(held, n, numbers)
        self._dirty.clear()
        self.by_time = bool((self._sums[:2, 1:count] >= self._sums[:2, : count - 1]).all())
        return self._sums[:, :count]

    def _sum(self, held: Mapping[str, NDArray[Any]], n: int, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """(8, S) of these spans."""
        # What lies behind the last row stands for the last row once more.
        at = np.minimum(numbers[:, None] * self._size + np.arange(self._size), n - 1)
        here, box = held["group"][at] >= 0, held["box"][at]
        lower = np.where(here[..., None], box[..., :3], np.nan)
        upper = np.where(here[..., None], box[..., 3:], np.nan)
        return np.vstack(
            [
                np.where(here, held["first"][at], np.inf).min(axis=1),
                np.where(here, held["last"][at], -np.inf).max(axis=1),
                np.fmin.reduce(lower, axis=1, initial=np.inf).T,
                np.fmax.reduce(upper, axis=1, initial=-np.inf).T,
            ]
        )


def touching(
    box: NDArray[np.float64],
    size: int,
    spans: NDArray[np.int64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Which rows of some spans have a box that touches another one; ascending as the spans are.

    A span's numbers of one column lie side by side, and are read so: a quarter of the time of one row after the other.

    Args:
        box: (N, 6) lower and upper corners, whose columns are contiguous; N a multiple of `size`.
        size: Rows in a span.
        spans: (S,) their numbers, ascending.
        lower: (3,) corner of the other box.
        upper: (3,) corner of the other box.
    """
    keep = np.ones((len(spans), size), np.bool_)
    for axis in range(3):
        keep &= box[:, axis + 3].reshape(-1, size).take(spans, axis=0, mode="clip") >= lower[axis]
        keep &= box[:, axis].reshape(-1, size).take(spans, axis=0, mode="clip") <= upper[axis]
    span, place = keep.nonzero()
    found: NDArray[np.int64] = spans[span] * size + place
    return found


class InOrder:
    """Up to which row neither begins nor ends ever go back.

    Where they do not, what lies between two stamps is found by halving, and no row is looked at. What was found is held
    until rows change: a step back that is still there is told at once, and only rows behind a change are read again.
    """

    def __init__(self) -> None:
        self._known = 0  # of so many rows, none goes back

    def touch(self, row: int) -> None:
        """Rows from this one on may have changed; new ones behind the last are seen without that."""
        self._known = min(self._known, row)

    def holds(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> bool:
        """Whether all rows are in order, by their begins (N,) and ends (N,)."""
        count = len(first)
        while self._known < count:
            at = self._known
            if at and (first[at] < first[at - 1] or last[at] < last[at - 1]):
                return False
            begin = max(at - 1, 0)
            end = min(count, begin + _ROWS_AT_ONCE)
            back = first[begin + 1 : end] < first[begin : end - 1]
            back |= last[begin + 1 : end] < last[begin : end - 1]
            self._known = begin + 1 + int(back.argmax()) if back.any() else end
        return True
