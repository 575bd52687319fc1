"""The shell that needs no ROS: cyclonedds for the network, rosbags for definitions and serialisation."""

from embodmem_ros.dds.node import DdsNode
from embodmem_ros.dds.participant import Client, Participant, Publisher, ServiceTimeout

__all__ = ["Client", "DdsNode", "Participant", "Publisher", "ServiceTimeout"]
