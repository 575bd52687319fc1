from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import gymnasium
from gymnasium.utils.env_checker import check_env

import embodmem_envs  # noqa: F401  (registers the environments)
from embodmem.errors import ConfigError, InvalidInput
from embodmem_envs.observation import FEATURES
from embodmem_envs.tours import LABELS, ROOMS, ROW, make_tours

SMALL = {"n_tours": 8, "n_houses": 2}


def make(n: int = 32, **settings: Any) -> Any:
    return gymnasium.make_vec("EmbodMem/ObjectRecall-v0", num_envs=n, **{**SMALL, **settings})


def test_an_episode_shows_then_asks() -> None:
    envs = make(3, delay=2, autoreset_mode="SameStep")
    inner = envs.unwrapped
    obs, _ = envs.reset(seed=0)
    tour, asked = inner._tour.copy(), inner._asked.copy()
    label, room = inner._label[tour, asked], inner._room[tour, asked]
    for step in range(4 + 2 + 1):
        plain, rows = inner.split(obs)
        assert plain.shape == (3, inner.obs_size) and rows.shape == (3, 8, ROW)
        asks, wanted = plain[:, 0], plain[:, 1 : 1 + len(LABELS)]
        where, view = plain[:, 9:15], plain[:, 15:]
        assert (asks == (step == 6)).all()
        if step < 4:  # looks
            assert (where.argmax(axis=1) == inner._room[tour, step]).all() and view.std() > 0.05
            assert not wanted.any()
            for i in range(3):  # what was looked at is in memory from then on
                held = set(rows[i, :, FEATURES + len(ROOMS) :].argmax(axis=1)[rows[i].any(axis=1)])
                assert set(inner._label[tour[i], : step + 1]) <= held
        else:
            assert not where.any() and not view.any()
        if step == 6:
            assert (wanted.argmax(axis=1) == label).all() and (wanted.sum(axis=1) == 1).all()
            actions = np.where(np.arange(3) == 0, (room + 1) % 6, room)  # the first is wrong
        else:
            assert not wanted.any()
            actions = np.zeros(3, dtype=int)
        obs, reward, terminated, truncated, info = envs.step(actions)
        assert (terminated == (step == 6)).all() and not truncated.any()
        assert reward.tolist() == ([0, 1, 1] if step == 6 else [0, 0, 0])
    assert info["success"].tolist() == [False, True, True]


def answers(envs: Any, policy: Any, steps: int = 400) -> float:
    """Mean reward of an episode."""
    obs, _ = envs.reset(seed=1)
    total = ends = 0.0
    for _ in range(steps):
        obs, reward, terminated, _, _ = envs.step(policy(obs))
        total, ends = total + reward.sum(), ends + terminated.sum()
    return float(total / ends)


def test_the_memory_answers_and_a_guess_does_not() -> None:
    """The rows hold the answer for whoever compares labels; without them only guesses are left."""
    rng = np.random.default_rng(0)

    def read(envs: Any) -> Any:
        def policy(obs: Any) -> Any:
            plain, rows = envs.unwrapped.split(obs)
            match = np.einsum("nkl,nl->nk", rows[..., FEATURES + len(ROOMS) :], plain[:, 1 : 1 + len(LABELS)])
            rooms = np.einsum("nk,nkr->nr", match, rows[..., FEATURES : FEATURES + len(ROOMS)])
            return (rooms + 1e-3 * rng.random(rooms.shape)).argmax(axis=1)

        return policy

    envs, without = make(), make(memory=False)
    assert answers(envs, read(envs)) >= 0.95
    assert answers(without, read(without)) <= 0.25
    assert answers(envs, lambda obs: rng.integers(0, 6, 32)) <= 0.25
    assert answers(envs, lambda obs: np.full(32, 3)) <= 0.4  # no room is right much more often (few tours here)


def test_order_of_the_rows_at_the_question() -> None:
    asked, nearest = make(16, delay=1), make(16, delay=1, order="nearest")
    one, other = asked.reset(seed=2)[0], nearest.reset(seed=2)[0]
    for step in range(6):
        plain, rows = asked.unwrapped.split(one)
        same, others = nearest.unwrapped.split(other)
        assert np.array_equal(plain, same)
        if step < 5:
            assert np.array_equal(rows, others)
        else:
            assert (rows[:, 0, -len(LABELS) :] == plain[:, 1 : 1 + len(LABELS)]).all()
            for a, b in zip(rows, others, strict=True):  # the same rows in another order
                assert sorted(map(tuple, a.tolist())) == sorted(map(tuple, b.tolist()))
            assert not np.array_equal(rows, others)
            away = np.linalg.norm(others[..., :3], axis=2)
            held = others.any(axis=2)
            assert all((np.diff(a[h]) >= 0).all() for a, h in zip(away, held, strict=True))
        actions = np.zeros(16, dtype=int)
        one, other = asked.step(actions)[0], nearest.step(actions)[0]


def test_rooms_of_a_tour_differ_and_seeds_matter() -> None:
    tours, other = make_tours(4, 8, 8, 2, 0), make_tours(4, 8, 8, 2, 1)
    assert all(len(set(row)) == 4 for row in tours.room.tolist())
    assert all(len(set(row)) == 4 for row in tours.label.tolist())
    assert tours is make_tours(4, 8, 8, 2, 0)
    assert not np.array_equal(tours.room, other.room)
    again = make_tours.__wrapped__(4, 8, 8, 2, 0)
    assert np.array_equal(again.rgb, tours.rgb) and np.array_equal(again.memory, tours.memory)


def test_single_environment_keeps_the_api_and_is_the_vector_of_one() -> None:
    env = gymnasium.make("EmbodMem/ObjectRecall-v0", **SMALL)
    check_env(env.unwrapped, skip_render_check=True)
    vec = make(1)
    obs, _ = env.reset(seed=4)
    batch, _ = vec.reset(seed=4)
    for step in range(5):
        assert env.observation_space.contains(obs)
        plain, rows = vec.unwrapped.split(batch)
        assert np.array_equal(obs["obs"], plain[0]) and np.array_equal(obs["memory"], rows[0])
        obs, reward, terminated, _, info = env.step(2)
        batch, rewards, *_ = vec.step([2])
        assert reward == rewards[0] and terminated == (step == 4)
    assert info["success"] == bool(reward)
    with pytest.raises(InvalidInput):
        env.unwrapped.step(0)
    synced = gymnasium.make_vec("EmbodMem/ObjectRecall-v0", num_envs=2, vectorization_mode="sync", **SMALL)
    obs, _ = synced.reset(seed=0)
    assert obs["memory"].shape == (2, 8, ROW)


def test_it_steps_thousands_of_times_a_second() -> None:
    envs = make(16)
    envs.reset(seed=0)
    actions = np.zeros(16, dtype=int)
    begin = time.perf_counter()
    for _ in range(200):
        envs.step(actions)
    assert 200 * 16 / (time.perf_counter() - begin) > 5_000


def test_bad_settings_are_refused() -> None:
    for settings, message in (
        ({"n_objects": 7}, "n_objects 2 to 6, got 7"),
        ({"view_px": 10}, "view_px"),
        ({"n_tours": 0}, "n_tours"),
        ({"rows": 0}, "rows"),
        ({"order": "best"}, "'asked' or 'nearest'"),
        ({"n_tour": 3}, "n_tours"),
    ):
        with pytest.raises(ConfigError, match=message):
            gymnasium.make_vec("EmbodMem/ObjectRecall-v0", num_envs=1, **settings)
