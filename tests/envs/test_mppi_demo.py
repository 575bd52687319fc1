"""The example planner drives through the apartment, and its truth is what it is held against."""

import sys

import gymnasium as gym
import numpy as np
import pytest

from embodmem import Config, EmbodiedMemory
from embodmem.errors import InvalidInput, MissingDependency
from embodmem_envs.grid import clearance
from embodmem_envs.layout import ROBOT_RADIUS_M

pytest.importorskip("pytorch_mppi")
from embodmem_envs import mppi_demo  # noqa: E402


@pytest.fixture
def house():
    env = gym.make("EmbodMem/House-v0", action_type="continuous", width=80, height=60)
    env.reset(seed=2)
    yield env.unwrapped
    env.close()


@pytest.fixture
def memory():
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        yield memory


def test_it_reaches_another_room_without_touching_anything(house, memory):
    goal = mppi_demo.goal_in(house)
    start = house.robot_pose
    assert house.world.layout.room_at(goal) != house.world.room and np.linalg.norm(goal - start[:2]) > 3
    done = mppi_demo.drive(house, memory, goal, max_steps=150)
    path = np.array(done.path)
    assert done.reached and done.collided == 0
    assert np.linalg.norm(path[-1, :2] - goal) <= mppi_demo.REACHED_M
    np.testing.assert_allclose(path[-1], house.robot_pose)
    assert clearance(house.world.obstacles(), path[:, :2]).min() >= ROBOT_RADIUS_M
    assert (np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1) <= 0.4 + 1e-6).all()  # nothing was jumped over


def test_it_sees_what_it_would_hit(house, memory):
    import torch

    planner = mppi_demo.Planner(memory, [0.0, 0.0], 0.5)
    wall = np.full((20, 60, 3), 0.0, np.float32)
    wall[..., 0] = 1.0
    wall[..., 1], wall[..., 2] = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-1.2, 0.4, 20))
    at = np.eye(4)
    at[2, 3] = 1.2
    memory.spatial.octree.integrate_points(wall.reshape(-1, 3), at, 0)
    planner.update(np.zeros(3))
    states = torch.tensor([[0.0, 0.0, 0.0], [0.6, 0.0, 0.0], [0.6, 0.0, 3.14]])
    onwards = torch.tensor([[0.8, 0.0]] * 3)
    assert planner._hits(states, onwards).tolist() == [False, True, False]
    after = planner._after(states, onwards)
    np.testing.assert_allclose(after[:2, 0], [0.4, 1.0], atol=1e-6)
    cost = planner._cost(after, onwards)
    assert cost[1] > mppi_demo._WALL_COST > cost[0]
    assert planner.act(np.array([0.6, 0.0, 0.0])).shape == (2,)


def test_bad_input(memory, house, monkeypatch):
    with pytest.raises(InvalidInput, match="room"):
        mppi_demo.goal_in(house, "cellar")
    discrete = gym.make("EmbodMem/House-v0")
    with pytest.raises(InvalidInput, match="continuous"):
        mppi_demo.drive(discrete, memory, [0.0, 0.0])
    monkeypatch.setitem(sys.modules, "pytorch_mppi", None)
    with pytest.raises(MissingDependency, match="pytorch-mppi"):
        mppi_demo.drive(house, memory, [0.0, 0.0])
