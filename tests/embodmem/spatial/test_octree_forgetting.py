"""When voxels were last seen, what fades, what leaves the map, and the octree above the bricks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.geometry import check_pose, inverse, look_at, transform_points
from embodmem.spatial.octree import MAX_DEPTH, TICK_NS, Octree, unpack_keys
from embodmem.types import PinholeCamera
from tests.embodmem.spatial.octree_reference import CAMERA, all_voxels, poses, room_depth

CONFIG = SpatialConfig(voxel_size_m=0.1, budget_mib=1.714)
SECOND = 10**9


def filled(n=4, step_ns=5 * SECOND, config=CONFIG):
    octree = Octree(config)
    for i, T in enumerate(poses(n)):
        octree.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, i * step_ns)
    return octree


def centres_of(bricks):
    return (all_voxels(bricks) + 0.5) * 0.1


def wall(distance_m, camera=CAMERA):
    return np.full(camera.shape, distance_m, np.float32)


def test_a_voxel_knows_when_it_was_last_seen():
    octree, wanted = Octree(CONFIG), {}
    for i, T in enumerate(poses(4)):
        before = octree.bricks()
        octree.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, i * 5 * SECOND)
        alone = Octree(CONFIG)
        alone.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, i * 5 * SECOND)
        seen = alone.bricks()
        for voxel in map(tuple, all_voxels(seen)[~np.isnan(seen.log_odds)].tolist()):
            wanted[voxel] = i * 5 * SECOND
        assert len(octree.bricks().keys) >= len(before.keys)
    voxels = all_voxels(octree.bricks()).reshape(-1, 3)
    got = octree.last_seen((voxels + 0.5) * 0.1)
    truth = np.array([wanted.get(tuple(voxel), -1) for voxel in voxels.tolist()])
    np.testing.assert_array_equal(got == -1, truth == -1)
    assert (np.abs(got - truth) < TICK_NS).all() and len(set(truth.tolist())) == 5
    assert octree.last_seen([[1e9, 0, 0], [50.0, 0, 0]]).tolist() == [-1, -1]
    with pytest.raises(InvalidInput, match="finite"):
        octree.last_seen([[np.nan, 0, 0]])


def test_last_seen_is_right_over_days_and_after_a_restart():
    hour = 3600 * SECOND
    octree = Octree(CONFIG)
    T = poses(1)[0]
    there = transform_points(T, np.array([[0, 0, 1.0]]))
    behind = transform_points(T, np.array([[0, 0, -1.0]]))
    back = check_pose(T @ np.diag([-1.0, 1, -1, 1]))
    octree.integrate(wall(2.0), CAMERA, back, 10 * hour)
    for now in (11 * hour, 13 * hour, 80 * hour):
        octree.integrate(wall(2.0), CAMERA, T, now)
        assert abs(octree.last_seen(there)[0] - now) < TICK_NS
        assert 10 * hour - TICK_NS < octree.last_seen(behind)[0] <= now
        if now < 14 * hour:
            assert abs(octree.last_seen(behind)[0] - 10 * hour) < TICK_NS
    other = Octree(CONFIG)
    other.load_bricks(*octree.bricks())
    voxels = centres_of(octree.bricks()).reshape(-1, 3)
    now_seen = octree.last_seen(voxels) > 79 * hour
    assert now_seen.any()
    np.testing.assert_array_equal(other.last_seen(voxels) > 79 * hour, now_seen)


def test_free_space_collapses_and_changes_nothing():
    """Bricks that became uniform answer as the same bricks with voxels of their own do."""
    octree = Octree(SpatialConfig(voxel_size_m=0.02, budget_mib=13.704))
    T = check_pose(look_at([0, 0, 0], [1, 0, 0]))
    for i in range(8):
        octree.integrate(wall(2.0), CAMERA, T, i * SECOND)
    stats, bricks = octree.stats(), octree.bricks()
    assert stats.uniform_bricks > 100 and stats.bytes_in_use < stats.bytes
    same = (bricks.log_odds == bricks.log_odds[:, :1]).all(axis=1)
    assert same.sum() >= stats.uniform_bricks
    voxels = (all_voxels(bricks)[same][:, ::37] + 0.5) * 0.02
    np.testing.assert_array_equal(octree.log_odds(voxels.reshape(-1, 3)), bricks.log_odds[same][:, ::37].ravel())
    # A surface inside them gives voxels back to those that it touches, and only what was seen changes.
    octree.integrate(wall(1.0), CAMERA, T, 9 * SECOND)
    after = octree.bricks()
    p = transform_points(inverse(T), (all_voxels(after) + 0.5).reshape(-1, 3) * 0.02)[:, 2].reshape(-1, 512)
    free_before = octree_of(bricks, after.keys)
    behind = (p > 1.1) & ~np.isnan(after.log_odds)
    np.testing.assert_array_equal(after.log_odds[behind], free_before[behind])
    assert octree.stats().uniform_bricks < stats.uniform_bricks


def octree_of(bricks, keys):
    rows = {key: row for key, row in zip(bricks.keys.tolist(), bricks.log_odds, strict=True)}
    return np.stack([rows.get(key, np.full(512, np.nan, np.float32)) for key in keys.tolist()])


@pytest.mark.parametrize("depth", [0, 1, 5, 17, 20, 21, 22, 23, 24])
def test_a_level_sums_up_the_voxels_of_its_nodes(depth):
    octree = filled()
    octree.level(depth)
    T = poses(9)[7]
    octree.integrate(room_depth(CAMERA, T), CAMERA, T, 99 * SECOND)
    octree.remove_box([0.2, 0.2, -1], [0.9, 0.9, 1])
    level, bricks = octree.level(depth), octree.bricks()
    voxels, values = all_voxels(bricks).reshape(-1, 3), bricks.log_odds.ravel()
    shift = MAX_DEPTH - depth
    nodes = voxels >> shift if depth else np.zeros_like(voxels)
    found = {tuple(node): i for i, node in enumerate(level.nodes.tolist())}
    known = ~np.isnan(values)
    assert set(found) == set(map(tuple, nodes[known].tolist())) and level.edge_m == pytest.approx(0.1 * 2**shift)
    index = np.array([found[tuple(node)] for node in nodes[known].tolist()])
    low, high, count = (np.full(len(found), fill) for fill in (np.inf, -np.inf, 0))
    np.minimum.at(low, index, values[known])
    np.maximum.at(high, index, values[known])
    np.add.at(count, index, 1)
    np.testing.assert_array_equal(level.low, low.astype(np.float32))
    np.testing.assert_array_equal(level.high, high.astype(np.float32))
    np.testing.assert_array_equal(level.has_unknown, count < (1 << 3 * shift) if shift < 20 else True)
    seen = np.full(len(found), -1)
    voxel_seen = octree.last_seen((voxels[known] + 0.5) * 0.1)
    np.maximum.at(seen, index, voxel_seen)
    assert (level.last_seen_ns >= seen).all()


def test_levels_refuse_another_depth_and_an_empty_map_has_none():
    assert len(Octree(CONFIG).level(10).nodes) == 0 and len(Octree(CONFIG).level(23).nodes) == 0
    with pytest.raises(InvalidInput, match="depth"):
        Octree(CONFIG).level(25)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.floats(1.0, 60.0))
def test_log_odds_halve_with_every_half_life_however_often_it_is_called(gaps, half_life_s):
    octree = filled()
    bricks = octree.bricks()
    points = centres_of(bricks).reshape(-1, 3)
    before, seen = octree.log_odds(points), octree.last_seen(points)
    now = 20 * SECOND
    for gap in gaps:
        now += gap * SECOND
        octree.decay(now, half_life_s, least=0.05)
    after = octree.log_odds(points)
    ticks = now // TICK_NS - seen // TICK_NS
    faded = before * 2.0 ** (-ticks * (TICK_NS / 1e9) / half_life_s)
    sure = np.abs(np.abs(faded) - 0.05) > 1e-3
    with np.errstate(invalid="ignore"):
        wanted = np.where(np.abs(faded) < 0.05, np.nan, faded)
    np.testing.assert_allclose(after[sure], wanted[sure], rtol=2e-4)


def test_what_faded_away_is_freed_and_what_is_kept_alive_stays():
    octree = filled()
    whole = octree.bricks()
    octree.mark_clean(octree.dirty_bricks().keys)
    keep = [([-1, -1, -1], [0, 0, 0])]
    freed = octree.decay(3600 * SECOND, 10.0, keep=keep)
    left = octree.bricks()
    lower = unpack_keys(whole.keys) * 0.8
    kept = ((lower <= 0) & (lower + 0.8 >= -1)).all(axis=1)
    assert freed == (~kept).sum() > 0 and set(left.keys) == set(whole.keys[kept])
    assert set(octree.freed_keys()) == set(whole.keys[~kept])
    order = np.argsort(left.keys)
    np.testing.assert_array_equal(left.log_odds[order], whole.log_odds[kept][np.argsort(whole.keys[kept])])
    assert octree.decay(7200 * SECOND, 10.0) == kept.sum() and octree.stats().bytes_in_use < octree.stats().bytes
    for bad in ({"half_life_s": 0.0}, {"half_life_s": 1.0, "least": 0.0}, {"half_life_s": float("nan")}):
        with pytest.raises(InvalidInput, match="half_life_s"):
            octree.decay(1, **bad)


def test_only_what_is_in_view_fades():
    octree = filled()
    before = octree.bricks()
    camera = PinholeCamera(width=40, height=30, fx=40, fy=40, cx=20, cy=15)
    T = check_pose(look_at([0, 0, 0], [1, 0.2, 0]))
    octree.decay(100 * SECOND, 30.0, view=(T, camera, 5.0))
    after = octree_of(octree.bricks(), before.keys)
    changed = ~((after == before.log_odds) | (np.isnan(after) & np.isnan(before.log_odds))).all(axis=1)
    p = transform_points(inverse(T), centres_of(before).reshape(-1, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = p[:, 0] / p[:, 2] * 40 + 20, p[:, 1] / p[:, 2] * 40 + 15
    inside = (p[:, 2] > 0.05) & (u > -0.5) & (u < 39.5) & (v > -0.5) & (v < 29.5)
    inside = inside.reshape(-1, 512)
    assert changed[(inside & ~np.isnan(before.log_odds)).any(axis=1)].all() and 0 < changed.sum() < len(changed)


def test_a_window_that_rolls_with_the_robot():
    octree = filled()
    before = octree.bricks()
    lower, upper = np.array([-0.9, -0.7, -3.0]), np.array([0.7, 0.9, 3.0])
    first = unpack_keys(before.keys) * 0.8
    inside = ((first <= upper) & (first + 0.8 >= lower)).all(axis=1)
    assert octree.keep_within(lower, upper) == (~inside).sum() > 0
    assert set(octree.bricks().keys) == set(before.keys[inside])
    assert set(octree.freed_keys()) == set(before.keys[~inside])
    assert octree.keep_within(lower, upper) == 0


def test_what_is_evicted_is_not_forgotten_and_comes_back():
    octree = filled()
    before, here = octree.bricks(), np.array([3.0, 0.0, 0.0])
    points = centres_of(before).reshape(-1, 3)
    values, seen = octree.log_odds(points), octree.last_seen(points)
    count = len(before.keys) // 2
    gone = octree.evict(count, here, 20 * SECOND)
    assert len(gone.keys) == count and len(octree.freed_keys()) == 0
    assert set(gone.keys) | set(octree.bricks().keys) == set(before.keys)
    out, kept = (
        np.linalg.norm((unpack_keys(keys) + 0.5) * 0.8 - here, axis=1) for keys in (gone.keys, octree.bricks().keys)
    )
    assert out.mean() > kept.mean()
    octree.load_bricks(*gone)
    np.testing.assert_array_equal(octree.log_odds(points), values)
    np.testing.assert_array_equal(octree.last_seen(points), seen)
    assert len(octree.evict(10**6, here, 0).keys) == len(before.keys)
    with pytest.raises(InvalidInput, match="count"):
        octree.evict(-1, here, 0)


def test_bytes_in_use_follow_what_is_held():
    octree = filled()
    first = octree.stats().bytes_in_use
    octree.keep_within([0, 0, 0], [0.1, 0.1, 0.1])
    assert octree.stats().bytes_in_use < first
    octree.clear()
    empty = octree.stats().bytes_in_use
    for _ in range(20):
        for i, T in enumerate(poses(4)):
            octree.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, i * SECOND)
        octree.clear()
    assert octree.stats().bytes_in_use == empty < first
