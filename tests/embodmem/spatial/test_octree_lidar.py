"""Lidar scans against walking every ray in Python's integers, against the plain rule, and against OctoMap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import SpatialConfig
from embodmem.datasets import read_pcd
from embodmem.errors import InvalidInput, PoseError
from embodmem.geometry import check_pose, inverse, look_at, pose_from_quat, transform_points
from embodmem.spatial.octree import LidarScan, Octree, integrate_scans
from embodmem.spatial.octree import scan as scan_module
from tests.embodmem.spatial.lidar_reference import integrate, states

HALF = np.array([6.1, 4.5, 1.7])  # walls in the middle of voxels


def config(**settings_):
    return SpatialConfig(**{"voxel_size_m": 0.2, "max_range_m": 30.0, "min_range_m": 0.5, **settings_})


def directions(n, rng):
    d = rng.normal(size=(n, 3)) * [1.0, 1.0, 0.4]
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def to_walls(origins, rays):
    """Where rays from inside the box room meet its walls, in the world."""
    t = ((np.sign(rays) * HALF - origins) / rays).min(axis=1)
    return origins + rays * t[:, None]


def room_scan(T, n, seed=0):
    """Points on the walls, sensor frame, float32, and the same as float64 points of the world."""
    rays = directions(n, np.random.default_rng(seed)) @ T[:3, :3].T
    points = transform_points(inverse(T), to_walls(T[:3, 3], rays)).astype(np.float32)
    return points, transform_points(T, points.astype(np.float64))


def log_odds(octree):
    bricks = octree.bricks()
    order = np.argsort(bricks.keys)
    return bricks.keys[order], bricks.log_odds[order], bricks.last_seen_ns[order]


def assert_same(a, b):
    for left, right in zip(log_odds(a), log_odds(b), strict=True):
        np.testing.assert_array_equal(left, right)


POSE = check_pose(look_at([0.31, 0.22, -0.13], [1.0, 0.3, 0.2]))


@pytest.mark.parametrize("max_range_m", [30.0, 4.0])
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_reference(max_range_m, threads):
    octree = Octree(config(max_range_m=max_range_m, threads=threads))
    points, world = room_scan(POSE, 700)
    octree.integrate_points(points, POSE, 7)
    struck, passed = integrate(np.repeat(POSE[None, :3, 3], len(world), axis=0), world, octree.config)
    occupied, free = states(octree)
    assert occupied == struck and free == passed
    assert len(struck) > 100 and len(passed) > 2000
    assert (log_odds(octree)[2] == 7).all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-12, 12)] * 3), min_size=1, max_size=6),
    st.tuples(*[st.integers(-9, 9)] * 3),
    st.sampled_from([1, 2, 4]),
)
def test_rays_through_faces_edges_and_corners(ends, origin, parts):
    """Ends and origins on a grid of 1/parts voxel, exact in float32: ties everywhere."""
    octree = Octree(config(voxel_size_m=0.25, min_range_m=0.01, max_range_m=100.0, threads=1))
    T = np.eye(4)
    T[:3, 3] = np.array(origin) * 0.25 / parts
    points = (np.array(ends) * 0.25 / parts).astype(np.float32)
    octree.integrate_points(points, T, 1)
    assert states(octree) == integrate(
        np.repeat(T[None, :3, 3], len(points), axis=0), T[:3, 3] + points.astype(np.float64), octree.config
    )


def test_a_walk_is_a_chain_of_face_neighbours_from_start_to_end():
    from tests.embodmem.spatial.lidar_reference import walk

    rng = np.random.default_rng(2)
    for _ in range(200):
        origin, v = rng.uniform(0, 1, 3), rng.normal(size=3) * 40
        voxels = np.array(sorted(walk(origin, v)))
        first, last = np.floor(origin), np.floor(origin + v)
        # As many voxels as steps along all axes and one: then each step crosses one face.
        assert len(voxels) == np.abs(last - first).sum() + 1
        # And the ray does pass each of them.
        with np.errstate(divide="ignore"):
            t = np.sort([(voxels - origin) / v, (voxels + 1 - origin) / v], axis=0)
        assert (t[0].max(axis=1) <= t[1].min(axis=1) + 1e-6).all()


def test_equals_the_plain_rule():
    """Only corners that a ray cuts by less than 1e-6 voxel may differ."""
    fast, plain = Octree(config()), Octree(config())
    for i in range(3):
        T = check_pose(look_at([0.3 * i, 0.2, -0.1 * i], [2.0, 0.7 * i - 1, 0.3]))
        points, _ = room_scan(T, 20000, seed=i)
        integrate_scans(fast, [LidarScan(points=points, T_world_sensor=T, stamp_ns=i)])
        integrate_scans(plain, [LidarScan(points=points, T_world_sensor=T, stamp_ns=i)], exact=True)
    a, b = log_odds(fast), log_odds(plain)
    np.testing.assert_array_equal(a[0], b[0])
    same = (a[1] == b[1]) | (np.isnan(a[1]) & np.isnan(b[1]))
    assert np.count_nonzero(~same) <= 5 and np.count_nonzero(~np.isnan(a[1])) > 20000


def test_threads_change_nothing():
    maps = [Octree(config(threads=threads)) for threads in (1, 2, 3)]
    for i in range(3):
        points, _ = room_scan(POSE, 5000, seed=i)
        for octree in maps:
            octree.integrate_points(points, POSE, i)
    assert_same(maps[0], maps[1])
    assert_same(maps[0], maps[2])


def test_agrees_with_octomap():
    """OctoMap walks in float64 and updates a voxel once a scan, like this; its rays start at the same place."""
    pyoctomap = pytest.importorskip("pyoctomap")
    octree = Octree(config())
    tree = pyoctomap.OcTree(0.2)
    points, world = room_scan(POSE, 20000)
    octree.integrate_points(points, POSE, 0)
    tree.insertPointCloud(world, POSE[:3, 3].copy(), max_range=30.0)
    occupied, free = states(octree)
    theirs = {True: set(), False: set()}
    for node in tree.begin_leafs():
        assert node.getDepth() == 16 or not tree.isNodeOccupied(node)
        low = np.floor((np.array(node.getCoordinate()) - node.getSize() / 2) / 0.2 + 0.5).astype(int)
        edge = round(node.getSize() / 0.2)
        box = low + np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        theirs[bool(tree.isNodeOccupied(node))] |= set(map(tuple, box.tolist()))
    assert len(occupied & theirs[True]) >= 0.999 * len(occupied | theirs[True])
    assert len(free & theirs[False]) >= 0.999 * len(free | theirs[False])


def moving_scan(n=4000):
    """A scan of the room by a sensor that drives 0.9 m and turns by 25 degrees meanwhile, and its rays' origins."""
    start = check_pose(look_at([0.1, 0.2, 0.0], [1.0, 0.4, 0.1]))
    turn = pose_from_quat([0.7, -0.5, 0.2], [0.0, np.sin(0.22), 0.0, np.cos(0.22)])
    end = start.copy()
    end[:3, :3] = start[:3, :3] @ turn[:3, :3]
    end[:3, 3] += [0.7, -0.5, 0.2]
    shares = np.linspace(0.0, 1.0, n).astype(np.float32)
    rays = directions(n, np.random.default_rng(4))
    points, origins = np.empty((n, 3), np.float32), np.empty((n, 3))
    for i, share in enumerate(shares.astype(float)):
        T = pose_from_quat([0, 0, 0], [0.0, np.sin(0.22 * share), 0.0, np.cos(0.22 * share)])
        T[:3, :3] = start[:3, :3] @ T[:3, :3]
        T[:3, 3] = origins[i] = start[:3, 3] + share * np.array([0.7, -0.5, 0.2])
        point = to_walls(T[None, :3, 3], (T[:3, :3] @ rays[i])[None])
        points[i] = transform_points(inverse(T), point)[0]
    return start, end, shares, points, origins


@pytest.mark.parametrize("exact", [False, True])
def test_a_moving_scan_is_deskewed(exact):
    start, end, shares, points, origins = moving_scan()
    whole = {"T_world_sensor_end": end, "offset_s": 0.1 * shares, "duration_s": 0.1}
    octree, still = Octree(config()), Octree(config())
    integrate_scans(octree, [LidarScan(points=points, T_world_sensor=start, stamp_ns=0, **whole)], exact=exact)
    integrate_scans(still, [LidarScan(points=points, T_world_sensor=start, stamp_ns=0)])
    walls = (np.abs(np.abs(octree.occupied()[0]) - HALF) <= 0.1 + 1e-4).any(axis=1)
    assert walls.all() and len(walls) > 1000
    skewed = (np.abs(np.abs(still.occupied()[0]) - HALF) <= 0.1 + 1e-4).any(axis=1)
    assert skewed.mean() < 0.7
    # And what is seen through equals walking each ray from where the sensor was then.
    rays = to_walls(origins, np.array([_turn(start, s) @ p for s, p in zip(shares, points, strict=True)]))
    struck, passed = integrate(origins, rays, octree.config)
    occupied, free = states(octree)
    assert len(passed & free) >= 0.998 * len(passed | free)
    assert len(struck & occupied) >= 0.998 * len(struck | occupied)


def _turn(start, share):
    turn = pose_from_quat([0, 0, 0], [0.0, np.sin(0.22 * share), 0.0, np.cos(0.22 * share)])
    return start[:3, :3] @ turn[:3, :3]


def test_a_sensor_that_did_not_move_is_the_plain_scan():
    points, _ = room_scan(POSE, 3000)
    moving, still = Octree(config()), Octree(config())
    offset = np.linspace(0, 0.1, 3000)
    integrate_scans(
        moving,
        [
            LidarScan(
                points=points, T_world_sensor=POSE, stamp_ns=0, T_world_sensor_end=POSE, offset_s=offset, duration_s=0.1
            )
        ],
    )
    still.integrate_points(points, POSE, 0)
    assert_same(moving, still)


def test_half_a_turn_has_an_axis():
    for axis in ([1.0, 0, 0], [0, 0.6, 0.8], [0, 0, 1.0], [-0.6, 0.0, 0.8]):
        R = 2 * np.outer(axis, axis) - np.eye(3)
        found, angle = scan_module._axis_angle(R)
        assert abs(abs(found @ axis) - 1) < 1e-9 and abs(angle - np.pi) < 1e-9
    found, angle = scan_module._axis_angle(np.eye(3))
    assert angle == 0.0 and abs(np.linalg.norm(found) - 1) < 1e-12


def test_discretized_strikes_the_same_and_sees_through_less():
    points, _ = room_scan(POSE, 20000)
    full, coarse = Octree(config()), Octree(config())
    integrate_scans(full, [LidarScan(points=points, T_world_sensor=POSE, stamp_ns=0)])
    integrate_scans(coarse, [LidarScan(points=points, T_world_sensor=POSE, stamp_ns=0)], discretize=True)
    struck, free = states(full)
    occupied, passed = states(coarse)
    assert occupied == struck
    centres = (np.array(sorted(struck)) + 0.5) * 0.2
    wanted = integrate(np.repeat(POSE[None, :3, 3], len(centres), axis=0), centres, full.config)
    assert passed == wanted[1]
    assert 0.8 * len(free) < len(passed) < len(free)


def test_degenerate_clouds():
    octree = Octree(config())
    octree.integrate_points(np.zeros((0, 3)), POSE, 0)
    octree.integrate_points(np.full((5, 3), 0.1), POSE, 1)  # all nearer than min_range_m
    octree.integrate_points(np.zeros((1, 3)), POSE, 2)
    assert octree.stats().bricks == 0
    octree.integrate_points([[3.0, 0, 0]], np.eye(4), 3)
    occupied, free = states(octree)
    assert occupied == {(14, 0, 0)} or occupied == {(15, 0, 0)}
    assert free == {(x, 0, 0) for x in range(max(occupied)[0])}
    before = octree.stats()
    octree.integrate_points(np.repeat([[3.0, 0, 0]], 1000, axis=0), np.eye(4), 4)  # one place, a thousand times
    after = octree.stats()
    assert (after.occupied_voxels, after.free_voxels) == (before.occupied_voxels, before.free_voxels)
    np.testing.assert_allclose(octree.log_odds([[2.9, 0.1, 0.1], [1.1, 0.1, 0.1]]).min(), -0.8, atol=1e-6)


def test_a_scan_as_long_as_may_be_goes_by_the_plain_rule():
    octree = Octree(SpatialConfig(voxel_size_m=0.02, max_range_m=80.0, min_range_m=0.5))
    points = np.array([[45.0, 45.0, 45.0], [-45.0, -45.0, -45.0], [0.1, 0.2, 79.9]], np.float32)
    octree.integrate_points(points, np.eye(4), 0)
    np.testing.assert_array_equal(octree.occupancy(points + np.float32(1e-4)), 1)
    np.testing.assert_array_equal(octree.occupancy(points * np.float32(0.5)), 0)


def test_a_full_pool_keeps_what_it_holds():
    small = Octree(config(budget_mib=0.027))
    points, _ = room_scan(POSE, 3000)
    small.integrate_points(points, POSE, 0)
    stats = small.stats()
    assert stats.bricks == 8 and stats.refused_bricks > 0
    whole = Octree(config())
    whole.integrate_points(points, POSE, 0)
    keys, values, _ = log_odds(small)
    all_keys, all_values, _ = log_odds(whole)
    np.testing.assert_array_equal(values, all_values[np.searchsorted(all_keys, keys)])


def test_several_sensors_in_one_batch():
    left, right = check_pose(look_at([0, 1, 0], [2, 2, 0.1])), check_pose(look_at([0, -1, 0], [2, -2, 0.1]))
    scans = [
        LidarScan(points=room_scan(T, 2000, seed=i)[0], T_world_sensor=T, stamp_ns=i)
        for i, T in enumerate([left, right, left])
    ]
    together, apart = Octree(config()), Octree(config())
    integrate_scans(together, scans)
    for scan in scans:
        apart.integrate_points(scan.points, scan.T_world_sensor, scan.stamp_ns)
    assert_same(together, apart)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"points": [[np.nan, 0, 0]]}, InvalidInput, r"scans\[1\]\.points.*finite"),
        ({"points": [[1.0, 0]]}, InvalidInput, "shape"),
        ({"T_world_sensor": np.zeros((4, 4))}, PoseError, "T_world_sensor"),
        ({"stamp_ns": 0.5}, InvalidInput, "stamp"),
        ({"duration_s": 0.1}, InvalidInput, "a part"),
        ({"T_world_sensor_end": np.eye(4), "offset_s": [0.2], "duration_s": 0.1}, InvalidInput, "offset_s"),
        ({"T_world_sensor_end": np.eye(4), "offset_s": [0, 0], "duration_s": 0.1}, InvalidInput, "offset_s"),
        ({"T_world_sensor_end": np.eye(4), "offset_s": [np.nan], "duration_s": 0.1}, InvalidInput, "offset_s"),
        ({"T_world_sensor_end": np.eye(4), "offset_s": [0], "duration_s": 0}, InvalidInput, "duration_s"),
    ],
)
def test_a_bad_scan_leaves_the_map_as_it_is(change, error, words):
    octree = Octree(config())
    good = {"points": [[3.0, 0, 0]], "T_world_sensor": np.eye(4), "stamp_ns": 0}
    with pytest.raises(error, match=words):
        integrate_scans(octree, [LidarScan(**good), LidarScan(**{**good, **change})])
    assert octree.stats().bricks == 0


def test_the_city_equals_the_plain_rule(shared_data):
    points = read_pcd(shared_data / "city_lidar" / "0000000005.pcd").points
    fast, plain = Octree(config(max_range_m=60.0)), Octree(config(max_range_m=60.0))
    scans = [LidarScan(points=points, T_world_sensor=np.eye(4), stamp_ns=0)]
    integrate_scans(fast, scans)
    integrate_scans(plain, scans, exact=True)
    (struck, passed), (occupied, free) = states(fast), states(plain)
    assert struck == occupied and len(struck) > 20000
    assert len(passed ^ free) <= 10 and len(passed) > 400000
