"""Behaviour cloning: lanes hold every step once, memory is learned, files are checked."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import ConfigError, DatasetError
from embodmem_policies.bc import BC, BCSettings, Demonstrations, train
from embodmem_policies.evaluate import evaluate_checkpoint

REPEAT = "embodmem_envs:EmbodMem/RepeatPrevious-v0"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def shown(episodes: int) -> Demonstrations:
    """Decks of cards with the right answers of RepeatPrevious, k = 4."""
    env = gymnasium.make_vec(REPEAT, num_envs=episodes)
    seen = [env.reset(seed=3)[0]]
    while True:
        obs, _, terminated, _, _ = env.step(np.zeros(episodes, dtype=np.int64))
        if terminated.any():
            break
        seen.append(obs)
    cards = np.stack(seen, 1)
    suits = cards.argmax(-1)
    action = np.concatenate((suits[:, :3], suits[:, :-3]), 1)
    start = np.zeros(suits.shape, dtype=np.bool_)
    start[:, 0] = True
    return Demonstrations(cards.reshape(-1, 4), action.reshape(-1), start.reshape(-1))


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), count=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_lanes_hold_every_step_once_and_episodes_whole(lengths: list[int], count: int) -> None:
    total = sum(lengths)
    start = np.zeros(total, dtype=np.bool_)
    start[np.cumsum([0, *lengths[:-1]])] = True
    steps = np.arange(total)
    observation, action, starts, held = Demonstrations({"x": steps[:, None]}, steps, start).lanes(count)
    assert sorted(action[held].tolist()) == steps.tolist()
    assert torch.equal(observation["x"][..., 0], action)
    for lane in range(count):
        for t in range(int(held[:, lane].sum())):
            assert starts[t, lane] == start[action[t, lane]]
            if not starts[t, lane]:
                assert action[t, lane] == action[t - 1, lane] + 1


def test_imitates_what_needs_memory(tmp_path: Path) -> None:
    """The answer of three steps ago cannot be seen; windows are shorter than episodes."""
    data = shown(48)
    data.save(tmp_path / "shown.npz")
    made = BCSettings(env=REPEAT, data=str(tmp_path / "shown.npz"), window=20, epochs=25, learning_rate=5e-3)
    rows: list[dict[str, float]] = []
    train(made, tmp_path / "run", progress=rows.append)
    assert rows[-1]["agreement"] > 0.9 > 0.5 > rows[0]["agreement"]
    found = evaluate_checkpoint(tmp_path / "run" / "checkpoint.pt", episodes=32).summary()
    assert found["return"] > 0.9
    with pytest.raises(ConfigError, match="without a run"):
        train(made, tmp_path / "run")


def test_actions_of_a_box() -> None:
    """A continuous expert: the action is the first observation of the episode."""
    rng = np.random.default_rng(0)
    first = rng.uniform(-1, 1, (40, 1, 1))
    seen = np.concatenate((first, np.zeros((40, 9, 1))), 1).astype(np.float32)
    start = np.tile(np.arange(10) == 0, 40)
    data = Demonstrations(seen.reshape(-1, 1), np.repeat(first, 10).astype(np.float32)[:, None], start)

    class Env(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        action_space = gymnasium.spaces.Box(-1, 1, (1,))

    made = BCSettings(env="none", data="", hidden=16, learning_rate=1e-2)
    bc = BC(made, data, gymnasium.vector.SyncVectorEnv([Env]))
    losses = [bc.epoch()["loss"] for _ in range(150)]
    assert losses[-1] < losses[0] - 1.0


def test_refuses_what_is_no_demonstration(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="NPZ"):
        Demonstrations.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DatasetError, match="action"):
        Demonstrations.load(tmp_path / "other.npz")
    with pytest.raises(DatasetError, match="lengths"):
        Demonstrations(np.zeros((3, 1)), np.zeros(4), np.ones(3, dtype=np.bool_))
    with pytest.raises(DatasetError, match="True first"):
        Demonstrations(np.zeros((3, 1)), np.zeros(3), np.zeros(3, dtype=np.bool_))
    with pytest.raises(ConfigError, match="window"):
        BCSettings(env="a", data="b", window=0)
