"""The colcon package: its entry point starts `embodmem_ros.rclpy_node`."""
