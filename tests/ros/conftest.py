"""Without rosbags (extra `ros`) none of these tests can be collected."""

import importlib.util

if importlib.util.find_spec("rosbags") is None:
    collect_ignore_glob = ["*.py"]
