"""AI2-THOR's adapter on the real ai2thor client, against a stand-in player that shows our house."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from hypothesis import given
from hypothesis import strategies as st

from embodmem import EmbodiedMemory, Query
from embodmem.config import Config, SceneConfig
from embodmem.errors import InvalidInput, MissingDependency
from embodmem.geometry import check_pose
from embodmem_envs import MemoryObservation
from embodmem_envs.render import RayRenderer
from embodmem_envs.testing import check_adapter, points_of
from embodmem_envs.thor import SimulatorError, ThorAdapter, ThorEnv, from_unity, optical_from_unity
from embodmem_envs.world import World

PLAYER = Path(__file__).with_name("thor_player.py")
ROOT = Path(__file__).resolve().parents[2]
HOUSE, OBJECTS = 3, 12


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ai2thor writes its log below the home folder; the stand-in finds our packages."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "envs")]))


@pytest.fixture
def make() -> Iterator[Any]:
    pytest.importorskip("ai2thor")
    made: list[ThorEnv] = []

    def start(fail: str = "", **settings: Any) -> ThorEnv:
        command = f"{sys.executable} {PLAYER}" + (f" --fail {fail}" if fail else "")
        settings = {"width": 96, "height": 72, "timeout_s": 20.0, **settings}
        env = ThorEnv(local_executable_path=command, x_display=":0", server_start_timeout=30.0, **settings)
        made.append(env)
        return env

    yield start
    for env in made:
        env.close()


def truth() -> tuple[World, list[Any]]:
    """The stand-in's house, and the box of everything in it."""
    world = World(HOUSE, OBJECTS, 60.0, 1.25, 0.0)
    things = [*world.layout.furniture, *world.objects()]
    return world, [(t.label, t.position - t.extent / 2, t.position + t.extent / 2) for t in things]


def test_depth_and_masks_land_within_a_centimetre(make: Any) -> None:
    _, boxes = truth()
    check_adapter(lambda: (make(), ThorAdapter()), lambda env: boxes, steps=25, tolerance_m=0.01, least_seen=4)


def test_colour_depth_and_masks_are_the_stand_ins_pixel_by_pixel(make: Any) -> None:
    env, adapter, (world, _) = make(), ThorAdapter(agent="thor"), truth()
    obs, info = env.reset()
    rng = np.random.default_rng(0)
    labels = 0
    for _ in range(8):
        percept = adapter.percept(obs, info, 7)
        painter = RayRenderer(world.mujoco, world.model, world.data, percept.camera, world.instance_ids())
        frame = painter.render(percept.T_world_sensor)  # from where the adapter says that the camera was
        same = np.abs(percept.depth - frame.depth) < 0.01
        assert same.mean() > 0.995  # but at edges, where rounding of the pose tips a ray
        assert (np.abs(percept.rgb.astype(int) - frame.rgb).max(axis=2)[same] <= 12).mean() > 0.99
        for number, label in percept.labels.items():
            inside = (percept.segmentation == number) & same
            assert {world.labels.get(int(n)) for n in np.unique(frame.segmentation[inside])} <= {label}
            labels += 1
        assert ((percept.segmentation > 0) == (frame.segmentation > 0))[same].mean() > 0.999
        assert np.allclose(obs["pose"][:2], percept.T_world_sensor[:2, 3])
        place = rng.choice(np.concatenate(list(world.layout.standing_places().values())))
        rotation = {"x": 0.0, "y": float(rng.uniform(0, 360)), "z": 0.0}
        where = {"x": float(place[0]), "y": 0.9, "z": float(place[1])}
        obs, *_, info = env.act("TeleportFull", **where, rotation=rotation, horizon=float(rng.uniform(-20, 50)))
    assert labels > 10 and percept.agent == "thor" and percept.stamp_ns == 7


def test_it_fills_a_memory_and_tells_of_picks(make: Any, tmp_path: Path) -> None:
    _, boxes = truth()
    with EmbodiedMemory(tmp_path / "thor.mem", config=Config(scene=SceneConfig(min_sightings=1))) as memory:
        env: Any = MemoryObservation(make(), memory, ThorAdapter(), k=4)
        obs, info = env.reset()
        for _ in range(4):
            obs, *_ = env.step(2)
        assert obs["memory"].any()
        assert [room.label for room in memory.scene.rooms()] == ["kitchen"]
        for item in memory.scene.objects():
            corners = [(low, high) for label, low, high in boxes if label == item.label]
            assert any(((item.position > low - 0.05) & (item.position < high + 0.05)).all() for low, high in corners)
        inner, world = env.unwrapped, truth()[0]
        item = next(i for i in world.items.values() if i.support != "floor")
        places = world.layout.standing_places()[item.room]
        place = places[np.argmin(np.linalg.norm(places - item.origin[:2], axis=1))]
        yaw = np.arctan2(*(item.origin[:2] - place))  # clockwise from z, as Unity's
        where = {"x": float(place[0]), "y": 0.9, "z": float(place[1])}
        rotation = {"x": 0.0, "y": float(np.rad2deg(yaw)), "z": 0.0}
        inner.act("TeleportFull", **where, rotation=rotation, horizon=30.0)
        _, _, _, _, info = inner.act("PickupObject", objectId="whatever is in reach")
        assert info["done"]
        picked = info["event"].metadata["inventoryObjects"][0]["objectType"]
        env.step(6)  # the wrapper's adapter notices with the next step that it writes
        found = memory.recall(Query(kinds=("pick",)))
        assert len(found) == 1 and found[0].text.replace(" ", "") == f"pickedupthe{picked.lower()}"
        with pytest.raises(InvalidInput, match="AI2-THOR refused the action Fly"):
            inner.act("Fly")
        env.step(6)  # and goes on
        with pytest.raises(InvalidInput, match="not contained in build"):
            env.reset(options={"scene": "FloorPlan9"})
        env.reset(options={"scene": "FloorPlan201"})
        assert [room.label for room in memory.scene.rooms()] == ["living room"]


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("crash:6", r"the player ended with code 3 during the action RotateLeft"),
        ("half:6", r"the player was ended by signal 6 during the action RotateLeft"),
        ("field:6", r"none of AI2-THOR's protocol \(KeyError: 77\)"),
        ("size:6", r"none of AI2-THOR's protocol \(.*reshape"),
        ("sequence:6", r"none of AI2-THOR's protocol \(ValueError: Sequence id mismatch"),
        ("hang:6", r"gave no answer to the action RotateLeft within 1 s"),
        ("nohorizon:6", r"wanted the field 'cameraHorizon' in AI2-THOR's metadata"),
    ],
)
def test_a_failure_is_told_at_once_and_the_memory_stays_sound(
    make: Any, tmp_path: Path, fail: str, message: str
) -> None:
    path = tmp_path / "thor.mem"
    memory = EmbodiedMemory(path, config=Config(scene=SceneConfig(min_sightings=1)))
    env: Any = MemoryObservation(make(fail, timeout_s=1.0 if "hang" in fail else 60.0), memory, ThorAdapter())
    env.reset()
    begin, steps = time.monotonic(), 0
    expected = InvalidInput if "nohorizon" in fail else SimulatorError
    with pytest.raises(expected, match=message):
        for _ in range(20):
            begin = time.monotonic()
            env.step(2)
            steps += 1
    assert time.monotonic() - begin < 8.0  # and not after the timeout of 60 s
    assert steps == 5
    stamp, counts = memory.newest_stamp(), memory.counts()
    assert stamp == steps * 500_000_000
    if expected is SimulatorError:
        with pytest.raises(SimulatorError, match="the player has ended"):
            env.step(2)
    memory.close()
    env.close()
    with EmbodiedMemory(path, "r") as again:
        assert again.newest_stamp() == stamp and again.counts() == counts and counts["keyframe"] >= 1
        with again.store.read() as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if "crash" not in fail:
        return
    with EmbodiedMemory(path) as again:  # and goes on with a new player
        fresh: Any = MemoryObservation(make(), again, ThorAdapter(), clear_on_reset=False)
        fresh.reset()
        assert again.newest_stamp() > stamp


def test_a_player_that_does_not_start_is_told_of(make: Any) -> None:
    begin = time.monotonic()
    with pytest.raises(SimulatorError, match="the player ended with code 4 during its start"):
        make("start:0")
    with pytest.raises(SimulatorError, match="no player was started.*no-such-player"):
        ThorEnv(local_executable_path="/no-such-player", x_display=":0")
    with pytest.raises(InvalidInput, match="not contained in build"):
        make(scene="FloorPlan999")
    assert time.monotonic() - begin < 20.0


# ---------------------------------------------------------------- conversions

angle = st.floats(-360, 360)
metre = st.floats(-50, 50)


@given(st.tuples(metre, metre, metre), angle, st.floats(-89, 89))
def test_unity_camera_becomes_optical(position: tuple[float, float, float], yaw: float, horizon: float) -> None:
    """Against Unity's own rule: a point of the camera's frame goes through the pitch about x, then the yaw about y."""
    pose = check_pose(optical_from_unity(position, yaw, horizon))
    a, b = np.deg2rad(horizon), np.deg2rad(yaw)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    for seen in ([0.0, 0.0, 1.0], [1.0, 0.0, 2.0], [0.3, -0.7, 1.5]):  # Unity's camera: x right, y up, z ahead
        unity = about_y @ about_x @ seen + position
        optical = np.array([seen[0], -seen[1], seen[2], 1.0])
        assert np.allclose((pose @ optical)[:3], from_unity(unity), atol=1e-9)


def test_unity_axes() -> None:
    assert from_unity([1.0, 2.0, 3.0]).tolist() == [1.0, 3.0, 2.0]
    ahead = optical_from_unity((0, 1, 0), 0.0, 0.0)
    assert np.allclose(ahead @ [0, 0, 2, 1], [0, 2, 1, 1])  # 2 m ahead, z in Unity, is y
    right = optical_from_unity((0, 1, 0), 90.0, 0.0)
    assert np.allclose(right @ [0, 0, 2, 1], [2, 0, 1, 1])
    down = optical_from_unity((0, 1, 0), 0.0, 30.0)
    assert (down @ [0, 0, 2, 1])[2] == pytest.approx(0.0)


class FakeEvent:
    """The fields of an event, as ai2thor hands them over."""

    def __init__(self, **metadata: Any) -> None:
        self.metadata = {
            "screenWidth": 4, "screenHeight": 2, "fov": 60.0, "cameraPosition": {"x": 0.0, "y": 1.0, "z": 0.0},
            "agent": {"position": {"x": 0, "y": 0, "z": 0}, "rotation": {"y": 0.0}, "cameraHorizon": 0.0},
            "objects": [{"objectId": "Mug|1", "objectType": "CoffeeMachine"}, {"objectId": "F", "objectType": "Floor"}],
            **metadata,
        }  # fmt: skip
        self.frame = np.zeros((2, 4, 3), dtype=np.uint8)
        self.depth_frame = np.array([[1.0, 20.0, np.nan, 2.0]] * 2, dtype=np.float32)
        self.instance_segmentation_frame = np.zeros((2, 4, 3), dtype=np.uint8)
        self.instance_segmentation_frame[0, :3] = [[9, 8, 7], [1, 1, 1], [5, 5, 5]]
        self.color_to_object_id = {(9, 8, 7): "Mug|1", (1, 1, 1): "F"}


def test_far_depth_walls_and_numbers() -> None:
    percept = ThorAdapter().percept(FakeEvent(), {"step": 4})
    assert percept.stamp_ns == 2_000_000_000
    assert percept.depth[0].tolist() == [1.0, 0.0, 0.0, 2.0]
    assert list(percept.labels.values()) == ["coffee machine"]
    number = next(iter(percept.labels))
    assert percept.segmentation[0].tolist() == [number, 0, 0, 0]
    assert list(ThorAdapter().percept(FakeEvent(), {"step": 0}).labels) == [number]  # the same in another process
    assert len(points_of(percept, "coffee machine")) == 1


def test_what_is_missing_is_named() -> None:
    adapter = ThorAdapter()
    with pytest.raises(InvalidInput, match="wanted ai2thor's event"):
        adapter.percept({}, {"step": 0})
    with pytest.raises(InvalidInput, match="'step'"):
        adapter.percept(FakeEvent(), {})
    event = FakeEvent()
    event.depth_frame = None
    with pytest.raises(InvalidInput, match="renderDepthImage=True"):
        adapter.percept(event, {"step": 0})
    with pytest.raises(InvalidInput, match="'rotation'"):
        adapter.percept(FakeEvent(agent={"cameraHorizon": 0.0}), {"step": 0})
    with pytest.raises(InvalidInput, match=r"of \(2, 5\)"):
        adapter.percept(FakeEvent(screenWidth=5), {"step": 0})
    with pytest.raises(InvalidInput, match="step_s > 0"):
        ThorAdapter(step_s=0)


def test_ai2thor_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai2thor.controller", None)
    with pytest.raises(MissingDependency, match=r"pip install \"embodmem\[sim\]\""):
        ThorEnv()
