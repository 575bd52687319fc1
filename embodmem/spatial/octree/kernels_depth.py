# mypy: ignore-errors
"""Projective integration of a depth image, step by step: tiles, bricks to visit, points that mark voxels.

What the image says about the rows of these bricks is in `kernels_rows`. `kernels_frame` goes through all the steps.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import (
    Pool,
    Update,
    add_to_all,
    claim_slot,
    expand,
    find_slot,
    floor_int,
    pack_key,
)
from embodmem.spatial.octree.kernels_view import View

wp.set_module_options({"enable_backward": False})
TILE = wp.constant(16)
COARSE = wp.constant(4)  # tiles along the edge of a coarse tile
lane8 = wp.types.vector(length=8, dtype=wp.int32)
bits16 = wp.types.vector(length=16, dtype=wp.int32)

SKIP = wp.constant(wp.uint8(0))
PROJECT = wp.constant(wp.uint8(1))
ALL_FREE = wp.constant(wp.uint8(2))
NOWHERE = wp.constant(-(1 << 30))


@wp.func
def farthest_of_four(line: bits16) -> wp.vec4i:
    """The largest of each four of sixteen."""
    best = wp.vec4i()
    for i in range(4):
        left = wp.max(line[4 * i], line[4 * i + 1])
        best[i] = wp.max(left, wp.max(line[4 * i + 2], line[4 * i + 3]))
    return best


@wp.func
def reduce_band(
    bits: wp.array2d(dtype=bits16),
    near_bits: int,
    fine: wp.array2d(dtype=wp.vec2i),
    coarse: wp.array2d(dtype=wp.vec2i),
    blocks: wp.array2d(dtype=wp.vec4i),
    bad: wp.array(dtype=wp.int32),
    row: int,
):
    """Nearest and farthest depth of a line of 64x64 px tiles and of its 16x16 px tiles, and of 4x4 px the farthest.

    Nearest is 0 where a pixel has no return. Depth is compared by its bits: for floats >= 0 they order as integers do,
    and integers vectorise.
    """
    bad[row] = 0
    rows = wp.min(COARSE, fine.shape[0] - row * COARSE)
    for column in range(coarse.shape[1]):
        nearest, farthest = wp.int32(0x7FFFFFFF), wp.int32(-0x7FFFFFFF)
        for v in range(row * COARSE, row * COARSE + rows):
            for u in range(column * COARSE, wp.min((column + 1) * COARSE, fine.shape[1])):
                y = v * TILE
                low = bits[wp.min(y, bits.shape[0] - 1), u]
                high = bits[wp.min(y, bits.shape[0] - 1), u]
                for four in range(4):  # unrolled; below the image its last row is taken again
                    top = bits[wp.min(y + four * 4, bits.shape[0] - 1), u]
                    low = wp.min(low, top)
                    for i in range(1, 4):
                        line = bits[wp.min(y + four * 4 + i, bits.shape[0] - 1), u]
                        low = wp.min(low, line)
                        top = wp.max(top, line)
                    high = wp.max(high, top)
                    if blocks.shape[0] > 0:
                        blocks[v * 4 + four, u] = farthest_of_four(top)
                tile_low, tile_high = wp.min(low), wp.max(high)
                if tile_low < 0 or tile_high >= 0x7F800000:  # negative, infinite or NaN
                    bad[row] = 1
                if tile_low < near_bits:
                    tile_low = 0
                fine[v, u] = wp.vec2i(tile_low, tile_high)
                nearest = wp.min(nearest, tile_low)
                farthest = wp.max(farthest, tile_high)
        coarse[row, column] = wp.vec2i(nearest, farthest)


@wp.func
def tile_range(tiles: wp.array2d(dtype=wp.vec2i), size: int, left: int, top: int, right: int, bottom: int) -> wp.vec2:
    """Nearest and farthest depth over all tiles that a rectangle of pixels touches."""
    nearest, farthest = wp.int32(0x7FFFFFFF), wp.int32(0)
    for v in range(top // size, bottom // size + 1):
        for u in range(left // size, right // size + 1):
            tile = tiles[v, u]
            nearest = wp.min(nearest, tile[0])
            farthest = wp.max(farthest, tile[1])
    return wp.vec2(wp.cast(nearest, wp.float32), wp.cast(farthest, wp.float32))


@wp.func
def classify(view: View, h: wp.vec3, fine: wp.array2d(dtype=wp.vec2i), coarse: wp.array2d(dtype=wp.vec2i)):
    """Whether a brick whose centre projects to h can be touched, and whether all of it is seen through.

    Also the nearest and farthest depth of the pixels that its voxels project to; the nearest is 0 where one has no
    return or lies outside of the image.
    """
    none = wp.vec2(0.0, 0.0)
    width, height = float(view.width), float(view.height)
    nearest, farthest = h[2] - view.extent[2], h[2] + view.extent[2]
    right, bottom = width * h[2] - h[0], height * h[2] - h[1]
    if farthest <= 0.0 or nearest > view.far_m:
        return SKIP, none
    if h[0] + view.extent[0] < 0.0 or h[1] + view.extent[1] < 0.0:
        return SKIP, none
    if right + view.extent_right < 0.0 or bottom + view.extent_bottom < 0.0:
        return SKIP, none
    # The rectangle around the eight corners; all of the image where the brick reaches behind the camera.
    low, high = wp.vec2(0.0, 0.0), wp.vec2(width - 1.0, height - 1.0)
    if nearest > 1.0e-3:
        low, high = wp.vec2(width, height), wp.vec2(0.0, 0.0)
        for corner in range(8):
            d = wp.vec3(float(corner & 1), float((corner >> 1) & 1), float(corner >> 2)) * 8.0 - wp.vec3(4.0, 4.0, 4.0)
            p = h + view.M * d
            low = wp.min(low, wp.vec2(p[0], p[1]) / p[2])
            high = wp.max(high, wp.vec2(p[0], p[1]) / p[2])
        low = wp.max(low, wp.vec2(0.0, 0.0))
        high = wp.min(high, wp.vec2(width - 1.0, height - 1.0))
        if low[0] > high[0] + 1.0 or low[1] > high[1] + 1.0:
            return SKIP, none
        low = wp.min(low, high)
    x0, y0, x1, y1 = int(low[0]), int(low[1]), int(high[0]), int(high[1])
    depth = wp.vec2()
    if wp.max(x1 - x0, y1 - y0) <= 192:
        depth = tile_range(fine, TILE, x0, y0, x1, y1)
    else:
        depth = tile_range(coarse, TILE * COARSE, x0, y0, x1, y1)
    if depth[1] < view.near_m or nearest > depth[1]:
        return SKIP, none
    inside = nearest > 1.0e-3 and h[0] >= view.extent[0] and h[1] >= view.extent[1]
    inside = inside and right > view.extent_right and bottom > view.extent_bottom
    if inside and farthest < depth[0] and farthest <= view.far_m:
        return ALL_FREE, depth
    return PROJECT, wp.vec2(wp.where(inside, depth[0], 0.0), depth[1])


@wp.func
def classify_line(
    view: View,
    box: wp.array(dtype=wp.int32),
    fine: wp.array2d(dtype=wp.vec2i),
    coarse: wp.array2d(dtype=wp.vec2i),
    classes: wp.array(dtype=wp.uint8),
    spans: wp.array(dtype=wp.vec2),
    line: int,
):
    """Classes and spans of depth of a line of bricks along x of a box, x fastest, then y."""
    y, z = box[1] + line % box[4], box[2] + line // box[4]
    i = wp.vec3i(box[0] * 8, y * 8, z * 8) - view.base
    h = view.M * (wp.vec3(float(i[0]), float(i[1]), float(i[2])) + wp.vec3(3.5, 3.5, 3.5)) + view.b
    step = wp.vec3(view.M[0, 0], view.M[1, 0], view.M[2, 0]) * 8.0
    for x in range(box[3]):
        kind, span = classify(view, h + step * float(x), fine, coarse)
        classes[line * box[3] + x] = kind
        spans[line * box[3] + x] = span


@wp.func
def wipe_marks(marks: wp.array3d(dtype=wp.uint32), block: int):
    """Take all marks off a brick."""
    for copy in range(marks.shape[0]):
        for word in range(16):
            marks[copy, block, word] = wp.uint32(0)


@wp.func
def mark_line(
    pool: Pool, view: View, depth: wp.array(dtype=wp.float32), marks: wp.array3d(dtype=wp.uint32), copy: int, n: int
):
    """Mark the voxels that hold the points of the n-th of the lines of the image that mark voxels.

    Points are taken to lie `nudge_m` deeper than measured, so that rounding does not scatter those of a surface on a
    face of voxels over both sides. Each worker has its own copy of the marks, since on a CPU an atomic is a plain read
    and write.
    """
    every, width, pitch = view.every, view.width, view.pitch
    near_m, far_m, nudge_m = view.near_m, view.far_m, view.nudge_m
    rays, origin, base = view.rays, view.origin, view.base
    line = every // 2 + n * every
    start = rays * wp.vec3(0.0, float(line), 1.0)
    step = wp.vec3(rays[0, 0], rays[1, 0], rays[2, 0])
    brick = wp.vec3i(NOWHERE, 0, 0)
    nowhere = marks.shape[1] - 1
    block = wp.int32(nowhere)
    end = line * pitch + width - 1
    for left in range(every // 2, width, 8 * every):
        x, y, z, word, bit = lane8(), lane8(), lane8(), lane8(), lane8()
        other = wp.int32(0)
        for i in range(8):
            column = left + i * every
            d = depth[wp.min(line * pitch + column, end)]
            deep = d + nudge_m
            a = float(column)
            voxel_x = floor_int(origin[0] + (start[0] + step[0] * a) * deep) + base[0]
            voxel_y = floor_int(origin[1] + (start[1] + step[1] * a) * deep) + base[1]
            voxel_z = floor_int(origin[2] + (start[2] + step[2] * a) * deep) + base[2]
            held = wp.where(d >= near_m, wp.where(d <= far_m, wp.where(column < width, 1, 0), 0), 0)
            x[i] = voxel_x >> 3
            y[i] = voxel_y >> 3
            z[i] = voxel_z >> 3
            word[i] = (voxel_z & 7) * 2 + ((voxel_y & 7) >> 2)
            bit[i] = held << ((voxel_y & 3) * 8 + (voxel_x & 7))
            other = other | (((x[i] ^ brick[0]) | (y[i] ^ brick[1]) | (z[i] ^ brick[2])) & -held)
        if other == 0:
            for i in range(8):
                wp.atomic_or(marks, copy, block, word[i], wp.uint32(bit[i]))
        else:
            for i in range(8):
                if bit[i] != 0:
                    if ((x[i] ^ brick[0]) | (y[i] ^ brick[1]) | (z[i] ^ brick[2])) != 0:
                        brick = wp.vec3i(x[i], y[i], z[i])
                        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
                        block = nowhere
                        if slot >= 0 and pool.block[slot] >= 0:
                            block = pool.block[slot]
                    wp.atomic_or(marks, copy, block, word[i], wp.uint32(bit[i]))


@wp.func
def claim_line(
    pool: Pool,
    box: wp.array(dtype=wp.int32),
    classes: wp.array(dtype=wp.uint8),
    spans: wp.array(dtype=wp.vec2),
    miss: float,
    update: Update,
    marks: wp.array3d(dtype=wp.uint32),
    items: wp.array(dtype=wp.int32),
    item_spans: wp.array(dtype=wp.vec2),
    line: int,
):
    """List the bricks to visit of a line as slots, ~slot where all of it is free, and their spans; box[6] counts them.

    A brick that is uniform and stays so is done with here. Wipes the marks of the bricks that are listed.
    """
    for x in range(box[3]):
        kind = classes[line * box[3] + x]
        if kind != SKIP:
            key = pack_key(box[0] + x, box[1] + line % box[4], box[2] + line // box[4])
            slot = claim_slot(pool, key)
            if slot >= 0:
                if kind == ALL_FREE and pool.block[slot] < 0:
                    add_to_all(pool, slot, miss, update)
                elif expand(pool, slot):
                    if kind == ALL_FREE:
                        slot = ~slot
                    else:
                        wipe_marks(marks, pool.block[slot])
                    item = wp.atomic_add(box, 6, 1)
                    items[item] = slot
                    item_spans[item] = spans[line * box[3] + x]
