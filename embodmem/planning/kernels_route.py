# mypy: ignore-errors
"""Ways over a costmap as Warp kernels: the cost to a goal from everywhere, and the way down it."""

import warp as wp

wp.set_module_options({"enable_backward": False})

INFINITE = wp.constant(float("inf"))
DIAGONAL = wp.constant(1.4142135623730951)


@wp.func
def step_cost(weights: wp.array2d(dtype=wp.float32), row: int, column: int, down: int, right: int) -> float:
    """What one step to a neighbour costs, infinite off the map, into walls and around their corners."""
    r, c = row + down, column + right
    if r < 0 or r >= weights.shape[0] or c < 0 or c >= weights.shape[1]:
        return INFINITE
    length = wp.float32(1.0)
    if down != 0 and right != 0:
        length = float(DIAGONAL)
        if weights[row, c] == INFINITE or weights[r, column] == INFINITE:
            return INFINITE
    return length * 0.5 * (weights[row, column] + weights[r, c])


@wp.kernel
def relax(
    weights: wp.array2d(dtype=wp.float32),
    costs: wp.array2d(dtype=wp.float32),
    order: int,
    changed: wp.array(dtype=wp.int32),
):
    """Lower the cost of a cell to the least that its neighbours allow (Bellman, Quart. Appl. Math. 1958).

    On a CPU the cells come one after another, so that one sweep carries a cost across the whole map; `order` turns
    the sweep around (Zhao, Math. Comp. 2005). The least over all ways is reached in whatever order.
    """
    i = wp.tid()
    height, width = weights.shape[0], weights.shape[1]
    if (order & 1) != 0:
        i = height * width - 1 - i
    row, column = i // width, i % width
    if (order & 2) != 0:
        row, column = i % height, i // height
    if weights[row, column] == INFINITE:
        return
    best = costs[row, column]
    for code in range(wp.int32(9)):
        down, right = code // 3 - 1, code % 3 - 1
        if code != 4:
            step = step_cost(weights, row, column, down, right)
            if step != INFINITE:
                best = wp.min(best, costs[row + down, column + right] + step)
    if best < costs[row, column]:
        costs[row, column] = best
        changed[0] = 1


@wp.kernel
def descend(
    weights: wp.array2d(dtype=wp.float32),
    costs: wp.array2d(dtype=wp.float32),
    start_row: int,
    start_column: int,
    cells: wp.array(dtype=wp.vec2i),
    count: wp.array(dtype=wp.int32),
):
    """Go from a cell by the cheapest steps until the cost is 0; one thread."""
    row, column = wp.int32(start_row), wp.int32(start_column)
    cells[0] = wp.vec2i(row, column)
    n = wp.int32(1)
    while costs[row, column] > 0.0 and n < cells.shape[0]:
        best = float(INFINITE)
        to_row, to_column = wp.int32(row), wp.int32(column)
        for code in range(wp.int32(9)):
            down, right = code // 3 - 1, code % 3 - 1
            if code != 4:
                step = step_cost(weights, row, column, down, right)
                if step != INFINITE:
                    cost = costs[row + down, column + right] + step
                    if cost < best:
                        best = cost
                        to_row = row + down
                        to_column = column + right
        row = to_row
        column = to_column
        cells[n] = wp.vec2i(row, column)
        n = n + 1
    count[0] = n
