"""The depth model against rays: our own, one by one in plain numpy, and OctoMap's."""

import numpy as np
import pytest

from embodmem.config import SpatialConfig
from embodmem.geometry import backproject, transform_points
from embodmem.spatial.octree import FREE, OCCUPIED, UNKNOWN, Octree
from embodmem.types import PinholeCamera
from tests.embodmem.spatial.octree_reference import ODD_ROOM, poses, room_depth

SIZE = 0.1
# A voxel k deep and j aside projects to the middle of pixel 48 j / k + 60: many centres lie on a pixel's own ray.
CAMERA = PinholeCamera(width=121, height=91, fx=48, fy=48, cx=60, cy=45)
FORWARD = np.array([[0.0, 0, 1, 0.05], [-1, 0, 0, 0.05], [0, -1, 0, 0.05], [0, 0, 0, 1]])
"""Looks along x from the centre of a voxel."""


def cast_rays(depth, camera, T_world_camera, size):
    """Ray by ray: indices (N, 3) of voxels that hold an end, and (M, 3) of those that a ray passes on its way there."""
    rows, columns = np.nonzero(depth > 0)
    ends = transform_points(T_world_camera, backproject(camera, rows, columns, depth[rows, columns].astype(float)))
    origin = T_world_camera[:3, 3]
    passed = []
    for end in ends:
        cuts = [np.array([0.0, 1.0])]
        for axis in range(3):
            low, high = np.sort([origin[axis], end[axis]]) / size
            if high > low:
                cuts.append((np.arange(np.ceil(low), np.floor(high) + 1) * size - origin[axis]) / (end - origin)[axis])
        t = np.unique(np.clip(np.concatenate(cuts), 0.0, 1.0))
        middle = (t[1:] + t[:-1])[np.diff(t) > 1e-9] / 2
        passed.append(np.floor((origin + middle[:, None] * (end - origin)) / size).astype(int))
    held = np.unique(np.floor(ends / size).astype(int), axis=0)
    return held, np.unique(np.concatenate(passed), axis=0)


def as_set(indices):
    return {tuple(index) for index in indices.tolist()}


def scene(seed):
    """A box room seen from FORWARD with boards in front of its walls and holes; no end is near a face of a voxel."""
    rng = np.random.default_rng(seed)
    depth = room_depth(CAMERA, FORWARD, (2.433, 2.041, 1.527), holes=3)
    for _ in range(4):
        row, column, near = rng.integers(0, 60), rng.integers(0, 90), rng.integers(8, 20)
        board = depth[row : row + 30, column : column + 30]
        np.minimum(board, np.float32((near + 0.37) * SIZE), out=board)
    return depth


def states_of(octree, voxels):
    return octree.occupancy((np.asarray(voxels) + 0.5) * SIZE)


@pytest.mark.parametrize("seed", [0, 1])
def test_one_image_equals_its_rays(seed):
    octree = Octree(SpatialConfig(voxel_size_m=SIZE, max_range_m=10.0))  # at 10 m every pixel marks
    depth = scene(seed)
    octree.integrate(depth, CAMERA, FORWARD, 0)
    held, passed = cast_rays(depth, CAMERA, FORWARD, SIZE)
    # Occupied is what holds the end of a ray, and nothing else.
    centres, _ = octree.occupied()
    assert as_set(np.floor(centres / SIZE).astype(int)) == as_set(held)
    # Free is only what a ray passes.
    bricks = np.stack(np.meshgrid(*[np.arange(-40, 40)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    states = states_of(octree, bricks)
    free = as_set(bricks[states == FREE])
    assert free <= as_set(passed) - as_set(held)
    # A voxel whose centre lies on the ray of a pixel is free exactly if that ray passes it, held voxels apart.
    p = ((bricks + 0.5) * SIZE - FORWARD[:3, 3]) @ FORWARD[:3, :3]
    ahead = p[:, 2] > SIZE / 2
    bricks, p = bricks[ahead], p[ahead]
    u, v = p[:, 0] / p[:, 2] * CAMERA.fx + CAMERA.cx, p[:, 1] / p[:, 2] * CAMERA.fy + CAMERA.cy
    column, row = np.rint(u).astype(int), np.rint(v).astype(int)
    own = (np.abs(u - column) < 1e-6) & (np.abs(v - row) < 1e-6)
    own &= (column >= 0) & (column < CAMERA.width) & (row >= 0) & (row < CAMERA.height)
    own &= (np.abs(p[:, :2]) < p[:, 2:]).all(axis=1)  # rays that leave through the far face
    assert own.sum() > 2000
    voxels, z, d = bricks[own], p[own, 2], depth[row[own], column[own]]
    own_ray_passes = (d > 0) & (d > z + SIZE / 2)
    inside = as_set(held)
    is_held = np.array([tuple(voxel) in inside for voxel in voxels.tolist()])
    wanted = np.where(is_held, OCCUPIED, np.where(own_ray_passes, FREE, UNKNOWN))
    np.testing.assert_array_equal(states_of(octree, voxels), wanted)
    assert {FREE, OCCUPIED, UNKNOWN} == set(wanted.tolist())


def test_free_voxels_are_passed_by_rays_from_any_side():
    config = SpatialConfig(voxel_size_m=SIZE, max_range_m=10.0)
    for pose in poses(2):
        octree = Octree(config)
        depth = room_depth(CAMERA, pose, ODD_ROOM, 2)
        octree.integrate(depth, CAMERA, pose, 0)
        held, passed = cast_rays(depth, CAMERA, pose, SIZE)
        centres, _ = octree.occupied()
        assert as_set(np.floor(centres / SIZE).astype(int)) == as_set(held)
        grid = np.stack(np.meshgrid(*[np.arange(-22, 22)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        free = as_set(grid[states_of(octree, grid) == FREE])
        assert len(free) > 1000 and free <= as_set(passed) - as_set(held)


def test_sparse_points_leave_no_holes_in_a_wall():
    """A camera with few pixels: its points lie farther apart than voxels, and a wall is whole all the same."""
    camera = PinholeCamera(width=32, height=24, fx=20, fy=20, cx=15.5, cy=11.5)
    octree = Octree(SpatialConfig(voxel_size_m=0.05, max_range_m=5.0))
    octree.integrate(np.full(camera.shape, 2.02, np.float32), camera, FORWARD, 0)
    y, z = (a.ravel() for a in np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-0.8, 0.8, 33)))
    wall = np.stack([np.full(y.size, 2.07), y + 0.01, z + 0.01], axis=1)  # 2.02 m in front of the camera
    assert (octree.occupancy(wall) == OCCUPIED).all()
    assert (octree.occupancy(wall - [0.1, 0, 0]) == FREE).all()


def test_agrees_with_octomap():
    octomap = pytest.importorskip("pyoctomap")
    config = SpatialConfig(voxel_size_m=0.05)
    octree, peer = Octree(config), octomap.OcTree(0.05)
    for name, value in (("ProbHit", config.log_odds_hit), ("ProbMiss", config.log_odds_miss)):
        getattr(peer, f"set{name}")(1 / (1 + np.exp(-value)))
    camera = PinholeCamera(width=320, height=240, fx=262.5, fy=262.5, cx=160, cy=120)
    for stamp, pose in enumerate(poses(3)):
        depth = room_depth(camera, pose, ODD_ROOM, 2)
        octree.integrate(depth, camera, pose, stamp)
        rows, columns = np.nonzero(depth)
        ends = transform_points(pose, backproject(camera, rows, columns, depth[rows, columns].astype(float)))
        peer.insertPointCloud(ends, pose[:3, 3].copy(), max_range=5.0)
    grid = np.stack(np.meshgrid(*[np.arange(-44, 44)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    theirs = np.asarray(peer.getLabels((grid + 0.5) * 0.05)).ravel()
    ours = octree.occupancy((grid + 0.5) * 0.05)
    both = (ours != UNKNOWN) & (theirs != UNKNOWN)
    assert (ours[both & (theirs == FREE)] == FREE).mean() >= 0.99
    assert (ours[both & (theirs == OCCUPIED)] == OCCUPIED).mean() >= 0.95
    assert both.sum() > 0.8 * (theirs != UNKNOWN).sum()
