"""The memory as a ROS 2 node: a service that knows no ROS, and two shells around it.

`service.MemoryService` takes messages and gives answers and maps. `dds` is a shell that needs no ROS (extra `dds`);
`rclpy_node` is one for a sourced ROS 2. Both open what `ports` lists. docs/ros.md says how to start them.
"""

from embodmem_ros.config import NodeConfig, load_node_config
from embodmem_ros.service import MemoryService
from embodmem_ros.sync import Match, Synchroniser
from embodmem_ros.transforms import TransformError, TransformTree

__all__ = [
    "Match",
    "MemoryService",
    "NodeConfig",
    "Synchroniser",
    "TransformError",
    "TransformTree",
    "load_node_config",
]
