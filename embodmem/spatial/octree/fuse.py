"""Two maps of one world as one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SpatialConfig
from embodmem.spatial.octree.brick_map import Bricks
from embodmem.spatial.octree.keys import TICK_NS


def fused(ours: Bricks, theirs: Bricks, config: SpatialConfig) -> Bricks:
    """Bricks of another map, with what this one knows of the same places added.

    Log-odds of independent observations add up (Hornung et al., Autonomous Robots 2013, eq. 2), within the clamps; what
    only one map knows is taken from that one. A voxel was last seen when either map saw it last. Colours and labels are
    ours where there are any.

    Args:
        ours: Bricks here.
        theirs: (N,) bricks of the other map.
        config: The clamps.

    Returns:
        (N,) bricks with the keys of `theirs`.
    """
    if not len(ours.keys):
        return theirs
    order = np.argsort(ours.keys, kind="stable")
    at = order[np.minimum(np.searchsorted(ours.keys[order], theirs.keys), len(order) - 1)]
    both = ours.keys[at] == theirs.keys
    a = np.where(both[:, None], ours.log_odds[at], np.nan)
    total = np.clip(a + theirs.log_odds, config.log_odds_min, config.log_odds_max)
    log_odds = np.where(np.isnan(a), theirs.log_odds, np.where(np.isnan(theirs.log_odds), a, total))
    newest = np.where(both, np.maximum(ours.last_seen_ns[at], theirs.last_seen_ns), theirs.last_seen_ns)
    seen_a = np.where(np.isnan(a), -1, _seen_ns(ours.last_seen_ns[at], ours.ages[at]))
    seen_b = np.where(np.isnan(theirs.log_odds), -1, _seen_ns(theirs.last_seen_ns, theirs.ages))
    ages = (newest[:, None] - np.maximum(seen_a, seen_b)) // TICK_NS
    ages = np.where(np.isnan(log_odds), 0, ages).astype(theirs.ages.dtype)
    paint = [
        np.where(both[:, None] & (mine[at] != 0), mine[at], his) if mine.shape[1:] == his.shape[1:] else his
        for mine, his in ((ours.colours, theirs.colours), (ours.labels, theirs.labels))
    ]
    return Bricks(theirs.keys, log_odds.astype(np.float32), newest, ages, *paint)


def _seen_ns(last_seen_ns: NDArray[np.int64], ages: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.int64]:
    return last_seen_ns[:, None] - ages.astype(np.int64) * TICK_NS
