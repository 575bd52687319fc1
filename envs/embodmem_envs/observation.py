"""MemoryObservation: a wrapper that fills a memory as the environment runs and shows it to the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.geometry import inverse, transform_points
from embodmem.types import Percept
from embodmem_envs.adapter import Adapter

FEATURES = 8
"""Numbers a row of `nearest_objects`."""

_EPISODES: WeakKeyDictionary[EmbodiedMemory, object] = WeakKeyDictionary()
"""Which wrapper began the episode that each memory holds."""


def nearest_objects(memory: EmbodiedMemory, percept: Percept, k: int) -> NDArray[np.float32]:
    """What the memory holds of the k objects nearest to the camera, as numbers for a policy.

    Returns:
        (k, 8) float32, nearest first, rows of zeros where there are fewer: x, y, z of the object in the camera's
        frame (metres), its extent in the world (3, metres), seconds since it was last seen, and 1 where a row is an
        object that is still in its place, 0.5 where it has vanished from there.
    """
    rows = np.zeros((k, FEATURES), dtype=np.float32)
    found = memory.scene.objects(near=percept.T_world_sensor[:3, 3], k=k)
    if not found:
        return rows
    places = np.array([item.position for item in found])
    rows[: len(found), :3] = transform_points(inverse(percept.T_world_sensor), places)
    rows[: len(found), 3:6] = [item.data["extent"] for item in found]
    rows[: len(found), 6] = [(percept.stamp_ns - item.last_seen_ns) * 1e-9 for item in found]
    rows[: len(found), 7] = [0.5 if item.data["vanished"] else 1.0 for item in found]
    return rows


class MemoryObservation(gymnasium.Wrapper[dict[str, Any], Any, Any, Any]):
    """Writes every observation to a memory and adds what the memory holds to the observation.

    A dict observation gains the key "memory"; any other becomes {"obs": ..., "memory": ...}. What the adapter reports
    as events (a pick, a place) is written, too.

    Every environment needs a memory of its own. In a vector environment, wrap the single environments, and give a
    function that makes a memory:

        gymnasium.make_vec(id, num_envs=4, wrappers=[lambda env: MemoryObservation(env, EmbodiedMemory, adapter())])

    An episode begins where the vector environment calls `reset` of the single one, be that in the step that ended the
    last one (SAME_STEP), in the step after (NEXT_STEP) or when told (DISABLED); so with `clear_on_reset` the memory
    never holds percepts of two episodes, and `final_obs` still shows that of the old one.

    Args:
        env: The environment.
        memory: The memory to fill; it stays the caller's to close. Or a function that makes one (`EmbodiedMemory`
            itself is one), which `close` then closes.
        adapter: Turns observation and info into a Percept.
        k: Rows of the features.
        clear_on_reset: Begin every episode with an empty memory. With False it lasts over episodes, which is right
            only where the world stays the same; time then goes on from episode to episode.
        features: (memory, percept, k) -> (k, 8) float32; `nearest_objects` by default.

    Raises:
        InvalidInput: `k` is below 1, or the observation has a key "memory" already.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        memory: EmbodiedMemory | Callable[[], EmbodiedMemory],
        adapter: Adapter,
        *,
        k: int = 16,
        clear_on_reset: bool = True,
        features: Callable[[EmbodiedMemory, Percept, int], NDArray[np.float32]] = nearest_objects,
    ) -> None:
        super().__init__(env)
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more rows of features, got {k}")
        inner = env.observation_space
        parts = dict(inner.spaces) if isinstance(inner, spaces.Dict) else {"obs": inner}
        if "memory" in parts:
            raise InvalidInput("memory observation: wanted an observation without the key 'memory', got one with it")
        self._owns_memory = not isinstance(memory, EmbodiedMemory)
        self.memory: EmbodiedMemory = memory if isinstance(memory, EmbodiedMemory) else memory()
        self.adapter = adapter
        self._k = k
        self._clear = clear_on_reset
        self._features = features
        self._is_dict = isinstance(inner, spaces.Dict)
        self._shift_ns = 0
        self._token = object()
        box = spaces.Box(-np.inf, np.inf, (k, FEATURES), np.float32)
        self.observation_space = spaces.Dict({**parts, "memory": box})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode, with an empty memory unless it is to last."""
        obs, info = self.env.reset(seed=seed, options=options)
        _EPISODES[self.memory] = self._token
        if self._clear:
            self.memory.clear()
        self._shift_ns = 0
        newest = self.memory.newest_stamp()
        begin = self.adapter.stamp_ns(info)
        if newest is not None and begin <= newest:  # the clock of the new episode goes on where the last one ended
            self._shift_ns = newest + 1 - begin
        for name, lower, upper in self.adapter.rooms(self.env):
            self.memory.scene.add_room(name, lower, upper)
        return self._remember(obs, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """One step, remembered.

        Raises:
            InvalidInput: Another environment has begun an episode in the same memory meanwhile.
        """
        if _EPISODES.get(self.memory) is not self._token:
            raise InvalidInput(
                "memory observation: wanted a memory that no other environment writes to since reset(), got one in "
                "which another has begun an episode; give each its own, as MemoryObservation(env, EmbodiedMemory, ...)"
            )
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._remember(obs, info), reward, terminated, truncated, info

    def close(self) -> None:
        """Close the environment, and the memory where it was made here."""
        super().close()
        if self._owns_memory:
            self.memory.close()

    def _remember(self, obs: Any, info: Mapping[str, Any]) -> dict[str, Any]:
        stamp_ns = self.adapter.stamp_ns(info) + self._shift_ns
        percept = self.adapter.percept(obs, info, stamp_ns)
        self.memory.write_batch((*self.adapter.events(info, stamp_ns), percept))
        parts = dict(obs) if self._is_dict else {"obs": obs}
        parts["memory"] = self._features(self.memory, percept, self._k)
        return parts


class PreviousAction(gymnasium.Wrapper[dict[str, Any], Any, Any, Any]):
    """Adds the action of the last step to the observation, zeros after a reset.

    A dict observation gains the key "previous_action"; any other becomes {"obs": ..., "previous_action": ...}. A
    discrete action is shown one-hot (n,) float32, a box as it is, flat, in float32.

    Args:
        env: The environment.

    Raises:
        InvalidInput: The actions are neither discrete nor a box, or there is such a key already.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        inner, actions = env.observation_space, env.action_space
        if not isinstance(actions, (spaces.Discrete, spaces.Box)):
            raise InvalidInput(f"previous action: wanted discrete actions or a box, got {actions}")
        parts = dict(inner.spaces) if isinstance(inner, spaces.Dict) else {"obs": inner}
        if "previous_action" in parts:
            raise InvalidInput("previous action: wanted an observation without the key 'previous_action', got one")
        self._is_dict = isinstance(inner, spaces.Dict)
        self._size = spaces.flatdim(actions)
        flat = spaces.flatten_space(actions)
        assert isinstance(flat, spaces.Box)
        box = spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)
        self.observation_space = spaces.Dict({**parts, "previous_action": box})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with(obs, np.zeros(self._size, dtype=np.float32)), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """One step, whose observation shows the action."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        flat = np.asarray(spaces.flatten(self.env.action_space, action), dtype=np.float32)
        return self._with(obs, flat), reward, terminated, truncated, info

    def _with(self, obs: Any, action: NDArray[np.float32]) -> dict[str, Any]:
        return {**(obs if self._is_dict else {"obs": obs}), "previous_action": action}
