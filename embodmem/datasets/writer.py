"""Recording a run into the form of `embodmem.datasets.folder`."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.datasets.folder import INDEX
from embodmem.errors import DatasetError, InvalidInput, StampError
from embodmem.types import Detection, Event, Percept, PinholeCamera


class FolderWriter:
    """Writes percepts and events into a folder that `open_dataset` reads.

    The files of a frame are written first and its line of the index last, so that a process that dies leaves a
    recording of what it appended before (a power cut may take the last seconds). Depth is rounded to
    1 / `depth_scale` metres; what is farther than 65535 / `depth_scale` metres is written as that distance. All else
    reads back equal, except colour in JPEG.

    Args:
        path: The folder; made where it does not exist.
        rgb_format: "png" (lossless) or "jpeg" (quality 90, a tenth of the size).
        depth_scale: Units of the depth images in a metre; the default is millimetres, up to 65.5 m.

    Raises:
        DatasetError: The folder already holds a recording.
        InvalidInput: `rgb_format` or `depth_scale` is out of range.
    """

    def __init__(
        self, path: str | Path, *, rgb_format: Literal["png", "jpeg"] = "png", depth_scale: float = 1000.0
    ) -> None:
        if rgb_format not in ("png", "jpeg"):
            raise InvalidInput(f"rgb_format: wanted 'png' or 'jpeg', got {rgb_format!r}")
        if not (np.isfinite(depth_scale) and depth_scale > 0):
            raise InvalidInput(f"depth_scale: wanted units in a metre > 0, got {depth_scale}")
        self._root = Path(path)
        self._rgb_format, self._depth_scale = rgb_format, float(depth_scale)
        self._camera: PinholeCamera | None = None
        self._count = 0
        self._rooms: dict[str, list[list[float]]] = {}
        self._latest: dict[str, int] = {}
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            self._index = (self._root / INDEX).open("x", encoding="utf-8", newline="\n")
        except FileExistsError as error:
            raise DatasetError(f"{self._root}: wanted a folder without a recording, but {INDEX} is there") from error

    def append(self, experience: Percept | Event) -> None:
        """Write one percept or event.

        Raises:
            StampError: It is older than the one before it of the same agent.
        """
        latest = self._latest.get(experience.agent, 0)
        if experience.stamp_ns < latest:
            raise StampError(
                f"recording {self._root}: wanted stamps of {experience.agent!r} that do not decrease, "
                f"got {experience.stamp_ns} after {latest} ns"
            )
        if isinstance(experience, Percept):
            record = {"percept": self._percept(experience)}
            self._count += 1
        else:
            record = {"event": _event(experience)}
        self._index.write(json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n")
        self._index.flush()
        self._latest[experience.agent] = experience.stamp_ns

    def add_room(self, name: str, lower: ArrayLike, upper: ArrayLike) -> None:
        """Name a box of space, from `lower` (3,) to `upper` (3,) in metres, world; a known name is replaced.

        Raises:
            InvalidInput: The name is empty, or the corners are no box.
        """
        low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        if (
            not name.strip()
            or low.shape != (3,)
            or high.shape != (3,)
            or not (np.isfinite(high - low) & (high > low)).all()
        ):
            raise InvalidInput(
                f"room {name!r}: wanted a name and corners (3,) with upper > lower, got {lower!r}, {upper!r}"
            )
        self._rooms[name] = [low.tolist(), high.tolist()]
        (self._root / "rooms.json").write_text(json.dumps(self._rooms, indent=1) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Close the index; nothing can be appended afterwards."""
        self._index.close()

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _percept(self, percept: Percept) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "stamp_ns": percept.stamp_ns,
            "T_world_sensor": percept.T_world_sensor.reshape(-1).tolist(),
        }
        fields |= self._camera_fields(percept.camera)
        if percept.rgb is not None:
            fields["rgb"] = self._image("rgb", percept.rgb, self._rgb_format)
        if percept.depth is not None:
            units = np.rint(percept.depth * np.float32(self._depth_scale)).clip(0, 65535).astype(np.uint16)
            fields["depth"] = self._image("depth", units)
        if percept.segmentation is not None:
            ids = percept.segmentation
            small = ids.size == 0 or (ids.min() >= 0 and ids.max() <= 65535)
            fields["segmentation"] = (
                self._image("segmentation", ids.astype(np.uint16)) if small else self._array("segmentation", ids)
            )
        if percept.points is not None:
            fields["points"] = self._array("points", percept.points)
        if percept.labels:
            fields["labels"] = {str(key): value for key, value in percept.labels.items()}
        if percept.detections:
            fields["detections"] = [self._detection(n, detection) for n, detection in enumerate(percept.detections)]
        if percept.embedding is not None:
            fields["embedding"] = percept.embedding.tolist()
            fields["embedding_model"] = percept.embedding_model
        fields |= {key: getattr(percept, key) for key in ("caption", "agent") if getattr(percept, key)}
        return fields

    def _camera_fields(self, camera: PinholeCamera | None) -> dict[str, Any]:
        """The first camera goes to camera.json; another one, or that there is none, into the line of the frame."""
        if camera is None:
            return {"camera": None}
        plain = {key: getattr(camera, key) for key in ("width", "height", "fx", "fy", "cx", "cy")}
        if self._camera is None:
            content = json.dumps(plain | {"depth_scale": self._depth_scale}, indent=1)
            (self._root / "camera.json").write_text(content + "\n", encoding="utf-8")
            self._camera = camera
        return {} if camera == self._camera else {"camera": plain}

    def _path(self, kind: str, name: str) -> tuple[Path, str]:
        (self._root / kind).mkdir(exist_ok=True)
        return self._root / kind / name, f"{kind}/{name}"

    def _image(self, kind: str, pixels: NDArray[Any], form: str = "png", part: str = "") -> str:
        from PIL import Image

        path, name = self._path(kind, f"{self._count:06d}{part}.{'jpg' if form == 'jpeg' else form}")
        # Each form ignores the other's option; level 1 is four times as fast as the default and 10 % larger.
        Image.fromarray(pixels).save(path, form, compress_level=1, quality=90)
        return name

    def _array(self, kind: str, values: NDArray[Any]) -> str:
        path, name = self._path(kind, f"{self._count:06d}.npy")
        np.save(path, values, allow_pickle=False)
        return name

    def _detection(self, number: int, detection: Detection) -> dict[str, Any]:
        fields: dict[str, Any] = {"label": detection.label, "score": float(detection.score)}
        if detection.box is not None:
            fields["box"] = detection.box.tolist()
        if detection.instance_id is not None:
            fields["instance_id"] = int(detection.instance_id)
        if detection.embedding is not None:
            fields["embedding"] = detection.embedding.tolist()
        if detection.mask is not None:
            fields["mask"] = self._image("masks", detection.mask, part=f"_{number}")
        return fields


def _event(event: Event) -> dict[str, Any]:
    """The fields that are set; numpy numbers as plain ones."""
    fields: dict[str, Any] = {"stamp_ns": event.stamp_ns, "kind": event.kind, "text": event.text}
    if event.until_ns is not None:
        fields["until_ns"] = event.until_ns
    if event.T_world_body is not None:
        fields["T_world_body"] = event.T_world_body.tolist()
    if event.objects:
        fields["objects"] = list(event.objects)
    if event.reward is not None:
        fields["reward"] = float(event.reward)
    if event.embedding is not None:
        fields["embedding"] = event.embedding.tolist()
    texts = ("outcome", "action", "modality", "embedding_model", "source", "agent")
    return fields | {key: getattr(event, key) for key in texts if getattr(event, key)}
