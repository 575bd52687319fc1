"""Bricks in and out: what is saved and loaded, removed and looked at again."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.spatial.octree import checks
from embodmem.spatial.octree.keys import BRICK_EDGE, BRICK_VOXELS, to_ticks, unpack_keys
from embodmem.spatial.octree.paint import Painter, VoxelColours, VoxelLabels, split_colours, split_labels
from embodmem.spatial.octree.pool import BrickPool, Paint, mixed_bricks
from embodmem.spatial.octree.runtime import Launcher, find_device


class Bricks(NamedTuple):
    """Copies of some bricks.

    Attributes:
        keys: (N,) int64, see `embodmem.spatial.octree.keys`.
        log_odds: (N, 512) float32, NaN = never observed; voxel (x, y, z) of a brick is at (z * 8 + y) * 8 + x.
        last_seen_ns: (N,) int64, when something in the brick was last observed.
        ages: (N, 512) uint32, how long before that each voxel was, in ticks of `TICK_NS`; 0 where it is unknown.
        colours: (N, 512) uint32, see `embodmem.spatial.octree.pool.Paint`; (N, 0) where they are not kept.
        labels: (N, 512) uint32, likewise.
    """

    keys: NDArray[np.int64]
    log_odds: NDArray[np.float32]
    last_seen_ns: NDArray[np.int64]
    ages: NDArray[np.uint16]
    colours: NDArray[np.uint32]
    labels: NDArray[np.uint32]


class Changes(NamedTuple):
    """What the last observation changed, as masks of the voxels of bricks.

    Attributes:
        keys: (M,) int64.
        appeared: (M, 512) bool, free before and occupied now.
        vanished: (M, 512) bool, occupied before and free now.
        seen_through: (M, 512) bool, occupied before, and the sensor saw through.
        disturbed: (M, 512) bool, surely free before (half the lowest log-odds, or below), and a surface was seen there.
        log_odds: (M, 512) float32, as they are now.
    """

    keys: NDArray[np.int64]
    appeared: NDArray[np.bool_]
    vanished: NDArray[np.bool_]
    seen_through: NDArray[np.bool_]
    disturbed: NDArray[np.bool_]
    log_odds: NDArray[np.float32]


class BrickMap:
    """What an `Octree` is made of: bricks in a pool under one lock.

    Args:
        config: Settings.

    Raises:
        ConfigError: The device is not here.
    """

    def __init__(self, config: SpatialConfig) -> None:
        self.config = config
        self._lock = threading.RLock()
        self._launcher = Launcher(find_device(config.device), config.threads)
        kept = config.colour, config.labels
        self._now: Any = None
        self._pool = BrickPool(config.capacity_bricks, config.log_odds_occupied, self._launcher, *kept)
        self._painter = Painter(config, self._pool)

    def bricks(self) -> Bricks:
        """A copy of the whole map."""
        with self._lock:
            return self._copy(self._pool.observed())

    def load_bricks(
        self,
        keys: NDArray[np.int64],
        log_odds: NDArray[np.float32],
        last_seen_ns: Any,
        ages: NDArray[np.uint16] | None = None,
        colours: NDArray[np.uint32] | None = None,
        labels: NDArray[np.uint32] | None = None,
    ) -> None:
        """Put bricks in, as saved: they replace what is there under the same keys, and count as clean.

        Args:
            keys: (N,) int64.
            log_odds: (N, 512) float32.
            last_seen_ns: (N,) int64.
            ages: (N, 512) uint32, see `Bricks`; None takes all voxels to be as old as their brick.
            colours: (N, 512) uint32, see `Bricks`; None is none. What the settings do not keep is passed over.
            labels: (N, 512) uint32, likewise.

        Raises:
            InvalidInput: An array has another shape or dtype, a key comes twice, or the pool has no room for them.
        """
        ages = np.zeros(np.shape(log_odds), dtype=np.uint16) if ages is None else ages
        checks.check_bricks(keys, log_odds, last_seen_ns, ages)
        paint = Paint(*(checks.check_paint(words, np.shape(log_odds)) for words in (colours, labels)))
        seen = np.asarray(last_seen_ns)
        known = ~np.isnan(log_odds)
        filled = known.any(axis=1)
        with self._lock:
            pool = self._pool
            pool.tick_of(int(seen.max()) if len(seen) else 0)
            moments = to_ticks(seen, pool.base or 0)[:, None].astype(np.int64) - ages
            ticks = np.where(known, np.maximum(moments, 1), 0).astype(np.uint16)
            paint = Paint(*(None if words is None else words[filled] for words in paint))
            paint = pool.usable(log_odds[filled], paint)
            self._check_room(keys[filled], mixed_bricks(log_odds[filled], ticks[filled], paint))
            slots = pool.claim(keys[filled])
            pool.write(slots, np.ascontiguousarray(log_odds[filled]), ticks[filled], paint)
            for name in ("last_seen", "saved_seen"):
                pool.put(name, slots, seen[filled])
            pool.put("dirty", slots, 0)
            for name in ("flipped", "touched"):
                pool.put(name, slots, pool.struct.revision)
            pool.struct.revision += 1

    def _check_room(self, keys: NDArray[np.int64], mixed: NDArray[np.bool_]) -> None:
        pool = self._pool
        for last_try in (False, True):
            slots = pool.find(keys)
            reused = int(np.count_nonzero(pool.host("block")[slots[slots >= 0]] >= 0))
            blocks, slots_left = pool.free_blocks + reused, pool.capacity - pool.used
            wanted, new = int(np.count_nonzero(mixed)), int(np.count_nonzero(slots < 0))
            if wanted <= blocks and new <= slots_left:
                return
            if last_try:
                raise InvalidInput(
                    f"bricks: wanted at most {blocks} that are not uniform and {slots_left} new ones "
                    f"(spatial.budget_mib has room for {pool.blocks}), got {wanted} and {new}"
                )
            pool.free_unobserved()

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

    @property
    def room(self) -> int:
        """How many more bricks can have voxels of their own."""
        with self._lock:
            if self._pool.free_blocks < self._pool.blocks // 4:
                self._pool.free_unobserved()
            return min(self._pool.free_blocks, self._pool.capacity - self._pool.used)

    def changes(self) -> Changes:
        """What the last image or scan changed about voxels that were known: to be asked for before the next change."""
        with self._lock:
            slots, rows = self._pool.rows_changed()
            keys = self._pool.host("keys")[slots]
            log_odds, _ = self._pool.read(slots)
        masks = np.unpackbits(np.ascontiguousarray(rows).view(np.uint8).reshape(-1, 64, 8), axis=2, bitorder="little")
        appeared, vanished, through, disturbed = (
            masks[:, :, i : i + 8].reshape(-1, BRICK_VOXELS) == 1 for i in (0, 8, 16, 24)
        )
        return Changes(keys, appeared, vanished, through, disturbed, log_odds)

    def assign(self, keys: NDArray[np.int64], voxels: NDArray[np.bool_], value: float) -> int:
        """Set voxels that are known, and nothing else, to a value.

        Args:
            keys: (N,) int64 of distinct bricks; those not in the map are passed over.
            voxels: (N, 512) bool.
            value: Log-odds, held within the clamps; NaN makes them unknown.

        Returns:
            How many voxels that were.
        """
        with self._lock:
            pool = self._pool
            slots = pool.find(np.asarray(keys, dtype=np.int64))
            here = slots >= 0
            slots = slots[here]
            pool.expand(slots)
            values, ticks = pool.read(slots)
            chosen = voxels[here] & ~np.isnan(values)
            values[chosen] = np.clip(value, self.config.log_odds_min, self.config.log_odds_max)
            ticks[chosen & np.isnan(value)] = 0
            touched = slots[chosen.any(axis=1)]
            rows = chosen.any(axis=1)
            pool.write(touched, values[rows], ticks[rows], pool.read_paint(touched))
            pool.put("dirty", touched, 1)
            for name in ("flipped", "touched"):
                pool.put(name, touched, pool.struct.revision)
            pool.struct.revision += 1
            empty = slots[np.isnan(values).all(axis=1)]
            if len(empty):
                pool.free(empty)
        return int(np.count_nonzero(chosen))

    def colours(self, points: ArrayLike) -> VoxelColours:
        """Colours of the voxels at points (N, 3) in the world, none unless the setting `colour` is on.

        Raises:
            InvalidInput: The points have another shape or are not finite.
        """
        where = checks.check_points(points, "points")
        with self._lock:
            return split_colours(self._painter.read(where)[0])

    def labels(self, points: ArrayLike) -> VoxelLabels:
        """Labels of the voxels at points (N, 3) in the world, none unless the setting `labels` is on.

        Raises:
            InvalidInput: The points have another shape or are not finite.
        """
        where = checks.check_points(points, "points")
        with self._lock:
            return split_labels(self._painter.read(where)[1])

    def dirty_bricks(self, stale_s: float = math.inf) -> Bricks:
        """A copy of the bricks of which a value changed since `mark_clean`.

        Args:
            stale_s: A brick that was seen again unchanged is among them if that was more than so many seconds later.
        """
        with self._lock:
            return self._copy(self._pool.dirty_slots(stale_s))

    def freed_keys(self) -> NDArray[np.int64]:
        """Keys (N,) of bricks that are gone since `mark_clean`."""
        with self._lock:
            return self._pool.freed_keys()

    def mark_clean(self, keys: NDArray[np.int64]) -> None:
        """Say that what `dirty_bricks` or `freed_keys` gave out under these keys is saved; later changes stay dirty."""
        with self._lock:
            self._pool.mark_clean(np.asarray(keys, dtype=np.int64))

    def _copy(self, slots: NDArray[np.int32]) -> Bricks:
        values, ticks = self._pool.read(slots)
        keys, seen = (self._pool.host(name)[slots].copy() for name in ("keys", "last_seen"))
        moments = to_ticks(seen, self._pool.base or 0)[:, None]
        ages = np.where(ticks > 0, np.maximum(moments, ticks) - ticks, 0).astype(np.uint16)
        nothing = np.empty((len(slots), 0), dtype=np.uint32)
        paint = self._pool.read_paint(slots)
        return Bricks(keys, values, seen, ages, *(nothing if words is None else words for words in paint))

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
        low, high = (corner / self.config.voxel_size_m for corner in checks.check_box(lower, upper))
        # A face that lies on a face of voxels (up to rounding) touches only the voxels on its inside.
        limit = float(BRICK_EDGE << 20)
        first = np.floor(np.clip(low + 1e-6, -limit, limit)).astype(np.int64)
        last = np.maximum(np.ceil(np.clip(high - 1e-6, -limit, limit)).astype(np.int64) - 1, first)
        with self._lock:
            return self._remove(first, last)

    def _remove(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> int:
        """Set the voxels first (3,) <= index <= last to unknown; returns how many were observed."""
        import warp as wp

        pool, device = self._pool, self._launcher.device
        lower = unpack_keys(pool.host("keys")) * BRICK_EDGE
        touched = ((lower <= last) & (lower + BRICK_EDGE > first)).all(axis=1)
        whole = ((lower >= first) & (lower + BRICK_EDGE - 1 <= last)).all(axis=1)
        pool.expand(np.flatnonzero(touched & ~whole & ~np.isnan(pool.host("value"))))
        slots = np.flatnonzero(touched)
        removed, left = (wp.zeros(len(slots), dtype=wp.int32, device=device) for _ in range(2))
        box = [wp.vec3i(*first.tolist()), wp.vec3i(*last.tolist())]
        inputs = [pool.struct, pool.on_device(slots, np.int32), *box, removed, left]
        self._launcher.run(pool.kernels.clear_box, len(slots), inputs)
        pool.shed(slots)
        gone = removed.numpy()
        emptied = slots[(gone > 0) & (left.numpy() == 0)]
        if len(emptied):
            pool.free(emptied)
        pool.struct.revision += 1
        return int(gone.sum())

    def _update(self, stamp_ns: int) -> Any:
        """The one `Update` of this map, for an observation at a time; the caller holds the lock."""
        from embodmem.spatial.octree.kernels_pool import Update

        if self._now is None:
            self._now = Update()
            self._now.lowest, self._now.highest = self.config.log_odds_min, self.config.log_odds_max
            self._now.occupied = self.config.log_odds_occupied
        self._now.stamp_ns, self._now.tick = stamp_ns, self._pool.tick_of(stamp_ns)
        return self._now

    def _write(self, integrate: Callable[[], None]) -> None:
        with self._lock:
            integrate()
            self._pool.struct.revision += 1
            if self._pool.free_blocks == 0 or self._pool.used == self._pool.capacity:
                self._pool.free_unobserved()
