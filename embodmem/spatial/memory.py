"""Spatial memory: the brick octree, kept in the memory's file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import SpatialConfig
from embodmem.errors import ConfigError, InvalidInput
from embodmem.spatial.label_names import LabelNames
from embodmem.spatial.layers import Cleared, Layers
from embodmem.spatial.spill import Spill, drop_in_file
from embodmem.store import Store
from embodmem.types import Event, Percept, Query, Recall

if TYPE_CHECKING:
    from embodmem.spatial.octree import Octree
    from embodmem.spatial.octree.forgetting import Box

OWNER = "SpatialMemory"

STALE_S = 10.0
"""How far the file may lag behind in when a place was last seen while the memory is open, seconds."""


class SpatialMemory:
    """Free, occupied and unknown space, from depth images and lidar points.

    Its typed reads are those of `octree`: occupancy, raycast, occupied voxels at any depth. The map is made, and Warp
    imported, when the first of them is used.

    Args:
        store: The memory's file.
        config: Voxel size, ranges, sensor model, bounds. A file keeps the voxel size it was made with.

    Raises:
        ConfigError: The file holds a map of another voxel size.
    """

    def __init__(self, store: Store, config: SpatialConfig | None = None) -> None:
        self.store = store
        self.config = config or SpatialConfig()
        with store.read() as db:
            self.check_voxel_size(db)
        self._octree: Octree | None = None
        self._version = 0
        self._making = threading.Lock()
        self.layers: Layers | None = None
        """What moves, apart from what stays; None unless `config.transient_s` is above 0."""
        self.label_names = LabelNames()
        """Texts of the labels that voxels bear; those of the file once the map was made."""
        self._keep_alive: list[Box] = []
        self._window: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        store.after_rollback.append(self.reload)

    def check_voxel_size(self, db: sqlite3.Connection) -> None:
        """Refuse a file whose map was made with another voxel size."""
        row = db.execute("SELECT value FROM state WHERE name = 'voxel_size_m'").fetchone()
        if row is not None and json.loads(row[0]) != self.config.voxel_size_m:
            raise ConfigError(f"voxel_size_m: this file's map has {row[0]} m, got {self.config.voxel_size_m} m")

    @property
    def octree(self) -> Octree:
        """The map, read from the file at the first use; for reading, again when another process has written."""
        version = self.store.foreign_version()
        octree = self._octree if version == self._version else None
        if octree is None:
            with self._making:  # two threads that ask at once must get the same one
                if self._octree is None or version != self._version:
                    self._octree, self._version = self._read_octree(), version
                octree = self._octree
        return octree

    def _read_octree(self) -> Octree:
        from embodmem.spatial.octree import Octree

        octree = Octree(self.config)
        self._keep_alive = [(low, high) for low, high in self.store.get_state("keep_alive") or ()]
        self._spill = Spill(octree, self.store, self._keep_alive)
        self._spill.open()
        octree.decayed_ns = self.store.get_state("map_decayed_ns")
        self.label_names = LabelNames(self.store.get_state("map_labels") or ())
        self.layers = None
        if self.config.transient_s > 0:
            self.layers = Layers(octree, self.config.settle_s, self.config.transient_s)
            with self.store.read() as db:
                self.layers.load_state(db.execute("SELECT key, born FROM transient").fetchall())
        return octree

    def reload(self) -> None:
        """Read the map from the file again at the next use."""
        self._octree = None

    def integrate(self, percept: Percept) -> None:
        """Fuse a percept's depth or points into the map in RAM; `flush` writes it. Safe beside other memories' work.

        What the settings say about forgetting is done here, too: what is worth least makes room, what is out of the
        window goes, the rest fades.
        """
        from embodmem.spatial.octree.sight import Look

        octree, T, now = self.octree, percept.T_world_sensor, percept.stamp_ns
        if percept.depth is None and percept.points is None:
            return
        self._spill.make_room(T, now)
        if percept.depth is not None and percept.camera is not None:
            labels = self._numbers(percept.segmentation, percept)
            octree.integrate(percept.depth, percept.camera, T, now, rgb=percept.rgb, labels=labels)
            if self.layers is not None:
                self.layers.update(now, Look(percept.depth, percept.camera, T))
        if percept.points is not None:
            labels = self._numbers(percept.point_ids, percept)
            octree.integrate_points(percept.points, T, now, labels=labels, colours=percept.point_rgb)
            if self.layers is not None:
                self.layers.update(now)
        if self.config.window_m > 0:
            self._window = T[:3, 3] - self.config.window_m, T[:3, 3] + self.config.window_m
            octree.keep_within(*self._window)
        self._fade(percept)

    def _numbers(self, ids: NDArray[np.int32] | None, percept: Percept) -> NDArray[np.uint16] | None:
        if ids is None or not self.config.labels:
            return None
        return self.label_names.numbers_of(ids, percept.labels)

    def labels(self, points: ArrayLike) -> tuple[list[str], NDArray[np.float32]]:
        """Labels of the voxels at points (N, 3) in the world, "" where there is none, and confidences (N,) in 0..1.

        Raises:
            InvalidInput: The points have another shape or are not finite.
        """
        found = self.octree.labels(points)
        texts = np.array(self.label_names.texts, dtype=object)
        return texts[found.label].tolist(), found.confidence

    def _fade(self, percept: Percept) -> None:
        half_life_s, octree, now = self.config.half_life_s, self.octree, percept.stamp_ns
        if half_life_s <= 0:
            return
        pause_ns = round(max(half_life_s / 16, 1.0) * 1e9)
        if octree.decayed_ns is None or now - octree.decayed_ns >= pause_ns:
            view = None
            if self.config.fade_in_view_only:
                if percept.camera is None:
                    return
                view = percept.T_world_sensor, percept.camera, self.config.max_range_m
            octree.decay(now, half_life_s, self._keep_alive, view)

    def keep_alive(self, lower: ArrayLike, upper: ArrayLike) -> None:
        """Let nothing fade in a box from now on; boxes add up, and `clear` removes them.

        Args:
            lower: (3,) corner in the world, metres.
            upper: (3,) corner in the world, metres.

        Raises:
            InvalidInput: The corners are none.
        """
        from embodmem.spatial.octree.checks import check_box

        low, high = check_box(lower, upper)
        octree = self.octree
        with self.store.transaction():
            box = low.tolist(), high.tolist()
            self.store.set_state("keep_alive", [*(self.store.get_state("keep_alive") or ()), box])
        if octree is self._octree:
            self._keep_alive.append(box)

    def load(self, lower: ArrayLike, upper: ArrayLike) -> int:
        """Bring bricks of a box back into the map that were written out to make room; returns how many still are out.

        Args:
            lower: (3,) corner in the world, metres.
            upper: (3,) corner in the world, metres.

        Raises:
            InvalidInput: The corners are none.
        """
        from embodmem.spatial.octree.checks import check_box

        box = check_box(lower, upper)
        _ = self.octree
        self._spill.bring_back(self._spill.within(*box), self.store.newest_stamp(OWNER))
        return len(self._spill.within(*box))

    def take_cleared(self, now_ns: int) -> list[Cleared]:
        """What was seen to be gone from where it was, once each; see `embodmem.spatial.layers`."""
        return [] if self.layers is None else self.layers.take_cleared(now_ns)

    def flush(self, stale_s: float = STALE_S) -> int:
        """Write the bricks that changed, within the caller's transaction; returns how many.

        One that was seen again unchanged is written only if that was `stale_s` or more after it was last written: a
        process that is killed loses so much of when a place was last seen, and nothing of what is there.
        """
        from embodmem.spatial.octree import encode_bricks

        octree = self.octree
        keys, values, seen, ages, colours, labels = octree.dirty_bricks(stale_s)
        gone = np.setdiff1d(octree.freed_keys(), self._spill.keys)
        with self.store.transaction() as db:
            rows = zip(keys.tolist(), seen.tolist(), encode_bricks(values, ages, colours, labels), strict=True)
            db.executemany("DELETE FROM brick WHERE key = ?", [(key,) for key in gone.tolist()])
            self._spill.flush(db)
            if self._window is not None:
                self._spill.drop_outside(db, *self._window)
            db.executemany("INSERT OR REPLACE INTO brick VALUES (?, ?, ?, NULL)", rows)
            if len(keys) and self.store.get_state("voxel_size_m") is None:
                self.store.set_state("voxel_size_m", self.config.voxel_size_m)
            if len(names := self.label_names.texts[1:]) and names != self.store.get_state("map_labels"):
                self.store.set_state("map_labels", names)
            if octree.decayed_ns != self.store.get_state("map_decayed_ns"):
                self.store.set_state("map_decayed_ns", octree.decayed_ns)
            if self.layers is not None:
                db.execute("DELETE FROM transient")
                db.executemany("INSERT INTO transient VALUES (?, ?)", self.layers.state())
        octree.mark_clean(np.concatenate([keys, gone]))
        return len(keys)

    def close(self) -> None:
        """Write when each place was last seen, if a map was made and the file is open for writing."""
        if self._octree is not None and not self.store.read_only:
            with self.store.transaction():
                self.flush(stale_s=0.0)

    def write(self, experience: Percept | Event) -> None:
        """Fuse a percept into the map; when this returns, it is on disk. Events say nothing about space.

        Raises:
            StampError: Time went backwards for its agent.
        """
        with self.store.transaction():
            self.store.advance(OWNER, experience.agent, experience.stamp_ns)
            if isinstance(experience, Percept):
                self.integrate(experience)
                self.flush()

    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        """The k occupied bricks nearest to a place, nearest first; a query without a place has no answer here.

        A brick's `position` is the middle of its occupied voxels.
        """
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        if isinstance(query, str) or (query.near is None and query.within is None):
            return []
        filtered = (
            query.labels or query.ids or query.sources or query.agent is not None or query.text or query.between_ns
        )
        if filtered or (query.kinds and "surface" not in query.kinds):
            return []
        centres, edge_m = self.octree.occupied()
        if query.within is not None:
            centres = centres[((centres >= query.within[0]) & (centres <= query.within[1])).all(axis=1)]
        if query.near is not None and query.radius_m is not None:
            centres = centres[np.linalg.norm(centres - query.near, axis=1) <= query.radius_m]
        if not len(centres):
            return []
        brick_m = 8 * edge_m
        bricks, owner, count = np.unique(
            np.floor(centres / brick_m).astype(np.int64), axis=0, return_inverse=True, return_counts=True
        )
        sums = np.zeros((len(bricks), 3))
        np.add.at(sums, owner.reshape(-1), centres)
        middle = sums / count[:, None]
        target = query.near if query.near is not None else query.within.mean(axis=0)  # type: ignore[union-attr]
        distance = np.linalg.norm(middle - target, axis=1)
        newest = self.store.newest_stamp(OWNER) or 0
        return [
            Recall(
                kind="surface",
                id="surface:" + ",".join(map(str, bricks[i].tolist())),
                score=float(-distance[i]),
                position=middle[i],
                first_seen_ns=newest,
                last_seen_ns=newest,
                label="surface",
                text=f"{count[i]} occupied voxels of {edge_m:g} m",
                why={"near": float(distance[i])},
            )
            for i in np.argsort(distance, kind="stable")[:k].tolist()
        ]

    def forget(self, query: Query) -> int:
        """Make a region unknown again; returns how many voxels that were. The region is `within`, or a cube of
        half-edge `radius_m` around `near`; other filters do not concern the map.

        Raises:
            InvalidInput: The query names no region.
        """
        if query.within is not None:
            lower, upper = query.within
        elif query.near is not None and query.radius_m is not None:
            lower, upper = query.near - query.radius_m, query.near + query.radius_m
        else:
            raise InvalidInput("spatial: wanted a region to forget (within, or near with radius_m), got none")
        with self.store.transaction() as db:
            gone = int(self.octree.remove_box(lower, upper))
            self.flush()
            gone += self._spill.forget(db, np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64))
        self.store.save()
        return gone

    def about(self) -> dict[str, Any]:
        """How many bricks are in the file, their bytes there, and the size of a voxel, metres."""
        with self.store.read() as db:
            bricks, blobs = db.execute("SELECT count(*), ifnull(sum(length(log_odds)), 0) FROM brick").fetchone()
        return {"bricks": bricks, "bytes": blobs, "voxel_size_m": self.config.voxel_size_m}

    def forget_labels(self, labels: Iterable[str]) -> int:
        """Take labels, whatever their case, off all voxels that bear them, in RAM and file; the voxels stay occupied.

        Returns:
            How many voxels that were.
        """
        from embodmem.spatial.octree.paint import drop_label

        octree, names = self.octree, self.label_names
        texts = names.matching(labels)
        if not texts:
            return 0
        numbers = [names.texts.index(text) for text in texts]
        with self.store.transaction() as db:
            self.flush(stale_s=0.0)
            gone = drop_in_file(db, numbers)
            for number, text in zip(numbers, texts, strict=True):
                drop_label(octree, number)
                names.remove(text)
            self.store.set_state("map_labels", names.texts[1:])
        return gone

    def clear(self) -> None:
        """Remove the whole map, stamps included."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM brick")
            db.execute("DELETE FROM transient")
            db.execute("DELETE FROM stamp WHERE owner = ?", (OWNER,))
            db.execute("DELETE FROM state WHERE name IN ('voxel_size_m', 'map_decayed_ns', 'keep_alive', 'map_labels')")
        self.reload()
        self.store.save()

    def state_dict(self) -> dict[str, Any]:
        """Arrays keys (N,) int64, last_seen_ns (N,) int64, log_odds (N,) blobs, stamps, voxel_size_m, labels."""
        with self.store.read() as db:
            rows = db.execute("SELECT key, last_seen_ns, log_odds FROM brick ORDER BY key").fetchall()
            stamps = dict(db.execute("SELECT agent, ns FROM stamp WHERE owner = ?", (OWNER,)).fetchall())
            labels = self.store.get_state("map_labels") or []
        return {
            "keys": np.array([row[0] for row in rows], dtype=np.int64),
            "last_seen_ns": np.array([row[1] for row in rows], dtype=np.int64),
            "log_odds": [row[2] for row in rows],
            "stamps": stamps,
            "voxel_size_m": self.config.voxel_size_m,
            "labels": labels,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the map by what `state_dict` gave.

        Raises:
            InvalidInput: The state is of another voxel size.
        """
        if state["voxel_size_m"] != self.config.voxel_size_m:
            raise InvalidInput(f"state: wanted voxel_size_m {self.config.voxel_size_m}, got {state['voxel_size_m']}")
        with self.store.transaction() as db:
            db.execute("DELETE FROM brick")
            db.execute("DELETE FROM stamp WHERE owner = ?", (OWNER,))
            rows = zip(state["keys"].tolist(), state["last_seen_ns"].tolist(), state["log_odds"], strict=True)
            db.executemany("INSERT INTO brick VALUES (?, ?, ?, NULL)", rows)
            stamps = [(OWNER, agent, ns) for agent, ns in state["stamps"].items()]
            db.executemany("INSERT INTO stamp VALUES (?, ?, ?)", stamps)
            self.store.set_state("voxel_size_m", self.config.voxel_size_m)
            self.store.set_state("map_labels", list(state.get("labels", ())))
        self.reload()
