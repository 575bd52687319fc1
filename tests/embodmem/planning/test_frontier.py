"""Frontiers against plain loops over voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.planning import frontiers
from embodmem.spatial.octree import Octree
from tests.embodmem.planning.maps import octree_of
from tests.embodmem.spatial.octree_reference import CAMERA, poses, room_depth

FACES = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]


def plain(octree, low=-np.inf, high=np.inf):
    """Frontier voxels with the sum of their steps to unknown ones, and their clusters as sets of voxels."""
    bricks = octree.bricks()
    z, y, x = np.mgrid[:8, :8, :8].reshape(3, -1)
    from embodmem.spatial.octree import unpack_keys

    voxels = (unpack_keys(bricks.keys)[:, None] * 8 + np.stack([x, y, z], axis=-1)).reshape(-1, 3)
    size = octree.config.voxel_size_m
    free = voxels[(bricks.log_odds <= 0).ravel()]
    middle = (free[:, 2] + 0.5) * size
    free = free[(middle >= low - 1e-9) & (middle <= high + 1e-9)]
    found = {}
    for face in FACES:
        beside = octree.occupancy((free + face + 0.5) * size) == -1
        for voxel in map(tuple, free[beside].tolist()):
            found[voxel] = found.get(voxel, np.zeros(3)) + face
    clusters, left = [], set(found)
    while left:
        queue = [left.pop()]
        cluster = set(queue)
        while queue:
            here = np.array(queue.pop())
            for step in np.ndindex(3, 3, 3):
                there = tuple((here + step - 1).tolist())
                if there in left:
                    left.remove(there)
                    cluster.add(there)
                    queue.append(there)
        clusters.append(cluster)
    return found, clusters


def check(octree, low=-np.inf, high=np.inf, least=1):
    size = octree.config.voxel_size_m
    found, clusters = plain(octree, low, high)
    clusters = [c for c in clusters if len(c) >= least]
    got = frontiers(octree, low, high, least)
    voxels = np.floor(got.voxels / size).astype(int)
    sets = [set(map(tuple, voxels[got.labels == i].tolist())) for i in range(len(got))]
    assert sorted(map(sorted, sets)) == sorted(map(sorted, clusters))
    assert got.sizes.tolist() == [len(s) for s in sets] == sorted((len(c) for c in clusters), reverse=True)
    assert len(got.voxels) == sum(map(len, clusters))
    for i, members in enumerate(sets):
        middles = (np.array(sorted(members)) + 0.5) * size
        np.testing.assert_allclose(got.centres[i], middles.mean(axis=0), atol=1e-9)
        away = np.linalg.norm(middles - got.centres[i], axis=1).min()
        np.testing.assert_allclose(np.linalg.norm(got.places[i] - got.centres[i]), away, atol=1e-9)
        assert tuple(np.floor(got.places[i] / size).astype(int).tolist()) in members
        total = sum(found[m] for m in members)
        length = np.linalg.norm(total)
        np.testing.assert_allclose(got.directions[i], total / length if length > 1e-9 else 0, atol=1e-9)
    return got


@settings(max_examples=20, deadline=None)
@given(
    arrays(np.float32, (5, 10, 9), elements=st.sampled_from([np.nan, -1.0, -1.0, 1.0])),
    st.tuples(*[st.integers(-12, 12)] * 3),
    st.integers(1, 3),
)
def test_frontiers_equal_loops_over_voxels(values, corner, least):
    check(octree_of(values, corner), least=least)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-0.5, 1.0), st.floats(0.0, 1.0))
def test_frontiers_between_two_heights(seed, low, thickness):
    rng = np.random.default_rng(seed)
    values = rng.choice([np.nan, -1.0, -1.0, -1.0], (9, 9, 9))
    check(octree_of(values, (-4, 5, -6)), low, low + thickness)


@pytest.mark.parametrize("threads", [1, 3])
def test_frontiers_of_a_room(threads):
    octree = Octree(SpatialConfig(voxel_size_m=0.1, budget_mib=6.852, threads=threads))
    octree.integrate(room_depth(CAMERA, poses(1)[0], holes=5), CAMERA, poses(1)[0], 0)
    got = check(octree, least=5)
    assert len(got) >= 1 and got.sizes[0] > 100


def test_an_open_side_points_outwards():
    values = np.full((8, 8, 8), 1.0)
    values[1:7, 1:7, 1:8] = -1.0  # a box that is open towards +x
    got = frontiers(octree_of(values, (0, 0, 0)))
    assert got.sizes.tolist() == [36]
    np.testing.assert_allclose(got.directions, [[1, 0, 0]])
    np.testing.assert_allclose(got.centres, [[0.75, 0.4, 0.4]])


def test_none_where_there_is_none_and_bad_input():
    octree = Octree(SpatialConfig(budget_mib=0.027))
    got = frontiers(octree)
    assert len(got) == 0 and got.voxels.shape == got.centres.shape == got.places.shape == (0, 3)
    assert len(frontiers(octree_of(np.full((3, 3, 3), 1.0)))) == 0
    with pytest.raises(InvalidInput, match="z_low_m"):
        frontiers(octree, 1.0, 0.0)
    for least in (0, True, -1):
        with pytest.raises(InvalidInput, match="min_voxels"):
            frontiers(octree, min_voxels=least)
