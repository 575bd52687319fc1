"""Projective integration of depth images: the host's side of `kernels_frame`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SpatialConfig
from embodmem.errors import DepthError
from embodmem.geometry import Pose
from embodmem.spatial.octree.pool import BrickPool
from embodmem.types import PinholeCamera

_TILE, _COARSE = 16, 64
_WORTH = 256  # px; waking a worker takes longer than a smaller image does
NUDGE = 2e-3
"""How much deeper than measured points are taken to lie, in voxels."""
MARGIN = 0.35
"""How far in front of the surface the centre of a free voxel lies at least, in voxels along the optical axis; so much
below a half that the voxel in front of a wall on a face of voxels is free."""


def spacing_px(camera: PinholeCamera, config: SpatialConfig) -> int:
    """How many pixels apart, along lines and columns, the points are that mark voxels.

    At `max_range_m` at least two of them fall into the width of a voxel, where the camera has so many pixels.
    """
    return max(1, int(_voxel_px(camera, config) / 2.0))


def _voxel_px(camera: PinholeCamera, config: SpatialConfig) -> float:
    """How many pixels wide a voxel is at `max_range_m`."""
    return config.voxel_size_m * min(camera.fx, camera.fy) / config.max_range_m


def block_px(camera: PinholeCamera, config: SpatialConfig) -> int:
    """How wide the blocks of pixels are of which the farthest says what is free: 4, where a voxel is, else 1."""
    return 4 if _voxel_px(camera, config) >= 4.0 else 1


class DepthIntegrator:
    """Adds depth images to a pool; keeps the buffers between images.

    The sensor model (docs/sensor-models.md; Hornung et al., Autonomous Robots 2013, eq. 2 and 4, with this inverse
    model), for a voxel whose centre lies z along the optical axis, the depth d of the pixel nearest to it, and the
    farthest depth e in that pixel's block (`block_px`; the image is cut into blocks from its upper left corner):

    - it is hit where it holds the point, taken to lie `NUDGE` voxels deeper, of a pixel of every `spacing_px`-th column
      and line with min_range_m <= d <= max_range_m; where those points lie more than a voxel apart, also if
      -`MARGIN` voxels <= z - d <= half a voxel;
    - else it is seen through if e >= min_range_m, z < e - `MARGIN` voxels and z <= max_range_m: light came that way;
    - else the image says nothing about it.
    """

    def __init__(self, config: SpatialConfig, pool: BrickPool) -> None:
        import warp as wp

        from embodmem.spatial.octree import kernels_frame, kernels_together, kernels_view

        self._kernels, self._together = kernels_frame, kernels_together.integrate_frame
        self._config = config
        self._pool = pool
        self._device = device = pool.launcher.device
        self.as_team = bool(device.is_cpu)
        """Whether workers go through an image as a team (`kernels_together.integrate_frame`), or step by step."""
        self._camera: PinholeCamera | None = None
        self._view_type = kernels_view.View
        self._view = kernels_view.View()
        self._frame = frame = kernels_frame.Frame()
        frame.near_bits = int(np.float32(config.min_range_m).view(np.int32))
        frame.T = wp.zeros(12, dtype=wp.float64, device=device)
        frame.box = wp.zeros(8, dtype=wp.int32, device=device)
        self._pose, self._found = frame.T.numpy(), frame.box.numpy()  # the same memory on a CPU
        # One bit a voxel of every block, for each worker.
        shape = (pool.launcher.workers, pool.blocks + 1)
        frame.marks = wp.zeros((*shape, 16), dtype=wp.uint32, device=device)
        frame.layers = wp.array(ptr=frame.marks.ptr, shape=(*shape, 8), dtype=wp.uint64, device=device)
        self._make_room(1)

    @property
    def nbytes(self) -> int:
        """Bytes of the marks, reserved once; buffers of the size of an image or of its bricks do not count."""
        return int(self._frame.marks.capacity)

    def integrate(self, depth: NDArray[np.float32], camera: PinholeCamera, T_world_camera: Pose, update: Any) -> None:
        """Add one image of checked shape and dtype; update is a `kernels_pool.Update`."""
        import warp as wp

        if camera != self._camera:
            self._look_through(camera)
        pad = -camera.width % _TILE
        if pad:
            depth = np.pad(depth, ((0, 0), (0, pad)))
        depth = np.ascontiguousarray(depth)
        if self._device.is_cpu:
            self._pose[:] = T_world_camera.ravel()[:12]
            image, at = depth, depth.__array_interface__["data"][0]
        else:
            self._frame.T.assign(T_world_camera.ravel()[:12])
            image = wp.array(depth, dtype=wp.float32, device=self._device)
            at = image.ptr
        run = self._as_team if self.as_team else self._step_by_step
        *_, width, length, height, items, state = run(at, update)
        if state == self._kernels.NARROW:
            self._make_room(2 * width * length * height)
            *_, items, state = run(at, update)
        del image  # until here it was read by its address
        if state == self._kernels.BAD:
            raise DepthError("depth: wanted finite metres >= 0 with 0 for no return, got NaN, infinite or negative")
        if state == self._kernels.READY:
            self._pool.settle_rows(self._frame.items, items, self._frame.results, update)

    def _box(self) -> list[int]:
        """What `kernels_frame.Frame.box` holds."""
        values: list[int] = (self._found if self._device.is_cpu else self._frame.box.numpy()).tolist()
        return values

    def _as_team(self, image: int, update: Any) -> list[int]:
        """One launch for each worker; returns the box."""
        inputs = [self._pool.struct, self._frame, image, update]
        self._pool.launcher.together(self._together, inputs, alone=self._view.width < _WORTH)
        return self._box()

    def _step_by_step(self, image: int, update: Any) -> list[int]:
        """A launch for each step, as on a GPU; returns the box."""
        kernels, launcher, frame, pool = self._kernels, self._pool.launcher, self._frame, self._pool.struct
        launcher.run(kernels.reduce_tiles, frame.coarse.shape[0], [frame, image], recorded=True)
        launcher.run(kernels.plan_bricks, 1, [frame], recorded=True)
        box = self._box()
        if box[7] == kernels.READY:
            lines = box[4] * box[5]
            launcher.run(kernels.classify_bricks, lines, [frame], recorded=True)
            launcher.run(kernels.claim_bricks, lines, [pool, frame, update], recorded=True)
            marked = len(range(self._view.every // 2, self._view.height, self._view.every))
            launcher.run(kernels.mark_points, marked, [pool, frame, image], recorded=True)
            box = self._box()
            launcher.run(kernels.integrate_rows, 8 * box[6], [pool, frame, image, update], recorded=True)
        return box

    def _look_through(self, camera: PinholeCamera) -> None:
        """Set what depends on the camera but not on where it is."""
        import warp as wp

        config, view, frame = self._config, self._view, self._frame
        size, focal = config.voxel_size_m, min(camera.fx, camera.fy)
        lens = frame.lens
        lens.fx, lens.fy, lens.cx, lens.cy, lens.voxel_size_m = camera.fx, camera.fy, camera.cx, camera.cy, size
        view.width, view.height, view.pitch = camera.width, camera.height, -(-camera.width // _TILE) * _TILE
        view.near_m, view.far_m = config.min_range_m, config.max_range_m
        view.margin_m, view.half_m = MARGIN * size, size / 2
        view.every, view.nudge_m = spacing_px(camera, config), NUDGE * size
        view.sparse_m = size * focal / view.every
        view.hit, view.miss = config.log_odds_hit, config.log_odds_miss
        bands, shape = -(-camera.height // _COARSE), (-(-camera.height // _TILE), -(-camera.width // _TILE))
        coarser = block_px(camera, config) > 1
        view.shift, view.look_pitch = (2, view.pitch // 4) if coarser else (0, view.pitch)
        frame.views = wp.array([view], dtype=self._view_type, device=self._device)
        frame.fine = wp.empty(shape, dtype=wp.vec2i, device=self._device)
        frame.coarse = wp.empty((bands, -(-camera.width // _COARSE)), dtype=wp.vec2i, device=self._device)
        frame.blocks = wp.empty((4 * shape[0] * coarser, shape[1]), dtype=wp.vec4i, device=self._device)
        frame.blocks_at = frame.blocks.ptr or 0
        frame.bad = wp.zeros(bands, dtype=wp.int32, device=self._device)
        self._camera = camera

    def _make_room(self, bricks: int) -> None:
        """Make room for the classes, spans and the list of so many bricks."""
        import warp as wp

        frame, device = self._frame, self._device
        frame.classes = wp.empty(bricks, dtype=wp.uint8, device=device)
        frame.spans = wp.empty(bricks, dtype=wp.vec2, device=device)
        frame.items = wp.empty(bricks, dtype=wp.int32, device=device)
        frame.item_spans = wp.empty(bricks, dtype=wp.vec2, device=device)
        frame.results = wp.empty(64 * bricks, dtype=wp.uint64, device=device)
