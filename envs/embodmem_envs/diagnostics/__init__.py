"""Small vectorised tasks that tell what a policy can hold in mind; plain numpy, no simulator."""

from embodmem_envs.diagnostics.base import DiagnosticVec
from embodmem_envs.diagnostics.maze import MemoryMazeVec
from embodmem_envs.diagnostics.repeat import RepeatFirstVec, RepeatPreviousVec
from embodmem_envs.diagnostics.tmaze import TMazeVec

__all__ = ["DiagnosticVec", "MemoryMazeVec", "RepeatFirstVec", "RepeatPreviousVec", "TMazeVec"]
