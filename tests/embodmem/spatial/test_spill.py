"""A map larger than its pool: what is worth least waits in the file, and comes back when the robot does."""

import numpy as np
import pytest

from embodmem.config import SpatialConfig
from embodmem.geometry import check_pose, look_at
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.octree import Octree
from embodmem.store import Store
from embodmem.types import Percept, Query
from tests.embodmem.spatial.octree_reference import CAMERA, room_depth

SECOND = 10**9
SMALL = SpatialConfig(voxel_size_m=0.1, budget_mib=0.857, max_range_m=3.0)
LARGE = SpatialConfig(voxel_size_m=0.1, budget_mib=13.704, max_range_m=3.0)
ROOMS = [np.array([10.0 * i, 0.0, 0.0]) for i in range(6)]


def looks(rooms=ROOMS, start_ns=SECOND):
    """Views of one room after the other, four in each."""
    percepts = []
    for room in rooms:
        for angle in np.linspace(0, 5, 4):
            local = check_pose(look_at([0.2, 0.1, 0.0], [2 * np.cos(angle), 2 * np.sin(angle), -0.2]))
            T = local.copy()
            T[:3, 3] += room
            percepts.append(
                Percept(
                    stamp_ns=start_ns + len(percepts) * SECOND,
                    T_world_sensor=T,
                    camera=CAMERA,
                    depth=room_depth(CAMERA, local),
                )
            )
    return percepts


def points_of(bricks, size=0.1):
    from tests.embodmem.spatial.octree_reference import all_voxels

    return (all_voxels(bricks).reshape(-1, 3) + 0.5) * size


def filled(path=None, config=SMALL, percepts=None):
    memory = SpatialMemory(Store(path), config)
    for percept in looks() if percepts is None else percepts:
        memory.write(percept)
    return memory


def whole_map():
    octree = Octree(LARGE)
    for percept in looks():
        octree.integrate(percept.depth, CAMERA, percept.T_world_sensor, percept.stamp_ns)
    return octree


def test_what_does_not_fit_is_in_the_file_and_nothing_is_lost():
    memory, whole = filled(), whole_map()
    stats = memory.octree.stats()
    assert stats.refused_bricks == 0 and stats.bytes == Octree(SMALL).stats().bytes
    bricks = whole.bricks()
    assert 0 < stats.bricks < len(bricks.keys)
    state = memory.state_dict()
    assert set(state["keys"].tolist()) == set(bricks.keys.tolist())
    here, there = np.array([1.5, 1, 1]), np.array([-1.5, -1, -1])
    for room in ROOMS:  # going back to each of them in turn
        assert memory.load(room + there, room + here) == 0
        box = points_of(bricks)
        box = box[((box > room + there) & (box < room + here)).all(axis=1)]
        np.testing.assert_array_equal(memory.octree.log_odds(box), whole.log_odds(box))
        memory._spill._take_out(memory.octree.evict(160, room + 99, 0), 0)
        memory.flush()


def test_the_robot_returns_and_goes_on_where_it_left_off():
    again = looks(rooms=[ROOMS[0]], start_ns=100 * SECOND)
    memory, whole = filled(percepts=[*looks(), *again]), whole_map()
    assert memory.octree.stats().refused_bricks == 0
    for percept in again:
        whole.integrate(percept.depth, CAMERA, percept.T_world_sensor, percept.stamp_ns)
    points = points_of(whole.bricks())
    points = points[(np.abs(points) < [2.1, 1.6, 1.3]).all(axis=1)]
    known = whole.log_odds(points)
    assert np.nanmin(known) < -0.7  # seen in both visits
    np.testing.assert_array_equal(memory.octree.log_odds(points), known)


def test_it_is_all_there_after_a_restart(tmp_path):
    memory = filled(tmp_path / "map.mem")
    before = memory.state_dict()
    memory.close()
    memory.store.close()
    again = SpatialMemory(Store(tmp_path / "map.mem"), SMALL)
    after = again.state_dict()
    assert after["keys"].tolist() == before["keys"].tolist()
    assert after["log_odds"] == before["log_odds"]
    assert again.octree.stats().bricks < len(after["keys"])
    again.write(looks(rooms=[ROOMS[3]], start_ns=200 * SECOND)[0])
    assert again.octree.stats().refused_bricks == 0


@pytest.mark.parametrize("which", [0, 5])
def test_a_region_is_forgotten_on_disk_too(which):
    memory, whole = filled(), whole_map()
    lower, upper = ROOMS[which] - [0.5, 0.7, 0.3], ROOMS[which] + [1.3, 0.6, 0.4]
    wanted = whole.remove_box(lower, upper)
    assert memory.forget(Query(within=np.array([lower, upper]))) == wanted > 0
    left = whole.bricks()
    state = memory.state_dict()
    assert set(state["keys"].tolist()) == set(left.keys.tolist())
    memory.load(ROOMS[which] - 2, ROOMS[which] + 2)
    points = points_of(left)
    points = points[(np.abs(points - ROOMS[which]) < 1.5).all(axis=1)]
    np.testing.assert_array_equal(memory.octree.log_odds(points), whole.log_odds(points))


def test_the_window_rolls_over_disk_and_map():
    config = SpatialConfig(voxel_size_m=0.1, budget_mib=0.857, max_range_m=3.0, window_m=12.0)
    memory = filled(config=config)
    keys = memory.state_dict()["keys"]
    centres = (np.array([(key >> 42) - (1 << 20) for key in keys.tolist()]) + 0.5) * 0.8
    last = looks()[-1].T_world_sensor[0, 3]
    assert (np.abs(centres - last) < 12.0 + 0.8).all() and len(keys) > 0


def test_what_waited_in_the_file_has_faded_meanwhile():
    config = SpatialConfig(voxel_size_m=0.1, budget_mib=0.857, max_range_m=3.0, half_life_s=30.0)
    memory = filled(config=config)
    out = memory._spill.within(ROOMS[0] - 1, ROOMS[0] + 1)
    assert len(out)
    memory.load(ROOMS[0] - 1, ROOMS[0] + 1)
    one_piece = Octree(LARGE)
    for percept in looks()[:4]:
        one_piece.integrate(percept.depth, CAMERA, percept.T_world_sensor, percept.stamp_ns)
    one_piece.decay(looks()[-1].stamp_ns, 30.0)
    points = points_of(one_piece.bricks())
    points = points[(np.abs(points - ROOMS[0]) < 0.9).all(axis=1)]
    got, wanted = memory.octree.log_odds(points), one_piece.log_odds(points)
    both = ~np.isnan(got) & ~np.isnan(wanted)
    assert both.sum() > 0.9 * (~np.isnan(wanted)).sum() > 500
    # Log-odds that fade between views add up otherwise than those that fade at the end, and ticks are half a second.
    np.testing.assert_allclose(got[both], wanted[both], rtol=0.15, atol=0.1)


def test_keep_alive_holds_over_a_restart(tmp_path):
    config = SpatialConfig(voxel_size_m=0.1, budget_mib=3.426, max_range_m=3.0, half_life_s=2.0)
    memory = SpatialMemory(Store(tmp_path / "map.mem"), config)
    memory.keep_alive(ROOMS[0] - 3, ROOMS[0] + 3)
    for percept in looks(rooms=ROOMS[:2]):
        memory.write(percept)
    memory.store.close()
    memory = SpatialMemory(Store(tmp_path / "map.mem"), config)
    far = looks(rooms=[ROOMS[4]], start_ns=1000 * SECOND)
    for percept in far:
        memory.write(percept)
    left = memory.octree.occupied()[0]
    near = [int((np.abs(left - room) < 3).all(axis=1).sum()) for room in (ROOMS[0], ROOMS[1], ROOMS[4])]
    assert near[0] > 100 and near[1] == 0 and near[2] > 100


@pytest.mark.parametrize("how", ["keep_alive", "fade_in_view_only"])
def test_what_is_exempt_has_not_faded_in_the_file_either(how):
    capacity = SMALL.budget_mib
    config = SpatialConfig(
        voxel_size_m=0.1, budget_mib=capacity, max_range_m=3.0, half_life_s=2.0, fade_in_view_only=how != "keep_alive"
    )
    memory = SpatialMemory(Store(None), config)
    if how == "keep_alive":
        memory.keep_alive(ROOMS[0] - 3, ROOMS[0] + 3)
    for percept in looks():
        memory.write(percept)
    bricks, spilled = memory._spill._read(memory._spill.within(ROOMS[0] - 1, ROOMS[0] + 1))
    assert len(bricks.keys) and (spilled > 0).all()
    memory.load(ROOMS[0] - 1, ROOMS[0] + 1)
    points = points_of(bricks)
    np.testing.assert_array_equal(memory.octree.log_odds(points), bricks.log_odds.ravel())
