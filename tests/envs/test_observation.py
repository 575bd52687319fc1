from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import gymnasium
from gymnasium.vector import AutoresetMode

import embodmem_envs  # noqa: F401  (registers the environments)
from embodmem import EmbodiedMemory, Query
from embodmem.errors import InvalidInput
from embodmem_envs import HouseAdapter, MemoryObservation, PreviousAction

SMALL = {"width": 64, "height": 48, "n_objects": 12}


class Told(gymnasium.Wrapper):  # type: ignore[type-arg]
    """Writes which episode of which environment is on into the info; the adapter below makes it the agent's name."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.episode = -1

    def reset(self, **settings: Any) -> Any:
        self.episode += 1
        obs, info = self.env.reset(**settings)
        return obs, {**info, "episode": self.episode}

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, {**info, "episode": self.episode}


class TellingAdapter(HouseAdapter):
    def percept(self, obs: Any, info: Any, stamp_ns: int | None = None) -> Any:
        self.agent = f"episode {info['episode']}"
        return super().percept(obs, info, stamp_ns)


class Spy(gymnasium.Wrapper):  # type: ignore[type-arg]
    """Reports, from inside the environment's own process, whose percepts the memory holds."""

    env: Any

    def _with(self, info: dict[str, Any]) -> dict[str, Any]:
        with self.env.memory.store.read() as db:
            agents = [name for (name,) in db.execute("SELECT DISTINCT agent FROM record WHERE kind = 'keyframe'")]
        return {**info, "agents": ",".join(sorted(agents))}

    def reset(self, **settings: Any) -> Any:
        obs, info = self.env.reset(**settings)
        return obs, self._with(info)

    def step(self, action: Any) -> Any:
        *rest, info = self.env.step(action)
        return *rest, self._with(info)


def house(max_steps: int = 3, house_seed: int = 1) -> Any:
    env = Told(gymnasium.make("EmbodMem/House-v0", max_steps=max_steps, house_seed=house_seed, **SMALL))
    return Spy(MemoryObservation(env, EmbodiedMemory, TellingAdapter(), k=4))


@pytest.fixture
def envs(request: Any) -> Iterator[Any]:
    kind, mode = request.param
    made = kind([house, lambda: house(4)], autoreset_mode=mode)
    yield made
    made.close()


@pytest.mark.parametrize(
    "envs",
    [(gymnasium.vector.SyncVectorEnv, mode) for mode in AutoresetMode]
    + [(gymnasium.vector.AsyncVectorEnv, mode) for mode in AutoresetMode],
    indirect=True,
    ids=lambda value: f"{value[0].__name__}-{value[1].name}",
)
def test_a_memory_never_holds_percepts_of_two_episodes(envs: Any) -> None:
    mode = envs.metadata["autoreset_mode"]
    obs, info = envs.reset(seed=3)
    assert obs["memory"].shape == (2, 4, 8) and envs.single_observation_space["memory"].shape == (4, 8)
    ended, ends = np.zeros(2, dtype=bool), 0
    for _ in range(9):
        assert [f"episode {n}" for n in info["episode"]] == list(info["agents"])
        if mode is AutoresetMode.DISABLED and ended.any():
            obs, _ = envs.reset(options={"reset_mask": ended})
        obs, _, terminated, truncated, info = envs.step(np.array([2, 2]))
        ended = terminated | truncated
        ends += int(ended.sum())
        if mode is AutoresetMode.SAME_STEP and ended.any():
            final = info["final_info"]
            for i in np.flatnonzero(ended):
                assert final["agents"][i] == f"episode {final['episode'][i]}"
                assert final["episode"][i] == info["episode"][i] - 1  # the old one, seen before it was forgotten
                assert info["final_obs"][i]["memory"].shape == (4, 8)
    assert ends >= 2


def test_features_are_those_of_the_single_environment() -> None:
    """Batched equals one by one."""
    single = house(8, 0)
    vector = gymnasium.vector.SyncVectorEnv([lambda: house(8, 0), lambda: house(8, 2)])
    try:
        obs, _ = single.reset(seed=3)
        batch, _ = vector.reset(seed=[3, 4])
        assert np.array_equal(obs["memory"], batch["memory"][0])
        for _ in range(8):
            obs, *_ = single.step(2)
            batch, *_ = vector.step(np.array([2, 2]))
            assert np.array_equal(obs["memory"], batch["memory"][0])
        assert obs["memory"].any() and not np.array_equal(batch["memory"][0], batch["memory"][1])
    finally:
        single.close()
        vector.close()


def test_make_vec_takes_the_wrapper() -> None:
    envs = gymnasium.make_vec(
        "EmbodMem/House-v0",
        num_envs=2,
        wrappers=[lambda env: MemoryObservation(env, EmbodiedMemory, HouseAdapter(), k=2)],
        **SMALL,
    )
    memories = [env.memory for env in envs.envs]
    obs, _ = envs.reset(seed=0)
    assert obs["memory"].shape == (2, 2, 8) and memories[0] is not memories[1]
    assert envs.observation_space.contains(obs)
    paths = [memory.store.path for memory in memories]
    assert all(path.exists() for path in paths)
    envs.close()
    assert not any(path.exists() for path in paths)  # made by the wrapper, so closed by it


def test_one_memory_for_two_environments_is_refused() -> None:
    with EmbodiedMemory() as memory:
        pair = [
            MemoryObservation(gymnasium.make("EmbodMem/House-v0", **SMALL), memory, HouseAdapter()) for _ in range(2)
        ]
        pair[0].reset(seed=0)
        pair[0].step(0)
        pair[1].reset(seed=0)
        with pytest.raises(InvalidInput, match="give each its own"):
            pair[0].step(0)
        pair[1].step(0)
        pair[0].reset()  # one after the other is fine
        pair[0].step(0)
        for env in pair:
            env.close()
        assert memory.counts()["keyframe"] >= 1  # still open: it is the caller's


def test_memory_lasts_over_episodes_when_told_so(tmp_path: Path) -> None:
    with EmbodiedMemory(tmp_path / "a.mem") as memory:
        env: Any = gymnasium.make("EmbodMem/House-v0", max_steps=5, **SMALL)
        env = MemoryObservation(env, memory, HouseAdapter(), clear_on_reset=False)
        env.reset(seed=0)
        for _ in range(5):
            *_, truncated, _ = env.step(2)
        assert truncated
        newest, found = memory.newest_stamp(), memory.recall(Query(kinds=("object",)), k=50)
        env.reset()
        assert memory.newest_stamp() > newest and len(found) > 0
        assert {item.id for item in found} <= {item.id for item in memory.recall(Query(kinds=("object",)), k=50)}
        env.close()


def test_previous_action_is_shown() -> None:
    env: Any = PreviousAction(gymnasium.make("EmbodMem/House-v0", **SMALL))
    obs, _ = env.reset(seed=0)
    assert obs["previous_action"].tolist() == [0.0] * 8 and env.observation_space.contains(obs)
    obs, *_ = env.step(3)
    assert obs["previous_action"].tolist() == np.eye(8)[3].tolist() and env.observation_space.contains(obs)
    obs, _ = env.reset()
    assert not obs["previous_action"].any()
    with pytest.raises(InvalidInput, match="previous_action"):
        PreviousAction(env)
    env.close()
    box: Any = PreviousAction(gymnasium.make("EmbodMem/House-v0", action_type="continuous", **SMALL))
    box.reset(seed=0)
    action = np.array([0.5, -0.25, 0.0, 0.0], dtype=np.float32)
    obs, *_ = box.step(action)
    assert np.array_equal(obs["previous_action"], action) and box.observation_space.contains(obs)
    box.close()
    plain: Any = PreviousAction(gymnasium.make("CartPole-v1"))
    obs, _ = plain.reset(seed=0)
    assert set(obs) == {"obs", "previous_action"} and plain.observation_space.contains(obs)
    plain.close()
