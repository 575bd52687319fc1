"""Adapters of packages that install everywhere: MiniGrid, and any MuJoCo model with a camera."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import gymnasium

from embodmem import EmbodiedMemory, Query
from embodmem.config import Config, SceneConfig, SpatialConfig
from embodmem.errors import InvalidInput, MissingDependency
from embodmem.geometry import backproject, transform_points
from embodmem_envs import MemoryObservation
from embodmem_envs.minigrid import MiniGridAdapter
from embodmem_envs.mujoco import MujocoAdapter
from embodmem_envs.testing import check_adapter, points_of

ONE_SIGHT = Config(scene=SceneConfig(min_sightings=1), spatial=SpatialConfig(max_range_m=20.0, voxel_size_m=0.2))

# ---------------------------------------------------------------- MiniGrid


def cells_of(env: Any, cell_m: float = 1.0) -> list[Any]:
    """Every thing's cell as a flat box, straight from MiniGrid's grid."""
    grid = env.unwrapped.grid
    boxes = []
    for i in range(grid.width):
        for j in range(grid.height):
            thing = grid.get(i, j)
            if thing is not None and thing.type != "wall":
                label = thing.type if thing.type in ("goal", "lava") else f"{thing.color} {thing.type}"
                low = np.array([i, grid.height - j - 1, 0.0]) * cell_m
                boxes.append((label, low, low + np.array([1.0, 1.0, 0.5]) * cell_m))
    return boxes


@pytest.mark.parametrize(
    ("name", "cell_m"), [("MiniGrid-DoorKey-8x8-v0", 1.0), ("MiniGrid-BlockedUnlockPickup-v0", 0.4)]
)
def test_minigrid_keeps_the_contract(name: str, cell_m: float) -> None:
    pytest.importorskip("minigrid")

    def make() -> Any:
        env = gymnasium.make(name)
        return env, MiniGridAdapter(env, cell_m=cell_m)

    check_adapter(make, lambda env: cells_of(env, cell_m), steps=150)


def test_minigrid_walls_and_hidden_cells() -> None:
    pytest.importorskip("minigrid")
    env = gymnasium.make("MiniGrid-FourRooms-v0")
    adapter = MiniGridAdapter(env, cell_m=1.0)
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    walls = hidden = 0
    for _ in range(60):
        percept = adapter.percept(None, {}, 0)
        assert percept.camera is not None and percept.depth is not None
        rows, cols = np.nonzero(percept.depth > 0)
        points = transform_points(
            percept.T_world_sensor, backproject(percept.camera, rows, cols, percept.depth[rows, cols].astype(float))
        )
        grid = env.unwrapped.grid
        i, j = np.floor(points[:, 0]).astype(int), grid.height - 1 - np.floor(points[:, 1]).astype(int)
        high = points[:, 2] > 0.25
        for x, y, tall in set(zip(i.tolist(), j.tolist(), high.tolist(), strict=True)):
            inside = 0 <= x < grid.width and 0 <= y < grid.height
            thing = grid.get(x, y) if inside else None
            is_wall = not inside or (thing is not None and thing.type == "wall")
            assert tall == is_wall
            assert not inside or env.unwrapped.in_view(x, y)
            walls += is_wall
        hidden += int((percept.depth == 0).sum())
        env.step(int(rng.integers(0, 3)))
    assert walls > 50 and hidden > 100


def test_minigrid_remembers_where_the_key_is_and_that_it_was_picked() -> None:
    pytest.importorskip("minigrid")
    inner: Any = gymnasium.make("MiniGrid-DoorKey-8x8-v0")
    adapter = MiniGridAdapter(inner, agent="ant")
    with EmbodiedMemory(config=ONE_SIGHT) as memory:
        env: Any = MemoryObservation(inner, memory, adapter, k=4)
        env.reset(seed=3)
        grid = env.unwrapped
        where = next(
            (i, j) for i in range(8) for j in range(8) if (t := grid.grid.get(i, j)) is not None and t.type == "key"
        )
        for _ in range(4):
            env.step(0)
        found = memory.scene.objects("yellow key")
        assert len(found) == 1 and np.allclose(found[0].position, adapter.point(where), atol=0.1)
        # Stand before the key, as only the test can, and pick it up.
        i, j = where
        side, turn = next(
            ((dx, dy), d)
            for d, (dx, dy) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1)))
            if not grid.grid.get(i - dx, j - dy)
        )
        grid.agent_pos, grid.agent_dir = np.array([i - side[0], j - side[1]]), turn
        env.step(3)
        assert grid.carrying is not None
        picks = memory.recall(Query(kinds=("pick",)))
        assert [item.text for item in picks] == ["picked up the yellow key"]
        obs, *_ = env.step(0)
        while grid.grid.get(*grid.front_pos) is not None:
            env.step(0)
        env.step(4)
        assert [item.text for item in memory.recall(Query(kinds=("place",)))] == ["put down the yellow key"]
        assert obs["memory"].shape == (4, 8) and env.observation_space["memory"].contains(obs["memory"])


def test_minigrid_numbers_two_of_a_kind_apart() -> None:
    pytest.importorskip("minigrid")
    env: Any = gymnasium.make("MiniGrid-Empty-8x8-v0")
    from minigrid.core.world_object import Ball

    env.reset(seed=0)
    grid = env.unwrapped
    for cell in ((2, 2), (3, 1)):
        grid.grid.set(*cell, Ball("red"))
    adapter = MiniGridAdapter(env)
    percept = adapter.percept(None, {}, 0)
    assert sorted(percept.labels.values()) == ["red ball", "red ball"]
    assert len(points_of(percept, "red ball")) == 2 * 64


def test_minigrid_refuses_what_is_none() -> None:
    pytest.importorskip("minigrid")
    with pytest.raises(InvalidInput, match="wanted an environment of MiniGrid, got"):
        MiniGridAdapter(gymnasium.make("CartPole-v1"))
    with pytest.raises(InvalidInput, match="cell_m > 0"):
        MiniGridAdapter(gymnasium.make("MiniGrid-Empty-5x5-v0"), cell_m=0)


def test_minigrid_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minigrid.core.constants", None)
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(MissingDependency, match=r"pip install \"embodmem\[sim\]\""):
        MiniGridAdapter(None)


# ---------------------------------------------------------------- MuJoCo

XML = """
<mujoco>
  <asset><material name="blue" rgba="0 0 1 1"/></asset>
  <worldbody>
    <geom type="plane" size="5 5 .1" rgba=".5 .5 .5 1"/>
    <camera name="eye" pos="0 -2 1.2" xyaxes="1 0 0 0 .4 .9" fovy="50"/>
    <body name="crate" pos="0.4 0.2 0.25"><geom type="box" size=".2 .3 .25" material="blue"/></body>
    <body name="jar" pos="-0.5 0 0.3"><joint type="free"/><geom type="cylinder" size=".1 .3"/>
      <body pos="0 0 .35"><geom type="sphere" size=".08" rgba="1 0 0 1"/></body></body>
    <body name="ghost" pos="0 -1 0.8"><geom type="box" size=".5 .05 .3" group="4"/></body>
    <body name="arm" pos="0 -1.5 1"><joint name="turn" type="hinge" axis="0 0 1"/>
      <geom type="capsule" fromto="0 0 0 .3 0 0" size=".05"/></body>
  </worldbody>
  <actuator><velocity joint="turn" kv="1"/></actuator>
</mujoco>"""


class Table(gymnasium.Env):  # type: ignore[type-arg]
    """A model as a user may have it, with `model` and `data` as gymnasium's own environments have."""

    def __init__(self) -> None:
        import mujoco

        self._mujoco = mujoco
        self.model = mujoco.MjModel.from_xml_string(XML)
        self.data = mujoco.MjData(self.model)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[0] += self.np_random.uniform(-0.1, 0.1)
        self._mujoco.mj_forward(self.model, self.data)
        return self.data.qpos[:1].copy(), {}

    def step(self, action: Any) -> Any:
        self.data.ctrl[:] = action
        for _ in range(5):
            self._mujoco.mj_step(self.model, self.data)
        self._mujoco.mj_forward(self.model, self.data)
        return self.data.qpos[:1].copy(), 0.0, False, False, {}


def bodies(env: Any) -> list[Any]:
    data = env.unwrapped.data
    jar = data.body("jar").xpos
    return [
        ("crate", [0.2, -0.1, 0.0], [0.6, 0.5, 0.5]),
        ("jar", jar - [0.11, 0.11, 0.31], jar + [0.11, 0.11, 0.44]),
    ]


def test_mujoco_keeps_the_contract() -> None:
    def make() -> Any:
        env = Table()
        return env, MujocoAdapter(env, "eye", width=64, height=48, hidden=["arm"])

    check_adapter(make, bodies, steps=20, least_seen=2)


def test_mujoco_labels_groups_and_colours() -> None:
    env = Table()
    env.reset(seed=0)
    adapter = MujocoAdapter(env, "eye", width=64, height=48, labels={"jar": "pickle jar"}, agent="arm")
    percept = adapter.percept(None, {}, 5)
    assert percept.stamp_ns == 5 and percept.agent == "arm" and percept.rgb is not None
    assert set(percept.labels.values()) == {"crate", "pickle jar", "ghost", "arm"}
    assert len(points_of(percept, "crate")) > 50 and len(points_of(percept, "arm")) > 20
    assert len(points_of(percept, "ghost")) == 0  # group 4 is not shown
    crate = percept.rgb[percept.segmentation == next(n for n, name in percept.labels.items() if name == "crate")]
    assert (crate[:, 2] > crate[:, 0] + 50).all()  # the material's colour
    # The ball on the jar is told of as the jar.
    assert points_of(percept, "pickle jar")[:, 2].max() > 0.62
    env.step([0.5])
    assert adapter.stamp_ns({}) == round(env.data.time * 1e9) > 0
    hidden = MujocoAdapter(env, "eye", width=64, height=48, hidden=["arm"]).percept(None, {}, 5)
    assert len(points_of(hidden, "crate")) > 50 and "arm" not in hidden.labels.values()
    assert env.model.geom_group.tolist() == [0, 0, 0, 0, 4, 0]  # the model is left as it was


@pytest.mark.parametrize("name", ["Ant-v5", "Hopper-v5"])
def test_gymnasiums_own_models_fill_a_memory(name: str) -> None:
    pytest.importorskip("imageio")
    inner: Any = gymnasium.make(name)
    with EmbodiedMemory(config=ONE_SIGHT) as memory:
        adapter = MujocoAdapter(inner, "track", width=48, height=36)
        env: Any = MemoryObservation(inner, memory, adapter, k=2, clear_on_reset=False)
        obs, _ = env.reset(seed=0)
        for _ in range(6):
            obs, *_ = env.step(inner.action_space.sample() * 0)
        torso = memory.scene.objects("torso")
        assert len(torso) == 1
        assert np.linalg.norm(torso[0].position - inner.unwrapped.data.body("torso").subtree_com) < 0.7
        assert obs["memory"].any()
        newest = memory.newest_stamp()
        env.reset()  # the simulator's clock begins anew, the memory's goes on
        assert memory.newest_stamp() > newest
        # The floor is where it is: the lowest surface seen lies at z = 0.
        percept = adapter.percept(None, {}, 0)
        rows, cols = np.nonzero((percept.segmentation == 0) & (percept.depth > 0))
        points = backproject(percept.camera, rows, cols, percept.depth[rows, cols].astype(float))
        assert np.abs(transform_points(percept.T_world_sensor, points)[:, 2]).max() < 1e-3
    env.close()


def test_mujoco_refuses_what_is_none() -> None:
    env = Table()
    env.reset(seed=0)
    with pytest.raises(InvalidInput, match=r"cameras \['eye'\], got 'nose'"):
        MujocoAdapter(env, "nose")
    with pytest.raises(InvalidInput, match="model and data"):
        MujocoAdapter(gymnasium.make("CartPole-v1"), "eye")
    with pytest.raises(InvalidInput, match=r"got \['leg'\]"):
        MujocoAdapter(env, "eye", hidden=["leg"])
