"""Episodic memory: keyframes of what was seen and events of what was done, told or decided."""

from embodmem.episodic.memory import EpisodicMemory, Keyframe
from embodmem.episodic.reads import Visit

__all__ = ["EpisodicMemory", "Keyframe", "Visit"]
