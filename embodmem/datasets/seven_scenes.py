"""Microsoft 7-Scenes (Shotton et al., CVPR 2013) and recordings in its form.

A sequence folder holds `frame-000000.color.png` (or .jpg), `frame-000000.depth.png` (uint16 millimetres, 0 and 65535
= no return) and `frame-000000.pose.txt` (4x4 T_scene_camera). A scene folder holds sequences `seq-01`, `seq-02`, ...,
which are read one after the other.

Beside the frames, or in the scene folder, may lie:
    `camera-intrinsics.txt`, `camera.json` or `camera.yaml`: without one the intrinsics are those of the published data
        (fx = fy = 585, cx = 320, cy = 240).
    `T_world_scene.txt`: 4x4, turns the scene frame into a world with z up and the floor at z = 0. Without it the world
        is the scene frame itself, which starts as the optical frame of the first camera: z then points forward and y
        down, so that whatever depends on "up" (on top of, floor plans, routes) is wrong.
    `detections.json`: see `embodmem.datasets.detections`; beside the frames.
    `rooms.json`: see `embodmem.datasets.files.read_rooms`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodmem.datasets.base import Dataset, Room, check_index
from embodmem.datasets.detections import read_detections
from embodmem.datasets.files import read_camera, read_depth, read_pose, read_rgb, read_rooms
from embodmem.errors import DatasetError
from embodmem.types import Detection, Percept

WANTED = "frame-XXXXXX.color.png|jpg, .depth.png and .pose.txt, or folders seq-XX that hold them"
FRAME_NS = 33_333_333
"""Time between two frames of the original data (30 Hz), ns."""
SEQUENCE_GAP_NS = 1_000_000_000
"""Time put between the sequences of a scene, ns."""
_INTRINSICS = (585.0, 585.0, 320.0, 240.0)
_FILE = re.compile(r"frame-(\d+)\.(color\.(?:png|jpg|jpeg)|depth\.png|pose\.txt)")


def recognises(folder: Path) -> bool:
    """Whether the folder looks like this format."""
    return any(_FILE.fullmatch(p.name) or re.fullmatch(r"seq-\d+", p.name) for p in folder.iterdir())


class SevenScenesDataset(Dataset):
    """A sequence or a scene of 7-Scenes. The stamp of a frame is its number x 1/30 s.

    Args:
        path: Folder of a sequence or a scene.

    Raises:
        DatasetError: There are no frames, a file of a frame is missing, or a file beside the frames is damaged.
        PoseError: `T_world_scene.txt` is no rigid transform.
    """

    def __init__(self, path: str | Path) -> None:
        root = Path(path)
        self.name = root.name
        self._rooms = read_rooms(root)
        sequences = sorted(p for p in root.iterdir() if p.is_dir() and re.fullmatch(r"seq-\d+", p.name)) or [root]
        self._frames: list[tuple[Path, Path, Path]] = []
        self._detections: list[tuple[Detection, ...]] = []
        stamps: list[NDArray[np.int64]] = []
        start_ns = 0
        for folder in sequences:
            frames = _list_frames(folder)
            numbers = sorted(frames, key=int)
            self._frames += [frames[number] for number in numbers]
            found = read_detections(folder, numbers)
            self._detections += [found.get(number, ()) for number in numbers]
            stamps.append(start_ns + FRAME_NS * np.array([int(number) for number in numbers], dtype=np.int64))
            start_ns = int(stamps[-1][-1]) + SEQUENCE_GAP_NS
        self._stamps_ns = np.concatenate(stamps)
        beside = (root, sequences[0])
        self.camera, self._depth_scale = read_camera(beside, self._frames[0][0], _INTRINSICS, 1000.0)
        turned = next((f / "T_world_scene.txt" for f in beside if (f / "T_world_scene.txt").is_file()), None)
        self._T_world_scene = np.eye(4) if turned is None else read_pose(turned)

    def __len__(self) -> int:
        return len(self._frames)

    def stamps_ns(self) -> NDArray[np.int64]:
        """(N,) int64 time stamps, ns."""
        return np.array(self._stamps_ns, dtype=np.int64)

    def rooms(self) -> tuple[Room, ...]:
        """Rooms of `rooms.json`."""
        return self._rooms

    def read(self, i: int) -> Percept:
        """Frame i with depth, colour and detections; see `Dataset.read`."""
        colour, depth, pose = self._frames[check_index(i, len(self), self.name)]
        assert self.camera is not None
        return Percept(
            stamp_ns=int(self._stamps_ns[i]),
            T_world_sensor=self._T_world_scene @ read_pose(pose),
            camera=self.camera,
            depth=read_depth(depth, self.camera, self._depth_scale, no_return=65535),
            rgb=read_rgb(colour, self.camera),
            detections=self._detections[i],
        )


def _list_frames(folder: Path) -> dict[str, tuple[Path, Path, Path]]:
    """Number -> colour, depth and pose file of each frame."""
    files: dict[str, dict[str, Path]] = {}
    for path in folder.iterdir():
        match = _FILE.fullmatch(path.name)
        if match:
            files.setdefault(match[1], {})[match[2].split(".")[0]] = path
    if not files:
        raise DatasetError(f"{folder}: found no frame; wanted {WANTED}")
    frames: dict[str, tuple[Path, Path, Path]] = {}
    for number, kinds in sorted(files.items()):
        for kind, suffix in (("color", "png or .jpg"), ("depth", "png"), ("pose", "txt")):
            if kind not in kinds:
                have = ", ".join(sorted(p.name for p in kinds.values()))
                raise DatasetError(
                    f"{folder / f'frame-{number}.{kind}'}.{suffix}: missing; wanted colour, depth and pose of each "
                    f"frame, got {have}"
                )
        frames[number] = (kinds["color"], kinds["depth"], kinds["pose"])
    return frames
