"""Whether the octree says what OctoMap says, and which of the two is right where the truth is known.

    python benchmarks/bench_agreement.py [--json FILE] [--frames 1,25] [--sizes 0.05,0.02] [--house STEPS]

Kitchen: real frames of ../shared/data/seven_scenes_kitchen go into both maps, with the same log-odds, clamps and range;
the voxels that both know are compared, and every voxel that differs is put into a class. House: a tour of
EmbodMem/House-v0 goes into both, and both are held against the geometry. OctoMap takes about 0.2 s a frame at 5 cm and
1 s at 2 cm on a quiet machine, so `--frames 1,25,250` needs some minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from house_truth import voxels_held
from spatial_frames import CAMERA, kitchen

from embodmem.config import SpatialConfig
from embodmem.geometry import backproject, transform_points
from embodmem.spatial.octree import FREE, OCCUPIED, UNKNOWN, Octree
from embodmem.spatial.octree.depth import spacing_px
from embodmem.types import PinholeCamera

Array = np.ndarray
Frame = tuple[np.ndarray, np.ndarray]  # depth (H, W) and T_world_camera (4, 4)
Claims = dict[str, dict[str, Any]]
CLASSES = ("outside the image", "no return", "depth edge", "slanted surface", "in view")


class Grid:
    """A box of voxels, and where it is in an image."""

    def __init__(self, lower: Array, upper: Array, size: float) -> None:
        self.size, self.lower, self.shape = size, lower, upper - lower
        cells = np.stack(np.meshgrid(*map(np.arange, lower, upper), indexing="ij"), axis=-1)
        self.centres = (cells.reshape(-1, 3) + 0.5) * size

    def flat(self, points: Array) -> Array:
        """Places in the box of the voxels that hold points (N, 3)."""
        cells = np.floor(points / self.size).astype(int) - self.lower
        return np.unique(np.ravel_multi_index(cells[((cells >= 0) & (cells < self.shape)).all(axis=1)].T, self.shape))


def points_of(frame: Frame, camera: PinholeCamera, near_m: float, every: int = 1, far_m: float = np.inf) -> Array:
    depth, pose = frame
    rows, columns = np.nonzero((depth >= near_m) & (depth <= far_m))
    chosen = (rows % every == every // 2) & (columns % every == every // 2)
    rows, columns = rows[chosen], columns[chosen]
    return transform_points(pose, backproject(camera, rows, columns, depth[rows, columns].astype(np.float64)))


def make_octomap(config: SpatialConfig) -> Any:
    import pyoctomap

    def probability(log_odds: float) -> float:
        return float(1 / (1 + np.exp(-log_odds)))

    tree = pyoctomap.OcTree(config.voxel_size_m)
    tree.setProbHit(probability(config.log_odds_hit))
    tree.setProbMiss(probability(config.log_odds_miss))
    tree.setClampingThresMin(probability(config.log_odds_min))
    tree.setClampingThresMax(probability(config.log_odds_max))
    tree.setOccupancyThres(probability(config.log_odds_occupied))
    return tree


class Race:
    """The same images into both maps; counts per voxel what each image said about it."""

    def __init__(self, grid: Grid, camera: PinholeCamera, explain: bool) -> None:
        self.grid, self.camera, self.explain = grid, camera, explain
        self.config = SpatialConfig(voxel_size_m=grid.size, budget_mib=219.251)
        self.ours, self.theirs, self.stamp = Octree(self.config), make_octomap(self.config), 0
        self.every = spacing_px(camera, self.config)
        self.why = np.zeros((len(CLASSES), len(grid.centres)), np.int16)
        self.missed = np.zeros(len(grid.centres), np.int16)  # images of which a point is in it, but no marking one

    def add(self, frame: Frame) -> None:
        """Integrate an image into both."""
        self.ours.integrate(frame[0], self.camera, frame[1], self.stamp)
        points = points_of(frame, self.camera, self.config.min_range_m)
        self.theirs.insertPointCloud(points, frame[1][:3, 3].copy(), max_range=self.config.max_range_m)
        self.stamp += 1
        if self.explain:
            self._note(frame, points)

    def states(self) -> tuple[Array, Array]:
        """What the two maps say of every voxel: (N,) each."""
        theirs = [np.asarray(self.theirs.getLabels(part)).ravel() for part in np.array_split(self.grid.centres, 64)]
        return self.ours.occupancy(self.grid.centres), np.concatenate(theirs).astype(np.int8)

    def _note(self, frame: Frame, points: Array) -> None:
        """Count, for each voxel, why this image does not free it for us."""
        depth, pose = frame
        camera, size = self.camera, self.grid.size
        marked = points_of(frame, camera, self.config.min_range_m, self.every, self.config.max_range_m)
        self.missed[np.setdiff1d(self.grid.flat(points), self.grid.flat(marked))] += 1
        p = (self.grid.centres - pose[:3, 3]) @ pose[:3, :3]
        z = np.maximum(p[:, 2], 1e-3)
        column = np.floor(p[:, 0] / z * camera.fx + camera.cx + 0.5).astype(int)
        row = np.floor(p[:, 1] / z * camera.fy + camera.cy + 0.5).astype(int)
        border = 2 * size * camera.fx / z  # px: beside the image, but so near that rays may touch it
        near = (p[:, 2] > size) & (p[:, 2] < self.config.max_range_m)
        near &= (column > -border) & (column < camera.width + border)
        near &= (row > -border) & (row < camera.height + border)
        inside = near & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        at = np.flatnonzero(inside)
        d = depth[row[at], column[at]]
        low, high = _range_around(depth, 4)
        spread = (high - low)[row[at], column[at]]
        seen = z[at] < d - size / 2
        hidden = ~seen & (d >= self.config.min_range_m) & (z[at] < d + 2 * size)
        self.why[0, near & ~inside] += 1
        self.why[1, at[d < self.config.min_range_m]] += 1
        edge = spread > 3 * size
        self.why[2, at[(hidden & edge) | (~seen & ~hidden & edge & (z[at] < high[row[at], column[at]]))]] += 1
        self.why[3, at[hidden & ~edge]] += 1
        self.why[4, at[seen]] += 1


def _range_around(depth: Array, reach: int) -> tuple[Array, Array]:
    """Nearest and farthest return within `reach` px of every pixel."""
    low, high = np.where(depth > 0, depth, np.inf), depth
    for axis in (0, 1):
        width = [(reach, reach) if k == axis else (0, 0) for k in range(2)]
        for name, array, fill in (("low", low, np.inf), ("high", high, 0.0)):
            padded = np.pad(array, width, constant_values=fill)
            windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis)
            if name == "low":
                low = windows.min(axis=-1)
            else:
                high = windows.max(axis=-1)
    return np.where(np.isfinite(low), low, 0.0), high


def share(part: Array) -> float:
    return 100.0 * float(part.mean()) if len(part) else 100.0


def agreement(ours: Array, theirs: Array) -> tuple[float, float]:
    """Print both directions; returns the % of OctoMap's free and occupied voxels that are so for us."""
    both = (ours != UNKNOWN) & (theirs != UNKNOWN)
    free, held = share(ours[both & (theirs == FREE)] == FREE), share(ours[both & (theirs == OCCUPIED)] == OCCUPIED)
    back = share(theirs[both & (ours == FREE)] == FREE), share(theirs[both & (ours == OCCUPIED)] == OCCUPIED)
    print(f"  of OctoMap's voxels ours are the same: free {free:.2f} %, occupied {held:.2f} %")
    print(f"  of our voxels OctoMap's are the same:  free {back[0]:.2f} %, occupied {back[1]:.2f} %")
    only = [np.count_nonzero((a == s) & (b == UNKNOWN)) for a, b in ((theirs, ours), (ours, theirs)) for s in (0, 1)]
    print(f"  known to both {both.sum()}; only to OctoMap {only[0]} free, {only[1]} occupied; "
          f"only to us {only[2]} free, {only[3]} occupied")  # fmt: skip
    return free, held


def explain(race: Race, ours: Array, theirs: Array) -> None:
    """Print, for each way to differ, how many voxels fall into each class (the most frequent reason decides)."""
    reason = race.why.argmax(axis=0)
    none = race.why.max(axis=0) == 0
    for title, which in (
        ("occupied for OctoMap, free for us", (theirs == OCCUPIED) & (ours == FREE)),
        ("occupied for OctoMap, unknown to us", (theirs == OCCUPIED) & (ours == UNKNOWN)),
        ("free for OctoMap, occupied for us", (theirs == FREE) & (ours == OCCUPIED)),
        ("free for OctoMap, unknown to us", (theirs == FREE) & (ours == UNKNOWN)),
        ("occupied for us, unknown to OctoMap", (theirs == UNKNOWN) & (ours == OCCUPIED)),
        ("free for us, unknown to OctoMap", (theirs == UNKNOWN) & (ours == FREE)),
    ):
        if not which.any():
            continue
        thinned = which & (race.missed > 0) & (theirs == OCCUPIED)
        parts = {"points between the marking pixels": thinned}
        parts |= {name: which & ~thinned & ~none & (reason == k) for k, name in enumerate(CLASSES)}
        parts["never near the view"] = which & ~thinned & none
        text = ", ".join(f"{name} {share(part[which]):.1f} %" for name, part in parts.items() if part.any())
        print(f"    {title}: {which.sum()} ({text})")


def race_kitchen(sizes: Iterable[float], counts: list[int]) -> Claims:
    claims: Claims = {}
    frames = [(frame.depth, frame.T_world_sensor) for frame in kitchen(max(counts)) if frame.depth is not None]
    for size in sizes:
        points = np.concatenate([points_of(frame, CAMERA, 0.1, 8) for frame in frames])
        lower, upper = (np.floor(edge / size).astype(int) for edge in (points.min(axis=0), points.max(axis=0)))
        race = Race(Grid(lower - 1, upper + 2, size), CAMERA, explain=size >= 0.04)
        for number, frame in enumerate(frames, start=1):
            race.add(frame)
            if number not in counts:
                continue
            print(f"kitchen, {100 * size:g} cm, {number} frames (a marking pixel every {race.every} px)")
            ours, theirs = race.states()
            values = agreement(ours, theirs)
            if race.explain:
                explain(race, ours, theirs)
            for name, value, target in zip(("free", "occupied"), values, (99.0, 95.0), strict=True):
                key = f"agreement_kitchen_{100 * size:g}cm_{number}_frames_{name}"
                claims[key] = {"value": round(value, 2), "unit": "%", "target": target, "holds": value >= target}
    return claims


def race_house(size: float, steps: int) -> Claims:
    import gymnasium

    import embodmem_envs  # noqa: F401  registers the house
    from embodmem_envs.tour import Guide

    env = gymnasium.make("EmbodMem/House-v0", max_steps=100_000)
    obs, info = env.reset(seed=0)
    world = env.unwrapped.world  # type: ignore[attr-defined]
    lower = np.floor((np.r_[world.layout.lower[:2], 0.0] - 0.2) / size).astype(int)
    upper = np.ceil((np.r_[world.layout.upper[:2], 2.7] + 0.2) / size).astype(int)
    race = Race(Grid(lower, upper, size), info["camera"], explain=False)
    race.add((obs["depth"], info["T_world_camera"]))
    for action, _ in zip(Guide(env).tour(), range(steps), strict=False):
        obs, _, _, _, info = env.step(action)
        race.add((obs["depth"], info["T_world_camera"]))
    held, beside = (
        voxels_held(world.model, world.data, lower, race.grid.shape, size, slack).ravel() for slack in (-1e-6, 1e-4)
    )
    ours, theirs = race.states()
    print(f"house, {100 * size:g} cm, {race.stamp} looks of a tour")
    agreement(ours, theirs)
    both = (ours != UNKNOWN) & (theirs != UNKNOWN)
    clear = both & (held | ~beside)
    print(f"  {np.count_nonzero(both & ~clear)} of these voxels only touch a surface with a face: they are truly free")
    rows = {}
    for title, among in (("all", both), ("without those that only touch", clear)):
        for name, states in (("embodmem", ours), ("OctoMap", theirs)):
            values = (
                share(states[among & ~held] == FREE), share(states[among & held] == OCCUPIED),
                share(~held[among & (states == FREE)]), share(held[among & (states == OCCUPIED)]),
            )  # fmt: skip
            rows.setdefault(name, values)  # the claims are about all
            found = f"truly free is free {values[0]:.2f} %, truly occupied is occupied {values[1]:.2f} %"
            print(f"  {title}: {name}: {found}; free is true {values[2]:.2f} %, occupied is true {values[3]:.2f} %")
    claims: Claims = {}
    for k, name in enumerate(("free_found", "occupied_found", "free_true", "occupied_true")):
        value, target = (round(rows[who][k], 2) for who in ("embodmem", "OctoMap"))
        claims[f"accuracy_house_{name}"] = {"value": value, "unit": "%", "target": target, "holds": value >= target}
    return claims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the claims to this file")
    parser.add_argument("--frames", default="1,25", help="compare after so many kitchen frames")
    parser.add_argument("--sizes", default="0.05", help="voxel sizes for the kitchen, metres")
    parser.add_argument("--house", type=int, default=1000, help="most steps of the tour; 0 leaves the house out")
    options = parser.parse_args()
    claims: Claims = {}
    if options.frames:
        counts = [int(count) for count in options.frames.split(",")]
        claims |= race_kitchen([float(size) for size in options.sizes.split(",")], counts)
    if options.house:
        claims |= race_house(0.05, options.house)
    if options.json:
        options.json.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
