"""habitat-sim: conversions and export without it; the real one where it is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import gymnasium
from hypothesis import given
from hypothesis import strategies as st

import embodmem_envs  # noqa: F401  (registers the environments)
from embodmem import EmbodiedMemory
from embodmem.errors import InvalidInput, MissingDependency
from embodmem.geometry import check_pose
from embodmem_envs import Adapter, MemoryObservation
from embodmem_envs.glb import house_to_glb
from embodmem_envs.habitat import HabitatAdapter, HabitatEnv, from_habitat, labels_of, optical_from_habitat, to_habitat
from embodmem_envs.testing import check_adapter, points_of

metre = st.floats(-50, 50)


def quaternion(axis: Any, angle: float) -> SimpleNamespace:
    x, y, z = np.sin(angle / 2) * np.asarray(axis, dtype=float)
    return SimpleNamespace(x=x, y=y, z=z, w=np.cos(angle / 2))


@given(st.tuples(metre, metre, metre))
def test_there_and_back(point: tuple[float, float, float]) -> None:
    assert np.allclose(from_habitat(to_habitat(point)), point)
    x, y, z = point
    assert to_habitat(point).tolist() == [x, z, -y]


def test_axes() -> None:
    """habitat: y up, -z to the front, x right; a camera without rotation looks along -z."""
    pose = check_pose(optical_from_habitat([1.0, 1.5, -2.0], [0, 0, 0, 1]))
    assert np.allclose(pose[:3, 3], [1.0, 2.0, 1.5])
    assert np.allclose(pose @ [0, 0, 3, 1], [1, 5, 1.5, 1])  # 3 m ahead: -z there, y here
    assert np.allclose(pose @ [1, 0, 0, 1], [2, 2, 1.5, 1])  # right
    assert np.allclose(pose @ [0, 1, 0, 1], [1, 2, 0.5, 1])  # down
    left = optical_from_habitat([0, 0, 0], [0, np.sin(np.pi / 4), 0, np.cos(np.pi / 4)])  # 90 degrees about y: left
    assert np.allclose(left @ [0, 0, 1, 1], [-1, 0, 0, 1])


class HouseAsHabitat(gymnasium.Env):  # type: ignore[type-arg]
    """The house, told in habitat's terms: what its Simulator would return for the same apartment."""

    def __init__(self) -> None:
        self.house: Any = gymnasium.make("EmbodMem/House-v0", width=48, height=36, n_objects=12).unwrapped
        self.action_space, self.observation_space = self.house.action_space, self.house.observation_space
        self.sim = None

    def told(self, obs: Any, info: Any) -> tuple[Any, Any]:
        x, y, yaw = self.house.robot_pose
        turn = quaternion([0, 1, 0], yaw - np.pi / 2)  # habitat's yaw 0 looks along -z, which is y here
        tilt = quaternion([1, 0, 0], self.house.world.pitch_rad)
        a, b = np.array([turn.x, turn.y, turn.z]), np.array([tilt.x, tilt.y, tilt.z])
        v = turn.w * b + tilt.w * a + np.cross(a, b)
        both = SimpleNamespace(x=v[0], y=v[1], z=v[2], w=turn.w * tilt.w - a @ b)
        sensor = SimpleNamespace(position=np.array([x, 1.25, -y]), rotation=both)
        rgba = np.dstack([obs["rgb"], np.full(obs["rgb"].shape[:2], 255, np.uint8)])
        seen = {"color_sensor": rgba, "depth_sensor": obs["depth"], "semantic_sensor": obs["segmentation"]}
        return seen, {"sensor": sensor, "step": info["step"]}

    def reset(self, **settings: Any) -> Any:
        return self.told(*self.house.reset(**settings))

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.house.step(action)
        seen, told = self.told(obs, info)
        return seen, reward, terminated, truncated, told


def boxes(house: Any) -> list[Any]:
    things = [*house.unwrapped.furniture, *house.unwrapped.objects]
    return [(t.label, t.position - t.extent / 2, t.position + t.extent / 2) for t in things]


def test_adapter_keeps_the_contract() -> None:
    names = gymnasium.make("EmbodMem/House-v0", n_objects=12).unwrapped
    names.reset(seed=0)  # type: ignore[call-arg]
    labels = names.world.labels  # type: ignore[attr-defined]
    check_adapter(
        lambda: (HouseAsHabitat(), HabitatAdapter(75.0, labels)), lambda env: boxes(env.house), steps=30, least_seen=4
    )


def test_ids_without_a_label_and_broken_depth_are_nothing() -> None:
    adapter = HabitatAdapter(90.0, {7: "chair"})
    assert isinstance(adapter, Adapter)
    obs = {
        "color_sensor": np.zeros((2, 3, 4), np.uint8),
        "depth_sensor": np.array([[1, np.inf, np.nan], [2, 0, 3]], np.float32),
        "semantic_sensor": np.array([[7, 8, 0], [7, 7, 9]], np.uint32),
    }
    sensor = SimpleNamespace(position=np.zeros(3), rotation=quaternion([0, 1, 0], 0.0))
    percept = adapter.percept(obs, {"sensor": sensor, "step": 2})
    assert percept.stamp_ns == 10**9 and percept.rgb is not None and percept.rgb.shape == (2, 3, 3)
    assert percept.depth.tolist() == [[1, 0, 0], [2, 0, 3]]  # type: ignore[union-attr]
    assert percept.segmentation.tolist() == [[7, 0, 0], [7, 7, 0]]  # type: ignore[union-attr]
    assert len(points_of(percept, "chair")) == 2
    bare = adapter.percept({k: v for k, v in obs.items() if k != "semantic_sensor"}, {"sensor": sensor, "step": 2})
    assert bare.segmentation is None
    with pytest.raises(InvalidInput, match="wanted 'depth_sensor'"):
        adapter.percept({}, {"sensor": sensor, "step": 0})
    with pytest.raises(InvalidInput, match="wanted 'sensor'"):
        adapter.percept(obs, {"step": 0})
    with pytest.raises(InvalidInput, match="hfov_deg"):
        HabitatAdapter(0.0)


def test_labels_of_an_annotated_scene() -> None:
    category = SimpleNamespace(name=lambda: "sofa")
    items = [None, SimpleNamespace(semantic_id=3, category=category), SimpleNamespace(semantic_id=4, category=None)]
    assert labels_of(SimpleNamespace(semantic_scene=SimpleNamespace(objects=items))) == {3: "sofa"}
    assert labels_of(SimpleNamespace(semantic_scene=None)) == {}


@pytest.mark.parametrize(
    "box",
    [
        lambda centre, size: SimpleNamespace(center=lambda: centre, size=lambda: size),  # magnum's Range3D, 0.3.3
        lambda centre, size: SimpleNamespace(center=np.array(centre), sizes=np.array(size)),  # Eigen's, before it
    ],
)
def test_rooms_of_an_annotated_scene(box: Any) -> None:
    def region(name: str | None, centre: Any, size: Any) -> SimpleNamespace:
        category = None if name is None else SimpleNamespace(name=lambda: name)
        return SimpleNamespace(category=category, aabb=box(centre, size))

    regions = [region("kitchen", (1.0, 1.25, -4.0), (2.0, 2.5, 3.0)), region(None, (0, 0, 0), (1, 1, 1))]
    regions.append(region("nothing", (0.0, 0.0, 0.0), (0.0, 1.0, 1.0)))
    env = SimpleNamespace(sim=SimpleNamespace(semantic_scene=SimpleNamespace(regions=regions)))
    env.unwrapped = env
    ((name, low, high),) = HabitatAdapter().rooms(env)
    assert name == "kitchen" and np.allclose(low, [0, 2.5, 0]) and np.allclose(high, [2, 5.5, 2.5])


def test_habitat_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "habitat_sim", None)
    with pytest.raises(MissingDependency, match=r"conda install habitat-sim.*pip install \"embodmem\[sim\]\""):
        HabitatEnv(tmp_path / "house.glb")


# ---------------------------------------------------------------- export


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    pytest.importorskip("trimesh")
    house: Any = gymnasium.make("EmbodMem/House-v0", n_objects=12)
    house.reset(seed=0)
    return house.unwrapped, house_to_glb(house, tmp_path_factory.mktemp("house"))


def test_stage_is_the_building(exported: tuple[Any, Path]) -> None:
    import trimesh

    house, config = exported
    stage = json.loads(config.read_text())
    assert stage["up"] == [0, 0, 1] and stage["front"] == [0, 1, 0]
    # habitat turns "up" to its y and "front" to its -z: then its frame is `to_habitat` of the world's.
    assert np.allclose(to_habitat(stage["up"]), [0, 1, 0]) and np.allclose(to_habitat(stage["front"]), [0, 0, -1])
    scene = trimesh.load_scene(config.with_name(stage["render_asset"]))
    layout = house.world.layout
    low, high = np.asarray(scene.bounds)
    assert np.allclose(low[:2], layout.lower, atol=0.15) and np.allclose(high[:2], layout.upper, atol=0.15)
    mesh = scene.to_mesh()
    inside = [room for room in house.rooms]
    for room in inside:  # nothing of the building stands in the middle of a room between floor and ceiling
        middle = (room.lower + room.upper) / 2
        away = np.abs(np.asarray(mesh.triangles_center) - middle)
        assert not ((away[:, :2] < 0.3).all(axis=1) & (away[:, 2] < 0.8)).any()
    for low_corner, high_corner in layout.walls:
        near = np.asarray(mesh.vertices)
        for corner in (low_corner, high_corner):
            assert np.linalg.norm(near - corner, axis=1).min() < 1e-4


def test_things_are_where_they_are(exported: tuple[Any, Path]) -> None:
    import trimesh

    house, config = exported
    things = {thing["id"]: thing for thing in json.loads(config.with_name("things.json").read_text())}
    truth = {t.id: t for t in [*house.furniture, *house.objects]}
    assert set(things) == set(truth)
    for name, thing in things.items():
        scene = trimesh.load_scene(config.parent / thing["file"])
        corners = from_habitat(np.asarray(scene.bounds)) + thing["position"]
        low, high = corners.min(axis=0), corners.max(axis=0)
        wanted = truth[name]
        assert thing["label"] == wanted.label and thing["instance_id"] == wanted.instance_id
        # Round things are polygons of 32 corners; the truth's box of a turned one is the box of its turned box.
        assert (low >= wanted.position - wanted.extent / 2 - 0.01).all()
        assert (high <= wanted.position + wanted.extent / 2 + 0.01).all()
        assert abs((high - low)[2] - wanted.extent[2]) < 0.01
        assert abs(low[2] - (wanted.position - wanted.extent / 2)[2]) < 0.01
    colours = {
        tuple(np.asarray(part.visual.material.baseColorFactor)[:3])
        for part in trimesh.load_scene(config.parent / "things" / "sofa_1.glb").geometry.values()
    }
    assert colours and all(len(c) == 3 for c in colours)


def test_only_the_house_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trimesh")
    with pytest.raises(InvalidInput, match="wanted EmbodMem/House-v0"):
        house_to_glb(gymnasium.make("CartPole-v1"), tmp_path)
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(MissingDependency, match="sim"):
        house_to_glb(None, tmp_path)


# ---------------------------------------------------------------- the real one, one Simulator a session


@pytest.fixture(scope="module")
def real(exported: tuple[Any, Path]) -> Iterator[Any]:
    pytest.importorskip("habitat_sim")
    env = HabitatEnv(exported[1], width=96, height=72)
    yield env
    env.close()


def test_real_habitat_shows_the_house_where_it_is(real: Any, exported: tuple[Any, Path]) -> None:
    house, _ = exported
    places = house.world.layout.standing_places()
    adapter, seen = real.adapter(), set()
    for room in house.rooms:
        obs, info = real.reset(seed=0, options={"position": [*places[room.name][0], 0.0]})
        for _ in range(12):
            percept = adapter.percept(obs, info)
            for label, low, high in boxes(house):
                points = points_of(percept, label)
                same = [(a, b) for name, a, b in boxes(house) if name == label]
                if len(points) and len(same) == 1:
                    assert ((points > low - 0.05) & (points < high + 0.05)).all(), label
                    seen.add(label)
            obs, *_, info = real.step(2)
    assert len(seen) >= 6


def test_real_habitat_measures_ways_and_fills_a_memory(real: Any, exported: tuple[Any, Path]) -> None:
    house, _ = exported
    places = house.world.layout.standing_places()
    start, goal = ([*places[name][0], 0.0] for name in ("kitchen", "bedroom"))
    length, points = real.geodesic(start, goal)
    straight = float(np.linalg.norm(np.subtract(goal, start)))
    assert straight - 0.1 <= length < 5 * straight and len(points) >= 2
    assert np.allclose(points[0][:2], start[:2], atol=0.3)
    with EmbodiedMemory() as memory:
        env = MemoryObservation(real, memory, real.adapter())
        obs, _ = env.reset(seed=1, options={"position": start})
        for _ in range(12):
            obs, *_ = env.step(2)
        assert obs["memory"].any()
