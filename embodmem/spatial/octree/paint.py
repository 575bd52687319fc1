"""Colours and labels of voxels: the host's side of `kernels_paint`.

A view says of a voxel what the points say that fall into it, once: their mean colour, and the label that most of them
bear. It is heard where the voxel is occupied after the view; a voxel that is not has neither colour nor label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.geometry import Pose
from embodmem.spatial.octree import checks
from embodmem.spatial.octree.depth import NUDGE, spacing_px
from embodmem.spatial.octree.keys import BRICK_EDGE, BRICK_VOXELS, pack_keys
from embodmem.spatial.octree.pool import BrickPool
from embodmem.types import PinholeCamera, check_stamp

if TYPE_CHECKING:
    from embodmem.spatial.octree.octree import Octree

__all__ = ["MOST_LABELS", "VoxelColours", "VoxelLabels", "drop_label", "mark_points", "split_colours", "split_labels"]

MOST_LABELS = (1 << 16) - 1
"""Labels are numbers 1 .. 65535; 0 is none."""


class VoxelColours(NamedTuple):
    """Colours of voxels.

    Attributes:
        rgb: (N, 3) uint8; 0 where there is none.
        views: (N,) uint8, of how many views they are the mean, at most 16; 0 where there is none.
    """

    rgb: NDArray[np.uint8]
    views: NDArray[np.uint8]


class VoxelLabels(NamedTuple):
    """Labels of voxels.

    Attributes:
        label: (N,) uint16; 0 where there is none.
        confidence: (N,) float32 in 0..1, by how much of the votes the label leads (its margin over all votes).
    """

    label: NDArray[np.uint16]
    confidence: NDArray[np.float32]


def split_colours(words: NDArray[np.uint32]) -> VoxelColours:
    """Colours of words (...,) of `kernels_paint`."""
    channels = np.ascontiguousarray(words).astype("<u4", copy=False)[..., None].view(np.uint8)
    return VoxelColours(channels[..., :3], channels[..., 3])


def split_labels(words: NDArray[np.uint32]) -> VoxelLabels:
    """Labels of words (...,) of `kernels_paint`."""
    margin, votes = (words >> 16) & 0xFF, words >> 24
    return VoxelLabels((words & 0xFFFF).astype(np.uint16), (margin / np.maximum(votes, 1)).astype(np.float32))


def check_colours(colours: Any, shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
    """Colours (*shape, 3) uint8.

    Raises:
        InvalidInput: Another shape or dtype.
    """
    array = np.asarray(colours)
    if array.shape != (*shape, 3) or array.dtype != np.uint8:
        raise InvalidInput(f"{name}: wanted {(*shape, 3)} uint8, got {array.shape} {array.dtype}")
    return np.ascontiguousarray(array)


def check_labels(labels: Any, shape: tuple[int, ...], name: str) -> NDArray[np.uint16]:
    """Labels of a shape as uint16.

    Raises:
        InvalidInput: Another shape, no whole numbers, or one outside of 0 .. 65535.
    """
    array = np.asarray(labels)
    if array.shape != shape or array.dtype.kind not in "iu":
        raise InvalidInput(f"{name}: wanted whole numbers {shape}, got {array.shape} {array.dtype}")
    if array.dtype != np.uint16 and array.size and (array.min() < 0 or array.max() > MOST_LABELS):
        raise InvalidInput(f"{name}: wanted 0 .. {MOST_LABELS} (0 = none), got {array.min()} .. {array.max()}")
    return np.ascontiguousarray(array, dtype=np.uint16)


class Painter:
    """Paints the voxels of a pool; keeps the buffers between views."""

    def __init__(self, config: SpatialConfig, pool: BrickPool) -> None:
        self._config = config
        self._pool = pool
        self._places: Any = None
        self._points: Any = None

    def checked(
        self, colours: Any, labels: Any, shape: tuple[int, ...], names: tuple[str, str]
    ) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint16] | None]:
        """Colours and labels of a view, None where there are none or the settings do not keep them.

        Raises:
            InvalidInput: A shape or dtype is another.
        """
        rgb = None if colours is None else check_colours(colours, shape, names[0])
        name = None if labels is None else check_labels(labels, shape, names[1])
        return rgb if self._config.colour else None, name if self._config.labels else None

    def pixels(
        self,
        depth: NDArray[np.float32],
        camera: PinholeCamera,
        T_world_camera: Pose,
        rgb: NDArray[np.uint8] | None,
        labels: NDArray[np.uint16] | None,
    ) -> None:
        """Paint what an image showed that was just integrated; all is checked."""
        import warp as wp

        from embodmem.spatial.octree import kernels_paint

        if rgb is None and labels is None:
            return
        size, every = self._config.voxel_size_m, spacing_px(camera, self._config)
        fx, fy = camera.fx, camera.fy
        unproject = np.array([[1 / fx, 0, -camera.cx / fx], [0, 1 / fy, -camera.cy / fy], [0, 0, 1.0]])
        rays = T_world_camera[:3, :3] @ unproject / size
        position = T_world_camera[:3, 3] / size
        base = np.floor(position)
        lines, columns = (len(range(every // 2, n, every)) for n in camera.shape)
        places, points = self._room(lines * columns)
        inputs = [
            self._pool.struct,
            self._on_device(depth, wp.float32),
            camera.width,
            self._config.min_range_m,
            self._config.max_range_m,
            wp.mat33(*rays.ravel().tolist()),
            wp.vec3(*(position - base).tolist()),
            wp.vec3i(*base.astype(np.int64).tolist()),
            every,
            NUDGE * size,
            self._on_device(labels, wp.uint16),
            self._nowhere,
            places,
            points,
        ]
        self._pool.launcher.share(kernels_paint.place_pixels, lines, 1, inputs, worth=16)
        self._paint(lines * columns, rgb)

    def beams(self, scan: Any, colours: NDArray[np.uint8] | None, labels: NDArray[np.uint16] | None) -> None:
        """Paint what a scan (`kernels_scan.Scan`) showed that was just integrated."""
        import warp as wp

        from embodmem.spatial.octree import kernels_paint

        if scan is None or (colours is None and labels is None):
            return
        count = scan.points.shape[0]
        places, points = self._room(count)
        inputs = [self._pool.struct, scan, self._on_device(labels, wp.uint16), self._nowhere, places, points]
        self._pool.launcher.share(kernels_paint.place_beams, count, 1, inputs, worth=4096)
        self._paint(count, colours)

    def voxels(
        self,
        slots: NDArray[np.int32],
        index: NDArray[np.int64],
        colours: NDArray[np.uint8] | None,
        labels: NDArray[np.uint16] | None,
    ) -> None:
        """Paint the voxels in which points lie: slot (N,), -1 where there is none, and place in the brick (N,)."""
        if colours is None and labels is None:
            return
        here = (slots >= 0) & (self._pool.host("block")[slots] >= 0)
        name = np.zeros(len(slots), np.int64) if labels is None else labels.astype(np.int64)
        values = np.where(here, (slots * np.int64(BRICK_VOXELS) + index) << 16 | name, int(self._nowhere))
        places, points = self._room(len(slots))
        places[: len(slots)].assign(values)
        points[: len(slots)].assign(np.arange(len(slots), dtype=np.int32))
        self._paint(len(slots), colours)

    def read(self, points: NDArray[np.float64]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Words of colour and label (N,) at points (N, 3) of the world."""
        import warp as wp

        from embodmem.spatial.octree import kernels_paint

        device, n = self._pool.launcher.device, len(points)
        words = [wp.empty(n, dtype=wp.uint32, device=device) for _ in range(2)]
        where = wp.array(points, dtype=wp.vec3d, device=device)
        inputs = [self._pool.struct, where, wp.float64(self._config.voxel_size_m), *words]
        self._pool.launcher.share(kernels_paint.read_points, n, 1, inputs, worth=4096)
        return words[0].numpy(), words[1].numpy()

    def _paint(self, count: int, colours: NDArray[np.uint8] | None) -> None:
        """Bring the points of a voxel together and paint each voxel once, whatever the order and the threads."""
        import warp as wp

        from embodmem.spatial.octree import kernels_paint

        bits = int(self._nowhere).bit_length()
        wp.utils.radix_sort_pairs(self._places, self._points, count, end_bit=bits)
        inputs = [self._pool.struct, self._places, self._points, count, self._nowhere]
        inputs.append(self._on_device(colours, wp.uint8))
        self._pool.launcher.share(kernels_paint.paint_runs, count, 1, inputs, worth=256)

    @property
    def _nowhere(self) -> Any:
        import warp as wp

        return wp.int64(self._pool.capacity * BRICK_VOXELS << 16)

    def _room(self, count: int) -> tuple[Any, Any]:
        """Buffers for so many points; the sort wants them twice as long."""
        import warp as wp

        if self._places is None or self._places.shape[0] < 2 * count:
            device = self._pool.launcher.device
            self._places = wp.empty(2 * count, dtype=wp.int64, device=device)
            self._points = wp.empty(2 * count, dtype=wp.int32, device=device)
        return self._places, self._points

    def _on_device(self, values: NDArray[Any] | None, dtype: Any) -> Any:
        """An array, flat; an empty one for None."""
        import warp as wp

        device = self._pool.launcher.device
        if values is None:
            return wp.empty(0, dtype=dtype, device=device)
        return wp.array(np.ascontiguousarray(values).ravel(), dtype=dtype, device=device, copy=not device.is_cpu)


def mark_points(
    octree: Octree,
    points: ArrayLike,
    stamp_ns: int,
    *,
    labels: ArrayLike | None = None,
    colours: ArrayLike | None = None,
) -> None:
    """Add points that came without a sensor: a hit for each voxel in which some lie, and nothing about free space.

    `Octree.integrate_points` is for points of which is known from where they were seen.

    Args:
        octree: The map.
        points: (N, 3) in the world, metres.
        stamp_ns: When they were there.
        labels: (N,) whole numbers 0 .. 65535, 0 = none.
        colours: (N, 3) uint8.

    Raises:
        InvalidInput: A shape or dtype is another, a number is not finite, or a point is outside of the map.
    """
    import warp as wp

    from embodmem.spatial.octree import kernels_paint

    where, config = checks.check_points(points, "points"), octree.config
    checks.check_reach(where, config.voxel_size_m, "points")
    rgb, name = octree._painter.checked(colours, labels, (len(where),), ("colours", "labels"))
    stamp = check_stamp(stamp_ns)
    voxels = np.floor(where / config.voxel_size_m).astype(np.int64)
    local = voxels & (BRICK_EDGE - 1)
    index = (local[:, 2] * 8 + local[:, 1]) * 8 + local[:, 0]
    keys, row = np.unique(pack_keys(voxels >> 3), return_inverse=True)

    def add() -> None:
        pool = octree._pool
        update = octree._update(stamp)
        slots = pool.claim(keys)
        pool.expand(slots[slots >= 0])
        useful = (slots >= 0) & (pool.host("block")[slots] >= 0)  # there was no room for the others
        chosen = np.flatnonzero(useful)
        marks = np.zeros((len(keys), BRICK_VOXELS), dtype=np.uint8)
        marks[row.reshape(-1), index] = 1
        on_device = pool.on_device(slots[chosen], np.int32)
        results = wp.empty(64 * len(chosen), dtype=wp.uint64, device=pool.launcher.device)
        inputs = [pool.struct, pool.on_device(marks[chosen]), on_device, config.log_odds_hit, update, results]
        pool.launcher.share(kernels_paint.apply_ends, len(chosen), 64, inputs)
        pool.settle_rows(on_device, len(chosen), results, update)
        octree._painter.voxels(np.where(useful, slots, -1)[row.reshape(-1)], index, rgb, name)

    if len(where):
        octree._write(add)


def drop_label(octree: Octree, label: int) -> int:
    """Take a label off all voxels that bear it; they stay occupied. Returns how many they were."""
    import warp as wp

    from embodmem.spatial.octree import kernels_paint

    if not octree.config.labels:
        return 0
    with octree._lock:
        pool = octree._pool
        slots = pool.observed()
        dropped = wp.zeros(len(slots), dtype=wp.int32, device=pool.launcher.device)
        inputs = [pool.struct, pool.on_device(slots, np.int32), label, dropped]
        pool.launcher.run(kernels_paint.drop_label, len(slots), inputs)
        return int(dropped.numpy().sum())
