"""Depth images against a plain reference, and the real kitchen."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embodmem.config import SpatialConfig
from embodmem.errors import DepthError, InvalidInput, PoseError
from embodmem.geometry import backproject, check_pose, look_at, transform_points
from embodmem.spatial.octree import FREE, OCCUPIED, UNKNOWN, Octree
from embodmem.types import PinholeCamera
from tests.embodmem.spatial.octree_reference import CAMERA, ODD_ROOM, all_voxels, integrate_depth, poses, room_depth

KITCHEN = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "seven_scenes_kitchen"


@pytest.mark.parametrize("voxel_size_m", [0.05, 0.02])
@pytest.mark.parametrize("max_range_m", [5.0, 1.5])
@pytest.mark.parametrize(("threads", "holes"), [(1, 5), (3, 0)])
def test_images_equal_the_reference(voxel_size_m, max_range_m, threads, holes):
    config = SpatialConfig(voxel_size_m=voxel_size_m, max_range_m=max_range_m, threads=threads)
    octree = Octree(config)
    views = [(room_depth(CAMERA, T, ODD_ROOM, holes), T) for T in poses()]
    for stamp, (depth, T) in enumerate(views):
        octree.integrate(depth, CAMERA, T, stamp)
    bricks = octree.bricks()
    voxels = all_voxels(bricks)
    wanted = np.full(bricks.log_odds.shape, np.nan, np.float32)
    tie = np.zeros(wanted.shape, bool)
    for depth, T in views:
        wanted, near = integrate_depth(wanted, voxels, depth, CAMERA, T, config)
        tie |= near
    assert tie.mean() < 0.05
    np.testing.assert_array_equal(np.isnan(bricks.log_odds[~tie]), np.isnan(wanted[~tie]))
    np.testing.assert_allclose(bricks.log_odds[~tie], wanted[~tie], atol=1e-6)
    assert (bricks.log_odds > 0).any() and (bricks.log_odds < 0).any()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_team_and_single_steps_make_the_same_map(threads):
    camera = PinholeCamera(width=330, height=250, fx=270.0, fy=270.0, cx=165.0, cy=125.0)  # no whole tiles
    team, steps = Octree(SpatialConfig(threads=threads)), Octree(SpatialConfig(threads=1))
    steps._depth.as_team = False  # as on a GPU
    for stamp, T in enumerate(poses(6)):
        for octree in (team, steps):
            octree.integrate(room_depth(camera, T, ODD_ROOM, 9), camera, T, stamp)
    ours, theirs = team.bricks(), steps.bricks()
    a, b = np.argsort(ours.keys), np.argsort(theirs.keys)
    np.testing.assert_array_equal(ours.keys[a], theirs.keys[b])
    np.testing.assert_array_equal(ours.log_odds[a], theirs.log_odds[b])
    np.testing.assert_array_equal(ours.last_seen_ns[a], theirs.last_seen_ns[b])
    np.testing.assert_array_equal(ours.ages[a], theirs.ages[b])
    assert team.stats().uniform_bricks == steps.stats().uniform_bricks


def test_maps_of_many_threads_with_teams_of_their_own():
    camera = PinholeCamera(width=320, height=240, fx=260.0, fy=260.0, cx=160.0, cy=120.0)
    views = [(room_depth(camera, T, ODD_ROOM, 4), T) for T in poses(5)]

    def build(threads):
        octree = Octree(SpatialConfig(threads=threads))
        for stamp in range(40):
            octree.integrate(views[stamp % 5][0], camera, views[stamp % 5][1], stamp)
        return octree.occupied()[0]

    wanted = build(1)
    with ThreadPoolExecutor(6) as pool:
        for got in pool.map(build, [2, 3, 4, 2, 3, 4]):
            np.testing.assert_array_equal(got[np.lexsort(got.T)], wanted[np.lexsort(wanted.T)])


def test_no_brick_is_missed():
    config = SpatialConfig(voxel_size_m=0.1)
    octree = Octree(config)
    grid = np.stack(np.meshgrid(*[np.arange(-30, 30)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    wanted = np.full(len(grid), np.nan, np.float32)
    tie = np.zeros(len(grid), bool)
    for stamp, T in enumerate(poses()):
        depth = room_depth(CAMERA, T, ODD_ROOM, 9)
        octree.integrate(depth, CAMERA, T, stamp)
        wanted, near = integrate_depth(wanted, grid, depth, CAMERA, T, config)
        tie |= near
    got = octree.log_odds((grid + 0.5) * 0.1)
    np.testing.assert_allclose(got[~tie], wanted[~tie], atol=1e-6)


def test_far_from_the_origin_of_the_world():
    near, far = Octree(SpatialConfig()), Octree(SpatialConfig())
    shift = np.array([40000.0, -52000.0, 800.0])  # whole bricks
    T = poses(1)[0]
    moved = T.copy()
    moved[:3, 3] += shift
    near.integrate(room_depth(CAMERA, T), CAMERA, T, 0)
    far.integrate(room_depth(CAMERA, T), CAMERA, moved, 0)
    points = np.random.default_rng(0).uniform(-2, 2, (5000, 3))
    here, there = near.occupancy(points), far.occupancy(points + shift)
    assert (here == there).mean() > 0.999


def test_odd_image_sizes():
    camera = PinholeCamera(width=101, height=67, fx=80, fy=80, cx=50, cy=33)
    config = SpatialConfig(voxel_size_m=0.1)
    T = poses(1)[0]
    octree = Octree(config)
    depth = room_depth(camera, T, ODD_ROOM)
    octree.integrate(depth, camera, T, 0)
    bricks = octree.bricks()
    empty = np.full(bricks.log_odds.shape, np.nan, np.float32)
    wanted, tie = integrate_depth(empty, all_voxels(bricks), depth, camera, T, config)
    np.testing.assert_allclose(bricks.log_odds[~tie], wanted[~tie], atol=1e-6)
    assert (wanted > 0).sum() > 100


def test_free_in_front_unknown_behind_and_clamped():
    config = SpatialConfig()
    octree = Octree(config)
    T = check_pose(look_at([0, 0, 1.0], [1, 0, 1.0]))
    depth = np.full(CAMERA.shape, 2.0, np.float32)
    for stamp in range(20):
        octree.integrate(depth, CAMERA, T, stamp)
    states = octree.occupancy([[1.0, 0, 1.0], [2.0, 0, 1.0], [2.3, 0, 1.0], [-1.0, 0, 1.0], [1.0, 3.0, 1.0]])
    assert states.tolist() == [FREE, OCCUPIED, UNKNOWN, UNKNOWN, UNKNOWN]
    assert states.dtype == np.int8
    values = octree.log_odds([[1.0, 0, 1.0], [2.0, 0, 1.0], [2.3, 0, 1.0]])
    assert values[0] == np.float32(config.log_odds_min) and values[1] == np.float32(config.log_odds_max)
    assert np.isnan(values[2])


def test_no_return_says_nothing():
    octree = Octree(SpatialConfig())
    octree.integrate(np.zeros(CAMERA.shape, np.float32), CAMERA, np.eye(4), 0)
    assert octree.stats().bricks == 0 and octree.bounds() is None


def test_bad_images_leave_the_map_alone():
    octree = Octree(SpatialConfig())
    good = np.full(CAMERA.shape, 2.0, np.float32)
    for value in (np.nan, np.inf, -1.0):
        bad = good.copy()
        bad[7, 9] = value
        with pytest.raises(DepthError, match="finite"):
            octree.integrate(bad, CAMERA, np.eye(4), 0)
    with pytest.raises(DepthError, match="size"):
        octree.integrate(good[:50].copy(), CAMERA, np.eye(4), 0)
    with pytest.raises(DepthError, match="float32"):
        octree.integrate(good.astype(np.float64), CAMERA, np.eye(4), 0)
    with pytest.raises(PoseError, match="rotation"):
        octree.integrate(good, CAMERA, 2 * np.eye(4) - np.diag([0, 0, 0, 1.0]), 0)
    with pytest.raises(PoseError, match="within"):
        far = np.eye(4)
        far[0, 3] = 1e9
        octree.integrate(good, CAMERA, far, 0)
    with pytest.raises(InvalidInput, match="stamp"):
        octree.integrate(good, CAMERA, np.eye(4), -1)
    assert octree.stats().bricks == 0
    octree.integrate(good, CAMERA, np.eye(4), 0)  # and a bad image is not held against the next one
    assert octree.stats().bricks > 0


@pytest.mark.skipif(
    not KITCHEN.exists() and "CI" not in os.environ, reason="shared/data/seven_scenes_kitchen is not here"
)
def test_kitchen():
    image = pytest.importorskip("PIL.Image")
    camera = PinholeCamera(width=640, height=480, fx=525, fy=525, cx=320, cy=240)
    raw = np.asarray(image.open(KITCHEN / "frame-000000.depth.png")).astype(np.float32) * np.float32(1e-3)
    depth = np.where(raw < 60, raw, np.float32(0))
    T = check_pose(np.loadtxt(KITCHEN / "T_world_scene.txt")) @ check_pose(
        np.loadtxt(KITCHEN / "frame-000000.pose.txt")
    )
    octree = Octree(SpatialConfig())
    octree.integrate(depth, camera, T, 0)
    rows, cols = np.nonzero((depth > 0.1) & (depth < 5))
    points = transform_points(T, backproject(camera, rows, cols, depth[rows, cols].astype(np.float64)))
    # One pixel speaks for a voxel, so at slanted and broken surfaces the surface may fall to the voxel beside.
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
    beside = np.any([octree.occupancy(points + step * 0.05) == OCCUPIED for step in steps], axis=0)
    assert beside.mean() > 0.99
    states = octree.occupancy(points)
    assert (states == OCCUPIED).mean() > 0.8 and (states == FREE).mean() < 0.08
    half_way = octree.occupancy(T[:3, 3] + 0.5 * (points - T[:3, 3]))
    # What is not free there lies on the way to a voxel whose centre meets a pixel without return.
    assert (half_way == FREE).mean() > 0.88 and (half_way == OCCUPIED).mean() < 0.001
    away = (points - T[:3, 3]) / np.linalg.norm(points - T[:3, 3], axis=1, keepdims=True)
    assert (octree.occupancy(points + 0.5 * away) == UNKNOWN).mean() > 0.7
    # Every occupied voxel is near some back-projected point: within the band along the optical axis, so within one
    # and a half voxels of a point's voxel.
    centres, edge = octree.occupied()
    near = np.unique(np.floor(points / edge).astype(np.int64), axis=0)
    cells = {tuple(c) for c in near.tolist()}
    voxels = np.floor(centres / edge).astype(np.int64)
    touched = np.array([any(tuple(v) in cells for v in (steps + voxel).tolist()) for voxel in voxels])
    assert touched.mean() > 0.99
