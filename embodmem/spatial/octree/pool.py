"""The host's side of the brick pool: its memory, finding and freeing bricks, and what changed since the last save."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.spatial.octree.keys import BRICK_VOXELS, EMPTY
from embodmem.spatial.octree.runtime import Launcher

Keys = NDArray[np.int64]
Values = NDArray[np.float32]

_CHANGED, _BEING_SAVED = 1, 2


class BrickPool:
    """A fixed number of bricks in a structure of arrays (`kernels_pool.Pool`); the first `used` slots are taken.

    The hash table has at least two places a brick, so that looking one up takes about one and a half probes.
    """

    def __init__(self, capacity: int, occupied: float, launcher: Launcher) -> None:
        import warp as wp

        from embodmem.spatial.octree import kernels_pool as kernels

        self.kernels = kernels
        self.launcher = launcher
        self.capacity = capacity
        places = 1 << (2 * capacity - 1).bit_length()
        device = launcher.device
        self.struct = pool = kernels.Pool()
        pool.table_keys = wp.full(places, EMPTY, dtype=wp.int64, device=device)
        pool.table_slots = wp.empty(places, dtype=wp.int32, device=device)
        pool.keys = wp.empty(capacity, dtype=wp.int64, device=device)
        pool.rows = wp.empty((capacity, BRICK_VOXELS // 8), dtype=kernels.row8, device=device)
        pool.log_odds = wp.array(ptr=pool.rows.ptr, shape=(capacity, BRICK_VOXELS), dtype=wp.float32, device=device)
        pool.last_seen = wp.empty(capacity, dtype=wp.int64, device=device)
        pool.dirty = wp.zeros(capacity, dtype=wp.uint8, device=device)
        pool.flipped = wp.zeros(capacity, dtype=wp.int32, device=device)
        pool.revision = 1
        pool.occupied = occupied
        pool.counters = wp.zeros(2, dtype=wp.int32, device=device)
        self._freed: dict[int, Keys] = {state: np.empty(0, np.int64) for state in (_CHANGED, _BEING_SAVED)}
        self.used = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the pool, reserved once."""
        pool = self.struct
        arrays = [pool.table_keys, pool.table_slots, pool.keys, pool.rows, pool.last_seen, pool.dirty, pool.flipped]
        return sum(int(array.capacity) for array in [*arrays, pool.counters])

    @property
    def refused(self) -> int:
        """How often a brick was asked for in vain because the pool was full."""
        return int(self.struct.counters.numpy()[1])

    def settle(self) -> None:
        """Read back how many slots are used after a kernel claimed some."""
        claimed = int(self.struct.counters.numpy()[0])
        self.used = min(claimed, self.capacity)
        if claimed > self.capacity:  # threads of a GPU that took the last slot together
            self._set_counters(self.used, self.refused)
            self._rebuild_table()

    def host(self, name: str) -> NDArray[Any]:
        """The used part of an array: a view of the map on a CPU (copy what outlives the lock), a copy on a GPU."""
        array: NDArray[Any] = getattr(self.struct, name)[: self.used].numpy() if self.used else self._none(name)
        return array

    def put(self, name: str, slots: NDArray[Any], values: Any) -> None:
        """Set entries of an array by slot."""
        if len(slots) == 0:
            return
        array = self.host(name)
        array[slots] = values
        if not self.launcher.device.is_cpu:
            getattr(self.struct, name)[: self.used].assign(array)

    def find(self, keys: Keys) -> NDArray[np.int32]:
        """Slots (N,) of keys (N,), -1 where absent."""
        return self._slots(self.kernels.find_keys, keys)

    def claim(self, keys: Keys) -> NDArray[np.int32]:
        """Slots (N,) of distinct keys (N,), new ones where absent."""
        slots = self._slots(self.kernels.claim_keys, keys)
        self.settle()
        return slots

    def free(self, slots: NDArray[np.intp]) -> None:
        """Give slots back: the last bricks move into the holes, and the table is built anew."""
        gone = np.zeros(self.used, dtype=bool)
        gone[slots] = True
        kept = self.used - int(np.count_nonzero(gone))
        self._freed[_CHANGED] = np.union1d(self._freed[_CHANGED], self.host("keys")[gone])
        holes = np.flatnonzero(gone[:kept]).astype(np.int32)
        movers = (np.flatnonzero(~gone[kept:]) + kept).astype(np.int32)
        self.launcher.run(
            self.kernels.move_bricks, len(holes), [self.struct, self._on_device(movers), self._on_device(holes)]
        )
        self.used = kept
        self._set_counters(kept, self.refused)
        self._rebuild_table()

    def free_unobserved(self) -> None:
        """Give back the bricks that were claimed but in which nothing was observed."""
        empty = np.flatnonzero(self.host("last_seen") < 0)
        if len(empty):
            known = self._freed[_CHANGED]
            self.free(empty)
            self._freed[_CHANGED] = known  # nobody ever saw them, so nobody has to forget them

    def clear(self) -> None:
        """Free everything."""
        self.free_unobserved()
        self.free(np.arange(self.used))
        self._set_counters(0, 0)

    def dirty_slots(self) -> NDArray[np.intp]:
        """Slots of bricks that differ from what was last marked clean; from now on they count as being saved."""
        slots = np.flatnonzero((self.host("dirty") != 0) & (self.host("last_seen") >= 0))
        self.put("dirty", slots, _BEING_SAVED)
        return slots

    def freed_keys(self) -> Keys:
        """Keys of freed bricks that are not in the map again; from now on they count as being saved."""
        here = self.host("keys")[self.host("last_seen") >= 0]
        freed: Keys = np.setdiff1d(np.union1d(self._freed[_CHANGED], self._freed[_BEING_SAVED]), here)
        self._freed = {_CHANGED: np.empty(0, np.int64), _BEING_SAVED: freed}
        return np.array(freed, dtype=np.int64)

    def mark_clean(self, keys: Keys) -> None:
        """Take what `dirty_slots` and `freed_keys` gave out for saved; what changed since stays."""
        slots = self.find(keys)
        slots = slots[slots >= 0]
        self.put("dirty", slots[self.host("dirty")[slots] == _BEING_SAVED], 0)
        self._freed[_BEING_SAVED] = np.setdiff1d(self._freed[_BEING_SAVED], keys)

    def _slots(self, kernel: Any, keys: Keys) -> NDArray[np.int32]:
        import warp as wp

        slots = wp.empty(len(keys), dtype=wp.int32, device=self.launcher.device)
        self.launcher.run(kernel, len(keys), [self.struct, self._on_device(keys), slots])
        found: NDArray[np.int32] = slots.numpy()
        return found

    def _on_device(self, values: NDArray[Any]) -> Any:
        import warp as wp

        return wp.array(values, device=self.launcher.device)

    def _none(self, name: str) -> NDArray[Any]:
        whole = getattr(self.struct, name)
        dtype = {"dirty": np.uint8, "log_odds": np.float32, "flipped": np.int32}.get(name, np.int64)
        return np.empty((0, *whole.shape[1:]), dtype=dtype)

    def _set_counters(self, used: int, refused: int) -> None:
        self.struct.counters.assign(np.array([used, refused], dtype=np.int32))

    def _rebuild_table(self) -> None:
        self.struct.table_keys.fill_(EMPTY)
        self.launcher.run(self.kernels.fill_table, self.used, [self.struct])
