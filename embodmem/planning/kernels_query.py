# mypy: ignore-errors
"""What is asked of the distance field, as Warp kernels; places are in voxels."""

import warp as wp

from embodmem.planning.kernels_field import FAR, HERE, Field, find_field
from embodmem.spatial.octree.kernels_pool import pack_key

wp.set_module_options({"enable_backward": False})

INDEX_LIMIT = wp.constant(wp.float64((1 << 23) - 1024))
HALF = wp.constant(wp.float64(0.5))
HALF_DIAGONAL = wp.constant(wp.float64(0.8660254037844387))


@wp.func
def voxel_of(p: wp.vec3d) -> wp.vec3i:
    """Voxel of a place; outside of all maps one at their edge."""
    v = wp.vec3i()
    for i in range(3):
        v[i] = wp.int32(wp.floor(wp.clamp(p[i], -INDEX_LIMIT, INDEX_LIMIT)))
    return v


@wp.func
def slot_of(field: Field, v: wp.vec3i) -> int:
    """Slot of the brick of a voxel, or -1."""
    return find_field(field, pack_key(v[0] >> 3, v[1] >> 3, v[2] >> 3))


@wp.func
def entry(field: Field, slot: int, v: wp.vec3i) -> int:
    """Layer z at a voxel of a brick that may be absent."""
    if slot < 0:
        return wp.where(field.solid != 0, HERE, FAR)
    return field.layer_z[slot, (v[2] & 7) * 8 + (v[1] & 7)][v[0] & 7]


@wp.func
def centre_of(v: wp.vec3i) -> wp.vec3d:
    """Middle of a voxel."""
    return wp.vec3d(wp.float64(v[0]) + HALF, wp.float64(v[1]) + HALF, wp.float64(v[2]) + HALF)


@wp.func
def length_of(value: int, most: wp.float64) -> wp.float64:
    """Distance of an entry, `most` beyond the radius."""
    if value == FAR:
        return most
    return wp.min(wp.sqrt(wp.float64(value >> 8)), most)


@wp.func
def nearest_of(field: Field, v: wp.vec3i) -> wp.vec3i:
    """The voxel of the nearest obstacle, through the layers; only for a voxel within the radius of one."""
    n = v
    n[2] = n[2] + (entry(field, slot_of(field, n), n) & 255) - 128
    slot = slot_of(field, n)
    if slot >= 0:
        n[1] = n[1] + (field.layer_y[slot, (n[2] & 7) * 8 + (n[1] & 7)][n[0] & 7] & 255) - 128
        slot = slot_of(field, n)
    if slot >= 0:
        n[0] = n[0] + wp.int32(field.layer_x[slot, (n[2] & 7) * 8 + (n[1] & 7)][n[0] & 7])
    return n


@wp.kernel
def read_distances(
    field: Field,
    points: wp.array(dtype=wp.vec3d),
    size_m: wp.float64,
    most: wp.float64,
    metres: wp.array(dtype=wp.float32),
    first: int,
    stride: int,
):
    """Distance of the voxel that holds each point."""
    i = first + wp.tid() * stride
    v = voxel_of(points[i] / size_m)
    metres[i] = wp.float32(length_of(entry(field, slot_of(field, v), v), most) * size_m)


@wp.kernel
def interpolate_distances(
    field: Field,
    points: wp.array(dtype=wp.vec3d),
    size_m: wp.float64,
    most: wp.float64,
    metres: wp.array(dtype=wp.float32),
    first: int,
    stride: int,
):
    """Trilinear mean of the distances of the eight voxels around each point."""
    i = first + wp.tid() * stride
    p = points[i] / size_m - wp.vec3d(HALF, HALF, HALF)
    low = voxel_of(p)
    slot = slot_of(field, low)
    across = (low[0] & 7) == 7 or (low[1] & 7) == 7 or (low[2] & 7) == 7
    total = wp.float64(0.0)
    for corner in range(8):
        step = wp.vec3i(corner & 1, (corner >> 1) & 1, corner >> 2)
        v = low + step
        weight = wp.float64(1.0)
        for axis in range(3):
            t = wp.clamp(p[axis] - wp.float64(low[axis]), wp.float64(0.0), wp.float64(1.0))
            weight = weight * wp.where(step[axis] == 1, t, wp.float64(1.0) - t)
        here = slot
        if across:
            here = slot_of(field, v)
        total = total + weight * length_of(entry(field, here, v), most)
    metres[i] = wp.float32(total * size_m)


@wp.kernel
def read_nearest(
    field: Field,
    points: wp.array(dtype=wp.vec3d),
    size_m: wp.float64,
    nearest: wp.array(dtype=wp.vec3d),
    away: wp.array(dtype=wp.vec3d),
    first: int,
    stride: int,
):
    """Middle of the obstacle nearest to each point's voxel (NaN: none), and the unit vector from there (0: none)."""
    i = first + wp.tid() * stride
    p = points[i] / size_m
    v = voxel_of(p)
    none = wp.float64(wp.nan)
    nearest[i] = wp.vec3d(none, none, none)
    away[i] = wp.vec3d()
    if entry(field, slot_of(field, v), v) != FAR:
        middle = centre_of(nearest_of(field, v))
        nearest[i] = middle * size_m
        offset = p - middle
        length = wp.length(offset)
        if length > wp.float64(1.0e-9):
            away[i] = offset / length


@wp.func
def touches(p: wp.vec3d, radius: wp.float64, v: wp.vec3i) -> wp.bool:
    """Whether a ball touches the cube of a voxel."""
    square = wp.float64(0.0)
    for i in range(3):
        low = wp.float64(v[i])
        gap = wp.max(wp.max(low - p[i], p[i] - low - wp.float64(1.0)), wp.float64(0.0))
        square = square + gap * gap
    return square <= radius * radius


@wp.func
def row_touches(field: Field, p: wp.vec3d, radius: wp.float64, y: int, z: int, low: int, high: int) -> wp.bool:
    """Whether a ball touches an obstacle among the voxels low <= x <= high of a row along x."""
    for b in range(low >> 3, (high >> 3) + 1):
        slot = find_field(field, pack_key(b, y >> 3, z >> 3))
        word = wp.where(field.solid != 0, 255, 0)
        if slot >= 0:
            word = wp.int32((field.bits[slot, z & 7] >> wp.uint64(8 * (y & 7))) & wp.uint64(255))
        if word != 0:
            for j in range(8):
                x = b * 8 + j
                inside = x >= low and x <= high and ((word >> j) & 1) != 0
                if inside and touches(p, radius, wp.vec3i(x, y, z)):
                    return True
    return False


@wp.func
def box_touches(field: Field, p: wp.vec3d, radius: wp.float64) -> wp.bool:
    """Whether a ball touches any obstacle, by looking at all voxels that it may touch."""
    reach = wp.vec3d(radius, radius, radius)
    one = wp.vec3d(wp.float64(1.0), wp.float64(1.0), wp.float64(1.0))
    low, high = voxel_of(p - reach - one * wp.float64(1.0e-9)), voxel_of(p + reach + one * wp.float64(1.0e-9))
    for z in range(low[2], high[2] + 1):
        for y in range(low[1], high[1] + 1):
            if row_touches(field, p, radius, y, z, low[0], high[0]):
                return True
    return False


@wp.kernel
def test_balls(
    field: Field,
    centres: wp.array(dtype=wp.vec3d),
    radii: wp.array(dtype=wp.float64),
    size_m: wp.float64,
    most: wp.float64,
    hit: wp.array(dtype=wp.uint8),
    first: int,
    stride: int,
):
    """Whether each ball touches the cube of an obstacle: the field settles most, and a look at voxels the rest."""
    i = first + wp.tid() * stride
    p, radius = centres[i] / size_m, radii[i] / size_m
    v = voxel_of(p)
    value = entry(field, slot_of(field, v), v)
    # The nearest middle of an obstacle is at least this far from p, and its cube half a diagonal nearer.
    least = length_of(value, most) - wp.length(p - centre_of(v)) - HALF_DIAGONAL
    found = wp.bool(False)
    if least <= radius:
        if value != FAR:
            found = touches(p, radius, nearest_of(field, v))
        if not found:
            found = box_touches(field, p, radius)
    hit[i] = wp.where(found, wp.uint8(1), wp.uint8(0))
