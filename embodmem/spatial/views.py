"""View memory: every keyframe is indexed by the surface it saw, and a pose gets the fewest that cover its view.

VMem (Li et al., 2025) remembers views by the surfels that they observed. Here a surfel is a leaf of the octree about
10 cm wide (`embodmem.spatial.leaves`); its normal is read from the map when it is asked for.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.config import LONGEST_VOXELS
from embodmem.errors import InvalidInput
from embodmem.geometry import backproject, transform_points
from embodmem.spatial.cover import Cover, SeenIndex, greedy_cover
from embodmem.spatial.leaves import decode_leaves, element_edge_m, encode_leaves, leaf_keys, leaves_within
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.visible import Surface, visible_surface
from embodmem.types import Percept, PinholeCamera, Query

_PIXELS = 20_000
"""About how many pixels of a depth image are looked at: at 5 m they lie 4 cm apart, and a leaf is 10 cm wide."""


class SeenView(NamedTuple):
    """A chosen keyframe.

    Attributes:
        number: Its row id.
        adds: Part of the visible surface that it shows and none chosen before it does, 0..1.
        covers: Part of the visible surface that it shows.
    """

    number: int
    adds: float
    covers: float


class ViewMemory:
    """Which keyframe saw which surface.

    What a keyframe saw is a set of leaves in the memory's file, written in the transaction of the keyframe and gone
    with it; a keyframe that was written before there was this memory, or without depth and points, is not found. The
    index over all of them is held in RAM, read at the first use, and follows what is written.

    Args:
        spatial: The map, and the file that holds both.
    """

    def __init__(self, spatial: SpatialMemory) -> None:
        self.spatial = spatial
        self.store = spatial.store
        self.edge_m = element_edge_m(spatial.config.voxel_size_m)
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._index = SeenIndex()
        self._held: dict[tuple[int, int], int] = {}  # (row id, digest of its leaves and pose) -> number in the index
        self._rows: list[int] = []  # number in the index -> row id
        self._eyes = np.empty((0, 3))

    def surface(self, percept: Percept) -> bytes | None:
        """The surface that a percept saw, as `add` keeps it; None without depth and points. Safe in any thread."""
        config, T = self.spatial.config, percept.T_world_sensor
        seen = []
        if percept.depth is not None and percept.camera is not None:
            seen.append(_depth_points(percept.depth, percept.camera, config.min_range_m, config.max_range_m))
        if percept.points is not None:
            distance = np.linalg.norm(percept.points, axis=1)
            seen.append(percept.points[(distance >= config.min_range_m) & (distance <= config.max_range_m)])
        if not seen:
            return None
        points = transform_points(T, np.concatenate(seen).astype(np.float64))
        return encode_leaves(np.unique(leaf_keys(points, self.edge_m)))

    def add(self, surfaces: Iterable[tuple[int, bytes | None]]) -> None:
        """Keep what keyframes saw, by row id, within the caller's transaction; it replaces what was kept of them."""
        with self.store.transaction() as db:
            rows = []
            for number, blob in surfaces:
                if blob is not None:
                    T = db.execute("SELECT T_world_camera FROM keyframe WHERE id = ?", (number,)).fetchone()[0]
                    rows.append((number, zlib.crc32(blob, zlib.crc32(T)), blob))
            db.executemany("INSERT OR REPLACE INTO keyframe_surface VALUES (?, ?, ?)", rows)

    def choose(self, T_world_camera: NDArray[np.float64], camera: PinholeCamera, k: int) -> list[SeenView]:
        """The fewest keyframes, k at most, that show what is visible from a pose; the one that adds most first.

        Greedy maximum cover (`embodmem.spatial.cover.greedy_cover`). A keyframe shows an element when it saw its leaf
        and stood on the same side of the surface. Fewer than k when no other adds anything; [] when nothing mapped is
        visible.

        Args:
            T_world_camera: (4, 4), optical frame.
            camera: What the view is to be like.
            k: Most keyframes wanted.

        Raises:
            InvalidInput: k is below 1.
        """
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        surface = visible_surface(self.spatial.octree, T_world_camera, camera, self.spatial.config.max_range_m)
        with self._lock, self.store.read() as db:
            self._follow(db)
            cover = self._cover(surface, k)
            rows = [self._rows[view] for view in cover.views]
        return [SeenView(*view) for view in zip(rows, cover.adds.tolist(), cover.covers.tolist(), strict=True)]

    def _cover(self, surface: Surface, k: int) -> Cover:
        place, view = self._index.pairs(surface.keys)
        live = np.zeros(len(self._rows), dtype=bool)
        live[list(self._held.values())] = True
        eyes = self._eyes
        if len(surface.position):  # leaves farther off than any view reaches have the same key by chance
            away = np.abs(eyes - surface.position.mean(axis=0)).max(axis=1)
            live &= away <= 4 * LONGEST_VOXELS * self.spatial.config.voxel_size_m
        met = np.zeros(len(live), dtype=bool)
        met[view] = True
        candidates = np.flatnonzero(live & met)
        column = np.full(len(live), -1)
        column[candidates] = np.arange(len(candidates))
        seen = np.zeros((len(surface.share), len(candidates)), dtype=bool)
        kept = column[view] >= 0
        seen[surface.element[place[kept]], column[view[kept]]] = True
        # n . (eye - p) > 0: the keyframe stood on the side that is seen.
        heights = surface.normal @ eyes[candidates].T
        seen &= heights > (surface.normal * surface.position).sum(axis=1)[:, None]
        element, view = np.nonzero(seen)
        cover = greedy_cover(element, view, surface.share, k)
        return cover._replace(views=candidates[cover.views])

    def _follow(self, db: sqlite3.Connection) -> None:
        """Take in what was written, and drop what was removed, since the last time."""
        there = dict.fromkeys(db.execute("SELECT id, digest FROM keyframe_surface ORDER BY id").fetchall())
        self._held = {name: number for name, number in self._held.items() if name in there}
        if len(self._rows) > 64 and 2 * len(self._held) < len(self._rows):
            self._reset()  # most of the index is about keyframes that are gone
        fresh = [name for name in there if name not in self._held]
        if not fresh:
            return
        sql = (
            "SELECT s.leaves, k.T_world_camera FROM keyframe_surface s JOIN keyframe k ON k.id = s.id "
            "WHERE s.id IN (SELECT value FROM json_each(?)) ORDER BY s.id"
        )
        rows = db.execute(sql, (json.dumps([row for row, _ in fresh]),)).fetchall()
        leaves = [decode_leaves(blob) for blob, _ in rows]
        eyes = [np.frombuffer(T).reshape(4, 4)[:3, 3] for _, T in rows]
        numbers = list(range(len(self._rows), len(self._rows) + len(fresh)))
        self._index.add(leaves, numbers)
        self._held.update(zip(fresh, numbers, strict=True))
        self._rows.extend(row for row, _ in fresh)
        self._eyes = np.concatenate([self._eyes, np.stack(eyes)])

    def forget(self, query: Query) -> int:
        """Drop the elements that a region touches from what keyframes saw; returns how many (keyframe, element) went.

        The region is that of `SpatialMemory.forget`.

        Raises:
            InvalidInput: The query names no region.
        """
        low, high = region_of(query)
        gone = 0
        with self.store.transaction() as db:
            changed = []
            for row, blob in db.execute("SELECT id, leaves FROM keyframe_surface"):
                keys = decode_leaves(blob)
                kept = keys[~leaves_within(keys, low, high, self.edge_m)]
                if len(kept) < len(keys):
                    gone += len(keys) - len(kept)
                    changed.append((row, encode_leaves(kept)))
            self.add(changed)
        return gone


def region_of(query: Query) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (3,) of the region that a query names: `within`, or a cube of half-edge `radius_m` around `near`.

    Raises:
        InvalidInput: It names none.
    """
    if query.within is not None:
        return query.within[0], query.within[1]
    if query.near is not None and query.radius_m is not None:
        return query.near - query.radius_m, query.near + query.radius_m
    raise InvalidInput("query: wanted a region (within, or near with radius_m), got none")


def _depth_points(
    depth: NDArray[np.float32], camera: PinholeCamera, near_m: float, far_m: float
) -> NDArray[np.float64]:
    """Points (N, 3) of a regular grid of about 20,000 pixels with depth in range, optical frame, metres."""
    step = max(1, int(np.sqrt(depth.size / _PIXELS)))
    rows, cols = np.mgrid[step // 2 : camera.height : step, step // 2 : camera.width : step].reshape(2, -1)
    z = depth[rows, cols].astype(np.float64)
    good = (z >= near_m) & (z <= far_m)
    points: NDArray[np.float64] = backproject(camera, rows[good], cols[good], z[good])
    return points
