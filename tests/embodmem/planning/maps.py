"""Small maps from arrays of log-odds."""

import numpy as np

from embodmem.config import SpatialConfig
from embodmem.spatial.octree import Octree, pack_keys


def bricks_of(values, corner):
    """Keys (N,) and log-odds (N, 512) of the bricks that hold values (Z, Y, X) from voxel `corner` (x, y, z) on."""
    corner = np.asarray(corner)
    low = corner >> 3
    high = (corner + values.shape[::-1] - 1) >> 3
    count = high - low + 1
    whole = np.full(count[::-1] * 8, np.nan, np.float32)
    x, y, z = corner - low * 8
    whole[z : z + values.shape[0], y : y + values.shape[1], x : x + values.shape[2]] = values
    split = whole.reshape(count[2], 8, count[1], 8, count[0], 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 512)
    z, y, x = np.mgrid[: count[2], : count[1], : count[0]].reshape(3, -1)
    return pack_keys(np.stack([x, y, z], axis=1) + low), split


def put(octree, values, corner):
    """Load an array of log-odds (Z, Y, X) into a map, its first voxel at `corner` (x, y, z); whole bricks change."""
    keys, bricks = bricks_of(np.asarray(values, np.float32), corner)
    some = ~np.isnan(bricks).all(axis=1)
    octree.load_bricks(keys[some], bricks[some], np.zeros(int(some.sum()), np.int64))
    return octree


def octree_of(values, corner=(0, 0, 0), size=0.1, capacity=512):
    """A map of log-odds (Z, Y, X), its first voxel at `corner` (x, y, z)."""
    return put(Octree(SpatialConfig(voxel_size_m=size, budget_mib=capacity * 0.0036)), values, corner)
