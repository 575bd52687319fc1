"""Frontiers: where free space borders on what nobody has seen, to explore from there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput

if TYPE_CHECKING:
    from embodmem.spatial.octree import Octree

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Frontiers:
    """Clusters of frontier voxels, the largest first.

    Attributes:
        sizes: (M,) int64 voxels in each cluster.
        centres: (M, 3) means of their middles, metres in the world.
        places: (M, 3) middle of the cluster's voxel that is nearest to its centre: a free place on the frontier.
        directions: (M, 3) unit vectors from free to unknown, the mean over the cluster; zero where it has none.
        voxels: (N, 3) middles of all voxels of the clusters, metres in the world.
        labels: (N,) int64 cluster of each voxel.
    """

    sizes: NDArray[np.int64]
    centres: Array
    places: Array
    directions: Array
    voxels: Array
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)


def frontiers(octree: Octree, z_low_m: float = -math.inf, z_high_m: float = math.inf, min_voxels: int = 1) -> Frontiers:
    """Free voxels beside an unknown one (Yamauchi, CIRA 1997), in clusters that hang together.

    A frontier voxel is free and one of the six that share a face with it is unknown. Two of them belong to one
    cluster when they share a face, an edge or a corner.

    Args:
        octree: The map.
        z_low_m: Only voxels with their middle at this height or above, metres in the world.
        z_high_m: And at this height or below.
        min_voxels: Smaller clusters are left out.

    Raises:
        InvalidInput: The heights are not in order, or `min_voxels` is below 1.
    """
    if not z_low_m <= z_high_m:
        raise InvalidInput(f"frontiers: wanted z_low_m <= z_high_m, got {z_low_m} and {z_high_m}")
    if isinstance(min_voxels, bool) or not min_voxels >= 1:
        raise InvalidInput(f"frontiers: wanted min_voxels of 1 or more, got {min_voxels!r}")
    size = octree.config.voxel_size_m
    limit = float(1 << 24)
    lowest = math.ceil(max(-limit, min(limit, z_low_m / size - 0.5 - 1e-9)))
    highest = math.floor(max(-limit, min(limit, z_high_m / size - 0.5 + 1e-9)))
    voxels, opens, roots = _find(octree, lowest, highest)
    firsts, labels, counts = np.unique(roots, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= min_voxels]
    rank: NDArray[np.int64] = np.full(len(firsts), -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    ranks = rank[labels.reshape(-1)]
    kept = ranks >= 0
    middles: Array = (voxels[kept].astype(np.float64) + 0.5) * size
    ranks = ranks[kept]
    return _clusters(middles, opens[kept].astype(np.float64), ranks, counts[order])


def _clusters(middles: Array, opens: Array, ranks: NDArray[np.int64], sizes: NDArray[np.int64]) -> Frontiers:
    count = len(sizes)

    def mean(values: Array) -> Array:
        sums = [np.bincount(ranks, values[:, axis], count) for axis in range(3)]
        return np.stack(sums, axis=1) / sizes[:, None]

    centres, directions = mean(middles), mean(opens)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    away = ((middles - centres[ranks]) ** 2).sum(axis=1)
    by_cluster = np.lexsort((away, ranks))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64) if count else np.empty(0, np.int64)
    return Frontiers(
        sizes=sizes.astype(np.int64),
        centres=centres,
        places=middles[by_cluster[starts]],
        directions=np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 1e-12),
        voxels=middles,
        labels=ranks,
    )


def _find(octree: Octree, lowest: int, highest: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Indices (N, 3) of the frontier voxels, sums (N, 3) of the steps to the unknown, and the first of each's set."""
    import warp as wp

    from embodmem.planning import kernels_frontier as kernels

    launcher = octree._launcher
    device = launcher.device
    with octree._lock:
        pool = octree._pool
        slots = wp.array(pool.find(octree.changed_since(0)[0]), dtype=wp.int32, device=device)
        n, layers, capacity = len(slots), kernels.Layers(), len(pool.struct.keys)
        layers.free = wp.empty((capacity, 8), dtype=wp.uint64, device=device)
        layers.unknown = wp.full((capacity, 8), 2**64 - 1, dtype=wp.uint64, device=device)
        layers.frontier = wp.zeros((capacity, 8), dtype=wp.uint64, device=device)
        layers.first = wp.empty((capacity, 8), dtype=wp.int32, device=device)
        launcher.share(kernels.read_layers, n, 8, [pool.struct, slots, layers])
        counts = wp.empty((n, 8), dtype=wp.int32, device=device)
        launcher.share(kernels.find_frontier, n, 8, [pool.struct, slots, layers, lowest, highest, counts])
        ends = np.cumsum(counts.numpy().ravel()) if n else np.zeros(1, dtype=np.int64)
        total = int(ends[-1])
        if not total:
            return np.empty((0, 3), np.int32), np.empty((0, 3), np.int32), np.empty(0, np.int32)
        offsets = (ends - counts.numpy().ravel()).astype(np.int32).reshape(n, 8)
        voxels, opens = (wp.empty(total, dtype=wp.vec3i, device=device) for _ in range(2))
        inputs: list[Any] = [layers, wp.array(offsets, dtype=wp.int32, device=device), voxels, opens]
        launcher.share(kernels.list_frontier, n, 8, [pool.struct, slots, *inputs])
        parent = wp.array(np.arange(total, dtype=np.int32), device=device)
        launcher.run(kernels.unite_neighbours, total, [pool.struct, layers, voxels, parent])
    labels = wp.empty(total, dtype=wp.int32, device=device)
    launcher.share(kernels.label_sets, total, 1, [parent, labels], worth=4096)
    return voxels.numpy(), opens.numpy(), labels.numpy()
