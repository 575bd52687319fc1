from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from embodmem.geometry import backproject, look_at, transform_points
from embodmem_envs import HouseAdapter
from embodmem_envs.catalogue import Part
from embodmem_envs.layout import HEIGHT_M, WALL_M
from embodmem_envs.render import RayRenderer, camera_of, normals_from_depth

PANE_M = 0.006  # window panes stand out from the wall by 5 mm


def stand(house: Any, x: float, y: float, yaw: float, pitch: float = 0.0) -> tuple[dict[str, Any], dict[str, Any]]:
    world = house.world
    world.pose, world.pitch_rad = np.array([x, y, yaw]), pitch
    world.update()
    house._frame = None
    return house._observe(), house._info(False)


def stand_in(house: Any, room: str, yaw: float, pitch: float = 0.0) -> tuple[dict[str, Any], dict[str, Any]]:
    places = house.world.layout.standing_places()[room]
    middle = next((r.lower + r.upper)[:2] / 2 for r in house.rooms if r.name == room)
    x, y = places[np.argmin(np.linalg.norm(places - middle, axis=1))]
    return stand(house, x, y, yaw, pitch)


def world_points(obs: dict[str, Any], info: dict[str, Any], mask: np.ndarray) -> np.ndarray:
    percept = HouseAdapter().percept(obs, info)
    rows, cols = np.nonzero(mask)
    points = backproject(percept.camera, rows, cols, percept.depth[rows, cols].astype(np.float64))
    return transform_points(percept.T_world_sensor, points)


def from_surface(part: Part, points: np.ndarray) -> np.ndarray:
    """(N,) how far points (N, 3) of the local frame are from the part's surface, to first order."""
    p, half = points - part.offset, np.array(part.half)
    if part.kind == "box":
        outside = np.linalg.norm(np.maximum(np.abs(p) - half, 0), axis=1)
        return np.abs(outside + np.minimum((np.abs(p) - half).max(axis=1), 0))
    if part.kind == "cylinder":
        q = np.stack([np.linalg.norm(p[:, :2], axis=1) - half[0], np.abs(p[:, 2]) - half[2]], axis=1)
        return np.abs(np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(axis=1), 0))
    scaled = np.linalg.norm(p / half, axis=1)
    return np.abs(scaled - 1) * scaled / np.maximum(np.linalg.norm(p / half**2, axis=1), 1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_wall_faced_square_on_has_one_depth(house: Any, seed: int) -> None:
    """Depth is metres along +z of the optical frame: a wall square to it is equally deep in the middle and aside."""
    house.reset(seed=seed)
    tried = 0
    for room in house.rooms:
        for axis, sign, yaw in ((0, 1, 0.0), (0, -1, np.pi), (1, 1, np.pi / 2), (1, -1, -np.pi / 2)):
            corner = room.upper if sign > 0 else room.lower
            outer = house.world.layout.upper - WALL_M if sign > 0 else house.world.layout.lower + WALL_M
            if abs(corner[axis] - outer[axis]) > 0.01:
                continue  # a door might be in it
            obs, info = stand_in(house, room.name, yaw)
            points = world_points(obs, info, obs["segmentation"] == 0)
            inside = (points[:, 2] > 0.02) & (points[:, 2] < HEIGHT_M - 0.02)
            across = 1 - axis
            inside &= (points[:, across] > room.lower[across] + 0.02) & (points[:, across] < room.upper[across] - 0.02)
            expected = abs(corner[axis] - house.robot_pose[axis])
            depth = obs["depth"][obs["segmentation"] == 0][inside]
            assert len(depth) > 100
            assert (depth > expected - PANE_M).all() and (depth < expected + 1e-3).all()
            tried += 1
    assert tried >= 6


def test_every_labelled_point_lies_on_the_surface_of_its_thing(house: Any) -> None:
    house.reset(seed=3)
    pieces = {f.instance_id: (f.kind.parts, f.origin, f.yaw_rad, f.label) for f in house.furniture}
    things = {i.instance_id: (i.kind.parts, i.origin, i.yaw_rad, i.kind.label) for i in house.world.items.values()}
    seen = set()
    for room in house.rooms:
        for yaw in np.arange(0, 2 * np.pi, np.pi / 3):
            obs, info = stand_in(house, room.name, yaw + 0.1, pitch=-0.35)
            for number in np.unique(obs["segmentation"]):
                if number == 0:
                    continue
                parts, origin, turn, label = (pieces | things)[int(number)]
                assert info["labels"][int(number)] == label
                points = world_points(obs, info, obs["segmentation"] == number) - origin
                c, s = np.cos(turn), np.sin(turn)
                local = np.c_[points[:, :2] @ np.array([[c, -s], [s, c]]), points[:, 2]]
                away = np.min([from_surface(part, local) for part in parts], axis=0)
                assert away.max() < 0.01, f"{label}: {away.max()} m"
                seen.add(int(number))
    assert len(seen & set(pieces)) > 15 and len(seen & set(things)) > 15


def test_what_has_no_label_is_wall_floor_or_ceiling(house: Any) -> None:
    house.reset(seed=4)
    boxes = np.array([np.r_[low, high] for low, high in house.world.layout.walls])
    for room in ("kitchen", "bedroom", "hall"):
        for yaw in (0.3, 2.0, 4.0):
            obs, info = stand_in(house, room, yaw, pitch=-0.2)
            points = world_points(obs, info, obs["segmentation"] == 0)
            off = np.maximum(np.maximum(boxes[:, None, :3] - points, points - boxes[:, None, 3:]), 0)
            wall = np.linalg.norm(off, axis=2).min(axis=0)
            level = np.minimum(np.abs(points[:, 2]), np.abs(points[:, 2] - HEIGHT_M))
            assert np.minimum(wall, level).max() < 0.01
            assert 0 not in info["labels"]


def test_leaving_out_what_is_not_in_view_changes_nothing(house: Any) -> None:
    house.reset(seed=1)
    world, camera = house.world, camera_of(48, 36, 80.0)
    renderer = RayRenderer(world.mujoco, world.model, world.data, camera, world.instance_ids())
    plain = RayRenderer(world.mujoco, world.model, world.data, camera, world.instance_ids())
    plain._outside = lambda pose: np.zeros(world.model.ngeom, dtype=bool)  # type: ignore[method-assign]
    rng = np.random.default_rng(0)
    for room in house.rooms:
        eye = (room.lower + room.upper) / 2
        for _ in range(4):
            pose = look_at(eye, eye + rng.normal(size=3))
            one, other = renderer.render(pose), plain.render(pose)
            assert np.array_equal(one.depth, other.depth)
            assert np.array_equal(one.segmentation, other.segmentation)
            assert np.array_equal(one.rgb, other.rgb)


def test_normals_from_depth_agree_with_those_of_the_ray_caster(house: Any) -> None:
    """The path for MuJoCo before its ray caster gave normals: the same picture but at edges."""
    house.reset(seed=0)
    world = house.world
    renderer = RayRenderer(world.mujoco, world.model, world.data, house.camera, world.instance_ids())
    if not renderer._has_normals:
        pytest.skip("this MuJoCo gives no normals to compare with")
    pose = world.T_world_camera
    expected = renderer.render(pose)
    rows, cols = np.indices(house.camera.shape).reshape(2, -1)
    points = backproject(house.camera, rows, cols, expected.depth.reshape(-1).astype(np.float64))
    image = transform_points(pose, points).reshape(*house.camera.shape, 3)
    normals = normals_from_depth(image)
    level = (np.abs(image[..., 2]) < 1e-3) & (expected.segmentation == 0)
    inner = level[1:-1, 1:-1] & level[:-2, 1:-1] & level[2:, 1:-1] & level[1:-1, :-2] & level[1:-1, 2:]
    assert inner.sum() > 500
    assert np.abs(np.abs(normals[1:-1, 1:-1][inner]) @ [0, 0, 1] - 1).max() < 1e-3
    assert np.allclose(np.linalg.norm(normals, axis=2), 1.0)


def test_picture_shows_colours_and_shades(house: Any) -> None:
    obs, _ = house.reset(seed=0)
    obs, _ = stand_in(house, "kitchen", 0.5, -0.35)
    assert obs["rgb"].std() > 15
    counter = next(f for f in house.furniture if f.label == "counter")
    on_it = obs["rgb"][obs["segmentation"] == counter.instance_id]
    assert len(np.unique(on_it, axis=0)) > 5  # top and front differ in shade


@pytest.mark.parametrize("size", [(160, 120), (64, 64), (31, 17)])
def test_camera_has_the_field_of_view_asked_for(size: tuple[int, int]) -> None:
    camera = camera_of(*size, 75.0)
    left = np.arctan2(-0.5 - camera.cx, camera.fx)
    right = np.arctan2(size[0] - 0.5 - camera.cx, camera.fx)
    assert np.isclose(np.rad2deg(right - left), 75.0) and camera.fx == camera.fy
    assert (camera.cx, camera.cy) == ((size[0] - 1) / 2, (size[1] - 1) / 2)
