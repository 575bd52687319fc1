"""Surface elements: leaves of the octree about as wide as a hand, packed into keys, and sets of them as bytes.

A leaf of `depth` has signed indices floor(position / edge), and its key packs them into 3 x 21 bits as the key of a
brick does (`embodmem.spatial.octree.keys`), but modulo 2**21: the map reaches farther in leaves than in bricks. Two
leaves of one key lie 2**21 edges apart (210 km of 10 cm leaves), so whoever compares keys also asks how far off the
camera was.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import DamagedMemory

ELEMENT_M = 0.1
"""How wide a surface element should be, metres."""

_MASK = (1 << 21) - 1
_MAX_DEPTH = 24  # of a voxel


def element_depth(voxel_size_m: float) -> int:
    """Depth of the octree whose leaves come nearest to 10 cm, at least two voxels wide (on a scale of ratios)."""
    return _MAX_DEPTH - min(max(round(math.log2(ELEMENT_M / voxel_size_m)), 1), 3)


def element_edge_m(voxel_size_m: float) -> float:
    """Edge of a surface element, metres."""
    return float(voxel_size_m * (1 << (_MAX_DEPTH - element_depth(voxel_size_m))))


def leaf_keys(points: NDArray[np.floating[Any]], edge_m: float) -> NDArray[np.int64]:
    """Keys (N,) int64 of the leaves that hold points (N, 3) in the world, metres."""
    index = np.floor(points / edge_m).astype(np.int64) & _MASK
    keys: NDArray[np.int64] = (index[:, 0] << 42) | (index[:, 1] << 21) | index[:, 2]
    return keys


def leaves_within(
    keys: NDArray[np.int64], lower: NDArray[np.float64], upper: NDArray[np.float64], edge_m: float
) -> NDArray[np.bool_]:
    """Which leaves (N,) touch a box; corners (3,) in the world, metres, infinity allowed.

    Indices are compared modulo 2**21, so that a leaf is never kept because its key wrapped.
    """
    limit = float(1 << 24)
    first = np.floor(np.clip(lower / edge_m + 1e-6, -limit, limit)).astype(np.int64)
    last = np.ceil(np.clip(upper / edge_m - 1e-6, -limit, limit)).astype(np.int64) - 1
    size = np.maximum(last - first, 0)
    index = np.stack([keys >> 42, (keys >> 21) & _MASK, keys & _MASK], axis=1)
    inside: NDArray[np.bool_] = (((index - first) & _MASK) <= size).all(axis=1)
    return inside


def encode_leaves(keys: NDArray[np.int64]) -> bytes:
    """A set of leaves, sorted and distinct, as bytes: differences of the sorted keys, byte plane by byte plane."""
    steps = np.diff(keys, prepend=np.int64(0)).astype("<i8")
    planes = np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 8).T)
    return zlib.compress(planes.tobytes(), 6)


def decode_leaves(blob: bytes) -> NDArray[np.int64]:
    """The keys (N,) of `encode_leaves`.

    Raises:
        DamagedMemory: The bytes are none of `encode_leaves`.
    """
    try:
        raw = zlib.decompress(blob)
    except zlib.error as error:
        raise DamagedMemory(f"surface of a keyframe: wanted a set of leaves, got damaged bytes: {error}") from error
    if len(raw) % 8:
        raise DamagedMemory(f"surface of a keyframe: wanted 8 bytes a leaf, got {len(raw)} bytes")
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(8, -1)
    keys: NDArray[np.int64] = np.cumsum(np.ascontiguousarray(planes.T).reshape(-1).view("<i8"), dtype=np.int64)
    return keys
