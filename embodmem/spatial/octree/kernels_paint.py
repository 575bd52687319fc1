# mypy: ignore-errors
"""Colours and labels of voxels, as Warp kernels: where points fall, what a view says of a voxel, what is shed.

A voxel bears a word of 32 bits each: a colour (red, green, blue, and of how many views they are the mean, 8 bits
each from the lowest up) and a label (16 bits, then margin and votes, 8 bits each); 0 is none. Only occupied voxels
bear any.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, Update, find_slot, floor_int, pack_key, row8, update_row
from embodmem.spatial.octree.kernels_rays import INDEX_LIMIT, brick_of, flat_index, floor3
from embodmem.spatial.octree.kernels_scan import RETURN, Scan, beam_of

wp.set_module_options({"enable_backward": False})

MOST_VIEWS = wp.constant(16)  # a colour is the mean over so many views; after that new ones weigh 1 / 16
MOST_VOTES = wp.constant(
    64
)  # at so many, votes and margin are halved: what is said now outweighs what was said long ago
NOTABLE = wp.constant(16)  # a brick whose colours change by less in a view is not written at once
BYTE = wp.constant(wp.uint32(0xFF))
NAME = wp.constant(wp.int64(0xFFFF))


@wp.func
def place_of(pool: Pool, voxel: wp.vec3i, nowhere: wp.int64, label: int) -> wp.int64:
    """What points are sorted by: the voxel (slot * 512 + its place in the brick) above the label's 16 bits.

    `nowhere` where the map has no voxels there.
    """
    brick = wp.vec3i(voxel[0] >> 3, voxel[1] >> 3, voxel[2] >> 3)
    slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
    if slot < 0:
        return nowhere
    if pool.block[slot] < 0:
        return nowhere
    return (wp.int64(slot * 512 + flat_index(voxel - brick * 8)) << wp.int64(16)) | wp.int64(label)


@wp.kernel
def place_pixels(
    pool: Pool,
    depth: wp.array(dtype=wp.float32),
    width: int,
    near_m: float,
    far_m: float,
    rays: wp.mat33,
    origin: wp.vec3,
    base: wp.vec3i,
    every: int,
    nudge_m: float,
    labels: wp.array(dtype=wp.uint16),
    nowhere: wp.int64,
    places: wp.array(dtype=wp.int64),
    pixels: wp.array(dtype=wp.int32),
    first: int,
    stride: int,
):
    """Where the points of the pixels fall that mark voxels (`kernels_depth.mark_points`); a line of them a thread."""
    item = first + wp.tid() * stride
    line = every // 2 + item * every
    columns = (width - every // 2 + every - 1) // every
    for i in range(columns):
        column = every // 2 + i * every
        pixel = line * width + column
        d = depth[pixel]
        place = nowhere
        if d >= near_m and d <= far_m:
            p = origin + rays * wp.vec3(float(column), float(line), 1.0) * (d + nudge_m)
            voxel = base + wp.vec3i(floor_int(p[0]), floor_int(p[1]), floor_int(p[2]))
            label = wp.int32(0)
            if labels.shape[0] > 0:
                label = wp.int32(labels[pixel])
            place = place_of(pool, voxel, nowhere, label)
        places[item * columns + i] = place
        pixels[item * columns + i] = pixel


@wp.kernel
def place_beams(
    pool: Pool,
    scan: Scan,
    labels: wp.array(dtype=wp.uint16),
    nowhere: wp.int64,
    places: wp.array(dtype=wp.int64),
    points: wp.array(dtype=wp.int32),
    first: int,
    stride: int,
):
    """Where the rays of a scan end that hit something."""
    i = first + wp.tid() * stride
    beam = beam_of(scan, i)
    place = nowhere
    if beam.kind == RETURN:
        label = wp.int32(0)
        if labels.shape[0] > 0:
            label = wp.int32(labels[i])
        place = place_of(pool, beam.end + scan.base, nowhere, label)
    places[i] = place
    points[i] = i


@wp.kernel
def apply_ends(
    pool: Pool,
    ends: wp.array2d(dtype=wp.uint8),
    slots: wp.array(dtype=wp.int32),
    hit: float,
    update: Update,
    results: wp.array(dtype=wp.uint64),
    first: int,
    stride: int,
):
    """A hit for each voxel in which points lie; 64 threads a brick, results (64 a brick) are those of `update_row`."""
    thread = wp.tid()
    item = first + (thread >> 6) * stride
    row = thread & 63
    change = row8()
    for i in range(8):
        change[i] = wp.where(ends[item, row * 8 + i] != wp.uint8(0), hit, 0.0)
    block = pool.block[slots[item]]
    results[item * 64 + row] = update_row(pool.rows, pool.seen_rows, block, row, change, update)


@wp.func
def blend(channel: wp.uint32, views: int, total: wp.int64, count: int) -> wp.uint32:
    """A channel's mean with one view more, whose own mean is total / count; rounded to the nearest, halves up."""
    whole = wp.int64(count) * wp.int64(views + 1)
    value = wp.int64(channel) * wp.int64(views) * wp.int64(count) + total
    return wp.uint32((value + whole / wp.int64(2)) / whole)


@wp.func
def mix(word: wp.uint32, red: wp.int64, green: wp.int64, blue: wp.int64, count: int) -> wp.uint32:
    """A colour after a view in which `count` points fell into the voxel."""
    views = wp.min(int(word >> wp.uint32(24)), MOST_VIEWS - 1)
    r = blend(word & BYTE, views, red, count)
    g = blend((word >> wp.uint32(8)) & BYTE, views, green, count)
    b = blend((word >> wp.uint32(16)) & BYTE, views, blue, count)
    return r | (g << wp.uint32(8)) | (b << wp.uint32(16)) | (wp.uint32(views + 1) << wp.uint32(24))


@wp.func
def vote(word: wp.uint32, label: int) -> wp.uint32:
    """A label after a vote: Boyer and Moore, MJRTY (1981; in Automated Reasoning, 1991), with votes that age."""
    name, margin, votes = int(word & wp.uint32(0xFFFF)), int((word >> wp.uint32(16)) & BYTE), int(word >> wp.uint32(24))
    if votes == MOST_VOTES and not (margin == votes and name == label):
        votes, margin = votes / 2, margin / 2
    votes = wp.min(votes + 1, MOST_VOTES)
    if name == label:
        margin = wp.min(margin + 1, MOST_VOTES)
    elif margin == 0:
        name, margin = label, 1
    else:
        margin -= 1
    return wp.uint32(name) | (wp.uint32(margin) << wp.uint32(16)) | (wp.uint32(votes) << wp.uint32(24))


@wp.func
def notable(before: wp.uint32, after: wp.uint32) -> bool:
    """Whether a colour is new, or a channel of it changed by much."""
    far = wp.int32(0)
    for i in range(3):
        shift = wp.uint32(8 * i)
        far = wp.max(far, wp.abs(int((after >> shift) & BYTE) - int((before >> shift) & BYTE)))
    return before == wp.uint32(0) or far >= NOTABLE


@wp.kernel
def paint_runs(
    pool: Pool,
    places: wp.array(dtype=wp.int64),
    points: wp.array(dtype=wp.int32),
    count: int,
    nowhere: wp.int64,
    colours: wp.array(dtype=wp.uint8),
    first: int,
    stride: int,
):
    """Paint each occupied voxel once with the points that fell into it: their mean colour and most frequent label.

    `places` is sorted, so that the points of a voxel follow each other, and among them those of a label; of equally
    frequent labels the lowest counts. The thread of a voxel's first point does its work.
    """
    i = first + wp.tid() * stride
    here = places[i]
    if here >= nowhere:
        return
    voxel = here >> wp.int64(16)
    if i > 0 and (places[wp.max(i - 1, 0)] >> wp.int64(16)) == voxel:
        return
    slot, index = int(voxel >> wp.int64(9)), int(voxel & wp.int64(511))
    block = pool.block[slot]
    if not (pool.log_odds[block, index] > pool.occupied):
        return
    red, green, blue = wp.int64(0), wp.int64(0), wp.int64(0)
    label, run, best, most = wp.int32(-1), wp.int32(0), wp.int32(0), wp.int32(0)
    j = wp.int32(i)
    while j < count and (places[j] >> wp.int64(16)) == voxel:  # the sort's buffer is longer than count
        name = int(places[j] & NAME)
        run = wp.where(name == label, run + 1, 1)
        label = name
        if name != 0 and run > most:
            best, most = name, run
        if colours.shape[0] > 0:
            at = 3 * points[j]
            red += wp.int64(colours[at])
            green += wp.int64(colours[at + 1])
            blue += wp.int64(colours[at + 2])
        j += 1
    if colours.shape[0] > 0 and pool.colours.shape[0] > 0:
        before = pool.colours[block, index]
        after = mix(before, red, green, blue, j - i)
        pool.colours[block, index] = after
        if notable(before, after):
            pool.dirty[slot] = wp.uint8(1)
    if most > 0 and pool.labels.shape[0] > 0:
        before = pool.labels[block, index]
        after = vote(before, best)
        pool.labels[block, index] = after
        if ((before ^ after) & wp.uint32(0xFFFF)) != wp.uint32(0):
            pool.dirty[slot] = wp.uint8(1)


@wp.func
def strip(pool: Pool, block: int, index: int):
    """Take colour and label off a voxel."""
    if pool.colours.shape[0] > 0:
        pool.colours[block, index] = wp.uint32(0)
    if pool.labels.shape[0] > 0:
        pool.labels[block, index] = wp.uint32(0)


@wp.kernel
def shed_rows(pool: Pool, items: wp.array(dtype=wp.int32), rows: wp.array(dtype=wp.uint64)):
    """Strip the voxels that an observation made free, by the results of `update_row`; 64 threads a brick."""
    thread = wp.tid()
    vanished = int((rows[thread] >> wp.uint64(8)) & wp.uint64(0xFF))
    if vanished != 0:
        slot = items[thread >> 6]
        block = pool.block[wp.where(slot < 0, ~slot, slot)]
        for i in range(8):
            if ((vanished >> i) & 1) != 0 and block >= 0:
                strip(pool, block, (thread & 63) * 8 + i)


@wp.kernel
def shed_slots(pool: Pool, slots: wp.array(dtype=wp.int32)):
    """Strip all voxels of bricks that are not occupied; 64 threads a brick."""
    thread = wp.tid()
    block = pool.block[slots[thread >> 6]]
    if block >= 0:
        for index in range((thread & 63) * 8, (thread & 63) * 8 + 8):
            if not (pool.log_odds[block, index] > pool.occupied):
                strip(pool, block, index)


@wp.kernel
def drop_label(pool: Pool, slots: wp.array(dtype=wp.int32), label: int, dropped: wp.array(dtype=wp.int32)):
    """Take a label off all voxels that bear it, and count them; a brick a thread."""
    i = wp.tid()
    block = pool.block[slots[i]]
    count = wp.int32(0)
    if block >= 0:
        for index in range(512):
            if int(pool.labels[block, index] & wp.uint32(0xFFFF)) == label:
                pool.labels[block, index] = wp.uint32(0)
                count += 1
    if count > 0:
        pool.dirty[slots[i]] = wp.uint8(1)
    dropped[i] = count


@wp.kernel
def read_paint(
    pool: Pool,
    slots: wp.array(dtype=wp.int32),
    colours: wp.array2d(dtype=wp.uint32),
    labels: wp.array2d(dtype=wp.uint32),
):
    """Words (N, 512) of bricks, 0 where a brick has no block or is none (-1); 64 threads a brick."""
    thread = wp.tid()
    i, row = thread >> 6, thread & 63
    slot = slots[i]
    if slot >= 0:
        block = pool.block[slot]
        if block >= 0:
            for j in range(row * 8, row * 8 + 8):
                if colours.shape[0] > 0:
                    colours[i, j] = pool.colours[block, j]
                if labels.shape[0] > 0:
                    labels[i, j] = pool.labels[block, j]


@wp.kernel
def write_paint(
    pool: Pool,
    slots: wp.array(dtype=wp.int32),
    colours: wp.array2d(dtype=wp.uint32),
    labels: wp.array2d(dtype=wp.uint32),
):
    """Set words (N, 512) of bricks that have a block; 64 threads a brick."""
    thread = wp.tid()
    i, row = thread >> 6, thread & 63
    block = pool.block[slots[i]]
    if block >= 0:
        for j in range(row * 8, row * 8 + 8):
            if colours.shape[0] > 0:
                pool.colours[block, j] = colours[i, j]
            if labels.shape[0] > 0:
                pool.labels[block, j] = labels[i, j]


@wp.kernel
def read_points(
    pool: Pool,
    points: wp.array(dtype=wp.vec3d),
    voxel_size_m: wp.float64,
    colours: wp.array(dtype=wp.uint32),
    labels: wp.array(dtype=wp.uint32),
    first: int,
    stride: int,
):
    """Words (N,) at points (N,) of the world; 0 where there is none."""
    i = first + wp.tid() * stride
    p = points[i] / voxel_size_m
    colour, label = wp.uint32(0), wp.uint32(0)
    if wp.max(wp.abs(p[0]), wp.max(wp.abs(p[1]), wp.abs(p[2]))) < INDEX_LIMIT:
        voxel = floor3(p)
        brick = brick_of(voxel, wp.vec3i(0, 0, 0))
        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        if slot >= 0:
            block = pool.block[slot]
            if block >= 0:
                index = flat_index(voxel - brick * 8)
                if pool.colours.shape[0] > 0:
                    colour = pool.colours[block, index]
                if pool.labels.shape[0] > 0:
                    label = pool.labels[block, index]
    colours[i] = colour
    labels[i] = label
