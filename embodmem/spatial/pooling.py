"""Octree nodes of any depth as keys, and sums of vectors a node that take in and let go tokens one batch at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.keys import MAX_DEPTH, pack_keys, unpack_keys

Keys = NDArray[np.int64]


def check_depth(depth: Any) -> int:
    """A depth of the octree, 0 (root) .. 24 (voxel).

    Raises:
        InvalidInput: It is none.
    """
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or not 0 <= depth <= MAX_DEPTH:
        raise InvalidInput(f"depth: wanted 0 (root) .. {MAX_DEPTH} (voxel), got {depth!r}")
    return int(depth)


def node_edge_m(depth: int, voxel_size_m: float) -> float:
    """Edge of a node, metres."""
    return voxel_size_m * float(1 << (MAX_DEPTH - depth))


def node_keys(points: NDArray[np.float64], depth: int, voxel_size_m: float) -> Keys:
    """Keys (N,) of the nodes of a depth that hold points (N, 3) in the world, metres.

    Raises:
        InvalidInput: A node's index is outside -2**20 .. 2**20 - 1 (of voxels of 5 cm that is 52 km off).
    """
    return pack_keys(np.floor(points / node_edge_m(depth, voxel_size_m)).astype(np.int64))


def node_centres(keys: Keys, depth: int, voxel_size_m: float) -> NDArray[np.float64]:
    """Centres (N, 3) of nodes (N,) in the world, metres."""
    return (unpack_keys(keys).astype(np.float64) + 0.5) * node_edge_m(depth, voxel_size_m)


def ancestors(keys: Keys, levels: int) -> Keys:
    """Keys (N,) of the nodes that hold nodes (N,), so many levels up."""
    return keys if levels == 0 else pack_keys(unpack_keys(keys) >> levels)


def touching(
    keys: Keys, depth: int, voxel_size_m: float, lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which nodes (N,) touch a box; corners (3,) in the world, metres. A face shared with a node is no touch."""
    edge, slack = node_edge_m(depth, voxel_size_m), 1e-6 * voxel_size_m
    index, low = unpack_keys(keys), lower + slack
    high = np.maximum(upper - slack, low)
    inside: NDArray[np.bool_] = np.all(((index + 1) * edge > low) & (index * edge < high), axis=1)
    return inside


def group_sums(keys: Keys, vectors: NDArray[Any]) -> tuple[Keys, NDArray[np.float64], NDArray[np.int64]]:
    """Distinct keys (M,), ascending, the sums (M, D) of their vectors (N, D), and how many those are (M,).

    Neighbours of one key are added pairwise, and the rest again: log2 of the largest group rounds over whole arrays,
    several times as fast as `np.add.reduceat`, which takes group after group.
    """
    order = np.argsort(keys, kind="stable")
    groups, first, count = np.unique(keys[order], return_index=True, return_counts=True)
    sums = vectors[order].astype(np.float64)
    rank = np.arange(len(keys)) - np.repeat(first, count)
    while (odd := np.flatnonzero(rank & 1)).size:
        sums[odd - 1] += sums[odd]
        even = (rank & 1) == 0
        sums, rank = sums[even], rank[even] >> 1
    return groups, sums, count


class NodeSums:
    """Sum and number of the vectors of each node of one depth.

    Sums are float64: those of float16 vectors are exact (up to 2**13 of the largest), so letting a vector go leaves
    what would be there without it.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._keys: Keys = np.empty(0, np.int64)  # of each slot, in the order of first use
        self._order = np.empty(0, np.intp)  # slots by key
        self._sums = np.empty((0, dim))
        self._lengths = np.empty(0)  # of the sums
        self._counts = np.empty(0, np.int64)

    def add(self, keys: Keys, vectors: NDArray[Any], sign: int = 1) -> None:
        """Add vectors (N, D) to nodes (N,), or with sign -1 let them go again."""
        if not len(keys):
            return
        nodes, sums, count = group_sums(keys, vectors)
        self._make_room(nodes[self.find(nodes) < 0])
        slots = self.find(nodes)
        self._counts[slots] += sign * count
        moved = self._sums[slots] + sign * sums
        moved[self._counts[slots] == 0] = 0.0
        self._sums[slots] = moved
        self._lengths[slots] = np.sqrt(np.einsum("ij,ij->i", moved, moved))

    def _make_room(self, fresh: Keys) -> None:
        if not len(fresh):
            return
        used, wanted = len(self._keys), len(self._keys) + len(fresh)
        self._keys = np.concatenate([self._keys, fresh])
        self._order = np.argsort(self._keys, kind="stable")
        if wanted > len(self._sums):  # twice as much, so that growing costs little a node
            more = max(wanted, 2 * used) - len(self._sums)
            for name in ("_sums", "_lengths", "_counts"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)]))

    def find(self, keys: Keys) -> NDArray[np.intp]:
        """Slots (N,) of nodes (N,), -1 where there never was a vector."""
        if not len(self._keys):
            return np.full(len(keys), -1, np.intp)
        place = np.searchsorted(self._keys, keys, sorter=self._order)
        slots = self._order[np.minimum(place, len(self._order) - 1)]
        return np.where(self._keys[slots] == keys, slots, -1)

    def means(self, keys: Keys) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Mean (N, D) and number (N,) of the vectors of nodes (N,); zeros and 0 where there are none."""
        slots = self.find(keys)
        known = np.flatnonzero(slots >= 0)
        means = np.zeros((len(keys), self._sums.shape[1]), np.float32)
        counts = np.zeros(len(keys), np.int64)
        counts[known] = self._counts[slots[known]]
        means[known] = self._sums[slots[known]] / np.maximum(counts[known], 1)[:, None]
        return means, counts

    def cosines(self, keys: Keys, vector: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Cosines (N,) of a vector (D,) and the means of nodes that have vectors, and how many they have (N,)."""
        slots, used = self.find(keys), len(self._keys)
        most = 4 * len(slots) > used  # then a product with all beats gathering some
        dots = (self._sums[:used] @ vector)[slots] if most else self._sums[slots] @ vector
        cosines = dots / np.maximum(self._lengths[slots] * np.linalg.norm(vector), 1e-30)
        return cosines, self._counts[slots]

    def nodes(self) -> Keys:
        """Keys (M,) of the nodes that have a vector, ascending."""
        keys: Keys = self._keys[self._order]
        return keys[self._counts[self._order] > 0]


class NodeBatch(NamedTuple):
    """Tokens of nodes of any depth: depths (N,), keys (N,), vectors (N, D)."""

    depths: NDArray[np.int64]
    keys: Keys
    vectors: NDArray[Any]

    def above(self, depth: int, sums: NodeSums, sign: int = 1) -> None:
        """Add the tokens, or let them go, in the nodes of one depth that hold theirs."""
        for below in np.unique(self.depths[self.depths >= depth]).tolist():  # 25 depths at most
            here = self.depths == below
            sums.add(ancestors(self.keys[here], below - depth), self.vectors[here], sign)
