"""Placing the labels of dots on a drawing so that they cover neither one another nor the dots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Directions tried in this order, at the dot and then further out.
_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
_GAPS = (7.0, 15.0, 26.0)


class Place(NamedTuple):
    """Where a label goes: which of its texts, the middle of its place, and whether it is so far as to need a line."""

    choice: int
    x: float
    y: float
    far: bool


def place_labels(
    dots: NDArray[np.float64],
    options: Sequence[Sequence[float]],
    height: float,
    size: tuple[float, float],
    taken: NDArray[np.float64],
) -> list[Place | None]:
    """Put a label beside each dot where there is room; the first dots choose first.

    A greedy choice among fixed candidate places (Imhof, The American Cartographer 1975, gives the preference for the
    right side; Christensen et al., ACM Transactions on Graphics 1995, the greedy algorithm).

    Args:
        dots: (N, 2) in units of the drawing, y down.
        options: Per dot the widths of its texts, the one liked best first.
        height: Of a text.
        size: Width and height of the drawing; no label leaves it.
        taken: (M, 4) boxes x0, y0, x1, y1 that must stay free.

    Returns:
        Per dot its place, or None where no text found room.
    """
    taken = np.concatenate([taken, np.concatenate([dots - 5.0, dots + 5.0], axis=1)])
    placed: list[Place | None] = []
    for dot, widths in zip(dots, options, strict=True):
        found: Place | None = None
        for choice, width in enumerate(widths):
            half = np.array([width, height]) / 2
            middles = np.array([dot + np.array(side) * (half + gap) for gap in _GAPS for side in _SIDES])
            boxes = np.concatenate([middles - half, middles + half], axis=1)
            inside = np.all((boxes[:, :2] >= 0.0) & (boxes[:, 2:] <= np.array(size)), axis=1)
            free = np.flatnonzero(inside & ~overlaps(boxes, taken).any(axis=1))
            if len(free):
                best = int(free[0])
                taken = np.concatenate([taken, boxes[[best]]])
                x, y = middles[best].tolist()
                found = Place(choice, x, y, best >= len(_SIDES))
                break
        placed.append(found)
    return placed


def place_inside(
    frame: NDArray[np.float64], width: float, height: float, taken: NDArray[np.float64]
) -> tuple[float, float]:
    """The middle of a text inside a box (a room), at the top left where that is free, else where it covers least.

    Args:
        frame: (4,) x0, y0, x1, y1 of the box.
        width: Of the text.
        height: Of the text.
        taken: (M, 4) boxes that it should not cover.
    """
    half = np.array([width, height]) / 2
    lower = np.minimum(frame[:2] + half + 5, (frame[:2] + frame[2:]) / 2)
    upper = np.maximum(frame[2:] - half - 5, lower)
    y, x = np.meshgrid(np.linspace(lower[1], upper[1], 7), np.linspace(lower[0], upper[0], 5), indexing="ij")
    middles = np.stack([x.ravel(), y.ravel()], axis=1)
    boxes = np.concatenate([middles - half, middles + half], axis=1)
    best = int(np.argmin(overlaps(boxes, taken).sum(axis=1)))
    return float(middles[best, 0]), float(middles[best, 1])


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, M) whether boxes a (N, 4) and b (M, 4), as x0, y0, x1, y1, share more than an edge."""
    found: NDArray[np.bool_] = np.all((a[:, None, :2] < b[:, 2:]) & (a[:, None, 2:] > b[:, :2]), axis=-1)
    return found
