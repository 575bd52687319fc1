"""More map than fits: the bricks worth least go to the memory's file, and come back when the robot does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import map_bytes
from embodmem.errors import DamagedMemory, InvalidInput
from embodmem.store import Store

if TYPE_CHECKING:
    import sqlite3

    from embodmem.spatial.octree import Bricks, Octree
    from embodmem.spatial.octree.forgetting import Box

_AT_ONCE = 1024

RESERVE = 4
"""One in so many bricks of the pool is kept free for what the next view may show."""


class Spill:
    """Which bricks of the file are not in the map, and the traffic between the two.

    Args:
        octree: The map.
        store: The memory's file.
        keep_alive: Boxes (lower (3,), upper (3,)) in the world, metres, in which nothing fades.
    """

    def __init__(self, octree: Octree, store: Store, keep_alive: Sequence[Box] = ()) -> None:
        self.octree = octree
        self.store = store
        self.keep_alive = keep_alive
        self.keys: NDArray[np.int64] = np.empty(0, np.int64)  # sorted
        self._pending: dict[int, tuple[int, bytes, int]] = {}  # rows taken out of the map and not yet written

    def open(self) -> None:
        """Fill the map from the file, what was seen last first, up to the reserve."""
        with self.store.read() as db:
            rows = db.execute(
                "SELECT key, length(log_odds) > 6, spilled_ns IS NOT NULL FROM brick "
                "ORDER BY spilled_ns IS NOT NULL, last_seen_ns DESC, key"
            ).fetchall()
        if not rows:
            return
        keys, mixed, _ = np.array(rows, dtype=np.int64).T
        capacity = self.octree.config.capacity_bricks
        fits = np.cumsum(mixed) <= (capacity - capacity // RESERVE if mixed.sum() > capacity else capacity)
        fits &= np.arange(len(keys)) < 4 * capacity
        self.octree.load_bricks(*self._read(keys[fits])[0])
        self.keys = np.sort(keys[~fits])

    def make_room(self, T_world_sensor: NDArray[np.float64], now_ns: int) -> None:
        """Before a view is added: bring back what it may see, and take out what is worth least, far away first."""
        octree, config = self.octree, self.octree.config
        here, reach = T_world_sensor[:3, 3], config.max_range_m
        back = self._within(here - reach, here + reach) if len(self.keys) else self.keys
        wanted = len(back) + config.capacity_bricks // RESERVE
        if octree.room < wanted:
            self._take_out(octree.evict(wanted - octree.room, here, now_ns, spare_m=reach), now_ns)
        self.bring_back(back, now_ns)

    def bring_back(self, keys: NDArray[np.int64], now_ns: int | None = None) -> None:
        """Load spilled bricks into the map, as many as there is room for, the first ones first."""
        keys = keys[: self.octree.room]
        if len(keys) == 0:
            return
        bricks, spilled = self._read(keys)
        self.octree.load_bricks(*bricks)
        self.keys = np.setdiff1d(self.keys, keys)
        config = self.octree.config
        # What fades only in view has not faded while it was out of the map.
        if config.half_life_s > 0 and not config.fade_in_view_only and now_ns is not None:
            for since in np.unique(spilled).tolist():
                self.octree.fade(bricks.keys[spilled == since], since, now_ns, config.half_life_s, self.keep_alive)

    def within(self, lower: ArrayLike, upper: ArrayLike) -> NDArray[np.int64]:
        """Keys of spilled bricks that touch a box, corners (3,) in the world, metres."""
        return self._within(np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64))

    def flush(self, db: sqlite3.Connection) -> None:
        """Write what was taken out of the map."""
        rows = [(key, *row) for key, row in self._pending.items()]
        db.executemany("INSERT OR REPLACE INTO brick VALUES (?, ?, ?, ?)", rows)
        self._pending.clear()

    def forget(self, db: sqlite3.Connection, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> int:
        """Make the part of the spilled bricks that lies in a box unknown; returns how many voxels that were."""
        from embodmem.spatial.octree import Octree, encode_bricks

        keys, config = self._within(lower, upper), self.octree.config
        gone, paints = 0, config.colour + config.labels
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            bricks, spilled = self._read(part)
            small = Octree(
                replace(config, budget_mib=map_bytes(_AT_ONCE + 1, config.threads, paints) / 2**20, device="cpu")
            )
            small.load_bricks(*bricks)
            gone += small.remove_box(lower, upper)
            left = small.bricks()
            when = dict(zip(bricks.keys.tolist(), spilled.tolist(), strict=True))
            blobs = encode_bricks(left.log_odds, left.ages, left.colours, left.labels)
            rows = zip(left.keys.tolist(), left.last_seen_ns.tolist(), blobs, strict=True)
            self._delete(db, part)
            db.executemany("INSERT INTO brick VALUES (?, ?, ?, ?)", [(*row, when[row[0]]) for row in rows])
            self.keys = np.setdiff1d(self.keys, np.setdiff1d(part, left.keys))
        return gone

    def drop_outside(self, db: sqlite3.Connection, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> None:
        """Forget the spilled bricks that lie wholly outside a box."""
        gone = np.setdiff1d(self.keys, self._within(lower, upper))
        self._delete(db, gone)
        self.keys = np.setdiff1d(self.keys, gone)

    def _delete(self, db: sqlite3.Connection, keys: NDArray[np.int64]) -> None:
        for key in keys.tolist():
            self._pending.pop(key, None)
        db.executemany("DELETE FROM brick WHERE key = ?", [(key,) for key in keys.tolist()])

    def _within(self, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.int64]:
        from embodmem.spatial.octree import unpack_keys

        edge = self.octree.config.voxel_size_m * 8
        first = unpack_keys(self.keys) * edge
        return self.keys[((first < upper) & (first + edge > lower)).all(axis=1)]

    def _take_out(self, bricks: Bricks, now_ns: int) -> None:
        from embodmem.spatial.octree import encode_bricks

        blobs = encode_bricks(bricks.log_odds, bricks.ages, bricks.colours, bricks.labels)
        for key, seen, blob in zip(bricks.keys.tolist(), bricks.last_seen_ns.tolist(), blobs, strict=True):
            self._pending[key] = (seen, blob, now_ns)
        self.keys = np.union1d(self.keys, bricks.keys)

    def _read(self, keys: NDArray[np.int64]) -> tuple[Bricks, NDArray[np.int64]]:
        """Bricks of the file, and when each was taken out of the map (N,), ns; 0 where it was not."""
        from embodmem.spatial.octree import Bricks, decode_bricks

        rows = {key: self._pending[key] for key in keys.tolist() if key in self._pending}
        others = [key for key in keys.tolist() if key not in rows]
        with self.store.read() as db:
            query = (
                "SELECT key, last_seen_ns, log_odds, ifnull(spilled_ns, 0) FROM brick "
                "WHERE key IN (SELECT value FROM json_each(?))"
            )
            rows.update({row[0]: row[1:] for row in db.execute(query, (json.dumps(others),))})
        found: Sequence[int] = [key for key in keys.tolist() if key in rows]
        try:
            values, ages, *paint = decode_bricks([rows[key][1] for key in found])
        except InvalidInput as error:
            raise DamagedMemory(f"{self.store.path}: a brick of the map cannot be read: {error}") from error
        seen = np.array([rows[key][0] for key in found], dtype=np.int64)
        spilled = np.array([rows[key][2] for key in found], dtype=np.int64)
        return Bricks(np.array(found, dtype=np.int64), values, seen, ages, *paint), spilled


def drop_in_file(db: sqlite3.Connection, labels: Sequence[int]) -> int:
    """Take labels, by their numbers, off the voxels of all bricks of the file; returns how many voxels bore them."""
    from embodmem.spatial.octree import decode_bricks, encode_bricks

    keys = [key for (key,) in db.execute("SELECT key FROM brick WHERE length(log_odds) > 6")]
    gone = 0
    for start in range(0, len(keys), _AT_ONCE):
        part = json.dumps(keys[start : start + _AT_ONCE])
        rows = db.execute("SELECT key, log_odds FROM brick WHERE key IN (SELECT value FROM json_each(?))", (part,))
        numbers, blobs = zip(*rows, strict=True)
        values, ages, colours, words = decode_bricks(blobs)
        bears = np.isin(words & 0xFFFF, labels)
        some = np.flatnonzero(bears.any(axis=1)) if bears.size else np.empty(0, dtype=np.int64)
        if not len(some):
            continue
        gone += int(np.count_nonzero(bears))
        paint = colours[some], np.where(bears, 0, words)[some].astype(np.uint32)
        left = encode_bricks(values[some], ages[some], *paint)
        pairs = [(blob, numbers[i]) for blob, i in zip(left, some.tolist(), strict=True)]
        db.executemany("UPDATE brick SET log_odds = ? WHERE key = ?", pairs)
    return gone
