"""The octree above the bricks: what every node at a depth holds, brought up to date when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.spatial.octree.keys import (
    BRICK_EDGE,
    BRICK_LIMIT,
    MAX_DEPTH,
    from_ticks,
    unpack_keys,
)
from embodmem.spatial.octree.pool import BrickPool

BRICK_DEPTH = MAX_DEPTH - 3


@dataclass(frozen=True)
class Level:
    """All nodes at one depth of the octree in which something was observed.

    Attributes:
        depth: 0 (root) .. `MAX_DEPTH` (voxel).
        edge_m: Edge of a node, metres.
        nodes: (M, 3) int64; a node fills nodes * edge_m .. (nodes + 1) * edge_m of the world; 0 for the root.
        low: (M,) float32, lowest log-odds of a known voxel in it.
        high: (M,) float32, highest log-odds.
        has_unknown: (M,) bool, whether any voxel in it was never observed.
        last_seen_ns: (M,) int64, when something in it was last observed.
    """

    depth: int
    edge_m: float
    nodes: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    has_unknown: NDArray[np.bool_]
    last_seen_ns: NDArray[np.int64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """(M, 3) in the world, metres."""
        if self.depth == 0:  # the root has the origin of the world in its middle
            return np.zeros((len(self.nodes), 3))
        centres = np.asarray((self.nodes + 0.5) * self.edge_m, dtype=np.float64)
        return centres


class Levels:
    """Levels of one pool. A node is looked at again only after something in it changed."""

    def __init__(self, pool: BrickPool, voxel_size_m: float) -> None:
        self._pool = pool
        self._size = voxel_size_m
        self._done = 0
        self._cache: dict[int, tuple[NDArray[Any], ...]] = {}
        self._cached = (-1, 0)

    def refresh(self) -> None:
        """Bring the bricks' own numbers up to date."""
        from embodmem.spatial.octree import kernels_summary

        pool, revision = self._pool, int(self._pool.struct.revision)
        slots = np.flatnonzero(pool.host("touched") > self._done).astype(np.int32)
        if len(slots):
            inputs = [pool.struct, pool.on_device(slots, np.int32)]
            pool.launcher.share(kernels_summary.summarise, len(slots), 1, inputs, worth=256)
        self._done = revision - 1

    def at(self, depth: int) -> Level:
        """The level at a depth."""
        self.refresh()
        if depth > BRICK_DEPTH:
            return self._inside(depth, self._pool.observed())
        codes, low, high, holes, seen = self._above(depth)
        edge_m = self._size * (1 << (MAX_DEPTH - depth))
        nodes = _from_morton(codes) - (BRICK_LIMIT >> (BRICK_DEPTH - depth))
        return Level(depth, edge_m, nodes, low, high, holes, seen)

    def leaves(self, depth: int, above: float) -> tuple[NDArray[np.float64], float]:
        """Centres (M, 3) of nodes at a depth that hold a voxel with log-odds above a value, and their edge, metres."""
        if depth > BRICK_DEPTH:
            self.refresh()
            with np.errstate(invalid="ignore"):
                slots = np.flatnonzero((self._pool.host("high") > above) & (self._pool.host("last_seen") >= 0))
            level = self._inside(depth, slots.astype(np.int32))
        else:
            level = self.at(depth)
        return level.centres[level.high > above], level.edge_m

    def _above(self, depth: int) -> tuple[NDArray[Any], ...]:
        """Codes, low, high, unknown and last seen of the nodes at a depth of bricks or above, by their parents."""
        state = (int(self._pool.struct.revision), self._pool.used)
        if self._cached != state:
            self._cache, self._cached = {}, state
        if depth in self._cache:
            return self._cache[depth]
        if depth == BRICK_DEPTH:
            slots = self._pool.observed()
            names = ("keys", "low", "high", "holes", "last_seen")
            keys, low, high, holes, seen = (self._pool.host(name)[slots] for name in names)
            codes = _to_morton(unpack_keys(keys) + BRICK_LIMIT)
            order = np.argsort(codes)
            level = tuple(array[order] for array in (codes, low, high, holes.astype(bool), seen))
        else:
            level = _parents(*self._above(depth + 1))
        self._cache[depth] = level
        return level

    def _inside(self, depth: int, slots: NDArray[np.int32]) -> Level:
        """Nodes inside bricks, from their voxels."""
        values, ticks = self._pool.read(slots)
        edge = 1 << (MAX_DEPTH - depth)
        side = BRICK_EDGE // edge
        shape = (len(slots), side, edge, side, edge, side, edge)
        cells = values.reshape(shape)
        known = ~np.isnan(cells)
        axes = (2, 4, 6)
        any_known = known.any(axis=axes).reshape(len(slots), side**3)
        low = np.where(known, cells, np.inf).min(axis=axes).reshape(any_known.shape)[any_known]
        high = np.where(known, cells, -np.inf).max(axis=axes).reshape(any_known.shape)[any_known]
        holes = ~known.all(axis=axes).reshape(any_known.shape)[any_known]
        seen = from_ticks(ticks.reshape(shape).max(axis=axes).reshape(any_known.shape)[any_known], self._pool.base or 0)
        brick, place = np.nonzero(any_known)
        offset = np.stack([place % side, place // side % side, place // side**2], axis=1)
        nodes = unpack_keys(self._pool.host("keys")[slots])[brick] * side + offset
        return Level(depth, self._size * edge, nodes, low.astype(np.float32), high.astype(np.float32), holes, seen)


def _parents(
    codes: NDArray[np.int64],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    holes: NDArray[np.bool_],
    seen: NDArray[np.int64],
) -> tuple[NDArray[Any], ...]:
    """The level above; children of a node follow each other in Morton order."""
    if not len(codes):
        return codes, low, high, holes, seen
    parents = codes >> 3
    first = np.flatnonzero(np.concatenate([[True], parents[1:] != parents[:-1]]))
    count = np.diff(np.append(first, len(codes)))
    return (
        parents[first],
        np.fmin.reduceat(low, first),
        np.fmax.reduceat(high, first),
        np.logical_or.reduceat(holes, first) | (count < 8),
        np.maximum.reduceat(seen, first),
    )


def _to_morton(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes (N,) of indices (N, 3) of 21 bits: their bits interleaved, z y x from the highest (Morton, 1966)."""
    spread = index.copy()
    for shift, mask in _STEPS:
        spread = (spread | spread << shift) & mask
    code: NDArray[np.int64] = spread[:, 2] << 2 | spread[:, 1] << 1 | spread[:, 0]
    return code


def _from_morton(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices (N, 3) of codes (N,)."""
    spread = np.stack([codes, codes >> 1, codes >> 2], axis=1) & _STEPS[-1][1]
    for (shift, _), mask in zip(
        reversed(_STEPS), [*(mask for _, mask in reversed(_STEPS[:-1])), 0x1FFFFF], strict=True
    ):
        spread = (spread | spread >> shift) & mask
    return spread


_STEPS = (
    (32, 0x1F00000000FFFF),
    (16, 0x1F0000FF0000FF),
    (8, 0x100F00F00F00F00F),
    (4, 0x10C30C30C30C30C3),
    (2, 0x1249249249249249),
)
