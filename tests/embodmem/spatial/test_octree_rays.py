"""Ray casting and lidar points against marching through the map one piece at a time."""

import numpy as np
import pytest

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.geometry import check_pose, look_at
from embodmem.spatial.octree import FREE, OCCUPIED, UNKNOWN, Octree
from tests.embodmem.spatial.octree_reference import CAMERA, march, poses, room_depth


@pytest.fixture(scope="module")
def room():
    octree = Octree(SpatialConfig(voxel_size_m=0.1))
    for stamp, T in enumerate(poses()):
        octree.integrate(room_depth(CAMERA, T, holes=9), CAMERA, T, stamp)
    return octree


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("reach", [0.7, 6.0])
def test_rays_equal_marching(room, reach):
    rng = np.random.default_rng(1)
    origins = rng.uniform(-3, 3, (400, 3))
    directions = unit(rng.normal(size=(400, 3)))
    hits = room.raycast(origins, directions, reach)
    wanted = [march(room, o, d, reach) for o, d in zip(origins, directions, strict=True)]
    hit, distance, crossed = (np.array(column) for column in zip(*wanted, strict=True))
    np.testing.assert_array_equal(hits.hit, hit)
    np.testing.assert_allclose(hits.distance_m, distance, atol=1e-6)
    np.testing.assert_array_equal(hits.crossed_unknown, crossed)
    np.testing.assert_allclose(hits.position, origins + directions * distance[:, None], atol=1e-6)
    assert hit.any() and not hit.all() and crossed.any() and not crossed.all()


def test_rays_along_the_axes(room):
    origins = np.repeat([[0.05, 0.05, 0.05]], 6, axis=0)
    directions = np.concatenate([np.eye(3), -np.eye(3)])
    hits = room.raycast(origins, directions * 17.0, 5.0)  # a direction may have any length
    for i in range(6):
        assert (hits.hit[i], hits.crossed_unknown[i]) == march(room, origins[i], directions[i], 5.0)[::2]


def test_rays_that_meet_edges_of_voxels_and_bricks():
    """Exact ties: a diagonal ray through corners only, over absent bricks, ends where stepping ends."""
    octree = Octree(SpatialConfig(voxel_size_m=0.125))
    keys_of = octree.load_bricks
    from embodmem.spatial.octree import pack_keys

    values = np.full((1, 512), np.nan, np.float32)
    values[0, (4 * 8 + 4) * 8 + 4] = 1.0
    keys_of(pack_keys(np.array([[2, 2, 2]])), values, np.array([0]))
    hits = octree.raycast(np.zeros((1, 3)), np.ones((1, 3)), 10.0)
    assert hits.hit[0] and hits.crossed_unknown[0]
    np.testing.assert_allclose(hits.distance_m, np.sqrt(3) * 20 * 0.125, rtol=1e-12)


def test_a_ray_from_inside_an_occupied_voxel_hits_at_once(room):
    centres, _ = room.occupied()
    hits = room.raycast(centres[:50], np.ones((50, 3)), 1.0)
    assert hits.hit.all() and not hits.crossed_unknown.any()
    np.testing.assert_array_equal(hits.distance_m, 0.0)


def test_a_long_ray_over_nothing_is_quick():
    octree = Octree(SpatialConfig())
    hits = octree.raycast(np.zeros((1000, 3)), np.random.default_rng(0).normal(size=(1000, 3)), 100.0)
    assert not hits.hit.any() and hits.crossed_unknown.all()
    np.testing.assert_allclose(hits.distance_m, 100.0)


def test_bad_rays(room):
    o, d = np.zeros((2, 3)), np.ones((2, 3))
    for origins, directions, reach, words in [
        (o * np.nan, d, 1.0, "finite"),
        (o, d * 0, 1.0, "zero"),
        (o, d[:1], 1.0, "one for each"),
        (o[0], d, 1.0, "shape"),
        (o, d, 0.0, "max_range_m"),
        (o, d, np.nan, "max_range_m"),
        (o + 1e12, d, 1.0, "within"),
        ("here", d, 1.0, "numbers"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            room.raycast(origins, directions, reach)
    assert len(room.raycast(np.zeros((0, 3)), np.zeros((0, 3)), 1.0).hit) == 0


def scan_of_the_room(T, n=3000, half=(2.0, 1.5, 1.2)):
    """Points on the walls of the box room, sensor frame."""
    rays = unit(np.random.default_rng(5).normal(size=(n, 3)))
    world = rays @ T[:3, :3].T
    t = ((np.sign(world) * np.asarray(half) - T[:3, 3]) / world).min(axis=1)
    return (rays * t[:, None]).astype(np.float32)


@pytest.mark.parametrize("max_range_m", [10.0, 1.7])
def test_points_equal_the_reference(max_range_m):
    config = SpatialConfig(voxel_size_m=0.1, max_range_m=max_range_m, min_range_m=0.2)
    octree = Octree(config)
    T = check_pose(look_at([0.31, 0.22, -0.13], [1.0, 0.3, 0.2]))
    points = scan_of_the_room(T)
    octree.integrate_points(points, T, 7)
    ends = points.astype(np.float64) @ T[:3, :3].T
    reach = np.linalg.norm(ends, axis=1)
    struck, passed = set(), set()
    for end, length in zip(ends, reach, strict=True):
        cut = min(length, max_range_m)
        if length <= max_range_m:
            struck.add(tuple(np.floor((T[:3, 3] + end) / 0.1).astype(int).tolist()))
        steps = T[:3, 3] + np.outer(np.arange(0.0, cut, 0.002) / length, end)
        passed |= {tuple(v) for v in np.unique(np.floor(steps / 0.1).astype(int), axis=0).tolist()}
    passed -= struck
    got = octree.occupancy((np.array(sorted(struck)) + 0.5) * 0.1)
    assert (got == OCCUPIED).mean() > 0.999  # float32 points on the faces of voxels may fall to either side
    got = octree.occupancy((np.array(sorted(passed)) + 0.5) * 0.1)
    assert (got == FREE).mean() > 0.995
    # Nothing else is known: sampling misses only what a ray cuts by less than 2 mm.
    stats = octree.stats()
    assert len(struck) - 3 <= stats.occupied_voxels <= len(struck) + 3
    assert len(passed) <= stats.free_voxels + 3 and stats.free_voxels < 1.03 * len(passed)
    np.testing.assert_allclose(octree.log_odds((np.array(sorted(passed))[:9] + 0.5) * 0.1), config.log_odds_miss)
    assert (octree.bricks().last_seen_ns == 7).all()


def test_a_hit_outweighs_the_rays_that_pass_in_the_same_scan():
    octree = Octree(SpatialConfig(voxel_size_m=0.1))
    points = np.array([[1.05, 0.05, 0.05], [2.05, 0.09, 0.09]], np.float32)
    T = np.eye(4)
    T[:3, 3] = 0.05
    octree.integrate_points(points - np.float32(0.05), T, 0)
    states = octree.occupancy([[1.05, 0.05, 0.05], [0.55, 0.05, 0.05], [2.05, 0.09, 0.09], [2.35, 0.05, 0.05]])
    assert states.tolist() == [OCCUPIED, FREE, OCCUPIED, UNKNOWN]


def test_bad_points():
    octree = Octree(SpatialConfig())
    with pytest.raises(InvalidInput, match="finite"):
        octree.integrate_points([[np.nan, 0, 0]], np.eye(4), 0)
    with pytest.raises(InvalidInput, match="shape"):
        octree.integrate_points(np.zeros((3, 2)), np.eye(4), 0)
    octree.integrate_points(np.zeros((0, 3)), np.eye(4), 0)
    octree.integrate_points(np.zeros((3, 3)), np.eye(4), 0)  # the sensor's own place is no return
    assert octree.stats().bricks == 0
