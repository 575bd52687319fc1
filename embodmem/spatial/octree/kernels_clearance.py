# mypy: ignore-errors
"""How far each voxel is from the nearest one that stops a ray: what `kernels_leap` leaps by.

Distances are Chebyshev's, in voxels, so that d says: the cube of d - 1 voxels to each side holds nothing that stops a
ray. They are found by dilating bit masks of rows, d times for a distance of d.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, find_slot, is_known, read_voxel

wp.set_module_options({"enable_backward": False})

REACH = wp.constant(8)  # farthest distance that is looked for: as far as one brick to each side tells
SIDE = wp.constant(24)  # voxels along the edge of a brick and its neighbours


@wp.struct
class Clearance:
    """A page for each brick, found in a dense grid."""

    grid: wp.array3d(dtype=wp.int32)  # page of a brick, -1 where it is absent
    lower: wp.vec3i  # brick of grid[0, 0, 0]
    size: wp.vec3i
    solid: wp.array2d(dtype=wp.uint8)  # (pages, 64) rows of voxels: bit x is set where it is occupied
    closed: wp.array2d(dtype=wp.uint8)  # the same where it is occupied or unknown
    distance: wp.array2d(dtype=wp.uint8)  # (pages, 512): to the nearest occupied voxel, * 16, + to the nearest closed


@wp.func
def page_of(clearance: Clearance, brick: wp.vec3i) -> int:
    """Page of a brick, -1 where it is absent."""
    at = brick - clearance.lower
    if at[0] < 0 or at[1] < 0 or at[2] < 0:
        return -1
    if at[0] >= clearance.size[0] or at[1] >= clearance.size[1] or at[2] >= clearance.size[2]:
        return -1
    return clearance.grid[at[0], at[1], at[2]]


@wp.kernel
def fill_masks(
    pool: Pool,
    clearance: Clearance,
    keys: wp.array(dtype=wp.int64),
    pages: wp.array(dtype=wp.int32),
    occupied: float,
    first: int,
    stride: int,
):
    """Masks of the bricks `keys`, a brick a thread."""
    item = first + wp.tid() * stride
    slot = find_slot(pool, keys[item])
    page = pages[item]
    for row in range(64):
        solid, closed = wp.int32(0), wp.int32(0)
        for x in range(8):
            value = float(wp.nan)
            if slot >= 0:
                value = read_voxel(pool, slot, row * 8 + x)
            bit = 1 << x
            solid += wp.where(value > occupied, bit, 0)
            closed += wp.where(value > occupied or not is_known(value), bit, 0)
        clearance.solid[page, row] = wp.uint8(solid)
        clearance.closed[page, row] = wp.uint8(closed)


@wp.func
def load_neighbours(
    clearance: Clearance,
    masks: wp.array2d(dtype=wp.uint8),
    absent: wp.uint32,
    brick: wp.vec3i,
    rows: wp.array2d(dtype=wp.uint32),
    place: int,
):
    """Rows of 24 voxels of a brick and its neighbours."""
    for i in range(9):
        dy, dz = i % 3, i // 3
        left = page_of(clearance, brick + wp.vec3i(-1, dy - 1, dz - 1))
        here = page_of(clearance, brick + wp.vec3i(0, dy - 1, dz - 1))
        right = page_of(clearance, brick + wp.vec3i(1, dy - 1, dz - 1))
        for row in range(64):
            a, b, c = absent, absent, absent
            if left >= 0:
                a = wp.uint32(masks[left, row])
            if here >= 0:
                b = wp.uint32(masks[here, row])
            if right >= 0:
                c = wp.uint32(masks[right, row])
            y, z = dy * 8 + (row & 7), dz * 8 + (row >> 3)
            rows[place, z * SIDE + y] = a | (b << wp.uint32(8)) | (c << wp.uint32(16))


@wp.func
def dilate(rows: wp.array2d(dtype=wp.uint32), place: int, source: int, target: int, margin: int):
    """Each voxel at least `margin` rows from the border becomes set where one of its 26 neighbours is."""
    for z in range(margin, SIDE - margin):
        for y in range(margin, SIDE - margin):
            near = wp.uint32(0)
            for d in range(3):
                at = source + (z + d - 1) * SIDE + y
                near = near | rows[place, at - 1] | rows[place, at] | rows[place, at + 1]
            rows[place, target + z * SIDE + y] = near | (near << wp.uint32(1)) | (near >> wp.uint32(1))


@wp.func
def add_unset(
    clearance: Clearance, page: int, unit: int, rows: wp.array2d(dtype=wp.uint32), place: int, source: int
) -> int:
    """Add `unit` to the distance of each voxel of the middle brick that is not set; returns whether there is one."""
    some = wp.int32(0)
    for row in range(64):
        unset = (~(rows[place, source + (8 + (row >> 3)) * SIDE + 8 + (row & 7)] >> wp.uint32(8))) & wp.uint32(255)
        if unset != wp.uint32(0):
            some = 1
            for x in range(8):
                add = wp.where(((unset >> wp.uint32(x)) & wp.uint32(1)) != wp.uint32(0), unit, 0)
                at = row * 8 + x
                clearance.distance[page, at] = wp.uint8(wp.int32(clearance.distance[page, at]) + add)
    return some


@wp.kernel
def measure(
    clearance: Clearance,
    bricks: wp.array(dtype=wp.vec3i),
    rows: wp.array2d(dtype=wp.uint32),
    first: int,
    stride: int,
):
    """Distances of the voxels of some bricks, a brick a thread; rows is (items, 2 * 576) to work in."""
    place = first + wp.tid() * stride
    brick = bricks[place]
    page = page_of(clearance, brick)
    for i in range(512):
        clearance.distance[page, i] = wp.uint8(0)
    for field in range(2):
        unit = wp.where(field == 0, 1, 16)
        if field == 0:
            load_neighbours(clearance, clearance.closed, wp.uint32(255), brick, rows, place)
        else:
            load_neighbours(clearance, clearance.solid, wp.uint32(0), brick, rows, place)
        source, target = wp.int32(0), wp.int32(SIDE * SIDE)
        more = add_unset(clearance, page, unit, rows, place, source)
        d = wp.int32(1)
        while more != 0 and d <= REACH:
            dilate(rows, place, source, target, d)
            swap = source
            source = target
            target = swap
            more = add_unset(clearance, page, unit, rows, place, source)
            d += 1
