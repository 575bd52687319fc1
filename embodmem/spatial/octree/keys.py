"""Brick keys and voxel indices as plain integers; the names and numbers that the whole octree shares.

A voxel has signed indices (x, y, z) = floor(position / voxel size). A brick is 8x8x8 of them, and its indices are the
voxel's shifted right by 3. A key packs the three signed 21 bit brick indices into one non-negative int64, each moved
up by 2**20. Inside a brick the flat index is (z * 8 + y) * 8 + x, so that a row along x is contiguous.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput

__all__ = [
    "BRICK_EDGE",
    "BRICK_LIMIT",
    "BRICK_VOXELS",
    "EMPTY",
    "FREE",
    "LAST_TICK",
    "MAX_DEPTH",
    "OCCUPIED",
    "TICK_NS",
    "UNKNOWN",
    "pack_keys",
    "unpack_keys",
    "voxel_offsets",
]

OCCUPIED, FREE, UNKNOWN = 1, 0, -1
"""The three states that `Octree.occupancy` answers with."""

BRICK_EDGE = 8
"""Voxels along the edge of a brick."""
BRICK_VOXELS = BRICK_EDGE**3
BRICK_LIMIT = 1 << 20
"""Brick indices lie in -BRICK_LIMIT .. BRICK_LIMIT - 1."""
MAX_DEPTH = 24
"""Depth of a voxel: 21 levels of bricks and 3 inside a brick. Depth 0 is the root, 2**24 voxels wide."""
TICK_NS = 1 << 29
"""When a single voxel was last observed is kept in ticks of about 0.54 s; a brick keeps the nanosecond."""
LAST_TICK = (1 << 16) - 1
"""Ticks are counted from a base that moves along, so that the last five hours at least are told apart."""
EMPTY = -1
"""No key: marks a vacant place of the hash table."""

_MASK = (1 << 21) - 1


def pack_keys(bricks: NDArray[np.integer]) -> NDArray[np.int64]:
    """Keys (N,) int64 of brick indices (N, 3).

    Raises:
        InvalidInput: The shape is another, or an index is outside -2**20 .. 2**20 - 1.
    """
    bricks = np.asarray(bricks)
    if bricks.ndim != 2 or bricks.shape[1] != 3 or bricks.dtype.kind not in "iu":
        raise InvalidInput(f"bricks: wanted integer indices (N, 3), got shape {bricks.shape} {bricks.dtype}")
    if bricks.size and (bricks.min() < -BRICK_LIMIT or bricks.max() >= BRICK_LIMIT):
        raise InvalidInput(f"bricks: wanted indices in -2**20 .. 2**20 - 1, got {bricks.min()} .. {bricks.max()}")
    moved = bricks.astype(np.int64) + BRICK_LIMIT
    keys: NDArray[np.int64] = (moved[:, 0] << 42) | (moved[:, 1] << 21) | moved[:, 2]
    return keys


def unpack_keys(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Brick indices (N, 3) int64 of keys (N,).

    Raises:
        InvalidInput: A key is negative or wider than 63 bits, or the shape is another.
    """
    keys = np.asarray(keys)
    if keys.ndim != 1 or keys.dtype != np.int64 or (keys.size and keys.min() < 0):
        raise InvalidInput(f"keys: wanted (N,) int64 >= 0, got shape {keys.shape} {keys.dtype}")
    return np.stack([keys >> 42, (keys >> 21) & _MASK, keys & _MASK], axis=1) - BRICK_LIMIT


def voxel_offsets() -> NDArray[np.int64]:
    """(512, 3) x, y, z of every voxel inside its brick, in the order of storage."""
    index = np.arange(BRICK_VOXELS)
    return np.stack([index % 8, index // 8 % 8, index // 64], axis=1)


def to_ticks(stamp_ns: NDArray[np.int64] | int, base: int) -> NDArray[np.uint16]:
    """Ticks of stamps after a base, which is in ticks: 1 .. 65535, of which the last spans all that comes after.

    0 means never observed; what lies before the base counts as the first tick.
    """
    ticks = np.asarray(stamp_ns, dtype=np.int64) // TICK_NS - base
    return np.clip(ticks, 1, LAST_TICK).astype(np.uint16)


def from_ticks(ticks: NDArray[np.uint16], base: int) -> NDArray[np.int64]:
    """Stamps, ns, at which ticks begin; -1 where never observed."""
    return np.where(ticks == 0, -1, (ticks.astype(np.int64) + base) * TICK_NS)
