# mypy: ignore-errors
"""Frontiers as Warp kernels: bit maps of whole layers, then a union of neighbours."""

import warp as wp

from embodmem.planning.kernels_field import ALL
from embodmem.spatial.octree.kernels_pool import Pool, find_slot, is_known, pack_key, read_voxel, unpack_key

wp.set_module_options({"enable_backward": False})

LOW_X = wp.constant(wp.uint64(0x0101010101010101))  # voxels of a layer with x = 0; bit y * 8 + x
LOW_Y = wp.constant(wp.uint64(0xFF))
ONE = wp.constant(wp.uint64(1))


@wp.struct
class Layers:
    """Bit maps of the layers in z of bricks, by slot of the map's pool: (capacity, 8)."""

    free: wp.array2d(dtype=wp.uint64)
    unknown: wp.array2d(dtype=wp.uint64)
    frontier: wp.array2d(dtype=wp.uint64)
    first: wp.array2d(dtype=wp.int32)  # number of the layer's first frontier voxel


@wp.func
def count_bits(word: wp.uint64) -> int:
    """How many bits are set, added up in pairs, fours and eights."""
    w = word - ((word >> ONE) & wp.uint64(0x5555555555555555))
    w = (w & wp.uint64(0x3333333333333333)) + ((w >> wp.uint64(2)) & wp.uint64(0x3333333333333333))
    w = (w + (w >> wp.uint64(4))) & wp.uint64(0x0F0F0F0F0F0F0F0F)
    return wp.int32((w * LOW_X) >> wp.uint64(56))


@wp.func
def unknown_at(pool: Pool, layers: Layers, b: wp.vec3i, dx: int, dy: int, dz: int, z: int) -> wp.uint64:
    """Unknown voxels of a layer of the brick beside b; a brick that is not there is unknown."""
    slot = find_slot(pool, pack_key(b[0] + dx, b[1] + dy, b[2] + dz))
    if slot < 0:
        return ALL
    return layers.unknown[slot, z]


@wp.kernel
def read_layers(pool: Pool, slots: wp.array(dtype=wp.int32), layers: Layers, first: int, stride: int):
    """Free and unknown voxels of a layer a thread."""
    thread = wp.tid()
    slot = slots[first + (thread >> 3) * stride]
    z = thread & 7
    free, unknown = wp.uint64(0), wp.uint64(0)
    for j in range(64):
        value = read_voxel(pool, slot, z * 64 + j)
        bit = ONE << wp.uint64(j)
        if not is_known(value):
            unknown = unknown | bit
        elif value <= pool.occupied:
            free = free | bit
    layers.free[slot, z] = free
    layers.unknown[slot, z] = unknown


@wp.func
def unknown_beside(pool: Pool, layers: Layers, slot: int, b: wp.vec3i, z: int, axis: int, way: int) -> wp.uint64:
    """For each voxel of a layer, whether its neighbour one step along an axis is unknown."""
    here = layers.unknown[slot, z]
    if axis == 0 and way > 0:
        edge = unknown_at(pool, layers, b, 1, 0, 0, z) & LOW_X
        return ((here >> ONE) & ~(LOW_X << wp.uint64(7))) | (edge << wp.uint64(7))
    if axis == 0:
        edge = (unknown_at(pool, layers, b, -1, 0, 0, z) >> wp.uint64(7)) & LOW_X
        return ((here << ONE) & ~LOW_X) | edge
    if axis == 1 and way > 0:
        return (here >> wp.uint64(8)) | ((unknown_at(pool, layers, b, 0, 1, 0, z) & LOW_Y) << wp.uint64(56))
    if axis == 1:
        return (here << wp.uint64(8)) | (unknown_at(pool, layers, b, 0, -1, 0, z) >> wp.uint64(56))
    if z + way < 0:
        return unknown_at(pool, layers, b, 0, 0, -1, 7)
    if z + way > 7:
        return unknown_at(pool, layers, b, 0, 0, 1, 0)
    return layers.unknown[slot, z + way]


@wp.kernel
def find_frontier(
    pool: Pool,
    slots: wp.array(dtype=wp.int32),
    layers: Layers,
    lowest: int,
    highest: int,
    counts: wp.array2d(dtype=wp.int32),
    first: int,
    stride: int,
):
    """Free voxels beside an unknown one, of the layers lowest <= z <= highest; a layer a thread."""
    thread = wp.tid()
    i = first + (thread >> 3) * stride
    slot, z = slots[i], thread & 7
    b = unpack_key(pool.keys[slot])
    found = wp.uint64(0)
    height = b[2] * 8 + z
    if height >= lowest and height <= highest and layers.free[slot, z] != wp.uint64(0):
        for axis in range(3):
            found = found | unknown_beside(pool, layers, slot, b, z, axis, 1)
            found = found | unknown_beside(pool, layers, slot, b, z, axis, -1)
        found = found & layers.free[slot, z]
    layers.frontier[slot, z] = found
    counts[i, z] = count_bits(found)


@wp.kernel
def list_frontier(
    pool: Pool,
    slots: wp.array(dtype=wp.int32),
    layers: Layers,
    offsets: wp.array2d(dtype=wp.int32),
    voxels: wp.array(dtype=wp.vec3i),
    opens: wp.array(dtype=wp.vec3i),
    first: int,
    stride: int,
):
    """Indices of the frontier voxels, and the sum of the steps to their unknown neighbours; a layer a thread."""
    thread = wp.tid()
    i = first + (thread >> 3) * stride
    slot, z = slots[i], thread & 7
    layers.first[slot, z] = offsets[i, z]
    word = layers.frontier[slot, z]
    if word == wp.uint64(0):
        return
    b = unpack_key(pool.keys[slot])
    right = unknown_beside(pool, layers, slot, b, z, 0, 1)
    left = unknown_beside(pool, layers, slot, b, z, 0, -1)
    behind = unknown_beside(pool, layers, slot, b, z, 1, 1)
    before = unknown_beside(pool, layers, slot, b, z, 1, -1)
    above = unknown_beside(pool, layers, slot, b, z, 2, 1)
    below = unknown_beside(pool, layers, slot, b, z, 2, -1)
    place = offsets[i, z]
    for j in range(64):
        at = wp.uint64(j)
        if ((word >> at) & ONE) != wp.uint64(0):
            voxels[place] = wp.vec3i(b[0] * 8 + (j & 7), b[1] * 8 + (j >> 3), b[2] * 8 + z)
            opens[place] = wp.vec3i(
                wp.int32((right >> at) & ONE) - wp.int32((left >> at) & ONE),
                wp.int32((behind >> at) & ONE) - wp.int32((before >> at) & ONE),
                wp.int32((above >> at) & ONE) - wp.int32((below >> at) & ONE),
            )
            place = place + 1


@wp.func
def number_of(pool: Pool, layers: Layers, v: wp.vec3i) -> int:
    """Place of a voxel in the list of frontier voxels, or -1."""
    slot = find_slot(pool, pack_key(v[0] >> 3, v[1] >> 3, v[2] >> 3))
    if slot < 0:
        return -1
    word = layers.frontier[slot, v[2] & 7]
    bit = ONE << wp.uint64((v[1] & 7) * 8 + (v[0] & 7))
    if (word & bit) == wp.uint64(0):
        return -1
    return layers.first[slot, v[2] & 7] + count_bits(word & (bit - ONE))


@wp.func
def root_of(parent: wp.array(dtype=wp.int32), i: int) -> int:
    """The first of the set that holds i."""
    here = wp.int32(i)
    while parent[here] != here:
        here = parent[here]
    return here


@wp.func
def unite(parent: wp.array(dtype=wp.int32), i: int, j: int):
    """Make one set of two: the later root is hung below the earlier one, so every root is the first of its set."""
    a, b = root_of(parent, i), root_of(parent, j)
    while a != b:
        low, high = wp.min(a, b), wp.max(a, b)
        if wp.atomic_cas(parent, high, high, low) == high:
            a = low
            b = low
        else:  # another thread of a GPU was quicker
            a, b = root_of(parent, low), root_of(parent, high)


@wp.kernel
def unite_neighbours(pool: Pool, layers: Layers, voxels: wp.array(dtype=wp.vec3i), parent: wp.array(dtype=wp.int32)):
    """Unite each voxel with those of its 26 neighbours that come before it in z, y, x (the other half see it)."""
    i = wp.tid()
    for code in range(wp.int32(13)):
        step = wp.vec3i(code % 3 - 1, (code // 3) % 3 - 1, code // 9 - 1)
        j = number_of(pool, layers, voxels[i] + step)
        if j >= 0:
            unite(parent, i, j)


@wp.kernel
def label_sets(parent: wp.array(dtype=wp.int32), labels: wp.array(dtype=wp.int32), first: int, stride: int):
    """The first voxel of each voxel's set."""
    i = first + wp.tid() * stride
    labels[i] = root_of(parent, i)
