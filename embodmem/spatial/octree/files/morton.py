"""Morton codes: the order in which an octree names its nodes, three bits a level, z y x from high to low."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embodmem.spatial.octree.keys import voxel_offsets

__all__ = ["brick_order", "cells_of", "codes_of"]

_SPREAD = ((32, 0xFFFF00000000FFFF), (16, 0xFF0000FF0000FF), (8, 0xF00F00F00F00F00F), (4, 0x30C30C30C30C30C3))
_STEPS = (*_SPREAD, (2, 0x1249249249249249))


def codes_of(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes (N,) of indices (N, 3) of at most 20 bits."""

    def spread(values: NDArray[np.int64]) -> NDArray[np.int64]:
        out = values.astype(np.uint64)
        for shift, mask in _STEPS:
            out = (out | (out << np.uint64(shift))) & np.uint64(mask)
        return out.astype(np.int64)

    codes: NDArray[np.int64] = spread(cells[:, 0]) | (spread(cells[:, 1]) << 1) | (spread(cells[:, 2]) << 2)
    return codes


def cells_of(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices (N, 3) of codes (N,)."""

    def compact(values: NDArray[np.int64]) -> NDArray[np.int64]:
        out: NDArray[np.uint64] = values.astype(np.uint64) & np.uint64(_STEPS[-1][1])
        for (shift, _), (_, mask) in zip(_STEPS[::-1], (*_STEPS[-2::-1], (0, 0xFFFFF)), strict=True):
            out = (out | (out >> np.uint64(shift))) & np.uint64(mask)
        return np.asarray(out, dtype=np.int64)

    return np.stack([compact(codes >> axis) for axis in range(3)], axis=1)


def brick_order() -> NDArray[np.int64]:
    """The place (512,) in a brick of the voxel of each code: indexing a brick by it gives the order of Morton."""
    return np.argsort(codes_of(voxel_offsets())).astype(np.int64)
