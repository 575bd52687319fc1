from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from embodmem.errors import InvalidInput
from embodmem_envs import Adapter, HouseAdapter
from embodmem_envs.adapter import optical_from_mujoco


def test_adapter_keeps_the_protocol_and_gives_a_percept(house: Any) -> None:
    obs, info = house.reset(seed=0)
    adapter = HouseAdapter(agent="robby")
    assert isinstance(adapter, Adapter)
    percept = adapter.percept(obs, info, 42)
    assert percept.stamp_ns == 42 and percept.agent == "robby"
    assert percept.depth is obs["depth"] and percept.rgb is obs["rgb"]
    assert percept.camera == house.camera and percept.depth.shape == percept.camera.shape
    assert {f.label for f in house.furniture} | {o.label for o in house.objects} == set(percept.labels.values())
    assert not {"wall", "floor", "ceiling"} & set(percept.labels.values())
    assert set(np.unique(obs["segmentation"])) - {0} <= set(percept.labels)
    assert np.isclose(percept.T_world_sensor[2, 3], 1.25)
    assert np.allclose(percept.T_world_sensor[:2, 3], house.robot_pose[:2])
    # x of the optical frame is level and to the right of where the robot looks.
    yaw = house.robot_pose[2]
    assert np.allclose(percept.T_world_sensor[:3, 0], [np.sin(yaw), -np.cos(yaw), 0.0])
    assert adapter.events(info) == ()
    assert {name for name, *_ in adapter.rooms(house)} == {room.name for room in house.rooms}


def test_steps_become_stamps(house: Any) -> None:
    adapter = HouseAdapter(step_s=0.1, start_ns=5)
    obs, info = house.reset(seed=0)
    assert adapter.percept(obs, info).stamp_ns == 5
    for _ in range(3):
        obs, _, _, _, info = house.step(0)
    assert adapter.percept(obs, info).stamp_ns == 5 + 3 * 10**8


def test_mujoco_camera_that_looks_down_becomes_optical() -> None:
    """MuJoCo's camera with the world's axes looks straight down, the world's y up in its image."""
    pose = optical_from_mujoco((1.0, 2.0, 3.0), np.eye(3).reshape(-1))
    assert np.allclose(pose @ [0, 0, 3, 1], [1, 2, 0, 1])  # 3 m ahead is the floor below
    assert np.allclose(pose[:3, :3] @ [0, -1, 0], [0, 1, 0])  # up in the image


def test_bad_input_is_refused(house: Any) -> None:
    obs, info = house.reset(seed=0)
    with pytest.raises(InvalidInput, match="step_s > 0"):
        HouseAdapter(step_s=0.0)
    with pytest.raises(InvalidInput, match="wanted 'depth'.*got.*'rgb'"):
        HouseAdapter().percept({"rgb": obs["rgb"]}, info)
    with pytest.raises(InvalidInput, match="T_world_camera"):
        HouseAdapter().percept(obs, {"step": 0})
    with pytest.raises(InvalidInput, match="ndarray"):
        HouseAdapter().percept(np.zeros(3), info)
