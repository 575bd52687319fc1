"""Integration of lidar points: the host's side of `kernels_lidar` and of the plain rule in `kernels_scan`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.geometry import Pose
from embodmem.spatial.octree import checks
from embodmem.spatial.octree.keys import BRICK_VOXELS
from embodmem.spatial.octree.pool import BrickPool
from embodmem.types import check_stamp

if TYPE_CHECKING:
    from embodmem.spatial.octree.octree import Octree

__all__ = ["LidarScan", "integrate_scan", "integrate_scans"]

MOST_BITS = 1 << 28
"""The box around a scan may have this many voxels (33 MB of bits, twice for each worker); the plain rule walks more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LidarScan:
    """One scan of a lidar that may have moved meanwhile.

    Attributes:
        points: (N, 3) metres, each in the sensor's frame at the time of its own measurement.
        T_world_sensor: (4, 4) at the start of the scan.
        stamp_ns: When the scan started.
        T_world_sensor_end: (4, 4) at its end; None where the sensor stood still or the points are deskewed already.
        offset_s: (N,) seconds from the start of the scan to each point, 0 .. duration_s; wanted with an end.
        duration_s: From start to end, seconds.
        labels: (N,) whole numbers 0 .. 65535, 0 = none; passed over unless the setting `labels` is on.
        colours: (N, 3) uint8; passed over unless the setting `colour` is on.
    """

    points: ArrayLike
    T_world_sensor: ArrayLike
    stamp_ns: int
    T_world_sensor_end: ArrayLike | None = None
    offset_s: ArrayLike | None = None
    duration_s: float | None = None
    labels: ArrayLike | None = None
    colours: ArrayLike | None = None


@dataclass(frozen=True)
class Sweep:
    """How the sensor moved during a checked scan.

    Attributes:
        shares: (N,) float32, the part of the scan's time that had passed at each point, 0..1.
        T_world_end: Pose at the end.
    """

    shares: NDArray[np.float32]
    T_world_end: Pose


def integrate_scans(
    octree: Octree, scans: Sequence[LidarScan], *, discretize: bool = False, exact: bool = False
) -> None:
    """Add scans, of one sensor or of several, in the order given; each updates a voxel at most once.

    All are checked before the first is added. Readers see all of them or none.

    Args:
        octree: The map.
        scans: What to add.
        discretize: One ray to each voxel struck; see `integrate_scan`.
        exact: Walk by the plain rule; see `integrate_scan`.

    Raises:
        InvalidInput: A scan's points, stamps or offsets are none; the message says which scan.
        PoseError: A pose is none.
    """
    checked = [_check_scan(scan, octree.config, f"scans[{i}]") for i, scan in enumerate(scans)]
    paints = [
        octree._painter.checked(
            scan.colours, scan.labels, (len(points),), (f"scans[{i}].colours", f"scans[{i}].labels")
        )
        for i, (scan, (points, *_)) in enumerate(zip(scans, checked, strict=True))
    ]

    def add(
        points: NDArray[np.float32], pose: Pose, stamp_ns: int, sweep: Sweep | None, paint: tuple[Any, Any]
    ) -> None:
        options: dict[str, Any] = {"sweep": sweep, "discretize": discretize, "exact": exact}
        scan = integrate_scan(octree.config, octree._pool, points, pose, octree._update(stamp_ns), **options)
        octree._painter.beams(scan, *paint)

    with octree._lock:
        for parts, paint in zip(checked, paints, strict=True):
            octree._write(partial(add, *parts, paint))


def integrate_scan(
    config: SpatialConfig,
    pool: BrickPool,
    points: NDArray[np.float32],
    T_world_sensor: Pose,
    update: Any,
    *,
    sweep: Sweep | None = None,
    discretize: bool = False,
    exact: bool = False,
) -> Any:
    """Add one scan of checked points (N, 3), sensor frame, metres.

    Each voxel is updated once a scan: as a hit if a point lies in it, else as a miss if a ray passes it (Hornung et
    al., Autonomous Robots 2013, section 5.3). A ray longer than `max_range_m` is cut there and hits nothing; a point
    nearer than `min_range_m` is ignored.

    Args:
        config: Voxel size, ranges, sensor model.
        pool: The map.
        points: Checked.
        T_world_sensor: Checked; at the start of the scan where `sweep` is given.
        update: When the scan was taken, a `kernels_pool.Update`.
        sweep: The sensor's motion during the scan.
        discretize: Walk one ray to the middle of each voxel that is struck, not one to each point: faster, and some
            other voxels are seen to be free (OctoMap's option of that name). It has no effect with the plain rule.
        exact: The plain rule: walk the rays in float64 and mark bricks by hash, several times slower. The voxels are
            the same but for those that a ray cuts at a corner by less than 1e-6 voxel. Scans that need more than
            `MOST_BITS` go this way.

    Returns:
        The scan as the kernels take it; None where there are no points.
    """
    if len(points) == 0:
        return None
    scan = _scan(config, pool, points, T_world_sensor, sweep)
    model = [config.log_odds_hit, config.log_odds_miss, update]
    if exact or not _walk_bits(pool, scan, discretize, model):
        _walk_exactly(pool, scan, model)
    return scan


def _scan(
    config: SpatialConfig, pool: BrickPool, points: NDArray[np.float32], T_world_sensor: Pose, sweep: Sweep | None
) -> Any:
    """The scan as the kernels take it."""
    import warp as wp

    from embodmem.spatial.octree import kernels_scan

    device, size = pool.launcher.device, config.voxel_size_m
    position = T_world_sensor[:3, 3] / size
    base = np.floor(position)
    scan = kernels_scan.Scan()
    scan.points = wp.array(np.ascontiguousarray(points), dtype=wp.vec3, device=device, copy=not device.is_cpu)
    scan.R = wp.mat33d(*(T_world_sensor[:3, :3] / size).ravel().tolist())
    scan.base = wp.vec3i(*base.astype(np.int64).tolist())
    scan.start = wp.vec3d(*(position - base).tolist())
    scan.near = wp.float64(config.min_range_m / size)
    scan.far = wp.float64(config.max_range_m / size)
    if sweep is not None:
        axis, angle = _axis_angle(T_world_sensor[:3, :3].T @ sweep.T_world_end[:3, :3])
        scan.shares = wp.array(sweep.shares, dtype=wp.float32, device=device)
        scan.motion = wp.vec3d(*(sweep.T_world_end[:3, 3] / size - position).tolist())
        scan.axis, scan.angle = wp.vec3d(*axis.tolist()), wp.float64(angle)
    return scan


def _walk_bits(pool: BrickPool, scan: Any, discretize: bool, model: list[Any]) -> bool:
    """Integrate by `kernels_lidar`; False where the box around the scan is too large for that."""
    import warp as wp

    from embodmem.spatial.octree import kernels_lidar as kernels

    launcher, device, rays = pool.launcher, pool.launcher.device, scan.points.shape[0]
    nothing = np.array([[2**30] * 3 + [-(2**30)] * 3], dtype=np.int32)
    box = wp.array(np.repeat(nothing, launcher.workers, axis=0), dtype=wp.int32, device=device)
    launcher.share(kernels.find_box, rays, 1, [scan, box])
    corners = box.numpy()
    low, high = corners[:, :3].min(axis=0), corners[:, 3:].max(axis=0)
    if (low > high).any():  # every ray is ignored
        return True
    base = np.array(list(scan.base), dtype=np.int64)
    # One voxel more: the slope's rounding may carry a walk just outside of the box of its ends.
    lower, upper = (base + low - 1) >> 3, (base + high + 1) >> 3
    bricks = (upper - lower + 1).tolist()
    words = -(-bricks[0] // 4)
    if words * bricks[1] * bricks[2] * (BRICK_VOXELS * 4) > MOST_BITS:
        return False
    bits = kernels.Bits()
    shape = (launcher.workers, words * bricks[1] * bricks[2] * BRICK_VOXELS // 8)
    bits.passed, bits.struck = (wp.zeros(shape, dtype=wp.uint32, device=device) for _ in range(2))
    bits.lower, bits.origin = wp.vec3i(*lower.tolist()), wp.vec3i(*(base - lower * 8).tolist())
    bits.step = wp.vec3i(1, words * 32, words * 32 * bricks[1] * 8)
    bits.words, bits.rows = words, bricks[1]
    launcher.share(kernels.walk_rays, rays, 1, [scan, bits, discretize])
    found = wp.empty((bricks[1] * bricks[2], words), dtype=wp.uint32, device=device)
    launcher.share(kernels.find_bricks, found.shape[0], 1, [bits, found])
    cells = wp.array(np.flatnonzero(found.numpy().view(np.uint8)).astype(np.int32), dtype=wp.int32, device=device)
    slots = wp.empty(cells.shape[0], dtype=wp.int32, device=device)
    launcher.run(kernels.claim_found, cells.shape[0], [pool.struct, bits, cells, slots])
    pool.settle()
    as_bytes = [
        wp.array(ptr=a.ptr, shape=(shape[0], shape[1] * 4), dtype=wp.uint8, device=device)
        for a in (bits.passed, bits.struck)
    ]
    results = wp.empty(64 * cells.shape[0], dtype=wp.uint64, device=device)
    inputs = [pool.struct, bits, *as_bytes, cells, slots, *model, results]
    launcher.share(kernels.apply_bits, cells.shape[0], 64, inputs)
    pool.settle_rows(slots, slots.shape[0], results, model[-1])
    return True


def _walk_exactly(pool: BrickPool, scan: Any, model: list[Any]) -> None:
    """Integrate by `kernels_scan`."""
    import warp as wp

    from embodmem.spatial.octree import kernels_scan as kernels

    launcher, rays = pool.launcher, scan.points.shape[0]
    launcher.run(kernels.claim_rays, rays, [pool.struct, scan])
    pool.settle()
    marks = wp.zeros((pool.used, BRICK_VOXELS), dtype=wp.uint8, device=launcher.device)
    launcher.share(kernels.mark_misses, rays, 1, [pool.struct, scan, marks])
    launcher.run(kernels.mark_hits, rays, [pool.struct, scan, marks])
    marked = np.flatnonzero(marks.numpy().any(axis=1))
    pool.expand(marked)
    marked = marked[pool.host("block")[marked] >= 0]  # none was free for the others
    slots = pool.on_device(marked, np.int32)
    results = wp.empty(64 * len(marked), dtype=wp.uint64, device=launcher.device)
    launcher.share(kernels.apply_marks, len(marked), 64, [pool.struct, marks, slots, *model, results])
    pool.settle_rows(slots, slots.shape[0], results, model[-1])


def _check_scan(
    scan: LidarScan, config: SpatialConfig, name: str
) -> tuple[NDArray[np.float32], Pose, int, Sweep | None]:
    points = checks.check_points(scan.points, f"{name}.points", np.float32)
    pose = checks.check_sensor_pose(scan.T_world_sensor, f"{name}.T_world_sensor", config.voxel_size_m)
    stamp = check_stamp(scan.stamp_ns)
    motion = (scan.T_world_sensor_end, scan.offset_s, scan.duration_s)
    if all(part is None for part in motion):
        return points, pose, stamp, None
    if any(part is None for part in motion):
        raise InvalidInput(f"{name}: wanted all of T_world_sensor_end, offset_s and duration_s or none, got a part")
    end = checks.check_sensor_pose(scan.T_world_sensor_end, f"{name}.T_world_sensor_end", config.voxel_size_m)
    duration = float(scan.duration_s or 0.0)
    if not (math.isfinite(duration) and duration > 0):
        raise InvalidInput(f"{name}.duration_s: wanted seconds > 0, got {scan.duration_s}")
    offsets = np.asarray(scan.offset_s, dtype=np.float64)
    if offsets.shape != (len(points),) or not ((offsets >= 0) & (offsets <= duration * (1 + 1e-6))).all():
        raise InvalidInput(
            f"{name}.offset_s: wanted {len(points)} numbers in 0 .. {duration} s, got shape {offsets.shape}"
            + (f" in {offsets.min()} .. {offsets.max()} s" if offsets.size else "")
        )
    return points, pose, stamp, Sweep(np.minimum(offsets / duration, 1.0).astype(np.float32), end)


def _axis_angle(R: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Unit axis (3,) and angle, 0 .. pi, of a rotation."""
    twice = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    sine = float(np.linalg.norm(twice)) / 2
    angle = math.atan2(sine, (float(np.trace(R)) - 1) / 2)
    if sine > 1e-8:
        return twice / (2 * sine), angle
    # No turn, or half a turn: then R = 2 k k' - 1, and its largest column points along the axis.
    column = (R + np.eye(3))[:, int(np.argmax(np.diag(R)))]
    return column / np.linalg.norm(column), angle
