# mypy: ignore-errors
"""The three passes of the distance field as Warp kernels; what they keep and why is told in `kernels_field`."""

import warp as wp

from embodmem.planning.kernels_field import FAR, NONE_X, Field, int8x8, int32x8

wp.set_module_options({"enable_backward": False})
if hasattr(wp.config, "cpu_compiler_flags"):
    # As in the octree's kernels: LLVM's own depth of search for lanes, which Warp cuts short.
    flags = "-march=native -mllvm=-inline-threshold=9000 -mllvm=-slp-recursion-max-depth=12"
    wp.set_module_options({"cpu_compiler_flags": flags})


@wp.func
def obstacle_row(field: Field, slot: int, z: int, y: int) -> int:
    """The 8 bits of a row, of a brick that may be absent."""
    if slot < 0:
        return wp.where(field.solid != 0, 255, 0)
    return wp.int32((field.bits[slot, z] >> wp.uint64(8 * y)) & wp.uint64(255))


@wp.func
def nearest_in_row(field: Field, slots: wp.array2d(dtype=wp.int32), i: int, z: int, y: int) -> int8x8:
    """Offsets to the nearest obstacle along x for a row of 8; the lower side is taken where both are as near."""
    row = obstacle_row(field, slots[i, field.reach], z, y)
    before, behind = wp.int32(-1000), wp.int32(1000)
    for k in range(1, field.reach + 1):
        other = obstacle_row(field, slots[i, field.reach - k], z, y)
        if other != 0:
            before = field.last_bit[other] - 8 * k
            break
    for k in range(1, field.reach + 1):
        other = obstacle_row(field, slots[i, field.reach + k], z, y)
        if other != 0:
            behind = field.first_bit[other] + 8 * k
            break
    down = int32x8()
    for x in range(8):
        if ((row >> x) & 1) != 0:
            before = x
        down[x] = x - before
    found = int8x8()
    for i_x in range(8):
        x = 7 - i_x
        if ((row >> x) & 1) != 0:
            behind = x
        up = behind - x
        offset = wp.where(down[x] <= up, -down[x], up)
        found[x] = wp.int8(wp.where(wp.abs(offset) > field.radius, NONE_X, offset))
    return found


@wp.kernel
def pass_x(field: Field, items: wp.array(dtype=wp.int32), slots: wp.array2d(dtype=wp.int32), first: int, stride: int):
    """Layer x of a layer in z of a brick a thread."""
    thread = wp.tid()
    i = first + (thread >> 3) * stride
    slot, z = items[i], thread & 7
    changed, finite = wp.int32(0), wp.int32(0)
    if field.touched[slot, z] != wp.uint8(0):
        field.touched[slot, z] = wp.uint8(0)
        for y in range(8):
            found = nearest_in_row(field, slots, i, z, y)
            old = field.layer_x[slot, z * 8 + y]
            different, some = wp.int32(0), wp.int32(0)
            for x in range(8):
                different = different | wp.where(found[x] != old[x], 1, 0)
                some = some | wp.where(found[x] != wp.int8(NONE_X), 1, 0)
            changed = changed | (different << y)
            finite = finite | (some << y)
            if different != 0:
                field.layer_x[slot, z * 8 + y] = found
        field.finite_x[slot, z] = wp.uint8(finite)
    field.changed[slot, z] = wp.uint8(changed)


@wp.func
def relax(best: int32x8, row: int32x8, offset: int) -> int32x8:
    """The least of what is known and of a row that lies `offset` away."""
    added = ((offset * offset) << 8) + offset + 128
    for x in range(8):
        best[x] = wp.min(best[x], row[x] + added)
    return best


@wp.func
def squares(row: int8x8) -> int32x8:
    """A row of layer x as the start of layer y."""
    made = int32x8()
    for x in range(8):
        d = wp.int32(row[x])
        made[x] = (d * d) << 8
    return made


@wp.func
def without_offset(row: int32x8) -> int32x8:
    """A row of layer y as the start of layer z."""
    made = int32x8()
    for x in range(8):
        made[x] = row[x] & -256
    return made


@wp.func
def store(field: Field, rows: wp.array2d(dtype=int32x8), slot: int, place: int, best: int32x8) -> int:
    """Keep a row, cut off at the radius; returns 1 if it changed plus 2 if anything in it is within the radius."""
    old = rows[slot, place]
    new = int32x8()
    different, some = wp.int32(0), wp.int32(0)
    for x in range(8):
        new[x] = wp.where((best[x] >> 8) > field.squared, FAR, best[x])
        different = different | wp.where(new[x] != old[x], 1, 0)
        some = some | wp.where(new[x] != FAR, 2, 0)
    if different != 0:
        rows[slot, place] = new
    return different | some


@wp.kernel
def pass_y(field: Field, items: wp.array(dtype=wp.int32), slots: wp.array2d(dtype=wp.int32), first: int, stride: int):
    """Layer y of a layer in z of a brick a thread: eight rows, each of which every row of the window may improve."""
    thread = wp.tid()
    i = first + (thread >> 3) * stride
    slot, z = items[i], thread & 7
    if field.touched[slot, z] == wp.uint8(0):
        field.changed[slot, z] = wp.uint8(0)
        return
    field.touched[slot, z] = wp.uint8(0)
    b0, b1, b2, b3 = int32x8(FAR), int32x8(FAR), int32x8(FAR), int32x8(FAR)
    b4, b5, b6, b7 = int32x8(FAR), int32x8(FAR), int32x8(FAR), int32x8(FAR)
    for d in range(-field.radius, field.radius + 8):
        other = slots[i, (d >> 3) + field.reach]
        y = d & 7
        finite = field.solid
        if other >= 0:
            finite = (wp.int32(field.finite_x[other, z]) >> y) & 1
        if finite != 0:
            row = int32x8(0)
            if other >= 0:
                row = squares(field.layer_x[other, z * 8 + y])
            b0 = relax(b0, row, d)
            b1 = relax(b1, row, d - 1)
            b2 = relax(b2, row, d - 2)
            b3 = relax(b3, row, d - 3)
            b4 = relax(b4, row, d - 4)
            b5 = relax(b5, row, d - 5)
            b6 = relax(b6, row, d - 6)
            b7 = relax(b7, row, d - 7)
    place = z * 8
    r0, r1 = store(field, field.layer_y, slot, place, b0), store(field, field.layer_y, slot, place + 1, b1)
    r2, r3 = store(field, field.layer_y, slot, place + 2, b2), store(field, field.layer_y, slot, place + 3, b3)
    r4, r5 = store(field, field.layer_y, slot, place + 4, b4), store(field, field.layer_y, slot, place + 5, b5)
    r6, r7 = store(field, field.layer_y, slot, place + 6, b6), store(field, field.layer_y, slot, place + 7, b7)
    low = r0 | (r1 << 2) | (r2 << 4) | (r3 << 6)
    both = low | (r4 << 8) | (r5 << 10) | (r6 << 12) | (r7 << 14)
    changed, within_reach = wp.int32(0), wp.int32(0)
    for y in range(8):
        changed = changed | (((both >> (2 * y)) & 1) << y)
        within_reach = within_reach | (((both >> (2 * y + 1)) & 1) << y)
    field.changed[slot, z] = wp.uint8(changed)
    field.finite_y[slot, z] = wp.uint8(within_reach)


@wp.kernel
def pass_z(field: Field, items: wp.array(dtype=wp.int32), slots: wp.array2d(dtype=wp.int32), first: int, stride: int):
    """Layer z of a layer in y of a brick a thread."""
    thread = wp.tid()
    i = first + (thread >> 3) * stride
    slot, y = items[i], thread & 7
    if field.touched[slot, y] == wp.uint8(0):
        return
    field.touched[slot, y] = wp.uint8(0)
    b0, b1, b2, b3 = int32x8(FAR), int32x8(FAR), int32x8(FAR), int32x8(FAR)
    b4, b5, b6, b7 = int32x8(FAR), int32x8(FAR), int32x8(FAR), int32x8(FAR)
    for d in range(-field.radius, field.radius + 8):
        other = slots[i, (d >> 3) + field.reach]
        z = d & 7
        finite = field.solid
        if other >= 0:
            finite = (wp.int32(field.finite_y[other, z]) >> y) & 1
        if finite != 0:
            row = int32x8(0)
            if other >= 0:
                row = without_offset(field.layer_y[other, z * 8 + y])
            b0 = relax(b0, row, d)
            b1 = relax(b1, row, d - 1)
            b2 = relax(b2, row, d - 2)
            b3 = relax(b3, row, d - 3)
            b4 = relax(b4, row, d - 4)
            b5 = relax(b5, row, d - 5)
            b6 = relax(b6, row, d - 6)
            b7 = relax(b7, row, d - 7)
    store(field, field.layer_z, slot, y, b0)
    store(field, field.layer_z, slot, 8 + y, b1)
    store(field, field.layer_z, slot, 16 + y, b2)
    store(field, field.layer_z, slot, 24 + y, b3)
    store(field, field.layer_z, slot, 32 + y, b4)
    store(field, field.layer_z, slot, 40 + y, b5)
    store(field, field.layer_z, slot, 48 + y, b6)
    store(field, field.layer_z, slot, 56 + y, b7)
