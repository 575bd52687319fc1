"""Projective integration of depth images: the host's side of `kernels_depth`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SpatialConfig
from embodmem.errors import DepthError
from embodmem.geometry import Pose
from embodmem.spatial.octree.keys import BRICK_EDGE, BRICK_LIMIT
from embodmem.spatial.octree.pool import BrickPool
from embodmem.types import PinholeCamera

_TILE, _COARSE = 16, 64
NUDGE = 2e-3
"""How much deeper than measured points are taken to lie, in voxels."""
MARGIN = 0.35
"""How far in front of the surface the centre of a free voxel lies at least, in voxels along the optical axis; so much
below a half that the voxel in front of a wall on a face of voxels is free."""


def spacing_px(camera: PinholeCamera, config: SpatialConfig) -> int:
    """How many pixels apart, along lines and columns, the points are that mark voxels.

    Odd, so that each is the middle one of its block. At `max_range_m` at least one of them falls into the width of a
    voxel, where the camera has so many pixels.
    """
    return 1 + 2 * int(config.voxel_size_m * min(camera.fx, camera.fy) / config.max_range_m / 4.0)


class DepthIntegrator:
    """Adds depth images to a pool; keeps the buffers between images.

    The sensor model (docs/sensor-models.md; Hornung et al., Autonomous Robots 2013, eq. 2 and 4, with this inverse
    model), for a voxel whose centre lies z along the optical axis, and the depth d of the pixel nearest to it:

    - it is hit where it holds the point, taken to lie `NUDGE` voxels deeper, of a pixel of every `spacing_px`-th column
      and line with min_range_m <= d <= max_range_m; where those points lie more than a voxel apart, also if
      -`MARGIN` voxels <= z - d <= half a voxel;
    - else it is seen through if d >= min_range_m, z < d - `MARGIN` voxels and z <= max_range_m;
    - else the image says nothing about it.
    """

    def __init__(self, config: SpatialConfig, pool: BrickPool) -> None:
        import warp as wp

        from embodmem.spatial.octree import kernels_depth, kernels_rows

        self._kernels, self._rows = kernels_depth, kernels_rows
        self._config = config
        self._pool = pool
        self._device = pool.launcher.device
        self._count = wp.zeros(1, dtype=wp.int32, device=self._device)
        self._near_bits = int(np.float32(config.min_range_m).view(np.int32))
        self._camera: PinholeCamera | None = None
        self._view = kernels_rows.View()
        self._items = wp.empty(0, dtype=wp.int32, device=self._device)
        # One bit a voxel of every block, for each worker.
        shape = (pool.launcher.workers, pool.blocks + 1)
        self._marks = wp.zeros((*shape, 16), dtype=wp.uint32, device=self._device)
        self._layers = wp.array(ptr=self._marks.ptr, shape=(*shape, 8), dtype=wp.uint64, device=self._device)

    @property
    def nbytes(self) -> int:
        """Bytes of the marks, reserved once; buffers of the size of an image or of its bricks do not count."""
        return int(self._marks.capacity)

    def integrate(self, depth: NDArray[np.float32], camera: PinholeCamera, T_world_camera: Pose, update: Any) -> None:
        """Add one image of checked shape and dtype; update is a `kernels_pool.Update`."""
        import warp as wp

        if camera != self._camera:
            self._look_through(camera)
        image, blocks = self._upload(depth)
        farthest = self._reduce(blocks)
        if farthest < self._config.min_range_m:
            return
        lower, size = self._turn(T_world_camera, min(farthest, self._config.max_range_m))
        if min(size) <= 0:
            return
        self._make_room(size)
        rows, box = size[1] * size[2], [wp.vec3i(*lower), wp.vec3i(*size)]
        launcher, kernels, pool = self._pool.launcher, self._kernels, self._pool.struct
        inputs = [self._view, *box, self._fine, self._coarse, self._classes, self._spans, self._count]
        launcher.share(kernels.classify_bricks, rows, 1, inputs, worth=512, recorded=True)
        found = [self._items, self._item_spans, self._count]
        inputs = [pool, *box, self._classes, self._spans, self._config.log_odds_miss, update, self._marks, *found]
        launcher.run(kernels.claim_bricks, rows, inputs, recorded=True)
        items = int(self._count.numpy()[0])
        self._mark(image)
        arrays = [pool.keys, pool.block, pool.rows, pool.seen_rows]
        inputs = [*arrays, self._view, image, self._items, self._item_spans, self._layers, update, self._results, items]
        launcher.share(self._rows.integrate_rows, items, 8, inputs, recorded=True, parts=4)
        self._pool.settle_rows(self._items, items, self._results, update)

    def _upload(self, depth: NDArray[np.float32]) -> tuple[Any, Any]:
        """The image on the device line after line, and the same memory as blocks of 16 px (the last filled with 0)."""
        import warp as wp

        height, width = depth.shape
        blocks = -(-width // _TILE)
        if width % _TILE:
            depth = np.pad(depth, ((0, 0), (0, blocks * _TILE - width)))
        image = wp.array(np.ascontiguousarray(depth).ravel(), dtype=wp.float32, device=self._device, copy=False)
        tiled = wp.array(ptr=image.ptr, shape=(height, blocks), dtype=self._kernels.bits16, device=self._device)
        return image, tiled

    def _reduce(self, blocks: Any) -> float:
        """Fill the tiles; returns the farthest depth of the image."""
        inputs = [blocks, self._near_bits, self._fine, self._coarse, self._bad]
        bands = self._coarse.shape[0]
        self._pool.launcher.share(self._kernels.reduce_tiles, bands, 1, inputs, worth=4, recorded=True)
        if self._bad.numpy().any():
            self._bad.zero_()
            raise DepthError("depth: wanted finite metres >= 0 with 0 for no return, got NaN, infinite or negative")
        farthest = np.int32(self._coarse.numpy()[..., 1].max())
        return float(farthest.view(np.float32))

    def _mark(self, image: Any) -> None:
        """Mark the voxels that hold points."""
        view, every = self._view, self._every
        limits = [view.width, view.pitch, view.near_m, view.far_m]
        geometry = [self._rays, self._origin, view.base, every, NUDGE * self._config.voxel_size_m]
        inputs = [self._pool.struct, image, *limits, *geometry, self._marks]
        lines = len(range(every // 2, view.height, every))
        self._pool.launcher.share(self._kernels.mark_points, lines, 1, inputs, worth=16, recorded=True)

    def _look_through(self, camera: PinholeCamera) -> None:
        """Set what depends on the camera but not on where it is."""
        import warp as wp

        config, view = self._config, self._view
        size, focal = config.voxel_size_m, min(camera.fx, camera.fy)
        self._camera, self._every = camera, spacing_px(camera, config)
        fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
        project = np.array([[fx, 0, cx + 0.5], [0, fy, cy + 0.5], [0, 0, 1.0]]) * size
        self._unproject = np.array([[1 / fx, 0, -cx / fx], [0, 1 / fy, -cy / fy], [0, 0, 1.0]]) / size
        # Rows for one product with R^T: K' s, how far that lies inside each border of the image, and where the image's
        # corners are a metre away.
        borders = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, camera.width], [0, -1, camera.height]]
        x, y = ([(-0.5 - c) / f, (n - 0.5 - c) / f] for c, f, n in ((cx, fx, camera.width), (cy, fy, camera.height)))
        corners = np.array([[a, b, 1.0] for a in x for b in y]) / (size * BRICK_EDGE)
        self._turned = np.concatenate([project, np.array(borders) @ project * (BRICK_EDGE / 2.0), corners])
        view.width, view.height, view.pitch = camera.width, camera.height, -(-camera.width // _TILE) * _TILE
        view.near_m, view.far_m = config.min_range_m, config.max_range_m
        view.margin_m, view.half_m = MARGIN * size, size / 2
        view.sparse_m = size * focal / self._every
        view.hit, view.miss = config.log_odds_hit, config.log_odds_miss
        bands, shape = -(-camera.height // _COARSE), (-(-camera.height // _TILE), -(-camera.width // _TILE))
        self._fine = wp.empty(shape, dtype=wp.vec2i, device=self._device)
        self._coarse = wp.empty((bands, -(-camera.width // _COARSE)), dtype=wp.vec2i, device=self._device)
        self._bad = wp.zeros(bands, dtype=wp.int32, device=self._device)

    def _turn(self, T_world_camera: Pose, far_m: float) -> tuple[list[int], list[int]]:
        """Set what depends on where the camera is.

        Returns:
            First brick (3,) and number of bricks (3,) of the box around what the camera sees up to far_m.
        """
        import warp as wp

        view, rotation = self._view, T_world_camera[:3, :3]
        position = T_world_camera[:3, 3] / self._config.voxel_size_m
        base = np.floor(position)
        inside = position - base
        turned = self._turned @ rotation.T
        view.M = wp.mat33(*turned[:3].ravel().tolist())
        view.b = wp.vec3(*(turned[:3] @ (0.5 - inside)).tolist())
        view.base = wp.vec3i(*map(int, base.tolist()))
        *extent, view.extent_right, view.extent_bottom = np.abs(turned[3:8]).sum(axis=1).tolist()
        view.extent = wp.vec3(*extent)
        self._rays = wp.mat33(*(rotation @ self._unproject).ravel().tolist())
        self._origin = wp.vec3(*inside.tolist())
        centre = position / BRICK_EDGE
        lower = np.floor(centre + far_m * turned[8:].min(axis=0, initial=0.0)).tolist()
        upper = np.floor(centre + far_m * turned[8:].max(axis=0, initial=0.0)).tolist()
        first = [int(max(x, -BRICK_LIMIT)) for x in lower]
        return first, [int(min(x, BRICK_LIMIT - 1)) - low + 1 for low, x in zip(first, upper, strict=True)]

    def _make_room(self, size: list[int]) -> None:
        """Make room for the classes, spans and the list of the bricks of a box."""
        import warp as wp

        bricks = size[0] * size[1] * size[2]
        if self._items.shape[0] < bricks:
            room = 2 * bricks
            self._classes = wp.empty(room, dtype=wp.uint8, device=self._device)
            self._spans = wp.empty(room, dtype=wp.vec2, device=self._device)
            self._items = wp.empty(room, dtype=wp.int32, device=self._device)
            self._item_spans = wp.empty(room, dtype=wp.vec2, device=self._device)
            self._results = wp.empty(64 * room, dtype=wp.uint64, device=self._device)
