"""Loop closure: keyframes get other poses, and the bricks that they saw are made again from the keyframes' depth."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput, StoreError
from embodmem.geometry import Pose
from embodmem.index.filters import row_id
from embodmem.spatial.depths import KeptDepth, KeyframeDepths
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.views import ViewMemory
from embodmem.store import Store
from embodmem.types import Percept, PinholeCamera

Shown = tuple[bytes | None, bytes | None, KeptDepth | None]
"""What a keyframe keeps beside its record: its picture as JPEG, the surface that it saw, its depth."""

_RECORD = "UPDATE record SET x = ?1, y = ?2, z = ?3, x0 = ?1, y0 = ?2, z0 = ?3, x1 = ?1, y1 = ?2, z1 = ?3 WHERE id = ?4"


@dataclass(frozen=True)
class Closure:
    """What a correction of poses did.

    Attributes:
        keyframes: How many got another pose.
        bricks: How many bricks were cleared and made again.
        integrated: How many keyframes they were made from.
    """

    keyframes: int
    bricks: int
    integrated: int


class LoopClosure:
    """Corrects poses of keyframes that kept their depth, and the map with them, in one transaction.

    Args:
        spatial: The map.
        seen: What keyframes saw; it follows.
        keep_depth: Whether new keyframes keep their depth.
    """

    def __init__(self, spatial: SpatialMemory, seen: ViewMemory, keep_depth: bool) -> None:
        self.spatial, self.seen, self.store = spatial, seen, spatial.store
        self.depths = KeyframeDepths(self.store, keep_depth, spatial.config.labels)
        self._done = False
        self.store.after_commit.append(self._reload)

    def _reload(self) -> None:
        """Amid the commit, before another thread may write on a map that is no longer the file's."""
        if self._done:
            self._done = False
            self.spatial.reload()

    def correct(self, poses: Mapping[str, ArrayLike]) -> Closure:
        """See `embodmem.EmbodiedMemory.correct_poses`."""
        if self.store.in_transaction:
            raise StoreError("correct_poses: wanted to be called outside a transaction; it is one by itself")
        self._done = False
        with self.store.transaction() as db:
            known = self.depths.poses()
            moved = self._check(poses, known)
            changed = {row: T for row, T in moved.items() if not np.array_equal(T, known[row][0])}
            if not changed:
                return Closure(0, 0, 0)
            pairs = [(row, T) for row in changed for T in (known[row][0], changed[row])]
            affected = self._bricks(pairs)
            final = {row: (changed.get(row, T), camera) for row, (T, camera) in known.items()}
            near = self._reaching(affected, final)
            self.spatial.flush(stale_s=0.0)  # what the file does not hold yet would be lost when it is read again
            self._make_again(db, affected, [(row, final[row][0]) for row in near])
            for row, T in changed.items():
                self._move(db, row, T)
            self._done = True
        return Closure(len(changed), len(affected), len(near))

    def forget_labels(self, labels: Iterable[str]) -> int:
        """Take labels off the map's voxels and the keyframes' segmentations; returns how many voxels bore them."""
        labels = list(labels)
        self.depths.forget_labels(labels)
        return self.spatial.forget_labels(labels)

    def _check(
        self, poses: Mapping[str, ArrayLike], known: Mapping[int, tuple[Pose, PinholeCamera]]
    ) -> dict[int, Pose]:
        from embodmem.spatial.octree.checks import check_sensor_pose

        moved = {}
        for name, T in poses.items():
            row = row_id(name)
            if name != f"keyframe:{row}" or row not in known:
                raise InvalidInput(
                    f"correct_poses: wanted keyframes that kept their depth (setting episodic.keep_depth), got {name!r}"
                )
            moved[row] = check_sensor_pose(T, f"pose of {name}", self.spatial.config.voxel_size_m)
        return moved

    def _integrate(self, views: Iterable[tuple[int, Pose]]) -> SpatialMemory:
        """A map, in a file of its own, of some keyframes (row id, pose) in their order."""
        scratch = SpatialMemory(Store(), self.spatial.config)
        with scratch.store.transaction():  # the same numbers for the same labels
            scratch.store.set_state("map_labels", self.store.get_state("map_labels") or [])
        for row, T in views:
            scratch.integrate(self.depths.percept(row, T))
        if scratch.octree.stats().refused_bricks:
            scratch.store.close()
            raise InvalidInput("correct_poses: wanted room for the bricks that the keyframes see, got a full map")
        return scratch

    def _bricks(self, views: list[tuple[int, Pose]]) -> NDArray[np.int64]:
        """Keys (M,) of all bricks that some views say something about, free space included."""
        scratch = self._integrate(views)
        keys: NDArray[np.int64] = np.unique(scratch.octree.bricks().keys)
        scratch.store.close()
        return keys

    def _reaching(self, keys: NDArray[np.int64], views: Mapping[int, tuple[Pose, PinholeCamera]]) -> list[int]:
        """Row ids of the keyframes that stand near enough to the box around some bricks to see into it."""
        from embodmem.spatial.octree import unpack_keys

        if not len(keys):
            return []
        config = self.spatial.config
        bricks, edge = unpack_keys(keys), 8 * config.voxel_size_m
        lower, upper = bricks.min(axis=0) * edge, (bricks.max(axis=0) + 1) * edge
        near = []
        for row, (T, camera) in views.items():
            u = max(abs(-0.5 - camera.cx), abs(camera.width - 0.5 - camera.cx)) / camera.fx
            v = max(abs(-0.5 - camera.cy), abs(camera.height - 0.5 - camera.cy)) / camera.fy
            reach = (config.max_range_m + 2 * config.voxel_size_m) * np.sqrt(1.0 + u * u + v * v)
            if np.linalg.norm(np.clip(T[:3, 3], lower, upper) - T[:3, 3]) <= reach:
                near.append(row)
        return near

    def _make_again(self, db: sqlite3.Connection, keys: NDArray[np.int64], views: list[tuple[int, Pose]]) -> None:
        """Replace bricks by those of a map of some keyframes alone; what they say of other bricks is left aside."""
        scratch = self._integrate(views)
        scratch.flush(stale_s=0.0)
        wanted = set(keys.tolist())
        with scratch.store.read() as source:
            cursor = source.execute("SELECT * FROM brick")
            place = [column[0] for column in cursor.description].index("key")
            rows = [row for row in cursor if row[place] in wanted]
        scratch.store.close()
        self.store.set_state("map_labels", scratch.label_names.texts[1:])
        before = db.execute("SELECT count(*) FROM brick").fetchone()[0]
        db.executemany("DELETE FROM brick WHERE key = ?", [(key,) for key in wanted])
        if rows:
            db.executemany(f"INSERT INTO brick VALUES ({', '.join('?' * len(rows[0]))})", rows)
        after = db.execute("SELECT count(*) FROM brick").fetchone()[0]
        most = max(before, self.spatial.config.capacity_bricks)
        if after > most:
            raise InvalidInput(f"correct_poses: wanted at most {most} bricks in the map afterwards, got {after}")

    def _move(self, db: sqlite3.Connection, row: int, T: Pose) -> None:
        """A keyframe's record, pose, and the surface that it saw."""
        db.execute("UPDATE keyframe SET T_world_camera = ? WHERE id = ?", (np.ascontiguousarray(T).tobytes(), row))
        db.execute(_RECORD, (*T[:3, 3].tolist(), row))
        percept: Percept = self.depths.percept(row, T)
        self.seen.add([(row, self.seen.surface(percept))])
