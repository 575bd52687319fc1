"""Slices of the map and the costs around obstacles, against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.planning import Costmap, height_slice, inflate
from embodmem.spatial.octree import Octree
from tests.embodmem.planning.maps import octree_of

STATES = st.sampled_from([np.nan, -1.0, 1.0])


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, (6, 11, 20), elements=STATES), st.floats(-0.9, 1.0), st.floats(0.01, 1.5))
def test_a_slice_equals_a_loop_over_cells(values, low, thickness):
    corner = np.array([-5, 3, -4])
    plan = height_slice(octree_of(values, corner), low, low + thickness)
    heights = (np.arange(6) + corner[2] + 0.5) * 0.1
    layers = values[(heights > low) & (heights < low + thickness)]
    wanted = np.where((layers > 0).any(axis=0), 100, np.where((layers <= 0).any(axis=0), 0, -1))
    y, x = np.mgrid[:11, :20]
    centres = np.stack([x + corner[0] + 0.5, y + corner[1] + 0.5], axis=-1) * 0.1
    np.testing.assert_array_equal(plan.cost(centres.reshape(-1, 2)).reshape(11, 20), wanted)
    assert (plan.cells >= 0).sum() == (wanted >= 0).sum()


def test_cells_and_places():
    plan = Costmap(np.arange(6, dtype=np.int8).reshape(2, 3), np.array([-1.0, 2.0]), 0.5)
    cells = np.argwhere(plan.cells >= 0)
    np.testing.assert_array_equal(plan.cell_of(plan.centres(cells)), cells)
    np.testing.assert_array_equal(plan.cost(plan.centres(cells)), plan.cells.ravel())
    np.testing.assert_allclose(plan.centres([[1, 2]]), [[0.25, 2.75]])
    assert plan.cost([[-1.01, 2.2], [0.6, 2.2], [0.0, 3.1], [0.0, 1.9], [1e300, 0]]).tolist() == [-1] * 5
    for bad in ([1.0, 2.0], [[np.nan, 0.0]], [[1.0, 2.0, 3.0]]):
        with pytest.raises(InvalidInput, match="points"):
            plan.cost(bad)


def test_a_map_grows_to_hold_points():
    plan = Costmap(np.arange(6, dtype=np.int8).reshape(2, 3), np.array([-1.0, 2.0]), 0.5)
    points = np.array([[-2.2, 2.2], [0.3, 4.4]])
    more = plan.covering(points)
    assert more.cells.shape == (5, 6) and (more.cells >= 0).sum() == 6
    centres = plan.centres(np.argwhere(plan.cells >= 0))
    np.testing.assert_array_equal(more.cost(centres), plan.cost(centres))
    cells = more.cell_of(points)
    assert (cells >= 0).all() and (cells < more.cells.shape).all() and (more.cost(points) == -1).all()
    np.testing.assert_array_equal(plan.covering(centres).cells, plan.cells)
    empty = Costmap(np.empty((0, 0), np.int8), np.zeros(2), 0.1)
    assert empty.covering([[1.05, -0.95]]).cells.tolist() == [[-1]]
    with pytest.raises(InvalidInput, match="cells"):
        plan.covering([[1e9, 1e9]])


def test_an_empty_map_has_no_cells():
    octree = Octree(SpatialConfig(budget_mib=0.027))
    assert height_slice(octree, 0.0, 1.0).cells.shape == (0, 0)
    with pytest.raises(InvalidInput, match="z_low_m"):
        height_slice(octree, 1.0, 1.0)


def test_a_map_that_is_too_large_is_refused():
    octree = Octree(SpatialConfig(voxel_size_m=0.01, budget_mib=0.027))
    keys = np.array([0, (2**20 << 42) | (2**20 << 21) | 2**20], dtype=np.int64)
    octree.load_bricks(keys, np.full((2, 512), -1, np.float32), np.zeros(2, np.int64))
    with pytest.raises(InvalidInput, match="cells"):
        height_slice(octree, -np.inf, np.inf)


def plain_inflation(cells, inner, outer, scaling, unknown_too, size):
    """Nav2's inflation layer, cell by cell."""
    made = cells.copy()
    lethal = np.argwhere(cells == 100)
    for row, column in np.ndindex(*cells.shape):
        if not len(lethal):
            break
        d = np.sqrt(((lethal - (row, column)) ** 2).sum(axis=1).min()) * size
        cost = 0 if d > outer + 1e-9 else 99 if d <= inner + 1e-9 else int(98 * np.exp(-scaling * (d - inner)))
        old = cells[row, column]
        if old == -1:
            made[row, column] = cost if (cost > 0 if unknown_too else cost >= 99) else -1
        else:
            made[row, column] = max(old, cost)
    return made


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.int8, st.tuples(st.integers(1, 14), st.integers(1, 17)), elements=st.sampled_from([-1, 0, 0, 40, 100])),
    st.sampled_from([0.0, 0.1, 0.23, 0.4]),
    st.sampled_from([0.0, 0.3, 0.55, 3.0]),
    st.sampled_from([1.0, 10.0]),
    st.booleans(),
)
def test_inflation_equals_a_loop_over_cells(cells, inner, wider, scaling, unknown_too):
    plan = Costmap(cells, np.zeros(2), 0.1)
    got = inflate(plan, inner, inner + wider, scaling, unknown_too)
    np.testing.assert_array_equal(got.cells, plain_inflation(cells, inner, inner + wider, scaling, unknown_too, 0.1))
    assert got.cells.dtype == np.int8


def test_inflation_refuses_what_makes_no_sense():
    plan = Costmap(np.zeros((2, 2), np.int8), np.zeros(2), 0.1)
    for bad in ((-0.1, 0.2), (0.3, 0.2), (0.1, np.inf), (np.nan, 0.2)):
        with pytest.raises(InvalidInput, match="inscribed"):
            inflate(plan, *bad)
    with pytest.raises(InvalidInput, match="scaling"):
        inflate(plan, 0.1, 0.2, 0.0)
    assert inflate(Costmap(np.empty((0, 0), np.int8), np.zeros(2), 0.1), 0.1, 0.2).cells.shape == (0, 0)
