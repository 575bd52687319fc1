"""ROS 2 message definitions and type stores, without ROS: what `rosbags` brings, and the packages that it does not."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from embodmem.errors import MissingDependency

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

DEFINITIONS = {
    "vision_msgs/msg/Point2D": "float64 x\nfloat64 y",
    "vision_msgs/msg/Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "vision_msgs/msg/BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "vision_msgs/msg/ObjectHypothesis": "string class_id\nfloat64 score",
    "vision_msgs/msg/ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose"
    ),
    "vision_msgs/msg/Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\nvision_msgs/BoundingBox2D bbox\n"
        "string id"
    ),
    "vision_msgs/msg/Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
    "octomap_msgs/msg/Octomap": ("std_msgs/Header header\nbool binary\nstring id\nfloat64 resolution\nint8[] data"),
    "std_srvs/srv/Trigger_Request": "uint8 structure_needs_at_least_one_member",
    "std_srvs/srv/Trigger_Response": "bool success\nstring message",
    "embodmem_msgs/msg/RecallItem": (
        "string kind\nstring id\nstring label\nstring text\nfloat64 score\nbool has_position\n"
        "geometry_msgs/Point position\nbuiltin_interfaces/Time first_seen\nbuiltin_interfaces/Time last_seen\n"
        "string[] evidence"
    ),
    "embodmem_msgs/srv/Recall_Request": "string text\nuint32 k\nstring[] labels\nstring[] kinds",
    "embodmem_msgs/srv/Recall_Response": (
        "bool success\nstring message\nstring answer\nembodmem_msgs/RecallItem[] items"
    ),
    "embodmem_msgs/srv/Remember_Request": "string text\nstring[] objects\nbuiltin_interfaces/Time stamp",
    "embodmem_msgs/srv/Remember_Response": "bool success\nstring message",
    "embodmem_msgs/srv/Forget_Request": "string[] labels\nstring[] ids\nstring[] kinds",
    "embodmem_msgs/srv/Forget_Response": "bool success\nstring message\nuint32 count",
}
"""Definitions by full name. `embodmem_msgs` stands here as in `ros/embodmem_msgs`, which a wheel does not hold; a test
holds the two together by their type hashes."""


def require_rosbags(why: str) -> None:
    """Raises: MissingDependency: rosbags is not installed."""
    try:
        import rosbags  # noqa: F401
    except ImportError as error:
        raise MissingDependency("rosbags", "ros", why) from error


@lru_cache(maxsize=1)
def type_store() -> Typestore:
    """The types of ROS 2 Jazzy and those of `DEFINITIONS`; shared, do not register into it.

    Raises:
        MissingDependency: rosbags is not installed.
    """
    require_rosbags("ROS 2 messages")
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name, text in DEFINITIONS.items():
        # rosbags knows messages only, and puts a "msg" into the names of requests and responses.
        types.update(
            {key.replace("/srv/msg/", "/srv/"): value for key, value in get_types_from_msg(text, name).items()}
        )
    store.register(types)
    return store
