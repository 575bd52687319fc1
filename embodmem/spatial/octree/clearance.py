"""How far rays may leap: a map derived from the octree, brought up to date when many rays are cast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.spatial.octree.keys import BRICK_LIMIT, BRICK_VOXELS, pack_keys, unpack_keys

if TYPE_CHECKING:
    from embodmem.spatial.octree.octree import Octree

_MAX_CELLS = 1 << 24
_CHUNK = 4096
_RAYS_A_BRICK = 64
_ROWS = BRICK_VOXELS // 8
_AROUND = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)


class ClearanceMap:
    """For each voxel, how far the nearest occupied and the nearest not free voxel are, up to 8 voxels.

    It takes 640 bytes a brick, and is made only for those who cast thousands of rays.
    """

    def __init__(self) -> None:
        self._keys = np.empty(0, dtype=np.int64)
        self._pages = np.empty(0, dtype=np.int32)
        self._revision = 0
        self._asked = 0
        self._struct: Any = None
        self._room = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        if self._struct is None:
            return 0
        return self._room * (2 * _ROWS + BRICK_VOXELS) + 4 * int(np.prod(self._struct.grid.shape))

    def prepared(self, octree: Octree, rays: int) -> Any:
        """What `cast_far` reads; None where bringing it up to date would cost more than it saves so many rays.

        The caller holds the octree's lock. Rays that had to do without are remembered, so that many small requests
        to a map that stands still get it in the end.
        """
        keys, changed, revision = octree.changed_since(self._revision)
        if self._struct is not None and not changed.any() and np.array_equal(keys, self._keys):
            return self._struct
        self._asked += rays
        if self._asked < _RAYS_A_BRICK * int(np.count_nonzero(changed)):
            return None
        gone = np.setdiff1d(self._keys, keys)
        if not self._arrange(octree, keys):
            return None
        self._fill(octree, keys[changed])
        self._measure(octree, np.concatenate([keys[changed], gone]))
        self._revision, self._asked = revision, 0
        return self._struct

    def _arrange(self, octree: Octree, keys: NDArray[np.int64]) -> bool:
        """Give every brick a page and enter it into the grid; False where the map is too wide for one."""
        import warp as wp

        from embodmem.spatial.octree import kernels_clearance as kernels

        if self._struct is not None and np.array_equal(keys, self._keys):
            return True
        cells = unpack_keys(keys)
        lower = cells.min(axis=0) if len(keys) else np.zeros(3, dtype=np.int64)
        size = cells.max(axis=0) - lower + 1 if len(keys) else np.ones(3, dtype=np.int64)
        if int(np.prod(size)) > _MAX_CELLS:
            return False
        device = octree._launcher.device
        struct = kernels.Clearance() if self._struct is None else self._struct
        order = np.argsort(self._keys)
        at = np.searchsorted(self._keys, keys, sorter=order)
        known = np.zeros(len(keys), dtype=bool)
        if len(order):
            at = order[np.minimum(at, len(order) - 1)]
            known = self._keys[at] == keys
        pages = np.zeros(len(keys), dtype=np.int32)
        pages[known] = self._pages[at[known]]
        free = np.setdiff1d(np.arange(len(keys) + len(self._keys)), pages[known])
        pages[~known] = free[: np.count_nonzero(~known)]
        needed = int(pages.max(initial=-1)) + 1
        if needed > self._room or self._struct is None:
            room = max(needed * 3 // 2, 64)
            for name, width in (("solid", _ROWS), ("closed", _ROWS), ("distance", BRICK_VOXELS)):
                array = wp.zeros((room, width), dtype=wp.uint8, device=device)
                if self._room:
                    wp.copy(array, getattr(struct, name), count=self._room * width)
                setattr(struct, name, array)
            self._room = room
        grid = np.full(size, -1, dtype=np.int32)
        grid[tuple((cells - lower).T)] = pages
        struct.grid = wp.array(grid, dtype=wp.int32, device=device)
        struct.lower, struct.size = wp.vec3i(*lower.tolist()), wp.vec3i(*size.tolist())
        self._struct, self._keys, self._pages = struct, keys, pages
        return True

    def _fill(self, octree: Octree, keys: NDArray[np.int64]) -> None:
        import warp as wp

        from embodmem.spatial.octree import kernels_clearance as kernels

        device, launcher = octree._launcher.device, octree._launcher
        pages = self._pages[np.isin(self._keys, keys)]  # both in the order of the map
        arrays = [wp.array(keys, dtype=wp.int64, device=device), wp.array(pages, dtype=wp.int32, device=device)]
        occupied = float(octree.config.log_odds_occupied)
        launcher.share(kernels.fill_masks, len(keys), 1, [octree._pool.struct, self._struct, *arrays, occupied])

    def _measure(self, octree: Octree, keys: NDArray[np.int64]) -> None:
        """Distances in these bricks, where they are in the map, and in their neighbours."""
        import warp as wp

        from embodmem.spatial.octree import kernels_clearance as kernels

        cells = (unpack_keys(keys)[:, None] + _AROUND).reshape(-1, 3)
        cells = cells[(np.abs(cells) < BRICK_LIMIT).all(axis=1)]
        near = unpack_keys(np.intersect1d(pack_keys(cells), self._keys)).astype(np.int32)
        device, launcher = octree._launcher.device, octree._launcher
        rows = wp.empty((min(len(near), _CHUNK), 2 * 576), dtype=wp.uint32, device=device)
        for begin in range(0, len(near), _CHUNK):
            part = np.ascontiguousarray(near[begin : begin + _CHUNK])
            bricks = wp.array(part, dtype=wp.vec3i, device=device)
            launcher.share(kernels.measure, len(part), 1, [self._struct, bricks, rows])
