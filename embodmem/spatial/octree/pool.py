"""The host's side of the brick pool: its memory, finding and freeing bricks, and what changed since the last save."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.config import PAINT_BYTES, SLOTS_PER_BLOCK, table_places
from embodmem.spatial.octree.keys import BRICK_VOXELS, EMPTY, LAST_TICK, TICK_NS
from embodmem.spatial.octree.runtime import Launcher

Keys = NDArray[np.int64]
Slots = NDArray[np.int32]
Values = NDArray[np.float32]
Ticks = NDArray[np.uint16]

_CHANGED, _BEING_SAVED = 1, 2
_PER_SLOT = {
    "keys": np.int64,
    "last_seen": np.int64,
    "saved_seen": np.int64,
    "dirty": np.uint8,
    "flipped": np.int32,
    "touched": np.int32,
    "block": np.int32,
    "value": np.float32,
    "seen": np.uint16,
    "low": np.float32,
    "high": np.float32,
    "holes": np.uint8,
}


class Paint(NamedTuple):
    """What the voxels of some bricks bear beside their log-odds; None where it is not kept.

    Attributes:
        colours: (N, 512) uint32: red, green, blue and how many views they are the mean of, from the lowest byte up;
            0 = none.
        labels: (N, 512) uint32: label (16 bits), margin and votes (8 bits each), from the lowest bit up; 0 = none.
    """

    colours: NDArray[np.uint32] | None = None
    labels: NDArray[np.uint32] | None = None


def mixed_bricks(values: Values, ticks: Ticks, paint: Paint) -> NDArray[np.bool_]:
    """Which bricks (N,) need a block: those whose voxels are not all alike, or painted."""
    uniform = np.isnan(values).all(axis=1) | (values == values[:, :1]).all(axis=1)
    uniform &= (ticks == ticks[:, :1]).all(axis=1)
    for words in paint:
        if words is not None:
            uniform &= ~words.any(axis=1)
    return np.asarray(~uniform)


class BrickPool:
    """A fixed number of bricks in a structure of arrays (`kernels_pool.Pool`); the first `used` slots are taken.

    `blocks` bricks can have voxels of their own, `SLOTS_PER_BLOCK` times as many are known in all. The hash table has
    at least two places a brick, so that looking one up takes about one and a half probes.
    """

    def __init__(
        self, blocks: int, occupied: float, launcher: Launcher, colour: bool = False, labels: bool = False
    ) -> None:
        import warp as wp

        from embodmem.spatial.octree import kernels_bricks
        from embodmem.spatial.octree import kernels_pool as kernels

        self.kernels = kernels_bricks
        self.launcher = launcher
        self.kept = (colour, labels)
        self.painted = colour or labels
        self.blocks = blocks
        self.capacity = slots = SLOTS_PER_BLOCK * blocks
        device = launcher.device
        self.struct = pool = kernels.Pool()
        pool.table_keys = wp.full(table_places(slots), EMPTY, dtype=wp.int64, device=device)
        pool.table_slots = wp.empty(table_places(slots), dtype=wp.int32, device=device)
        for name, dtype in _PER_SLOT.items():
            setattr(pool, name, wp.empty(slots, dtype=wp.dtype_from_numpy(dtype), device=device))
        pool.rows = wp.empty((blocks, BRICK_VOXELS // 8), dtype=kernels.row8, device=device)
        pool.seen_rows = wp.empty((blocks, BRICK_VOXELS // 8), dtype=kernels.seen8, device=device)
        shape = (blocks, BRICK_VOXELS)
        pool.log_odds = wp.array(ptr=pool.rows.ptr, shape=shape, dtype=wp.float32, device=device)
        pool.ticks = wp.array(ptr=pool.seen_rows.ptr, shape=shape, dtype=wp.uint16, device=device)
        pool.colours, pool.labels = (
            wp.zeros((blocks * kept, BRICK_VOXELS), dtype=wp.uint32, device=device) for kept in self.kept
        )
        # The last block of the list is taken first.
        pool.free_blocks = wp.array(np.arange(blocks, dtype=np.int32)[::-1].copy(), device=device)
        pool.counters = wp.array(np.array([0, 0, blocks], dtype=np.int32), device=device)
        self._counters = pool.counters.numpy()  # the same memory on a CPU
        pool.revision = 1
        pool.occupied = occupied
        self._freed: dict[int, Keys] = {state: np.empty(0, np.int64) for state in (_CHANGED, _BEING_SAVED)}
        self.base: int | None = None  # ticks are counted from here; None until something was observed
        self.used = 0
        self.free_blocks = blocks
        self.last_rows: tuple[Any, int, Any] | None = None  # what the last observation did, see `settle_rows`

    @property
    def nbytes(self) -> int:
        """Bytes of the pool's arrays, reserved once; an array over the memory of another does not count."""
        names = ("table_keys", "table_slots", *_PER_SLOT, "rows", "seen_rows", "free_blocks", "counters")
        painted = (name for name, kept in zip(("colours", "labels"), self.kept, strict=True) if kept)
        return sum(int(getattr(self.struct, name).capacity) for name in (*names, *painted))

    @property
    def bytes_in_use(self) -> int:
        """Bytes of blocks and slots that are taken; what does not depend on them counts whole."""
        per_slot = sum(np.dtype(dtype).itemsize for dtype in _PER_SLOT.values())
        per_voxel = 6 + PAINT_BYTES * sum(self.kept)
        return self.nbytes - self.free_blocks * per_voxel * BRICK_VOXELS - (self.capacity - self.used) * per_slot

    @property
    def refused(self) -> int:
        """How often a brick was asked for in vain because the pool was full."""
        return int(self.struct.counters.numpy()[1])

    def settle(self) -> None:
        """Read back how many slots and blocks are used after a kernel claimed or freed some."""
        counters = self._counters if self.launcher.device.is_cpu else self.struct.counters.numpy()
        claimed, _, self.free_blocks = counters.tolist()
        self.used = min(claimed, self.capacity)
        if claimed > self.capacity:  # threads of a GPU that took the last slot together
            self._set_used(self.used)
            self._rebuild_table()

    def host(self, name: str) -> NDArray[Any]:
        """The used part of a slot's array: a view on a CPU (copy what outlives the lock), a copy on a GPU."""
        if not self.used:
            return np.empty(0, dtype=_PER_SLOT[name])
        array: NDArray[Any] = getattr(self.struct, name)[: self.used].numpy()
        return array

    def put(self, name: str, slots: NDArray[Any], values: Any) -> None:
        """Set entries of a slot's array."""
        if len(slots) == 0:
            return
        array = self.host(name)
        array[slots] = values
        if not self.launcher.device.is_cpu:
            getattr(self.struct, name)[: self.used].assign(array)

    def tick_of(self, stamp_ns: int) -> int:
        """The tick of a stamp; the base moves when the ticks after it are used up."""
        ticks = stamp_ns // TICK_NS
        if self.base is None:
            self.base = ticks - LAST_TICK // 2
        shift = ticks - self.base - LAST_TICK
        if shift > 0:
            shift += LAST_TICK // 2
            self.base += shift
            shift = min(shift, LAST_TICK)
            seen = self.host("seen").astype(np.int64)
            self.put("seen", np.arange(self.used), np.where(seen > 0, np.maximum(seen, shift + 1) - shift, 0))
            self.launcher.run(self.kernels.move_ticks, 64 * self.blocks, [self.struct, shift])
        return min(max(ticks - self.base, 1), LAST_TICK)

    def observed(self) -> Slots:
        """Slots of the bricks in which something was observed."""
        return np.flatnonzero(self.host("last_seen") >= 0).astype(np.int32)

    def read(self, slots: NDArray[Any]) -> tuple[Values, Ticks]:
        """Log-odds and ticks (N, 512) of bricks."""
        import warp as wp

        device, shape = self.launcher.device, (len(slots), BRICK_VOXELS)
        values = wp.empty(shape, dtype=wp.float32, device=device)
        ticks = wp.empty(shape, dtype=wp.uint16, device=device)
        if len(slots):
            inputs = [self.struct, self.on_device(slots, np.int32), values, ticks]
            self.launcher.run(self.kernels.read_bricks, 64 * len(slots), inputs)
        return values.numpy(), ticks.numpy()

    def read_paint(self, slots: NDArray[Any]) -> Paint:
        """Colours and labels of bricks."""
        import warp as wp

        from embodmem.spatial.octree import kernels_paint

        if not self.painted:
            return Paint()
        shape = (len(slots), BRICK_VOXELS)
        words = [
            wp.zeros(shape if kept else (0, BRICK_VOXELS), dtype=wp.uint32, device=self.launcher.device)
            for kept in self.kept
        ]
        inputs = [self.struct, self.on_device(slots, np.int32), *words]
        self.launcher.run(kernels_paint.read_paint, 64 * len(slots), inputs)
        return Paint(*(array.numpy() if kept else None for array, kept in zip(words, self.kept, strict=True)))

    def usable(self, values: Values, paint: Paint) -> Paint:
        """What of a paint this pool keeps: what its settings say, on occupied voxels."""
        solid = values > self.struct.occupied
        return Paint(
            *(
                np.where(solid, words, 0).astype(np.uint32) if kept and words is not None else None
                for words, kept in zip(paint, self.kept, strict=True)
            )
        )

    def write(self, slots: Slots, values: Values, ticks: Ticks, paint: Paint | None = None) -> None:
        """Set log-odds and ticks (N, 512) of distinct bricks; those that are not uniform take a block each.

        What is painted is not uniform; bricks have no paint where none is given.
        """
        from embodmem.spatial.octree import kernels_paint

        paint = self.usable(values, paint or Paint())
        mixed = mixed_bricks(values, ticks, paint)
        self._run_on(self.kernels.release_slots, slots)
        self._run_on(self.kernels.expand_slots, slots[mixed])
        inputs = [self.struct, self.on_device(slots, np.int32), self.on_device(values), self.on_device(ticks)]
        self.launcher.run(self.kernels.write_bricks, 64 * len(slots), inputs)
        if any(words is not None for words in paint):
            none = np.empty((0, BRICK_VOXELS), np.uint32)
            arrays = [self.on_device(none if words is None else words) for words in paint]
            inputs = [self.struct, self.on_device(slots, np.int32), *arrays]
            self.launcher.run(kernels_paint.write_paint, 64 * len(slots), inputs)
        self.settle()

    def shed(self, slots: NDArray[Any]) -> None:
        """Take colour and label off the voxels of bricks that are not occupied."""
        from embodmem.spatial.octree import kernels_paint

        if self.painted:
            self.launcher.run(kernels_paint.shed_slots, 64 * len(slots), [self.struct, self.on_device(slots, np.int32)])

    def rows_changed(self) -> tuple[Slots, NDArray[np.uint64]]:
        """Slots (M,) of bricks that the last observation changed, and what became of their rows (M, 64).

        Only right until a brick is freed: slots move then.
        """
        if self.last_rows is None:
            return np.empty(0, np.int32), np.empty((0, 64), np.uint64)
        items, count, results = self.last_rows
        items = items.numpy()[:count]
        rows = results.numpy()[: 64 * count].reshape(-1, 64)
        changed = ((rows & np.uint64(0xFFFFFFFF)) != 0).any(axis=1)
        slots = items[changed]
        return np.where(slots < 0, ~slots, slots), rows[changed]

    def find(self, keys: Keys) -> Slots:
        """Slots (N,) of keys (N,), -1 where absent."""
        return self._slots(self.kernels.find_keys, keys)

    def claim(self, keys: Keys) -> Slots:
        """Slots (N,) of distinct keys (N,), new ones where absent."""
        slots = self._slots(self.kernels.claim_keys, keys)
        self.settle()
        return slots

    def expand(self, slots: NDArray[Any]) -> None:
        """Give bricks blocks of their own, as long as there are any."""
        self._run_on(self.kernels.expand_slots, slots)
        self.settle()

    def collapse(self, slots: NDArray[Any]) -> None:
        """Give back the blocks of those bricks whose voxels are all alike."""
        self._run_on(self.kernels.collapse_slots, slots)
        self.settle()

    def settle_rows(self, items: Any, count: int, results: Any, update: Any) -> None:
        """Tell bricks what happened to their rows (`kernels_bricks.settle_rows`); all arguments are on the device."""
        if self.painted:
            from embodmem.spatial.octree import kernels_paint

            self.launcher.run(kernels_paint.shed_rows, 64 * count, [self.struct, items, results])
        self.launcher.run(self.kernels.settle_rows, count, [self.struct, update, items, results], recorded=True)
        self.settle()
        self.last_rows = items, count, results

    def free(self, slots: NDArray[Any], forget: bool = True) -> None:
        """Give slots and their blocks back: the last bricks move into the holes, and the table is built anew.

        Args:
            slots: Which.
            forget: Whether the keys are to appear in `freed_keys`.
        """
        gone = np.zeros(self.used, dtype=bool)
        gone[slots] = True
        kept = self.used - int(np.count_nonzero(gone))
        if forget:
            self._freed[_CHANGED] = np.union1d(self._freed[_CHANGED], self.host("keys")[gone])
        self._run_on(self.kernels.release_slots, np.flatnonzero(gone))
        movers, holes = np.flatnonzero(~gone[kept:]) + kept, np.flatnonzero(gone[:kept])
        self._run_on(self.kernels.move_bricks, movers, self.on_device(holes, np.int32))
        self._set_used(kept)
        self.settle()
        self._rebuild_table()

    def free_unobserved(self) -> None:
        """Give back the bricks that were claimed but in which nothing was observed."""
        empty = np.flatnonzero(self.host("last_seen") < 0)
        if len(empty):
            self.free(empty, forget=False)  # nobody ever saw them

    def clear(self) -> None:
        """Free everything."""
        self.free_unobserved()
        self.free(np.arange(self.used))
        self.struct.counters.assign(np.array([0, 0, self.blocks], dtype=np.int32))

    def dirty_slots(self, stale_s: float) -> Slots:
        """Slots of bricks that differ from what was last marked clean; from now on they count as being saved.

        A brick whose values are as saved differs only once it was seen again more than `stale_s` after that.
        """
        seen = self.host("last_seen")
        stale = (seen - self.host("saved_seen") > stale_s * 1e9) & (self.host("saved_seen") >= 0)
        slots = np.flatnonzero(((self.host("dirty") != 0) | stale) & (seen >= 0)).astype(np.int32)
        self.put("dirty", slots, _BEING_SAVED)
        self.put("saved_seen", slots, seen[slots])
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

    def on_device(self, values: NDArray[Any], dtype: Any = None) -> Any:
        """An array for a kernel; slots are to be int32."""
        import warp as wp

        return wp.array(np.ascontiguousarray(values, dtype=dtype), device=self.launcher.device)

    def _run_on(self, kernel: Any, slots: NDArray[Any], *inputs: Any) -> None:
        self.launcher.run(kernel, len(slots), [self.struct, self.on_device(slots, np.int32), *inputs])

    def _slots(self, kernel: Any, keys: Keys) -> Slots:
        import warp as wp

        slots = wp.empty(len(keys), dtype=wp.int32, device=self.launcher.device)
        self.launcher.run(kernel, len(keys), [self.struct, self.on_device(keys, np.int64), slots])
        found: Slots = slots.numpy()
        return found

    def _set_used(self, used: int) -> None:
        counters = self.struct.counters.numpy()
        counters[0] = used
        self.struct.counters.assign(counters)

    def _rebuild_table(self) -> None:
        self.struct.table_keys.fill_(EMPTY)
        self.launcher.run(self.kernels.fill_table, self.used, [self.struct])
