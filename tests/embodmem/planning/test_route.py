"""Ways over costmaps against Dijkstra's algorithm in plain Python."""

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embodmem.errors import InvalidInput
from embodmem.planning import Costmap, cost_to_go, find_route

PLANS = arrays(np.int8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([-1, 0, 0, 50, 99]))


def plain(cells, goal, penalty, unknown_cost, size):
    """Cost from every cell to the goal (row, column), after Dijkstra."""
    walls = (cells >= 99) | ((cells < 0) & (unknown_cost is None))
    worth = size * (1 + penalty * np.where(cells < 0, unknown_cost or 0, cells) / 100)
    costs = np.full(cells.shape, np.inf)
    costs[goal] = 0.0
    queue = [(0.0, goal)]
    while queue:
        cost, (r, c) = heapq.heappop(queue)
        if cost > costs[r, c]:
            continue
        for dr, dc in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]:
            y, x = r + dr, c + dc
            if not (0 <= y < cells.shape[0] and 0 <= x < cells.shape[1]) or walls[y, x] or walls[r, x] or walls[y, c]:
                continue
            step = np.hypot(dr, dc) * (worth[r, c] + worth[y, x]) / 2
            if cost + step < costs[y, x] - 1e-12:
                costs[y, x] = cost + step
                heapq.heappush(queue, (cost + step, (y, x)))
    return costs, worth


@settings(max_examples=60, deadline=None)
@given(PLANS, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 3.0]), st.sampled_from([None, 0, 70]))
def test_costs_and_ways_equal_dijkstras(cells, seed, penalty, unknown_cost):
    plan = Costmap(cells, np.array([-0.7, 1.2]), 0.1)
    walls = (cells >= 99) | ((cells < 0) & (unknown_cost is None))
    rng = np.random.default_rng(seed)
    start, goal = (tuple(rng.integers(0, cells.shape).tolist()) for _ in range(2))
    places = plan.centres([start, goal])
    if walls[goal]:
        with pytest.raises(InvalidInput, match="goal"):
            cost_to_go(plan, places[1], penalty, unknown_cost)
        return
    wanted, worth = plain(cells, goal, penalty, unknown_cost, 0.1)
    got = cost_to_go(plan, places[1], penalty, unknown_cost)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    way = find_route(plan, *places, penalty, unknown_cost)
    if walls[start]:
        assert way is None or len(way) >= 2
        return
    if np.isinf(wanted[start]):
        assert way is None
        return
    steps = plan.cell_of(way)
    assert tuple(steps[0]) == start and tuple(steps[-1]) == goal
    assert (np.abs(np.diff(steps, axis=0)).max(axis=1, initial=0) <= 1).all()
    assert not walls[tuple(steps.T)].any()
    total = sum(
        np.hypot(*(b - a)) * (worth[tuple(a)] + worth[tuple(b)]) / 2 for a, b in zip(steps[:-1], steps[1:], strict=True)
    )
    assert total == pytest.approx(wanted[start], rel=1e-5)


def test_a_way_through_a_spiral():
    cells = np.zeros((41, 41), np.int8)
    for i in range(0, 19, 2):
        cells[i, i : 41 - i] = cells[40 - i, i : 41 - i] = cells[i : 41 - i, i] = cells[i : 41 - i, 40 - i] = 100
        cells[i + 1 if i % 4 else 39 - i, i] = cells[i + 1 if i % 4 else 39 - i, 40 - i] = 0
    cells[:1], cells[-1:], cells[:, :1], cells[:, -1:] = 100, 100, 100, 100
    plan = Costmap(cells, np.zeros(2), 1.0)
    wanted, _ = plain(cells, (20, 20), 0.0, None, 1.0)
    start = np.argwhere(np.isfinite(wanted) & (wanted == wanted[np.isfinite(wanted)].max()))[0]
    way = find_route(plan, plan.centres(start[None])[0], [20.5, 20.5], 0.0)
    assert np.linalg.norm(np.diff(way, axis=0), axis=1).sum() == pytest.approx(wanted[tuple(start)]) and len(way) > 100


def test_a_robot_in_a_wall_is_led_out():
    cells = np.array([[99, 99, 0, 0]], np.int8)
    way = find_route(Costmap(cells, np.zeros(2), 1.0), [0.5, 0.5], [3.5, 0.5])
    np.testing.assert_allclose(way, [[0.5, 0.5], [2.5, 0.5], [3.5, 0.5]])


def test_bad_input():
    plan = Costmap(np.array([[0, 100, -1]], np.int8), np.zeros(2), 1.0)
    for goal in ([1.5, 0.5], [2.5, 0.5], [9.0, 0.5], [np.nan, 0.5], [0.5], "there"):
        with pytest.raises(InvalidInput, match="goal: wanted"):
            cost_to_go(plan, goal)
    with pytest.raises(InvalidInput, match="start"):
        find_route(plan, [-1.0, 0.5], [0.5, 0.5])
    with pytest.raises(InvalidInput, match="penalty"):
        cost_to_go(plan, [0.5, 0.5], -1.0)
    for unknown in (-1, 99):
        with pytest.raises(InvalidInput, match="unknown_cost"):
            cost_to_go(plan, [0.5, 0.5], unknown_cost=unknown)
    assert cost_to_go(plan, [2.5, 0.5], unknown_cost=10)[0, 2] == 0.0
    assert find_route(plan, [0.5, 0.5], [2.5, 0.5], unknown_cost=0) is None
