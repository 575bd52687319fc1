"""What both shells open: topics in and out and services, as tables over one `MemoryService`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from embodmem_ros.config import NodeConfig
from embodmem_ros.messages import Plain
from embodmem_ros.service import MemoryService


class Qos(NamedTuple):
    """Quality of service: whether it is reliable, kept for who comes later, and how many messages of history."""

    reliable: bool
    transient_local: bool
    depth: int


class Input(NamedTuple):
    """A subscription."""

    topic: str
    type: str
    handler: Callable[[Any], None]
    qos: Qos


class Output(NamedTuple):
    """A publisher; `name` is the key of `MemoryService.publications`."""

    name: str
    topic: str
    type: str
    qos: Qos


class Service(NamedTuple):
    """A service; the handler takes a request and gives the response as nested plain values."""

    name: str
    type: str
    handler: Callable[[Any], Plain]


SERVICE_QOS = Qos(reliable=True, transient_local=False, depth=10)
_LATCHED = Qos(reliable=True, transient_local=True, depth=1)
_TF = Qos(reliable=True, transient_local=False, depth=100)
_TF_STATIC = Qos(reliable=True, transient_local=True, depth=100)


def inputs(service: MemoryService) -> list[Input]:
    """The subscriptions that the settings ask for."""
    config = service.config
    sensor = Qos(config.qos.reliability == "reliable", False, config.qos.depth)
    told = Qos(reliable=True, transient_local=False, depth=10)
    table = (
        ("tf_static", "tf2_msgs/msg/TFMessage", service.on_tf_static, _TF_STATIC),
        ("tf", "tf2_msgs/msg/TFMessage", service.on_tf, _TF),
        ("odometry", "nav_msgs/msg/Odometry", service.on_odometry, sensor),
        ("camera_info", "sensor_msgs/msg/CameraInfo", service.on_camera_info, sensor),
        ("rgb", "sensor_msgs/msg/Image", service.on_rgb, sensor),
        ("detections", "vision_msgs/msg/Detection2DArray", service.on_detections, sensor),
        ("depth", "sensor_msgs/msg/Image", service.on_depth, sensor),
        ("points", "sensor_msgs/msg/PointCloud2", service.on_points, sensor),
        ("told", "std_msgs/msg/String", service.on_told, told),
    )
    named = [(getattr(config.topics, key), kind, handler, qos) for key, kind, handler, qos in table]
    return [Input(config.full_name(topic), kind, handler, qos) for topic, kind, handler, qos in named if topic]


def outputs(config: NodeConfig) -> list[Output]:
    """The publishers that the settings ask for."""
    table = (
        ("octomap", "octomap_msgs/msg/Octomap", _LATCHED),
        ("grid", "nav_msgs/msg/OccupancyGrid", _LATCHED),
        ("markers", "visualization_msgs/msg/MarkerArray", _LATCHED),
        ("diagnostics", "diagnostic_msgs/msg/DiagnosticArray", Qos(reliable=True, transient_local=False, depth=1)),
    )
    named = [(key, getattr(config.topics, key), kind, qos) for key, kind, qos in table]
    return [Output(key, config.full_name(topic), kind, qos) for key, topic, kind, qos in named if topic]


def services(service: MemoryService) -> list[Service]:
    """The services."""
    table = (
        ("recall", "embodmem_msgs/srv/Recall", service.handle_recall),
        ("remember", "embodmem_msgs/srv/Remember", service.handle_remember),
        ("forget", "embodmem_msgs/srv/Forget", service.handle_forget),
        ("save", "std_srvs/srv/Trigger", service.handle_save),
    )
    return [Service(service.config.full_name(f"~/{name}"), kind, handler) for name, kind, handler in table]
