"""How long the brick octree takes for a depth image, beside its floor and, where installed, Open3D and OctoMap.

    python benchmarks/bench_octree.py [--json FILE] [--frames N] [--threads N]

Real frames come from ../shared/data/seven_scenes_kitchen (640x480, Kinect v1); without them an analytic room stands in.
Images are decoded to float32 metres before the clock starts. Every image is integrated once into an empty map and
then again into the filled one; the table gives the median of all.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embodmem.config import SpatialConfig
from embodmem.geometry import backproject, check_pose, inverse, look_at, transform_points
from embodmem.spatial.octree import Octree
from embodmem.types import PinholeCamera

KITCHEN = Path(__file__).resolve().parents[2] / "shared" / "data" / "seven_scenes_kitchen"
CAMERA = PinholeCamera(width=640, height=480, fx=525, fy=525, cx=320, cy=240)
Frame = tuple[np.ndarray, np.ndarray]


def kitchen_frames(count: int) -> list[Frame]:
    from PIL import Image

    world = check_pose(np.loadtxt(KITCHEN / "T_world_scene.txt"))
    frames = []
    for path in sorted(KITCHEN.glob("frame-*.depth.png"))[:count]:
        raw = np.asarray(Image.open(path)).astype(np.float32) * np.float32(1e-3)
        pose = check_pose(np.loadtxt(str(path).replace(".depth.png", ".pose.txt")))
        frames.append((np.where(raw < 60, raw, np.float32(0)), world @ pose))
    return frames


def room_frames(count: int) -> list[Frame]:
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1)
    frames = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        T = check_pose(look_at([0.3, 0.1, 0.0], [2 * np.cos(angle), 2 * np.sin(angle), -0.4]))
        world = rays @ T[:3, :3].T
        depth = ((np.sign(world) * [2.5, 2.0, 1.3] - T[:3, 3]) / world).min(axis=-1)
        frames.append((depth.astype(np.float32), T))
    return frames


def median_ms(integrate: Callable[[int, Frame], Any], frames: list[Frame]) -> float:
    integrate(0, frames[0])  # kernels are compiled or loaded here
    times = []
    for stamp, frame in enumerate(frames * 2, start=1):
        begin = time.perf_counter()
        integrate(stamp, frame)
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


def floor_ms(frames: list[Frame], config: SpatialConfig) -> tuple[float, float]:
    """Milliseconds to read an image and to read and write the observed bricks once, and the voxels of those bricks."""
    octree = Octree(config)
    bricks = []
    for stamp, (depth, T) in enumerate(frames):
        octree.integrate(depth, CAMERA, T, stamp)
        bricks.append(np.count_nonzero(octree.bricks().last_seen_ns == stamp))
    moved = CAMERA.width * CAMERA.height * 4 + 2 * float(np.mean(bricks)) * 2048
    source = np.ones(1 << 22, np.float32)
    target = source.copy()
    begin = time.perf_counter()
    for _ in range(10):
        np.copyto(target, source)
    bandwidth = 10 * 2 * source.nbytes / (time.perf_counter() - begin)
    return 1e3 * moved / bandwidth, float(np.mean(bricks)) * 512


def open3d_peer(module: Any, config: SpatialConfig) -> Callable[[int, Frame], Any]:
    """Open3D's voxel block grid: a TSDF near the surface only, no free space."""
    core = module.core
    grid = module.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"),
        (core.float32, core.float32),
        ((1), (1)),
        config.voxel_size_m,
        8,
        config.capacity_bricks,
        core.Device("CPU:0"),
    )
    intrinsic = core.Tensor(np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1.0]]))

    def integrate(_stamp: int, frame: Frame) -> None:
        depth = module.t.geometry.Image(core.Tensor(frame[0]))
        extrinsic = core.Tensor(inverse(frame[1]))
        blocks = grid.compute_unique_block_coordinates(depth, intrinsic, extrinsic, 1.0, config.max_range_m)
        grid.integrate(blocks, depth, intrinsic, extrinsic, 1.0, config.max_range_m)

    return integrate


def octomap_peer(module: Any, config: SpatialConfig) -> Callable[[int, Frame], Any]:
    """OctoMap: rays through an octree, free space included."""
    tree = module.OcTree(config.voxel_size_m)

    def integrate(_stamp: int, frame: Frame) -> None:
        rows, cols = np.nonzero(frame[0] > config.min_range_m)
        points = transform_points(frame[1], backproject(CAMERA, rows, cols, frame[0][rows, cols].astype(np.float64)))
        tree.insertPointCloud(points, frame[1][:3, 3].copy(), max_range=config.max_range_m)

    return integrate


PEERS = {"open3d": open3d_peer, "pyoctomap": octomap_peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the claims to this file")
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    real = KITCHEN.exists()
    frames = (kitchen_frames if real else room_frames)(options.frames)
    valid = int(np.mean([np.count_nonzero(depth) for depth, _ in frames]))
    print(f"{len(frames)} frames of {'a real kitchen' if real else 'an analytic room'}, {valid} valid pixels each")
    print(f"{'voxel':>6} {'who':<22} {'ms/frame':>9} {'voxels in bricks':>17} {'floor ms':>9}")
    claims = {}
    for size, target in ((0.05, 2.0), (0.02, 33.0)):
        config = SpatialConfig(voxel_size_m=size, threads=options.threads, capacity_bricks=65536)
        floor, voxels = floor_ms(frames, config)
        for threads in sorted({1, options.threads}):
            octree = Octree(SpatialConfig(voxel_size_m=size, threads=threads, capacity_bricks=65536))
            ms = median_ms(lambda stamp, frame, to=octree: to.integrate(frame[0], CAMERA, frame[1], stamp), frames)
            print(f"{size:6.2f} {f'embodmem, {threads} threads':<22} {ms:9.2f} {voxels:17.0f} {floor:9.2f}")
            name = f"octree_integrate_640x480_{round(100 * size)}cm_{threads}_threads"
            claims[name] = {"value": round(ms, 3), "unit": "ms", "target": target, "holds": ms <= target}
        for name, make in PEERS.items():
            try:
                peer = make(importlib.import_module(name), config)
            except ImportError:
                print(f"{size:6.2f} {name:<22} {'absent':>9}")
                continue
            print(f"{size:6.2f} {name:<22} {median_ms(peer, frames[:5]):9.2f}")
    if options.json:
        options.json.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
