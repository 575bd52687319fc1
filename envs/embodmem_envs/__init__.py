"""Environments whose agents remember: `EmbodMem/House-v0`, adapters and wrappers. Importing this registers them."""

from __future__ import annotations

try:
    import gymnasium
except ModuleNotFoundError as error:
    from embodmem.errors import MissingDependency

    raise MissingDependency("gymnasium", "envs", "embodmem_envs") from error

from embodmem_envs.adapter import Adapter, HouseAdapter
from embodmem_envs.house import Action, HouseConfig, HouseEnv
from embodmem_envs.observation import MemoryObservation

__all__ = ["Action", "Adapter", "HouseAdapter", "HouseConfig", "HouseEnv", "MemoryObservation"]

if "EmbodMem/House-v0" not in gymnasium.registry:
    gymnasium.register(id="EmbodMem/House-v0", entry_point="embodmem_envs.house:HouseEnv")
