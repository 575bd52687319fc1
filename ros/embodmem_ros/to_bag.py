"""A recording as a ROS 2 bag: ``python -m embodmem_ros.to_bag FOLDER OUT.mcap``.

The bag holds what a robot would send: colour and depth images, their intrinsics, detections, points, the camera's
pose on /tf, and events as told text. Of a segmentation the boxes go in, as detections with the instance as their id
(`detection_ids_are_instances` takes them so). Captions and embeddings have no place in these messages.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from embodmem.datasets import Dataset, experiences, open_dataset, ros_bag
from embodmem.datasets.ros_definitions import require_rosbags, type_store
from embodmem.errors import EmbodmemError, InvalidInput
from embodmem.types import Event, Percept
from embodmem_ros import messages
from embodmem_ros.bag_messages import encode
from embodmem_ros.messages import Plain

CAMERA_FRAME, LIDAR_FRAME = "camera_optical_frame", "lidar"
TOLD = "/embodmem/told"


class Spoken(NamedTuple):
    """A message: topic, type and content."""

    topic: str
    type: str
    content: Plain


def speak(experience: Percept | Event, world_frame: str = "map") -> Iterator[Spoken]:
    """The messages that a robot would send for a percept or an event, /tf first.

    Depth becomes 16UC1 where it is whole millimetres, else 32FC1.
    """
    stamp = experience.stamp_ns
    if isinstance(experience, Event):
        yield Spoken(TOLD, "std_msgs/msg/String", {"data": experience.text})
        return
    frame = LIDAR_FRAME if experience.camera is None else CAMERA_FRAME
    pose = messages.transform(world_frame, frame, experience.T_world_sensor, stamp)
    yield Spoken("/tf", "tf2_msgs/msg/TFMessage", messages.transforms(pose))
    if experience.points is not None:
        yield Spoken("/points", "sensor_msgs/msg/PointCloud2", messages.cloud(experience.points, stamp, frame))
    if experience.camera is None:
        return
    info = messages.camera_info(experience.camera, stamp, frame)
    yield Spoken("/camera/color/camera_info", "sensor_msgs/msg/CameraInfo", info)
    if experience.rgb is not None:
        image = messages.image(experience.rgb, stamp, frame)
        yield Spoken("/camera/color/image_raw", "sensor_msgs/msg/Image", image)
    if experience.depth is not None:
        millimetres = np.round(experience.depth * np.float32(1000)).astype(np.uint32)
        whole = millimetres.max(initial=0) < 65536
        whole = whole and np.array_equal(millimetres.astype(np.float32) * np.float32(1e-3), experience.depth)
        pixels = millimetres.astype(np.uint16) if whole else experience.depth
        image = messages.image(pixels, stamp, frame)
        yield Spoken("/camera/aligned_depth_to_color/image_raw", "sensor_msgs/msg/Image", image)
    found = experience.detections
    if experience.segmentation is not None:
        found += messages.detections_from_segmentation(experience.segmentation, experience.labels)
    yield Spoken("/detections", "vision_msgs/msg/Detection2DArray", messages.detection_array(found, stamp, frame))


def open_recording(path: Path) -> Dataset:
    """A recording to be sent on: a bag keeps the ids of its detections.

    Raises:
        DatasetError: It cannot be read.
    """
    return open_dataset(path, options={"detection_ids_are_instances": True} if ros_bag.recognises(path) else None)


def write_bag(dataset: Dataset, out: str | Path, *, stop: int | None = None) -> int:
    """Write a recording as an MCAP file, or as a rosbag2 folder when `out` does not end in .mcap.

    Args:
        dataset: The recording.
        out: What to make; it must not exist.
        stop: One past the last frame; None for all.

    Returns:
        How many messages were written.

    Raises:
        InvalidInput: `out` exists.
        MissingDependency: rosbags is not installed.
    """
    require_rosbags("Writing a bag")
    from rosbags.rosbag2 import StoragePlugin, Writer

    out = Path(out)
    if out.exists():
        raise InvalidInput(f"{out}: it exists")
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".bag-") as folder:
        made = Path(folder) / out.stem
        count = 0
        connections: dict[tuple[str, str], Any] = {}
        with Writer(made, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for experience in experiences(dataset, stop=stop):
                for topic, kind, content in speak(experience):
                    if (topic, kind) not in connections:
                        connections[topic, kind] = writer.add_connection(topic, kind, typestore=type_store())
                    writer.write(connections[topic, kind], experience.stamp_ns, encode(kind, content))
                    count += 1
        shutil.move(made / f"{out.stem}.mcap" if out.suffix == ".mcap" else made, out)
    return count


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m embodmem_ros.to_bag", description="A recording as a ROS 2 bag.")
    parser.add_argument("folder", type=Path, help="a recording that `embodmem build` takes")
    parser.add_argument("out", type=Path, help="OUT.mcap, or a folder to make")
    parser.add_argument("--stop", type=int, default=None, help="only so many frames")
    chosen = parser.parse_args(arguments)
    try:
        count = write_bag(open_recording(chosen.folder), chosen.out, stop=chosen.stop)
    except EmbodmemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{chosen.out}: {count} messages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
