# mypy: ignore-errors
"""Lidar points with the free space on their way, all rays walked through one bit a voxel.

The bits fill a box around the scan, lines along x, then y, then z, so that a voxel's place is linear in its indices
and a step adds a constant. A ray is cut into slabs along the axis on which it is longest. In a slab it crosses at
most one face along each other axis; where it crosses both, the one crossed first tells the voxel between. Positions
on the faces between slabs are integers in units of 2**-30 voxel, and a slope is added from face to face: no rounding
adds up but the slope's own (2**-31 voxel a slab, 2e-6 voxel after the longest ray), and every walk is the same on
any machine and for any number of threads.

Each worker has bits of its own, since two must not write one word; they are united where they are read.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, Update, claim_slot, expand, pack_key, row8, update_row
from embodmem.spatial.octree.kernels_rays import to_vec3d
from embodmem.spatial.octree.kernels_scan import IGNORED, RETURN, Scan, beam_of

wp.set_module_options({"enable_backward": False})

ONE = wp.constant(wp.float64(1 << 30))
SHIFT = wp.constant(wp.int64(30))
FRACTION = wp.constant(wp.int64((1 << 30) - 1))


@wp.struct
class Bits:
    """A box of voxels, one bit each. Rows along x are whole words of four bricks."""

    passed: wp.array2d(dtype=wp.uint32)  # (workers, words)
    struck: wp.array2d(dtype=wp.uint32)
    lower: wp.vec3i  # first brick of the box
    origin: wp.vec3i  # voxel `Scan.base`, counted from the box's first voxel
    step: wp.vec3i  # bits from a voxel to the next one along x, y and z
    words: int  # in a row along x
    rows: int  # bricks along y


@wp.kernel
def find_box(scan: Scan, box: wp.array2d(dtype=wp.int32), first: int, stride: int):
    """Lowest and highest voxel (workers, 6) that the rays start or end in, relative to `Scan.base`."""
    beam = beam_of(scan, first + wp.tid() * stride)
    if beam.kind != IGNORED:
        for i in range(3):
            wp.atomic_min(box, first, i, wp.min(beam.cell[i], beam.end[i]))
            wp.atomic_max(box, first, 3 + i, wp.max(beam.cell[i], beam.end[i]))


@wp.func
def set_bit(bits: wp.array2d(dtype=wp.uint32), worker: int, place: int):
    """Set one bit. The mask tells the compiler that no index is negative."""
    wp.atomic_or(bits, worker, (place >> 5) & 0x7FFFFFF, wp.uint32(1) << wp.uint32(place & 31))


@wp.kernel
def walk_rays(scan: Scan, bits: Bits, discretize: bool, first: int, stride: int):
    """Set the bits of the voxels that a ray passes, its first and last among them, and of the one that it strikes."""
    beam = beam_of(scan, first + wp.tid() * stride)
    if beam.kind == IGNORED:
        return
    if beam.kind == RETURN:
        place = wp.dot(bits.origin + beam.end, bits.step)
        struck = bits.struck[first, place >> 5]
        if discretize:
            if (struck >> wp.uint32(place & 31)) & wp.uint32(1) == wp.uint32(1):
                return
            beam.v = to_vec3d(beam.end) + wp.vec3d(wp.float64(0.5)) - beam.origin
        set_bit(bits.struck, first, place)
    length = wp.vec3d(wp.abs(beam.v[0]), wp.abs(beam.v[1]), wp.abs(beam.v[2]))
    ax = wp.where(length[0] >= length[1] and length[0] >= length[2], 0, wp.where(length[1] >= length[2], 1, 2))
    ay = wp.where(ax == 0, 1, 0)
    az = 3 - ax - ay
    ahead = beam.v[ax] >= wp.float64(0.0)
    inside = beam.origin[ax] - wp.float64(beam.cell[ax])
    u = wp.where(ahead, wp.float64(1.0) - inside, inside)  # to the first face
    gy, gz = beam.v[ay] / length[ax], beam.v[az] / length[ax]
    slope_y, slope_z = wp.int64(wp.rint(gy * ONE)), wp.int64(wp.rint(gz * ONE))
    at_y = wp.int64(wp.rint((beam.origin[ay] + gy * u) * ONE)) + (wp.int64(bits.origin[ay]) << SHIFT)
    at_z = wp.int64(wp.rint((beam.origin[az] + gz * u) * ONE)) + (wp.int64(bits.origin[az]) << SHIFT)
    # With all bits flipped, the way past the last face is the fraction of a falling coordinate too.
    flip_y = wp.where(slope_y >= wp.int64(0), wp.int64(0), wp.int64(-1))
    flip_z = wp.where(slope_z >= wp.int64(0), wp.int64(0), wp.int64(-1))
    steep_y, steep_z = wp.abs(slope_y), wp.abs(slope_z)
    step_x = bits.step[ax] * wp.where(ahead, 1, -1)
    step_y, step_z = bits.step[ay] + 0, bits.step[az] + 0
    x = (bits.origin[ax] + beam.cell[ax]) * bits.step[ax]
    y = (bits.origin[ay] + beam.cell[ay]) * step_y
    z = (bits.origin[az] + beam.cell[az]) * step_z
    for _slab in range(wp.abs(beam.end[ax] - beam.cell[ax])):
        y1, z1 = wp.int32(at_y >> SHIFT) * step_y, wp.int32(at_z >> SHIFT) * step_z
        set_bit(bits.passed, first, x + y + z)
        if y1 + z1 != y + z:
            set_bit(bits.passed, first, x + y1 + z1)
            if y1 != y and z1 != z:
                y_first = ((at_y ^ flip_y) & FRACTION) * steep_z >= ((at_z ^ flip_z) & FRACTION) * steep_y
                set_bit(bits.passed, first, x + wp.where(y_first, y1 + z, y + z1))
        x += step_x
        y = y1
        z = z1
        at_y += slope_y
        at_z += slope_z
    # The last slab ends inside: its last voxel is the end's, whatever the slope's rounding says.
    y1, z1 = (bits.origin[ay] + beam.end[ay]) * step_y, (bits.origin[az] + beam.end[az]) * step_z
    y_first = ((at_y ^ flip_y) & FRACTION) * steep_z >= ((at_z ^ flip_z) & FRACTION) * steep_y
    set_bit(bits.passed, first, x + y + z)
    set_bit(bits.passed, first, x + wp.where(y_first, y1 + z, y + z1))
    set_bit(bits.passed, first, x + y1 + z1)


@wp.kernel
def find_bricks(bits: Bits, found: wp.array2d(dtype=wp.uint32), first: int, stride: int):
    """Words (bricks along z * bricks along y, words) of which a byte is not 0 where a ray passes that brick."""
    row = first + wp.tid() * stride
    line = (row // bits.rows * 8 * bits.rows + row % bits.rows) * 8
    for word in range(bits.words):
        union = wp.uint32(0)
        for worker in range(bits.passed.shape[0]):
            for z in range(8):
                for y in range(8):
                    union |= bits.passed[worker, (line + z * bits.rows * 8 + y) * bits.words + word]
        found[row, word] = union


@wp.kernel
def claim_found(pool: Pool, bits: Bits, cells: wp.array(dtype=wp.int32), slots: wp.array(dtype=wp.int32)):
    """Slots (N,) of the bricks at places (N,) among the bytes of `found`; -1 where the pool is full."""
    i = wp.tid()
    x = cells[i] % (bits.words * 4)
    row = cells[i] // (bits.words * 4)
    key = pack_key(bits.lower[0] + x, bits.lower[1] + row % bits.rows, bits.lower[2] + row // bits.rows)
    slot = claim_slot(pool, key)
    if slot >= 0 and not expand(pool, slot):
        slot = -1
    slots[i] = slot


@wp.kernel
def apply_bits(
    pool: Pool,
    bits: Bits,
    passed: wp.array2d(dtype=wp.uint8),
    struck: wp.array2d(dtype=wp.uint8),
    cells: wp.array(dtype=wp.int32),
    slots: wp.array(dtype=wp.int32),
    hit: float,
    miss: float,
    update: Update,
    results: wp.array(dtype=wp.uint64),
    first: int,
    stride: int,
):
    """Update one row of voxels a thread, 64 threads a brick; results (64 a brick) are those of `update_row`.

    `passed` and `struck` are the memory of the bits.
    """
    thread = wp.tid()
    item = first + (thread >> 6) * stride
    slot = slots[item]
    x = cells[item] % (bits.words * 4)
    row = cells[item] // (bits.words * 4)
    line = (row // bits.rows * 8 + ((thread & 63) >> 3)) * bits.rows * 8 + row % bits.rows * 8 + (thread & 7)
    misses, hits = wp.uint8(0), wp.uint8(0)
    for worker in range(passed.shape[0]):
        misses |= passed[worker, line * bits.words * 4 + x]
        hits |= struck[worker, line * bits.words * 4 + x]
    result = wp.uint64(0)
    if slot >= 0 and misses != wp.uint8(0):
        change = row8()
        for i in range(8):
            is_miss = ((wp.int32(misses) >> i) & 1) == 1
            change[i] = wp.where(((wp.int32(hits) >> i) & 1) == 1, hit, wp.where(is_miss, miss, 0.0))
        result = update_row(pool.rows, pool.seen_rows, pool.block[slot], thread & 63, change, update)
    results[item * 64 + (thread & 63)] = result
