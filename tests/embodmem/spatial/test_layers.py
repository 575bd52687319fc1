"""What moves and what stays, in a room with a box that is carried about."""

import numpy as np
import pytest

from embodmem import EmbodiedMemory
from embodmem.config import Config, SpatialConfig
from embodmem.geometry import check_pose, look_at
from embodmem.spatial.layers import Layers, _connected, _Neighbours
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.octree import OCCUPIED, Changes, Octree, pack_keys
from embodmem.spatial.octree.sight import Look
from embodmem.store import Store
from embodmem.types import Percept, PinholeCamera

STEP_NS = 10**9 // 10
CAMERA = PinholeCamera(width=160, height=120, fx=130, fy=130, cx=80, cy=60)
ROOM = np.array([3.02, 2.03, 1.52])  # no face of a voxel in a wall
CONFIG = SpatialConfig(voxel_size_m=0.05, budget_mib=13.704, max_range_m=7.0)


def depth_of(T, boxes):
    """Depth (H, W) of the inside of a room around the origin with boxes (middle, half size) in it."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1)
    world, eye = rays @ T[:3, :3].T, T[:3, 3]
    world = np.where(np.abs(world) < 1e-9, 1e-9, world)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = ((np.sign(world) * ROOM - eye) / world).min(axis=-1)
        for middle, half in boxes:
            a, b = ((np.asarray(middle) + sign * np.asarray(half) - eye) / world for sign in (-1, 1))
            near, far = np.minimum(a, b).max(axis=-1), np.maximum(a, b).min(axis=-1)
            depth = np.where((near < far) & (near > 0), np.minimum(depth, near), depth)
    return depth.astype(np.float32)


def pose(i):
    """A camera that sways a little in front of the boxes."""
    return check_pose(look_at([-2.0, 0.3 * np.sin(0.7 * i), 0.2], [1.0, 0.2 * np.cos(0.5 * i), -0.6]))


TABLE = ([0.82, 0.0, -1.12], [0.4, 0.62, 0.4])
BOX = ([0.62, 0.0, -0.57], [0.15, 0.17, 0.15])


def run(layers, octree, scenes, start=0):
    for i, boxes in enumerate(scenes, start=start):
        depth = depth_of(pose(i), boxes)
        octree.integrate(depth, CAMERA, pose(i), (i + 1) * STEP_NS)
        layers.update((i + 1) * STEP_NS, Look(depth, CAMERA, pose(i)))


def occupied_in(octree, box, grow=0.0):
    centres = octree.occupied()[0].astype(float)
    middle, half = np.asarray(box[0]), np.asarray(box[1]) + grow
    return centres[(np.abs(centres - middle) < half).all(axis=1)]


def test_what_was_carried_away_is_gone_within_five_views_and_nothing_else():
    plain, octree = Octree(CONFIG), Octree(CONFIG)
    layers = Layers(octree)
    scenes = [[TABLE, BOX]] * 30
    run(layers, octree, scenes)
    before = octree.occupied()[0]
    there = len(occupied_in(octree, BOX, 0.02))
    assert there > 30
    run(layers, octree, [[TABLE]] * 5, start=30)
    for i, boxes in enumerate([[TABLE, BOX]] * 30 + [[TABLE]] * 5):
        plain.integrate(depth_of(pose(i), boxes), CAMERA, pose(i), (i + 1) * STEP_NS)
    visible = np.array([0.6, 0.0, -0.5]), np.array([0.15, 0.15, 0.1])  # above the table's top, which stays
    assert len(occupied_in(plain, visible)) > 30  # without layers most of it is still there
    assert len(occupied_in(octree, visible)) <= 0.02 * there
    # Nothing static is lost: the voxels that hold a piece of wall, floor or table still do.
    static = before[holds_surface(before) & (np.abs(before - BOX[0]) > np.array(BOX[1]) + 0.1).any(axis=1)]
    lost = octree.occupancy(static) != OCCUPIED
    plain_lost = plain.occupancy(static) != OCCUPIED
    assert len(static) > 10000 and not (lost & ~plain_lost).any()


def holds_surface(centres):
    """Which voxels (N,) are cut by a wall or by a face of the table."""
    walls = (np.abs(np.abs(centres) - ROOM) <= 0.025).any(axis=1)
    inside = np.abs(centres - TABLE[0]) - TABLE[1]
    return walls | ((inside < 0.025).all(axis=1) & (np.abs(inside) <= 0.025).any(axis=1))


def test_a_table_top_seen_at_a_low_angle_stays():
    # Every few views all lines of the image miss some rows of its voxels, three times in a row at the worst.
    plain, octree = Octree(CONFIG), Octree(CONFIG)
    layers = Layers(octree)
    table = ([0.82, 0.0, -0.77], [0.9, 0.9, 0.75])
    for i in range(60):
        eye = np.array([-2.4, 0.3 * np.sin(0.7 * i), 0.22 + 0.02 * np.sin(0.5 * i)])
        T, now = check_pose(look_at(eye, [1.0, 0.2 * np.cos(0.5 * i), -0.1])), (i + 1) * STEP_NS
        depth = depth_of(T, [table])
        plain.integrate(depth, CAMERA, T, now)
        octree.integrate(depth, CAMERA, T, now)
        layers.update(now, Look(depth, CAMERA, T))
    kept = plain.occupied()[0].astype(float)
    kept = kept[(np.abs(kept - table[0]) < np.array(table[1]) + 0.025).all(axis=1)]
    assert len(kept) > 500
    assert (octree.occupancy(kept) == OCCUPIED).all()


@pytest.mark.parametrize("beside", [True, False])
def test_a_scan_counts_bricks_that_are_as_sure_as_can_be(beside):
    # The edge of a slab lies in one brick and the rest in the next, which is hit time and again: nothing changes there.
    octree = Octree(CONFIG)
    slab = np.zeros((2, 8, 8, 8), bool)
    slab[0, 4, :, 7], slab[1, 4] = True, beside
    slab = slab.reshape(2, 512)
    keys = pack_keys(np.array([[0, 0, 0], [1, 0, 0]]))
    values = np.where(slab, CONFIG.log_odds_max, CONFIG.log_odds_min).astype(np.float32)
    octree.load_bricks(keys, values, np.full(2, STEP_NS))
    none, edge = np.zeros((1, 512), bool), slab[:1]
    changes = Changes(keys[:1], none, none, edge, none, values[:1])
    due = Layers(octree)._with_most_around(changes, edge, none)
    assert due.sum() == (0 if beside else 8)  # of the 6 around each 3 were missed, or all 3


def test_it_is_reported_once_with_its_place_and_size():
    octree = Octree(CONFIG)
    layers = Layers(octree)
    run(layers, octree, [[TABLE, BOX]] * 30)
    assert [gone for gone in layers.take_cleared(31 * STEP_NS) if gone.volume_m3 > 0.002] == []
    run(layers, octree, [[TABLE]] * 20, start=30)
    found = [gone for gone in layers.take_cleared(60 * STEP_NS) if gone.volume_m3 > 0.002]
    assert len(found) == 1
    np.testing.assert_allclose(found[0].position, BOX[0], atol=0.1)
    assert (np.abs(found[0].extent - 0.3) < 0.16).all()
    assert layers.take_cleared(99 * STEP_NS) == []


def test_what_passes_through_is_transient_and_leaves_no_trace():
    octree = Octree(CONFIG)
    layers = Layers(octree)
    run(layers, octree, [[TABLE]] * 20)
    still = {tuple(voxel) for voxel in np.floor(octree.occupied()[0] / 0.05).astype(int).tolist()}
    walk = [[TABLE, ([0.0, -1.2 + 0.12 * i, -0.7], [0.15, 0.2, 0.7])] for i in range(20)]
    run(layers, octree, walk, start=20)
    moving = layers.transient()
    assert len(moving) > 30
    middle = np.array(walk[-1][1][0])
    assert (np.abs(moving - middle) < [0.25, 0.6, 0.8]).all(axis=1).mean() > 0.9  # it is where it is now, not its trail
    run(layers, octree, [[TABLE]] * 30, start=40)
    assert len(layers.transient()) == 0
    left = {tuple(voxel) for voxel in np.floor(octree.occupied()[0] / 0.05).astype(int).tolist()} - still
    in_the_way = [v for v in left if abs((v[0] + 0.5) * 0.05) < 0.2 and v[2] > -29]
    assert len(in_the_way) <= 2  # where it stood on the floor


def test_what_stays_settles():
    octree = Octree(CONFIG)
    layers = Layers(octree, settle_s=1.0)
    run(layers, octree, [[TABLE]] * 20)
    run(layers, octree, [[TABLE, BOX]] * 6, start=20)
    assert len(layers.transient()) > 20
    run(layers, octree, [[TABLE, BOX]] * 24, start=26)
    assert len(layers.transient()) <= 5 and len(occupied_in(octree, BOX, 0.02)) > 50


def test_a_transient_thing_out_of_view_is_forgotten():
    octree = Octree(CONFIG)
    layers = Layers(octree, transient_s=1.0)
    run(layers, octree, [[TABLE]] * 20)
    run(layers, octree, [[TABLE, BOX]] * 6, start=20)
    away = check_pose(look_at([-2, 0, 0.2], [-3, 0, 0.2]))
    for i in range(26, 46):
        depth = depth_of(away, [])
        octree.integrate(depth, CAMERA, away, (i + 1) * STEP_NS)
        layers.update((i + 1) * STEP_NS, Look(depth, CAMERA, away))
    assert len(layers.transient()) == 0
    assert len(occupied_in(octree, ([0.6, 0, -0.5], [0.14, 0.14, 0.1]))) == 0


def test_the_memory_reports_what_is_gone_and_keeps_the_layer_over_a_restart(tmp_path):
    config = Config(encoder="hashing", spatial=SpatialConfig(voxel_size_m=0.05, max_range_m=7.0, transient_s=2.0))

    def percepts(scenes, start):
        return [
            Percept(stamp_ns=(i + 1) * STEP_NS, T_world_sensor=pose(i), camera=CAMERA, depth=depth_of(pose(i), boxes))
            for i, boxes in enumerate(scenes, start=start)
        ]

    with EmbodiedMemory(tmp_path / "a.mem", config=config) as memory:
        memory.write_batch(percepts([[TABLE]] * 20, 0))
        memory.write_batch(percepts([[TABLE, BOX]] * 4, 20))
        moving = memory.spatial.layers.transient()
    assert len(moving) > 20
    with EmbodiedMemory(tmp_path / "a.mem") as memory:
        _ = memory.spatial.octree
        np.testing.assert_array_equal(memory.spatial.layers.transient(), moving)
        memory.write_batch(percepts([[TABLE, BOX]] * 70, 24))
        assert len(memory.spatial.layers.transient()) <= 5
        memory.write_batch(percepts([[TABLE]] * 20, 94))
        events = [item for item in memory.episodic.recall("gone") if "is gone" in item.text]
        assert len(events) == 1
        np.testing.assert_allclose(events[0].position, BOX[0], atol=0.1)


def test_a_map_without_layers_has_none():
    memory = SpatialMemory(Store(None), CONFIG)
    assert memory.octree is not None and memory.layers is None and memory.take_cleared(5) == []


@pytest.mark.parametrize("seed", range(5))
def test_groups_equal_a_flood_fill(seed):
    rng = np.random.default_rng(seed)
    voxels = np.unique(rng.integers(-6, 6, (60, 3)), axis=0)
    groups = _connected(voxels)
    cells = voxels >> 1
    label, count = {}, 0
    for cell in map(tuple, cells.tolist()):
        if cell in label:
            continue
        stack, label[cell] = [cell], count
        while stack:
            x, y, z = stack.pop()
            for other in map(tuple, cells.tolist()):
                if other not in label and max(abs(other[0] - x), abs(other[1] - y), abs(other[2] - z)) <= 1:
                    label[other] = count
                    stack.append(other)
        count += 1
    wanted = [label[tuple(cell)] for cell in cells.tolist()]
    assert len(set(zip(groups.tolist(), wanted, strict=True))) == count == len(set(groups.tolist()))


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_are_counted_across_the_faces_of_bricks(seed):
    rng = np.random.default_rng(seed)
    bricks = np.unique(rng.integers(-2, 2, (20, 3)), axis=0)
    bricks = bricks[rng.permutation(len(bricks))]
    mask = rng.random((len(bricks), 512)) < 0.3
    z, y, x = np.mgrid[:8, :8, :8].reshape(3, -1)
    whole = np.zeros((40, 40, 40), int)
    at = (bricks[:, None] * 8 + np.stack([x, y, z], axis=1) + 20).reshape(-1, 3)
    whole[tuple(at[mask.ravel()].T)] = 1
    wanted = sum(np.roll(whole, (i, j, k), (0, 1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1))
    got = _Neighbours(pack_keys(bricks)).count(mask)
    np.testing.assert_array_equal(got.ravel(), wanted[tuple(at.T)])
