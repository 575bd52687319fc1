# mypy: ignore-errors
"""Exact voxel traversal as Warp kernels: ray casting, and lidar points with the free space on their way.

Amanatides and Woo, Eurographics 1987. Times along a ray are in voxels, and the time at which a voxel is left is
computed from its integer index and never summed up, so that leaving a whole brick at once ends in the same voxel as
walking through it.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, add_to_row, claim_slot, find_slot, is_known, pack_key, row8

wp.set_module_options({"enable_backward": False})

NEVER = wp.constant(wp.float64(1.0e300))
MISSED = wp.constant(wp.uint8(1))
STRUCK = wp.constant(wp.uint8(2))
INDEX_LIMIT = wp.constant(wp.float64(1 << 23))


@wp.func
def leaving_time(voxel: int, start: wp.float64, direction: wp.float64) -> wp.float64:
    """When a ray leaves the slab voxel .. voxel + 1 of one axis."""
    if direction > wp.float64(0.0):
        return (wp.float64(voxel + 1) - start) / direction
    if direction < wp.float64(0.0):
        return (wp.float64(voxel) - start) / direction
    return NEVER


@wp.func
def leaving_times(voxel: wp.vec3i, start: wp.vec3d, direction: wp.vec3d) -> wp.vec3d:
    """`leaving_time` for the three axes."""
    return wp.vec3d(
        leaving_time(voxel[0], start[0], direction[0]),
        leaving_time(voxel[1], start[1], direction[1]),
        leaving_time(voxel[2], start[2], direction[2]),
    )


@wp.func
def first_axis(times: wp.vec3d) -> int:
    """Axis of the smallest time, the lower axis where two are equal."""
    axis = wp.int32(0)
    if times[1] < times[axis]:
        axis = 1
    if times[2] < times[axis]:
        axis = 2
    return axis


@wp.func
def one_way(direction: wp.float64) -> int:
    """Step of the index along one axis."""
    return wp.where(direction > wp.float64(0.0), 1, -1)


@wp.func
def last_voxel(brick: int, base: int, direction: wp.float64) -> int:
    """Last index of a brick along one axis in the direction of travel, relative to base."""
    return brick * 8 + wp.where(direction > wp.float64(0.0), 7, 0) - base


@wp.func
def catch_up(
    voxel: int, axis: int, start: wp.float64, direction: wp.float64, left: int, time: wp.float64, lowest: int
) -> int:
    """Index along `axis` after all of its crossings before (time, axis `left`); it stays inside the brick at lowest."""
    if direction == wp.float64(0.0):
        return voxel
    way = one_way(direction)
    here = wp.clamp(wp.int32(wp.floor(start + direction * time)), lowest, lowest + 7)
    here = wp.where(way > 0, wp.max(here, voxel), wp.min(here, voxel))
    for _try in range(8):  # the guess is off by one at most, by rounding
        t = leaving_time(here, start, direction)
        if (t < time or (t == time and axis < left)) and here + way >= lowest and here + way <= lowest + 7:
            here += way
        else:
            break
    for _try in range(8):
        if here != voxel:
            t = leaving_time(here - way, start, direction)
            if t < time or (t == time and axis < left):
                break
            here -= way
    return here


@wp.func
def after_brick(voxel: wp.vec3i, brick: wp.vec3i, base: wp.vec3i, start: wp.vec3d, direction: wp.vec3d):
    """The first voxel behind the brick that holds `voxel`, and the time of entering it."""
    last = wp.vec3i(
        last_voxel(brick[0], base[0], direction[0]),
        last_voxel(brick[1], base[1], direction[1]),
        last_voxel(brick[2], base[2], direction[2]),
    )
    times = leaving_times(last, start, direction)
    axis = first_axis(times)
    time = times[axis]
    behind = voxel
    for i in range(3):
        if i == axis:
            behind[i] = last[i] + one_way(direction[i])
        else:
            lowest = brick[i] * 8 - base[i]
            behind[i] = catch_up(voxel[i], i, start[i], direction[i], axis, time, lowest)
    return behind, time


@wp.func
def brick_of(voxel: wp.vec3i, base: wp.vec3i) -> wp.vec3i:
    """Brick of a voxel relative to base."""
    return wp.vec3i((voxel[0] + base[0]) >> 3, (voxel[1] + base[1]) >> 3, (voxel[2] + base[2]) >> 3)


@wp.func
def flat_index(voxel: wp.vec3i, base: wp.vec3i) -> int:
    """Place of a voxel in its brick."""
    return ((((voxel[2] + base[2]) & 7) << 3) + ((voxel[1] + base[1]) & 7)) * 8 + ((voxel[0] + base[0]) & 7)


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
        slot = find_slot(pool, pack_key(voxel[0] >> 3, voxel[1] >> 3, voxel[2] >> 3))
        if slot >= 0:
            value = pool.log_odds[slot, flat_index(voxel, wp.vec3i(0, 0, 0))]
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
    crossed: wp.array(dtype=wp.uint8),
    first: int,
    stride: int,
):
    """First occupied voxel on each ray; distance and length in voxels."""
    ray = first + wp.tid() * stride
    p = origins[ray] / voxel_size_m
    direction = directions[ray]
    base = floor3(p)
    start = p - to_vec3d(base)
    voxel = wp.vec3i(0, 0, 0)
    time = wp.float64(0.0)
    unknown = wp.uint8(0)
    found = wp.uint8(0)
    while time < length and found == wp.uint8(0):
        brick = brick_of(voxel, base)
        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        if slot < 0:
            unknown = wp.uint8(1)
            voxel, time = after_brick(voxel, brick, base, start, direction)
        else:
            times = leaving_times(voxel, start, direction)
            while time < length and brick_of(voxel, base) == brick:
                value = pool.log_odds[slot, flat_index(voxel, base)]
                if value > occupied:
                    found = wp.uint8(1)
                    break
                if not is_known(value):
                    unknown = wp.uint8(1)
                axis = first_axis(times)
                time = times[axis]
                voxel[axis] += one_way(direction[axis])
                times[axis] = leaving_time(voxel[axis], start[axis], direction[axis])
    hit[ray] = found
    distance[ray] = wp.where(found == wp.uint8(1), time, length)
    crossed[ray] = unknown


@wp.struct
class Scan:
    """One lidar scan: where it was taken from and how its rays are cut."""

    points: wp.array(dtype=wp.vec3)  # sensor frame, m
    R: wp.mat33d  # rotation of the sensor into the world over the voxel size
    base: wp.vec3i  # voxel of the sensor
    start: wp.vec3d  # the sensor inside that voxel, in voxels
    near: wp.float64  # in voxels
    far: wp.float64


@wp.func
def ray_of(scan: Scan, i: int):
    """Direction and length in voxels of a point's ray (0: to be ignored), whether it ends in a hit, and where."""
    p = scan.points[i]
    v = scan.R * wp.vec3d(wp.float64(p[0]), wp.float64(p[1]), wp.float64(p[2]))
    length = wp.length(v)
    end = floor3(scan.start + wp.where(length <= scan.far, v, wp.vec3d()))
    if length < scan.near or length == wp.float64(0.0):
        return wp.vec3d(), wp.float64(0.0), wp.bool(False), end
    return v / length, wp.min(length, scan.far), wp.bool(length <= scan.far), end


@wp.kernel
def claim_rays(pool: Pool, scan: Scan):
    """Take the bricks on the way of each ray."""
    direction, length, hit, end = ray_of(scan, wp.tid())
    voxel = wp.vec3i(0, 0, 0)
    time = wp.float64(0.0)
    while time < length:
        brick = brick_of(voxel, scan.base)
        claim_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        voxel, time = after_brick(voxel, brick, scan.base, scan.start, direction)
    if hit:  # by rounding the end may lie one voxel beyond the last one walked
        brick = brick_of(end, scan.base)
        claim_slot(pool, pack_key(brick[0], brick[1], brick[2]))


@wp.kernel
def mark_hits(pool: Pool, scan: Scan, marks: wp.array2d(dtype=wp.uint8)):
    """Mark the voxel at the end of each ray."""
    _direction, _length, hit, end = ray_of(scan, wp.tid())
    if hit:
        brick = brick_of(end, scan.base)
        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        if slot >= 0:
            marks[slot, flat_index(end, scan.base)] = STRUCK


@wp.kernel
def mark_misses(pool: Pool, scan: Scan, marks: wp.array2d(dtype=wp.uint8), first: int, stride: int):
    """Mark what each ray passes, apart from voxels that some ray of the scan hits. Equal writes may race."""
    direction, length, hit, end = ray_of(scan, first + wp.tid() * stride)
    voxel = wp.vec3i(0, 0, 0)
    time = wp.float64(0.0)
    while time < length:
        brick = brick_of(voxel, scan.base)
        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        if slot < 0:
            voxel, time = after_brick(voxel, brick, scan.base, scan.start, direction)
        else:
            times = leaving_times(voxel, scan.start, direction)
            while time < length and brick_of(voxel, scan.base) == brick:
                if hit and voxel == end:
                    time = length
                else:
                    place = flat_index(voxel, scan.base)
                    if marks[slot, place] == wp.uint8(0):
                        marks[slot, place] = MISSED
                    axis = first_axis(times)
                    time = times[axis]
                    voxel[axis] += one_way(direction[axis])
                    times[axis] = leaving_time(voxel[axis], scan.start[axis], direction[axis])


@wp.kernel
def apply_marks(
    pool: Pool,
    marks: wp.array2d(dtype=wp.uint8),
    hit: float,
    miss: float,
    clamp: wp.vec2,
    stamp_ns: wp.int64,
    first: int,
    stride: int,
):
    """Update one row of marked voxels a thread, 64 threads a brick."""
    thread = wp.tid()
    slot = first + (thread >> 6) * stride
    row = thread & 63
    change = row8()
    for i in range(8):
        mark = marks[slot, row * 8 + i]
        change[i] = wp.where(mark == STRUCK, hit, wp.where(mark == MISSED, miss, 0.0))
    add_to_row(pool, slot, row, change, clamp, stamp_ns)
