"""Which detection is which object: gated costs, and a one-to-one assignment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SceneConfig
from embodmem.spatial.scene.lift import Observation
from embodmem.spatial.scene.node import ObjectNode

__all__ = ["assign", "costs", "displacement", "same_object"]

Floats = NDArray[np.float64]

_EMBEDDING_COST = 9.0
"""What a cosine of 0 between embeddings adds to a cost, in squared standard deviations: three of them."""

_UNLIKE = 0.5
"""Nodes whose mean embeddings have a cosine below this are not merged."""


def costs(seen: Sequence[Observation], nodes: Sequence[ObjectNode], config: SceneConfig) -> Floats:
    """How badly each observation fits each node.

    Args:
        seen: N observations.
        nodes: M nodes.
        config: `gate_sigma`.

    Returns:
        (N, M): squared Mahalanobis distance, plus a share for unlike embeddings; inf where the two cannot be one
        object (another label, another instance id, or beyond the gate); -1 where both bear the same instance id.
    """
    result = np.full((len(seen), len(nodes)), np.inf)
    if not seen or not nodes:
        return result
    ids_seen = np.array([-1 if o.instance_id is None else o.instance_id for o in seen], dtype=np.int64)
    ids_node = np.array([-1 if n.instance_id is None else n.instance_id for n in nodes], dtype=np.int64)
    same_label = np.array([o.label for o in seen])[:, None] == np.array([n.label for n in nodes])[None]
    either_unknown = (ids_seen[:, None] < 0) | (ids_node[None] < 0)
    i, j = np.nonzero(same_label & either_unknown)
    if len(i):
        away = np.array([o.position for o in seen])[i] - np.array([n.position for n in nodes])[j]
        spread = np.array([o.covariance for o in seen])[i] + np.array([n.covariance() for n in nodes])[j]
        cost = np.einsum("ki,ki->k", away, np.linalg.solve(spread, away[..., None])[..., 0])
        near = cost <= config.gate_sigma**2
        i, j, cost = i[near], j[near], cost[near] + _unlike(seen, nodes, i[near], j[near])
        near = cost <= config.gate_sigma**2
        result[i[near], j[near]] = cost[near]
    result[(ids_seen[:, None] == ids_node[None]) & (ids_seen[:, None] >= 0)] = -1.0
    return result


def _unlike(
    seen: Sequence[Observation], nodes: Sequence[ObjectNode], i: NDArray[np.intp], j: NDArray[np.intp]
) -> Floats:
    """Cost (K,) of the embeddings of each pair; 0 where one of the two has none."""
    pairs = zip(i.tolist(), j.tolist(), strict=True)
    return np.array([_EMBEDDING_COST * (1.0 - _cosine(seen[a].embedding, nodes[b].embedding)) for a, b in pairs])


def _cosine(a: NDArray[np.float32] | None, b: NDArray[np.float32] | None) -> float:
    """Of two unit vectors; 1 where one is unknown, or they are of different encoders."""
    return 1.0 if a is None or b is None or a.shape != b.shape else float(a @ b)


def assign(cost: Floats) -> list[tuple[int, int]]:
    """Pairs (row, column) such that each is used at most once, the cheapest first.

    Greedy: where detections of one label stand so near each other that an optimal assignment would differ, the gate
    has let both through, and the nearest pair is the one to trust.
    """
    rows, cols = np.nonzero(np.isfinite(cost))
    order = np.lexsort((cols, rows, cost[rows, cols]))
    pairs: list[tuple[int, int]] = []
    used_rows: set[int] = set()
    used_cols: set[int] = set()
    for row, col in zip(rows[order].tolist(), cols[order].tolist(), strict=True):
        if row not in used_rows and col not in used_cols:
            pairs.append((row, col))
            used_rows.add(row)
            used_cols.add(col)
    return pairs


def displacement(seen: Observation, node: ObjectNode) -> float:
    """How far a view shows an object from its place, metres, beyond what a partial view explains.

    A view of a part of the object lies within its extent, so half the difference of the sizes does not count. A view
    that the image cuts off proves no more than the gap between the two boxes.
    """
    if seen.at_border:
        gap = np.maximum(np.maximum(seen.lower - node.upper, node.lower - seen.upper), 0.0)
        return float(np.linalg.norm(gap))
    between = np.abs((seen.lower + seen.upper - node.lower - node.upper) / 2)
    slack = np.abs((seen.upper - seen.lower) - (node.upper - node.lower)) / 2
    return float(np.linalg.norm(np.maximum(between - slack, 0.0)))


def same_object(a: ObjectNode, b: ObjectNode, config: SceneConfig) -> bool:
    """Whether two nodes turned out to be one object: same label, same place, and never two in one image."""
    if a.label != b.label or (a.instance_id is not None and b.instance_id is not None):
        return False
    if _cosine(a.embedding, b.embedding) < _UNLIKE:
        return False
    distance = float(np.linalg.norm(a.position - b.position))
    size = (a.size + b.size) / 2
    # Twice detected at nearly one place is one object detected twice; a little farther, it is two of them.
    if b.id in a.apart and distance > 0.25 * size:
        return False
    if distance < config.merge_ratio * size:
        return True
    common = np.clip(np.minimum(a.upper, b.upper) - np.maximum(a.lower, b.lower), 0.0, None).prod()
    return bool(common > 0.5 * max(1e-9, min((a.upper - a.lower).prod(), (b.upper - b.lower).prod())))
