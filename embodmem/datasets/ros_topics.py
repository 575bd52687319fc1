"""Which topics of a bag are what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from embodmem.datasets.ros_messages import DEPTH_ENCODINGS, RGB_ENCODINGS
from embodmem.errors import DatasetError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

    from embodmem.datasets.ros_bag import RosBagOptions

_TYPES = {
    "rgb": "sensor_msgs/msg/Image",
    "depth": "sensor_msgs/msg/Image",
    "camera_info": "sensor_msgs/msg/CameraInfo",
    "detections": "vision_msgs/msg/Detection2DArray",
    "points": "sensor_msgs/msg/PointCloud2",
    "odometry": "nav_msgs/msg/Odometry",
    "told": "std_msgs/msg/String",
}


class Topics(NamedTuple):
    """Topics by what they are; "" where there is none."""

    rgb: str
    depth: str
    camera_info: str
    detections: str
    points: str
    odometry: str
    told: str
    tf: str
    tf_static: str


def choose_topics(reader: AnyReader, options: RosBagOptions, path: str) -> Topics:
    """The topics that are asked for, and for the others those of the right type.

    Raises:
        DatasetError: A topic asked for is not there or of another type, several could be meant, or there is neither
            an image that can be read nor a point cloud.
    """
    types = {connection.topic: connection.msgtype for connection in reader.connections if connection.msgcount}
    encodings = _encodings(reader, [topic for topic, kind in types.items() if kind == _TYPES["rgb"]])
    chosen: dict[str, str] = {}
    for key, kind in _TYPES.items():
        asked = getattr(options, key)
        if asked == "none":
            chosen[key] = ""
        elif asked:
            if types.get(asked) != kind:
                raise DatasetError(f"{path}: {key}: wanted a topic of {kind}, got {asked!r}: {_listed(types)}")
            chosen[key] = asked
        elif key in ("rgb", "depth"):
            kinds = RGB_ENCODINGS if key == "rgb" else DEPTH_ENCODINGS
            chosen[key] = _one(path, key, [topic for topic, code in encodings.items() if code in kinds])
        elif key == "camera_info":
            chosen[key] = _camera_info(path, [t for t, k in types.items() if k == kind], chosen)
        elif key == "points" and chosen["depth"]:
            chosen[key] = ""
        elif key == "told":
            chosen[key] = next((t for t, k in types.items() if k == kind and t.endswith("told")), "")
        else:
            chosen[key] = _one(path, key, [topic for topic, k in types.items() if k == kind])
    _check(path, types, encodings, chosen)
    return Topics(**chosen, **{key: f"/{key}" if f"/{key}" in types else "" for key in ("tf", "tf_static")})


def _encodings(reader: AnyReader, topics: list[str]) -> dict[str, str]:
    """Topic -> encoding of its first image."""
    found = {}
    for topic in topics:
        connections = [connection for connection in reader.connections if connection.topic == topic]
        for connection, _, raw in reader.messages(connections):
            image: Any = reader.deserialize(raw, connection.msgtype)
            found[topic] = str(image.encoding)
            break
    return found


def _one(path: str, key: str, topics: list[str]) -> str:
    """The only topic; of several the one that is registered to the colour camera."""
    if len(topics) > 1 and key == "depth":
        registered = [topic for topic in topics if "aligned" in topic or "registered" in topic]
        topics = registered or topics
    if len(topics) > 1:
        raise DatasetError(f"{path}: {key}: several topics could be meant: {', '.join(sorted(topics))}; name one")
    return topics[0] if topics else ""


def _camera_info(path: str, topics: list[str], chosen: dict[str, str]) -> str:
    """The one beside the depth images, else beside the colour images, else the only one."""
    for key in ("depth", "rgb"):
        beside = chosen[key].rpartition("/")[0] + "/camera_info"
        if chosen[key] and beside in topics:
            return beside
    return _one(path, "camera_info", topics)


def _check(path: str, types: dict[str, str], encodings: dict[str, str], chosen: dict[str, str]) -> None:
    images = chosen["depth"] or chosen["rgb"]
    if not images and not chosen["points"]:
        other = [f"{topic} is {code}, which is not read" for topic, code in encodings.items()]
        other += [f"{topic} is compressed, which is not read yet" for topic, k in types.items() if "Compressed" in k]
        got = "; ".join(["got none", *other])
        raise DatasetError(
            f"{path}: no camera and no lidar: wanted depth or colour images (sensor_msgs/msg/Image) or point clouds "
            f"(sensor_msgs/msg/PointCloud2), {got}: {_listed(types)}"
        )
    if images and not chosen["camera_info"]:
        raise DatasetError(
            f"{path}: {images}: the camera's intrinsics are missing: wanted a topic of sensor_msgs/msg/CameraInfo: "
            f"{_listed(types)}"
        )
    if not {"/tf", "/tf_static"} & types.keys() and not chosen["odometry"]:
        raise DatasetError(f"{path}: poses are missing: wanted /tf, /tf_static or odometry: {_listed(types)}")


def _listed(types: dict[str, str]) -> str:
    listed = ", ".join(f"{topic} ({kind.rpartition('/')[2]})" for topic, kind in sorted(types.items()))
    return f"the bag has {listed or 'no messages'}"
