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

    At `max_range_m` at least one of them falls into the width of a voxel, where the camera has so many pixels.
    """
    return 1 + int(config.voxel_size_m * min(camera.fx, camera.fy) / config.max_range_m / 2.0)


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

        from embodmem.spatial.octree import kernels_depth

        self._kernels = kernels_depth
        self._config = config
        self._pool = pool
        self._device = pool.launcher.device
        self._count = wp.zeros(1, dtype=wp.int32, device=self._device)
        self._bad: Any = None
        self._fine: Any = None
        self._coarse: Any = None
        self._classes = wp.empty(0, dtype=wp.uint8, device=self._device)
        self._spans = wp.empty(0, dtype=wp.vec2, device=self._device)
        self._items = wp.empty(0, dtype=wp.int32, device=self._device)
        self._item_spans = wp.empty(0, dtype=wp.vec2, device=self._device)
        self._results = wp.empty(0, dtype=wp.uint64, device=self._device)
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

        image, blocks = self._upload(depth)
        farthest = self._reduce(blocks, camera)
        if farthest < self._config.min_range_m:
            return
        view = self._view(camera, T_world_camera)
        lower, size = self._box(camera, T_world_camera, min(farthest, self._config.max_range_m))
        if min(size) <= 0:
            return
        classes, spans = self._room_for(size)
        corner, extent = wp.vec3i(*lower), wp.vec3i(*size)
        rows = size[1] * size[2]
        launcher, kernels, pool = self._pool.launcher, self._kernels, self._pool.struct
        launcher.share(
            kernels.classify_bricks,
            rows,
            1,
            [view, corner, extent, self._fine, self._coarse, classes, spans],
            worth=512,
        )
        self._count.zero_()
        claim = [pool, corner, extent, classes, spans, self._config.log_odds_miss, update, self._marks]
        launcher.run(kernels.claim_bricks, rows, [*claim, self._items, self._item_spans, self._count])
        items = int(self._count.numpy()[0])
        self._mark(image, camera, T_world_camera, view)
        arrays = [pool.keys, pool.block, pool.rows, pool.seen_rows]
        inputs = [*arrays, view, image, self._items, self._item_spans, self._layers, update, self._results]
        launcher.share(kernels.integrate_rows, items, 8, inputs)
        self._pool.settle_rows(self._items[:items], self._results, update)

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

    def _reduce(self, blocks: Any, camera: PinholeCamera) -> float:
        """Fill the tiles; returns the farthest depth of the image."""
        import warp as wp

        bands = -(-camera.height // _COARSE)
        shape = (-(-camera.height // _TILE), blocks.shape[1])
        if self._fine is None or self._fine.shape != shape:
            self._fine = wp.empty(shape, dtype=wp.vec2i, device=self._device)
            self._coarse = wp.empty((bands, -(-camera.width // _COARSE)), dtype=wp.vec2i, device=self._device)
            self._bad = wp.zeros(bands, dtype=wp.int32, device=self._device)
        near_bits = int(np.float32(self._config.min_range_m).view(np.int32))
        self._pool.launcher.share(
            self._kernels.reduce_tiles, bands, 1, [blocks, near_bits, self._fine, self._coarse, self._bad], worth=16
        )
        if self._bad.numpy().any():
            self._bad.zero_()
            raise DepthError("depth: wanted finite metres >= 0 with 0 for no return, got NaN, infinite or negative")
        farthest = np.int32(self._coarse.numpy()[..., 1].max())
        return float(farthest.view(np.float32))

    def _mark(self, image: Any, camera: PinholeCamera, T_world_camera: Pose, view: Any) -> None:
        """Mark the voxels that hold points."""
        import warp as wp

        size, every = self._config.voxel_size_m, spacing_px(camera, self._config)
        fx, fy = camera.fx, camera.fy
        unproject = np.array([[1 / fx, 0, -camera.cx / fx], [0, 1 / fy, -camera.cy / fy], [0, 0, 1.0]])
        rays = T_world_camera[:3, :3] @ unproject / size
        position = T_world_camera[:3, 3] / size
        origin = wp.vec3(*(position - np.floor(position)).tolist())
        limits = [view.width, view.pitch, view.near_m, view.far_m]
        geometry = [wp.mat33(*rays.ravel().tolist()), origin, view.base, every, NUDGE * size]
        inputs = [self._pool.struct, image, *limits, *geometry, self._marks]
        lines = len(range(every // 2, camera.height, every))
        self._pool.launcher.share(self._kernels.mark_points, lines, 1, inputs, worth=16)

    def _view(self, camera: PinholeCamera, T_world_camera: Pose) -> Any:
        import warp as wp

        config = self._config
        size = config.voxel_size_m
        project = np.array([[camera.fx, 0, camera.cx + 0.5], [0, camera.fy, camera.cy + 0.5], [0, 0, 1.0]])
        matrix = project @ T_world_camera[:3, :3].T * size
        position = T_world_camera[:3, 3] / size
        base = np.floor(position)
        offset = matrix @ (0.5 - (position - base))
        half = BRICK_EDGE / 2.0
        extent = half * np.abs(matrix).sum(axis=1)
        view = self._kernels.View()
        view.M = wp.mat33(*matrix.ravel().tolist())
        view.b = wp.vec3(*offset.tolist())
        view.base = wp.vec3i(*base.astype(np.int64).tolist())
        view.extent = wp.vec3(*extent.tolist())
        view.extent_right = float(half * np.abs(camera.width * matrix[2] - matrix[0]).sum())
        view.extent_bottom = float(half * np.abs(camera.height * matrix[2] - matrix[1]).sum())
        view.width, view.height, view.pitch = camera.width, camera.height, -(-camera.width // _TILE) * _TILE
        view.near_m, view.far_m = config.min_range_m, config.max_range_m
        view.margin_m, view.half_m = MARGIN * size, size / 2
        view.sparse_m = size * min(camera.fx, camera.fy) / spacing_px(camera, config)
        view.hit, view.miss = config.log_odds_hit, config.log_odds_miss
        return view

    def _box(self, camera: PinholeCamera, T_world_camera: Pose, far_m: float) -> tuple[list[int], list[int]]:
        """First brick (3,) and number of bricks (3,) of the box around what the camera sees up to far_m."""
        x = (np.array([-0.5, camera.width - 0.5]) - camera.cx) / camera.fx
        y = (np.array([-0.5, camera.height - 0.5]) - camera.cy) / camera.fy
        corners = np.array([[0.0, 0.0, 0.0]] + [[a * far_m, b * far_m, far_m] for a in x for b in y])
        world = corners @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
        edge = self._config.voxel_size_m * BRICK_EDGE
        lower = np.maximum(np.floor(world.min(axis=0) / edge), -BRICK_LIMIT).astype(np.int64)
        upper = np.minimum(np.floor(world.max(axis=0) / edge), BRICK_LIMIT - 1).astype(np.int64)
        return lower.tolist(), (upper - lower + 1).tolist()

    def _room_for(self, size: list[int]) -> tuple[Any, Any]:
        """(rows, columns) pieces of the buffers of classes and spans; also makes room for the list of bricks."""
        import warp as wp

        rows, columns = size[1] * size[2], size[0]
        if self._items.shape[0] < rows * columns:
            self._classes = wp.empty(2 * rows * columns, dtype=wp.uint8, device=self._device)
            self._spans = wp.empty(2 * rows * columns, dtype=wp.vec2, device=self._device)
            self._items = wp.empty(2 * rows * columns, dtype=wp.int32, device=self._device)
            self._item_spans = wp.empty(2 * rows * columns, dtype=wp.vec2, device=self._device)
            self._results = wp.empty(64 * self._items.shape[0], dtype=wp.uint64, device=self._device)
        shape = (rows, columns)
        classes = wp.array(ptr=self._classes.ptr, shape=shape, dtype=wp.uint8, device=self._device)
        return classes, wp.array(ptr=self._spans.ptr, shape=shape, dtype=wp.vec2, device=self._device)
