"""The executable `memory`."""

import sys


def main() -> None:
    """Start the node; the code is in the pip package embodmem."""
    try:
        from embodmem_ros.rclpy_node import main as run
    except ModuleNotFoundError as error:
        if error.name not in ("embodmem", "embodmem_ros"):
            raise
        sys.exit("embodmem_node: the Python package embodmem is not installed for this Python: pip install embodmem")
    run()
