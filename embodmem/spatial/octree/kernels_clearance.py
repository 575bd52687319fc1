# mypy: ignore-errors
"""How far each voxel is from the nearest one that stops a ray, and ray casting that leaps over what lies between.

Distances are Chebyshev's, in voxels, so that d says: the cube of d - 1 voxels to each side holds nothing that stops a
ray. They are found by dilating bit masks of rows, d times for a distance of d.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, find_slot, is_known, read_voxel
from embodmem.spatial.octree.kernels_rays import (
    NOWHERE,
    Ray,
    after_brick,
    crossed,
    floor3,
    leaving_times,
    make_ray,
    to_vec3d,
)

wp.set_module_options({"enable_backward": False})

REACH = wp.constant(8)  # farthest distance that is looked for: as far as one brick to each side tells
SIDE = wp.constant(24)  # voxels along the edge of a brick and its neighbours
CLOSE = wp.constant(wp.float64(1.0e-6))  # far above the rounding of a place on a ray, in voxels
ENDED, FOUND, BAD, ON_THE_WAY = wp.constant(0), wp.constant(1), wp.constant(2), wp.constant(3)


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


@wp.func
def follow(ray: Ray, voxel: int, last: int, axis: int, left: int, time: wp.float64) -> int:
    """Index along `axis`, between `voxel` and `last`, when the ray leaves a box along axis `left` at `time`.

    Rounding may have put the place at that time on the wrong side of a face: the order of crossings decides.
    """
    place = wp.int32(wp.floor(ray.start[axis] + ray.direction[axis] * time))
    here = wp.clamp(place, wp.min(voxel, last), wp.max(voxel, last))
    way = ray.way[axis]
    if here != last and crossed(ray, axis, here, left, time):
        here += way
    elif here != voxel and not crossed(ray, axis, here - way, left, time):
        here -= way
    return here


@wp.func
def after_cube(ray: Ray, voxel: wp.vec3i, half: int):
    """The first voxel behind the cube of `half` voxels to each side of `voxel`, and the time of entering it."""
    last = voxel + ray.way * half
    times = leaving_times(ray, last)
    time = wp.min(wp.min(times[0], times[1]), times[2])
    axis = wp.where(times[0] == time, 0, wp.where(times[1] == time, 1, 2))
    behind = last
    near = wp.int32(0)
    for i in range(3):
        place = ray.start[i] + ray.direction[i] * time
        whole = wp.floor(place)
        here = wp.clamp(wp.int32(whole), wp.min(voxel[i], last[i]), wp.max(voxel[i], last[i]))
        doubtful = wp.abs(place - whole - wp.float64(0.5)) > wp.float64(0.5) - CLOSE
        near += wp.where(doubtful and i != axis, 1, 0)
        behind[i] = wp.where(i == axis, last[i] + ray.way[i], here)
    if near > 0:  # so near a face that rounding may matter
        for i in range(3):
            if i != axis:
                behind[i] = follow(ray, voxel[i], last[i], i, axis, time)
    return behind, time


@wp.func
def leaves_for_good(clearance: Clearance, ray: Ray, brick: wp.vec3i) -> bool:
    """Whether a ray is beyond the bricks of the map on a side towards which it travels."""
    gone = wp.bool(False)
    for i in range(3):
        at = brick[i] - clearance.lower[i]
        beyond = wp.where(ray.way[i] > 0, at >= clearance.size[i], at < 0)
        gone = gone or beyond
    return gone


@wp.struct
class Walk:
    """A ray on its way."""

    ray: Ray
    voxel: wp.vec3i
    time: wp.float64  # of entering that voxel
    unknown: int  # whether an unknown voxel was crossed
    state: int


@wp.func
def begin(
    i: int,
    origins: wp.array(dtype=wp.vec3d),
    directions: wp.array(dtype=wp.vec3d),
    voxel_size_m: wp.float64,
    limit: wp.float64,
) -> Walk:
    """Ray i at its start; it is BAD where a number is none."""
    walk = Walk()
    walk.state = ENDED
    if i < origins.shape[0]:
        norm = wp.length(directions[i])
        p = origins[i] / voxel_size_m
        farthest = wp.max(wp.abs(p[0]), wp.max(wp.abs(p[1]), wp.abs(p[2])))
        known = p[0] == p[0] and p[1] == p[1] and p[2] == p[2]
        if known and farthest <= limit and norm > wp.float64(1.0e-12) and norm < wp.float64(1.0e150):
            base = floor3(p)
            walk.ray = make_ray(base, p - to_vec3d(base), directions[i] / norm)
            walk.state = ON_THE_WAY
        else:
            walk.state = BAD
    return walk


@wp.func
def advance(clearance: Clearance, walk: Walk, length: wp.float64) -> Walk:
    """One leap of a ray that is on its way."""
    at = walk.voxel + walk.ray.base
    brick = wp.vec3i(at[0] >> 3, at[1] >> 3, at[2] >> 3)
    page = page_of(clearance, brick)
    behind = walk.voxel
    time = walk.time
    if page < 0:
        walk.unknown = 1
        if leaves_for_good(clearance, walk.ray, brick):
            time = length
        else:
            behind, time = after_brick(walk.ray, walk.voxel, brick)
    else:
        both = wp.int32(clearance.distance[page, ((at[2] & 7) * 8 + (at[1] & 7)) * 8 + (at[0] & 7)])
        if both < 16:
            walk.state = FOUND
        else:
            walk.unknown = wp.where((both & 15) == 0, 1, walk.unknown)
            half = wp.where(walk.unknown == 0, both & 15, both >> 4) - 1
            behind, time = after_cube(walk.ray, walk.voxel, half)
    walk.voxel = behind
    walk.time = time
    if walk.state == ON_THE_WAY and time >= length:
        walk.state = ENDED
    return walk


@wp.struct
class Hits:
    """What rays met: the arrays of `RaycastHits`, and whether a ray was none."""

    state: wp.array(dtype=wp.uint8)
    unknown: wp.array(dtype=wp.uint8)
    distance_m: wp.array(dtype=wp.float64)
    position: wp.array(dtype=wp.vec3d)
    voxel: wp.array(dtype=wp.vec3i)


@wp.func
def put(
    i: int, walk: Walk, origins: wp.array(dtype=wp.vec3d), voxel_size_m: wp.float64, range_m: wp.float64, hits: Hits
):
    """Write down where ray i ended."""
    if i < origins.shape[0]:
        found = walk.state == FOUND
        metres = wp.where(found, walk.time * voxel_size_m, range_m)
        hits.state[i] = wp.uint8(walk.state)
        hits.unknown[i] = wp.uint8(walk.unknown)
        hits.distance_m[i] = metres
        hits.position[i] = origins[i] + walk.ray.direction * metres
        hits.voxel[i] = wp.where(found, walk.voxel + walk.ray.base, wp.vec3i(NOWHERE, NOWHERE, NOWHERE))


@wp.kernel
def cast_far(
    clearance: Clearance,
    origins: wp.array(dtype=wp.vec3d),
    directions: wp.array(dtype=wp.vec3d),
    voxel_size_m: wp.float64,
    range_m: wp.float64,
    limit: wp.float64,
    hits: Hits,
    first: int,
    stride: int,
):
    """First occupied voxel on each ray, two rays a thread and 32 threads an item.

    A leap is a long chain of operations that wait for one another: two rays side by side fill each other's gaps.
    `limit` is how far from the origin of the world a ray may begin, in voxels.
    """
    i = ((first + (wp.tid() >> 5) * stride) * 32 + (wp.tid() & 31)) * 2
    length = range_m / voxel_size_m
    a = begin(i, origins, directions, voxel_size_m, limit)
    b = begin(i + 1, origins, directions, voxel_size_m, limit)
    while a.state == ON_THE_WAY and b.state == ON_THE_WAY:
        a = advance(clearance, a, length)
        b = advance(clearance, b, length)
    while a.state == ON_THE_WAY:
        a = advance(clearance, a, length)
    while b.state == ON_THE_WAY:
        b = advance(clearance, b, length)
    put(i, a, origins, voxel_size_m, range_m, hits)
    put(i + 1, b, origins, voxel_size_m, range_m, hits)
