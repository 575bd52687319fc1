"""Choosing the fewest views that cover a surface: greedy maximum cover, and the index of which view saw what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Numbers = NDArray[np.int32]


class Cover(NamedTuple):
    """Chosen views, best first.

    Attributes:
        views: (M,) numbers of the views.
        adds: (M,) weight that each covers and none before it did; never 0.
        covers: (M,) weight that each covers, whoever else does.
    """

    views: NDArray[np.intp]
    adds: NDArray[np.float64]
    covers: NDArray[np.float64]


def greedy_cover(element: NDArray[np.intp], view: NDArray[np.intp], weight: NDArray[np.float64], k: int) -> Cover:
    """At most k views that cover as much weight as greedy choice can: each time the one that adds most.

    The weight covered is at least (1 - 1/e) of the most that any k views cover (Nemhauser, Wolsey and Fisher,
    Mathematical Programming 1978, th. 4.3). It stops early when no view adds anything. Of equal ones the view of the
    higher number is taken, so the answer depends on nothing but the arguments.

    Args:
        element: (P,) element of each pair "this element is seen by this view"; pairs are distinct.
        view: (P,) view of each pair.
        weight: (E,) weight of each element, above 0.
        k: Most views to choose.
    """
    count = int(view.max()) + 1 if len(view) else 0
    whole = np.bincount(view, weights=weight[element], minlength=count)
    views: list[int] = []
    adds: list[float] = []
    while len(views) < k and len(element):
        gain = np.bincount(view, weights=weight[element], minlength=count)
        best = count - 1 - int(np.argmax(gain[::-1]))
        views.append(best)
        adds.append(float(gain[best]))
        covered = np.zeros(len(weight), dtype=bool)
        covered[element[view == best]] = True
        open_pairs = ~covered[element]
        element, view = element[open_pairs], view[open_pairs]
    chosen = np.array(views, dtype=np.intp)
    return Cover(chosen, np.array(adds, dtype=np.float64), whole[chosen].astype(np.float64))


class SeenIndex:
    """Which views saw a surface element: VMem's list of view indices of each surfel, as sorted arrays.

    New views make a piece of their own, and pieces of about one size are merged, so that n views stand in about
    log2(n) pieces and adding one costs little however many there are.
    """

    def __init__(self) -> None:
        self._pieces: list[tuple[Keys, Numbers]] = []

    def add(self, keys: list[Keys], numbers: list[int]) -> None:
        """Add views by their numbers, each with the keys (M,) of the elements that it saw."""
        if not keys:
            return
        views = np.repeat(np.array(numbers, dtype=np.int32), [len(seen) for seen in keys])
        self._append(np.concatenate(keys), views)
        while len(self._pieces) > 1 and len(self._pieces[-2][0]) <= 2 * len(self._pieces[-1][0]):
            (some, owners), (more, others) = self._pieces.pop(-2), self._pieces.pop()
            self._append(np.concatenate([some, more]), np.concatenate([owners, others]))

    def _append(self, keys: Keys, views: Numbers) -> None:
        order = np.argsort(keys, kind="stable")
        self._pieces.append((keys[order], views[order]))

    def pairs(self, wanted: Keys) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Every (place in `wanted` (N,), number of a view that saw that key), as two arrays (P,)."""
        places, views = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        for keys, owners in self._pieces:
            first, last = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
            counts = last - first
            place = np.repeat(np.arange(len(wanted)), counts)
            inside = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
            places.append(place)
            views.append(owners[first[place] + inside].astype(np.intp))
        return np.concatenate(places), np.concatenate(views)
