# mypy: ignore-errors
"""The steps of the integration of a depth image, as functions of what they share, and as a kernel each.

On a CPU the kernel of `kernels_together` goes through all of them.
"""

import warp as wp

from embodmem.spatial.octree.kernels_depth import bits16, claim_line, classify_line, mark_line, reduce_band
from embodmem.spatial.octree.kernels_pool import Pool, Update
from embodmem.spatial.octree.kernels_rows import integrate_layer
from embodmem.spatial.octree.kernels_view import Lens, View, seen_box, turn_view

# Warp cuts LLVM's search for lanes short after four steps; LLVM's own twelve make a row of voxels twice as fast.
_FLAGS = "-march=native -mllvm=-inline-threshold=9000 -mllvm=-slp-recursion-max-depth=12"
CPU_FLAGS = {"cpu_compiler_flags": _FLAGS} if hasattr(wp.config, "cpu_compiler_flags") else {}
wp.set_module_options({"enable_backward": False, **CPU_FLAGS})

READY, BAD, NOTHING, NARROW = 0, 1, 2, 3
"""What becomes of an image: it is integrated; it holds bad values; it says nothing; the buffers are too small."""


@wp.struct
class Frame:
    """What the steps hand on to one another; one view, and buffers that stay from image to image."""

    views: wp.array(dtype=View)  # (1,)
    lens: Lens
    T: wp.array(dtype=wp.float64)  # (12,) the first three rows of T_world_camera
    near_bits: int  # min_range_m as bits
    fine: wp.array2d(dtype=wp.vec2i)
    coarse: wp.array2d(dtype=wp.vec2i)
    blocks: wp.array2d(dtype=wp.vec4i)  # farthest depth of 4x4 px as bits, four blocks each; empty where not needed
    blocks_at: wp.uint64
    bad: wp.array(dtype=wp.int32)  # for each line of coarse tiles
    box: wp.array(dtype=wp.int32)  # (8,) first brick (3), bricks (3), how many are to be visited, what becomes of it
    classes: wp.array(dtype=wp.uint8)  # for each brick of the box
    spans: wp.array(dtype=wp.vec2)
    items: wp.array(dtype=wp.int32)  # for each brick that is to be visited
    item_spans: wp.array(dtype=wp.vec2)
    results: wp.array(dtype=wp.uint64)  # 64 a brick
    marks: wp.array3d(dtype=wp.uint32)  # (workers, blocks + 1, 16) one bit a voxel
    layers: wp.array3d(dtype=wp.uint64)  # the memory of marks


@wp.func
def pixels(frame: Frame, image: wp.uint64) -> wp.array(dtype=wp.float32):
    """The image, line after line, from its address."""
    return wp.array(ptr=image, shape=(frame.views[0].height * frame.views[0].pitch,), dtype=wp.float32)


@wp.func
def looked_at(frame: Frame, image: wp.uint64) -> wp.array(dtype=wp.float32):
    """What voxels look at: the image, or the farthest of its blocks, line after line."""
    view = frame.views[0]
    if view.shift == 0:
        return wp.array(ptr=image, shape=(view.height * view.pitch,), dtype=wp.float32)
    return wp.array(ptr=frame.blocks_at, shape=(frame.blocks.shape[0] * view.look_pitch,), dtype=wp.float32)


@wp.func
def blocks16(frame: Frame, image: wp.uint64) -> wp.array2d(dtype=bits16):
    """The image in blocks of 16 px."""
    return wp.array(ptr=image, shape=(frame.views[0].height, frame.views[0].pitch // 16), dtype=bits16)


@wp.func
def plan(frame: Frame) -> int:
    """Look through the tiles of a whole image and set the box of bricks; returns what becomes of the image."""
    farthest, bad = wp.int32(0), wp.int32(0)
    for row in range(frame.coarse.shape[0]):
        bad = bad | frame.bad[row]
        for column in range(frame.coarse.shape[1]):
            farthest = wp.max(farthest, frame.coarse[row, column][1])
    far_m = wp.cast(farthest, wp.float32)
    turn_view(frame.lens, frame.T, frame.views)
    view = frame.views[0]
    state = wp.int32(READY)
    if bad != 0:
        state = BAD
    elif far_m < view.near_m:
        state = NOTHING
    else:
        seen_box(frame.lens, frame.T, view, wp.min(far_m, view.far_m), frame.box)
        lines = wp.int64(frame.box[4]) * wp.int64(frame.box[5])
        if lines == wp.int64(0) or frame.box[3] == 0:
            state = NOTHING
        elif lines * wp.int64(frame.box[3]) > wp.int64(frame.classes.shape[0]):
            state = NARROW
    frame.box[6] = 0
    frame.box[7] = state
    return state


@wp.func
def claim_frame_line(pool: Pool, frame: Frame, update: Update, line: int):
    """List the bricks to visit of a line of the box."""
    miss = frame.views[0].miss
    marks, items, spans = frame.marks, frame.items, frame.item_spans
    claim_line(pool, frame.box, frame.classes, frame.spans, miss, update, marks, items, spans, line)


@wp.func
def integrate_item(
    pool: Pool, frame: Frame, view: View, depth: wp.array(dtype=wp.float32), update: Update, item: int, z: int
):
    """Update a layer of one of the bricks that are to be visited."""
    ahead = item + 2
    if ahead >= frame.box[6]:
        ahead = -1
    integrate_layer(
        pool.keys,
        pool.block,
        pool.rows,
        pool.seen_rows,
        view,
        depth,
        frame.items,
        frame.item_spans,
        frame.layers,
        update,
        frame.results,
        item,
        z,
        ahead,
    )


@wp.kernel
def reduce_tiles(frame: Frame, image: wp.uint64):
    """The first step: tiles; a line of coarse tiles a thread."""
    bits = blocks16(frame, image)
    reduce_band(bits, frame.near_bits, frame.fine, frame.coarse, frame.blocks, frame.bad, wp.tid())


@wp.kernel
def plan_bricks(frame: Frame):
    """The second step: the view, and the box of bricks; one thread."""
    plan(frame)


@wp.kernel
def classify_bricks(frame: Frame):
    """The third step: a line of bricks along x a thread."""
    classify_line(frame.views[0], frame.box, frame.fine, frame.coarse, frame.classes, frame.spans, wp.tid())


@wp.kernel
def claim_bricks(pool: Pool, frame: Frame, update: Update):
    """The fourth step: a line of bricks along x a thread."""
    claim_frame_line(pool, frame, update, wp.tid())


@wp.kernel
def mark_points(pool: Pool, frame: Frame, image: wp.uint64):
    """The fifth step: a line of pixels that mark voxels a thread."""
    mark_line(pool, frame.views[0], pixels(frame, image), frame.marks, 0, wp.tid())


@wp.kernel
def integrate_rows(pool: Pool, frame: Frame, image: wp.uint64, update: Update):
    """The last step: a layer of a brick a thread."""
    thread = wp.tid()
    integrate_item(pool, frame, frame.views[0], looked_at(frame, image), update, thread >> 3, thread & 7)
