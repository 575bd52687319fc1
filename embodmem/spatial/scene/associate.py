"""Which detection is which object: gated costs, and a one-to-one assignment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SceneConfig
from embodmem.spatial.scene.lift import Observation
from embodmem.spatial.scene.node import ObjectNode

__all__ = ["assign", "costs", "displacement", "find_same"]

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
    known = {n.instance_id: j for j, n in enumerate(nodes) if n.instance_id is not None}
    by_label: dict[str, list[int]] = {}
    for j, node in enumerate(nodes):
        by_label.setdefault(node.label, []).append(j)
    pairs = [
        (i, j)
        for i, o in enumerate(seen)
        if o.instance_id not in known
        for j in by_label.get(o.label, ())
        if o.instance_id is None or nodes[j].instance_id is None
    ]
    if pairs:
        rows, cols = np.array(pairs).T
        away = np.array([seen[i].position for i, _ in pairs]) - np.array([nodes[j].position for _, j in pairs])
        spread = np.array([seen[i].covariance for i, _ in pairs]) + np.array([nodes[j].covariance() for _, j in pairs])
        cost = np.einsum("ki,ki->k", away, np.linalg.solve(spread, away[..., None])[..., 0])
        near = cost <= config.gate_sigma**2
        rows, cols = rows[near], cols[near]
        cost = cost[near] + _unlike(seen, nodes, rows, cols)
        near = cost <= config.gate_sigma**2
        result[rows[near], cols[near]] = cost[near]
    for i, o in enumerate(seen):
        if o.instance_id is not None and o.instance_id in known:
            result[i, known[o.instance_id]] = -1.0
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


def find_same(node: ObjectNode, others: Sequence[ObjectNode], config: SceneConfig) -> ObjectNode | None:
    """The node that turned out to be the same object: same label, same place, and never two in one image.

    Args:
        node: The one to compare.
        others: N nodes.
        config: `merge_ratio`.

    Returns:
        The nearest of `others` that is nearer than `merge_ratio` of their mean size, or shares more than half the
        volume of the smaller; None if there is none.
    """
    fit = [o for o in others if o is not node and o.label == node.label and _may_merge(node, o)]
    if not fit:
        return None
    lower, upper = np.array([o.lower for o in fit]), np.array([o.upper for o in fit])
    distance = np.linalg.norm(np.array([o.position for o in fit]) - node.position, axis=1)
    size = ((upper - lower).max(axis=1) + node.size) / 2
    common = np.clip(np.minimum(upper, node.upper) - np.maximum(lower, node.lower), 0.0, None).prod(axis=1)
    smaller = np.minimum((upper - lower).prod(axis=1), (node.upper - node.lower).prod())
    same = (distance < config.merge_ratio * size) | (common > 0.5 * np.maximum(smaller, 1e-9))
    # Twice detected at nearly one place is one object detected twice; a little farther, it is two of them.
    same &= ~np.array([o.id in node.apart for o in fit]) | (distance <= 0.25 * size)
    return fit[int(np.where(same, distance, np.inf).argmin())] if same.any() else None


def _may_merge(a: ObjectNode, b: ObjectNode) -> bool:
    return (a.instance_id is None or b.instance_id is None) and _cosine(a.embedding, b.embedding) >= _UNLIKE
