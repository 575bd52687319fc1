# mypy: ignore-errors
"""Kernels that do something to many bricks at once: claim, free, copy in and out, clear a box."""

import warp as wp

from embodmem.spatial.octree.kernels_pool import (
    CHANGED,
    EMPTY,
    FLIPPED,
    SEEN,
    Pool,
    Update,
    claim_slot,
    collapse,
    expand,
    find_slot,
    home,
    is_known,
    read_tick,
    read_voxel,
    release,
    unpack_key,
)

wp.set_module_options({"enable_backward": False})


@wp.kernel
def claim_keys(pool: Pool, keys: wp.array(dtype=wp.int64), slots: wp.array(dtype=wp.int32)):
    """Slots (N,) of distinct keys (N,), new ones where absent."""
    i = wp.tid()
    slots[i] = claim_slot(pool, keys[i])


@wp.kernel
def find_keys(pool: Pool, keys: wp.array(dtype=wp.int64), slots: wp.array(dtype=wp.int32)):
    """Slots (N,) of keys (N,), -1 where absent."""
    i = wp.tid()
    slots[i] = find_slot(pool, keys[i])


@wp.kernel
def expand_slots(pool: Pool, slots: wp.array(dtype=wp.int32)):
    """Give bricks blocks of their own, as long as there are any."""
    expand(pool, slots[wp.tid()])


@wp.kernel
def collapse_slots(pool: Pool, slots: wp.array(dtype=wp.int32)):
    """Give back the blocks of those bricks whose voxels are all alike."""
    collapse(pool, slots[wp.tid()])


@wp.kernel
def settle_rows(pool: Pool, update: Update, items: wp.array(dtype=wp.int32), rows: wp.array(dtype=wp.uint64)):
    """Tell bricks what happened to their rows: 64 results of `update_row` for each item, a slot or ~slot.

    A brick given as ~slot was observed as a whole: if it has become uniform by that, it gives its block back.
    """
    item = wp.tid()
    slot = items[item]
    happened = wp.uint64(0)  # stays so where an item is -1: there was no room for that brick
    for row in range(64):
        happened = happened | rows[item * 64 + row]
    whole = slot < 0
    if whole:
        slot = ~slot
    if (happened & wp.uint64(SEEN)) != wp.uint64(0):
        pool.last_seen[slot] = update.stamp_ns
        if (happened & wp.uint64(CHANGED)) != wp.uint64(0):
            pool.dirty[slot] = wp.uint8(1)
            pool.touched[slot] = pool.revision
            if (happened & wp.uint64(FLIPPED)) != wp.uint64(0):
                pool.flipped[slot] = pool.revision
        if whole:
            collapse(pool, slot)
    elif slot >= 0 and pool.last_seen[slot] < wp.int64(0):  # nothing was ever observed in it: it needs no block
        release(pool, slot)


@wp.kernel
def release_slots(pool: Pool, slots: wp.array(dtype=wp.int32)):
    """Give back the blocks of bricks that are about to be freed."""
    release(pool, slots[wp.tid()])


@wp.kernel
def read_bricks(
    pool: Pool,
    slots: wp.array(dtype=wp.int32),
    log_odds: wp.array2d(dtype=wp.float32),
    ticks: wp.array2d(dtype=wp.uint16),
):
    """Values and ticks (N, 512) of bricks, whole or uniform; 64 threads a brick."""
    thread = wp.tid()
    i, row = thread >> 6, thread & 63
    for j in range(row * 8, row * 8 + 8):
        log_odds[i, j] = read_voxel(pool, slots[i], j)
        ticks[i, j] = read_tick(pool, slots[i], j)


@wp.kernel
def write_bricks(
    pool: Pool,
    slots: wp.array(dtype=wp.int32),
    log_odds: wp.array2d(dtype=wp.float32),
    ticks: wp.array2d(dtype=wp.uint16),
):
    """Set values and ticks (N, 512) of bricks that have a block each, or of uniform ones; 64 threads a brick."""
    thread = wp.tid()
    i, row = thread >> 6, thread & 63
    block = pool.block[slots[i]]
    if block < 0:
        pool.value[slots[i]] = log_odds[i, 0]
        pool.seen[slots[i]] = ticks[i, 0]
        return
    for j in range(row * 8, row * 8 + 8):
        pool.log_odds[block, j] = log_odds[i, j]
        pool.ticks[block, j] = ticks[i, j]


@wp.kernel
def move_ticks(pool: Pool, shift: int):
    """Count the ticks of all voxels from a base that is later by `shift`; one row a thread."""
    thread = wp.tid()
    block, row = thread >> 6, thread & 63
    ticks = pool.seen_rows[block, row]
    for i in range(8):
        tick = wp.max(int(ticks[i]) - shift, 1)
        ticks[i] = wp.where(ticks[i] == wp.uint16(0), wp.uint16(0), wp.uint16(tick))
    pool.seen_rows[block, row] = ticks


@wp.kernel
def fill_table(pool: Pool):
    """Enter all used slots into an emptied table."""
    slot = wp.tid()
    size = pool.table_keys.shape[0]
    place = home(pool.keys[slot], size - 1)
    for _probe in range(size):
        if wp.atomic_cas(pool.table_keys, place, EMPTY, pool.keys[slot]) == EMPTY:
            pool.table_slots[place] = slot
            break
        place = (place + 1) & (size - 1)


@wp.kernel
def move_bricks(pool: Pool, sources: wp.array(dtype=wp.int32), targets: wp.array(dtype=wp.int32)):
    """Move bricks to other slots; their blocks stay where they are. No slot is both source and target."""
    i = wp.tid()
    source = sources[i]
    target = targets[i]
    pool.keys[target] = pool.keys[source]
    pool.last_seen[target] = pool.last_seen[source]
    pool.saved_seen[target] = pool.saved_seen[source]
    pool.dirty[target] = pool.dirty[source]
    pool.flipped[target] = pool.flipped[source]
    pool.touched[target] = pool.touched[source]
    pool.block[target] = pool.block[source]
    pool.value[target] = pool.value[source]
    pool.seen[target] = pool.seen[source]
    pool.low[target] = pool.low[source]
    pool.high[target] = pool.high[source]
    pool.holes[target] = pool.holes[source]


@wp.kernel
def clear_box(
    pool: Pool,
    slots: wp.array(dtype=wp.int32),
    lower: wp.vec3i,
    upper: wp.vec3i,
    removed: wp.array(dtype=wp.int32),
    left: wp.array(dtype=wp.int32),
):
    """Set the voxels lower <= index <= upper to unknown; count per brick what was known there and what stays."""
    thread = wp.tid()
    slot = slots[thread]
    brick = unpack_key(pool.keys[slot])
    block = pool.block[slot]
    gone, stay = wp.int32(0), wp.int32(0)
    for i in range(pool.log_odds.shape[1]):
        x, y, z = brick[0] * 8 + (i & 7), brick[1] * 8 + ((i >> 3) & 7), brick[2] * 8 + (i >> 6)
        if is_known(read_voxel(pool, slot, i)):
            inside = x >= lower[0] and y >= lower[1] and z >= lower[2]
            if inside and x <= upper[0] and y <= upper[1] and z <= upper[2]:
                gone += 1
                if block >= 0:
                    pool.log_odds[block, i] = wp.nan
                    pool.ticks[block, i] = wp.uint16(0)
            else:
                stay += 1
    if gone > 0:
        if block < 0:  # all of it is inside, or no block was free to keep the rest in
            gone += stay
            stay = 0
            pool.value[slot] = wp.nan
            pool.seen[slot] = wp.uint16(0)
        pool.dirty[slot] = wp.uint8(1)
        pool.flipped[slot] = pool.revision
        pool.touched[slot] = pool.revision
    removed[thread] = gone
    left[thread] = stay
