"""Plans of the map from above: slices between two heights, and costs around obstacles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.keys import BRICK_EDGE, unpack_keys

if TYPE_CHECKING:
    from embodmem.spatial.octree import Octree

UNKNOWN_COST, FREE_COST, INSCRIBED_COST, LETHAL_COST = -1, 0, 99, 100
"""Cells that nobody has seen, that are free, where a robot's middle must not be, and that are occupied."""

MAX_CELLS = 64_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Costmap:
    """What driving over each place costs, seen from above; the numbers are those of nav_msgs/OccupancyGrid.

    Attributes:
        cells: (H, W) int8: -1 unknown, 0 free .. 99 as good as a collision, 100 occupied. Row y, column x.
        origin: (2,) float64 corner of cell (0, 0) with the lowest x and y, metres in the world.
        resolution_m: Edge of a cell, metres.
    """

    cells: NDArray[np.int8]
    origin: NDArray[np.float64]
    resolution_m: float

    def cell_of(self, points: ArrayLike, name: str = "points") -> NDArray[np.int64]:
        """(N, 2) row and column of points (N, 2), metres in the world; outside of the map where they lie outside.

        Raises:
            InvalidInput: The points have another shape or are not finite; `name` is what they are called then.
        """
        try:
            places = np.asarray(points, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{name}: wanted numbers x, y (N, 2), got {points!r}") from error
        if places.ndim != 2 or places.shape[1] != 2 or not np.isfinite(places).all():
            raise InvalidInput(f"{name}: wanted finite x, y (N, 2), got {points!r}")
        cells = np.floor((places - self.origin) / self.resolution_m)
        return np.clip(cells, -(2**62), 2**62).astype(np.int64)[:, ::-1]

    def centres(self, cells: ArrayLike) -> NDArray[np.float64]:
        """(N, 2) x and y of the middles of cells (N, 2) given as row and column, metres in the world."""
        return self.origin + (np.asarray(cells, dtype=np.float64)[:, ::-1] + 0.5) * self.resolution_m

    def cost(self, points: ArrayLike) -> NDArray[np.int8]:
        """(N,) int8 costs at points (N, 2), metres in the world; unknown outside of the map.

        Raises:
            InvalidInput: The points have another shape or are not finite.
        """
        row, column = self.cell_of(points).T
        height, width = self.cells.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        costs: NDArray[np.int8] = np.full(len(row), UNKNOWN_COST, dtype=np.int8)
        costs[inside] = self.cells[row[inside], column[inside]]
        return costs

    def covering(self, points: ArrayLike) -> Costmap:
        """The same map, made larger by unknown cells where that is needed to hold points (N, 2), metres in the world.

        Raises:
            InvalidInput: The points have another shape or are not finite, or there would be more than `MAX_CELLS`.
        """
        wanted = self.cell_of(points)
        shape = np.array(self.cells.shape)
        whole = np.vstack([wanted, *([np.zeros(2, np.int64), shape - 1] if self.cells.size else [])])
        low, high = whole.min(axis=0), whole.max(axis=0) + 1
        if math.prod((high - low).tolist()) > MAX_CELLS:
            raise InvalidInput(f"covering: wanted at most {MAX_CELLS} cells, got {' x '.join(map(str, high - low))}")
        cells: NDArray[np.int8] = np.full(high - low, UNKNOWN_COST, dtype=np.int8)
        row, column = (-low).tolist()
        cells[row : row + shape[0], column : column + shape[1]] = self.cells
        return Costmap(cells, self.origin + low[::-1] * self.resolution_m, self.resolution_m)


def height_slice(octree: Octree, z_low_m: float, z_high_m: float) -> Costmap:
    """The map between two heights: 100 where a voxel is occupied, else 0 where one is free, else -1.

    Args:
        octree: The map.
        z_low_m: Lower end, metres in the world; a voxel counts when its middle lies between the two.
        z_high_m: Upper end.

    Returns:
        Cells of the octree's voxel size, whole bricks of 8x8; of shape (0, 0) where nothing was observed.

    Raises:
        InvalidInput: The heights are not two in order, or the map would have more than `MAX_CELLS` cells.
    """
    if not z_low_m < z_high_m:
        raise InvalidInput(f"height_slice: wanted z_low_m < z_high_m, got {z_low_m} and {z_high_m}")
    bricks = octree.bricks()
    size = octree.config.voxel_size_m
    places = unpack_keys(bricks.keys)
    heights = (places[:, 2, None] * BRICK_EDGE + np.arange(BRICK_EDGE) + 0.5) * size
    wanted = (heights > z_low_m) & (heights < z_high_m)
    some = wanted.any(axis=1)
    places, layer = places[some], wanted[some][:, :, None, None]
    values = bricks.log_odds[some].reshape(-1, BRICK_EDGE, BRICK_EDGE, BRICK_EDGE)  # brick, z, y, x
    occupied = np.logical_or.reduce((values > octree.config.log_odds_occupied) & layer, axis=1)
    known = np.logical_or.reduce(~np.isnan(values) & layer, axis=1)
    seen = np.flatnonzero(known.reshape(len(known), BRICK_EDGE**2).any(axis=1))
    if not len(seen):
        return Costmap(np.empty((0, 0), dtype=np.int8), np.zeros(2), size)
    columns = places[seen, :2]
    low = columns.min(axis=0)
    width, height = (columns.max(axis=0) - low + 1).tolist()
    if width * height * BRICK_EDGE**2 > MAX_CELLS:
        raise InvalidInput(
            f"height_slice: wanted at most {MAX_CELLS} cells, got {width * BRICK_EDGE} x {height * BRICK_EDGE}"
        )
    plan: NDArray[np.int8] = np.full((height, width, BRICK_EDGE, BRICK_EDGE), UNKNOWN_COST, np.int8)
    x, y = (columns - low).T
    states = np.where(occupied[seen], np.int8(LETHAL_COST), np.where(known[seen], np.int8(0), np.int8(UNKNOWN_COST)))
    np.maximum.at(plan, (y, x), states)  # bricks above one another: the larger counts
    cells = np.ascontiguousarray(plan.transpose(0, 2, 1, 3)).reshape(height * BRICK_EDGE, width * BRICK_EDGE)
    return Costmap(cells, low * (BRICK_EDGE * size), size)


def inflate(
    costmap: Costmap,
    inscribed_radius_m: float,
    inflation_radius_m: float,
    cost_scaling: float = 10.0,
    inflate_unknown: bool = False,
) -> Costmap:
    """Costs around occupied cells, as the inflation layer of Nav2 (Macenski et al., IROS 2020) puts them.

    With d the distance between the middles of a cell and of the nearest occupied one: 99 (inscribed) for
    d <= inscribed_radius_m, and beyond 98 exp(-cost_scaling (d - inscribed_radius_m)), cut to whole numbers, as far
    as inflation_radius_m. A cell keeps what it has where that is more. An unknown cell becomes 99 within the
    inscribed radius and else stays unknown, unless `inflate_unknown`, where any cost above 0 counts.

    Args:
        costmap: A plan with occupied cells of 100, as `height_slice` gives it.
        inscribed_radius_m: Radius of the largest circle inside the robot's outline, metres.
        inflation_radius_m: How far costs reach, metres.
        cost_scaling: How steeply they fall, per metre.
        inflate_unknown: Whether unknown cells get costs too.

    Raises:
        InvalidInput: A radius is negative or not finite, the second is less than the first, or the scaling is not
            above 0.
    """
    inner, outer = inscribed_radius_m, inflation_radius_m
    if not (0 <= inner <= outer < math.inf and 0 < cost_scaling < math.inf):
        raise InvalidInput(
            "inflate: wanted 0 <= inscribed_radius_m <= inflation_radius_m and cost_scaling > 0, got "
            f"{inner}, {outer} and {cost_scaling}"
        )
    size = costmap.resolution_m
    reach = min(int(outer / size + 1e-9), max(costmap.cells.shape))
    squares = squared_distances(costmap.cells == LETHAL_COST, reach)
    metres = np.sqrt(squares) * size
    near = 98.0 * np.exp(-cost_scaling * np.maximum(metres - inner, 0.0))
    costs = np.where(metres <= inner + 1e-9 * size, INSCRIBED_COST, near).astype(np.int8)
    costs[metres > outer + 1e-9 * size] = FREE_COST
    old = costmap.cells
    enough = costs > FREE_COST if inflate_unknown else costs >= INSCRIBED_COST
    cells = np.where(old == UNKNOWN_COST, np.where(enough, costs, old), np.maximum(old, costs))
    return Costmap(cells.astype(np.int8), costmap.origin.copy(), size)


def squared_distances(mask: NDArray[np.bool_], reach: int) -> NDArray[np.float64]:
    """(H, W) squared distance in cells to the nearest cell of a mask (H, W), infinite beyond `reach` in x or y.

    The squares of the two axes are taken one after another (Felzenszwalb and Huttenlocher, Theory of Computing 2012,
    section 3); within a window, the least of all shifts is the exact lower envelope.
    """
    far: NDArray[np.float64] = np.where(mask, 0.0, np.inf)
    return _windowed(_windowed(far, reach, lambda a: a), reach, lambda a: a.T)


def _windowed(
    values: NDArray[np.float64], reach: int, turned: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The least over |k| <= reach of values[i + k] + k * k along one axis."""
    best: NDArray[np.float64] = values.copy()
    source, target = turned(values), turned(best)
    for k in range(1, min(reach, len(source) - 1) + 1):
        np.minimum(target[k:], source[:-k] + k * k, out=target[k:])
        np.minimum(target[:-k], source[k:] + k * k, out=target[:-k])
    return best
