# mypy: ignore-errors
"""The distance field as Warp sees it: bricks of three layers, and the kernels that bring them up to date.

Squared distance is a sum over the axes, so it is taken one axis after another (Felzenszwalb and Huttenlocher, Theory
of Computing 2012, section 3). Layer x: offset to the nearest obstacle along x. Layer y: the least of x*x + y*y over
the column along y. Layer z: the least of those plus z*z, the field. Nothing beyond the radius counts, so each least is
taken over a window, for eight voxels along x and eight rows at once. Layers are kept: a layer is taken anew only
where the one below it changed within the window, so what is kept up to date is the same as what is made from nothing.

A layer y or z entry is `squared << 8 | offset + 128`: the least of them is the nearest, and of equals the one with
the lowest offset, whatever the order of the work.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import EMPTY, Pool, find_slot, home, pack_key, read_voxel, unpack_key

wp.set_module_options({"enable_backward": False})

int8x8 = wp.types.vector(length=8, dtype=wp.int8)
int32x8 = wp.types.vector(length=8, dtype=wp.int32)

NONE_X = wp.constant(127)
"""No obstacle along x; its square is beyond every radius."""
FAR = wp.constant(1 << 29)
"""No obstacle within the radius, in layers y and z."""
HERE = wp.constant(128)
"""An obstacle in the voxel itself, in layers y and z."""
OWN, OTHERS, ACT = wp.constant(1), wp.constant(2), wp.constant(4)
"""What a kernel that may claim bricks does: claim its own, claim those it reaches, act on them. On a CPU, one thread
does all at once; on a GPU each takes a launch of its own, since a brick that another thread is claiming has no slot
to act on yet."""
ALL = wp.constant(wp.uint64(0xFFFFFFFFFFFFFFFF))


@wp.struct
class Field:
    """One brick a slot. A brick that is absent is what `claim_field` fills in: all free, or all occupied if `solid`."""

    table_keys: wp.array(dtype=wp.int64)  # hash table, open addressing; EMPTY = vacant
    table_slots: wp.array(dtype=wp.int32)
    keys: wp.array(dtype=wp.int64)  # (capacity,)
    bits: wp.array2d(dtype=wp.uint64)  # (capacity, 8): a layer in z; bit y * 8 + x is an obstacle
    layer_x: wp.array2d(dtype=int8x8)  # (capacity, 64) rows of 8 along x
    layer_y: wp.array2d(dtype=int32x8)
    layer_z: wp.array2d(dtype=int32x8)
    finite_x: wp.array2d(dtype=wp.uint8)  # (capacity, 8): bit y of byte z, whether anything in the row is within reach
    finite_y: wp.array2d(dtype=wp.uint8)
    touched: wp.array2d(dtype=wp.uint8)  # (capacity, 8): what the next pass has to take anew
    changed: wp.array2d(dtype=wp.uint8)  # (capacity, 8): bit y of byte z, rows that the last pass changed
    queued: wp.array(dtype=wp.int32)  # the last stage of which a brick was an item
    counters: wp.array(dtype=wp.int32)  # slots in use, bricks refused, items of the next pass
    first_bit: wp.array(dtype=wp.int32)  # (256,) lowest and highest bit of a byte
    last_bit: wp.array(dtype=wp.int32)
    stage: wp.int32  # counts the passes
    reach: wp.int32  # bricks that the radius reaches over
    radius: wp.int32  # whole voxels in the radius
    squared: wp.int32  # squared distances up to this count
    solid: wp.int32  # whether unknown is occupied
    occupied: float  # log-odds above which a voxel is occupied


@wp.func
def find_field(field: Field, key: wp.int64) -> int:
    """Slot of a brick, or -1."""
    if key == EMPTY:
        return -1
    size = field.table_keys.shape[0]
    place = home(key, size - 1)
    for _probe in range(size):
        found = field.table_keys[place]
        if found == key:
            return field.table_slots[place]
        if found == EMPTY:
            return -1
        place = (place + 1) & (size - 1)
    return -1


@wp.func
def claim_field(field: Field, key: wp.int64) -> int:
    """Slot of a brick, a new one where it is absent; -1, and a refusal counted, where there is no room."""
    if key == EMPTY:
        return -1
    size = field.table_keys.shape[0]
    place = home(key, size - 1)
    for _probe in range(size):
        found = field.table_keys[place]
        if found == EMPTY:
            if field.counters[0] >= field.keys.shape[0]:
                wp.atomic_add(field.counters, 1, 1)
                return -1
            found = wp.atomic_cas(field.table_keys, place, EMPTY, key)
            if found == EMPTY:
                slot = wp.atomic_add(field.counters, 0, 1)
                if slot >= field.keys.shape[0]:  # many threads of a GPU took the last one; the field is made anew
                    wp.atomic_add(field.counters, 1, 1)
                    field.table_slots[place] = -1
                    return -1
                clear_brick(field, slot, key)
                field.table_slots[place] = slot
                return slot
        if found == key:
            return field.table_slots[place]
        place = (place + 1) & (size - 1)
    return -1


@wp.func
def clear_brick(field: Field, slot: int, key: wp.int64):
    """What a brick is before anything was found out about it."""
    field.keys[slot] = key
    field.queued[slot] = 0
    solid = field.solid != 0
    for z in range(8):
        field.bits[slot, z] = wp.where(solid, ALL, wp.uint64(0))
        field.finite_x[slot, z] = wp.where(solid, wp.uint8(255), wp.uint8(0))
        field.finite_y[slot, z] = wp.where(solid, wp.uint8(255), wp.uint8(0))
        field.touched[slot, z] = wp.uint8(0)
        field.changed[slot, z] = wp.uint8(0)
    row_x = int8x8(wp.where(solid, wp.int8(0), wp.int8(NONE_X)))
    row = int32x8(wp.where(solid, HERE, FAR))
    for i in range(64):
        field.layer_x[slot, i] = row_x
        field.layer_y[slot, i] = row
        field.layer_z[slot, i] = row


@wp.func
def neighbour_key(key: wp.int64, axis: int, k: int) -> wp.int64:
    """Key of the brick k bricks further along an axis."""
    b = unpack_key(key)
    b[axis] = b[axis] + k
    return pack_key(b[0], b[1], b[2])


@wp.func
def touch(field: Field, key: wp.int64, flags: int, items: wp.array(dtype=wp.int32), phases: int):
    """Have the next pass take the parts in `flags` (8 bits) of a brick anew; it is made where it is absent."""
    slot = find_field(field, key)
    if slot < 0 and field.solid == 0 and (phases & OTHERS) != 0:  # where unknown is occupied, absent stays solid
        slot = claim_field(field, key)
    if slot < 0 or (phases & ACT) == 0:
        return
    for part in range(8):
        if ((flags >> part) & 1) != 0:
            field.touched[slot, part] = wp.uint8(1)
    if wp.atomic_exch(field.queued, slot, field.stage) != field.stage:
        items[wp.atomic_add(field.counters, 2, 1)] = slot


@wp.func
def within(field: Field, k: int) -> int:
    """Bits of the layers 0..7 of a brick, along an axis, from which the radius reaches the brick k further on."""
    low = wp.max(8 * k - field.radius, 0)
    high = wp.min(7 + 8 * k + field.radius, 7)
    return wp.where(high < low, 0, ((1 << (high + 1)) - 1) & ~((1 << low) - 1))


@wp.kernel
def find_gone(pool: Pool, field: Field, gone: wp.array(dtype=wp.uint8), first: int, stride: int):
    """Whether a brick of the field holds what an absent one would not, and is not in the map any more."""
    slot = first + wp.tid() * stride
    differs = wp.bool(False)
    for z in range(8):
        if field.bits[slot, z] != wp.where(field.solid != 0, ALL, wp.uint64(0)):
            differs = True
    gone[slot] = wp.uint8(0)
    if differs and find_slot(pool, field.keys[slot]) < 0:
        gone[slot] = wp.uint8(1)


@wp.kernel
def read_obstacles(
    pool: Pool,
    field: Field,
    keys: wp.array(dtype=wp.int64),
    words: wp.array2d(dtype=wp.uint64),
    first: int,
    stride: int,
):
    """Bit maps (N, 8) of the obstacles in bricks of the map; a layer in z a thread."""
    thread = wp.tid()
    i = first + (thread >> 3) * stride
    z = thread & 7
    word = wp.where(field.solid != 0, ALL, wp.uint64(0))
    slot = find_slot(pool, keys[i])
    if slot >= 0:
        word = wp.uint64(0)
        for j in range(64):
            value = read_voxel(pool, slot, z * 64 + j)
            found = value > field.occupied  # never so for NaN
            if field.solid != 0:
                found = not (value <= field.occupied)
            if found:
                word = word | (wp.uint64(1) << wp.uint64(j))
    words[i, z] = word


@wp.kernel
def enter_obstacles(
    field: Field,
    keys: wp.array(dtype=wp.int64),
    words: wp.array2d(dtype=wp.uint64),
    items: wp.array(dtype=wp.int32),
    phases: int,
):
    """Compare bit maps (N, 8) with what is known, keep them, and touch what the differences can reach along x."""
    i = wp.tid()
    absent = wp.where(field.solid != 0, ALL, wp.uint64(0))
    slot = find_field(field, keys[i])
    if slot < 0:
        some = wp.bool(False)
        for z in range(8):
            if words[i, z] != absent:
                some = True
        if not some or (phases & OWN) == 0:
            return
        slot = claim_field(field, keys[i])
    if slot < 0 or (phases & (OTHERS | ACT)) == 0:
        return
    layers = wp.int32(0)
    columns = wp.int32(0)  # bits of x in which something differs
    for z in range(8):
        difference = field.bits[slot, z] ^ words[i, z]
        if difference != wp.uint64(0):
            if (phases & ACT) != 0:
                field.bits[slot, z] = words[i, z]
            layers = layers | (1 << z)
            for y in range(8):
                columns = columns | wp.int32((difference >> wp.uint64(8 * y)) & wp.uint64(255))
    if layers != 0:
        for k in range(-field.reach, field.reach + 1):
            if (columns & within(field, k)) != 0:
                touch(field, neighbour_key(keys[i], 0, k), layers, items, phases)


@wp.kernel
def spread_y(field: Field, items: wp.array(dtype=wp.int32), then: wp.array(dtype=wp.int32), phases: int):
    """Touch what changed rows of layer x can reach along y: layers in z."""
    slot = items[wp.tid()]
    for k in range(-field.reach, field.reach + 1):
        rows = within(field, k)
        layers = wp.int32(0)
        for z in range(8):
            if (wp.int32(field.changed[slot, z]) & rows) != 0:
                layers = layers | (1 << z)
        if layers != 0:
            touch(field, neighbour_key(field.keys[slot], 1, k), layers, then, phases)


@wp.kernel
def spread_z(field: Field, items: wp.array(dtype=wp.int32), then: wp.array(dtype=wp.int32), phases: int):
    """Touch what changed rows of layer y can reach along z: layers in y."""
    slot = items[wp.tid()]
    for k in range(-field.reach, field.reach + 1):
        layers = within(field, k)
        rows = wp.int32(0)
        for z in range(8):
            if ((layers >> z) & 1) != 0:
                rows = rows | wp.int32(field.changed[slot, z])
        if rows != 0:
            touch(field, neighbour_key(field.keys[slot], 2, k), rows, then, phases)


@wp.kernel
def find_neighbours(
    field: Field,
    items: wp.array(dtype=wp.int32),
    axis: int,
    slots: wp.array2d(dtype=wp.int32),
    first: int,
    stride: int,
):
    """Slots (N, 2 * reach + 1) of the bricks before and behind each item along an axis, -1 where absent."""
    i = first + wp.tid() * stride
    key = field.keys[items[i]]
    for k in range(2 * field.reach + 1):
        slots[i, k] = find_field(field, neighbour_key(key, axis, k - field.reach))
