"""Keys, leaves at every depth, removal, a full pool, and what is saved."""

import os
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embodmem.config import SpatialConfig, map_bytes
from embodmem.errors import ConfigError, InvalidInput
from embodmem.geometry import check_pose, look_at
from embodmem.spatial.octree import (
    MAX_DEPTH,
    OCCUPIED,
    UNKNOWN,
    Octree,
    decode_bricks,
    encode_bricks,
    pack_keys,
    unpack_keys,
)
from embodmem.spatial.octree.depth import NUDGE
from tests.embodmem.spatial.octree_reference import CAMERA, all_voxels, poses, room_depth

CONFIG = SpatialConfig(voxel_size_m=0.1, budget_mib=6.852)
indices = st.integers(-(2**20), 2**20 - 1)


def filled(config=CONFIG, n=4):
    octree = Octree(config)
    for stamp, T in enumerate(poses(n)):
        octree.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, stamp)
    return octree


def same(a, b):
    """Whether two sets of bricks are equal to the bit, in any order."""
    i, j = np.argsort(a.keys), np.argsort(b.keys)
    return all(np.array_equal(x[i], y[j], equal_nan=x.dtype.kind == "f") for x, y in zip(a, b, strict=True))


@given(st.lists(st.tuples(indices, indices, indices), max_size=20))
def test_keys_round_trip(bricks):
    array = np.array(bricks, dtype=np.int64).reshape(-1, 3)
    keys = pack_keys(array)
    assert keys.dtype == np.int64 and (keys >= 0).all()
    assert len(set(keys.tolist())) == len(set(bricks))
    np.testing.assert_array_equal(unpack_keys(keys), array)


def test_keys_refuse_what_does_not_fit():
    with pytest.raises(InvalidInput, match="2\\*\\*20"):
        pack_keys(np.array([[2**20, 0, 0]]))
    with pytest.raises(InvalidInput, match="shape"):
        pack_keys(np.array([1, 2, 3]))
    with pytest.raises(InvalidInput, match=">= 0"):
        unpack_keys(np.array([-1]))


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-2e4, 2e4)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    st.floats(0.5, 4.5),
)
def test_what_the_camera_looks_at_is_occupied(eye, direction, distance):
    octree = Octree(SpatialConfig(budget_mib=13.704))
    forward = np.array(direction) / np.linalg.norm(direction)
    T = check_pose(look_at(eye, np.array(eye) + forward))
    octree.integrate(np.full(CAMERA.shape, distance, np.float32), CAMERA, T, 0)
    # Where the point is taken to lie, in a corner that the ray cuts, or, by rounding, in the voxel beside.
    along = np.array([distance + NUDGE * 0.05, distance - 1e-3, distance, distance + 1e-3, distance + 0.3])
    states = octree.occupancy(np.array(eye) + along[:, None] * forward)
    assert OCCUPIED in states[:4] and states[4] == UNKNOWN
    hit = octree.raycast([eye], [forward], 5.0)
    assert hit.hit[0] and distance - 0.15 < hit.distance_m[0] <= distance + 0.05


def test_the_root_is_one_leaf_around_the_origin():
    centres, edge = filled().occupied(0)
    assert edge == pytest.approx(0.1 * 2**24)
    np.testing.assert_array_equal(centres, np.zeros((1, 3)))


@pytest.mark.parametrize("depth", range(1, MAX_DEPTH + 1))
def test_leaves_at_every_depth_equal_shifted_integers(depth):
    octree = filled()
    bricks = octree.bricks()
    voxels = all_voxels(bricks)[bricks.log_odds > 0]
    shift = MAX_DEPTH - depth
    wanted = {tuple(v) for v in (voxels >> shift).tolist()}
    centres, edge = octree.occupied(depth)
    assert edge == pytest.approx(0.1 * 2**shift) and centres.dtype == np.float32
    got = [tuple(v) for v in np.floor(centres.astype(np.float64) / edge).astype(int).tolist()]
    assert len(got) == len(set(got)) and set(got) == wanted


def test_depth_by_default_is_the_voxel_and_others_are_refused():
    octree = filled()
    np.testing.assert_array_equal(octree.occupied()[0], octree.occupied(MAX_DEPTH)[0])
    assert (octree.occupancy(octree.occupied()[0]) == OCCUPIED).all()
    for depth in (-1, 25, 2.5, True):
        with pytest.raises(InvalidInput, match="depth"):
            octree.occupied(depth)
    assert Octree(CONFIG).occupied()[0].shape == (0, 3)


def test_bounds_and_stats():
    octree = filled()
    bricks = octree.bricks()
    voxels = all_voxels(bricks)[~np.isnan(bricks.log_odds)]
    np.testing.assert_allclose(octree.bounds(), np.array([voxels.min(0), voxels.max(0) + 1]) * 0.1)
    stats = octree.stats()
    assert stats.occupied_voxels == (bricks.log_odds > 0).sum()
    assert stats.free_voxels == (bricks.log_odds <= 0).sum()
    assert stats.bricks == len(bricks.keys) and stats.refused_bricks == 0
    assert 2048 * 3072 < stats.bytes < 2048 * 3600 and 0 < stats.bytes_in_use < stats.bytes


def test_removed_boxes_are_unknown_and_the_rest_stays():
    octree = filled()
    before = octree.bricks()
    octree.dirty_bricks()
    octree.mark_clean(before.keys)
    lower, upper = np.array([-0.5, -0.45, -3.0]), np.array([2.5, 0.3, 0.72])
    gone = octree.remove_box(lower, upper)
    voxels, known = all_voxels(before), ~np.isnan(before.log_odds)
    inside = ((voxels * 0.1 < upper - 1e-7) & ((voxels + 1) * 0.1 > lower + 1e-7)).all(axis=-1)
    assert gone == (inside & known).sum() > 0
    states = octree.log_odds((voxels.reshape(-1, 3) + 0.5) * 0.1).reshape(before.log_odds.shape)
    np.testing.assert_array_equal(states, np.where(inside, np.nan, before.log_odds))
    after = octree.bricks()
    emptied = ~(known & ~inside).any(axis=1)
    assert emptied.any() and set(octree.freed_keys()) == set(before.keys[emptied])
    assert set(after.keys) == set(before.keys[~emptied])
    touched = (inside & known).any(axis=1) & ~emptied
    assert set(octree.dirty_bricks().keys) == set(before.keys[touched])
    assert octree.remove_box([-np.inf] * 3, [np.inf] * 3) == (known & ~inside).sum()
    assert octree.stats().bricks == 0 and octree.bounds() is None
    with pytest.raises(InvalidInput, match="lower"):
        octree.remove_box([1, 1, 1], [0, 2, 2])


def test_the_map_can_be_filled_again_after_clear():
    octree = filled()
    whole = octree.bricks()
    octree.clear()
    assert octree.stats().bricks == 0 and set(octree.freed_keys()) == set(whole.keys)
    for stamp, T in enumerate(poses()):
        octree.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, stamp)
    assert same(octree.bricks(), whole)
    assert len(octree.freed_keys()) == 0  # they are all back


def test_only_changes_are_dirty():
    octree = Octree(CONFIG)
    T = poses(1)[0]
    depth = room_depth(CAMERA, T)
    octree.integrate(depth, CAMERA, T, 0)
    first = octree.dirty_bricks()
    assert same(first, octree.bricks())
    assert same(octree.dirty_bricks(), first)  # not marked clean: still to be saved
    octree.mark_clean(first.keys)
    assert len(octree.dirty_bricks().keys) == 0
    octree.integrate(depth, CAMERA, T, 1)
    again = octree.dirty_bricks()
    assert set(again.keys) == set(first.keys)
    octree.integrate(depth, CAMERA, T, 2)  # changes them between the copy and its being saved
    octree.mark_clean(again.keys)
    assert set(octree.dirty_bricks().keys) == set(first.keys)
    for stamp in range(3, 12):
        octree.integrate(depth, CAMERA, T, stamp)
    octree.mark_clean(octree.dirty_bricks().keys)
    octree.integrate(depth, CAMERA, T, 12)
    assert len(octree.dirty_bricks().keys) == 0  # saturated
    assert (octree.bricks().last_seen_ns == 12).all()


def test_a_brick_freed_while_it_is_saved_stays_freed():
    octree = filled()
    saved = octree.dirty_bricks()
    octree.clear()
    octree.mark_clean(saved.keys)
    assert set(octree.freed_keys()) == set(saved.keys)
    octree.mark_clean(saved.keys)
    assert len(octree.freed_keys()) == 0


def test_save_and_load_is_exact():
    octree = filled()
    whole = octree.bricks()
    other = Octree(CONFIG)
    values, ages, *_ = decode_bricks(encode_bricks(whole.log_odds, whole.ages))
    other.load_bricks(whole.keys, values, whole.last_seen_ns, ages)
    assert same(other.bricks(), whole) and len(other.dirty_bricks().keys) == 0
    points = np.random.default_rng(0).uniform(-3, 3, (5000, 3))
    np.testing.assert_array_equal(other.log_odds(points), octree.log_odds(points))
    T = poses()[2]
    for each in (octree, other):
        each.integrate(room_depth(CAMERA, T), CAMERA, T, 99)
    assert same(other.bricks(), octree.bricks())


def test_bad_bricks_are_refused():
    octree = Octree(SpatialConfig(budget_mib=0.007))
    keys, stamps = np.arange(3), np.zeros(3, np.int64)
    values = np.tile(np.linspace(-1, 1, 512, dtype=np.float32), (3, 1))
    with pytest.raises(InvalidInput, match="budget"):
        octree.load_bricks(keys, values, stamps)
    with pytest.raises(InvalidInput, match="distinct"):
        octree.load_bricks(keys[:2] * 0, values[:2], stamps[:2])
    with pytest.raises(InvalidInput, match="wanted keys"):
        octree.load_bricks(keys, values[:, :100], stamps)
    with pytest.raises(InvalidInput, match="infinity"):
        octree.load_bricks(keys[:1], values[:1] + np.float32(np.inf), stamps[:1])
    assert octree.stats().bricks == 0
    octree.load_bricks(keys[:2], values[:2], stamps[:2])
    octree.load_bricks(keys[:2], values[:2] + 1, stamps[:2])  # the same keys again need no room
    np.testing.assert_array_equal(octree.bricks().log_odds, values[:2] + 1)
    uniform = np.arange(8), np.zeros((8, 512), np.float32), np.zeros(8, np.int64)
    octree.load_bricks(*uniform)  # bricks whose voxels are all alike need no room for voxels
    with pytest.raises(InvalidInput, match="budget"):
        octree.load_bricks(uniform[0] + 8, *uniform[1:])


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(0, 3), st.just(512)), elements=st.floats(width=32, allow_nan=True)),
    st.integers(0, 2**16 - 1),
)
def test_codec_is_exact_to_the_bit(values, seed):
    ages = np.random.default_rng(seed).integers(0, 1 + seed, values.shape).astype(np.uint16)
    got, old, *_ = decode_bricks(encode_bricks(values, ages))
    np.testing.assert_array_equal(got.view(np.uint32), values.view(np.uint32))
    np.testing.assert_array_equal(old, ages)


def test_bricks_of_the_first_release_are_read():
    values = filled().bricks().log_odds
    values[0] = 0.25
    planes = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 512, 4).transpose(0, 2, 1).reshape(-1, 2048)
    blobs = [zlib.compress(row.tobytes(), 1) for row in planes]
    blobs[0] = np.float32(0.25).tobytes()
    got, ages, *_ = decode_bricks(blobs)
    np.testing.assert_array_equal(got, values)
    assert not ages.any()


def test_codec_is_compact_and_refuses_damage():
    uniform = np.full((1, 512), -2.0, np.float32)
    assert len(encode_bricks(uniform, np.zeros((1, 512), np.uint16))[0]) == 6
    bricks = filled().bricks()
    blobs = encode_bricks(bricks.log_odds, bricks.ages)
    assert np.mean([len(blob) for blob in blobs]) < 512
    with pytest.raises(InvalidInput, match="damaged"):
        decode_bricks([blobs[0][:-3]])
    with pytest.raises(InvalidInput, match="512"):
        encode_bricks(np.zeros((2, 100), np.float32), np.zeros((2, 100), np.uint16))
    with pytest.raises(InvalidInput, match="uint16"):
        encode_bricks(np.zeros((2, 512), np.float32), np.zeros((2, 512), np.int64))


def test_a_full_pool_refuses_new_bricks_and_keeps_the_old():
    whole, small = filled(), Octree(SpatialConfig(voxel_size_m=0.1, budget_mib=0.137))
    for stamp, T in enumerate(poses()):
        small.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, stamp)
    stats = small.stats()
    assert 30 < stats.bricks <= 40 and stats.refused_bricks > 0
    assert set(small.bricks().keys) < set(whole.bricks().keys)
    small.integrate_points(np.array([[4.9, 0, 0], [-4.9, 0, 0], [0, 4.9, 0]], np.float32), np.eye(4), 9)
    assert small.stats().bricks <= 40 and small.stats().refused_bricks > stats.refused_bricks
    assert small.remove_box([-9] * 3, [9] * 3) > 0
    small.integrate(room_depth(CAMERA, poses()[0]), CAMERA, poses()[0], 10)
    assert small.stats().bricks > 0


def test_one_writer_and_readers_see_whole_states():
    octree = Octree(CONFIG)
    views = [(room_depth(CAMERA, T), T) for T in poses()]
    wrong, done = [], threading.Event()

    def read():
        while not done.is_set():
            bricks = octree.bricks()
            if np.isnan(bricks.log_odds).all(axis=1).any():
                wrong.append("a brick of nothing")
            octree.raycast(np.zeros((100, 3)), np.ones((100, 3)), 3.0)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for stamp in range(60):
        octree.integrate(*[(d, CAMERA, T) for d, T in views][stamp % 4], stamp)
        if stamp % 20 == 19:
            octree.remove_box([-0.5] * 3, [0.5] * 3)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


@pytest.mark.parametrize(
    "change",
    [
        {"voxel_size_m": 0.0},
        {"max_range_m": 0.05},
        {"max_range_m": float("nan")},
        {"log_odds_hit": -1.0},
        {"log_odds_min": 1.0},
        {"budget_mib": 0},
        {"threads": 0},
        {"device": "cuda:77"},
    ],
)
def test_bad_settings(change):
    with pytest.raises(ConfigError, match="wanted"):
        Octree(SpatialConfig(**change))


def test_nothing_is_printed_even_when_kernels_are_compiled(tmp_path):
    code = """
import numpy as np
from embodmem.config import SpatialConfig, map_bytes
from embodmem.spatial.octree import Octree
octree = Octree(SpatialConfig(budget_mib=0.215))
octree.log_odds(np.zeros((1, 3)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "WARP_CACHE_PATH": str(tmp_path)},  # an empty cache: everything is compiled
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*.o")) or list(tmp_path.rglob("*.so"))


def test_the_package_imports_no_warp():
    code = "import sys, embodmem, embodmem.spatial.octree; assert 'warp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_changed_since_names_the_bricks_whose_voxels_changed_state():
    octree = filled()
    keys, changed, revision = octree.changed_since(0)
    assert changed.all() and sorted(keys) == sorted(octree.bricks().keys)
    assert not octree.changed_since(revision)[1].any()
    before = octree.bricks()
    octree.integrate(room_depth(CAMERA, poses(7)[5]), CAMERA, poses(7)[5], 9)
    keys, changed, revision = octree.changed_since(revision)
    state = {key: (row > 0).tobytes() + np.isnan(row).tobytes() for key, row in zip(*before[:2], strict=True)}
    after = octree.bricks()
    flipped = {
        key
        for key, row in zip(*after[:2], strict=True)
        if state.get(key) != (row > 0).tobytes() + np.isnan(row).tobytes()
    }
    assert flipped and set(keys[changed].tolist()) >= flipped
    assert len(flipped) >= 0.9 * changed.sum()
    octree.remove_box([0, 0, 0], [1, 1, 1])
    assert octree.changed_since(revision)[1].any()


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 40.0), st.integers(1, 3))
def test_the_budget_is_exact(budget_mib, threads):
    octree = Octree(SpatialConfig(budget_mib=budget_mib, threads=threads))
    blocks = octree.config.capacity_bricks
    assert octree.stats().bytes == map_bytes(blocks, threads) <= budget_mib * 2**20 < map_bytes(blocks + 1, threads)
