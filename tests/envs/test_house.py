from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import gymnasium
from gymnasium.utils.env_checker import check_env

from embodmem.errors import ConfigError, EmbodmemError, InvalidInput
from embodmem_envs import Action, HouseConfig

ID = "EmbodMem/House-v0"
SMALL = {"width": 32, "height": 24, "n_objects": 12}


@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_gymnasium_finds_no_fault(action_type: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Continuous actions are m/s and rad/s on purpose.
        warnings.filterwarnings("ignore", message=".*normalized space.*")
        check_env(gymnasium.make(ID, action_type=action_type, **SMALL).unwrapped)


def play(seed: int, steps: int = 25) -> list[bytes]:
    env = gymnasium.make(ID, **SMALL).unwrapped
    rng, said = np.random.default_rng(seed), []
    obs, info = env.reset(seed=seed)
    for step in range(steps):
        said += [np.asarray(obs[key]).tobytes() for key in sorted(obs)]
        said += [info["T_world_camera"].tobytes(), repr((info["labels"], info["room"], info["held"])).encode()]
        if step == steps // 2:
            obs, info = env.reset(options={"move": 4})
        else:
            obs, _, _, _, info = env.step(int(rng.integers(len(Action))))
    return said


def test_same_seed_gives_the_same_bytes() -> None:
    assert play(5) == play(5)
    assert play(5) != play(6)


def test_vector_environment_steps() -> None:
    envs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="sync", max_steps=3, **SMALL)
    obs, _ = envs.reset(seed=[1, 2])
    assert obs["rgb"].shape == (2, 24, 32, 3)
    truncated = np.zeros(2, dtype=bool)
    for _ in range(3):
        obs, reward, terminated, truncated, info = envs.step(np.array([Action.TURN_LEFT, Action.FORWARD]))
        assert not terminated.any() and (reward == 0).all()
    assert truncated.all()
    assert info["T_world_camera"].shape == (2, 4, 4)
    envs.step(envs.action_space.sample())  # resets of itself
    envs.close()


def test_episode_is_truncated_after_max_steps_and_the_clock_of_the_home_goes_on() -> None:
    env = gymnasium.make(ID, max_steps=3, **SMALL).unwrapped
    _, first = env.reset(seed=0)
    ends = [env.step(Action.STAY)[3] for _ in range(3)]
    assert ends == [False, False, True]
    _, second = env.reset()
    assert first["step"] == 0 and second["step"] == 4
    assert env.step(Action.STAY)[3] is False
    assert env.reset(seed=0)[1]["step"] == 0


def test_reset_without_a_seed_keeps_the_home_and_with_move_moves_objects(house: Any) -> None:
    house.reset(seed=2)
    before = {o.id: (o.position, o.support_id, o.room) for o in house.objects}
    start = house.robot_pose
    for _ in range(3):
        house.step(Action.TURN_LEFT)
    house.reset()
    assert np.array_equal(house.robot_pose, start)
    assert all(np.array_equal(before[o.id][0], o.position) for o in house.objects)
    house.reset(options={"move": 5})
    moved = [o for o in house.objects if not np.array_equal(before[o.id][0], o.position)]
    assert len(moved) == 5
    # Where its class has more than one kind of place, a moved object lies on another one.
    assert sum((o.support_id, o.room) != before[o.id][1:] for o in moved) >= 3


def test_house_seed_fixes_the_apartment() -> None:
    env = gymnasium.make(ID, house_seed=9, **SMALL).unwrapped
    env.reset(seed=1)
    one = [f.position.tolist() for f in env.furniture]
    env.reset(seed=2)
    assert one == [f.position.tolist() for f in env.furniture]


def test_discrete_actions_move_the_robot(house: Any) -> None:
    house.reset(seed=0)
    x, y, yaw = house.robot_pose
    _, _, _, _, info = house.step(Action.FORWARD)
    assert not info["collided"]
    assert np.allclose(house.robot_pose[:2], [x + 0.25 * np.cos(yaw), y + 0.25 * np.sin(yaw)])
    assert np.allclose(info["T_world_base"][:2, 3], house.robot_pose[:2])
    house.step(Action.TURN_LEFT)
    assert np.isclose(np.cos(house.robot_pose[2] - yaw - np.pi / 6), 1.0)
    house.step(Action.TURN_RIGHT)
    assert np.isclose(np.cos(house.robot_pose[2] - yaw), 1.0)
    down = house.step(Action.LOOK_DOWN)[4]["T_world_camera"][2, 2]
    up = house.step(Action.LOOK_UP)[4]["T_world_camera"][2, 2]
    assert np.isclose(up, np.sin(np.deg2rad(-20))) and np.isclose(down, np.sin(np.deg2rad(-35)))


def test_continuous_actions_follow_speed_and_rate() -> None:
    env = gymnasium.make(ID, action_type="continuous", **SMALL).unwrapped
    env.reset(seed=0)
    x, y, yaw = env.robot_pose
    env.step(np.array([0.4, 0.0, 0.0, 0.0], dtype=np.float32))
    assert np.allclose(env.robot_pose[:2], [x + 0.2 * np.cos(yaw), y + 0.2 * np.sin(yaw)], atol=1e-6)
    # On an arc of radius v / w the chord of the quarter circle is as the formula has it.
    x, y, yaw = env.robot_pose
    env.step(np.array([0.2, np.pi / 2, 0.0, 0.0], dtype=np.float32))
    angle, radius = np.pi / 4, 0.2 / (np.pi / 2)
    local = radius * np.array([np.sin(angle), 1 - np.cos(angle)])
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    assert np.allclose(env.robot_pose[:2], [x, y] + turn @ local, atol=2e-3)
    assert np.isclose(np.cos(env.robot_pose[2] - yaw - angle), 1.0)


def test_walls_and_furniture_stop_the_robot() -> None:
    house = gymnasium.make(ID, width=16, height=12).unwrapped
    rng = np.random.default_rng(0)
    house.reset(seed=1)
    collided = 0
    for _ in range(250):
        action = Action.FORWARD if rng.random() < 0.75 else Action.TURN_LEFT
        before = house.robot_pose
        _, _, _, _, info = house.step(action)
        collided += info["collided"]
        blocks, at = house.world.obstacles(), house.robot_pose
        away = np.maximum(np.maximum(blocks[:, :2] - at[:2], at[:2] - blocks[:, 2:]), 0)
        assert np.linalg.norm(away, axis=1).min() >= 0.2 - 1e-9
        assert np.linalg.norm(at[:2] - before[:2]) <= 0.25 + 1e-9
    assert collided > 10


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"widht": 64}, "width"),
        ({"width": 2}, "8 to 1920"),
        ({"width": "64"}, "int"),
        ({"action_type": "both"}, "'discrete' or 'continuous'"),
        ({"renderer": "vulkan"}, "'raycast' or 'gl'"),
        ({"max_steps": 0}, "max_steps"),
        ({"n_objects": 1000}, "n_objects"),
        ({"fov_deg": 170.0}, "fov_deg"),
        ({"step_s": 0.0}, "step_s"),
        ({"house_seed": -1}, "house_seed"),
    ],
)
def test_bad_settings_are_refused_with_what_was_wanted(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        gymnasium.make(ID, **settings)


def test_bad_render_mode_action_and_option_are_refused(house: Any) -> None:
    from embodmem_envs import HouseEnv

    with pytest.raises(ConfigError, match="rgb_array"):
        HouseEnv(render_mode="human")
    with pytest.raises(InvalidInput, match="reset"):
        HouseEnv().step(0)
    house.reset(seed=0)
    with pytest.raises(InvalidInput, match="Discrete"):
        house.step(99)
    with pytest.raises(InvalidInput, match="'move'"):
        house.reset(options={"mvoe": 3})
    with pytest.raises(InvalidInput, match="got 500"):
        house.reset(options={"move": 500})


def test_config_object_and_keywords_together() -> None:
    env = gymnasium.make(ID, config=HouseConfig(width=40, height=30), height=20).unwrapped
    assert env.camera.shape == (20, 40)


def test_render_modes() -> None:
    env = gymnasium.make(ID, render_mode="rgb_array", **SMALL).unwrapped
    obs, _ = env.reset(seed=0)
    assert np.array_equal(env.render(), obs["rgb"])
    env = gymnasium.make(ID, render_mode="map", **SMALL).unwrapped
    env.reset(seed=0)
    image = env.render()
    assert image.dtype == np.uint8 and image.shape[1] == 720
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    assert gymnasium.make(ID, **SMALL).unwrapped.render() is None


def test_package_needs_no_opengl_and_core_no_gymnasium() -> None:
    """In a process of its own: no OpenGL library is loaded, and the memory alone does not pull the simulator."""
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys\n"
        "import embodmem\n"
        "assert not {'gymnasium', 'mujoco', 'embodmem_envs'} & set(sys.modules)\n"
        "import embodmem_envs, gymnasium\n"
        "assert 'mujoco' not in sys.modules\n"
        f"env = gymnasium.make('{ID}', width=16, height=12, n_objects=2)\n"
        "env.reset(seed=0); env.step(1)\n"
        "maps = open('/proc/self/maps').read() if sys.platform == 'linux' else ''\n"
        "assert 'libGL' not in maps and 'libEGL' not in maps and 'OSMesa' not in maps\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": f"{root}:{root / 'envs'}", "PATH": ""}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.filterwarnings("ignore::glfw.GLFWError")
def test_gl_renderer_agrees_with_the_ray_caster_or_says_how_to_get_it() -> None:
    gl = gymnasium.make(ID, renderer="gl", **SMALL).unwrapped
    ray = gymnasium.make(ID, **SMALL).unwrapped
    expected, _ = ray.reset(seed=0)
    try:
        found, _ = gl.reset(seed=0)
    except EmbodmemError as error:
        assert "MUJOCO_GL" in str(error) and "raycast" in str(error)
        return
    near = np.abs(found["depth"] - expected["depth"]) < 0.01
    assert near.mean() > 0.98 and (found["segmentation"] == expected["segmentation"]).mean() > 0.98
    gl.close()
