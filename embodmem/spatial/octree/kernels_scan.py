# mypy: ignore-errors
"""Lidar points with the free space on their way, by the plain rule: each ray is walked voxel by voxel.

A voxel of the scan is struck if a point lies in it, else missed if a ray passes it. `kernels_lidar` finds the same
voxels several times faster where its bits fit into memory.
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, Update, claim_slot, find_slot, pack_key, row8, update_row
from embodmem.spatial.octree.kernels_rays import (
    after_brick,
    brick_of,
    flat_index,
    floor3,
    inside,
    leaving_times,
    make_ray,
    next_voxel,
    to_vec3d,
)

wp.set_module_options({"enable_backward": False})

MISSED = wp.constant(wp.uint8(1))
STRUCK = wp.constant(wp.uint8(2))


@wp.struct
class Scan:
    """One lidar scan: where its rays start and end, and how they are cut. Voxel indices are relative to `base`."""

    points: wp.array(dtype=wp.vec3)  # sensor frame, m
    shares: wp.array(dtype=wp.float32)  # of the scan's time that had passed at each point, 0..1; empty: it stood still
    R: wp.mat33d  # rotation of the sensor into the world over the voxel size, at the scan's start
    base: wp.vec3i  # voxel of the sensor then
    start: wp.vec3d  # the sensor inside that voxel, in voxels
    motion: wp.vec3d  # of the sensor during the scan, in voxels
    axis: wp.vec3d  # about which it turned meanwhile, in its own frame
    angle: wp.float64  # and how far, rad
    near: wp.float64  # in voxels
    far: wp.float64


@wp.struct
class Beam:
    """One ray of a scan."""

    kind: int  # IGNORED, CUT or RETURN
    origin: wp.vec3d  # in voxels
    v: wp.vec3d  # from there to where it ends
    cell: wp.vec3i  # voxel of the origin
    end: wp.vec3i  # voxel of the end


IGNORED = wp.constant(0)  # nearer than min_range_m
CUT = wp.constant(1)  # farther than max_range_m: free up to there
RETURN = wp.constant(2)


@wp.func
def beam_of(scan: Scan, i: int) -> Beam:
    """The ray of a point.

    A moving sensor turns and moves evenly between its two poses: Vizzo et al., KISS-ICP, RA-L 2023, section III-A.
    """
    beam = Beam()
    p = wp.vec3d(wp.float64(scan.points[i][0]), wp.float64(scan.points[i][1]), wp.float64(scan.points[i][2]))
    beam.origin = scan.start
    if scan.shares.shape[0] > 0:
        share = wp.float64(scan.shares[i])
        beam.origin = scan.start + scan.motion * share
        # Rodrigues: p cos a + (k x p) sin a + k (k . p) (1 - cos a)
        c, s = wp.cos(scan.angle * share), wp.sin(scan.angle * share)
        p = p * c + wp.cross(scan.axis, p) * s + scan.axis * (wp.dot(scan.axis, p) * (wp.float64(1.0) - c))
    v = scan.R * p
    length = wp.length(v)
    beam.kind = RETURN
    if length < scan.near or length == wp.float64(0.0):
        beam.kind = IGNORED
    elif length > scan.far:
        beam.kind = CUT
        v = v * (scan.far / length)
    beam.v = v
    beam.cell = floor3(beam.origin)
    beam.end = floor3(beam.origin + v)
    return beam


@wp.func
def length_of(beam: Beam) -> wp.float64:
    """Length of a ray in voxels, 0 where it is to be ignored."""
    return wp.where(beam.kind == IGNORED, wp.float64(0.0), wp.length(beam.v))


@wp.kernel
def claim_rays(pool: Pool, scan: Scan):
    """Take the bricks on the way of each ray."""
    beam = beam_of(scan, wp.tid())
    length = length_of(beam)
    ray = make_ray(scan.base + beam.cell, beam.origin - to_vec3d(beam.cell), wp.normalize(beam.v))
    voxel = wp.vec3i(0, 0, 0)
    time = wp.float64(0.0)
    while time < length:
        brick = brick_of(voxel, ray.base)
        claim_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        voxel, time = after_brick(ray, voxel, brick)
    if beam.kind == RETURN:  # by rounding the end may lie one voxel beyond the last one walked
        brick = brick_of(beam.end, scan.base)
        claim_slot(pool, pack_key(brick[0], brick[1], brick[2]))


@wp.kernel
def mark_hits(pool: Pool, scan: Scan, marks: wp.array2d(dtype=wp.uint8)):
    """Mark the voxel at the end of each ray."""
    beam = beam_of(scan, wp.tid())
    if beam.kind == RETURN:
        brick = brick_of(beam.end, scan.base)
        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        if slot >= 0:
            marks[slot, flat_index(beam.end + scan.base - brick * 8)] = STRUCK


@wp.kernel
def mark_misses(pool: Pool, scan: Scan, marks: wp.array2d(dtype=wp.uint8), first: int, stride: int):
    """Mark what each ray passes, apart from voxels that some ray of the scan hits. Equal writes may race."""
    beam = beam_of(scan, first + wp.tid() * stride)
    length = length_of(beam)
    ray = make_ray(scan.base + beam.cell, beam.origin - to_vec3d(beam.cell), wp.normalize(beam.v))
    end = beam.end - beam.cell
    voxel = wp.vec3i(0, 0, 0)
    time = wp.float64(0.0)
    while time < length:
        brick = brick_of(voxel, ray.base)
        slot = find_slot(pool, pack_key(brick[0], brick[1], brick[2]))
        if slot < 0:
            voxel, time = after_brick(ray, voxel, brick)
        else:
            corner = brick * 8 - ray.base
            while time < length and inside(voxel - corner):
                if beam.kind == RETURN and voxel == end:
                    time = length
                else:
                    place = flat_index(voxel - corner)
                    if marks[slot, place] == wp.uint8(0):
                        marks[slot, place] = MISSED
                    times = leaving_times(ray, voxel)
                    time = wp.min(wp.min(times[0], times[1]), times[2])
                    voxel = next_voxel(ray, voxel, times, time)


@wp.kernel
def apply_marks(
    pool: Pool,
    marks: wp.array2d(dtype=wp.uint8),
    slots: wp.array(dtype=wp.int32),
    hit: float,
    miss: float,
    update: Update,
    results: wp.array(dtype=wp.uint64),
    first: int,
    stride: int,
):
    """Update one row of marked voxels a thread, 64 threads a brick; results (64 a brick) are those of `update_row`."""
    thread = wp.tid()
    item = first + (thread >> 6) * stride
    slot = slots[item]
    row = thread & 63
    change = row8()
    for i in range(8):
        mark = marks[slot, row * 8 + i]
        change[i] = wp.where(mark == STRUCK, hit, wp.where(mark == MISSED, miss, 0.0))
    results[item * 64 + row] = update_row(pool.rows, pool.seen_rows, pool.block[slot], row, change, update)
