# mypy: ignore-errors
"""Forgetting by time, as Warp kernels."""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, differ, is_known

wp.set_module_options({"enable_backward": False})


@wp.struct
class Decay:
    """How log-odds fade."""

    now: int  # tick up to which they have faded afterwards
    done: int  # tick up to which they had faded before
    half_life: float  # ticks
    least: float  # nearer to 0 than this is unknown
    occupied: float  # above this a voxel is occupied


@wp.func
def fade(decay: Decay, value: float, tick: wp.uint16) -> float:
    """Log-odds after the time since a voxel was last seen, or since the last decay: halved every half-life."""
    since = wp.max(int(tick), decay.done)
    if not is_known(value) or since >= decay.now:
        return value
    faded = value * wp.pow(2.0, -float(decay.now - since) / decay.half_life)
    return wp.where(wp.abs(faded) < decay.least, wp.nan, faded)


@wp.kernel
def decay_bricks(
    pool: Pool,
    decay: Decay,
    slots: wp.array(dtype=wp.int32),
    left: wp.array(dtype=wp.int32),
    first: int,
    stride: int,
):
    """Let all voxels of bricks fade; `left` says how many of each are still known."""
    i = first + wp.tid() * stride
    slot = slots[i]
    block = pool.block[slot]
    changed, flips, known = wp.int32(0), wp.int32(0), wp.int32(0)
    if block < 0:
        old = pool.value[slot]
        new = fade(decay, old, pool.seen[slot])
        pool.value[slot] = new
        changed = wp.where(old == new or not is_known(old), 0, 1)
        flips = wp.where(differ(old, new, decay.occupied), 1, 0)
        known = wp.where(is_known(new), pool.log_odds.shape[1], 0)
        if known == 0:
            pool.seen[slot] = wp.uint16(0)
    else:
        for j in range(pool.log_odds.shape[1]):
            old = pool.log_odds[block, j]
            new = fade(decay, old, pool.ticks[block, j])
            pool.log_odds[block, j] = new
            changed += wp.where(old == new or not is_known(old), 0, 1)
            flips += wp.where(differ(old, new, decay.occupied), 1, 0)
            known += wp.where(is_known(new), 1, 0)
            if not is_known(new):
                pool.ticks[block, j] = wp.uint16(0)
    if changed > 0:
        pool.dirty[slot] = wp.uint8(1)
        pool.touched[slot] = pool.revision
        if flips > 0:
            pool.flipped[slot] = pool.revision
    left[i] = known
