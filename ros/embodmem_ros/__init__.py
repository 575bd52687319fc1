"""The memory as a ROS 2 node. Nothing is here yet but the name; docs/systems.md says what comes."""
