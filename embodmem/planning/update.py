"""The host's side of the distance field's passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.spatial.octree.keys import EMPTY

if TYPE_CHECKING:
    from embodmem.spatial.octree import Octree

_USED, _REFUSED, _ITEMS = range(3)
_X, _Y, _Z = range(3)
_AT_ONCE, _ONE_BY_ONE = 7, (1, 2, 4)  # see `kernels_field.ACT`


class FieldUpdater:
    """Holds the bricks of a field (`kernels_field.Field`) and brings them up to date.

    Args:
        octree: The map.
        max_distance_m: The radius, metres.
        solid: Whether unknown is occupied.
        capacity: Most bricks.
    """

    def __init__(self, octree: Octree, max_distance_m: float, solid: bool, capacity: int) -> None:
        import warp as wp

        from embodmem.planning import kernels_field, kernels_passes

        self._octree = octree
        self._launcher = octree._launcher.apart()
        self._fields, self._passes = kernels_field, kernels_passes
        self.capacity = capacity
        voxels = max_distance_m / octree.config.voxel_size_m * (1 + 1e-12)  # 1.0 m is 20 voxels of 0.05 m
        device, places = self._launcher.device, 1 << (2 * capacity - 1).bit_length()
        self.struct = field = kernels_field.Field()
        field.table_keys = wp.empty(places, dtype=wp.int64, device=device)
        field.table_slots = wp.empty(places, dtype=wp.int32, device=device)
        field.keys = wp.empty(capacity, dtype=wp.int64, device=device)
        field.bits = wp.empty((capacity, 8), dtype=wp.uint64, device=device)
        field.layer_x = wp.empty((capacity, 64), dtype=kernels_field.int8x8, device=device)
        field.layer_y = wp.empty((capacity, 64), dtype=kernels_field.int32x8, device=device)
        field.layer_z = wp.empty((capacity, 64), dtype=kernels_field.int32x8, device=device)
        for name in ("finite_x", "finite_y", "touched", "changed"):
            setattr(field, name, wp.empty((capacity, 8), dtype=wp.uint8, device=device))
        field.queued = wp.empty(capacity, dtype=wp.int32, device=device)
        field.counters = wp.zeros(3, dtype=wp.int32, device=device)
        bits = [[bit for bit in range(8) if byte >> bit & 1] or [0] for byte in range(256)]
        field.first_bit = wp.array([found[0] for found in bits], dtype=wp.int32, device=device)
        field.last_bit = wp.array([found[-1] for found in bits], dtype=wp.int32, device=device)
        field.radius = int(voxels)
        field.reach = -(-field.radius // 8)
        field.squared = int(voxels * voxels)
        field.solid = int(solid)
        field.occupied = octree.config.log_odds_occupied
        self._items = [wp.empty(capacity, dtype=wp.int32, device=device) for _ in range(2)]
        self.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of the field, reserved once."""
        arrays = (value for value in vars(self.struct).values() if hasattr(value, "capacity"))
        return sum(int(array.capacity) for array in [*arrays, *self._items])

    @property
    def used(self) -> int:
        """Bricks in use."""
        return int(min(self._counter(_USED), self.capacity))

    def clear(self) -> None:
        """Start from nothing: the next update reads the whole map."""
        self.struct.table_keys.fill_(EMPTY)
        self.struct.counters.zero_()
        self.struct.stage = 0
        self._revision = 0

    def update(self) -> int | None:
        """Take in what changed; returns how many bricks the last pass had, None where the field is full."""
        import warp as wp

        launcher, fields, passes = self._launcher, self._fields, self._passes
        keys, words, revision = self._read()
        items, then = self._items
        self._spread(fields.enter_obstacles, len(keys), [keys, words, items])
        touched = 0
        for axis, spread in ((_X, fields.spread_y), (_Y, fields.spread_z), (_Z, None)):
            if self._counter(_REFUSED):
                return None
            touched = self._counter(_ITEMS)
            slots = wp.empty((touched, 2 * self.struct.reach + 1), dtype=wp.int32, device=launcher.device)
            inputs = [self.struct, items, axis, slots]
            launcher.share(fields.find_neighbours, touched, 1, inputs, worth=4096, recorded=True)
            kernel = (passes.pass_x, passes.pass_y, passes.pass_z)[axis]
            launcher.share(kernel, touched, 8, [self.struct, items, slots], worth=128, recorded=True)
            if spread is not None:
                self._spread(spread, touched, [items, then])
            items, then = then, items
        self._revision = revision
        return touched

    def _read(self) -> tuple[Any, Any, int]:
        """Keys (N,) of bricks of the map that may differ, their obstacles (N, 8), and the revision that this is."""
        import warp as wp

        launcher, fields = self._launcher, self._fields
        with self._octree._lock:
            known, changed, revision = self._octree.changed_since(self._revision)
            keys = known[changed]
            pool, used = self._octree._pool.struct, self.used
            if used:
                gone = wp.empty(used, dtype=wp.uint8, device=launcher.device)
                launcher.share(fields.find_gone, used, 1, [pool, self.struct, gone], worth=4096, recorded=True)
                lost: NDArray[np.intp] = np.flatnonzero(gone.numpy())
                if len(lost):
                    keys = np.concatenate([keys, self.struct.keys[:used].numpy()[lost]])
            device_keys = wp.array(keys, dtype=wp.int64, device=launcher.device)
            words = wp.empty((len(keys), 8), dtype=wp.uint64, device=launcher.device)
            inputs = [pool, self.struct, device_keys, words]
            launcher.share(fields.read_obstacles, len(keys), 8, inputs, worth=256, recorded=True)
        return device_keys, words, revision

    def _counter(self, which: int) -> int:
        return int(self.struct.counters.numpy()[which])

    def _spread(self, kernel: Any, count: int, inputs: list[Any]) -> None:
        """Run a kernel that claims bricks and makes them items of the next pass; there are none yet."""
        self.struct.counters[_ITEMS : _ITEMS + 1].zero_()
        self.struct.stage += 1
        for phases in (_AT_ONCE,) if self._launcher.device.is_cpu else _ONE_BY_ONE:
            self._launcher.run(kernel, count, [self.struct, *inputs, phases], recorded=True)
