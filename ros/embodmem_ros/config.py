"""All settings of the node, with their defaults. YAML only overrides; an unknown key is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from embodmem.config import Config, config_from
from embodmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TopicConfig:
    """Names of topics; an empty name leaves one out. Relative names get the node's namespace."""

    rgb: str = "/camera/color/image_raw"
    """sensor_msgs/Image, rgb8 or bgr8, of the same size and place as the depth image."""
    depth: str = "/camera/aligned_depth_to_color/image_raw"
    """sensor_msgs/Image, 16UC1 millimetres or 32FC1 metres."""
    camera_info: str = "/camera/color/camera_info"
    """sensor_msgs/CameraInfo of both images."""
    detections: str = ""
    """vision_msgs/Detection2DArray, one for each colour image, with its stamp."""
    points: str = ""
    """sensor_msgs/PointCloud2 of a lidar."""
    odometry: str = ""
    """nav_msgs/Odometry; taken as a transform where /tf does not tell of its child frame."""
    told: str = "~/told"
    """std_msgs/String: what the memory is told."""
    tf: str = "/tf"
    """tf2_msgs/TFMessage."""
    tf_static: str = "/tf_static"
    """tf2_msgs/TFMessage."""
    octomap: str = "~/octomap"
    """octomap_msgs/Octomap that is given out."""
    grid: str = "~/map"
    """nav_msgs/OccupancyGrid that is given out."""
    markers: str = "~/objects"
    """visualization_msgs/MarkerArray that is given out."""
    diagnostics: str = "/diagnostics"
    """diagnostic_msgs/DiagnosticArray that is given out."""


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How messages become views of the memory."""

    world_frame: str = "map"
    """The frame that the memory calls its world (REP 105); z up."""
    slop_s: float = 0.02
    """Stamps of images and detections that belong together differ by at most this, seconds."""
    queue: int = 90
    """The most messages that wait in each stream for their partners, and views that wait for transforms or to be
    written; when one more comes, the oldest is dropped and counted."""
    tf_wait_s: float = 1.0
    """A view whose transform has not come after this time is dropped, seconds."""
    tf_history_s: float = 30.0
    """Transforms are kept this long, seconds of stamps."""
    batch: int = 8
    """The most views that are written in one transaction."""
    detection_ids_are_instances: bool = False
    """Whole numbers in a detection's id name one and the same object for ever (a simulator's, not a tracker's)."""


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is given out."""

    period_s: float = 1.0
    """Map, grid, objects and diagnostics are given out this often, seconds, where they changed."""
    grid_z_min_m: float = 0.1
    """Lower end of the heights that count as obstacles in the grid, metres in the world."""
    grid_z_max_m: float = 1.8
    """Upper end of these heights."""


@dataclass(frozen=True, kw_only=True)
class QosConfig:
    """Quality of service of the sensor topics; /tf, /tf_static and what is given out follow ROS conventions."""

    reliability: str = "best_effort"
    """"best_effort" takes any sensor; "reliable" loses nothing, and hears only reliable publishers."""
    depth: int = 10
    """History of a subscription, messages."""


@dataclass(frozen=True, kw_only=True)
class DdsConfig:
    """The pip shell's network. rclpy has its own settings for these."""

    domain_id: int = -1
    """ROS_DOMAIN_ID; -1 takes that variable of the environment, or 0."""
    localhost_only: bool = False
    """Only nodes on this machine, without multicast; those of ROS need ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST."""


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """The node. `configs/ros_*.yaml` are examples."""

    memory_file: str = "memory.mem"
    """The memory's file; made where there is none."""
    name: str = "embodmem"
    """Name of the node."""
    namespace: str = "/"
    """Its namespace."""
    topics: TopicConfig = field(default_factory=TopicConfig)
    input: InputConfig = field(default_factory=InputConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    qos: QosConfig = field(default_factory=QosConfig)
    dds: DdsConfig = field(default_factory=DdsConfig)
    memory: Config = field(default_factory=Config)
    """Settings of the memory itself, as `embodmem config` prints them."""

    def __post_init__(self) -> None:
        if self.qos.reliability not in ("reliable", "best_effort"):
            raise ConfigError(f"qos.reliability: wanted reliable or best_effort, got {self.qos.reliability!r}")
        if not self.namespace.startswith("/") or not self.name.isidentifier():
            raise ConfigError(f"wanted a name like embodmem and a namespace like /robot, got {self.name!r}, "
                              f"{self.namespace!r}")  # fmt: skip
        if self.input.queue < 1 or self.input.batch < 1 or self.qos.depth < 1:
            raise ConfigError("wanted input.queue, input.batch and qos.depth of 1 or more")
        if not (self.output.period_s > 0 and self.output.grid_z_max_m > self.output.grid_z_min_m):
            raise ConfigError("wanted output.period_s > 0 and output.grid_z_max_m > output.grid_z_min_m")
        if self.topics.depth and not self.topics.camera_info:
            raise ConfigError("topics.camera_info: wanted a topic for the intrinsics of topics.depth, got none")

    def full_name(self, topic: str) -> str:
        """A topic's or service's name with namespace and node name put in, as ROS expands names."""
        base = self.namespace.rstrip("/")
        if topic.startswith("~/"):
            return f"{base}/{self.name}/{topic[2:]}"
        return topic if topic.startswith("/") else f"{base}/{topic}"


def load_node_config(path: str | Path) -> NodeConfig:
    """Read a YAML file of overrides.

    Raises:
        ConfigError: The file is missing or no YAML, or holds an unknown key or a value that is not as wanted.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: wanted a YAML file of settings: {error}") from error
    return config_from(values, NodeConfig, where=str(path))
