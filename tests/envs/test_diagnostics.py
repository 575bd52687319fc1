from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")

import gymnasium
from gymnasium.vector import AutoresetMode

import embodmem_envs  # noqa: F401  (registers the environments)
from embodmem.errors import ConfigError, InvalidInput
from embodmem_envs.diagnostics import MemoryMazeVec, RepeatFirstVec, RepeatPreviousVec, TMazeVec

IDS = ("EmbodMem/TMaze-v0", "EmbodMem/RepeatPrevious-v0", "EmbodMem/RepeatFirst-v0", "EmbodMem/MemoryMaze-v0")
SMALL = {"EmbodMem/TMaze-v0": {"corridor": (1, 4)}, "EmbodMem/MemoryMaze-v0": {"size": 7, "random_length": True}}
MODES = list(AutoresetMode)


def make(name: str, n: int = 5, **settings: Any) -> Any:
    return gymnasium.make_vec(name, num_envs=n, **{**SMALL.get(name, {}), **settings})


@pytest.mark.parametrize("name", IDS)
def test_spaces_hold_what_comes_and_seeds_repeat_it(name: str) -> None:
    envs, twin, other = make(name), make(name), make(name)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.spec.id == name
    obs, info = envs.reset(seed=7)
    again, _ = twin.reset(seed=7)
    other.reset(seed=8)
    assert envs.observation_space.contains(obs) and np.array_equal(obs, again) and info == {}
    envs.action_space.seed(0)
    differs = False
    for _ in range(300):
        actions = envs.action_space.sample()
        one, two, third = envs.step(actions), twin.step(actions), other.step(actions)
        assert envs.observation_space.contains(one[0])
        assert one[1].shape == one[2].shape == one[3].shape == (5,)
        assert one[2].dtype == one[3].dtype == np.bool_
        assert all(np.array_equal(a, b) for a, b in zip(one[:4], two[:4], strict=True))
        differs |= not np.array_equal(one[0], third[0])
    assert differs
    kept = envs.step(envs.action_space.sample())[0].copy()
    before = kept.copy()
    envs.step(envs.action_space.sample())
    assert np.array_equal(kept, before)  # observations are not written to later


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("mode", MODES)
def test_modes_of_autoreset_give_the_same_episodes(name: str, mode: AutoresetMode) -> None:
    """Each mode against the rules that gymnasium states, told from what the tasks show at a begin."""
    envs = make(name, 6, autoreset_mode=mode)
    rng = np.random.default_rng(1)
    envs.reset(seed=3)
    ended = np.zeros(6, dtype=bool)
    ends = 0
    for _ in range(1000):
        if mode is AutoresetMode.DISABLED and ended.any():
            with pytest.raises(InvalidInput, match="reset_mask"):
                envs.step(np.zeros(6, dtype=int))
            held = envs._observe()
            obs, _ = envs.reset(options={"reset_mask": ended})
            assert np.array_equal(obs[~ended], held[~ended])  # the others go on
            assert (begins(envs)[ended]).all()
        fresh = ended if mode is AutoresetMode.NEXT_STEP else np.zeros(6, dtype=bool)
        obs, reward, terminated, truncated, info = envs.step(rng.integers(0, envs.single_action_space.n, 6))
        assert (reward[fresh] == 0).all() and not (terminated | truncated)[fresh].any()
        assert begins(envs)[fresh].all()
        ended = terminated | truncated
        ends += int(ended.sum())
        assert ended.any() == ("_success" in info)
        if ended.any():
            assert np.array_equal(info["_success"], ended) and not info["success"][~ended].any()
        if mode is AutoresetMode.SAME_STEP and ended.any():
            assert np.array_equal(info["_final_obs"], ended) and begins(envs)[ended].all()
            assert all((info["final_obs"][i] is None) == (not ended[i]) for i in range(6))
            final = np.stack(info["final_obs"][ended])
            assert final.shape == (ended.sum(), obs.shape[1]) and final.dtype == np.float32
            if name == "EmbodMem/TMaze-v0":
                assert (final[terminated[ended], 3] == 1).all() and (obs[ended, :2].sum(axis=1) == 1).all()
    assert ends > 12


def begins(envs: Any) -> Any:
    steps = envs.unwrapped._shown if hasattr(envs.unwrapped, "_shown") else envs.unwrapped._steps
    return steps == 0


@pytest.mark.parametrize("passive", [False, True])
def test_tmaze_against_its_rules_one_by_one(passive: bool) -> None:
    envs = TMazeVec(7, corridor=(1, 5), passive=passive, autoreset_mode="SameStep")
    obs, _ = envs.reset(seed=0)
    rng = np.random.default_rng(2)
    seen = set()
    truncations = 0
    for turn in range(1500):
        before = [
            (int(envs._length[i]), int(envs._place[i]), int(envs._sign[i]), int(envs._steps[i])) for i in range(7)
        ]
        for i, (length, place, sign, _) in enumerate(before):
            assert obs[i].tolist() == np.eye(4)[sign if place == 0 else 3 if place == length else 2].tolist()
        # Long runs of forward reach the time limit at the junction.
        actions = rng.integers(0, 3, 7) if turn < 700 else np.zeros(7, dtype=int)
        obs, reward, terminated, truncated, info = envs.step(actions)
        for i, (length, place, sign, steps) in enumerate(before):
            action = int(actions[i])
            seen.add((place == length, action, sign))
            ends = place == length and action != 0
            moved = place < length and (passive or action == 0)
            wanted = (1.0 if action - 1 == sign else -1.0) if ends else 0.0 if moved else -0.1
            assert np.isclose(reward[i], wanted) and terminated[i] == ends
            assert truncated[i] == (not ends and steps + 1 == 5 * length + 20)
            truncations += truncated[i]
            if ends:
                assert info["success"][i] == (action - 1 == sign)
            elif not truncated[i]:
                assert envs._place[i] == place + moved
    assert len(seen) == 12 and truncations > 5


@pytest.mark.parametrize(("k", "decks"), [(1, 1), (4, 1), (51, 1), (32, 2)])
def test_repeat_previous_against_its_rules_one_by_one(k: int, decks: int) -> None:
    envs = RepeatPreviousVec(4, k=k, decks=decks, autoreset_mode="SameStep")
    obs, _ = envs.reset(seed=5)
    rng, n = np.random.default_rng(0), 52 * decks
    for _episode in range(2):
        shown: list[Any] = [[int(suit)] for suit in obs.argmax(axis=1)]
        total = np.zeros(4)
        for step in range(1, n):
            actions = rng.integers(0, 4, 4)
            if step >= k:
                actions[0] = shown[0][-k]  # the first plays perfectly
            obs, reward, terminated, truncated, info = envs.step(actions)
            for i in range(4):
                wanted = 0.0 if step < k else (1.0 if actions[i] == shown[i][-k] else -1.0) / (n - k)
                assert np.isclose(reward[i], wanted)
            total += reward
            assert (terminated == (step == n - 1)).all() and not truncated.any()
            rows = obs if step < n - 1 else np.stack(info["final_obs"])
            for i in range(4):
                shown[i].append(int(rows[i].argmax()))
        assert np.isclose(total[0], 1.0) and info["success"][0] and (total >= -1 - 1e-9).all()
        assert all(np.bincount(cards).tolist() == [13 * decks] * 4 for cards in shown)


def test_repeat_first_asks_for_the_first() -> None:
    envs = RepeatFirstVec(3, decks=1)
    obs, _ = envs.reset(seed=5)
    first = obs.argmax(axis=1)
    actions = np.array([first[0], (first[1] + 1) % 4, first[2]])
    total = np.zeros(3)
    for step in range(51):
        if step == 50:
            actions[2] = (first[2] + 1) % 4
        _, reward, terminated, _, info = envs.step(actions)
        total += reward
    assert terminated.all() and np.allclose(total, [1, -1, 49 / 51])
    assert info["success"].tolist() == [True, False, False]


@pytest.mark.parametrize("task", ["previous", "first"])
def test_repeat_against_popgym(task: str) -> None:
    """The same deck and the same answers earn the same in POPGym."""
    if task == "previous":
        popgym = pytest.importorskip("popgym.envs.repeat_previous").RepeatPrevious(num_decks=1, k=4)
        envs: Any = RepeatPreviousVec(1, k=4)
    else:
        popgym = pytest.importorskip("popgym.envs.repeat_first").RepeatFirst(num_decks=1)
        envs = RepeatFirstVec(1)
    suit, _ = popgym.reset(seed=0)
    envs.reset(seed=0)
    rng, ours = np.random.default_rng(1), []
    actions, theirs = rng.integers(0, 4, 51), [suit]
    rewards = []
    for action in actions:
        suit, reward, terminated, _, _ = popgym.step(int(action))
        theirs.append(suit)
        rewards.append((reward, terminated))
    envs._cards[0] = theirs
    ours.append(int(envs._observe().argmax()))
    for action, (reward, terminated) in zip(actions, rewards, strict=True):
        obs, got, end, _, _ = envs.step(np.array([action]))
        ours.append(int(obs.argmax()))
        assert np.isclose(got[0], reward) and end[0] == terminated
    assert ours == theirs


@pytest.mark.parametrize(("size", "random_length", "view"), [(7, False, 3), (9, True, 5), (13, True, 7)])
def test_memory_maze_against_minigrid(size: int, random_length: bool, view: int) -> None:
    """The same maze in the real MiniGrid, its walls made transparent: same views, same ends, same rewards."""
    memory = pytest.importorskip("minigrid.envs.memory")
    from minigrid.core.constants import OBJECT_TO_IDX

    kinds = {OBJECT_TO_IDX[name]: i for i, name in enumerate(("empty", "wall", "key", "ball"))}
    theirs = memory.MemoryEnv(size=size, random_length=random_length, agent_view_size=view)
    theirs.see_through_walls = True
    envs = MemoryMazeVec(1, size=size, random_length=random_length, view=view, autoreset_mode="Disabled")
    rng = np.random.default_rng(size)
    outcomes = set()
    for episode in range(12):
        seen, _ = theirs.reset(seed=episode)
        envs.reset(seed=episode)
        lay_out(envs, theirs)
        for _ in range(envs.limit):
            grid = envs._observe().reshape(view, view, 4).argmax(axis=2)
            image = np.vectorize(kinds.get)(seen["image"][:, :, 0]).T
            assert np.array_equal(grid, image)
            # Eight walk to an end of the fork, the others stray.
            side = envs._goal if episode % 2 else envs._trap
            action = guide(envs, side) if episode < 8 else int(rng.integers(0, 3))
            seen, reward, terminated, truncated, _ = theirs.step(action)
            _, got, end, cut, info = envs.step(np.array([action]))
            assert np.isclose(got[0], reward) and (end[0], cut[0]) == (terminated, truncated)
            if terminated or truncated:
                outcomes.add((terminated, bool(info["success"][0])))
                break
    assert {(True, True), (True, False)} <= outcomes


def lay_out(envs: MemoryMazeVec, theirs: Any) -> None:
    """Give our maze the walls, things and the start of theirs."""
    kinds = {"wall": 1, "key": 2, "ball": 3}
    side, pad = envs._side, envs._pad
    cells = np.ones((side, side), dtype=np.int8)
    for x in range(envs.size):
        for y in range(envs.size):
            thing = theirs.grid.get(x, y)
            cells[y + pad, x + pad] = 0 if thing is None else kinds[thing.type]
    plans = [p.reshape(side, side) for p in envs._plans]
    bare = np.where(cells == 1, 1, 0)
    assert any(np.array_equal(bare, plan) for plan in plans)  # our walls are theirs
    assert int(np.count_nonzero(cells > 1)) == 3
    envs._grid[0] = cells.reshape(-1)
    envs._at[0] = envs._cell(*(int(v) for v in theirs.agent_pos))
    envs._goal[0] = envs._cell(*(int(v) for v in theirs.success_pos))
    envs._trap[0] = envs._cell(*(int(v) for v in theirs.failure_pos))


def guide(envs: MemoryMazeVec, target: Any) -> int:
    """Along the hallway, then to the side of the target."""
    x, y = int(envs._at[0] % envs._side), int(envs._at[0] // envs._side)
    tx, ty = int(target[0] % envs._side), int(target[0] // envs._side)
    wanted = 0 if x < tx else 1 if ty > y else 3
    heading = int(envs._heading[0])
    return 2 if heading == wanted else 1 if (wanted - heading) % 4 == 1 else 0


def test_memory_maze_of_its_own_has_one_of_each_at_the_fork() -> None:
    envs = MemoryMazeVec(200, size=9, random_length=True)
    envs.reset(seed=0)
    grid = envs._grid.reshape(200, envs._side, envs._side)
    middle = envs.size // 2 + envs._pad
    sign = grid[:, middle - 1, 1 + envs._pad]
    assert set(np.unique(sign)) == {2, 3}
    assert (np.count_nonzero(grid == sign[:, None, None], axis=(1, 2)) == 2).all()
    assert (np.count_nonzero(grid > 1, axis=(1, 2)) == 3).all()
    for i in range(200):
        y, x = divmod(int(envs._goal[i]), envs._side)
        assert sign[i] in grid[i, [y - 1, y + 1], x]  # it stops beside what was in the room
    assert len(np.unique(envs._goal)) > 4


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_envs of 1 or more, got 0"):
        TMazeVec(0)
    with pytest.raises(ConfigError, match="corridor of 1 or more.*got 0"):
        TMazeVec(1, corridor=0)
    with pytest.raises(ConfigError, match="corridor.*got \\(5, 2\\)"):
        TMazeVec(1, corridor=(5, 2))
    with pytest.raises(ConfigError, match="k < 52 cards, got 52"):
        RepeatPreviousVec(1, k=52)
    with pytest.raises(ConfigError, match="1 deck or more"):
        RepeatFirstVec(1, decks=0)
    with pytest.raises(ConfigError, match="odd size"):
        MemoryMazeVec(1, size=8)
    with pytest.raises(ConfigError, match="odd view"):
        MemoryMazeVec(1, view=4)
    with pytest.raises(ConfigError, match="autoreset_mode.*got 'later'"):
        TMazeVec(1, autoreset_mode="later")
    envs = TMazeVec(2)
    with pytest.raises(InvalidInput, match="reset\\(\\) before"):
        envs.step([0, 0])
    with pytest.raises(InvalidInput, match="first reset of all"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)
    for actions in ([0], [0, 3], [0, -1], [0.0, 1.0]):
        with pytest.raises(InvalidInput, match="wanted actions"):
            envs.step(actions)
    with pytest.raises(InvalidInput, match="options"):
        envs.reset(options={"mask": 1})
    with pytest.raises(InvalidInput, match="reset_mask \\(2,\\) bool"):
        envs.reset(options={"reset_mask": np.array([1, 0])})
