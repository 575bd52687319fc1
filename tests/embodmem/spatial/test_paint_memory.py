"""Colours and labels in the memory's file: kept over restarts, spilled and brought back, forgotten, interchanged."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from embodmem import Config, EmbodiedMemory, Percept
from embodmem.config import EpisodicConfig, SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.geometry import pose_from_quat
from embodmem.spatial.label_names import LabelNames
from embodmem.spatial.memory import SpatialMemory
from embodmem.store import Store
from embodmem.types import Query
from tests.embodmem.spatial.octree_reference import CAMERA
from tests.embodmem.spatial.paint_reference import painted
from tests.embodmem.spatial.test_spill import ROOMS, looks

SECOND = 10**9
ON = SpatialConfig(voxel_size_m=0.1, budget_mib=2.0, max_range_m=3.0, colour=True, labels=True)
LARGE = replace(ON, budget_mib=40.0)
NAMES = {4: "wall", 70_000: "mug", 12: "wall", 0: "nothing", 9: ""}


def coloured(percepts):
    """The same looks with an image and a segmentation: each pixel's colour and label come from where its point lies."""
    made = []
    for percept in percepts:
        v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
        rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1)
        T = percept.T_world_sensor
        points = (rays * percept.depth[..., None]) @ T[:3, :3].T + T[:3, 3]
        rgb = np.clip(128 + 30 * points, 0, 255).astype(np.uint8)
        ids = np.where(points[..., 2] > 0.5, 4, np.where(points[..., 2] < -0.5, 70_000, 0)).astype(np.int32)
        made.append(replace(percept, rgb=rgb, segmentation=ids, labels=NAMES))
    return made


def filled(path=None, config=ON, percepts=None):
    memory = SpatialMemory(Store(path), config)
    for percept in coloured(looks()) if percepts is None else percepts:
        memory.write(percept)
    return memory


def test_labels_have_numbers_for_good():
    names = LabelNames(["mug", ""])
    ids = np.array([[0, 4, 9], [70_000, -4, 12]], np.int32)
    assert names.numbers_of(ids, NAMES).tolist() == [[0, 3, 0], [1, 0, 3]]
    assert names.numbers_of(ids, {4: "door", 12: "mug"}).tolist() == [[0, 4, 0], [0, 0, 1]]
    assert names.texts[1:] == ["mug", "", "wall", "door"] and len(names) == 3
    names.remove("mug")
    assert names.find("mug") is None and names.add("mug") == 5 and names.matching(["WALL"]) == ["wall"]
    full = LabelNames(map(str, range(65535)))
    assert full.add("7") == 8
    with pytest.raises(InvalidInput, match="65535"):
        full.add("one more")


def test_what_does_not_fit_comes_back_as_it_was():
    memory, whole = filled(), filled(config=LARGE)
    assert memory.octree.stats().refused_bricks == 0 and len(memory._spill.keys) > 100
    all_there = painted(whole.octree)
    for room in ROOMS:
        memory.load(room - [1.9, 1.4, 1.1], room + [1.9, 1.4, 1.1])
        points = np.array([v for v in all_there[1]]) * 0.1 + 0.05
        points = points[(np.abs(points - room) < [2.4, 1.9, 1.6]).all(axis=1)]
        points = points[~np.isnan(memory.octree.log_odds(points))]
        assert len(points) > 100
        for ours, theirs in zip(memory.octree.labels(points), whole.octree.labels(points), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for ours, theirs in zip(memory.octree.colours(points), whole.octree.colours(points), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        memory._spill._take_out(memory.octree.evict(160, room + 99, 0), 0)
        memory.flush()


def test_it_is_all_there_after_a_restart(tmp_path):
    memory = filled(tmp_path / "map.mem", LARGE)
    before = painted(memory.octree)
    assert len(before[0]) > len(before[1]) > 1000
    memory.close()
    memory.store.close()
    again = SpatialMemory(Store(tmp_path / "map.mem"), LARGE)
    assert painted(again.octree) == before
    texts, confidence = again.labels([[2.05, -0.35, 0.55], [2.05, 0.05, -0.65], [0, 0, 0]])
    assert texts == ["wall", "mug", ""] and confidence[0] > 0.5 and confidence[2] == 0
    state = again.state_dict()
    other = SpatialMemory(Store(None), LARGE)
    other.load_state_dict(state)
    assert painted(other.octree) == before and other.labels([[2.05, -0.35, 0.55]])[0] == ["wall"]
    other.clear()
    assert other.octree.stats().bricks == 0 and other.store.get_state("map_labels") is None


def test_a_map_is_opened_with_other_settings(tmp_path):
    memory = filled(tmp_path / "map.mem", LARGE)
    before = painted(memory.octree)
    memory.close()
    memory.store.close()
    off = SpatialMemory(Store(tmp_path / "map.mem"), replace(LARGE, colour=False, labels=False))
    assert off.labels([[2.05, -0.35, 0.55]])[0] == [""] and off.octree.stats().occupied_voxels > 1000
    off.write(coloured(looks([ROOMS[5]], 900 * SECOND))[0])  # these bricks are written without
    off.close()
    off.store.close()
    on = SpatialMemory(Store(tmp_path / "map.mem"), LARGE)
    after = painted(on.octree)
    assert all(after[0][voxel] == before[0][voxel] for voxel in after[0])  # what was not written is as it was
    assert 0.5 * len(before[0]) < len(after[0]) < len(before[0])
    on.store.close()
    plain = filled(tmp_path / "plain.mem", replace(LARGE, colour=False, labels=False), looks())
    plain.store.close()
    on = SpatialMemory(Store(tmp_path / "plain.mem"), LARGE)  # and the other way round
    assert painted(on.octree) == ({}, {})
    on.write(coloured(looks([ROOMS[0]], 900 * SECOND))[0])
    assert len(painted(on.octree)[0]) > 100


@pytest.mark.parametrize("which", [0, 5])
def test_a_region_is_forgotten_in_memory_and_file(tmp_path, which):
    memory = filled(tmp_path / "map.mem")
    lower, upper = ROOMS[which] - [2.6, 2.2, 0.1], ROOMS[which] + [2.6, 2.2, 2.0]
    assert memory.forget(Query(within=np.array([lower, upper]))) > 0
    memory.close()
    memory.store.close()
    whole = SpatialMemory(Store(tmp_path / "map.mem"), LARGE)
    colours, labels = painted(whole.octree)
    points = np.array(list(colours)) * 0.1 + 0.05
    assert not ((points > lower) & (points < upper)).all(axis=1).any()
    assert ((points > lower - 1) & (points < upper + 1)).all(axis=1).any() and labels


def test_a_view_that_is_rolled_back_leaves_no_paint():
    memory = filled(config=LARGE, percepts=coloured(looks([ROOMS[0]])))
    before, names = painted(memory.octree), list(memory.label_names.texts)
    late = coloured(looks([ROOMS[0]], 50 * SECOND))[2]
    with pytest.raises(RuntimeError), memory.store.transaction():
        memory.write(replace(late, labels={4: "door", 70_000: "vase"}))
        assert painted(memory.octree) != before
        raise RuntimeError
    assert painted(memory.octree) == before and memory.label_names.texts == names


def test_labelled_points_of_a_percept(tmp_path):
    rng = np.random.default_rng(0)
    rays = rng.normal(size=(2000, 3))
    points = (2.03 * rays / np.linalg.norm(rays, axis=1)[:, None]).astype(np.float32)
    percept = Percept(
        stamp_ns=1,
        T_world_sensor=np.eye(4),
        points=points,
        point_ids=np.where(points[:, 2] > 0, 5, 6).astype(np.int32),
        point_rgb=np.where(points[:, :1] > 0, [255, 0, 0], [0, 0, 255]).astype(np.uint8),
        labels={5: "ceiling", 6: "floor"},
    )
    with EmbodiedMemory(tmp_path / "a.mem", config=Config(encoder="hashing", spatial=LARGE)) as memory:
        memory.write(percept)
    with EmbodiedMemory(tmp_path / "a.mem") as memory:  # settings come from the file
        here = points[np.abs(points[:, 2]) > 0.2][::7]
        texts, _ = memory.spatial.labels(here)
        assert texts == ["ceiling" if z > 0 else "floor" for z in here[:, 2]]
        found = memory.spatial.octree.colours(here[np.abs(here[:, 0]) > 0.2])
        assert set(map(tuple, found.rgb.tolist())) == {(255, 0, 0), (0, 0, 255)} and (found.views == 1).all()
    for wrong in ({"point_ids": np.zeros(3, np.int32)}, {"point_rgb": np.zeros((2000, 4), np.uint8)}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            replace(percept, **wrong)
    with pytest.raises(InvalidInput, match="point_ids"):
        replace(percept, points=None, point_rgb=None)


CHILD = """
import sys
from embodmem import Config, EmbodiedMemory
from tests.embodmem.spatial.test_paint_memory import LARGE, coloured, looks
memory = EmbodiedMemory(sys.argv[1], config=Config(encoder="hashing", spatial=LARGE))
for percept in coloured(looks()):
    memory.write(percept)
    print(percept.stamp_ns, flush=True)
"""


def test_a_killed_process_loses_no_colour_and_no_label(tmp_path):
    path = tmp_path / "map.mem"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    written = []
    for line in child.stdout:
        written.append(int(line))
        if len(written) == 9:
            child.send_signal(signal.SIGKILL)
            break
    written += map(int, child.stdout)
    child.wait()
    with EmbodiedMemory(path) as memory:
        after = painted(memory.spatial.octree)
        newest = memory.newest_stamp()
    wanted = filled(config=LARGE, percepts=[p for p in coloured(looks()) if p.stamp_ns <= newest])
    colours, labels = painted(wanted.octree)
    assert written[-1] <= newest and set(after[0]) == set(colours) and set(after[1]) == set(labels)
    assert all(after[1][voxel][0] == labels[voxel][0] for voxel in labels)
    # Means that moved by little since the brick was written are written later.
    assert max(abs(a - b) for v in colours for a, b in zip(after[0][v][:3], colours[v][:3], strict=True)) < 16


def test_what_moves_takes_its_colours_along():
    config = replace(LARGE, transient_s=2.0, settle_s=60.0)
    memory = SpatialMemory(Store(), config)
    look = coloured(looks([ROOMS[0]]))[0]
    depth, rgb = look.depth.copy(), look.rgb.copy()
    depth[40:80, 60:100], rgb[40:80, 60:100] = 0.9, (255, 0, 255)
    for second in range(24):
        is_there = 8 <= second < 12
        changed = {"depth": depth, "rgb": rgb} if is_there else {}
        memory.integrate(replace(look, stamp_ns=(1 + second) * SECOND, **changed))
        magenta = [v for v, c in painted(memory.octree)[0].items() if c[0] > 250 and c[1] < 5 and c[2] > 250]
        bricks = memory.octree.bricks()
        assert not bricks.colours[~(bricks.log_odds > 0)].any()
        if second == 11:
            assert len(magenta) > 5 and len(memory.layers.transient()) > 5
    assert not magenta and len(painted(memory.octree)[0]) > 100
    assert len(memory.layers.transient()) == 0


KEEPING = Config(
    encoder="hashing",
    spatial=replace(LARGE, voxel_size_m=0.05),
    episodic=EpisodicConfig(keyframe_distance_m=0.01, keyframe_angle_rad=0.01, keep_depth=True),
)


def in_millimetres(percepts):
    return [replace(p, depth=np.round(p.depth * 1000).astype(np.uint16)) for p in percepts]


def test_corrected_poses_carry_colours_and_labels_along(tmp_path):
    right = in_millimetres(coloured(looks([ROOMS[0]])))
    slip = pose_from_quat((0.3, 0.1, 0.0), (0.0, 0.0, 0.05, 1.0))
    wrong = [replace(p, T_world_sensor=slip @ p.T_world_sensor) if i > 1 else p for i, p in enumerate(right)]
    with EmbodiedMemory(config=KEEPING) as memory, EmbodiedMemory(config=KEEPING) as wanted:
        wanted.write_batch(right)
        memory.write_batch(wrong)
        poses = {k.id: right[i].T_world_sensor for i, k in enumerate(memory.episodic.timeline())}
        theirs = painted(wanted.spatial.octree)
        assert set(painted(memory.spatial.octree)[1]) != set(theirs[1])
        assert memory.correct_poses(poses).keyframes == 2
        ours = painted(memory.spatial.octree)
        assert ours[1] == theirs[1] and len(ours[1]) > 500
        assert memory.spatial.label_names.texts == wanted.spatial.label_names.texts
        assert set(ours[0]) == set(theirs[0])  # pictures are kept as JPEG
        errors = [abs(a - b) for v in ours[0] for a, b in zip(ours[0][v][:3], theirs[0][v][:3], strict=True)]
        assert np.mean(errors) < 3


def test_a_label_is_forgotten_and_the_place_is_not(tmp_path):
    path = tmp_path / "map.mem"
    config = replace(KEEPING, spatial=replace(KEEPING.spatial, budget_mib=6.0))
    with EmbodiedMemory(path, config=config) as memory:
        memory.write_batch(in_millimetres(coloured(looks(ROOMS[:2]))))
        before = painted(memory.spatial.octree)
        number = memory.spatial.label_names.find("mug")
        bearing = [v for v, (label, *_) in before[1].items() if label == number]
        assert memory.forget(Query(labels=("Mug",))) >= len(bearing) > 100
        after = painted(memory.spatial.octree)
        assert after[0] == before[0] and after[1] == {v: n for v, n in before[1].items() if n[0] != number}
    with EmbodiedMemory(path) as memory:
        assert painted(memory.spatial.octree)[1] == after[1]
        memory.spatial.load(ROOMS[0] - 3, ROOMS[0] + 3)
        assert number not in [n[0] for n in painted(memory.spatial.octree)[1].values()]
        assert memory.spatial.label_names.find("mug") is None
        rows = [memory.closure.depths.percept(row, T) for row, (T, _) in memory.closure.depths.poses().items()]
        assert 0 < len(rows) < 8 and all(set(p.labels.values()) <= {"wall"} for p in rows)
        assert {int(i) for p in rows for i in np.unique(p.segmentation)} == {0, 1}
    for file in (path, path.with_name(path.name + "-wal")):
        assert not file.exists() or b"mug" not in file.read_bytes()


def test_the_segmentation_of_a_forgotten_region_goes_from_keyframes_too():
    with EmbodiedMemory(config=KEEPING) as memory:
        memory.write_batch(in_millimetres(coloured(looks([ROOMS[0]]))))
        before = [memory.closure.depths.percept(row, T) for row, (T, _) in memory.closure.depths.poses().items()]
        memory.forget(Query(within=np.array([[-9.0, -9, -9], [9, 9, -0.45]])))
        after = [memory.closure.depths.percept(row, T) for row, (T, _) in memory.closure.depths.poses().items()]
        assert all("mug" in p.labels.values() for p in before)
        assert all("mug" not in p.labels.values() and not p.segmentation[p.depth == 0].any() for p in after)
        assert any("wall" in p.labels.values() for p in after)
