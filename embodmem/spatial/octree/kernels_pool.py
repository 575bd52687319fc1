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
SEEN = wp.constant(1 << 32)  # a voxel of the row was observed
CHANGED = wp.constant(1 << 33)  # a value differs from before
FLIPPED = wp.constant(1 << 34)  # a voxel became occupied, free or unknown
seen8 = wp.types.vector(length=8, dtype=wp.uint16)


@wp.struct
class Pool:
    """One brick a slot; the first `counters[0]` slots are in use.

    A brick whose voxels are all alike has no block: `value` and `seen` say what each of them holds. Else they stand
    in a block, one of a fixed number; the first `counters[2]` of `free_blocks` are free.
    """

    table_keys: wp.array(dtype=wp.int64)  # hash table, open addressing; EMPTY = vacant
    table_slots: wp.array(dtype=wp.int32)
    keys: wp.array(dtype=wp.int64)  # (slots,)
    last_seen: wp.array(dtype=wp.int64)  # ns; -1 = taken but nothing in it observed yet
    saved_seen: wp.array(dtype=wp.int64)  # last_seen when the brick was last given out to be saved
    dirty: wp.array(dtype=wp.uint8)  # 0 as saved, 1 changed, 2 being saved
    flipped: wp.array(dtype=wp.int32)  # revision at which a voxel last became occupied, free or unknown
    touched: wp.array(dtype=wp.int32)  # revision at which a value last changed
    block: wp.array(dtype=wp.int32)  # -1 = uniform
    value: wp.array(dtype=wp.float32)  # log-odds of a uniform brick; NaN = never observed
    seen: wp.array(dtype=wp.uint16)  # tick at which a uniform brick was last observed; 0 = never
    low: wp.array(dtype=wp.float32)  # lowest and highest log-odds in the brick, as of the last summary
    high: wp.array(dtype=wp.float32)
    holes: wp.array(dtype=wp.uint8)  # whether a voxel of it is unknown, as of then
    rows: wp.array2d(dtype=row8)  # (blocks, 64) rows of 8 log-odds along x; NaN = never observed
    seen_rows: wp.array2d(dtype=seen8)  # (blocks, 64) ticks at which each voxel was last observed; 0 = never
    log_odds: wp.array2d(dtype=wp.float32)  # (blocks, 512): the memory of rows
    ticks: wp.array2d(dtype=wp.uint16)  # (blocks, 512): the memory of seen_rows
    colours: wp.array2d(dtype=wp.uint32)  # (blocks, 512), or (0, 512) where no colours are kept; see kernels_paint
    labels: wp.array2d(dtype=wp.uint32)  # (blocks, 512), or (0, 512) where no labels are kept
    free_blocks: wp.array(dtype=wp.int32)
    counters: wp.array(dtype=wp.int32)  # slots in use, bricks refused because the pool was full, free blocks
    revision: wp.int32  # counts the calls that may change the map
    occupied: float  # log-odds above which a voxel is occupied


@wp.struct
class Update:
    """When an observation was made, and what log-odds are held within."""

    lowest: float
    highest: float
    occupied: float  # above this a voxel is occupied
    stamp_ns: wp.int64
    tick: wp.uint16  # the same time in the unit of single voxels


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
def floor_int(x: float) -> int:
    """floor(x); `wp.floor` is a call out of the kernel on a CPU."""
    whole = int(x)
    return whole - wp.where(x < float(whole), 1, 0)


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
                pool.saved_seen[slot] = wp.int64(-1)
                pool.dirty[slot] = wp.uint8(0)
                pool.flipped[slot] = pool.revision
                pool.touched[slot] = pool.revision
                pool.block[slot] = -1
                pool.value[slot] = wp.nan
                pool.seen[slot] = wp.uint16(0)
                pool.table_slots[place] = slot
                return slot
        if found == key:
            return pool.table_slots[place]
        place = (place + 1) & (size - 1)
    return -1


@wp.func
def expand(pool: Pool, slot: int) -> bool:
    """Give a uniform brick a block of its own; False where none is free."""
    if pool.block[slot] >= 0:
        return True
    top = wp.atomic_sub(pool.counters, 2, 1) - 1
    if top < 0:
        wp.atomic_add(pool.counters, 2, 1)
        wp.atomic_add(pool.counters, 1, 1)
        return False
    block = pool.free_blocks[top]
    values = row8()
    ticks = seen8()
    for i in range(8):
        values[i] = pool.value[slot]
        ticks[i] = pool.seen[slot]
    for row in range(pool.rows.shape[1]):
        pool.rows[block, row] = values
        pool.seen_rows[block, row] = ticks
    for i in range(pool.colours.shape[1] * wp.min(pool.colours.shape[0], 1)):
        pool.colours[block, i] = wp.uint32(0)
    for i in range(pool.labels.shape[1] * wp.min(pool.labels.shape[0], 1)):
        pool.labels[block, i] = wp.uint32(0)
    pool.block[slot] = block
    return True


@wp.func
def is_known(value: float) -> bool:
    """Whether log-odds are not NaN; `wp.isnan` is a call out of the kernel on a CPU."""
    return value == value


@wp.func
def read_voxel(pool: Pool, slot: int, index: int) -> float:
    """Log-odds of a voxel of a brick, NaN where unknown."""
    block = pool.block[slot]
    if block < 0:
        return pool.value[slot]
    return pool.log_odds[block, index]


@wp.func
def read_tick(pool: Pool, slot: int, index: int) -> wp.uint16:
    """Tick at which a voxel was last observed, 0 where never."""
    block = pool.block[slot]
    if block < 0:
        return pool.seen[slot]
    return pool.ticks[block, index]


@wp.func
def differ(before: float, after: float, occupied: float) -> bool:
    """Whether a voxel is in another of the states occupied, free and unknown."""
    return (before > occupied) != (after > occupied) or is_known(before) != is_known(after)


# What is done alike to the eight voxels of a row is a loop of C++ that runs on CUDA as it stands, and that this makes a
# CPU do for all eight at once. Warp's own loops are unrolled first, of which LLVM makes lanes of four at best, and its
# min and max mind NaN with four more operations each.
LANES = """
#if defined(__clang__) && !defined(__CUDACC__)
#pragma clang loop unroll(disable) vectorize(enable) vectorize_width(8)
#endif
"""
_UPDATE_ROW = f"""
    float* values = &rows.data[size_t(block) * 64 + row].c[0];
    wp::uint16* ticks = &seen_rows.data[size_t(block) * 64 + row].c[0];
    const float sure = 0.5f * update.lowest;
    float fresh[8];
    unsigned happened = 0, masks = 0;
    {LANES}
    for (int i = 0; i < 8; ++i) {{
        const float old = values[i], add = change.c[i];
        const bool observed = add != 0.0f, known = old == old;
        float after = (known ? old : 0.0f) + add;
        after = after < update.highest ? after : update.highest;
        after = after > update.lowest ? after : update.lowest;
        fresh[i] = observed ? after : old;
        const unsigned seen = observed ? 1u : 0u, changed = (observed & (after != old)) ? 2u : 0u;
        const unsigned was = old > update.occupied ? 1u : 0u, now = fresh[i] > update.occupied ? 1u : 0u;
        const unsigned lower = fresh[i] < old ? 1u : 0u, higher = fresh[i] > old ? 1u : 0u;
        const unsigned flips = (was ^ now) | ((observed & !known) ? 1u : 0u);
        const unsigned mask = (now & ~was & (known ? 1u : 0u)) | (was & ~now) << 8 | (was & lower) << 16
            | ((old <= sure ? 1u : 0u) & higher) << 24;
        happened |= seen | changed | flips << 2;
        masks |= mask << i;
    }}
    if (happened & 1u) {{
        const wp::uint16 tick = update.tick;
        {LANES}
        for (int i = 0; i < 8; ++i) {{
            const wp::uint16 before = ticks[i];
            ticks[i] = change.c[i] != 0.0f ? tick : before;
        }}
        if (happened & 2u) {{
            {LANES}
            for (int i = 0; i < 8; ++i) values[i] = fresh[i];
        }} else {{
            happened &= 1u, masks = 0;
        }}
    }}
    return wp::uint64(happened) << 32 | masks;
"""


@wp.func_native(_UPDATE_ROW)
def update_row(
    rows: wp.array2d(dtype=row8),
    seen_rows: wp.array2d(dtype=seen8),
    block: int,
    row: int,
    change: row8,
    update: Update,
) -> wp.uint64:
    """Add to the log-odds of a row, clamped; 0 leaves a voxel as it is.

    Log-odds update with clamping: Hornung et al., Autonomous Robots 2013, eq. 2 and 4. Returns what happened, from the
    lowest bits up: four masks of 8 voxels (free before and occupied now; occupied before and free now; occupied
    before and seen through; surely free before, that is at half the lowest log-odds or below, and a surface now), then
    SEEN, CHANGED and FLIPPED.
    """
    ...


@wp.func
def add_to_all(pool: Pool, slot: int, change: float, update: Update):
    """Add to the log-odds of all voxels of a uniform brick, as `update_row` does."""
    old = pool.value[slot]
    before = wp.where(is_known(old), old, 0.0)
    after = wp.max(wp.min(before + change, update.highest), update.lowest)
    pool.last_seen[slot] = update.stamp_ns
    pool.seen[slot] = update.tick
    if old != after:
        pool.value[slot] = after
        pool.dirty[slot] = wp.uint8(1)
        pool.touched[slot] = pool.revision
        if differ(old, after, update.occupied):
            pool.flipped[slot] = pool.revision


@wp.func
def release(pool: Pool, slot: int):
    """Give a brick's block back; what stood in it is gone."""
    block = pool.block[slot]
    if block >= 0:
        pool.free_blocks[wp.atomic_add(pool.counters, 2, 1)] = block
        pool.block[slot] = -1


@wp.func
def has_paint(pool: Pool, block: int) -> bool:
    """Whether a voxel of a block has a colour or a label."""
    found = wp.uint32(0)
    for i in range(pool.colours.shape[1] * wp.min(pool.colours.shape[0], 1)):
        found = found | pool.colours[block, i]
    for i in range(pool.labels.shape[1] * wp.min(pool.labels.shape[0], 1)):
        found = found | pool.labels[block, i]
    return found != wp.uint32(0)


@wp.func
def collapse(pool: Pool, slot: int) -> bool:
    """Give a brick's block back where all its voxels hold the same value and were last seen at the same time.

    A brick that is occupied throughout keeps it as long as one of them has a colour or a label.
    """
    block = pool.block[slot]
    if block < 0:
        return False
    value, tick = pool.log_odds[block, 0], pool.ticks[block, 0]
    for row in range(pool.rows.shape[1]):
        values = pool.rows[block, row]
        ticks = pool.seen_rows[block, row]
        alike = wp.int32(0)
        for i in range(8):
            equal = values[i] == value or not (is_known(values[i]) or is_known(value))
            alike += wp.where(equal and ticks[i] == tick, 1, 0)
        if alike < 8:
            return False
    if value > pool.occupied and has_paint(pool, block):
        return False
    pool.value[slot] = value
    pool.seen[slot] = tick
    release(pool, slot)
    return True
