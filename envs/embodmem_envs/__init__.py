"""Environments whose agents remember: `EmbodMem/House-v0`, adapters and wrappers. Importing this registers them."""

from __future__ import annotations

try:
    import gymnasium
except ModuleNotFoundError as error:
    from embodmem.errors import MissingDependency

    raise MissingDependency("gymnasium", "envs", "embodmem_envs") from error

from embodmem_envs.adapter import Adapter, HouseAdapter
from embodmem_envs.house import Action, HouseConfig, HouseEnv
from embodmem_envs.observation import MemoryObservation, PreviousAction

__all__ = ["Action", "Adapter", "HouseAdapter", "HouseConfig", "HouseEnv", "MemoryObservation", "PreviousAction"]

_SINGLE = {"EmbodMem/House-v0": "embodmem_envs.house:HouseEnv"}
_VECTOR = {
    "EmbodMem/TMaze-v0": "TMazeVec",
    "EmbodMem/RepeatPrevious-v0": "RepeatPreviousVec",
    "EmbodMem/RepeatFirst-v0": "RepeatFirstVec",
    "EmbodMem/MemoryMaze-v0": "MemoryMazeVec",
}

for _id, _entry in _SINGLE.items():
    if _id not in gymnasium.registry:
        gymnasium.register(id=_id, entry_point=_entry)
for _id, _entry in _VECTOR.items():
    if _id not in gymnasium.registry:
        gymnasium.register(id=_id, vector_entry_point=f"embodmem_envs.diagnostics:{_entry}")
