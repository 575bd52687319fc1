"""Placing the labels of dots on a drawing so that they cover neither one another nor the dots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Directions tried in this order, at the dot and then further out.
_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
_GAPS = (7.0, 15.0, 26.0)


def place_labels(
    dots: NDArray[np.float64],
    options: Sequence[Sequence[float]],
    height: float,
    size: tuple[float, float],
) -> list[tuple[int, float, float] | None]:
    """Put a label beside each dot where there is room; the first dots choose first.

    A greedy choice among fixed candidate places (Imhof, The American Cartographer 1975, gives the preference for the
    right side; Christensen et al., ACM Transactions on Graphics 1995, the greedy algorithm).

    Args:
        dots: (N, 2) in units of the drawing, y down.
        options: Per dot the widths of its texts, the one liked best first.
        height: Of a text.
        size: Width and height of the drawing; no label leaves it.

    Returns:
        Per dot which text, and the middle of its place, or None where no text found room.
    """
    taken = np.concatenate([dots - 5.0, dots + 5.0], axis=1) if len(dots) else np.zeros((0, 4))
    placed: list[tuple[int, float, float] | None] = []
    for dot, widths in zip(dots, options, strict=True):
        found: tuple[int, float, float] | None = None
        for choice, width in enumerate(widths):
            half = np.array([width, height]) / 2
            middles = np.array([dot + np.array(side) * (half + gap) for gap in _GAPS for side in _SIDES])
            boxes = np.concatenate([middles - half, middles + half], axis=1)
            inside = np.all((boxes[:, :2] >= 0.0) & (boxes[:, 2:] <= np.array(size)), axis=1)
            left, right = boxes[:, None, :2], boxes[:, None, 2:]
            apart = np.any((left >= taken[:, 2:]) | (right <= taken[:, :2]), axis=-1)
            free = np.flatnonzero(inside & np.all(apart, axis=1))
            if len(free):
                taken = np.concatenate([taken, boxes[free[:1]]])
                found = (choice, float(middles[free[0], 0]), float(middles[free[0], 1]))
                break
        placed.append(found)
    return placed
