"""Which voxels an image tells of surface in, against plain numpy."""

import numpy as np
import pytest

from embodmem.config import SpatialConfig
from embodmem.geometry import backproject, check_pose, look_at, transform_points
from embodmem.spatial.octree import Octree
from embodmem.spatial.octree.sight import REACH, Look, touched
from embodmem.types import PinholeCamera

CAMERA = PinholeCamera(width=40, height=30, fx=33, fy=32, cx=19.3, cy=14.6)
CONFIG = SpatialConfig(voxel_size_m=0.1, budget_mib=13.704)


def crossed(a, b, low, size):
    """Whether any of the ways from a (N, 3) to b (N, 3) meets a cube."""
    with np.errstate(divide="ignore", invalid="ignore"):
        s, t = (low - a) / (b - a), (low + size - a) / (b - a)
    first, last = np.minimum(s, t).max(axis=1), np.maximum(s, t).min(axis=1)
    return bool((np.maximum(first, 0) <= np.minimum(last, 1)).any())


def ways(depth, T):
    """Both ends (N, 3) of all ways that surface may take: between neighbours, and along three on a line."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    d = depth.astype(np.float64)

    def points(u, v, d):
        return transform_points(T, backproject(CAMERA, v.ravel(), u.ravel(), d.ravel()))

    starts, ends = [], []
    for axis in (0, 1):
        n = d.shape[axis]
        one, two = (np.take(d, np.arange(n - 1) + i, axis) for i in (0, 1))
        (u1, u2), (v1, v2) = ([np.take(w, np.arange(n - 1) + i, axis) for i in (0, 1)] for w in (u, v))
        valid = (np.minimum(one, two) >= CONFIG.min_range_m).ravel()
        p, q = points(u1, v1, one), points(u2, v2, two)
        swap = (two < one).ravel()[:, None]
        p, q = np.where(swap, q, p), np.where(swap, p, q)
        far = np.linalg.norm(q - p, axis=1, keepdims=True)
        starts.append(p[valid])
        ends.append((p + (q - p) * np.minimum(1, REACH * CONFIG.voxel_size_m / np.maximum(far, 1e-12)))[valid])
        a, b, c = (np.take(d, np.arange(n - 2) + i, axis) for i in range(3))
        um, vm = (np.take(w, np.arange(n - 2) + 1, axis) for w in (u, v))
        with np.errstate(divide="ignore", invalid="ignore"):
            line = (np.abs(2 / (1 / a + 1 / c) - b) <= CONFIG.voxel_size_m / 2).ravel()
            wa, wc, step = 1 / a, 1 / c, (1 / c - 1 / a) / 2
        line &= (np.minimum(np.minimum(a, b), c) >= CONFIG.min_range_m).ravel()
        du, dv = (1, 0) if axis else (0, 1)
        for w, sign, out in ((wa, -1, starts), (wc, 1, ends)):
            longer = w + sign * step > 0.05
            reach = np.where(longer, 2, 1) * sign
            deep = 1 / np.where(longer, w + sign * step, w)
            out.append(points(um + reach * du, vm + reach * dv, deep)[line])
    return np.concatenate(starts), np.concatenate(ends)


def wanted(depth, T, centres, size):
    inverse, sides = (
        np.linalg.inv(T),
        np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]),
    )
    starts, ends = ways(depth, T)
    found = []
    for centre in centres:
        x, y, z = transform_points(inverse, centre + sides * size).T
        u, v = x / z * CAMERA.fx + CAMERA.cx, y / z * CAMERA.fy + CAMERA.cy
        inside = (z > 0) & (u >= 0) & (u <= CAMERA.width - 1) & (v >= 0) & (v <= CAMERA.height - 1)
        found.append(not inside.all() or crossed(starts, ends, centre - size / 2, size))
    return np.array(found)


def image(rng):
    """Planes at any slant with edges between them, a few pixels without return, a little noise."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    inverse = np.full(u.shape, 0.0)
    for _ in range(4):
        slant = rng.normal(0, 0.012, 2)
        plane = rng.uniform(0.25, 0.8) + slant[0] * (u - 20) + slant[1] * (v - 15)
        inside = (np.abs(u - rng.uniform(0, 40)) < rng.uniform(6, 25)) & (
            np.abs(v - rng.uniform(0, 30)) < rng.uniform(6, 20)
        )
        inverse = np.where(inside & (plane > 0.07), np.maximum(inverse, plane), inverse)
    depth = np.where(inverse > 0, 1 / np.maximum(inverse, 0.01), 0) + rng.normal(0, 0.004, u.shape) * (inverse > 0)
    return np.where(rng.random(u.shape) < 0.03, 0, depth).astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_touched_voxels_equal_those_of_plain_numpy(seed):
    rng = np.random.default_rng(seed)
    T = check_pose(look_at(rng.uniform(-1, 1, 3), rng.uniform(2, 4, 3)))
    depth, size = image(rng), CONFIG.voxel_size_m
    pixels = rng.integers([2, 2], [CAMERA.height - 2, CAMERA.width - 2], (300, 2)).T
    deep = np.maximum(depth[pixels[0], pixels[1]], 0.5) * rng.uniform(0.6, 1.05, 300)
    points = transform_points(T, backproject(CAMERA, *pixels, deep))
    centres = (np.floor(points / size) + 0.5) * size
    got = touched(Octree(CONFIG), Look(depth, CAMERA, T), centres)
    # Where a way all but misses a voxel, single precision may say otherwise.
    sure = wanted(depth, T, centres, size * 0.999) == wanted(depth, T, centres, size * 1.001)
    assert sure.sum() > 280 and 30 < got.sum() < 270
    np.testing.assert_array_equal(got[sure], wanted(depth, T, centres, size)[sure])


def test_no_voxels_are_no_answer():
    depth = np.ones(CAMERA.shape, np.float32)
    assert touched(Octree(CONFIG), Look(depth, CAMERA, np.eye(4)), np.empty((0, 3))).shape == (0,)
