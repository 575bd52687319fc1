"""The library's own form of a recording: a folder of frames with an index. `FolderWriter` writes it.

A recording holds::

    index.jsonl       one line for each frame or event, in the order in which they happened
    camera.json       intrinsics of the images: width, height, fx, fy, cx, cy, depth_scale (units in a metre)
    labels.json       optional: {"3": "mug"}, for frames that bring no labels themselves
    detections.json   optional, see `embodmem.datasets.detections`
    rooms.json        optional, see `embodmem.datasets.files.read_rooms`
    rgb/ depth/ ...   the images; the index names them

A line of the index is ``{"percept": {...}}`` or ``{"event": {...}}``. An event has the fields of
`embodmem.types.Event`. A percept has `stamp_ns` and `T_world_sensor` (16 numbers, row by row) and optionally

    camera          as in camera.json without depth_scale, where this frame's differs from it; null for a lidar
    rgb             colour image (PNG or JPEG)
    depth           16-bit grey PNG, 0 = no return
    points          .npy (N, 3) float32, metres in the sensor frame (lidar)
    segmentation    16-bit grey PNG or .npy (H, W) int32 of instance ids, 0 = nothing known
    labels          {"3": "mug"}, instance id -> label
    detections      as in detections.json, each optionally with `mask` (a black and white PNG) and `embedding`
    embedding       numbers; caption, agent: text

Files are named relative to the folder. Stamps must not decrease per agent, over percepts and events together.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embodmem.datasets.base import Dataset, Room, check_index
from embodmem.datasets.detections import parse_detection, read_detections
from embodmem.datasets.files import (
    camera_from,
    read_array,
    read_camera,
    read_depth,
    read_json,
    read_mask,
    read_rgb,
    read_rooms,
    read_text,
    read_uint16,
)
from embodmem.errors import DatasetError, InvalidInput
from embodmem.geometry import check_pose
from embodmem.types import Detection, Event, Percept, PinholeCamera, check_stamp

INDEX = "index.jsonl"
WANTED = f"{INDEX} (written by FolderWriter)"
_PERCEPT_KEYS = frozenset(field.name for field in dataclasses.fields(Percept))
_EVENT_KEYS = frozenset(field.name for field in dataclasses.fields(Event))
_T = TypeVar("_T")


def recognises(folder: Path) -> bool:
    """Whether the folder looks like this format."""
    return (folder / INDEX).is_file()


class FolderDataset(Dataset):
    """A recording in the library's own form.

    Args:
        path: Its folder.

    Raises:
        DatasetError: The index or a file beside it is missing, damaged or of another form, or time goes backwards for
            an agent. What was cut off in the middle of the last line of the index (a crash) is left out.
    """

    def __init__(self, path: str | Path) -> None:
        self._root = Path(path)
        self.name = self._root.name
        self._rooms = read_rooms(self._root)
        self._frames: list[tuple[str, dict[str, Any]]] = []
        self._events: list[list[Event]] = [[]]
        latest: dict[str, int] = {}
        for where, record in _read_index(self._root / INDEX):
            kind, fields = next(iter(record.items()))
            stamp, agent = fields["stamp_ns"], fields.get("agent", "")
            if stamp < latest.get(agent, 0):
                raise DatasetError(f"{where}: time goes backwards for {agent!r}, from {latest[agent]} to {stamp} ns")
            latest[agent] = stamp
            if kind == "event":
                self._events[-1].append(_make(where, Event, fields | {"objects": tuple(fields.get("objects", ()))}))
            else:
                self._frames.append((where, fields))
                self._events.append([])
        self._check_files()
        self.camera, self._depth_scale = self._camera()
        labels = self._root / "labels.json"
        self._labels = _labels(read_json(labels), str(labels)) if labels.is_file() else {}
        self._detections = read_detections(self._root, [_frame_name(fields) for _, fields in self._frames])

    def _check_files(self) -> None:
        for where, fields in self._frames:
            for key in ("rgb", "depth", "points", "segmentation"):
                if key in fields and not self._file(fields[key], where).is_file():
                    raise DatasetError(f"{self._root / fields[key]}: missing, but {where} names it")

    def _camera(self) -> tuple[PinholeCamera | None, float]:
        images = [
            (where, fields[key])
            for where, fields in self._frames
            for key in ("rgb", "depth")
            if key in fields and "camera" not in fields
        ]
        if not images and not (self._root / "camera.json").is_file():
            return None, 1000.0
        image = self._file(images[0][1], images[0][0]) if images else None
        return read_camera((self._root,), image, None, 1000.0)

    def _file(self, name: Any, where: str) -> Path:
        if not isinstance(name, str):
            raise DatasetError(f"{where}: wanted the name of a file, got {name!r}")
        return self._root / name

    def __len__(self) -> int:
        return len(self._frames)

    def stamps_ns(self) -> NDArray[np.int64]:
        """(N,) int64 time stamps, ns."""
        return np.array([fields["stamp_ns"] for _, fields in self._frames], dtype=np.int64)

    def events(self, i: int) -> tuple[Event, ...]:
        """Events after frame i - 1 and before frame i; i = N asks for those after the last frame."""
        return tuple(self._events[check_index(i, len(self) + 1, self.name)])

    def rooms(self) -> tuple[Room, ...]:
        """Rooms of `rooms.json`."""
        return self._rooms

    def read(self, i: int) -> Percept:
        """Frame i; see `Dataset.read`."""
        where, fields = self._frames[check_index(i, len(self), self.name)]
        camera = self.camera
        if "camera" in fields:
            camera = None if fields["camera"] is None else camera_from(fields["camera"], where)
        numbers = fields["T_world_sensor"]
        if not isinstance(numbers, list) or len(numbers) != 16:
            raise DatasetError(f"{where}: wanted T_world_sensor as 16 numbers, row by row, got {numbers!r}")
        pose = check_pose(np.reshape(numbers, (4, 4)), f"{where}: T_world_sensor")
        values: dict[str, Any] = {key: fields[key] for key in ("embedding", "caption", "agent") if key in fields}
        values["labels"] = _labels(fields["labels"], where) if "labels" in fields else self._labels
        values["detections"] = (
            *(self._detection(entry, where, camera) for entry in fields.get("detections", ())),
            *self._detections.get(_frame_name(fields), ()),
        )
        if "points" in fields:
            values["points"] = read_array(self._file(fields["points"], where))
        values |= self._images(fields, where, camera)
        return _make(
            where, Percept, {"stamp_ns": fields["stamp_ns"], "T_world_sensor": pose, "camera": camera} | values
        )

    def _images(self, fields: dict[str, Any], where: str, camera: PinholeCamera | None) -> dict[str, Any]:
        images: dict[str, Any] = {}
        if camera is None:
            if not fields.keys().isdisjoint(("rgb", "depth", "segmentation")):
                raise DatasetError(f"{where}: wanted a camera for its images, got null")
            return images
        if "rgb" in fields:
            images["rgb"] = read_rgb(self._file(fields["rgb"], where), camera)
        if "depth" in fields:
            images["depth"] = read_depth(self._file(fields["depth"], where), camera, self._depth_scale)
        if "segmentation" in fields:
            path = self._file(fields["segmentation"], where)
            ids = read_array(path) if path.suffix == ".npy" else read_uint16(path, camera).astype(np.int32)
            images["segmentation"] = ids
        return images

    def _detection(self, entry: Any, where: str, camera: PinholeCamera | None) -> Detection:
        if not isinstance(entry, dict) or camera is None:
            raise DatasetError(f"{where}: wanted detections as objects, in a frame with a camera, got {entry!r}")
        plain = {key: value for key, value in entry.items() if key not in ("mask", "embedding")}
        mask = read_mask(self._file(entry["mask"], where), camera) if "mask" in entry else None
        return parse_detection(plain, where, mask=mask, embedding=entry.get("embedding"))


def _frame_name(fields: dict[str, Any]) -> str:
    return Path(str(fields.get("rgb", ""))).stem


def _make(where: str, kind: Callable[..., _T], values: dict[str, Any]) -> _T:
    try:
        return kind(**values)
    except InvalidInput as error:
        raise type(error)(f"{where}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{where}: a value is of another type than wanted: {error}") from error


def _labels(values: Any, where: str) -> dict[int, str]:
    try:
        return {int(key): str(value) for key, value in values.items()}
    except (AttributeError, ValueError) as error:
        raise DatasetError(f"{where}: wanted labels as an object instance id -> label, got {values!r}") from error


def _read_index(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """("file:line", {"percept" or "event": fields}) of each line."""
    text = read_text(path)
    lines = text.split("\n")
    records: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break  # No newline follows: the writer died within this line.
            raise DatasetError(f"{where}: wanted a JSON object in each line: {error}") from error
        records.append((where, _check_record(record, where)))
    if not records:
        raise DatasetError(f"{path}: wanted a line for each frame and event, got none")
    return records


def _check_record(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict) or len(record) != 1 or next(iter(record)) not in ("percept", "event"):
        raise DatasetError(f'{where}: wanted {{"percept": {{...}}}} or {{"event": {{...}}}}, got {str(record)[:80]}')
    kind, fields = next(iter(record.items()))
    known = _PERCEPT_KEYS if kind == "percept" else _EVENT_KEYS
    required = {"stamp_ns", "T_world_sensor"} if kind == "percept" else {"stamp_ns", "kind", "text"}
    if not isinstance(fields, dict) or not required <= set(fields) <= known:
        got = sorted(fields) if isinstance(fields, dict) else fields
        raise DatasetError(
            f"{where}: wanted {kind} with {', '.join(sorted(required))} and otherwise only "
            f"{', '.join(sorted(known - required))}, got {got}"
        )
    _make(where, check_stamp, {"stamp_ns": fields["stamp_ns"]})
    return record
