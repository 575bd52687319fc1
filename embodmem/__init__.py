"""One memory for agents with a body: simulated agents, robots, and policies in training."""

from embodmem.ask import Answer, ask
from embodmem.config import Config, load_config
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import EmbodmemError
from embodmem.types import Detection, Event, Memory, Percept, PinholeCamera, Pose, Query, Recall

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Config",
    "Detection",
    "EmbodiedMemory",
    "EmbodmemError",
    "Event",
    "Memory",
    "Percept",
    "PinholeCamera",
    "Pose",
    "Query",
    "Recall",
    "ask",
    "load_config",
]
