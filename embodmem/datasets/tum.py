"""The TUM RGB-D benchmark (Sturm et al., IROS 2012) and recordings in its form.

A folder holds `rgb.txt` and `depth.txt` (lines "seconds file"), `groundtruth.txt` (lines "seconds tx ty tz qx qy qz
qw", T_world_camera) and the images that they name; depth images are 16-bit PNG with 5000 units in a metre, registered
to the colour camera. Lines with # are comments.

The three are associated by time: a frame is a depth image with the nearest colour image and the nearest pose, each
within 0.02 s; a depth image that lacks one of them is left out (`dropped` counts them). The stamp of a frame is that
of its depth image.

Beside the lists may lie `camera-intrinsics.txt`, `camera.json` or `camera.yaml`; without one the intrinsics are the
ROS defaults that the benchmark suggests (fx = fy = 525, cx = 319.5, cy = 239.5). So may
`detections.json` (see `embodmem.datasets.detections`) and `rooms.json` (see `embodmem.datasets.files.read_rooms`).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodmem.datasets.base import Dataset, Room, check_index
from embodmem.datasets.detections import read_detections
from embodmem.datasets.files import read_camera, read_depth, read_rgb, read_rooms, read_text
from embodmem.errors import DatasetError, PoseError
from embodmem.geometry import pose_from_quat
from embodmem.types import Percept

WANTED = "rgb.txt, depth.txt and groundtruth.txt"
MAX_APART_NS = 20_000_000
"""The farthest that a depth image, a colour image and a pose of one frame may be apart, ns."""
_INTRINSICS = (525.0, 525.0, 319.5, 239.5)
_LISTS = ("rgb.txt", "depth.txt", "groundtruth.txt")


def recognises(folder: Path) -> bool:
    """Whether the folder looks like this format."""
    return any((folder / name).is_file() for name in _LISTS)


class TumDataset(Dataset):
    """A recording in the form of the TUM RGB-D benchmark.

    Args:
        path: Its folder.

    Attributes:
        dropped: Depth images left out because no colour image or no pose is near in time.

    Raises:
        DatasetError: A list is missing, damaged or goes back in time; an image is missing; nothing is associated.
        PoseError: A quaternion is not of norm 1, or a position is not finite.
    """

    def __init__(self, path: str | Path) -> None:
        root = Path(path)
        self.name = root.name
        self._rooms = read_rooms(root)
        rgb_ns, rgb = _read_list(root / "rgb.txt", 1)
        depth_ns, depth = _read_list(root / "depth.txt", 1)
        pose_ns, poses = _read_list(root / "groundtruth.txt", 7)
        to_rgb, to_pose = _nearest(rgb_ns, depth_ns), _nearest(pose_ns, depth_ns)
        kept = np.flatnonzero(
            (np.abs(rgb_ns[to_rgb] - depth_ns) <= MAX_APART_NS) & (np.abs(pose_ns[to_pose] - depth_ns) <= MAX_APART_NS)
        )
        if not len(kept):
            raise DatasetError(
                f"{root}: wanted a colour image and a pose within {MAX_APART_NS / 1e9} s of a depth image, got none; "
                f"do {', '.join(_LISTS)} use the same clock?"
            )
        self.dropped = len(depth_ns) - len(kept)
        self._stamps_ns = depth_ns[kept]
        self._depth = [root / depth[i][0] for i in kept]
        self._rgb = [root / rgb[i][0] for i in to_rgb[kept]]
        self._poses = [_pose(poses[i], root / "groundtruth.txt", int(pose_ns[i])) for i in to_pose[kept]]
        for image in (*self._rgb, *self._depth):
            if not image.is_file():
                raise DatasetError(f"{image}: the image is missing, but {root.name}'s lists name it")
        self.camera, self._depth_scale = read_camera((root,), self._rgb[0], _INTRINSICS, 5000.0)
        found = read_detections(root, [image.stem for image in self._rgb])
        self._detections = [found.get(image.stem, ()) for image in self._rgb]

    def __len__(self) -> int:
        return len(self._stamps_ns)

    def stamps_ns(self) -> NDArray[np.int64]:
        """(N,) int64 time stamps of the depth images, ns."""
        return np.array(self._stamps_ns, dtype=np.int64)

    def rooms(self) -> tuple[Room, ...]:
        """Rooms of `rooms.json`."""
        return self._rooms

    def read(self, i: int) -> Percept:
        """Frame i with depth, colour and detections; see `Dataset.read`."""
        check_index(i, len(self), self.name)
        assert self.camera is not None
        return Percept(
            stamp_ns=int(self._stamps_ns[i]),
            T_world_sensor=self._poses[i],
            camera=self.camera,
            depth=read_depth(self._depth[i], self.camera, self._depth_scale),
            rgb=read_rgb(self._rgb[i], self.camera),
            detections=self._detections[i],
        )


def _read_list(path: Path, fields: int) -> tuple[NDArray[np.int64], list[list[str]]]:
    """Stamps (N,) ns and the words after them, of lines "seconds word ..."."""
    stamps: list[int] = []
    words: list[list[str]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        parts = line.split("#")[0].split()
        if not parts:
            continue
        try:
            # Seconds since 1970 with microseconds do not fit in a float64 to the nanosecond.
            stamp = int(Decimal(parts[0]) * 1_000_000_000)
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise DatasetError(f"{path}:{number}: wanted a time in seconds first, got {parts[0]!r}") from error
        if len(parts) != fields + 1 or not 0 <= stamp < 2**63:
            raise DatasetError(f"{path}:{number}: wanted a time and {fields} more fields, got {line.strip()!r}")
        if stamps and stamp < stamps[-1]:
            raise DatasetError(f"{path}:{number}: time goes backwards, from {stamps[-1]} to {stamp} ns")
        stamps.append(stamp)
        words.append(parts[1:])
    if not stamps:
        raise DatasetError(f"{path}: wanted lines of a time and {fields} more fields, got none")
    return np.array(stamps, dtype=np.int64), words


def _nearest(sorted_ns: NDArray[np.int64], to_ns: NDArray[np.int64]) -> NDArray[np.intp]:
    """Index of the nearest of `sorted_ns` (M,) for each of `to_ns` (N,)."""
    right = np.searchsorted(sorted_ns, to_ns).clip(1, max(len(sorted_ns) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(sorted_ns) - 1)
    return np.where(to_ns - sorted_ns[left] <= sorted_ns[right] - to_ns, left, right)


def _pose(words: list[str], path: Path, stamp_ns: int) -> NDArray[np.float64]:
    try:
        values = [float(word) for word in words]
        if abs(float(np.linalg.norm(values[3:])) - 1.0) > 0.01:
            raise PoseError(f"wanted a quaternion qx qy qz qw of norm 1, got {values[3:]}")
        return pose_from_quat(values[:3], values[3:])
    except PoseError as error:
        raise PoseError(f"{path}: pose at {stamp_ns} ns: {error}") from error
    except ValueError as error:
        raise DatasetError(f"{path}: pose at {stamp_ns} ns: wanted seven numbers, got {' '.join(words)!r}") from error
