"""The walk of a lidar ray in Python's integers: what `kernels_lidar` is held against."""

import math

import numpy as np

UNIT = 1 << 30


def walk(origin, v):
    """Voxels, a set of tuples, that a ray from `origin` (3,) along `v` (3,) passes, all in voxels."""
    cell = [math.floor(c) for c in origin]
    end = [math.floor(c) for c in np.asarray(origin) + v]
    length = np.abs(v)
    ax = int(np.argmax(length))  # the first of equals
    ay, az = (axis for axis in range(3) if axis != ax)
    way = 1 if v[ax] >= 0 else -1
    inside = origin[ax] - cell[ax]
    to_face = 1.0 - inside if way > 0 else inside
    slope = {a: round(v[a] / length[ax] * UNIT) for a in (ay, az)}
    at = {a: round((origin[a] + v[a] / length[ax] * to_face) * UNIT) for a in (ay, az)}
    here, voxels = list(cell), set()
    slabs = abs(end[ax] - cell[ax])
    for slab in range(slabs + 1):
        there = list(here)
        for a in (ay, az):
            there[a] = at[a] >> 30 if slab < slabs else end[a]
        # How far past the last face, over how fast: what is longer ago was crossed first.
        past = {a: (at[a] if slope[a] >= 0 else ~at[a]) & (UNIT - 1) for a in (ay, az)}
        y_first = past[ay] * abs(slope[az]) >= past[az] * abs(slope[ay])
        between = list(here)
        between[ay if y_first else az] = there[ay if y_first else az]
        voxels |= {tuple(here), tuple(between), tuple(there)}
        here = there
        here[ax] += way
        for a in (ay, az):
            at[a] += slope[a]
    return voxels


def integrate(origins, ends, config):
    """Voxels struck and voxels only passed, as sets, of rays between points (N, 3) in the world, metres."""
    struck, passed = set(), set()
    size = config.voxel_size_m
    for origin, end in zip(np.asarray(origins) / size, np.asarray(ends) / size, strict=True):
        v, base = end - origin, np.floor(origin)
        reach = float(np.linalg.norm(v))
        if reach < config.min_range_m / size or reach == 0.0:
            continue
        far = config.max_range_m / size
        v = v * (far / reach) if reach > far else v
        if reach <= far:
            struck.add(tuple(np.floor(origin + v).astype(int).tolist()))
        passed |= {tuple((np.array(voxel) + base).astype(int).tolist()) for voxel in walk(origin - base, v)}
    return struck, passed - struck


def states(octree):
    """Voxels occupied and voxels free, as sets, of a map in which every voxel was updated at most once."""
    from tests.embodmem.spatial.octree_reference import all_voxels

    bricks = octree.bricks()
    if len(bricks.keys) == 0:
        return set(), set()
    voxels, known = all_voxels(bricks), ~np.isnan(bricks.log_odds)
    occupied = bricks.log_odds > octree.config.log_odds_occupied
    return (
        set(map(tuple, voxels[known & occupied].tolist())),
        set(map(tuple, voxels[known & ~occupied].tolist())),
    )
