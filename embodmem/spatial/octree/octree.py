"""The brick octree: what is occupied, what is free, and what nobody has seen yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.spatial.octree import checks
from embodmem.spatial.octree.depth import DepthIntegrator
from embodmem.spatial.octree.keys import (
    BRICK_EDGE,
    FREE,
    MAX_DEPTH,
    OCCUPIED,
    UNKNOWN,
    pack_keys,
    unpack_keys,
    voxel_offsets,
)
from embodmem.spatial.octree.pool import BrickPool
from embodmem.spatial.octree.raycast import RayCaster, RaycastHits
from embodmem.spatial.octree.runtime import Launcher, find_device
from embodmem.spatial.octree.scan import integrate_scan
from embodmem.types import PinholeCamera, check_stamp

__all__ = ["Bricks", "Octree", "OctreeStats", "RaycastHits"]


class Bricks(NamedTuple):
    """Copies of some bricks.

    Attributes:
        keys: (N,) int64, see `embodmem.spatial.octree.keys`.
        log_odds: (N, 512) float32, NaN = never observed; voxel (x, y, z) of a brick is at (z * 8 + y) * 8 + x.
        last_seen_ns: (N,) int64, when something in the brick was last observed.
    """

    keys: NDArray[np.int64]
    log_odds: NDArray[np.float32]
    last_seen_ns: NDArray[np.int64]


@dataclass(frozen=True)
class OctreeStats:
    """How full the map is. `bytes` is reserved once; `refused_bricks` counts requests that met a full pool."""

    bricks: int
    capacity_bricks: int
    bytes: int
    occupied_voxels: int
    free_voxels: int
    refused_bricks: int


class Octree:
    """A tri-state map of occupancy in 8x8x8 bricks of log-odds, found by hash, bounded in size.

    A voxel is unknown until an observation says something about it (its log-odds are NaN until then), and after that
    occupied above `config.log_odds_occupied`, else free. Depths of the octree: 0 is the root (2**24 voxels wide,
    centred on the origin of the world), 21 a brick, `MAX_DEPTH` = 24 a voxel.

    The pool holds `config.capacity_bricks` bricks. When it is full, bricks in which nothing was observed yet are
    given back first; after that, new bricks are refused and counted (`stats().refused_bricks`), and what is known
    keeps being updated: the map never grows, and never drops what it holds by itself. `remove_box` makes room.

    One lock guards the map, so that any thread may read or write and sees a whole state.

    Args:
        config: Settings.

    Raises:
        ConfigError: The device is not here.
    """

    def __init__(self, config: SpatialConfig | None = None) -> None:
        self.config = config = SpatialConfig() if config is None else config
        self._lock = threading.RLock()
        self._launcher = Launcher(find_device(config.device), config.threads)
        self._pool = BrickPool(config.capacity_bricks, config.log_odds_occupied, self._launcher)
        self._depth = DepthIntegrator(config, self._pool)
        self._rays = RayCaster(self)

    def integrate(
        self, depth: NDArray[np.float32], camera: PinholeCamera, T_world_camera: ArrayLike, stamp_ns: int
    ) -> None:
        """Add a depth image; the rule per voxel is in `embodmem.spatial.octree.depth.DepthIntegrator`.

        Args:
            depth: (H, W) float32 metres along the optical axis, 0 = no return.
            camera: Its intrinsics.
            T_world_camera: (4, 4), optical frame.
            stamp_ns: When it was taken.

        Raises:
            DepthError: The image has another size or dtype, or holds NaN, infinite or negative values; the map is
                unchanged then.
            PoseError: The pose is none.
            InvalidInput: The stamp is none.
        """
        image = checks.check_depth(depth, camera)
        pose = checks.check_sensor_pose(T_world_camera, "T_world_camera", self.config.voxel_size_m)
        stamp = check_stamp(stamp_ns)
        self._write(lambda: self._depth.integrate(image, camera, pose, stamp))

    def integrate_points(self, points: ArrayLike, T_world_sensor: ArrayLike, stamp_ns: int) -> None:
        """Add lidar points and the free space on the way to them; see `embodmem.spatial.octree.scan`.

        Args:
            points: (N, 3) metres in the sensor frame.
            T_world_sensor: (4, 4).
            stamp_ns: When the scan was taken.

        Raises:
            InvalidInput: The points have another shape or are not finite, or the stamp is none.
            PoseError: The pose is none.
        """
        cloud = checks.check_points(points, "points", np.float32)
        pose = checks.check_sensor_pose(T_world_sensor, "T_world_sensor", self.config.voxel_size_m)
        stamp = check_stamp(stamp_ns)
        self._write(lambda: integrate_scan(self.config, self._pool, cloud, pose, stamp))

    def log_odds(self, points: ArrayLike) -> NDArray[np.float32]:
        """Log-odds (N,) of being occupied at points (N, 3) in the world; NaN where unknown.

        Raises:
            InvalidInput: The points have another shape or are not finite.
        """
        import warp as wp

        from embodmem.spatial.octree import kernels_rays

        where = checks.check_points(points, "points")
        device = self._launcher.device
        values = wp.empty(len(where), dtype=wp.float32, device=device)
        inputs = [wp.array(where, dtype=wp.vec3d, device=device), wp.float64(self.config.voxel_size_m), values]
        with self._lock:
            self._launcher.share(kernels_rays.read_log_odds, len(where), 1, [self._pool.struct, *inputs], worth=4096)
            found: NDArray[np.float32] = values.numpy()
        return found

    def occupancy(self, points: ArrayLike) -> NDArray[np.int8]:
        """OCCUPIED (1), FREE (0) or UNKNOWN (-1), (N,) int8, at points (N, 3) in the world.

        Raises:
            InvalidInput: The points have another shape or are not finite.
        """
        values = self.log_odds(points)
        states: NDArray[np.int8] = np.full(len(values), FREE, dtype=np.int8)
        states[values > self.config.log_odds_occupied] = OCCUPIED
        states[np.isnan(values)] = UNKNOWN
        return states

    def raycast(self, origins: ArrayLike, directions: ArrayLike, max_range_m: float) -> RaycastHits:
        """The first occupied voxel on each ray (Amanatides and Woo, Eurographics 1987).

        Many rays at once leap over what is free (`embodmem.spatial.octree.clearance`); they meet the same.

        Args:
            origins: (N, 3) in the world, metres.
            directions: (N, 3) of any length but zero.
            max_range_m: How far to look.

        Raises:
            InvalidInput: A shape is another, a number is not finite, a direction is zero, or the range is not above 0.
        """
        return self._rays.cast(origins, directions, max_range_m)

    def occupied(self, depth: int | None = None) -> tuple[NDArray[np.float32], float]:
        """Occupied leaves at a depth of the octree; a coarser leaf is occupied if any voxel in it is.

        Args:
            depth: 0 (root) .. `MAX_DEPTH` (voxel, the default).

        Returns:
            Centres (M, 3) float32 in the world, metres, and the edge of a leaf in metres.

        Raises:
            InvalidInput: The depth is none of these.
        """
        depth = MAX_DEPTH if depth is None else depth
        if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or not 0 <= depth <= MAX_DEPTH:
            raise InvalidInput(f"depth: wanted 0 (root) .. {MAX_DEPTH} (voxel), got {depth!r}")
        shift = MAX_DEPTH - int(depth)
        with self._lock:
            mask = self._pool.host("log_odds") > self.config.log_odds_occupied
            keys = self._pool.host("keys").copy()
        if shift >= 3:
            bricks = unpack_keys(keys[mask.any(axis=1)]) >> (shift - 3)
            leaves = unpack_keys(np.unique(pack_keys(bricks)))
        else:
            places = np.flatnonzero(mask)
            slots, coarse = places >> 9, voxel_offsets()[places & 511] >> shift
            codes = np.unique((slots << 9) | (coarse[:, 2] << 6) | (coarse[:, 1] << 3) | coarse[:, 0])
            leaves = unpack_keys(keys)[codes >> 9] * (BRICK_EDGE >> shift) + voxel_offsets()[codes & 511]
        edge = self.config.voxel_size_m * (1 << shift)
        return ((leaves + 0.5) * edge).astype(np.float32), edge

    def bounds(self) -> NDArray[np.float64] | None:
        """(2, 3) lower and upper corner in the world, metres, of the box around all observed voxels; None if empty."""
        bricks = self.bricks()
        if len(bricks.keys) == 0:
            return None
        slot, place = np.nonzero(~np.isnan(bricks.log_odds))
        voxels = unpack_keys(bricks.keys)[slot] * BRICK_EDGE + voxel_offsets()[place]
        return np.stack([voxels.min(axis=0), voxels.max(axis=0) + 1]) * self.config.voxel_size_m

    def stats(self) -> OctreeStats:
        """How full the map is."""
        with self._lock:
            values = self._pool.host("log_odds")
            occupied = int(np.count_nonzero(values > self.config.log_odds_occupied))
            return OctreeStats(
                bricks=int(np.count_nonzero(self._pool.host("last_seen") >= 0)),
                capacity_bricks=self._pool.capacity,
                bytes=self._pool.nbytes,
                occupied_voxels=occupied,
                free_voxels=int(np.count_nonzero(values <= self.config.log_odds_occupied)),
                refused_bricks=self._pool.refused,
            )

    def clear(self) -> None:
        """Forget everything; the keys appear in `freed_keys`."""
        with self._lock:
            self._pool.clear()

    def remove_box(self, lower: ArrayLike, upper: ArrayLike) -> int:
        """Set every voxel that a box touches to unknown, and free the bricks that are left with none.

        Args:
            lower: (3,) corner in the world, metres; -inf is allowed.
            upper: (3,) corner in the world, metres; inf is allowed.

        Returns:
            How many observed voxels were removed.

        Raises:
            InvalidInput: The corners are none, or upper lies below lower.
        """
        import warp as wp

        low, high = (corner / self.config.voxel_size_m for corner in checks.check_box(lower, upper))
        # A face that lies on a face of voxels (up to rounding) touches only the voxels on its inside.
        limit = float(BRICK_EDGE << 20)
        first = np.floor(np.clip(low + 1e-6, -limit, limit)).astype(np.int64)
        last = np.maximum(np.ceil(np.clip(high - 1e-6, -limit, limit)).astype(np.int64) - 1, first)
        with self._lock:
            pool, device = self._pool, self._launcher.device
            removed, left = (wp.zeros(pool.used, dtype=wp.int32, device=device) for _ in range(2))
            box = [wp.vec3i(*first.tolist()), wp.vec3i(*last.tolist())]
            self._launcher.run(pool.kernels.clear_box, pool.used, [pool.struct, *box, removed, left])
            gone, stay = removed.numpy(), left.numpy()
            emptied = np.flatnonzero((gone > 0) & (stay == 0))
            if len(emptied):
                pool.free(emptied)
            pool.struct.revision += 1
        return int(gone.sum())

    def bricks(self) -> Bricks:
        """A copy of the whole map."""
        with self._lock:
            return self._copy(np.flatnonzero(self._pool.host("last_seen") >= 0))

    def load_bricks(self, keys: NDArray[np.int64], log_odds: NDArray[np.float32], last_seen_ns: Any) -> None:
        """Put bricks in, as saved: they replace what is there under the same keys, and count as clean.

        Raises:
            InvalidInput: An array has another shape or dtype, a key comes twice, or the pool has no room for them.
        """
        checks.check_bricks(keys, log_odds, last_seen_ns)
        known = ~np.isnan(log_odds).all(axis=1)
        with self._lock:
            pool = self._pool
            if pool.used + len(keys) > pool.capacity:
                pool.free_unobserved()
            free = pool.capacity - pool.used
            new = int(np.count_nonzero(pool.find(keys[known]) < 0))
            if new > free:
                raise InvalidInput(
                    f"bricks: wanted at most {free} new ones (spatial.capacity_bricks is {pool.capacity}), got {new}"
                )
            slots = pool.claim(keys[known])
            pool.put("log_odds", slots, log_odds[known])
            pool.put("last_seen", slots, np.asarray(last_seen_ns)[known])
            pool.put("dirty", slots, 0)
            pool.put("flipped", slots, pool.struct.revision)
            pool.struct.revision += 1

    def changed_since(self, revision: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], int]:
        """Which bricks hold a voxel that became occupied, free or unknown: what a derived map has to look at again.

        Args:
            revision: What the last call gave; 0 asks for all.

        Returns:
            Keys (N,) of all bricks, whether each changed (N,), and the revision to ask with next. A brick that was
            asked for earlier and is not among the keys any more is all unknown.
        """
        with self._lock:
            here = self._pool.host("last_seen") >= 0
            keys, flipped = (self._pool.host(name)[here].copy() for name in ("keys", "flipped"))
            return keys, flipped > revision, int(self._pool.struct.revision) - 1

    def dirty_bricks(self) -> Bricks:
        """A copy of the bricks of which a value changed since `mark_clean`; being seen again unchanged is no change."""
        with self._lock:
            return self._copy(self._pool.dirty_slots())

    def freed_keys(self) -> NDArray[np.int64]:
        """Keys (N,) of bricks that are gone since `mark_clean`."""
        with self._lock:
            return self._pool.freed_keys()

    def mark_clean(self, keys: NDArray[np.int64]) -> None:
        """Say that what `dirty_bricks` or `freed_keys` gave out under these keys is saved; later changes stay dirty."""
        with self._lock:
            self._pool.mark_clean(np.asarray(keys, dtype=np.int64))

    def _copy(self, slots: NDArray[np.intp]) -> Bricks:
        return Bricks(*(self._pool.host(name)[slots].copy() for name in ("keys", "log_odds", "last_seen")))

    def _write(self, integrate: Callable[[], None]) -> None:
        with self._lock:
            integrate()
            self._pool.struct.revision += 1
            if self._pool.used == self._pool.capacity:
                self._pool.free_unobserved()
