"""ROS 2 bags as recordings: MCAP files, and rosbag2 folders of MCAP or SQLite.

Topics are told by their types, and images by the encoding of their first message: rgb8 and bgr8 are colour, 16UC1 and
32FC1 are depth. A view is a depth image (a colour image where there is none) with the colour image and the detections
of its time; a point cloud is a view of its own. Poses come from /tf and /tf_static at the stamp of the image, and from
odometry where /tf does not tell of its frame. Images, clouds and detections are read when they are asked for.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.datasets import ros_messages as convert
from embodmem.datasets.base import Dataset, check_index
from embodmem.datasets.ros_definitions import require_rosbags, type_store
from embodmem.datasets.ros_topics import Topics, choose_topics
from embodmem.datasets.ros_transforms import TransformError, TransformTree
from embodmem.errors import DatasetError, InvalidInput
from embodmem.types import Event, Percept, PinholeCamera

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

WANTED = "an .mcap or .db3 file, or metadata.yaml of rosbag2"
_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True, kw_only=True)
class RosBagOptions:
    """How a bag is read; an empty topic is found by its type, "none" leaves it out."""

    rgb: str = ""
    """Colour images."""
    depth: str = ""
    """Depth images, registered to the colour images."""
    camera_info: str = ""
    """Intrinsics of the depth images (of the colour images where there are none)."""
    detections: str = ""
    """Detection2DArray of the colour images."""
    points: str = ""
    """Point clouds of a lidar; the clouds of a depth camera say nothing that its depth images do not."""
    odometry: str = ""
    """Odometry."""
    told: str = ""
    """String: what the memory is told."""
    world_frame: str = ""
    """The frame that is the memory's world, z up; empty takes map, else world, else odom."""
    slop_s: float = 0.02
    """Stamps of what belongs to one view differ by at most this, seconds."""
    detection_ids_are_instances: bool = False
    """Whole numbers in a detection's id name one and the same object for ever."""


def recognises(path: Path) -> bool:
    """Whether it looks like a bag."""
    return path.suffix in _SUFFIXES if path.is_file() else (path / "metadata.yaml").is_file()


class _Place(NamedTuple):
    """Where a message lies."""

    stamp_ns: int
    logged_ns: int
    connection: Connection


class _View(NamedTuple):
    stamp_ns: int
    parts: dict[str, _Place]


class RosBagDataset(Dataset):
    """A bag. Opening it reads transforms, intrinsics and told text, and where the images are.

    Views before the first and after the last transform of their frame are left out; `notes` says how many.

    Args:
        path: An .mcap or .db3 file, or a folder of rosbag2.
        options: Topics, world frame, tolerance.

    Raises:
        DatasetError: It is damaged, there is no view in it (the message says what is missing), or a topic is not clear.
        MissingDependency: rosbags is not installed.
    """

    def __init__(self, path: str | Path, options: RosBagOptions | None = None) -> None:
        self.name = Path(path).name
        self.options = options or RosBagOptions()
        self.notes: list[str] = []
        self.transforms = TransformTree(history_s=None, max_samples=None)
        self._cameras: list[tuple[int, PinholeCamera]] = []
        self._told: list[tuple[int, str]] = []
        self._lock = threading.Lock()
        self._reader = _open(Path(path))
        self.topics = choose_topics(self._reader, self.options, str(path))
        places = self._scan(str(path))
        self.world_frame = self._choose_world()
        self._views = self._covered(self._match(places), str(path))
        self._stamps_ns = np.array([view.stamp_ns for view in self._views], dtype=np.int64)
        self.camera = self._cameras[0][1] if self._cameras else None

    def __len__(self) -> int:
        return len(self._views)

    def stamps_ns(self) -> NDArray[np.int64]:
        """(N,) int64 time stamps, ns."""
        return np.array(self._stamps_ns, dtype=np.int64)

    def events(self, i: int) -> tuple[Event, ...]:
        """What was told after frame i - 1 and before frame i."""
        check_index(i, len(self) + 1, self.name)
        begin = -1 if i == 0 else int(self._stamps_ns[i - 1])
        end = int(self._stamps_ns[i]) if i < len(self) else 2**63
        return tuple(
            Event(stamp_ns=stamp, kind="told", text=text, source="user", agent="user")
            for stamp, text in self._told
            if begin < stamp <= end and text.strip()
        )

    def read(self, i: int) -> Percept:
        """View i; see `Dataset.read`."""
        view = self._views[check_index(i, len(self), self.name)]
        where = f"{self.name}: view {i} at {view.stamp_ns} ns"
        try:
            parts = {key: self._message(place) for key, place in view.parts.items()}
            frame = next(iter(parts.values())).header.frame_id
            pose = self.transforms.lookup(self.world_frame, frame, view.stamp_ns)
            if "points" in parts:
                points = convert.cloud_to_points(parts["points"])
                return Percept(stamp_ns=view.stamp_ns, T_world_sensor=pose, points=points, agent="lidar")
            found = parts.get("detections")
            trust = self.options.detection_ids_are_instances
            return Percept(
                stamp_ns=view.stamp_ns,
                T_world_sensor=pose,
                camera=self._camera_at(view.stamp_ns),
                depth=convert.image_to_array(parts["depth"]) if "depth" in parts else None,
                rgb=convert.image_to_array(parts["rgb"]) if "rgb" in parts else None,
                detections=() if found is None else convert.detections_from_array(found, ids_are_instances=trust),
            )
        except InvalidInput as error:
            raise DatasetError(f"{where}: {error}") from error

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._lock:
            if self._reader.stack:
                self._reader.close()

    def __del__(self) -> None:
        if hasattr(self, "_reader"):
            self.close()

    def _message(self, place: _Place) -> Any:
        with self._lock:
            found = self._reader.messages([place.connection], start=place.logged_ns, stop=place.logged_ns + 1)
            for connection, _, raw in found:
                if convert.raw_header_stamp(raw) == place.stamp_ns:
                    return self._reader.deserialize(raw, connection.msgtype)
        raise DatasetError(f"{place.connection.topic}: the message of {place.stamp_ns} ns is gone")

    def _camera_at(self, stamp_ns: int) -> PinholeCamera:
        """The intrinsics that came last, or the first ones for what was before."""
        at = bisect_left(self._cameras, stamp_ns + 1, key=lambda item: item[0])
        return self._cameras[max(at - 1, 0)][1]

    def _scan(self, path: str) -> dict[str, list[_Place]]:
        """Read what is small, and note where the rest lies."""
        small: dict[str, Callable[[Any], None]] = {
            "camera_info": self._note_camera,
            "odometry": self.transforms.add_odometry,
            "tf": self.transforms.add_message,
            "tf_static": lambda m: self.transforms.add_message(m, static=True),
        }
        role = {topic: key for key, topic in self.topics._asdict().items() if topic}
        wanted = [c for c in self._reader.connections if c.topic in role]
        places: dict[str, list[_Place]] = {key: [] for key in ("depth", "rgb", "detections", "points")}
        try:
            for connection, logged_ns, raw in self._reader.messages(wanted):
                key = role[connection.topic]
                if key in places:
                    places[key].append(_Place(convert.raw_header_stamp(raw), logged_ns, connection))
                    continue
                message: Any = self._reader.deserialize(raw, connection.msgtype)
                if key == "told":
                    self._told.append((logged_ns, str(message.data)))
                else:
                    small[key](message)
        except InvalidInput as error:
            raise DatasetError(f"{path}: {connection.topic}: {error}") from error
        except Exception as error:  # rosbags lets errors of zstd, struct and the file through
            raise DatasetError(f"{path}: the bag is damaged or cut off: {error}") from error
        self._told.sort()
        for key in places:
            places[key].sort(key=lambda place: place[:2])
        return places

    def _note_camera(self, message: Any) -> None:
        camera = convert.camera_from_info(message)
        if not self._cameras or self._cameras[-1][1] != camera:
            self._cameras.append((convert.stamp_to_ns(message.header.stamp), camera))

    def _choose_world(self) -> str:
        frames = self.transforms.frames()
        if self.options.world_frame:
            if self.options.world_frame not in frames:
                known = ", ".join(sorted(frames)) or "none"
                raise DatasetError(f"{self.name}: wanted the frame {self.options.world_frame!r}; the bag has {known}")
            return self.options.world_frame
        return next((name for name in ("map", "world", "odom") if name in frames), next(iter(sorted(frames)), "map"))

    def _match(self, places: dict[str, list[_Place]]) -> list[_View]:
        """A view for each depth image (or colour image) with what is nearest to it, and one for each cloud."""
        pivot = "depth" if places["depth"] else "rgb"
        slop = int(self.options.slop_s * 1e9)
        views = [_View(place.stamp_ns, {"points": place}) for place in places["points"]]
        alone = 0
        for place in places[pivot]:
            parts = {pivot: place}
            for key in ("rgb", "detections"):
                near = _nearest(places[key], place.stamp_ns) if key != pivot else None
                if near is not None and abs(near.stamp_ns - place.stamp_ns) <= slop:
                    parts[key] = near
            alone += pivot == "depth" and bool(places["rgb"]) and "rgb" not in parts
            views.append(_View(place.stamp_ns, parts))
        if alone:
            self.notes.append(f"{alone} depth images have no colour image within {self.options.slop_s:g} s")
        return sorted(views, key=lambda view: view.stamp_ns)

    def _covered(self, views: list[_View], path: str) -> list[_View]:
        """The views whose pose is known; at least one, or an error that says why there is none."""
        frames: dict[str, str] = {}
        kept: list[_View] = []
        why = ""
        for view in views:
            pivot = next(iter(view.parts.values()))
            topic = pivot.connection.topic
            if topic not in frames:
                frames[topic] = self._message(pivot).header.frame_id
            try:
                self.transforms.lookup(self.world_frame, frames[topic], view.stamp_ns)
                kept.append(view)
            except TransformError as error:
                why = why or str(error)
        if not kept:
            raise DatasetError(f"{path}: none of its {len(views)} views has a pose: {why}")
        if len(kept) < len(views):
            self.notes.append(f"{len(views) - len(kept)} of {len(views)} views have no pose and are left out: {why}")
        if any("points" not in view.parts for view in kept) and not self._cameras:
            raise DatasetError(
                f"{path}: {self.topics.camera_info} holds no message: the camera's intrinsics are missing"
            )
        return kept


def read_transforms(path: str | Path) -> TransformTree:
    """All transforms of a bag, odometry included, also of one that has nothing to see.

    Raises:
        DatasetError: It is no bag, or damaged.
        MissingDependency: rosbags is not installed.
    """
    tree = TransformTree(history_s=None, max_samples=None)
    add = {
        ("tf2_msgs/msg/TFMessage", False): tree.add_message,
        ("tf2_msgs/msg/TFMessage", True): lambda message: tree.add_message(message, static=True),
        ("nav_msgs/msg/Odometry", False): tree.add_odometry,
    }
    reader = _open(Path(path))
    try:
        wanted = [c for c in reader.connections if c.msgtype in {kind for kind, _ in add}]
        for connection, _, raw in reader.messages(wanted) if wanted else ():
            static = connection.topic.endswith("tf_static")
            add[connection.msgtype, static](reader.deserialize(raw, connection.msgtype))
    except InvalidInput as error:
        raise DatasetError(f"{path}: {error}") from error
    finally:
        reader.close()
    return tree


def _nearest(places: list[_Place], stamp_ns: int) -> _Place | None:
    at = bisect_left(places, (stamp_ns,))
    return min(places[max(at - 1, 0) : at + 1], key=lambda p: abs(p.stamp_ns - stamp_ns), default=None)


def _open(path: Path) -> AnyReader:
    require_rosbags("A ROS 2 bag")
    from rosbags.highlevel import AnyReader

    try:
        reader = AnyReader([path], default_typestore=type_store())
        reader.open()
    except Exception as error:  # rosbags lets errors of the file, YAML and struct through
        raise DatasetError(f"{path}: wanted a ROS 2 bag: {error}") from error
    return reader


__all__ = ["WANTED", "RosBagDataset", "RosBagOptions", "Topics", "read_transforms", "recognises"]
