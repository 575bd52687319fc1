"""View memory: the keyframes that it gives show what is visible from a pose, by a truth of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from embodmem.config import Config, EpisodicConfig, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput, PoseError
from embodmem.geometry import backproject, inverse, look_at, project, transform_points
from embodmem.spatial.leaves import decode_leaves
from embodmem.types import Event, Percept, Query
from tests.embodmem.spatial.scene_room import CAMERA, Box, percept, render

CONFIG = Config(
    spatial=SpatialConfig(voxel_size_m=0.05, budget_mib=27.407),
    episodic=EpisodicConfig(keyframe_distance_m=0.01),  # every view becomes a keyframe
    encoder="hashing",
)
# Two rooms of 4 x 4 m with a wall of 10 cm between them and a door in it.
HOUSE = {
    1: Box("", (0, 0, -0.05), (8.2, 4.2, 0.1)),
    2: Box("", (0, 2, 1.2), (8.2, 0.1, 2.5)),
    3: Box("", (0, -2, 1.2), (8.2, 0.1, 2.5)),
    4: Box("", (4, 0, 1.2), (0.1, 4.2, 2.5)),
    5: Box("", (-4, 0, 1.2), (0.1, 4.2, 2.5)),
    6: Box("", (0, 0.6, 1.2), (0.1, 2.9, 2.5)),
    7: Box("", (2, 1, 0.4), (0.8, 0.6, 0.8)),
}


@cache
def tour() -> tuple[Percept, ...]:
    """Looks around in both rooms: 12 from the right one, then 12 from the left one."""
    looks = []
    for x in (2.0, -2.0):
        for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
            eye = np.array([x + 0.3 * np.cos(angle), 0.3 * np.sin(angle), 1.4])
            target = eye + (np.cos(angle), np.sin(angle), -0.2)
            looks.append(replace(percept(HOUSE, len(looks), "box", eye, target), caption=f"look {len(looks)}"))
    return tuple(looks)


@cache
def depth_of(pose: bytes) -> np.ndarray:
    return render(HOUSE, np.frombuffer(pose).reshape(4, 4))[0]


def in_view(T: np.ndarray, views: list[np.ndarray], tolerance_m: float = 0.05) -> np.ndarray:
    """Which pixels with depth of the view from T are seen in each of some views: (V, N) bool, by rendering alone."""
    depth = depth_of(T.tobytes())
    rows, cols = np.nonzero((depth > 0.1) & (depth < 5.0))
    world = transform_points(T, backproject(CAMERA, rows, cols, depth[rows, cols].astype(float)))
    seen = []
    for other in views:
        pixels, z = project(CAMERA, transform_points(inverse(other), world))
        inside = (z > 0.1) & (z < 5.0)
        with np.errstate(invalid="ignore"):
            inside &= (pixels >= -0.5).all(axis=1) & (pixels < (CAMERA.width - 0.5, CAMERA.height - 0.5)).all(axis=1)
        u, v = np.where(inside[:, None], np.round(pixels), 0).astype(int).T
        seen.append(inside & (np.abs(depth_of(other.tobytes())[v, u] - z) < tolerance_m))
    return np.array(seen)


@pytest.fixture
def memory(path: Path) -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory(path, config=CONFIG) as made:
        made.write_batch(tour())
        yield made


QUERIES = [
    look_at((2.0, -0.5, 1.4), (3.5, 1.5, 0.6)),
    look_at((-2.4, 0.2, 1.2), (-3.5, -1.5, 0.5)),
    look_at((1.2, -1.4, 1.4), (-1.5, -1.6, 1.2)),  # through the door
]


@pytest.mark.parametrize("T", QUERIES)
def test_the_views_cover_what_is_visible(memory: EmbodiedMemory, T: np.ndarray) -> None:
    found = memory.views(T, CAMERA, k=6)
    poses = {look.stamp_ns: look.T_world_sensor for look in tour()}
    truth = in_view(T, list(poses.values()))
    chosen = in_view(T, [poses[item.first_seen_ns] for item in found])
    coverable = truth.any(axis=0)
    assert chosen.any(axis=0)[coverable].mean() > 0.95
    # What it says it covers is what is covered, of what is mapped.
    said = sum(item.why["adds"] for item in found)
    assert said == pytest.approx(chosen.any(axis=0)[coverable].mean(), abs=0.05)
    assert all(item.why["adds"] == item.score <= item.why["covers"] + 1e-12 for item in found)
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)


def test_as_many_views_that_are_latest_or_nearest_cover_less(memory: EmbodiedMemory) -> None:
    poses = {look.stamp_ns: look.T_world_sensor for look in tour()}
    covered = []
    for T in QUERIES:
        chosen = [poses[item.first_seen_ns] for item in memory.views(T, CAMERA, k=3)]
        nearest = sorted(poses.values(), key=lambda pose: np.linalg.norm(pose[:3, 3] - T[:3, 3]))
        latest = list(poses.values())[::-1]
        covered.append([in_view(T, views[: len(chosen)]).any(axis=0).mean() for views in (chosen, nearest, latest)])
    ours, nearest, latest = np.mean(covered, axis=0)
    assert ours > nearest + 0.2 and ours > latest + 0.2


def test_one_view_is_enough_where_one_saw_it_all(memory: EmbodiedMemory) -> None:
    look = tour()[3]
    found = memory.views(look.T_world_sensor, CAMERA, k=1)
    assert [item.first_seen_ns for item in found] == [look.stamp_ns]
    assert found[0].why["covers"] > 0.95
    assert len(memory.views(look.T_world_sensor, CAMERA, k=50)) < 12  # all is covered before all are taken


def test_a_wall_has_two_sides(memory: EmbodiedMemory) -> None:
    """10 cm thick, its sides share leaves; who looks at one side gets the views of that side."""
    for x, stamps in ((1.5, range(12)), (-1.5, range(12, 24))):
        T = look_at((x, 0.8, 1.4), (0.0, 0.8, 1.4))
        found = memory.views(T, CAMERA, k=3)
        # At the rim of what was seen of the wall its normal is a guess: a leaf of it may count for either side.
        assert found and {item.first_seen_ns // 100_000_000 for item in found if item.why["adds"] > 0.01} <= set(stamps)


def test_nothing_mapped_is_visible(memory: EmbodiedMemory) -> None:
    assert memory.views(look_at((50.0, 0.0, 1.0), (60.0, 0.0, 1.0)), CAMERA) == []
    with EmbodiedMemory(config=CONFIG) as empty:
        assert empty.views(QUERIES[0], CAMERA) == []


def test_bad_questions(memory: EmbodiedMemory) -> None:
    with pytest.raises(InvalidInput, match="k: wanted 1 or more, got 0"):
        memory.views(QUERIES[0], CAMERA, k=0)
    with pytest.raises(PoseError):
        memory.views(np.zeros((4, 4)), CAMERA)


def answer(memory: EmbodiedMemory, T: np.ndarray = QUERIES[0]) -> list[tuple[int, float, float]]:
    return [(item.first_seen_ns, item.why["adds"], item.why["covers"]) for item in memory.views(T, CAMERA, k=6)]


def test_the_answer_depends_on_nothing_but_the_memory(memory: EmbodiedMemory, path: Path) -> None:
    """Asked again, asked after a restart, by a reader, or filled look by look with questions in between."""
    said = answer(memory)
    assert answer(memory) == said
    with EmbodiedMemory(path, "r") as reader:
        assert answer(reader) == said
        memory.write(replace(tour()[0], stamp_ns=10**10))  # the same look again, later
        assert answer(reader) == answer(memory) != said
    memory.close()
    with EmbodiedMemory(path) as again, EmbodiedMemory(config=CONFIG) as looped:
        for look in tour():
            looped.write(look)
            looped.views(QUERIES[0], CAMERA, k=2)
        assert answer(looped) == said
        looped.write(replace(tour()[0], stamp_ns=10**10))
        assert answer(looped) == answer(again)
        state = looped.episodic.state_dict()
        looped.episodic.load_state_dict(state)
        assert answer(looped) == answer(again)


def surfaces(memory: EmbodiedMemory) -> int:
    with memory.store.read() as db:
        return int(db.execute("SELECT count(*) FROM keyframe_surface").fetchone()[0])


def test_what_a_keyframe_saw_goes_with_it(memory: EmbodiedMemory) -> None:
    assert surfaces(memory) == memory.counts()["keyframe"] == 24
    first = memory.views(QUERIES[0], CAMERA, k=6)
    memory.forget(Query(ids=(first[0].id,)))
    assert surfaces(memory) == memory.counts()["keyframe"] == 23
    assert first[0].id not in [item.id for item in memory.views(QUERIES[0], CAMERA, k=24)]
    for item in memory.episodic.timeline()[:20]:
        memory.forget(Query(ids=(item.id,)))  # past the point at which the index is built anew
    assert surfaces(memory) == 3
    assert {item.id for item in memory.views(QUERIES[1], CAMERA)} <= {r.id for r in memory.episodic.timeline()}
    memory.clear()
    assert surfaces(memory) == 0 and memory.views(QUERIES[0], CAMERA) == []


def test_a_write_that_fails_leaves_nothing(memory: EmbodiedMemory) -> None:
    said = answer(memory)
    with pytest.raises(InvalidInput, match="time went backwards"):
        memory.write_batch([replace(tour()[0], stamp_ns=10**10), Event(stamp_ns=1, kind="told", text="late")])
    assert surfaces(memory) == 24 and answer(memory) == said


def test_a_region_is_forgotten_by_keyframes_elsewhere(memory: EmbodiedMemory) -> None:
    box = np.array([[1.5, 0.6, -0.2], [2.5, 1.4, 1.0]])  # the crate, which keyframes around it saw
    memory.forget(Query(within=box))
    assert memory.counts()["keyframe"] == 24
    with memory.store.read() as db:
        blobs = [row[0] for row in db.execute("SELECT leaves FROM keyframe_surface")]
    keys = np.concatenate([decode_leaves(blob) for blob in blobs])
    index = (np.stack([keys >> 42, keys >> 21, keys], axis=1) & (2**21 - 1)) + 2**20 & (2**21 - 1)
    centres = (index - 2**20 + 0.5) * memory.seen.edge_m
    assert len(keys) > 1000
    assert not ((centres > box[0]) & (centres < box[1])).all(axis=1).any()
    with pytest.raises(InvalidInput, match="region"):
        memory.seen.forget(Query(labels=("x",)))


def test_lidar_points_count_as_surface(path: Path) -> None:
    look = tour()[3]
    assert look.depth is not None
    rows, cols = np.nonzero(look.depth)
    points = backproject(CAMERA, rows, cols, look.depth[rows, cols].astype(np.float32))
    with EmbodiedMemory(path, config=CONFIG) as memory:
        memory.write(Percept(stamp_ns=0, T_world_sensor=look.T_world_sensor, points=points))
        found = memory.views(look.T_world_sensor, CAMERA)
        assert len(found) == 1 and found[0].why["covers"] > 0.9
