"""Boxes, balls, nearest voxels and visible bricks against looking at every voxel of the map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput, PoseError
from embodmem.geometry import check_pose, look_at
from embodmem.spatial.octree import MAX_DEPTH, Octree, pack_keys, unpack_keys
from embodmem.spatial.octree.select import in_box, in_sphere, nearest_occupied, visible_bricks
from tests.embodmem.spatial.octree_reference import CAMERA, all_voxels, poses, room_depth

SIZE_M = 0.1
EMPTY = Octree(SpatialConfig(voxel_size_m=SIZE_M, budget_mib=0.014))


def random_map(seed, solid=0.02):
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(-3, 3, (20, 3)), axis=0)
    values = rng.choice(np.array([np.nan, -1.0, 2.0], np.float32), (len(cells), 512), p=[0.4, 0.6 - solid, solid])
    values[0] = -1.0
    octree = Octree(SpatialConfig(voxel_size_m=SIZE_M, budget_mib=0.215))
    octree.load_bricks(pack_keys(cells), values, np.zeros(len(cells), np.int64))
    return octree


@pytest.fixture(scope="module")
def room():
    octree = Octree(SpatialConfig(voxel_size_m=SIZE_M))
    for stamp, T in enumerate(poses()):
        octree.integrate(room_depth(CAMERA, T, holes=9), CAMERA, T, stamp)
    return octree


def plain_leaves(octree, depth, touches):
    """{node: (occupied, has unknown)} of the leaves that `touches(lower corner, edge)` keeps."""
    bricks = octree.bricks()
    shift = MAX_DEPTH - depth
    edge = SIZE_M * 2**shift
    found = {}
    voxels, values = all_voxels(bricks).reshape(-1, 3), bricks.log_odds.reshape(-1)
    for node, value in zip(map(tuple, (voxels >> shift).tolist()), values.tolist(), strict=True):
        if value == value:
            count, solid = found.get(node, (0, False))
            found[node] = (count + 1, solid or value > 0)
    return {
        node: (solid, count < 8**shift)
        for node, (count, solid) in found.items()
        if touches(np.array(node) * edge, edge)
    }


def as_dict(leaves):
    rows = zip(map(tuple, leaves.nodes.tolist()), leaves.occupied.tolist(), leaves.has_unknown.tolist(), strict=True)
    return {node: (solid, holes) for node, solid, holes in rows}


corner = st.tuples(*[st.floats(-2.6, 2.6)] * 3)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), a=corner, b=corner, depth=st.integers(17, MAX_DEPTH))
def test_a_box(seed, a, b, depth):
    octree = random_map(seed)
    low, high = np.minimum(a, b), np.maximum(a, b)
    sliver = 1e-6 * SIZE_M * 2 ** (MAX_DEPTH - depth)

    def touches(lower, edge):
        return (lower < high - sliver).all() and (lower + edge > low + sliver).all()

    leaves = in_box(octree, low, high, depth)
    assert as_dict(leaves) == plain_leaves(octree, depth, touches)
    np.testing.assert_allclose(leaves.centres, (leaves.nodes + 0.5) * SIZE_M * 2 ** (MAX_DEPTH - depth))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), centre=corner, radius=st.floats(0.01, 3.0), depth=st.integers(17, MAX_DEPTH))
def test_a_ball(seed, centre, radius, depth):
    octree = random_map(seed)

    def touches(lower, edge):
        return ((np.clip(centre, lower, lower + edge) - centre) ** 2).sum() < radius**2

    assert as_dict(in_sphere(octree, centre, radius, depth)) == plain_leaves(octree, depth, touches)


def test_the_whole_map_and_faces():
    octree = random_map(1)
    everything = in_box(octree, [-np.inf] * 3, [np.inf] * 3)
    stats = octree.stats()
    assert everything.occupied.sum() == stats.occupied_voxels and (~everything.occupied).sum() == stats.free_voxels
    # A box whose faces are faces of voxels holds those voxels only.
    leaves = in_box(octree, [-0.3, -0.3, -0.3], [0.3, 0.2, 0.1])
    assert leaves.nodes.min(axis=0).tolist() >= [-3] * 3 and (leaves.nodes.max(axis=0) <= [2, 1, 0]).all()
    assert len(in_box(octree, [50] * 3, [60] * 3).nodes) == 0 == len(in_box(EMPTY, [-1] * 3, [1] * 3).nodes)
    coarse, edge = octree.occupied(18)
    leaves = in_box(octree, [-np.inf] * 3, [np.inf] * 3, 18)
    got = leaves.centres[leaves.occupied].astype(np.float32)
    assert sorted(map(tuple, got.tolist())) == sorted(map(tuple, coarse.tolist()))
    assert leaves.edge_m == edge


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99), solid=st.sampled_from([0.0, 0.0005, 0.02, 0.5]), radius=st.sampled_from([0.15, 1.0, 9.0])
)
def test_the_nearest_voxel(seed, solid, radius):
    octree = random_map(seed, solid)
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(-3, 3, (60, 3)), rng.uniform(-12, 12, (9, 3))])
    points[:20] = np.round(points[:20], 1)
    near = nearest_occupied(octree, points, radius)
    centres = octree.occupied()[0].astype(np.float64)
    wanted = np.full(len(points), np.inf)
    if len(centres):
        wanted = np.linalg.norm(points[:, None] - centres, axis=2).min(axis=1)
    wanted[wanted > radius + 1e-6] = np.inf
    np.testing.assert_allclose(near.distance_m, wanted, atol=1e-5)
    np.testing.assert_array_equal(near.found, np.isfinite(wanted))
    got = near.position[near.found]
    np.testing.assert_allclose(np.linalg.norm(points[near.found] - got, axis=1), near.distance_m[near.found], atol=1e-9)
    assert (octree.occupancy(got) == 1).all() and np.isnan(near.position[~near.found]).all()


def test_the_nearest_voxel_follows_the_map():
    octree = random_map(3, 0.0)
    assert not nearest_occupied(octree, np.zeros((1, 3)), 5.0).found.any()
    bricks = octree.bricks()
    values = bricks.log_odds.copy()
    values[0, 77] = 3.0
    octree.load_bricks(bricks.keys, values, bricks.last_seen_ns)
    assert nearest_occupied(octree, np.zeros((1, 3)), 9.0).found.all()
    assert not nearest_occupied(EMPTY, np.zeros((2, 3)), 5.0).found.any()
    assert len(nearest_occupied(octree, np.zeros((0, 3)), 5.0).found) == 0
    far = nearest_occupied(octree, np.full((1, 3), 3000.0), 3000.0)
    assert not far.found.any()


def test_visible_bricks(room):
    T = check_pose(look_at([0.2, 0.1, 0.0], [2.0, 0.6, -0.2]))
    keys, counts = visible_bricks(room, CAMERA, T, 5.0)
    assert len(np.unique(keys)) == len(keys) and (np.diff(counts) <= 0).all() and counts.min() >= 1
    # Truth: a ray through the middle of every occupied voxel in the image that meets no other brick before.
    centres = room.occupied()[0].astype(np.float64)
    local = (centres - T[:3, 3]) @ T[:3, :3]
    pixel = local[:, :2] / local[:, 2:] * [CAMERA.fx, CAMERA.fy] + [CAMERA.cx, CAMERA.cy]
    inside = (local[:, 2] > 0) & (pixel > -0.5).all(axis=1) & (pixel < [CAMERA.width - 0.5, CAMERA.height - 0.5]).all(1)
    rays = centres[inside] - T[:3, 3]
    hits = room.raycast(np.repeat(T[None, :3, 3], len(rays), 0), rays, 5.0)
    seen = hits.voxel[hits.hit] >> 3
    wanted = set(map(tuple, seen.tolist()))
    got = set(map(tuple, unpack_keys(keys).tolist()))
    assert len(got - wanted) <= 0.1 * len(wanted) and len(wanted - got) <= 0.1 * len(wanted)
    assert len(got) < 0.7 * room.stats().bricks  # what is behind the camera is not among them
    nearer, _ = visible_bricks(room, CAMERA, T, 1.0)
    assert set(nearer.tolist()) <= set(keys.tolist())
    assert len(visible_bricks(EMPTY, CAMERA, T, 5.0)[0]) == 0


def test_probability(room):
    points = np.random.default_rng(0).uniform(-3, 3, (500, 3))
    log_odds = room.log_odds(points)
    got = room.probability(points)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(log_odds))
    known = ~np.isnan(got)
    np.testing.assert_allclose(np.log(got[known] / (1 - got[known])), log_odds[known], rtol=1e-4)
    np.testing.assert_array_equal(got[known] > 0.5, room.occupancy(points)[known] == 1)


def test_bad_input(room):
    for call, words in [
        (lambda: in_box(room, [0, 0, 1], [1, 1, 0]), "box"),
        (lambda: in_box(room, [0, 0, np.nan], [1, 1, 1]), "box"),
        (lambda: in_box(room, [0] * 3, [1] * 3, 3), "depth"),
        (lambda: in_box(room, [0] * 3, [1] * 3, MAX_DEPTH + 1), "depth"),
        (lambda: in_box(room, [0] * 3, [1] * 3, True), "depth"),
        (lambda: in_sphere(room, [0, 0], 1.0), "centre"),
        (lambda: in_sphere(room, [0, 0, 0], 0.0), "sphere"),
        (lambda: in_sphere(room, [0, 0, 0], np.inf), "sphere"),
        (lambda: nearest_occupied(room, [[0, 0, np.nan]], 1.0), "finite"),
        (lambda: nearest_occupied(room, [[0, 0, 0]], 0.0), "max_radius_m"),
        (lambda: nearest_occupied(room, [[0, 0, 1e9]], 1.0), "within"),
        (lambda: visible_bricks(room, CAMERA, np.eye(4), -1.0), "max_range_m"),
        (lambda: room.probability([[0, 0]]), "shape"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            call()
    with pytest.raises(PoseError):
        visible_bricks(room, CAMERA, np.zeros((4, 4)), 1.0)
    wide = random_map(0)
    wide.load_bricks(pack_keys(np.array([[9000, 9000, 9000]])), np.ones((1, 512), np.float32), np.zeros(1, np.int64))
    with pytest.raises(InvalidInput, match="wider"):
        nearest_occupied(wide, np.zeros((1, 3)), 1.0)
