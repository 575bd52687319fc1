"""Parts of the map copied out as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embodmem.spatial.octree.keys import BRICK_VOXELS

if TYPE_CHECKING:
    from embodmem.spatial.octree.octree import Octree

_NEWEST = (1 << 31) - 1


def brick_keys(octree: Octree) -> NDArray[np.int64]:
    """Keys (N,) of all bricks."""
    return octree.changed_since(_NEWEST)[0]


def gather(octree: Octree, keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-odds (N, 512) of bricks by key, NaN where unknown, absent bricks included."""
    import warp as wp

    from embodmem.spatial.octree import kernels_surface

    device = octree._launcher.device
    values = wp.empty((len(keys), BRICK_VOXELS), dtype=wp.float32, device=device)
    with octree._lock:
        inputs = [octree._pool.struct, wp.array(keys, dtype=wp.int64, device=device), values]
        octree._launcher.share(kernels_surface.gather_bricks, len(keys), 1, inputs, worth=64)
        found: NDArray[np.float32] = values.numpy()
    return found
