"""Ways over a costmap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput
from embodmem.planning.costmap import INSCRIBED_COST, UNKNOWN_COST, Costmap


def cost_to_go(
    costmap: Costmap, goal: ArrayLike, penalty: float = 3.0, unknown_cost: int | None = None
) -> NDArray[np.float32]:
    """What the cheapest way to a goal costs from every cell.

    A way goes from cell to cell over faces and corners, not around the corner of a wall. A step of d metres between
    cells of costs a and b costs d (1 + penalty (a + b) / 200): a way through free space costs its length.

    Args:
        costmap: Costs of places; cells of 99 and more are walls.
        goal: (2,) metres in the world.
        penalty: How many metres of detour a metre through cells of cost 100 would be worth.
        unknown_cost: What unknown cells are taken for, 0 .. 98; None: for walls.

    Returns:
        (H, W) float32 metres; infinite where no way leads to the goal.

    Raises:
        InvalidInput: The goal is off the map or in a wall, or a setting is out of range.
    """
    return np.asarray(_costs(costmap, goal, penalty, unknown_cost)[1])


def find_route(
    costmap: Costmap,
    start: ArrayLike,
    goal: ArrayLike,
    penalty: float = 3.0,
    unknown_cost: int | None = None,
) -> NDArray[np.float64] | None:
    """The cheapest way between two places, by the costs of `cost_to_go`.

    Args:
        costmap: Costs of places.
        start: (2,) metres in the world. A robot that stands in a cell of 99 is led out of it by the nearest other cell.
        goal: (2,) metres in the world.
        penalty: See `cost_to_go`.
        unknown_cost: See `cost_to_go`.

    Returns:
        (N, 2) middles of the cells on the way, metres in the world, from the start's to the goal's; None where no
        way leads.

    Raises:
        InvalidInput: A place is off the map, the goal is in a wall, or a setting is out of range.
    """
    import warp as wp

    from embodmem.planning import kernels_route as kernels

    first = _cell(costmap, start, "start")
    weights, costs = _costs(costmap, goal, penalty, unknown_cost)
    begin = first
    if not np.isfinite(weights[first]):
        open_cells = np.argwhere(np.isfinite(costs))
        begin = tuple(open_cells[((open_cells - first) ** 2).sum(axis=1).argmin()].tolist())
    if not np.isfinite(costs[begin]):
        return None
    cells = wp.empty(costs.size, dtype=wp.vec2i, device="cpu")
    count = wp.zeros(1, dtype=wp.int32, device="cpu")
    inputs = [wp.array(weights, device="cpu"), wp.array(costs, device="cpu"), *begin, cells, count]
    _launcher().run(kernels.descend, 1, inputs)
    way = cells.numpy()[: int(count.numpy()[0])]
    return costmap.centres(way if begin == first else np.concatenate([[first], way]))


def _costs(
    costmap: Costmap, goal: ArrayLike, penalty: float, unknown_cost: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights of cells (H, W), infinite in walls, and the cost to the goal (H, W)."""
    if not 0 <= penalty < math.inf:
        raise InvalidInput(f"route: wanted a penalty of 0 or more, got {penalty}")
    if unknown_cost is not None and not 0 <= unknown_cost < INSCRIBED_COST:
        raise InvalidInput(f"route: wanted unknown_cost None or 0 .. {INSCRIBED_COST - 1}, got {unknown_cost}")
    target = _cell(costmap, goal, "goal")
    cells = costmap.cells.astype(np.float32)
    wall = cells >= INSCRIBED_COST
    unseen = costmap.cells == UNKNOWN_COST
    if unknown_cost is None:
        wall |= unseen
    else:
        cells[unseen] = unknown_cost
    weights = np.where(wall, np.inf, costmap.resolution_m * (1 + penalty * cells / 100)).astype(np.float32)
    if wall[target]:
        raise InvalidInput(f"goal: wanted a place that can be driven over, got cost {costmap.cells[target]}")
    return weights, _relaxed(weights, target)


def _relaxed(weights: NDArray[np.float32], target: tuple[int, ...]) -> NDArray[np.float32]:
    import warp as wp

    from embodmem.planning import kernels_route as kernels

    launcher = _launcher()
    costs: NDArray[np.float32] = np.full(weights.shape, np.inf, dtype=np.float32)
    costs[target] = 0.0
    changed = wp.ones(1, dtype=wp.int32, device="cpu")
    flag = changed.numpy()
    shared = [wp.array(array, device="cpu", copy=False) for array in (weights, costs)]
    while flag[0]:
        flag[0] = 0
        for order in range(4):
            launcher.run(kernels.relax, weights.size, [*shared, order, changed])
    return costs


def _launcher() -> Any:
    """A costmap is small and lies in memory: ways are found on the CPU."""
    from embodmem.spatial.octree.runtime import Launcher, find_device

    return Launcher(find_device("cpu"), 1)


def _cell(costmap: Costmap, point: ArrayLike, name: str) -> tuple[int, ...]:
    places: list[Any] = [point]
    row, column = costmap.cell_of(places, name)[0].tolist()
    if not (0 <= row < costmap.cells.shape[0] and 0 <= column < costmap.cells.shape[1]):
        raise InvalidInput(f"{name}: wanted a place on the map, got {point!r}")
    return row, column
