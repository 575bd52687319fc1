# mypy: ignore-errors
"""Exact voxel traversal as Warp functions, and ray casting.

Amanatides and Woo, Eurographics 1987. Times along a ray are in voxels, and the time at which a voxel is left is
computed from its integer index and never summed up, so that leaving a whole brick at once ends in the same voxel as
walking through it.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, find_slot, is_known, pack_key, read_voxel

wp.set_module_options({"enable_backward": False})

INFINITE = wp.constant(wp.float64(float("inf")))
INDEX_LIMIT = wp.constant(wp.float64(1 << 23))
NOWHERE = wp.constant(-(1 << 31))


@wp.struct
class Ray:
    """A ray in voxels; voxel indices are relative to the voxel that it starts in."""

    base: wp.vec3i  # that voxel
    start: wp.vec3d  # place inside it, 0 <= start < 1
    direction: wp.vec3d  # unit vector
    inverse: wp.vec3d  # 1 / direction; infinite along an axis that it is square to
    ahead: wp.vec3i  # 1 where it travels upwards, else 0: the face by which it leaves a voxel
    way: wp.vec3i  # 1 or -1


@wp.func
def make_ray(base: wp.vec3i, start: wp.vec3d, direction: wp.vec3d) -> Ray:
    """A ray from a place inside a voxel."""
    ray = Ray()
    ray.base = base
    ray.start = start
    ray.direction = direction
    for i in range(3):
        ray.inverse[i] = wp.where(direction[i] == wp.float64(0.0), INFINITE, wp.float64(1.0) / direction[i])
        ray.ahead[i] = wp.where(direction[i] >= wp.float64(0.0), 1, 0)
        ray.way[i] = wp.where(direction[i] >= wp.float64(0.0), 1, -1)
    return ray


@wp.func
def leaving_times(ray: Ray, voxel: wp.vec3i) -> wp.vec3d:
    """When the ray leaves the slab of a voxel along each axis; infinite where it never does."""
    return wp.vec3d(
        (wp.float64(voxel[0] + ray.ahead[0]) - ray.start[0]) * ray.inverse[0],
        (wp.float64(voxel[1] + ray.ahead[1]) - ray.start[1]) * ray.inverse[1],
        (wp.float64(voxel[2] + ray.ahead[2]) - ray.start[2]) * ray.inverse[2],
    )


@wp.func
def next_voxel(ray: Ray, voxel: wp.vec3i, times: wp.vec3d, time: wp.float64) -> wp.vec3i:
    """The voxel that is entered at `time`, the least of `times`; the lower axis goes first where two are equal."""
    x = wp.where(times[0] == time, 1, 0)
    y = wp.where(times[1] == time, 1 - x, 0)
    z = 1 - x - y
    return voxel + wp.vec3i(x * ray.way[0], y * ray.way[1], z * ray.way[2])


@wp.func
def crossed(ray: Ray, axis: int, face: int, left: int, time: wp.float64) -> wp.bool:
    """Whether leaving voxel `face` along `axis` comes before leaving along axis `left` at `time`."""
    t = (wp.float64(face + ray.ahead[axis]) - ray.start[axis]) * ray.inverse[axis]
    return t < time or (t == time and axis < left)


@wp.func
def catch_up(ray: Ray, voxel: int, axis: int, left: int, time: wp.float64, lowest: int) -> int:
    """Index along `axis` when the ray leaves the brick along axis `left` at `time`; lowest is the brick's first."""
    way = ray.way[axis]
    here = wp.clamp(wp.int32(wp.floor(ray.start[axis] + ray.direction[axis] * time)), lowest, lowest + 7)
    here = wp.where(way > 0, wp.max(here, voxel), wp.min(here, voxel))
    for _try in range(2):  # the guess is off by one at most, by rounding
        if crossed(ray, axis, here, left, time) and here + way >= lowest and here + way <= lowest + 7:
            here += way
        if here != voxel and not crossed(ray, axis, here - way, left, time):
            here -= way
    return here


@wp.func
def after_brick(ray: Ray, voxel: wp.vec3i, brick: wp.vec3i):
    """The first voxel behind the brick that holds `voxel`, and the time of entering it."""
    lowest = brick * 8 - ray.base
    last = lowest + ray.ahead * 7
    times = leaving_times(ray, last)
    time = wp.min(wp.min(times[0], times[1]), times[2])
    axis = wp.where(times[0] == time, 0, wp.where(times[1] == time, 1, 2))
    behind = voxel
    for i in range(3):
        if i == axis:
            behind[i] = last[i] + ray.way[i]
        else:
            behind[i] = catch_up(ray, voxel[i], i, axis, time, lowest[i])
    return behind, time


@wp.func
def brick_of(voxel: wp.vec3i, base: wp.vec3i) -> wp.vec3i:
    """Brick of a voxel relative to base."""
    return wp.vec3i((voxel[0] + base[0]) >> 3, (voxel[1] + base[1]) >> 3, (voxel[2] + base[2]) >> 3)


@wp.func
def inside(local: wp.vec3i) -> wp.bool:
    """Whether indices relative to a brick's first voxel lie in that brick."""
    return ((local[0] | local[1] | local[2]) & -8) == 0


@wp.func
def flat_index(local: wp.vec3i) -> int:
    """Place of a voxel in its brick, from indices relative to the brick's first voxel."""
    return (local[2] * 8 + local[1]) * 8 + local[0]


@wp.func
def floor3(p: wp.vec3d) -> wp.vec3i:
    """Voxel of a position in voxels."""
    return wp.vec3i(wp.int32(wp.floor(p[0])), wp.int32(wp.floor(p[1])), wp.int32(wp.floor(p[2])))


@wp.func
def to_vec3d(v: wp.vec3i) -> wp.vec3d:
    """Integers as float64."""
    return wp.vec3d(wp.float64(v[0]), wp.float64(v[1]), wp.float64(v[2]))


@wp.kernel
def read_log_odds(
    pool: Pool,
    points: wp.array(dtype=wp.vec3d),
    voxel_size_m: wp.float64,
    values: wp.array(dtype=wp.float32),
    first: int,
    stride: int,
):
    """Log-odds (N,) at points (N,); NaN where never observed."""
    i = first + wp.tid() * stride
    p = points[i] / voxel_size_m
    value = float(wp.nan)
    if wp.max(wp.abs(p[0]), wp.max(wp.abs(p[1]), wp.abs(p[2]))) < INDEX_LIMIT:
        voxel = floor3(p)
        brick = brick_of(voxel, wp.vec3i(0, 0, 0))
        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        if slot >= 0:
            value = read_voxel(pool, slot, flat_index(voxel - brick * 8))
    values[i] = value


@wp.kernel
def cast_rays(
    pool: Pool,
    origins: wp.array(dtype=wp.vec3d),
    directions: wp.array(dtype=wp.vec3d),
    voxel_size_m: wp.float64,
    length: wp.float64,
    occupied: float,
    hit: wp.array(dtype=wp.uint8),
    distance: wp.array(dtype=wp.float64),
    crossed_unknown: wp.array(dtype=wp.uint8),
    voxels: wp.array(dtype=wp.vec3i),
    first: int,
    stride: int,
):
    """First occupied voxel on each ray; distance and length in voxels. `kernels_leap.cast_far` gives the same."""
    i = first + wp.tid() * stride
    p = origins[i] / voxel_size_m
    base = floor3(p)
    ray = make_ray(base, p - to_vec3d(base), directions[i])
    voxel = wp.vec3i(0, 0, 0)
    time = wp.float64(0.0)
    unknown = wp.uint8(0)
    found = wp.uint8(0)
    while time < length and found == wp.uint8(0):
        brick = brick_of(voxel, base)
        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        if slot < 0:
            unknown = wp.uint8(1)
            voxel, time = after_brick(ray, voxel, brick)
        else:
            corner = brick * 8 - base
            while time < length and inside(voxel - corner):
                value = read_voxel(pool, slot, flat_index(voxel - corner))
                if value > occupied:
                    found = wp.uint8(1)
                    break
                if not is_known(value):
                    unknown = wp.uint8(1)
                times = leaving_times(ray, voxel)
                time = wp.min(wp.min(times[0], times[1]), times[2])
                voxel = next_voxel(ray, voxel, times, time)
    hit[i] = found
    distance[i] = wp.where(found == wp.uint8(1), time, length)
    crossed_unknown[i] = unknown
    voxels[i] = wp.where(found == wp.uint8(1), voxel + base, wp.vec3i(NOWHERE, NOWHERE, NOWHERE))
