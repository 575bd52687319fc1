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

_SINGLE = {"House": "house:HouseEnv", "ObjectRecall": "object_recall:ObjectRecallEnv"}
_VECTOR = {
    "TMaze": "diagnostics:TMazeVec",
    "RepeatPrevious": "diagnostics:RepeatPreviousVec",
    "RepeatFirst": "diagnostics:RepeatFirstVec",
    "MemoryMaze": "diagnostics:MemoryMazeVec",
    "ObjectRecall": "object_recall:ObjectRecallVec",
}


def _register(name: str) -> None:
    entries = {
        key: f"{__name__}.{table[name]}"
        for key, table in (("entry_point", _SINGLE), ("vector_entry_point", _VECTOR))
        if name in table
    }
    if f"EmbodMem/{name}-v0" not in gymnasium.registry:
        gymnasium.register(id=f"EmbodMem/{name}-v0", **entries)  # type: ignore[arg-type]


for _name in dict.fromkeys((*_SINGLE, *_VECTOR)):
    _register(_name)
