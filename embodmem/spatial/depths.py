"""Depth images of keyframes, kept so that the map can be made again where a keyframe turns out to have stood elsewhere.

A depth image is kept as a PNG of uint16 millimetres: what a depth camera gives comes back exactly, other depth within
half a millimetre, and what is beyond 65.5 m as 65.5 m. A Kinect image of 640x480 takes about 95 KB.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import DamagedMemory
from embodmem.geometry import Pose, backproject, transform_points
from embodmem.spatial.views import region_of
from embodmem.store import Store
from embodmem.types import Percept, PinholeCamera, Query

_LEVEL = 3  # of PNG's compression: 16 ms an image, and a tenth smaller than at level 1


class KeptDepth(NamedTuple):
    """A depth image as it stands in the file: the camera as JSON, and a PNG."""

    camera: str
    png: bytes

    def intrinsics(self) -> PinholeCamera:
        """Its camera."""
        return PinholeCamera(**json.loads(self.camera))

    def image(self) -> NDArray[np.uint16]:
        """Depth (H, W) uint16 millimetres, 0 = no return.

        Raises:
            DamagedMemory: It cannot be read.
        """
        from PIL import Image

        try:
            return np.asarray(Image.open(io.BytesIO(self.png))).astype(np.uint16)
        except (OSError, ValueError, SyntaxError) as error:
            raise DamagedMemory(f"depth of a keyframe: wanted a PNG, got damaged bytes: {error}") from error


def keep_depth(millimetres: NDArray[np.uint16], camera: PinholeCamera) -> KeptDepth:
    """A depth image (H, W) as it is kept."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(millimetres).save(buffer, "PNG", compress_level=_LEVEL)
    return KeptDepth(json.dumps(asdict(camera)), buffer.getvalue())


class KeyframeDepths:
    """The depth images of keyframes, in the memory's file; each is written with its keyframe and goes with it.

    Args:
        store: The memory's file.
        enabled: Whether depth is kept at all; what was kept before stays.
    """

    def __init__(self, store: Store, enabled: bool) -> None:
        self.store = store
        self.enabled = enabled

    def encode(self, percept: Percept) -> KeptDepth | None:
        """A percept's depth as `add` keeps it; None without depth, or where none is to be kept. Safe in any thread."""
        if not self.enabled or percept.depth is None or percept.camera is None:
            return None
        millimetres = np.minimum(np.round(percept.depth * np.float32(1000)), 65535).astype(np.uint16)
        return keep_depth(millimetres, percept.camera)

    def add(self, depths: Iterable[tuple[int, KeptDepth | None]]) -> None:
        """Keep depth images of keyframes, by row id, within the caller's transaction."""
        rows = [(number, *depth) for number, depth in depths if depth is not None]
        with self.store.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO keyframe_depth VALUES (?, ?, ?)", rows)

    def poses(self) -> dict[int, tuple[Pose, PinholeCamera]]:
        """Pose and camera of every keyframe with depth, by row id, in the order of writing."""
        sql = "SELECT d.id, k.T_world_camera, d.camera FROM keyframe_depth d JOIN keyframe k ON k.id = d.id ORDER BY 1"
        with self.store.read() as db:
            rows = db.execute(sql).fetchall()
        return {row: (np.frombuffer(T).reshape(4, 4), PinholeCamera(**json.loads(text))) for row, T, text in rows}

    def percept(self, number: int, T_world_camera: Pose) -> Percept:
        """The depth that a keyframe saw, as a percept taken from a pose."""
        sql = "SELECT r.first_ns, d.camera, d.depth FROM keyframe_depth d JOIN record r ON r.id = d.id WHERE d.id = ?"
        with self.store.read() as db:
            stamp_ns, camera, png = db.execute(sql, (number,)).fetchone()
        kept = KeptDepth(camera, png)
        return Percept(
            stamp_ns=stamp_ns,
            T_world_sensor=T_world_camera,
            camera=kept.intrinsics(),
            depth=kept.image(),  # type: ignore[arg-type]
        )

    def forget(self, query: Query) -> int:
        """Take the pixels that see a region out of the depth images; returns how many.

        The region is that of `SpatialMemory.forget`.

        Raises:
            InvalidInput: The query names no region.
        """
        lower, upper = region_of(query)
        gone = 0
        with self.store.transaction() as db:
            for number, (T, camera) in self.poses().items():
                row = db.execute("SELECT camera, depth FROM keyframe_depth WHERE id = ?", (number,)).fetchone()
                image = KeptDepth(*row).image()
                rows, cols = np.nonzero(image)
                points = transform_points(T, backproject(camera, rows, cols, image[rows, cols] * 1e-3))
                there = ((points >= lower) & (points <= upper)).all(axis=1)
                if there.any():
                    image[rows[there], cols[there]] = 0
                    self.add([(number, keep_depth(image, camera))])
                    gone += int(np.count_nonzero(there))
        return gone
