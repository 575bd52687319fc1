# mypy: ignore-errors
"""The brick pool as Warp sees it: a struct of arrays, its hash table, and the kernels that look bricks up.

The functions of the kernel files are Warp's language, not Python's: Warp reads the annotations and checks the types
when it compiles them for CPU or CUDA. So mypy passes over these files, ``from __future__ import annotations`` is
missing on purpose, and ``wp.int32(0)`` makes a variable that a loop may change where ``0`` is a constant.
"""

import warp as wp

from embodmem.spatial.octree.keys import BRICK_LIMIT

wp.set_module_options({"enable_backward": False})

EMPTY = wp.constant(wp.int64(-1))
LIMIT = wp.constant(BRICK_LIMIT)
FIELD = wp.constant(wp.int64((1 << 21) - 1))
GOLDEN = wp.constant(wp.uint64(0x9E3779B97F4A7C15))  # 2**64 / golden ratio: Knuth, TAOCP vol. 3, section 6.4

row8 = wp.types.vector(length=8, dtype=wp.float32)


@wp.struct
class Pool:
    """One brick a slot; the first `counters[0]` slots are in use."""

    table_keys: wp.array(dtype=wp.int64)  # hash table, open addressing; EMPTY = vacant
    table_slots: wp.array(dtype=wp.int32)
    keys: wp.array(dtype=wp.int64)  # (capacity,)
    rows: wp.array2d(dtype=row8)  # (capacity, 64) rows of 8 log-odds along x; NaN = never observed
    log_odds: wp.array2d(dtype=wp.float32)  # (capacity, 512): the same memory
    last_seen: wp.array(dtype=wp.int64)  # ns; -1 = taken but nothing in it observed yet
    dirty: wp.array(dtype=wp.uint8)  # 0 as saved, 1 changed, 2 being saved
    flipped: wp.array(dtype=wp.int32)  # revision at which a voxel last became occupied, free or unknown
    counters: wp.array(dtype=wp.int32)  # slots in use, bricks refused because the pool was full
    revision: wp.int32  # counts the calls that may change the map
    occupied: float  # log-odds above which a voxel is occupied


@wp.func
def pack_key(x: int, y: int, z: int) -> wp.int64:
    """Key of a brick, EMPTY outside the map."""
    if x < -LIMIT or x >= LIMIT or y < -LIMIT or y >= LIMIT or z < -LIMIT or z >= LIMIT:
        return EMPTY
    high = (wp.int64(x + LIMIT) << wp.int64(42)) | (wp.int64(y + LIMIT) << wp.int64(21))
    return high | wp.int64(z + LIMIT)


@wp.func
def unpack_key(key: wp.int64) -> wp.vec3i:
    """Brick indices of a key."""
    x = wp.int32(key >> wp.int64(42)) - LIMIT
    y = wp.int32((key >> wp.int64(21)) & FIELD) - LIMIT
    return wp.vec3i(x, y, wp.int32(key & FIELD) - LIMIT)


@wp.func
def home(key: wp.int64, mask: int) -> int:
    """First place of the table to look at."""
    return wp.int32((wp.uint64(key) * GOLDEN) >> wp.uint64(33)) & mask


@wp.func
def find_slot(pool: Pool, key: wp.int64) -> int:
    """Slot of a brick, or -1."""
    if key == EMPTY:
        return -1
    size = pool.table_keys.shape[0]
    place = home(key, size - 1)
    for _probe in range(size):
        found = pool.table_keys[place]
        if found == key:
            return pool.table_slots[place]
        if found == EMPTY:
            return -1
        place = (place + 1) & (size - 1)
    return -1


@wp.func
def claim_slot(pool: Pool, key: wp.int64) -> int:
    """Slot of a brick, a new one of all unknown voxels where it is absent; -1 where the pool is full."""
    if key == EMPTY:
        return -1
    size = pool.table_keys.shape[0]
    place = home(key, size - 1)
    for _probe in range(size):
        found = pool.table_keys[place]
        if found == EMPTY:
            if pool.counters[0] >= pool.keys.shape[0]:
                wp.atomic_add(pool.counters, 1, 1)
                return -1
            found = wp.atomic_cas(pool.table_keys, place, EMPTY, key)
            if found == EMPTY:
                slot = wp.atomic_add(pool.counters, 0, 1)
                if slot >= pool.keys.shape[0]:  # CUDA only: many threads took the last slot; the host mends it
                    wp.atomic_add(pool.counters, 1, 1)
                    pool.table_slots[place] = -1
                    return -1
                pool.keys[slot] = key
                pool.last_seen[slot] = wp.int64(-1)
                pool.dirty[slot] = wp.uint8(0)
                pool.flipped[slot] = pool.revision
                for i in range(pool.log_odds.shape[1]):
                    pool.log_odds[slot, i] = wp.nan
                pool.table_slots[place] = slot
                return slot
        if found == key:
            return pool.table_slots[place]
        place = (place + 1) & (size - 1)
    return -1


@wp.func
def is_known(value: float) -> bool:
    """Whether log-odds are not NaN; `wp.isnan` is a call out of the kernel on a CPU."""
    return value == value


@wp.func
def read_voxel(pool: Pool, slot: int, index: int) -> float:
    """Log-odds of a voxel of a brick, NaN where unknown."""
    return pool.log_odds[slot, index]


@wp.func
def add_to_row(pool: Pool, slot: int, row: int, change: row8, clamp: wp.vec2, stamp_ns: wp.int64):
    """Add to the log-odds of a row, clamped; 0 leaves a voxel as it is. The brick is dirty only if a value differs.

    Log-odds update with clamping: Hornung et al., Autonomous Robots 2013, eq. 2 and 4.
    """
    old = pool.rows[slot, row]
    new = old
    seen, same, flips = wp.int32(0), wp.int32(0), wp.int32(0)
    for i in range(8):
        before = wp.where(is_known(old[i]), old[i], 0.0)
        after = wp.max(wp.min(before + change[i], clamp[1]), clamp[0])
        new[i] = wp.where(change[i] == 0.0, old[i], after)
        seen += wp.where(change[i] == 0.0, 0, 1)
        same += wp.where(change[i] == 0.0 or old[i] == after, 1, 0)
        flips += wp.where(
            (old[i] > pool.occupied) != (new[i] > pool.occupied) or is_known(old[i]) != is_known(new[i]), 1, 0
        )
    if seen > 0:
        pool.last_seen[slot] = stamp_ns
        if same < 8:
            pool.rows[slot, row] = new
            pool.dirty[slot] = wp.uint8(1)
            if flips > 0:
                pool.flipped[slot] = pool.revision


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
    """Copy bricks between slots; no slot is both source and target."""
    i = wp.tid()
    source = sources[i]
    target = targets[i]
    pool.keys[target] = pool.keys[source]
    pool.last_seen[target] = pool.last_seen[source]
    pool.dirty[target] = pool.dirty[source]
    pool.flipped[target] = pool.flipped[source]
    for row in range(pool.rows.shape[1]):
        pool.rows[target, row] = pool.rows[source, row]


@wp.kernel
def clear_box(
    pool: Pool,
    lower: wp.vec3i,
    upper: wp.vec3i,
    removed: wp.array(dtype=wp.int32),
    left: wp.array(dtype=wp.int32),
):
    """Set the voxels lower <= index <= upper to unknown; count per brick what was known there and what stays."""
    slot = wp.tid()
    brick = unpack_key(pool.keys[slot])
    gone, stay = wp.int32(0), wp.int32(0)
    for i in range(pool.log_odds.shape[1]):
        x, y, z = brick[0] * 8 + (i & 7), brick[1] * 8 + ((i >> 3) & 7), brick[2] * 8 + (i >> 6)
        if is_known(pool.log_odds[slot, i]):
            inside = x >= lower[0] and y >= lower[1] and z >= lower[2]
            if inside and x <= upper[0] and y <= upper[1] and z <= upper[2]:
                pool.log_odds[slot, i] = wp.nan
                gone += 1
            else:
                stay += 1
    if gone > 0:
        pool.dirty[slot] = wp.uint8(1)
        pool.flipped[slot] = pool.revision
    removed[slot] = gone
    left[slot] = stay
