"""The map as plain numpy: what the kernels are held against. One voxel at a time in the head, arrays in the code."""

import numpy as np

from embodmem.geometry import backproject, check_pose, look_at, transform_points
from embodmem.spatial.octree import unpack_keys
from embodmem.spatial.octree.depth import MARGIN, NUDGE, block_px, spacing_px
from embodmem.types import PinholeCamera

ODD_ROOM = (2.013, 1.527, 1.208)  # no wall on a face of voxels of 2, 5 or 10 cm
CAMERA = PinholeCamera(width=160, height=120, fx=131.25, fy=131.25, cx=80.0, cy=60.0)


def room_depth(camera, T_world_camera, half=(2.0, 1.5, 1.2), holes=0):
    """Depth (H, W) float32 of the inside of a box room around the origin, from analytic ray-plane intersection."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)
    world = rays @ T_world_camera[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(world == 0, np.inf, (np.sign(world) * np.asarray(half) - T_world_camera[:3, 3]) / world)
    depth = t.min(axis=-1).astype(np.float32)
    rng = np.random.default_rng(3)
    for _ in range(holes):
        r, c = rng.integers(0, camera.height - 10), rng.integers(0, camera.width - 10)
        depth[r : r + 7, c : c + 9] = 0
    return depth


def poses(n=4):
    """Poses that look around in the room."""
    angles = np.linspace(0.0, 5.0, n)
    return [
        check_pose(look_at([0.3 * np.cos(a), 0.2, 0.1 * a - 0.2], [2 * np.cos(a), 2 * np.sin(a), -0.3])) for a in angles
    ]


def all_voxels(bricks):
    """Indices (N, 512, 3) of the voxels of some bricks."""
    z, y, x = np.mgrid[:8, :8, :8].reshape(3, -1)
    return unpack_keys(bricks.keys)[:, None] * 8 + np.stack([x, y, z], axis=-1)


def integrate_depth(values, voxels, depth, camera, T_world_camera, config):
    """New log-odds of voxels (..., 3) with log-odds values (...), and which of them are too near a tie to compare."""
    size = config.voxel_size_m
    world = (voxels + 0.5) * size
    p = (world - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
    z = np.where(p[..., 2] > 1e-3, p[..., 2], np.nan)
    u, v = p[..., 0] / z * camera.fx + camera.cx, p[..., 1] / z * camera.fy + camera.cy
    with np.errstate(invalid="ignore"):
        inside = (u >= -0.5) & (u < camera.width - 0.5) & (v >= -0.5) & (v < camera.height - 0.5)
        column = np.where(inside, np.floor(u + 0.5), 0).astype(int)
        row = np.where(inside, np.floor(v + 0.5), 0).astype(int)
    d = np.where(inside, depth[row, column].astype(np.float64), 0.0)
    e = np.where(inside, farthest_of_blocks(depth, block_px(camera, config))[row, column].astype(np.float64), 0.0)
    every = spacing_px(camera, config)
    held, unsure = voxels_with_points(voxels, depth, camera, T_world_camera, config, every)
    known = inside & (d >= config.min_range_m)
    sparse = (z > size * min(camera.fx, camera.fy) / every) & (np.abs(z - d) <= size / 2) & (d <= config.max_range_m)
    passed = inside & (e >= config.min_range_m)
    miss = passed & ~held & (z < e - MARGIN * size) & (z <= config.max_range_m)
    hit = held | (known & sparse & ~miss)
    before = np.nan_to_num(values, nan=0.0)
    after = values.copy()
    after[miss] = np.maximum(before[miss] + np.float32(config.log_odds_miss), np.float32(config.log_odds_min))
    after[hit] = np.minimum(before[hit] + np.float32(config.log_odds_hit), np.float32(config.log_odds_max))
    edge = 2e-3  # px: float32 against float64
    tie = (np.abs((u + 0.5) - np.round(u + 0.5)) < edge) | (np.abs((v + 0.5) - np.round(v + 0.5)) < edge)
    tie |= (
        (np.abs(z - d - size / 2) < 1e-5)
        | (np.abs(e - z - MARGIN * size) < 1e-5)
        | (np.abs(z - config.max_range_m) < 1e-5)
    )
    return after, (tie & ~np.isnan(z) & ~held) | unsure


def farthest_of_blocks(depth, width):
    """The farthest depth (H, W) of the block of width px that each pixel is in."""
    farthest = np.empty_like(depth)
    for top in range(0, depth.shape[0], width):
        for left in range(0, depth.shape[1], width):
            block = (slice(top, top + width), slice(left, left + width))
            farthest[block] = depth[block].max()
    return farthest


def voxels_with_points(voxels, depth, camera, T_world_camera, config, every=1):
    """Which voxels (..., 3) hold the point of an every-th pixel, and which may do so after rounding to float32."""
    v, u = np.mgrid[every // 2 : camera.height : every, every // 2 : camera.width : every]
    d = depth[v, u].astype(np.float64)
    valid = (d >= np.float32(config.min_range_m)) & (d <= np.float32(config.max_range_m))
    points = (
        transform_points(
            T_world_camera, backproject(camera, v[valid], u[valid], d[valid] + NUDGE * config.voxel_size_m)
        )
        / config.voxel_size_m
    )
    corners = np.concatenate([points, voxels.reshape(-1, 3)])
    base = np.floor(corners.min(axis=0)).astype(int) - 1
    shape = np.ceil(corners.max(axis=0)).astype(int) + 2 - base
    held, near = np.zeros(shape, bool), np.zeros(shape, bool)
    held[tuple((np.floor(points).astype(int) - base).T)] = True
    close = np.abs(points - np.round(points)) < 1e-3  # voxels: float32 against float64
    for axis in range(3):
        for side in (-1, 1):
            beside = points[close[:, axis]].copy()
            beside[:, axis] += 2e-3 * side
            near[tuple((np.floor(beside).astype(int) - base).T)] = True
    at = tuple(np.moveaxis(voxels - base, -1, 0))
    return held[at], near[at]


def march(octree, origin, direction, reach):
    """(hit, distance, crossed unknown) by cutting a ray at all voxel faces and asking for the middle of each piece."""
    size = octree.config.voxel_size_m
    cuts = [np.array([0.0, reach])]
    for axis in range(3):
        if direction[axis] != 0.0:
            ends = np.sort([origin[axis], origin[axis] + direction[axis] * reach]) / size
            faces = np.arange(np.ceil(ends[0]), np.floor(ends[1]) + 1) * size
            cuts.append((faces - origin[axis]) / direction[axis])
    t = np.unique(np.clip(np.concatenate(cuts), 0.0, reach))
    t = t[np.concatenate([[True], np.diff(t) > 1e-9])]
    middle = (t[:-1] + t[1:]) / 2
    state = octree.occupancy(origin + direction * middle[:, None])
    first = int(np.argmax(state == 1)) if (state == 1).any() else len(state)
    return first < len(state), t[first] if first < len(state) else reach, bool((state[:first] == -1).any())
