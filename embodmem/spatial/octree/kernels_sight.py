# mypy: ignore-errors
"""Whether the surface that a depth image tells of passes through a voxel, between its pixels as well."""

import warp as wp

wp.set_module_options({"enable_backward": False})

LEAST = wp.constant(0.05)
"""1/m: a line is not followed beyond 20 m."""


@wp.struct
class Sight:
    """A camera, and voxels of one size."""

    fx: float  # px
    fy: float
    cx: float
    cy: float
    R: wp.mat33  # from the camera to the world
    size_m: float
    near_m: float  # nearer depth is no return
    reach_m: float  # how far a surface may go on behind an edge


@wp.func
def point_at(sight: Sight, u: int, v: int, depth: float) -> wp.vec3:
    """From the camera, along the world's axes, metres."""
    x = (float(u) - sight.cx) / sight.fx
    y = (float(v) - sight.cy) / sight.fy
    return sight.R * (wp.vec3(x, y, 1.0) * depth)


@wp.func
def crosses(a: wp.vec3, b: wp.vec3, size: float) -> bool:
    """Whether the way from a to b meets the cube from 0 to size (slabs: Kay and Kajiya, SIGGRAPH 1986)."""
    first, last = wp.float32(0.0), wp.float32(1.0)
    for axis in range(3):
        way = b[axis] - a[axis]
        if wp.abs(way) < 1.0e-9:
            if a[axis] < 0.0 or a[axis] > size:
                last = -1.0
        else:
            s, t = -a[axis] / way, (size - a[axis]) / way
            first, last = wp.max(first, wp.min(s, t)), wp.min(last, wp.max(s, t))
    return first <= last


@wp.func
def line_crosses(
    sight: Sight, depth: wp.array2d(dtype=wp.float32), low: wp.vec3, u: int, v: int, du: int, dv: int
) -> bool:
    """Whether a pixel and its two neighbours lie on a line, and it, a pixel longer at both ends, meets the voxel.

    Along a straight line inverse depth is linear in the image.
    """
    before, here, after = depth[v - dv, u - du], depth[v, u], depth[v + dv, u + du]
    if wp.min(before, wp.min(here, after)) < sight.near_m:
        return False
    first, last = 1.0 / before, 1.0 / after
    if wp.abs(2.0 / (first + last) - here) > 0.5 * sight.size_m:
        return False
    step = 0.5 * (last - first)
    a, b = wp.int32(1), wp.int32(1)
    if first - step > LEAST:
        first, a = first - step, 2
    if last + step > LEAST:
        last, b = last + step, 2
    start = point_at(sight, u - a * du, v - a * dv, 1.0 / first) - low
    return crosses(start, point_at(sight, u + b * du, v + b * dv, 1.0 / last) - low, sight.size_m)


@wp.func
def edge_crosses(
    sight: Sight, depth: wp.array2d(dtype=wp.float32), low: wp.vec3, u: int, v: int, du: int, dv: int
) -> bool:
    """Whether the way from the nearer of two pixels towards the farther, up to the reach, meets the voxel."""
    here, there = depth[v, u], depth[v + dv, u + du]
    if wp.min(here, there) < sight.near_m:
        return False
    start = point_at(sight, u, v, here)
    way = point_at(sight, u + du, v + dv, there) - start
    if there < here:
        start, way = start + way, -way
    end = start + way * wp.min(1.0, sight.reach_m / wp.length(way))
    return crosses(start - low, end - low, sight.size_m)


@wp.func
def meets(sight: Sight, depth: wp.array2d(dtype=wp.float32), low: wp.vec3, u: int, v: int) -> bool:
    """Whether surface that begins or is in the middle at a pixel meets the voxel."""
    width, height = depth.shape[1], depth.shape[0]
    if u < width - 1 and edge_crosses(sight, depth, low, u, v, 1, 0):
        return True
    if v < height - 1 and edge_crosses(sight, depth, low, u, v, 0, 1):
        return True
    if u > 0 and u < width - 1 and line_crosses(sight, depth, low, u, v, 1, 0):
        return True
    return v > 0 and v < height - 1 and line_crosses(sight, depth, low, u, v, 0, 1)


@wp.kernel
def find_touched(
    sight: Sight,
    depth: wp.array2d(dtype=wp.float32),
    lows: wp.array(dtype=wp.vec3),
    touched: wp.array(dtype=wp.uint8),
    first: int,
    stride: int,
):
    """1 for each voxel, given by its lowest corner from the camera, that surface touches or that is not all in view."""
    item = first + wp.tid() * stride
    low = lows[item]
    width, height = depth.shape[1], depth.shape[0]
    left, right, top, bottom = float(width), wp.float32(-1.0), float(height), wp.float32(-1.0)
    for corner in range(8):
        offset = wp.vec3(float(corner & 1), float((corner >> 1) & 1), float(corner >> 2)) * sight.size_m
        h = wp.transpose(sight.R) * (low + offset)
        if h[2] <= 0.0:
            touched[item] = wp.uint8(1)
            return
        x, y = h[0] / h[2] * sight.fx + sight.cx, h[1] / h[2] * sight.fy + sight.cy
        left, right, top, bottom = wp.min(left, x), wp.max(right, x), wp.min(top, y), wp.max(bottom, y)
    if left < 0.0 or right > float(width - 1) or top < 0.0 or bottom > float(height - 1):
        touched[item] = wp.uint8(1)
        return
    found = wp.uint8(0)
    for v in range(wp.max(int(wp.ceil(top)) - 2, 0), wp.min(int(wp.floor(bottom)) + 2, height - 1) + 1):
        for u in range(wp.max(int(wp.ceil(left)) - 2, 0), wp.min(int(wp.floor(right)) + 2, width - 1) + 1):
            if found == wp.uint8(0) and meets(sight, depth, low, u, v):
                found = wp.uint8(1)
    touched[item] = found
