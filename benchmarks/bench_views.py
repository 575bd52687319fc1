"""How much of a view the chosen keyframes show, beside the latest and the nearest ones; what that takes and costs.

    python benchmarks/bench_views.py [--json FILE] [--frames N]

The kitchen of 7-Scenes (../shared/data/seven_scenes_kitchen): a memory is built from nine frames of ten, and each frame
that was left out is a question. Truth does not know of surface elements: a point counts as shown when it projects into
a chosen keyframe's image and agrees with its depth within 10 cm; shares are of the points that any keyframe shows. The
points are those of the map as rays see it from the question's pose, or those of the question's own depth image, which
lacks a third of the pixels (the sensor returned nothing there, though there is a surface): who chooses keyframes does
not know which. "greedy on truth" knows all depth images and chooses greedily: about the best that can be had.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from spatial_frames import CAMERA, DATA

from embodmem import Config, EmbodiedMemory, Percept
from embodmem.geometry import Pose, backproject, check_pose, inverse, project, transform_points
from embodmem.spatial.codebook import Codebook, QuantisedEmbeddings
from embodmem.spatial.cover import greedy_cover
from embodmem.spatial.octree import Octree
from embodmem.spatial.views import ViewMemory
from embodmem.store.changes import note_new

KITCHEN = DATA / "seven_scenes_kitchen"
KS = (1, 2, 4, 8)
NEAR_M, FAR_M, AGREE_M = 0.1, 5.0, 0.1
PIXELS = np.mgrid[3 : CAMERA.height : 6, 3 : CAMERA.width : 6].reshape(2, -1)
NAMES = ("embodmem", "nearest pose", "latest", "greedy on truth")
POINTS = ("the visible surface of the map", "pixels of the sensor")
Frame = tuple[np.ndarray, Pose]


def kitchen_frames(count: int) -> list[Frame]:
    from PIL import Image

    world = check_pose(np.loadtxt(KITCHEN / "T_world_scene.txt"))
    frames = []
    for path in sorted(KITCHEN.glob("frame-*.depth.png"))[:count]:
        depth = np.asarray(Image.open(path)).astype(np.float32) * np.float32(1e-3)
        pose = check_pose(np.loadtxt(str(path).replace(".depth.png", ".pose.txt")))
        frames.append((np.where(depth < 60, depth, np.float32(0)), world @ pose))
    return frames


def sensor_points(depth: np.ndarray, T: Pose) -> np.ndarray:
    """World points (N, 3) of every 6th pixel along both axes that has depth."""
    z = depth[PIXELS[0], PIXELS[1]].astype(float)
    good = (z > NEAR_M) & (z < FAR_M)
    return transform_points(T, backproject(CAMERA, PIXELS[0][good], PIXELS[1][good], z[good]))


def map_points(octree: Octree, T: Pose) -> np.ndarray:
    """World points (N, 3) where the rays of the same pixels meet the map."""
    rays = backproject(CAMERA, *PIXELS, np.ones(len(PIXELS[0])))
    hits = octree.raycast(np.broadcast_to(T[:3, 3], rays.shape), rays @ T[:3, :3].T, 2 * FAR_M)
    return hits.position[hits.hit & (hits.distance_m < FAR_M * np.linalg.norm(rays, axis=1))]


def shown(world: np.ndarray, views: list[Frame]) -> np.ndarray:
    """(V, N) bool: which points each view shows."""
    found = []
    for other, pose in views:
        pixels, far = project(CAMERA, transform_points(inverse(pose), world))
        with np.errstate(invalid="ignore"):
            inside = (far > NEAR_M) & (pixels >= -0.5).all(axis=1)
            inside &= (pixels < (CAMERA.width - 0.5, CAMERA.height - 0.5)).all(axis=1)
        u, v = np.where(inside[:, None], np.round(pixels), 0).astype(int).T
        found.append(inside & (np.abs(other[v, u] - far) < AGREE_M))
    return np.array(found)


def apart(T: Pose, other: Pose) -> float:
    """How far two poses are apart: metres plus radians."""
    cosine = (np.trace(T[:3, :3].T @ other[:3, :3]) - 1.0) / 2.0
    return float(np.linalg.norm(T[:3, 3] - other[:3, 3]) + np.arccos(np.clip(cosine, -1.0, 1.0)))


def truth_greedy(seen: np.ndarray, k: int) -> list[int]:
    view, element = np.nonzero(seen)
    return greedy_cover(element, view, np.ones(seen.shape[1]), k).views.tolist()


def cost_of_many(memory: EmbodiedMemory, T: Pose, copies: int) -> tuple[int, float]:
    """Keyframes and milliseconds a question when every keyframe stands there `copies` times."""
    with memory.store.transaction() as db:
        sql = (
            "INSERT INTO record (kind, first_ns, last_ns) SELECT 'keyframe', first_ns, last_ns FROM record WHERE id = ?"
        )
        for (number,) in db.execute("SELECT id FROM keyframe").fetchall():
            for _ in range(copies - 1):
                new = db.execute(sql, (number,)).lastrowid
                note_new(db, new, new)
                db.execute(
                    "INSERT INTO keyframe SELECT ?, T_world_camera, NULL FROM keyframe WHERE id = ?", (new, number)
                )
                db.execute(
                    "INSERT INTO keyframe_surface SELECT ?, digest, leaves FROM keyframe_surface WHERE id = ?",
                    (new, number),
                )
    seen = ViewMemory(memory.spatial)
    seen.choose(T, CAMERA, 4)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        seen.choose(T, CAMERA, 4)
        times.append(time.perf_counter() - begin)
    with memory.store.read() as db:
        return int(db.execute("SELECT count(*) FROM keyframe").fetchone()[0]), 1e3 * min(times)


def best_ms(job: Callable[[], Any], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        job()
        taken.append(time.perf_counter() - begin)
    return 1e3 * min(taken)


def payload_figures(tokens: int = 10_000, dim: int = 512) -> None:
    """What payloads and their codebook take; embeddings are drawn around 40 directions, as those of a scene are."""
    rng = np.random.default_rng(0)
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        payloads, places = memory.payloads, rng.uniform(-5, 5, (tokens, 3))
        vectors = rng.normal(size=(40, dim))[rng.integers(0, 40, tokens)] + 0.5 * rng.normal(size=(tokens, dim))
        keys = payloads.keys_at(places, 24)
        begin = time.perf_counter()
        for first in range(0, tokens, 1000):
            payloads.write(24, keys[first : first + 1000], vectors[first : first + 1000], first)
        print(
            f"\n{tokens} tokens of {dim} float16: {1e6 * (time.perf_counter() - begin) / tokens:.0f} us each to write"
        )
        for depth in (21, 17):
            begin = time.perf_counter()
            nodes = payloads.nodes(depth)
            first_ms = 1e3 * (time.perf_counter() - begin)
            pooled = best_ms(lambda at=depth, of=nodes[:1000]: payloads.pooled(at, of))
            near = best_ms(lambda at=depth: payloads.nearest(vectors[0], 10, depth=at))
            print(
                f"depth {depth}: {len(nodes)} nodes, {first_ms:.0f} ms at first; {pooled:.2f} ms for the means of "
                f"{min(1000, len(nodes))}; {near:.1f} ms for the 10 nearest"
            )
        bricks = payloads.nodes(21)
        means, _ = payloads.pooled(21, bricks)
    for size, levels in ((64, 1), (256, 1), (256, 4)):
        book = Codebook(dim, size, levels)
        begin = time.perf_counter()
        book.fit(means)
        fit_s = time.perf_counter() - begin
        held = QuantisedEmbeddings(book)
        held.write(bricks, means)
        report = held.report()
        query = vectors[0].astype(np.float32)
        exact = best_ms(lambda to=query: np.argsort(-(means @ to))[:10])
        took = best_ms(lambda of=held, to=query: of.nearest(to))
        print(
            f"codebook {size} x {levels}: {report.raw_bytes / report.bytes:.1f}x smaller, rms {report.error.rms:.3f}, "
            f"cosine {report.error.cosine:.3f}; fit {fit_s:.1f} s; 10 nearest {took:.2f} ms (float32 {exact:.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the claims to this file")
    parser.add_argument("--frames", type=int, default=250)
    options = parser.parse_args()
    if not KITCHEN.exists():
        raise SystemExit(f"wanted the recording in {KITCHEN}, got no such folder")
    frames = dict(enumerate(kitchen_frames(options.frames)))
    questions = [frames[i] for i in frames if i % 10 == 5]
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        looks = [
            Percept(stamp_ns=i * 133_000_000, T_world_sensor=T, camera=CAMERA, depth=depth)
            for i, (depth, T) in frames.items()
            if i % 10 != 5
        ]
        memory.write_batch(looks)
        keyframes = [item.first_seen_ns for item in memory.episodic.timeline(limit=100_000)]
        views = [frames[stamp // 133_000_000] for stamp in keyframes]
        with memory.store.read() as db:
            sizes = [row[0] for row in db.execute("SELECT length(leaves) FROM keyframe_surface")]
        print(f"{len(looks)} frames, {len(keyframes)} keyframes, {len(questions)} questions")
        print(f"{np.mean(sizes):.0f} bytes a keyframe for the surface that it saw")
        got: dict[str, dict[str, list[list[float]]]] = {of: {name: [] for name in NAMES} for of in POINTS}
        used, times = [], []
        for depth, T in questions:
            memory.views(T, CAMERA, 8)
            begin = time.perf_counter()
            found = memory.views(T, CAMERA, 8)
            times.append(time.perf_counter() - begin)
            used.append(len(found))
            order = sorted(range(len(views)), key=lambda i, at=T: apart(at, views[i][1]))
            chosen = [keyframes.index(item.first_seen_ns) for item in found]
            for of, world in zip(POINTS, (map_points(memory.spatial.octree, T), sensor_points(depth, T)), strict=True):
                truth = shown(world, views)
                anyone = max(1, int(truth.any(axis=0).sum()))
                ranked = (chosen, order, list(range(len(views)))[::-1], truth_greedy(truth, 8))
                for name, views_of in zip(NAMES, ranked, strict=True):
                    got[of][name].append([truth[views_of[:k]].any(axis=0).sum() / anyone for k in KS])
        share = {of: {name: np.mean(values, axis=0) for name, values in got[of].items()} for of in POINTS}
        for of in POINTS:
            print(f"\n{'share shown: ' + of:<42}" + "".join(f"{f'k={k}':>8}" for k in KS))
            for name in NAMES:
                print(f"{name:<42}" + "".join(f"{value:8.3f}" for value in share[of][name]))
        print(
            f"\n{np.mean(used):.1f} keyframes given where 8 were asked for; {1e3 * np.median(times):.1f} ms a question"
        )
        for copies in (10, 10):
            many, ms = cost_of_many(memory, questions[0][1], copies)
            print(f"{many} keyframes of one place: {ms:.1f} ms a question")
    payload_figures()
    claims = {}
    for of in POINTS:
        best = np.maximum(share[of]["nearest pose"], share[of]["latest"])
        for k, ours, target in zip(KS, share[of]["embodmem"].tolist(), best.tolist(), strict=True):
            name = f"views_{of.replace(' ', '_')}_k{k}"
            claims[name] = {
                "value": round(ours, 4),
                "unit": "share",
                "target": round(target, 4),
                "holds": ours > target,
            }
    if options.json:
        options.json.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
