"""How fast the octree is read: points and rays into the map of the kitchen, beside OctoMap in the same run.

    python benchmarks/bench_reading.py [--json FILE] [--points N] [--rays N] [--threads N]

The map is made of ../shared/data/seven_scenes_kitchen at 5 cm. Points are drawn from the box around it. Rays start in
the cameras' poses, through random pixels, pose by pose, and reach 5 m. Best of several runs, wall and CPU time.
OctoMap has no batch of rays: its time includes a call from Python for each.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from spatial_frames import CAMERA, kitchen

from embodmem.config import SpatialConfig
from embodmem.geometry import backproject
from embodmem.spatial.octree import Octree
from embodmem.spatial.octree.select import nearest_occupied
from embodmem.spatial.octree.surface import surface_mesh, surface_points

REACH_M = 5.0


def best(run: Callable[[], object], repeats: int = 7) -> tuple[float, float]:
    """Least wall and least CPU seconds of a call; the first call, which may compile, does not count."""
    run()
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(t[0] for t in times), min(t[1] for t in times)


def camera_rays(poses: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions (N, 3) through random pixels of each pose."""
    rng, each = np.random.default_rng(0), -(-count // len(poses))
    rows, cols = rng.uniform(0, CAMERA.height, each), rng.uniform(0, CAMERA.width, each)
    local = backproject(CAMERA, rows, cols, np.ones(each))
    origins = np.concatenate([np.repeat(T[None, :3, 3], each, axis=0) for T in poses])[:count]
    return origins, np.concatenate([local @ T[:3, :3].T for T in poses])[:count]


def octomap_ns(octree: Octree, points: np.ndarray, rays: tuple[np.ndarray, np.ndarray]) -> tuple[float, float] | None:
    """Nanoseconds of OctoMap for a point (its batch query) and for a ray, in the same map; None without pyoctomap."""
    if importlib.util.find_spec("pyoctomap") is None:
        return None
    import tempfile

    import pyoctomap

    from embodmem.spatial.octree.files import save_map

    tree = pyoctomap.OcTree(1.0)
    with tempfile.TemporaryDirectory() as folder:
        save_map(octree, Path(folder) / "map.bt")
        tree.readBinary(str(Path(folder) / "map.bt"))
    some, (origins, directions) = points[:100_000], (array[:5000] for array in rays)
    point_s, _ = best(lambda: tree.getLabels(some), 3)
    end = np.zeros(3)

    def cast() -> None:
        for origin, direction in zip(origins, directions, strict=True):
            tree.castRay(origin, direction, end, True, REACH_M)

    ray_s, _ = best(cast, 3)
    return 1e9 * point_s / len(some), 1e9 * ray_s / len(origins)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rays", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    frames = kitchen(250)
    octree = Octree(SpatialConfig(voxel_size_m=0.05, max_range_m=REACH_M, threads=args.threads))
    for stamp, frame in enumerate(frames):
        octree.integrate(frame.depth, CAMERA, frame.T_world_sensor, stamp)
    box = octree.bounds()
    assert box is not None
    points = np.random.default_rng(1).uniform(box[0], box[1], (args.points, 3))
    rays = camera_rays([frame.T_world_sensor for frame in frames], args.rays)
    log_odds = best(lambda: octree.log_odds(points))
    cast = best(lambda: octree.raycast(*rays, REACH_M))
    some = points[:10_000]
    near = best(lambda: nearest_occupied(octree, some, 1.0), 3)
    surface, mesh = best(lambda: surface_points(octree), 3), best(lambda: surface_mesh(octree), 3)
    peer = octomap_ns(octree, points, rays)
    rows = [
        ("log-odds of a point", log_odds, args.points, peer and peer[0]),
        ("a ray of up to 5 m", cast, args.rays, peer and peer[1]),
        ("nearest voxel within 1 m", near, len(some), None),
        ("surface points of the map", surface, 1, None),
        ("mesh of the map", mesh, 1, None),
    ]
    print(f"{'':28}{'wall ns':>14}{'CPU ns':>14}{'OctoMap ns':>14}")
    for name, (wall, cpu), count, other in rows:
        shown = "" if other is None else f"{other:14.0f}"
        print(f"{name:28}{1e9 * wall / count:14.0f}{1e9 * cpu / count:14.0f}{shown}")
    point_ns, rays_s = 1e9 * log_odds[0] / args.points, args.rays / cast[0]
    claims = {
        "point_query": {"value": point_ns, "unit": "ns a point", "target": 100, "holds": point_ns <= 100},
        "raycast": {"value": rays_s, "unit": "rays/s", "target": 5e6, "holds": rays_s >= 5e6},
    }
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.3g} {claim['unit']} (to reach: {claim['target']:g}): {claim['holds']}")
    if args.json:
        args.json.write_text(json.dumps(claims, indent=2))


if __name__ == "__main__":
    main()
