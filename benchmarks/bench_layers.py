"""Something is carried away in the house: how soon the map knows, and whether it forgets anything else by it.

    python benchmarks/bench_layers.py [--json FILE] [--houses N] [--shift X Y Z]

In each apartment the robot looks at the largest object that it can see from somewhere, swaying a little, for 25
images; then the object is laid elsewhere in the apartment, and it looks on. Truth is the simulator's: the object's
box (its lowest voxel, which touches what it lay on, left out), and for all else the points of the images themselves:
a voxel that was occupied, and that a point of the images taken afterwards lies in, must still be occupied. The peer is
the same map without layers, and OctoMap with the same sensor model where pyoctomap is installed.

Floors and walls of the apartments lie exactly between two layers of voxels, so that rounding decides which of them a
point falls into; `--shift 0.014 0.017 0.019` (metres) takes them away from there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from embodmem.config import SpatialConfig
from embodmem.geometry import backproject, transform_points
from embodmem.spatial.layers import Layers
from embodmem.spatial.octree import OCCUPIED, Octree
from embodmem.spatial.octree.sight import Look
from embodmem.types import PinholeCamera
from embodmem_envs.render import RayRenderer
from embodmem_envs.world import World

CAMERA = PinholeCamera(width=320, height=240, fx=250, fy=250, cx=160, cy=120)
CONFIG = SpatialConfig(voxel_size_m=0.05, max_range_m=5.0)
BEFORE, AFTER, STEP_NS = 25, 12, 10**8
MAST_M = 1.1


class Scene:
    """One apartment, and a place in it from which its largest visible object is looked at."""

    def __init__(self, seed: int, shift: np.ndarray) -> None:
        self.shift = shift
        self.rng = np.random.default_rng(seed)
        fov_y_deg = float(np.rad2deg(2 * np.arctan(CAMERA.height / 2 / CAMERA.fy)))
        self.world = world = World(seed, 12, fov_y_deg, MAST_M, 0.0)
        self.renderer = RayRenderer(world.mujoco, world.model, world.data, CAMERA, world.instance_ids())
        for item in sorted(world.items.values(), key=lambda item: -np.ptp(item.box, axis=0).prod()):
            self.item, self.box = item, item.box.copy()
            middle = self.box.mean(axis=0)
            places = world.layout.standing_places()[item.room]
            away = np.linalg.norm(places - middle[:2], axis=1)
            for self.place in places[(away > 0.8) & (away < 1.8)][:: max(1, len(places) // 40)]:
                self.target = middle
                if np.count_nonzero(self.look(0)[2] == item.instance_id) > 1200:
                    return
        raise SystemExit(f"apartment {seed}: no object can be seen well")

    def look(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth, pose and segmentation of image i."""
        x, y = self.place + 0.03 * np.array([np.sin(0.9 * i), np.cos(0.7 * i)])
        offset = self.target - [x, y, MAST_M]
        self.world.pose = np.array([x, y, np.arctan2(offset[1], offset[0]) + 0.05 * np.sin(0.5 * i)])
        self.world.pitch_rad = float(np.arctan2(offset[2], np.hypot(*offset[:2])) + 0.03 * np.cos(0.4 * i))
        self.world.update()
        frame, T = self.renderer.render(self.world.T_world_camera), self.world.T_world_camera.copy()
        T[:3, 3] += self.shift
        return frame.depth.copy(), T, frame.segmentation.copy()


def points_of(depth: np.ndarray, T: np.ndarray) -> np.ndarray:
    rows, cols = np.nonzero((depth > CONFIG.min_range_m) & (depth < CONFIG.max_range_m))
    return transform_points(T, backproject(CAMERA, rows, cols, depth[rows, cols].astype(np.float64)))


class Ours:
    """Our map, with or without layers."""

    def __init__(self, layered: bool) -> None:
        self.octree = Octree(CONFIG)
        self.layers = Layers(self.octree) if layered else None

    def add(self, depth: np.ndarray, T: np.ndarray, stamp_ns: int) -> None:
        """Integrate an image."""
        self.octree.integrate(depth, CAMERA, T, stamp_ns)
        if self.layers is not None:
            self.layers.update(stamp_ns, Look(depth, CAMERA, T))

    def occupied(self, centres: np.ndarray) -> np.ndarray:
        """Which voxels (N,) are, by their centres (N, 3)."""
        return self.octree.occupancy(centres) == OCCUPIED


class OctoMap:
    """OctoMap with the same sensor model."""

    def __init__(self) -> None:
        import pyoctomap

        self.tree = pyoctomap.OcTree(CONFIG.voxel_size_m)
        self.tree.setProbHit(1 / (1 + np.exp(-CONFIG.log_odds_hit)))
        self.tree.setProbMiss(1 / (1 + np.exp(-CONFIG.log_odds_miss)))
        self.tree.setClampingThresMin(1 / (1 + np.exp(-CONFIG.log_odds_min)))
        self.tree.setClampingThresMax(1 / (1 + np.exp(-CONFIG.log_odds_max)))

    def add(self, depth: np.ndarray, T: np.ndarray, stamp_ns: int) -> None:
        """Integrate an image."""
        self.tree.insertPointCloud(points_of(depth, T), T[:3, 3].copy(), max_range=CONFIG.max_range_m)

    def occupied(self, centres: np.ndarray) -> np.ndarray:
        """Which voxels (N,) are, by their centres (N, 3)."""
        nodes = [self.tree.search(centre) for centre in centres]
        return np.array([node is not None and node.getLogOdds() > 0 for node in nodes])


def contestants() -> dict[str, Ours | OctoMap]:
    made: dict[str, Ours | OctoMap] = {"embodmem, two layers": Ours(True), "embodmem, one layer": Ours(False)}
    try:
        made["OctoMap"] = OctoMap()
    except ImportError:
        print("pyoctomap is absent: no row for OctoMap")
    return made


def centres_in(box: np.ndarray) -> np.ndarray:
    size = CONFIG.voxel_size_m
    low, high = box.copy()
    low[2] += size  # what touches the support is the support's as well
    axes = [np.arange(np.floor(a / size), np.ceil(b / size)) for a, b in zip(low, high, strict=True)]
    return (np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) + 0.5) * size


def run(seed: int, shift: np.ndarray) -> dict[str, tuple[int, int, int, int]]:
    """By contestant: views until at most 2 % of the object's voxels are occupied, voxels, static ones lost, static."""
    scene, racers = Scene(seed, shift), contestants()
    box = scene.box + shift
    inside = centres_in(box)
    for i in range(BEFORE):
        depth, T, _ = scene.look(i)
        for racer in racers.values():
            racer.add(depth, T, (i + 1) * STEP_NS)
    there = {name: racer.occupied(inside) for name, racer in racers.items()}
    scene.world.move_object(scene.rng, scene.item.id)
    points, views = [], {name: 0 for name in racers}
    for i in range(BEFORE, BEFORE + AFTER):
        depth, T, segmentation = scene.look(i)
        points.append(points_of(np.where(segmentation == scene.item.instance_id, np.float32(0), depth), T))
        for name, racer in racers.items():
            racer.add(depth, T, (i + 1) * STEP_NS)
            if views[name] == 0 and racer.occupied(inside)[there[name]].sum() <= 0.02 * there[name].sum():
                views[name] = i - BEFORE + 1
    size = CONFIG.voxel_size_m
    static = (np.unique(np.floor(np.concatenate(points) / size), axis=0) + 0.5) * size
    static = static[(np.abs(static - box.mean(axis=0)) > np.ptp(box, axis=0) / 2 + size).any(axis=1)]
    lost = {name: int((~racer.occupied(static)).sum()) for name, racer in racers.items()}
    return {name: (views[name] or 99, int(there[name].sum()), lost[name], len(static)) for name in racers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the claims to this file")
    parser.add_argument("--houses", type=int, default=5)
    parser.add_argument("--shift", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("X", "Y", "Z"))
    options = parser.parse_args()
    results = [run(seed, np.array(options.shift)) for seed in range(options.houses)]
    print(f"{'':<24} {'views to clear':>22} {'its voxels':>20} {'surface not occupied':>24}")
    for name in results[0]:
        rows = [result[name] for result in results if name in result]
        views, voxels = (", ".join(str(row[i]) for row in rows) for i in (0, 1))
        lost, static = (sum(row[i] for row in rows) for i in (2, 3))
        print(f"{name:<24} {views:>22} {voxels:>20} {lost:>10} of {static} ({100 * lost / static:.2f} %)")
    ours = [result["embodmem, two layers"] for result in results]
    plain = [result["embodmem, one layer"] for result in results]
    worst = max(row[0] for row in ours)
    more = sum(row[2] for row in ours) - sum(row[2] for row in plain)
    claims = {
        "moved_object_cleared": {"value": worst, "unit": "views", "target": 5, "holds": worst <= 5},
        "static_lost_by_clearing": {"value": more, "unit": "voxels", "target": 0, "holds": more <= 0},
    }
    print(f"99: not within {AFTER} views. Lost by clearing beyond the map of one layer: {more} voxels.")
    if options.json:
        options.json.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
