"""Loop closure: a map that was built with wrong poses and corrected is the map that right ones would have built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import Config, EpisodicConfig, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import DamagedMemory, InvalidInput, PoseError, StoreError
from embodmem.geometry import look_at, pose_from_quat
from embodmem.spatial.depths import KeptDepth, keep_depth
from embodmem.types import Percept, PinholeCamera, Query
from tests.embodmem.spatial.octree_reference import CAMERA, room_depth

CONFIG = Config(
    spatial=SpatialConfig(voxel_size_m=0.05, budget_mib=13.704),
    episodic=EpisodicConfig(keyframe_distance_m=0.01, keyframe_angle_rad=0.01, keep_depth=True),
    encoder="hashing",
)
WRONG = pose_from_quat((0.25, -0.1, 0.05), (0.0, 0.0, 0.06, 1.0))
MOVED = (3, 4)


def tour(n: int = 9, moved: tuple[int, ...] = ()) -> list[Percept]:
    """Looks once around a box room; depth in millimetres. Some say that they were taken elsewhere than they were."""
    looks = []
    for i in range(n):
        angle = 2 * np.pi * i / n
        T = look_at((0.3 * np.cos(angle), 0.2, 0.0), (2 * np.cos(angle), 2 * np.sin(angle), -0.3))
        depth = np.round(room_depth(CAMERA, T) * 1000).astype(np.uint16)
        said = WRONG @ T if i in moved else T
        looks.append(Percept(stamp_ns=i * 10**9, T_world_sensor=said, camera=CAMERA, depth=depth, caption=f"look {i}"))
    return looks


def right_poses(memory: EmbodiedMemory, moved: tuple[int, ...] = MOVED) -> dict[str, np.ndarray]:
    by_stamp = {look.stamp_ns: look.T_world_sensor for look in tour()}
    keyframes = [item for item in memory.episodic.timeline() if item.first_seen_ns // 10**9 in moved]
    return {item.id: by_stamp[item.first_seen_ns] for item in keyframes}


def map_of(memory: EmbodiedMemory) -> dict[int, bytes]:
    bricks = memory.spatial.octree.bricks()
    known = np.flatnonzero(~np.isnan(bricks.log_odds).all(axis=1))
    parts = [bricks.log_odds, bricks.last_seen_ns, bricks.ages]
    return {int(bricks.keys[i]): b"".join(part[i].tobytes() for part in parts) for i in known.tolist()}


def all_of(memory: EmbodiedMemory) -> list[object]:
    """All that a correction may touch."""
    with memory.store.read() as db:
        sql = ("SELECT * FROM keyframe", "SELECT * FROM keyframe_surface", "SELECT * FROM record_area")
        rows = [db.execute(query + " ORDER BY id").fetchall() for query in sql]
        places = db.execute("SELECT id, x, y, z, x0, z1 FROM record ORDER BY id").fetchall()
    return [*rows, places, map_of(memory)]


@pytest.fixture
def right() -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory(config=CONFIG) as made:
        made.write_batch(tour())
        yield made


@pytest.fixture
def wrong(path: Path) -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory(path, config=CONFIG) as made:
        made.write_batch(tour(moved=MOVED))
        yield made


def test_the_corrected_map_is_the_right_map(wrong: EmbodiedMemory, right: EmbodiedMemory, path: Path) -> None:
    assert map_of(wrong) != map_of(right)
    before = map_of(wrong)
    done = wrong.correct_poses(right_poses(wrong))
    assert done.keyframes == 2 and done.integrated <= 9 and done.bricks > 0
    changed = {key for key in before.keys() | map_of(wrong).keys() if before.get(key) != map_of(wrong).get(key)}
    assert 0 < len(changed) <= done.bricks
    # To the last bit: bricks, poses, places of the records, what keyframes saw, and what `views` answers.
    assert all_of(wrong) == all_of(right)
    T = look_at((0.1, 0.1, 0.0), (1.0, 2.0, -0.3))
    answers = [[(r.first_seen_ns, r.why) for r in memory.views(T, CAMERA, 4)] for memory in (wrong, right)]
    assert answers[0] == answers[1] != []
    found = wrong.recall(Query(near=tour()[3].T_world_sensor[:3, 3], radius_m=0.01, kinds=("keyframe",)))
    assert 3 * 10**9 in [r.first_seen_ns for r in found]
    wrong.close()
    with EmbodiedMemory(path) as again:
        assert all_of(again) == all_of(right)
        later = replace(tour()[5], stamp_ns=10**11)
        for memory in (again, right):
            memory.write(later)
        assert map_of(again) == map_of(right)


def test_a_reader_in_another_process_follows(wrong: EmbodiedMemory, right: EmbodiedMemory, path: Path) -> None:
    with EmbodiedMemory(path, "r") as reader:
        assert map_of(reader) == map_of(wrong)
        wrong.correct_poses(right_poses(wrong))
        assert all_of(reader) == all_of(right)
        T = look_at((0.1, 0.1, 0.0), (1.0, 2.0, -0.3))
        assert [r.why for r in reader.views(T, CAMERA)] == [r.why for r in right.views(T, CAMERA)]


def test_there_and_back(wrong: EmbodiedMemory) -> None:
    before = all_of(wrong)
    wrong_poses = {name: WRONG @ T for name, T in right_poses(wrong).items()}
    wrong.correct_poses(right_poses(wrong))
    wrong.correct_poses(wrong_poses)
    assert all_of(wrong) == before
    assert wrong.correct_poses(wrong_poses).bricks == 0  # nothing differs
    assert wrong.correct_poses({}).keyframes == 0


def test_bricks_that_it_did_not_see_stay_as_they_are(path: Path) -> None:
    """Looks that are no keyframes made these; where the corrected keyframe saw nothing, their work is kept."""
    config = replace(CONFIG, episodic=EpisodicConfig(keyframe_distance_m=9, keyframe_angle_rad=9, keep_depth=True))
    config = replace(config, episodic=replace(config.episodic, keyframe_interval_s=3.5))
    with EmbodiedMemory(path, config=config) as memory, EmbodiedMemory(config=config) as alone:
        memory.write_batch(tour(moved=(4,)))
        stamps = [item.first_seen_ns for item in memory.episodic.timeline()]
        assert stamps == [0, 4 * 10**9, 8 * 10**9]
        before = map_of(memory)
        done = memory.correct_poses(right_poses(memory, (4,)))
        after = map_of(memory)
        same = [key for key in before if after.get(key) == before[key]]
        assert len(same) >= len(before.keys() | after.keys()) - done.bricks > 50
        alone.write_batch([look for look in tour() if look.stamp_ns in stamps])
        differ = [key for key in after if key not in same and after[key] != map_of(alone).get(key)]
        assert differ == []  # what was made again rests on the keyframes


def test_what_fails_changes_nothing(wrong: EmbodiedMemory) -> None:
    before, poses = all_of(wrong), right_poses(wrong)
    event = "event:1" if "event:1" not in poses else "event:2"
    for bad, error in (
        ({**poses, "keyframe:999": np.eye(4)}, InvalidInput),
        ({**poses, event: np.eye(4)}, InvalidInput),
        ({next(iter(poses)): np.ones((4, 4))}, PoseError),
        ({next(iter(poses)): pose_from_quat((1e9, 0, 0), (0, 0, 0, 1))}, PoseError),
    ):
        with pytest.raises(error):
            wrong.correct_poses(bad)
        assert all_of(wrong) == before
    with pytest.raises(StoreError, match="outside a transaction"), wrong.store.transaction():
        wrong.correct_poses(poses)

    def fail(_: object) -> None:
        raise ZeroDivisionError

    wrong.store.before_commit.append(fail)
    with pytest.raises(ZeroDivisionError):
        wrong.correct_poses(poses)
    wrong.store.before_commit.remove(fail)
    assert all_of(wrong) == before


def test_without_depth_there_is_nothing_to_make_it_from(path: Path) -> None:
    config = replace(CONFIG, episodic=replace(CONFIG.episodic, keep_depth=False))
    with EmbodiedMemory(path, config=config) as memory:
        memory.write_batch(tour(3))
        with memory.store.read() as db:
            assert db.execute("SELECT count(*) FROM keyframe_depth").fetchone()[0] == 0
        with pytest.raises(InvalidInput, match="episodic.keep_depth"):
            memory.correct_poses({memory.episodic.timeline()[0].id: np.eye(4)})


def test_a_full_map_is_told(path: Path) -> None:
    config = replace(CONFIG, spatial=replace(CONFIG.spatial, budget_mib=0.202))
    with EmbodiedMemory(path, config=config) as memory:
        memory.write_batch(tour(5, moved=MOVED))
        before = all_of(memory)
        with pytest.raises(InvalidInput, match="full map"):
            memory.correct_poses(right_poses(memory, (3,)))
        assert all_of(memory) == before


def test_a_forgotten_region_does_not_come_back(wrong: EmbodiedMemory) -> None:
    box = np.array([[-2.2, 1.0, -1.3], [2.2, 1.7, 1.3]])  # most of one wall
    inside = np.array([[x, 1.5, z] for x in (-1.0, 0.0, 1.0) for z in (-0.5, 0.0)])
    assert (wrong.spatial.octree.occupancy(inside) == 1).any()
    wrong.forget(Query(within=box))
    assert wrong.counts()["keyframe"] == 9  # they stand elsewhere
    wrong.correct_poses(right_poses(wrong))
    assert not (wrong.spatial.octree.occupancy(inside) == 1).any()


def test_depth_goes_with_its_keyframe(wrong: EmbodiedMemory) -> None:
    wrong.forget(Query(ids=(wrong.episodic.timeline()[0].id,)))
    state = wrong.episodic.state_dict()
    with wrong.store.read() as db:
        assert db.execute("SELECT count(*) FROM keyframe_depth").fetchone()[0] == 8
    assert len(state["keyframe_depth"]["rows"]) == 8
    wrong.clear()
    assert wrong.closure.depths.poses() == {}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_kept_depth_comes_back(seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).integers(0, 65536, (height, width), dtype=np.uint16)
    camera = PinholeCamera(width=width, height=height, fx=100.5, fy=99.1, cx=width / 3, cy=0.1)
    kept = keep_depth(image, camera)
    assert np.array_equal(kept.image(), image) and kept.intrinsics() == camera
    with pytest.raises(DamagedMemory):
        KeptDepth(kept.camera, kept.png[:20]).image()
