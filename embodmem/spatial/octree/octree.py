"""The brick octree: what is occupied, what is free, and what nobody has seen yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.spatial.octree import checks, forgetting
from embodmem.spatial.octree.brick_map import BrickMap, Bricks
from embodmem.spatial.octree.depth import DepthIntegrator
from embodmem.spatial.octree.forgetting import Box
from embodmem.spatial.octree.keys import (
    BRICK_EDGE,
    BRICK_LIMIT,
    BRICK_VOXELS,
    FREE,
    MAX_DEPTH,
    OCCUPIED,
    UNKNOWN,
    from_ticks,
    pack_keys,
)
from embodmem.spatial.octree.levels import Level, Levels
from embodmem.spatial.octree.raycast import RayCaster, RaycastHits
from embodmem.spatial.octree.scan import integrate_scan
from embodmem.types import PinholeCamera, check_stamp

__all__ = ["Octree", "OctreeStats", "RaycastHits"]


@dataclass(frozen=True)
class OctreeStats:
    """How full the map is.

    `bytes` is reserved once, `bytes_in_use` is what holds something; `refused_bricks` counts requests that met a full
    pool. A brick whose voxels are all alike is uniform and needs no block.
    """

    bricks: int
    uniform_bricks: int
    capacity_bricks: int
    bytes: int
    bytes_in_use: int
    occupied_voxels: int
    free_voxels: int
    refused_bricks: int


class Octree(BrickMap):
    """A tri-state map of occupancy in 8x8x8 bricks of log-odds, found by hash, bounded in size.

    A voxel is unknown until an observation says something about it (its log-odds are NaN until then), and after that
    occupied above `config.log_odds_occupied`, else free. Depths of the octree: 0 is the root (2**24 voxels wide,
    centred on the origin of the world), 21 a brick, `MAX_DEPTH` = 24 a voxel.

    `config.budget_mib` bounds how many bricks can have voxels of their own; a brick whose voxels are all alike (most of
    free space) takes none of them. When the pool is full, bricks in which nothing was observed yet are given back
    first; after that, new bricks are refused and counted (`stats().refused_bricks`), and what is known keeps being
    updated: the map never grows, and never drops what it holds by itself. `evict`, `decay` and `remove_box` make room.

    One lock guards the map, so that any thread may read or write and sees a whole state.

    Args:
        config: Settings.

    Raises:
        ConfigError: The device is not here.
    """

    def __init__(self, config: SpatialConfig | None = None) -> None:
        config = SpatialConfig() if config is None else config
        super().__init__(config)
        self._depth = DepthIntegrator(config, self._pool)
        self._rays = RayCaster(self)
        self._levels = Levels(self._pool, config.voxel_size_m)
        self.decayed_ns: int | None = None
        """Up to when the map has faded, see `decay`; None if it never has."""

    def integrate(
        self,
        depth: NDArray[np.float32],
        camera: PinholeCamera,
        T_world_camera: ArrayLike,
        stamp_ns: int,
        *,
        rgb: ArrayLike | None = None,
        labels: ArrayLike | None = None,
    ) -> None:
        """Add a depth image; the rule per voxel is in `embodmem.spatial.octree.depth.DepthIntegrator`.

        Args:
            depth: (H, W) float32 metres along the optical axis, 0 = no return.
            camera: Its intrinsics.
            T_world_camera: (4, 4), optical frame.
            stamp_ns: When it was taken.
            rgb: (H, W, 3) uint8; passed over unless the setting `colour` is on.
            labels: (H, W) whole numbers 0 .. 65535, 0 = none; passed over unless the setting `labels` is on.

        Raises:
            DepthError: The image has another size or dtype, or holds NaN, infinite or negative values; the map is
                unchanged then.
            PoseError: The pose is none.
            InvalidInput: The stamp is none, or another image has another size or dtype.
        """
        image = checks.check_depth(depth, camera)
        pose = checks.check_sensor_pose(T_world_camera, "T_world_camera", self.config.voxel_size_m)
        stamp = check_stamp(stamp_ns)
        paint = self._painter.checked(rgb, labels, camera.shape, ("rgb", "labels"))

        def add() -> None:
            self._depth.integrate(image, camera, pose, self._update(stamp))
            self._painter.pixels(image, camera, pose, *paint)

        self._write(add)

    def integrate_points(
        self,
        points: ArrayLike,
        T_world_sensor: ArrayLike,
        stamp_ns: int,
        *,
        labels: ArrayLike | None = None,
        colours: ArrayLike | None = None,
    ) -> None:
        """Add lidar points and the free space on the way to them; see `embodmem.spatial.octree.scan`.

        Points of which nobody knows from where they were seen are for `embodmem.spatial.octree.mark_points`.

        Args:
            points: (N, 3) metres in the sensor frame.
            T_world_sensor: (4, 4).
            stamp_ns: When the scan was taken.
            labels: (N,) whole numbers 0 .. 65535, 0 = none.
            colours: (N, 3) uint8.

        Raises:
            InvalidInput: The points have another shape or are not finite, the stamp is none, or labels or colours have
                another shape or dtype.
            PoseError: The pose is none.
        """
        cloud = checks.check_points(points, "points", np.float32)
        pose = checks.check_sensor_pose(T_world_sensor, "T_world_sensor", self.config.voxel_size_m)
        stamp = check_stamp(stamp_ns)
        paint = self._painter.checked(colours, labels, (len(cloud),), ("colours", "labels"))

        def add() -> None:
            scan = integrate_scan(self.config, self._pool, cloud, pose, self._update(stamp))
            self._painter.beams(scan, *paint)

        self._write(add)

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

    def probability(self, points: ArrayLike) -> NDArray[np.float32]:
        """Probability (N,) of being occupied at points (N, 3) in the world; NaN where unknown.

        The inverse of the log-odds (Hornung et al., Autonomous Robots 2013, eq. 1 to 3). Unknown is not 0.5: that is
        what a voxel says for and against which the same was seen.

        Raises:
            InvalidInput: The points have another shape or are not finite.
        """
        values = self.log_odds(points)
        return np.asarray(1.0 / (1.0 + np.exp(-values)), dtype=np.float32)

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

    def last_seen(self, points: ArrayLike) -> NDArray[np.int64]:
        """When the voxels at points (N, 3) in the world were last observed, ns to about half a second; -1 where never.

        Raises:
            InvalidInput: The points have another shape or are not finite.
        """
        where = checks.check_points(points, "points")
        voxels = np.floor(where / self.config.voxel_size_m)
        limit = BRICK_LIMIT * BRICK_EDGE
        inside = np.asarray((np.abs(voxels) < limit).all(axis=1))
        index = np.where(inside[:, None], voxels, 0).astype(np.int64)
        local = index & (BRICK_EDGE - 1)
        with self._lock:
            bricks, place = np.unique(pack_keys(index >> 3), return_inverse=True)
            slots = self._pool.find(bricks)
            ticks = np.zeros((len(bricks), BRICK_VOXELS), dtype=np.uint16)
            ticks[slots >= 0] = self._pool.read(slots[slots >= 0])[1]
            seen = ticks[place, (local[:, 2] * 8 + local[:, 1]) * 8 + local[:, 0]]
            return np.where(inside, from_ticks(seen, self._pool.base or 0), -1)

    def level(self, depth: int) -> Level:
        """All observed nodes at a depth of the octree: log-odds from lowest to highest, unknown, last seen.

        The work is that of the nodes at that depth, and of what changed since a level was last asked for.

        Args:
            depth: 0 (root) .. `MAX_DEPTH` (voxel).

        Raises:
            InvalidInput: The depth is none of these.
        """
        with self._lock:
            return self._levels.at(checks.check_depth_of_tree(depth))

    def occupied(self, depth: int | None = None) -> tuple[NDArray[np.float32], float]:
        """Occupied leaves at a depth of the octree; a coarser leaf is occupied if any voxel in it is.

        Args:
            depth: 0 (root) .. `MAX_DEPTH` (voxel, the default).

        Returns:
            Centres (M, 3) float32 in the world, metres, and the edge of a leaf in metres.

        Raises:
            InvalidInput: The depth is none of these.
        """
        depth = checks.check_depth_of_tree(MAX_DEPTH if depth is None else depth)
        with self._lock:
            centres, edge_m = self._levels.leaves(depth, self.config.log_odds_occupied)
        return centres.astype(np.float32), edge_m

    def bounds(self) -> NDArray[np.float64] | None:
        """(2, 3) lower and upper corner in the world, metres, of the box around all observed voxels; None if empty."""
        nodes = self.level(MAX_DEPTH).nodes
        if len(nodes) == 0:
            return None
        return np.stack([nodes.min(axis=0), nodes.max(axis=0) + 1]) * self.config.voxel_size_m

    def stats(self) -> OctreeStats:
        """How full the map is."""
        with self._lock:
            pool = self._pool
            values, _ = pool.read(pool.observed())
            occupied = int(np.count_nonzero(values > self.config.log_odds_occupied))
            blocks = int(np.count_nonzero(pool.host("block")[pool.observed()] >= 0))
            return OctreeStats(
                bricks=len(values),
                uniform_bricks=len(values) - blocks,
                capacity_bricks=pool.blocks,
                bytes=pool.nbytes + self._depth.nbytes,
                bytes_in_use=pool.bytes_in_use + self._depth.nbytes,
                occupied_voxels=occupied,
                free_voxels=int(np.count_nonzero(values <= self.config.log_odds_occupied)),
                refused_bricks=pool.refused,
            )

    def decay(
        self,
        now_ns: int,
        half_life_s: float,
        keep: Sequence[Box] = (),
        view: tuple[ArrayLike, PinholeCamera, float] | None = None,
        least: float = 0.1,
    ) -> int:
        """Let what was not seen for long fade: log-odds halve with every half-life since a voxel was last observed.

        What comes nearer to 0 than `least` is unknown again, and bricks of which nothing is left are freed. Call it as
        often as you like: time is counted once, from the last call on (`decayed_ns`).

        Args:
            now_ns: The time; what was seen later than that does not fade.
            half_life_s: Seconds.
            keep: Boxes (lower (3,), upper (3,)) in the world, metres: bricks that touch one do not fade.
            view: T_world_camera (4, 4), its camera, and how far it sees, metres: only bricks in view fade. Bricks
                out of view are let off the time until now.
            least: Log-odds.

        Returns:
            How many bricks were freed.

        Raises:
            InvalidInput: A number or box is none.
            PoseError: The pose is none.
        """
        now = check_stamp(now_ns)
        if not (half_life_s > 0 and 0 < least < self.config.log_odds_max):
            raise InvalidInput(
                f"decay: wanted half_life_s > 0 and 0 < least < {self.config.log_odds_max}, got {half_life_s}, {least}"
            )
        with self._lock:
            slots = forgetting.select(self._pool, self.config.voxel_size_m, keep, view)
            since = self.decayed_ns if self.decayed_ns is not None else -(1 << 59)
            freed = forgetting.decay(self._pool, slots, since, now, half_life_s, least)
            self.decayed_ns = max(since, now)
            self._pool.struct.revision += 1
        return freed

    def fade(
        self,
        keys: NDArray[np.int64],
        since_ns: int,
        now_ns: int,
        half_life_s: float,
        keep: Sequence[Box] = (),
        least: float = 0.1,
    ) -> None:
        """Let single bricks catch up with what the others faded since a time; see `decay`."""
        with self._lock:
            slots = np.intersect1d(
                self._pool.find(np.asarray(keys, dtype=np.int64)),
                forgetting.select(self._pool, self.config.voxel_size_m, keep),
            )
            forgetting.decay(self._pool, slots, since_ns, now_ns, half_life_s, least)
            self._pool.struct.revision += 1

    def keep_within(self, lower: ArrayLike, upper: ArrayLike) -> int:
        """Forget all bricks that lie wholly outside a box: a window that rolls with the robot.

        Args:
            lower: (3,) corner in the world, metres.
            upper: (3,) corner in the world, metres.

        Returns:
            How many bricks were freed.

        Raises:
            InvalidInput: The corners are none, or upper lies below lower.
        """
        with self._lock:
            outside = forgetting.select(self._pool, self.config.voxel_size_m, keep=[(lower, upper)])
            if len(outside):
                self._pool.free(outside)
                self._pool.struct.revision += 1
        return len(outside)

    def evict(self, count: int, here: ArrayLike, now_ns: int, spare_m: float = 0.0) -> Bricks:
        """Take the bricks that are worth least at a place out of the map; the caller keeps them somewhere.

        They do not appear in `freed_keys`: they are not forgotten. `load_bricks` brings them back.

        Args:
            count: How many blocks that must free; uniform bricks, which have none, may go along.
            here: (3,) in the world, metres.
            now_ns: The time.
            spare_m: Bricks nearer than this stay.

        Returns:
            Copies of them.

        Raises:
            InvalidInput: A number is none.
        """
        with self._lock:
            self._levels.refresh()
            high = self._pool.host("high")
            size = self.config.voxel_size_m
            slots = forgetting.least_useful(self._pool, size, high, here, now_ns, count, spare_m)
            taken = self._copy(slots)
            if len(slots):
                self._pool.free(slots, forget=False)
                self._pool.struct.revision += 1
        return taken
