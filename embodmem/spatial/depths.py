"""Depth images of keyframes, kept so that the map can be made again where a keyframe turns out to have stood elsewhere.

A depth image is kept as a PNG of uint16 millimetres: what a depth camera gives comes back exactly, other depth within
half a millimetre, and what is beyond 65.5 m as 65.5 m. A Kinect image of 640x480 takes about 95 KB.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import DamagedMemory
from embodmem.geometry import Pose, backproject, transform_points
from embodmem.spatial.label_names import LabelNames
from embodmem.spatial.views import region_of
from embodmem.store import Store
from embodmem.types import Percept, PinholeCamera, Query

_LEVEL = 3  # of PNG's compression: 16 ms an image, and a tenth smaller than at level 1


_COLUMNS = "SELECT camera, depth, segmentation, labels FROM keyframe_depth"


class KeptDepth(NamedTuple):
    """A depth image as it stands in the file: the camera as JSON, and a PNG; and what its pixels belong to."""

    camera: str
    png: bytes
    segmentation: bytes | None = None
    labels: str = "[]"

    def intrinsics(self) -> PinholeCamera:
        """Its camera."""
        return PinholeCamera(**json.loads(self.camera))

    def image(self) -> NDArray[np.uint16]:
        """Depth (H, W) uint16 millimetres, 0 = no return.

        Raises:
            DamagedMemory: It cannot be read.
        """
        return _read(self.png).astype(np.uint16)

    def belongs(self) -> NDArray[np.int32] | None:
        """Numbers (H, W) of `labels`, from 1 on; None where it was not kept.

        Raises:
            DamagedMemory: It cannot be read.
        """
        return None if self.segmentation is None else _read(self.segmentation).astype(np.int32)

    def texts(self) -> dict[int, str]:
        """Labels by number; one that was forgotten is missing."""
        return {number: text for number, text in enumerate(json.loads(self.labels), 1) if text}


def _read(picture: bytes) -> NDArray[Any]:
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(picture)))
    except (OSError, ValueError, SyntaxError) as error:
        raise DamagedMemory(f"depth of a keyframe: wanted a picture, got damaged bytes: {error}") from error


def _png(image: NDArray[np.uint16]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=_LEVEL)
    return buffer.getvalue()


def keep_depth(
    millimetres: NDArray[np.uint16],
    camera: PinholeCamera,
    segmentation: NDArray[np.integer[Any]] | None = None,
    labels: Mapping[int, str] = MappingProxyType({}),
) -> KeptDepth:
    """A depth image (H, W) as it is kept, with the instance ids (H, W) of its pixels and their labels where given."""
    kept = KeptDepth(json.dumps(asdict(camera)), _png(millimetres))
    if segmentation is None:
        return kept
    names = LabelNames()
    numbers = names.numbers_of(segmentation, labels)
    present, places = np.unique(np.append(numbers, np.uint16(0)), return_inverse=True)
    image = places.reshape(-1)[:-1].reshape(numbers.shape).astype(np.uint16)
    texts = [names.texts[number] for number in present.tolist()[1:]]
    return kept._replace(segmentation=_png(image), labels=json.dumps(texts))


class KeyframeDepths:
    """The depth images of keyframes, in the memory's file; each is written with its keyframe and goes with it.

    Args:
        store: The memory's file.
        enabled: Whether depth is kept at all; what was kept before stays.
        labels: Whether segmentations are kept with it.
    """

    def __init__(self, store: Store, enabled: bool, labels: bool = False) -> None:
        self.store = store
        self.enabled = enabled
        self.labels = labels

    def encode(self, percept: Percept) -> KeptDepth | None:
        """A percept's depth as `add` keeps it; None without depth, or where none is to be kept. Safe in any thread."""
        if not self.enabled or percept.depth is None or percept.camera is None:
            return None
        millimetres = np.minimum(np.round(percept.depth * np.float32(1000)), 65535).astype(np.uint16)
        segmentation = percept.segmentation if self.labels else None
        return keep_depth(millimetres, percept.camera, segmentation, percept.labels)

    def add(self, depths: Iterable[tuple[int, KeptDepth | None]]) -> None:
        """Keep depth images of keyframes, by row id, within the caller's transaction."""
        rows = [(number, *depth) for number, depth in depths if depth is not None]
        with self.store.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO keyframe_depth VALUES (?, ?, ?, ?, ?)", rows)

    def poses(self) -> dict[int, tuple[Pose, PinholeCamera]]:
        """Pose and camera of every keyframe with depth, by row id, in the order of writing."""
        sql = "SELECT d.id, k.T_world_camera, d.camera FROM keyframe_depth d JOIN keyframe k ON k.id = d.id ORDER BY 1"
        with self.store.read() as db:
            rows = db.execute(sql).fetchall()
        return {row: (np.frombuffer(T).reshape(4, 4), PinholeCamera(**json.loads(text))) for row, T, text in rows}

    def percept(self, number: int, T_world_camera: Pose) -> Percept:
        """What a keyframe saw, taken from a pose: depth, and the picture and segmentation that it kept."""
        sql = (
            "SELECT r.first_ns, k.image, d.camera, d.depth, d.segmentation, d.labels FROM keyframe_depth d "
            "JOIN record r ON r.id = d.id JOIN keyframe k ON k.id = d.id WHERE d.id = ?"
        )
        with self.store.read() as db:
            stamp_ns, jpeg, *columns = db.execute(sql, (number,)).fetchone()
        kept = KeptDepth(*columns)
        camera = kept.intrinsics()
        picture = None if jpeg is None else _read(jpeg)
        return Percept(
            stamp_ns=stamp_ns,
            T_world_sensor=T_world_camera,
            camera=camera,
            depth=kept.image(),  # type: ignore[arg-type]
            rgb=picture if picture is not None and picture.shape == (*camera.shape, 3) else None,
            segmentation=kept.belongs(),
            labels=kept.texts(),
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
                kept = KeptDepth(*db.execute(f"{_COLUMNS} WHERE id = ?", (number,)).fetchone())
                image, belongs = kept.image(), kept.belongs()
                rows, cols = np.nonzero(image)
                points = transform_points(T, backproject(camera, rows, cols, image[rows, cols] * 1e-3))
                there = ((points >= lower) & (points <= upper)).all(axis=1)
                if there.any():
                    image[rows[there], cols[there]] = 0
                    if belongs is not None:
                        belongs[rows[there], cols[there]] = 0
                    self.add([(number, keep_depth(image, camera, belongs, kept.texts()))])
                    gone += int(np.count_nonzero(there))
        return gone

    def forget_labels(self, labels: Iterable[str]) -> None:
        """Take labels, whatever their case, off the pixels of segmentations, within the caller's transaction."""
        wanted = {label.casefold() for label in labels}
        with self.store.transaction() as db:
            rows = db.execute(_COLUMNS.replace("camera", "id, camera", 1)).fetchall()
            for number, *columns in rows:
                kept = KeptDepth(*columns)
                left = {i: text for i, text in kept.texts().items() if text.casefold() not in wanted}
                if len(left) < len(kept.texts()):
                    segmented = keep_depth(kept.image(), kept.intrinsics(), kept.belongs(), left)
                    self.add([(number, kept._replace(segmentation=segmented.segmentation, labels=segmented.labels))])
