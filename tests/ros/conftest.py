"""Without rosbags (extra `ros`) none of these tests can be collected."""

import importlib.util
import os

if importlib.util.find_spec("rosbags") is None:
    collect_ignore_glob = ["*.py"]

# Every process of these tests sends on the loopback interface, wherever they run.
os.environ.setdefault(
    "CYCLONEDDS_URI",
    '<CycloneDDS><Domain><General><Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces></General></Domain>'
    "</CycloneDDS>",
)
