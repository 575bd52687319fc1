"""A tour of a small room as percepts and as the messages that a robot would send."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from embodmem.config import Config, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.geometry import inverse, pose_from_quat
from embodmem.types import Percept
from embodmem_ros import NodeConfig, messages
from embodmem_ros.config import DdsConfig, InputConfig, QosConfig, TopicConfig
from embodmem_ros.messages import Plain
from tests.embodmem.spatial.scene_room import Box, eyes, percept, room

FRAMES = 12
CAMERA_FRAME = "camera_optical_frame"
MUG, BOOK = (-0.5, 0.9, 0.80), (0.4, 1.0, 0.78)
T_BASE_CAMERA = pose_from_quat((0.1, 0.0, 1.2), (-0.5, 0.5, -0.5, 0.5))
MEMORY = Config(encoder="hashing", spatial=SpatialConfig(voxel_size_m=0.05, budget_mib=13.704))
TYPES = {
    "tf": "tf2_msgs/msg/TFMessage",
    "tf_static": "tf2_msgs/msg/TFMessage",
    "camera_info": "sensor_msgs/msg/CameraInfo",
    "rgb": "sensor_msgs/msg/Image",
    "depth": "sensor_msgs/msg/Image",
    "detections": "vision_msgs/msg/Detection2DArray",
    "points": "sensor_msgs/msg/PointCloud2",
    "odometry": "nav_msgs/msg/Odometry",
    "told": "std_msgs/msg/String",
}


def domain(number: int) -> int:
    """A ROS domain that other test runs on this machine hardly use; 0..101 keep clear of Linux's own ports."""
    return 2 + 3 * (os.getpid() % 33) + number


def config(memory_file: str = "", **dds: object) -> NodeConfig:
    """Settings of a node that takes this tour."""
    return NodeConfig(
        memory_file=memory_file,
        topics=TopicConfig(detections="/detections", points="/points", odometry="/odom"),
        input=InputConfig(slop_s=0.01),
        qos=QosConfig(reliability="reliable", depth=50),
        dds=DdsConfig(localhost_only=True, **dds),  # type: ignore[arg-type]
        memory=MEMORY,
    )


def tour() -> list[Percept]:
    """Views of a table with a mug and a book."""
    things = room() | {5: Box("mug", MUG, (0.09, 0.09, 0.1)), 6: Box("book", BOOK, (0.2, 0.15, 0.06))}
    views = [percept(things, 10 + i, "box", eyes(FRAMES)[i], (0.0, 1.0, 0.75)) for i in range(FRAMES)]
    return [replace(view, rgb=np.full((*view.depth.shape, 3), 90 + i, np.uint8)) for i, view in enumerate(views)]


def spoken(view: Percept) -> Iterator[tuple[str, Plain]]:
    """The messages of a view, key of the topic and content; the body's pose goes over map, odom and base_link."""
    stamp, frame = view.stamp_ns, CAMERA_FRAME
    T_odom_base = view.T_world_sensor @ inverse(T_BASE_CAMERA)
    yield "tf", messages.transforms(messages.transform("odom", "base_link", T_odom_base, stamp))
    yield "camera_info", messages.camera_info(view.camera, stamp, frame)
    yield "rgb", messages.image(view.rgb, stamp, frame)
    yield "depth", messages.image(view.depth, stamp, frame)
    yield "detections", messages.detection_array(view.detections, stamp, frame)


def standing() -> Plain:
    """What /tf_static says."""
    return messages.transforms(
        messages.transform("map", "odom", np.eye(4), 0),
        messages.transform("base_link", CAMERA_FRAME, T_BASE_CAMERA, 0),
    )


def same_memory(a: EmbodiedMemory, b: EmbodiedMemory, exact: bool = False) -> None:
    """Assert the same bricks and the same objects; to the last bit, or up to the rounding of poses."""
    tolerance = 0.0 if exact else 1e-6
    ours, theirs = ({int(k): v for k, v in zip(m.spatial.octree.bricks().keys, m.spatial.octree.bricks().log_odds,
                                               strict=True)} for m in (a, b))  # fmt: skip
    assert ours.keys() == theirs.keys()
    worst = 0
    for key, values in ours.items():
        worst += int(np.count_nonzero(~np.isclose(values, theirs[key], rtol=0, atol=tolerance, equal_nan=True)))
    assert worst <= (0 if exact else 1e-4 * 512 * len(ours)), f"{worst} of {512 * len(ours)} voxels differ"
    mine, others = (sorted(m.scene.objects(), key=lambda o: int(o.id.split(":")[1])) for m in (a, b))
    assert [(o.label, o.data["sightings"], o.first_seen_ns, o.last_seen_ns) for o in mine] == [
        (o.label, o.data["sightings"], o.first_seen_ns, o.last_seen_ns) for o in others
    ]
    for one, other in zip(mine, others, strict=True):
        np.testing.assert_allclose(one.position, other.position, rtol=0, atol=tolerance)
        np.testing.assert_allclose(one.data["extent"], other.data["extent"], rtol=0, atol=tolerance)
