"""Where a round robot fits: distances to rectangles, and flood fill over a grid of cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CELL_M = 0.1
"""Edge of a cell of the grids here, metres."""


def clearance(rectangles: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points (N, 2) to the nearest of rectangles (R, 4) given as x0, y0, x1, y1; (N,) metres, 0 inside."""
    offset = np.maximum(rectangles[None, :, :2] - points[:, None], points[:, None] - rectangles[None, :, 2:])
    np.maximum(offset, 0.0, out=offset)
    return np.asarray(np.sqrt((offset**2).sum(axis=2).min(axis=1)))


def overlaps(rectangles: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether each of rectangles (N, 4) overlaps any of others (M, 4)."""
    a, b = rectangles[:, None], others[None]
    apart = (a[..., :2] >= b[..., 2:]) | (a[..., 2:] <= b[..., :2])
    touching: NDArray[np.bool_] = ~np.any(apart, axis=2)
    return np.asarray(np.any(touching, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Cells over the apartment.

    Attributes:
        lower: (2,) corner of the first cell, metres.
        clear: (X, Y) distance of each cell's centre to the nearest obstacle, metres.
    """

    lower: NDArray[np.float64]
    clear: NDArray[np.float64]

    @classmethod
    def over(cls, lower: ArrayLike, upper: ArrayLike, rectangles: NDArray[np.float64]) -> Grid:
        """Grid over the box from `lower` (2,) to `upper` (2,) with obstacles (R, 4)."""
        start = np.asarray(lower, dtype=np.float64)
        shape = np.ceil((np.asarray(upper) - start) / CELL_M).astype(int)
        axes = [start[i] + (np.arange(shape[i]) + 0.5) * CELL_M for i in range(2)]
        # Per axis first: the squares of a cell's distances are then sums of what its row and its column have.
        x, y = (
            np.maximum(np.maximum(rectangles[:, i] - axes[i][:, None], axes[i][:, None] - rectangles[:, i + 2]), 0.0)
            for i in range(2)
        )
        return cls(start, np.sqrt(((x**2)[:, None] + (y**2)[None]).min(axis=2)))

    def cell(self, point: ArrayLike) -> tuple[int, int]:
        """The cell that holds a point (2,), clipped to the grid."""
        index = np.floor((np.asarray(point, dtype=np.float64)[:2] - self.lower) / CELL_M).astype(int)
        clipped = np.clip(index, 0, np.array(self.clear.shape) - 1)
        return int(clipped[0]), int(clipped[1])

    def centres(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(N, 2) centres of the cells in a mask (X, Y), metres."""
        return self.lower + (np.argwhere(mask) + 0.5) * CELL_M

    def flood(self, start: ArrayLike, margin_m: float) -> NDArray[np.float64]:
        """Steps from `start` (2,) to every cell over cells with at least `margin_m` to obstacles.

        Returns:
            (X, Y) number of steps to one of the four neighbours, infinity where no way leads.
        """
        free = self.clear >= margin_m
        steps = np.full(free.shape, np.inf)
        front = np.zeros_like(free)
        front[self.cell(start)] = True
        count = 0
        while front.any():
            steps[front] = count
            grown = np.zeros_like(front)
            grown[1:] |= front[:-1]
            grown[:-1] |= front[1:]
            grown[:, 1:] |= front[:, :-1]
            grown[:, :-1] |= front[:, 1:]
            front = grown & free & np.isinf(steps)
            count += 1
        return steps
