# mypy: ignore-errors
"""Integration of a depth image by a team of workers of a CPU: all steps of `kernels_frame` in one launch.

A launch a step would cost as much as the steps, and waking a worker for each of them more than it then saves.
"""

import warp as wp

from embodmem.spatial.octree.kernels_depth import bits16, classify_line, mark_line, reduce_band
from embodmem.spatial.octree.kernels_frame import (
    CPU_FLAGS,
    READY,
    Frame,
    blocks16,
    claim_frame_line,
    integrate_item,
    looked_at,
    pixels,
    plan,
)
from embodmem.spatial.octree.kernels_pool import Pool, Update
from embodmem.spatial.octree.kernels_team import close, done, open_phase, take, wait
from embodmem.spatial.octree.kernels_view import View

wp.set_module_options({"enable_backward": False, **CPU_FLAGS})

REDUCE, CLASSIFY, MARK, ROWS = wp.constant(0), wp.constant(1), wp.constant(2), wp.constant(3)
LINES = wp.constant(8)  # how many lines of bricks or of pixels a worker takes at a time
ITEMS = wp.constant(4)  # and how many bricks


@wp.func
def reduce_some(team: wp.array(dtype=wp.int32), frame: Frame, bits: wp.array2d(dtype=bits16)):
    """Reduce lines of coarse tiles until none is left."""
    band = take(team, REDUCE, 1)
    while band >= 0:
        reduce_band(bits, frame.near_bits, frame.fine, frame.coarse, frame.blocks, frame.bad, band)
        done(team, REDUCE, band, 1)
        band = take(team, REDUCE, 1)


@wp.func
def classify_some(team: wp.array(dtype=wp.int32), frame: Frame):
    """Classify lines of bricks until none is left."""
    first = take(team, CLASSIFY, LINES)
    view = frame.views[0]
    while first >= 0:
        for line in range(first, wp.min(first + LINES, frame.box[4] * frame.box[5])):
            classify_line(view, frame.box, frame.fine, frame.coarse, frame.classes, frame.spans, line)
        done(team, CLASSIFY, first, LINES)
        first = take(team, CLASSIFY, LINES)


@wp.func
def marked_lines(view: View) -> int:
    """How many lines of an image mark voxels."""
    return (view.height - view.every // 2 + view.every - 1) // view.every


@wp.func
def mark_some(team: wp.array(dtype=wp.int32), pool: Pool, frame: Frame, depth: wp.array(dtype=wp.float32), worker: int):
    """Mark the points of lines of pixels until none is left."""
    first = take(team, MARK, LINES)
    view = frame.views[0]
    while first >= 0:
        for line in range(first, wp.min(first + LINES, marked_lines(view))):
            mark_line(pool, view, depth, frame.marks, worker, line)
        done(team, MARK, first, LINES)
        first = take(team, MARK, LINES)


@wp.func
def integrate_some(
    team: wp.array(dtype=wp.int32), pool: Pool, frame: Frame, depth: wp.array(dtype=wp.float32), update: Update
):
    """Update bricks until none is left."""
    first = take(team, ROWS, ITEMS)
    view = frame.views[0]
    layers = wp.int32(8)
    while first >= 0:
        for item in range(first, wp.min(first + ITEMS, frame.box[6])):
            for z in range(layers):
                integrate_item(pool, frame, view, depth, update, item, z)
        done(team, ROWS, first, ITEMS)
        first = take(team, ROWS, ITEMS)


@wp.kernel
def integrate_frame(
    team: wp.array(dtype=wp.int32), pool: Pool, frame: Frame, image: wp.uint64, update: Update, worker: int
):
    """Integrate the image at an address; one thread, launched once for each worker of a team."""
    if worker == 0:
        open_phase(team, REDUCE, frame.coarse.shape[0])
    reduce_some(team, frame, blocks16(frame, image))
    if worker == 0:
        wait(team, REDUCE)
        if plan(frame) != READY:
            close(team)
            return
        open_phase(team, CLASSIFY, frame.box[4] * frame.box[5])
    classify_some(team, frame)
    if worker == 0:
        wait(team, CLASSIFY)
        for line in range(frame.box[4] * frame.box[5]):
            claim_frame_line(pool, frame, update, line)
        open_phase(team, MARK, marked_lines(frame.views[0]))
    mark_some(team, pool, frame, pixels(frame, image), worker)
    if worker == 0:
        wait(team, MARK)
        open_phase(team, ROWS, frame.box[6])
    integrate_some(team, pool, frame, looked_at(frame, image), update)
    if worker == 0:
        wait(team, ROWS)
        close(team)
