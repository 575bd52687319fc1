"""Episodic memory: keyframes of what was seen, events of what was done, told or decided, and summaries of them."""

from embodmem.episodic.memory import EpisodicMemory, Keyframe
from embodmem.episodic.notes import Note
from embodmem.episodic.places import Place
from embodmem.episodic.reads import Visit
from embodmem.episodic.segments import Segment
from embodmem.episodic.summaries import Summaries
from embodmem.episodic.zoom import Chunk

__all__ = ["Chunk", "EpisodicMemory", "Keyframe", "Note", "Place", "Segment", "Summaries", "Visit"]
