# mypy: ignore-errors
"""What a whole brick holds, in a few numbers, as Warp kernels."""

import warp as wp

from embodmem.spatial.octree.kernels_pool import Pool, is_known

wp.set_module_options({"enable_backward": False})

LEAST = wp.constant(-1.0e30)


@wp.kernel
def summarise(pool: Pool, slots: wp.array(dtype=wp.int32), first: int, stride: int):
    """Lowest and highest log-odds of bricks, NaN where all is unknown, and whether any voxel is."""
    slot = slots[first + wp.tid() * stride]
    block = pool.block[slot]
    if block < 0:
        pool.low[slot] = pool.value[slot]
        pool.high[slot] = pool.value[slot]
        pool.holes[slot] = wp.where(is_known(pool.value[slot]), wp.uint8(0), wp.uint8(1))
        return
    low, high, known = float(-LEAST), float(LEAST), wp.int32(0)
    for row in range(pool.rows.shape[1]):
        values = pool.rows[block, row]
        for i in range(8):
            here = is_known(values[i])
            low = wp.min(low, wp.where(here, values[i], -LEAST))
            high = wp.max(high, wp.where(here, values[i], LEAST))
            known += wp.where(here, 1, 0)
    pool.low[slot] = wp.where(known > 0, low, wp.nan)
    pool.high[slot] = wp.where(known > 0, high, wp.nan)
    pool.holes[slot] = wp.where(known < pool.log_odds.shape[1], wp.uint8(1), wp.uint8(0))
