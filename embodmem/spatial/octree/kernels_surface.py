# mypy: ignore-errors
"""Bricks copied out, surface voxels with their normals, and the occupied voxel nearest to a point, as Warp kernels."""

import warp as wp

from embodmem.spatial.octree.kernels_clearance import Clearance, page_of
from embodmem.spatial.octree.kernels_pool import Pool, find_slot, is_known, pack_key, read_voxel, unpack_key

wp.set_module_options({"enable_backward": False})

STEEPEST = wp.constant(0.2)  # least cosine between a normal and the free neighbours' direction


@wp.kernel
def gather_bricks(
    pool: Pool, keys: wp.array(dtype=wp.int64), values: wp.array2d(dtype=wp.float32), first: int, stride: int
):
    """Log-odds (N, 512) of the bricks `keys`, NaN where one is absent."""
    item = first + wp.tid() * stride
    slot = find_slot(pool, keys[item])
    for i in range(512):
        value = float(wp.nan)
        if slot >= 0:
            value = read_voxel(pool, slot, i)
        values[item, i] = value


@wp.func
def value_at(pool: Pool, brick: wp.vec3i, slot: int, x: int, y: int, z: int) -> float:
    """Log-odds of the voxel (x, y, z) relative to a brick that stands in `slot`; NaN where unknown."""
    here = slot
    if ((x | y | z) & -8) != 0:
        here = find_slot(pool, pack_key(brick[0] + (x >> 3), brick[1] + (y >> 3), brick[2] + (z >> 3)))
    value = float(wp.nan)
    if here >= 0:
        value = read_voxel(pool, here, ((z & 7) * 8 + (y & 7)) * 8 + (x & 7))
    return value


@wp.func
def faces_free(pool: Pool, brick: wp.vec3i, slot: int, x: int, y: int, z: int, occupied: float) -> wp.vec3:
    """Sum of the directions in which one of the six neighbours of a voxel is free, plus 8 for each such axis."""
    out = wp.vec3()
    for axis in range(3):
        for side in range(2):
            step = 2 * side - 1
            dx, dy, dz = wp.where(axis == 0, step, 0), wp.where(axis == 1, step, 0), wp.where(axis == 2, step, 0)
            near = value_at(pool, brick, slot, x + dx, y + dy, z + dz)
            if near <= occupied:
                out[axis] = out[axis] + float(step) + 8.0
    return out


@wp.func
def normal_at(pool: Pool, brick: wp.vec3i, slot: int, x: int, y: int, z: int, open: wp.vec3) -> wp.vec3:
    """Unit vector against the gradient of the log-odds over 5x5x5 voxels, unknown ones counted as 0."""
    down = wp.vec3()
    for k in range(125):
        dx, dy, dz = k % 5 - 2, k // 5 % 5 - 2, k // 25 - 2
        value = value_at(pool, brick, slot, x + dx, y + dy, z + dz)
        if is_known(value) and k != 62:
            offset = wp.vec3(float(dx), float(dy), float(dz))
            down -= offset * (value / wp.dot(offset, offset))
    # Which way the voxel is open: a thin wall that is free on both sides has no gradient, and takes its first side.
    side = wp.vec3()
    for axis in range(3):
        if open[axis] > 0.0:
            side[axis] = wp.where(open[axis] > 12.0, 0.0, open[axis] - 8.0)
    if wp.length(side) == 0.0:
        for axis in range(3):
            if open[axis] > 0.0 and wp.length(side) == 0.0:
                side[axis] = 1.0
    side = wp.normalize(side)
    if wp.length(down) > 1.0e-4 and wp.dot(down, side) > STEEPEST * wp.length(down):
        return wp.normalize(down)
    return side


@wp.kernel
def surface_voxels(
    pool: Pool,
    keys: wp.array(dtype=wp.int64),
    occupied: float,
    begins: wp.array(dtype=wp.int32),
    write: bool,
    counts: wp.array(dtype=wp.int32),
    voxels: wp.array(dtype=wp.vec3i),
    normals: wp.array(dtype=wp.vec3),
    first: int,
    stride: int,
):
    """Occupied voxels that touch a free one with a face: counted, or written from `begins` on; a brick a thread."""
    item = first + wp.tid() * stride
    slot = find_slot(pool, keys[item])
    if slot < 0:
        return
    brick = unpack_key(keys[item])
    count = wp.int32(0)
    for i in range(512):
        if read_voxel(pool, slot, i) > occupied:
            x, y, z = i & 7, (i >> 3) & 7, i >> 6
            open = faces_free(pool, brick, slot, x, y, z, occupied)
            if wp.max(open[0], wp.max(open[1], open[2])) > 0.0:
                if write:
                    at = begins[item] + count
                    voxels[at] = brick * 8 + wp.vec3i(x, y, z)
                    normals[at] = normal_at(pool, brick, slot, x, y, z, open)
                count += 1
    counts[item] = count


@wp.func
def gap(place: wp.float64, low: int, edge: int) -> wp.float64:
    """How far a coordinate is from the centres of `edge` voxels from `low` on, in voxels."""
    below = wp.float64(low) + wp.float64(0.5) - place
    above = place - (wp.float64(low + edge) - wp.float64(0.5))
    return wp.max(wp.max(below, above), wp.float64(0.0))


@wp.func
def search_brick(clearance: Clearance, page: int, brick: wp.vec3i, p: wp.vec3d, nearest: wp.float64, voxel: wp.vec3i):
    """The nearer of `voxel`, at a squared distance `nearest`, and the nearest occupied voxel of a brick."""
    for row in range(64):
        mask = wp.int32(clearance.solid[page, row])
        if mask != 0:
            y, z = brick[1] * 8 + (row & 7), brick[2] * 8 + (row >> 3)
            dy = wp.float64(y) + wp.float64(0.5) - p[1]
            dz = wp.float64(z) + wp.float64(0.5) - p[2]
            side = dy * dy + dz * dz
            if side < nearest:
                for i in range(8):
                    dx = wp.float64(brick[0] * 8 + i) + wp.float64(0.5) - p[0]
                    if ((mask >> i) & 1) != 0 and side + dx * dx < nearest:
                        nearest = side + dx * dx
                        voxel = wp.vec3i(brick[0] * 8 + i, y, z)
    return nearest, voxel


@wp.kernel
def find_nearest(
    clearance: Clearance,
    points: wp.array(dtype=wp.vec3d),
    voxel_size_m: wp.float64,
    radius: wp.float64,
    voxels: wp.array(dtype=wp.vec3i),
    distances: wp.array(dtype=wp.float64),
    first: int,
    stride: int,
):
    """Occupied voxel whose centre is nearest to each point, and how far (voxels), -1 where none is within `radius`.

    Bricks are searched in shells around the point's own, until the next shell cannot hold a nearer one.
    """
    i = first + wp.tid() * stride
    p = points[i] / voxel_size_m
    middle = wp.vec3i(
        wp.int32(wp.floor(p[0] / wp.float64(8.0))),
        wp.int32(wp.floor(p[1] / wp.float64(8.0))),
        wp.int32(wp.floor(p[2] / wp.float64(8.0))),
    )
    limit = radius * radius * (wp.float64(1.0) + wp.float64(1.0e-12))
    best = limit + wp.float64(0.0)  # a variable of its own
    voxel = wp.vec3i(0, 0, 0)
    # The first shell that reaches the map, and the last one that does.
    shell, last = wp.int32(0), wp.int32(0)
    for axis in range(3):
        low, high = clearance.lower[axis], clearance.lower[axis] + clearance.size[axis] - 1
        shell = wp.max(shell, wp.max(low - middle[axis], middle[axis] - high))
        last = wp.max(last, wp.max(high - middle[axis], middle[axis] - low))
    while shell <= last:
        reach = wp.float64(8 * shell - 8) + wp.float64(0.5)  # no centre of this shell or farther out is nearer
        if shell > 0 and reach * reach > best:
            break
        begin = wp.max(clearance.lower - middle, wp.vec3i(-shell, -shell, -shell))
        end = wp.min(clearance.lower + clearance.size - middle, wp.vec3i(shell + 1, shell + 1, shell + 1))
        for z in range(begin[2], end[2]):
            dz = gap(p[2], (middle[2] + z) * 8, 8)
            for y in range(begin[1], end[1]):
                dy = gap(p[1], (middle[1] + y) * 8, 8)
                if dz * dz + dy * dy < best:
                    # Of rows inside the shell only the two ends belong to it.
                    x = wp.int32(begin[0])
                    if wp.abs(z) < shell and wp.abs(y) < shell and begin[0] > -shell:
                        x = shell
                    while x < end[0]:
                        brick = middle + wp.vec3i(x, y, z)
                        dx = gap(p[0], brick[0] * 8, 8)
                        page = page_of(clearance, brick)
                        if page >= 0 and dz * dz + dy * dy + dx * dx < best:
                            best, voxel = search_brick(clearance, page, brick, p, best, voxel)
                        x += wp.where(wp.abs(z) < shell and wp.abs(y) < shell, 2 * shell, 1)
        shell += 1
    voxels[i] = voxel
    distances[i] = wp.where(best < limit, wp.sqrt(best), wp.float64(-1.0))
