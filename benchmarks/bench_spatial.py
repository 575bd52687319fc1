"""The brick octree against OctoMap, Open3D and, where installed, wavemap and nvblox: same frames, same process.

    python benchmarks/bench_spatial.py [--json FILE] [--frames N] [--scans N] [--rounds N] [--threads N] [--replays N]

Real frames come from ../shared/data (7-Scenes' kitchen, 640x480; a 64-beam lidar in a street); without them analytic
scenes stand in. Frames are decoded, and points moved into the world for the peers that want that, before the clock
starts. The contestants take turns frame by frame, in an order that rotates. Each frame comes `--rounds` times; `best`
is the mean over the frames of the best of a frame's rounds, and the claims compare `best` over the frames that both
contestants saw. A first frame into a map that is thrown away loads the kernels. It is wall time: on a machine that
does other work (see the load), single figures mean little and ratios more; the CPU time of all threads stands beside
it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
THREADS = int(sys.argv[sys.argv.index("--threads") + 1]) if "--threads" in sys.argv else 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # Open3D reads it when it is imported

import numpy as np  # noqa: E402
import spatial_agreement  # noqa: E402
import spatial_frames as scenes  # noqa: E402
import spatial_peers as peers  # noqa: E402

from embodmem.config import SpatialConfig  # noqa: E402
from embodmem.spatial.octree import Octree  # noqa: E402

Times = dict[str, np.ndarray]  # name -> (rounds, frames, wall and CPU) ms; NaN where it was not asked
SLOW = ("OctoMap", "the plain rule")


class Race:
    """Contestants on one kind of frames."""

    def __init__(self, frames: list[scenes.Frame], rounds: int, few: int) -> None:
        self.frames, self.rounds, self.few = frames, rounds, few
        self.maps: dict[str, Any] = {}
        self.absent: list[str] = []

    def enter(self, name: str, make: Callable[[], peers.Integrate]) -> None:
        """Add a contestant, warmed up; one that cannot be imported is listed as absent."""
        try:
            make()(0, self.frames[0])
            self.maps[name] = make()
        except ImportError:
            self.absent.append(name)

    def run(self) -> Times:
        """Every contestant integrates every frame; `SLOW` ones only the first few."""
        times = {name: np.full((self.rounds, len(self.frames), 2), np.nan) for name in self.maps}
        names, turn = list(self.maps), 0
        for round_ in range(self.rounds):
            for i, frame in enumerate(self.frames):
                turn += 1
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    if name.startswith(SLOW) and i >= self.few:
                        continue
                    wall, cpu = time.perf_counter(), time.process_time()
                    self.maps[name](turn, frame)
                    times[name][round_, i] = 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)
        return times


def best(times: Times, name: str, frames: np.ndarray, clock: int = 0) -> float:
    return float(times[name][:, frames, clock].min(axis=0).mean())


def ratio(times: Times, ours: str, theirs: str) -> float | None:
    """Our time over theirs on the frames that both saw; None where they are absent."""
    if theirs not in times:
        return None
    both = ~np.isnan(times[theirs][0, :, 0])
    return best(times, ours, both) / best(times, theirs, both)


def bandwidth() -> float:
    """Bytes a second that a copy of 16 MB reads and writes."""
    source = np.ones(1 << 22, np.float32)
    target, seconds = source.copy(), np.inf
    for _ in range(10):
        begin = time.perf_counter()
        np.copyto(target, source)
        seconds = min(seconds, time.perf_counter() - begin)
    return 2 * source.nbytes / seconds


def floor(frames: list[scenes.Frame], config: SpatialConfig) -> tuple[float, float, float]:
    """Bytes that a frame has to move (itself, and the bricks that it observes, read and written), their ms, voxels."""
    ours = peers.Embodmem(config)
    moved, voxels = [], []
    for stamp, frame in enumerate(frames):
        ours(stamp, frame)
        bricks = ours.octree.bricks()
        seen = int(np.count_nonzero(bricks.last_seen_ns == stamp))
        sensed = frame.depth if frame.depth is not None else frame.points
        moved.append(sensed.nbytes + 2 * seen * bricks.log_odds[:1].nbytes)
        voxels.append(seen * bricks.log_odds.shape[1])
    return float(np.mean(moved)), 1e3 * float(np.mean(moved)) / bandwidth(), float(np.mean(voxels))


def table(title: str, race: Race, times: Times, config: SpatialConfig) -> None:
    moved, floor_ms, voxels = floor(race.frames[: race.few], config)
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n{title}; {len(race.frames)} frames, {race.rounds} rounds, load {load}")
    print(
        f"floor: {moved / 1e6:.2f} MB moved, {floor_ms:.2f} ms at a copy's bandwidth; {voxels:.0f} voxels in its bricks"
    )
    print(f"{'':<34} {'best ms':>9} {'median ms':>10} {'CPU ms':>8} {'x floor':>8} {'ns/voxel':>9}")
    for name, values in times.items():
        frames = ~np.isnan(values[0, :, 0])
        low = best(times, name, frames)
        cpu, median = best(times, name, frames, clock=1), np.nanmedian(values[..., 0])
        print(f"{name:<34} {low:9.2f} {median:10.2f} {cpu:8.2f} {low / floor_ms:8.1f} {1e6 * low / voxels:9.1f}")
    for name in race.absent:
        print(f"{name:<34} {'absent':>9}")


def depth_race(size_m: float, frames: list[scenes.Frame], options: argparse.Namespace) -> tuple[Race, Times]:
    config = {n: SpatialConfig(voxel_size_m=size_m, threads=n, budget_mib=219.251) for n in (1, THREADS)}
    race = Race(frames, options.rounds, few=options.few)
    for n in config:
        race.enter(f"embodmem, {n} threads", lambda n=n: peers.Embodmem(config[n]))
    race.enter("Open3D, surface only", lambda: peers.open3d(config[1]))
    race.enter("OctoMap", lambda: peers.OctoMap(config[1], discretize=False))
    race.enter("OctoMap, discretized", lambda: peers.OctoMap(config[1], discretize=True))
    race.enter("wavemap", lambda: peers.wavemap(config[1], lidar=False))
    race.enter("nvblox, on its GPU", lambda: peers.nvblox(config[1]))
    times = race.run()
    table(f"depth images, {100 * size_m:.0f} cm", race, times, config[THREADS])
    return race, times


def lidar_config(threads: int) -> SpatialConfig:
    return SpatialConfig(voxel_size_m=0.2, min_range_m=1.0, max_range_m=60.0, threads=threads, budget_mib=219.251)


def lidar_race(frames: list[scenes.Frame], options: argparse.Namespace) -> Times:
    config = {n: lidar_config(n) for n in (1, THREADS)}
    race = Race(frames, options.rounds, few=options.few)
    for n in config:
        race.enter(f"embodmem, {n} threads", lambda n=n: peers.Embodmem(config[n]))
    race.enter(f"embodmem, discretized, {THREADS} threads", lambda: peers.Embodmem(config[THREADS], discretize=True))
    race.enter(f"the plain rule, {THREADS} threads", lambda: peers.Embodmem(config[THREADS], exact=True))
    race.enter("OctoMap", lambda: peers.OctoMap(config[1], discretize=False))
    race.enter("OctoMap, discretized", lambda: peers.OctoMap(config[1], discretize=True))
    race.enter("wavemap", lambda: peers.wavemap(config[1], lidar=True))
    times = race.run()
    table("lidar scans, 20 cm, 60 m", race, times, config[THREADS])
    return times


def used_bytes(octree: Any) -> float:
    """Bytes of the bricks in use, and their share of what is reserved once."""
    stats = octree.stats()
    idle = Octree(octree.config).stats().bytes_in_use  # the table and the marks
    share = stats.bytes_in_use - idle
    return share + idle * stats.bricks / (4 * stats.capacity_bricks)


def known_voxels(octree: Any) -> int:
    stats = octree.stats()
    return stats.occupied_voxels + stats.free_voxels


def bytes_per_voxel(frames: list[scenes.Frame]) -> dict[str, Any]:
    """Bytes per known voxel of both maps after the same frames at 5 cm."""
    config = SpatialConfig(budget_mib=219.251, threads=THREADS)
    ours = peers.Embodmem(config)
    for stamp, frame in enumerate(frames):
        ours(stamp, frame)
    mine = used_bytes(ours.octree) / known_voxels(ours.octree)
    print(f"\nbytes per known voxel, 5 cm, {len(frames)} frames: embodmem {mine:.1f}", end="")
    try:
        theirs = peers.OctoMap(config, discretize=True)
    except ImportError:
        print(", OctoMap absent")
        return {}
    for stamp, frame in enumerate(frames):
        theirs(stamp, frame)
    peer = theirs.tree.memoryUsage() / theirs.known_voxels()
    print(f" ({known_voxels(ours.octree)} voxels), OctoMap {peer:.1f} ({theirs.known_voxels()} voxels)")
    return {"bytes_per_known_voxel": claim(mine, "bytes", peer, mine <= peer)}


def agreement(name: str, frames: list[scenes.Frame], config: SpatialConfig) -> dict[str, Any]:
    """Where our map and OctoMap's differ after the same frames, and the claims on it."""
    ours = peers.Embodmem(config)
    try:
        theirs = peers.OctoMap(config, discretize=False)
    except ImportError:
        return {}
    for stamp, frame in enumerate(frames):
        ours(stamp, frame)
        theirs(stamp, frame)
    counts = spatial_agreement.confusion(
        spatial_agreement.voxels_of(ours.octree), spatial_agreement.voxels_of_octomap(theirs.tree)
    )
    states = spatial_agreement.STATES
    print(f"\n{name}, {len(frames)} frames: voxels by state, ours down, OctoMap's across")
    print(f"{'':<10}" + "".join(f"{word:>10}" for word in states.values()))
    for mine, word in states.items():
        print(f"{word:<10}" + "".join(f"{counts.get((mine, yours), 0):10d}" for yours in states))
    values = {word: spatial_agreement.agreement(counts, state) for state, word in states.items()}
    return {
        f"{name}_agreement_free": claim(values["free"], "of OctoMap's", 0.99, values["free"] >= 0.99),
        f"{name}_agreement_occupied": claim(values["occupied"], "of OctoMap's", 0.95, values["occupied"] >= 0.95),
    }


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def replay(frames: list[scenes.Frame], replays: int) -> dict[str, Any]:
    """Memory while the same frames come again and again."""
    config = SpatialConfig(threads=THREADS)
    ours = peers.Embodmem(config)
    reserved, resident, bricks = [], [], []
    for turn in range(replays):
        for i, frame in enumerate(frames):
            ours(turn * len(frames) + i, frame)
        stats = ours.octree.stats()
        reserved.append(stats.bytes)
        bricks.append(stats.bricks)
        resident.append(resident_mb())
    growth = max(resident[1:], default=resident[0]) - resident[min(1, replays - 1)]
    budget = config.budget_mib * 2**20
    print(f"\n{len(frames)} frames replayed {replays} times, 5 cm: {bricks[0]} to {bricks[-1]} bricks,", end=" ")
    print(f"the map {reserved[0] / 1e6:.1f} to {reserved[-1] / 1e6:.1f} MB,", end=" ")
    print(f"the process {resident[0]:.0f} to {resident[-1]:.0f} MB, {growth:.1f} MB of that after the second time")
    flat = reserved[0] == reserved[-1] and growth < 4.0
    return {
        "memory_growth_over_replays": claim(growth, "MB", 4.0, flat),
        "memory_under_budget": claim(max(reserved) / 1e6, "MB", budget / 1e6, max(reserved) <= budget),
    }


def claim(value: float, unit: str, target: float, holds: bool) -> dict[str, Any]:
    return {"value": round(value, 3), "unit": unit, "target": round(target, 3), "holds": bool(holds)}


def speed_claims(times: dict[str, Times]) -> dict[str, Any]:
    """The claims on time whose peer is here."""
    ours, coarse = f"embodmem, {THREADS} threads", f"embodmem, discretized, {THREADS} threads"
    wanted = [
        ("depth_5cm_of_open3d", "5 cm", ours, "Open3D, surface only", 0.55),
        ("depth_2cm_of_open3d", "2 cm", ours, "Open3D, surface only", 0.8),
        ("depth_5cm_faster_than_octomap", "5 cm", ours, "OctoMap", 150.0),
        ("lidar_faster_than_octomap_discretized", "lidar", ours, "OctoMap, discretized", 15.0),
        ("lidar_faster_both_discretized", "lidar", coarse, "OctoMap, discretized", 15.0),
    ]
    claims = {}
    for name, kind, mine, peer, target in wanted:
        part = ratio(times[kind], mine, peer) if kind in times else None
        if part is None:
            continue
        faster = "faster" in name
        value = 1.0 / part if faster else part
        claims[name] = claim(value, "times" if faster else "of its time", target, (value >= target) == faster)
    return claims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the claims to this file")
    parser.add_argument("--frames", type=int, default=25, help="depth images to race with")
    parser.add_argument("--scans", type=int, default=12, help="lidar scans to race with")
    parser.add_argument("--few", type=int, default=4, help="frames that the slow contestants get")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--replays", type=int, default=20)
    parser.add_argument("--only", choices=["depth", "lidar", "agreement", "memory"], help="one part of it")
    options = parser.parse_args()
    real = scenes.DATA.is_dir()
    print(f"{'recordings' if real else 'analytic scenes'}; {os.cpu_count()} cores, shared with whatever else runs here")
    times: dict[str, Times] = {}
    claims: dict[str, Any] = {}
    if options.only in (None, "depth"):
        frames = (scenes.kitchen if real else scenes.room)(options.frames)
        for size, name in ((0.05, "5 cm"), (0.02, "2 cm")):
            times[name] = depth_race(size, frames, options)[1]
    if options.only in (None, "lidar"):
        times["lidar"] = lidar_race((scenes.city if real else scenes.street)(options.scans), options)
    claims.update(speed_claims(times))
    if options.only in (None, "agreement"):
        depth, lidar = (scenes.kitchen, scenes.city) if real else (scenes.room, scenes.street)
        claims.update(agreement("depth_5cm", depth(options.frames), SpatialConfig(threads=THREADS)))
        claims.update(agreement("lidar", lidar(options.scans), lidar_config(THREADS)))
    if options.only in (None, "memory"):
        frames = (scenes.kitchen if real else scenes.room)(250 if real else options.frames)
        claims.update(bytes_per_voxel(frames[:: max(1, len(frames) // 25)]))
        claims.update(replay(frames, options.replays))
    print(f"\n{'claim':<42} {'value':>10} {'target':>10}  holds")
    for name, value in claims.items():
        print(f"{name:<42} {value['value']:10.3f} {value['target']:10.3f}  {'yes' if value['holds'] else 'NO'}")
    if options.json:
        options.json.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
