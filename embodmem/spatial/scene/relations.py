"""What stands on what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embodmem.spatial.scene.node import ObjectNode

__all__ = ["support_relations"]


def support_relations(
    nodes: Sequence[ObjectNode], gap_m: float = 0.08, sink_share: float = 0.35
) -> list[tuple[int, str, int]]:
    """Which object stands on which.

    A stands on B when the middle of A's footprint lies within B's, A reaches higher than B's middle, and A's lower
    face is near B's upper face: at most `gap_m` above it, and below it by at most `gap_m` or `sink_share` of B's
    height, since the extent of a table often takes in what stands on it. Of several, the nearest face wins, then the
    smaller footprint.

    Args:
        nodes: N objects.
        gap_m: Largest gap between the two faces, metres.
        sink_share: How deep A may reach into B, as part of B's height.

    Returns:
        (id of A, "on", id of B), at most one for each A, in the order of `nodes`.
    """
    if len(nodes) < 2:
        return []
    lower = np.array([n.lower for n in nodes])
    upper = np.array([n.upper for n in nodes])
    area = np.maximum((upper - lower)[:, :2].prod(axis=1), 1e-6)
    height = (upper - lower)[:, 2]
    middle = (lower + upper) / 2
    inside = ((middle[:, None, :2] >= lower[None, :, :2]) & (middle[:, None, :2] <= upper[None, :, :2])).all(axis=2)
    rise = lower[:, None, 2] - upper[None, :, 2]
    sink = np.maximum(gap_m, sink_share * height)[None]
    stands = inside & (rise <= gap_m) & (rise >= -sink) & (middle[:, None, 2] > middle[None, :, 2])
    # What is larger than its support in both directions does not stand on it: a table is not on the mug below it.
    stands &= area[:, None] <= 4.0 * area[None]
    np.fill_diagonal(stands, False)
    cost = np.where(stands, np.abs(rise) + 1e-3 * area[None], np.inf)
    best = cost.argmin(axis=1)
    return [(nodes[a].id, "on", nodes[b].id) for a, b in enumerate(best.tolist()) if np.isfinite(cost[a, b])]
