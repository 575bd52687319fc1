"""What `bench_spatial.py` integrates: real recordings from ../shared/data, else analytic scenes of the same size."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from embodmem.datasets import read_pcd
from embodmem.geometry import backproject, check_pose, inverse, look_at, transform_points
from embodmem.types import PinholeCamera

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CAMERA = PinholeCamera(width=640, height=480, fx=525, fy=525, cx=320, cy=240)


class Frame(NamedTuple):
    """A depth image or a lidar scan; `world` holds its points in the world, for peers that want those."""

    T_world_sensor: np.ndarray
    depth: np.ndarray | None
    points: np.ndarray | None
    world: np.ndarray


def kitchen(count: int) -> list[Frame]:
    """7-Scenes, 640x480."""
    from PIL import Image

    folder = DATA / "seven_scenes_kitchen"
    world = check_pose(np.loadtxt(folder / "T_world_scene.txt"))
    frames = []
    for path in sorted(folder.glob("frame-*.depth.png"))[:count]:
        raw = np.asarray(Image.open(path)).astype(np.float32) * np.float32(1e-3)
        pose = check_pose(np.loadtxt(str(path).replace(".depth.png", ".pose.txt")))
        frames.append(depth_frame(np.where(raw < 60, raw, np.float32(0)), world @ pose))
    return frames


def room(count: int) -> list[Frame]:
    """The inside of a box, 640x480."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1)
    frames = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        T = check_pose(look_at([0.3, 0.1, 0.0], [2 * np.cos(angle), 2 * np.sin(angle), -0.4]))
        world = rays @ T[:3, :3].T
        depth = ((np.sign(world) * [2.5, 2.0, 1.3] - T[:3, 3]) / world).min(axis=-1)
        frames.append(depth_frame(depth.astype(np.float32), T))
    return frames


def depth_frame(depth: np.ndarray, T: np.ndarray, nearest_m: float = 0.1) -> Frame:
    rows, cols = np.nonzero(depth > nearest_m)
    points = backproject(CAMERA, rows, cols, depth[rows, cols].astype(np.float64))
    return Frame(T, depth, None, transform_points(T, points))


def city(count: int) -> list[Frame]:
    """64 beams in a street, about 120,000 points."""
    folder = DATA / "city_lidar"
    poses = np.loadtxt(folder / "poses_world_lidar.txt").reshape(-1, 4, 4)
    frames = []
    for path, T in list(zip(sorted(folder.glob("*.pcd")), poses, strict=True))[:count]:
        points = read_pcd(path).points
        frames.append(Frame(check_pose(T), None, points, transform_points(T, points.astype(np.float64))))
    return frames


def street(count: int) -> list[Frame]:
    """64 beams between two walls over a flat ground, 115,200 points."""
    elevation, azimuth = np.meshgrid(
        np.radians(np.linspace(-24, 2, 64)), np.linspace(0, 2 * np.pi, 1800, endpoint=False)
    )
    rays = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=-1
    ).reshape(-1, 3)
    frames = []
    for i in range(count):
        T = np.eye(4)
        T[:3, 3] = [0.8 * i, 0.3, 1.7]
        with np.errstate(divide="ignore"):
            reach = ((np.sign(rays) * [70.0, 9.0, 0.0] - [0.0, 0.3, 1.7]) / rays)[:, :2]
            ground = np.where(rays[:, 2] < 0, -1.7 / rays[:, 2], np.inf)
        t = np.minimum(np.where(reach > 0, reach, np.inf).min(axis=1), ground)
        world = T[:3, 3] + rays * t[:, None]
        frames.append(Frame(T, None, transform_points(inverse(T), world).astype(np.float32), world))
    return frames
