"""Many rays at once leap over free space; they must meet what walking voxel by voxel meets, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.spatial.octree import Octree, pack_keys, unpack_keys
from embodmem.spatial.octree.keys import voxel_offsets
from tests.embodmem.spatial.octree_reference import CAMERA, march, poses, room_depth

SIZE_M = 0.1
FIELDS = ("hit", "distance_m", "position", "crossed_unknown", "voxel")


def cluttered(seed, cells=((-2, 2), (-2, 2), (-1, 1)), known=0.9, solid=0.004):
    """A map of random bricks: mostly free, with holes, lone occupied voxels and absent bricks."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(a, b + 1) for a, b in cells]), axis=-1).reshape(-1, 3)
    grid = grid[rng.random(len(grid)) < known]
    values = np.full((len(grid), 512), -1.0, np.float32)
    values[rng.random(values.shape) < solid] = 2.0
    holes = rng.random(len(grid)) < 0.4
    values[holes] = np.where(rng.random((int(holes.sum()), 512)) < 0.02, np.nan, values[holes])
    octree = Octree(SpatialConfig(voxel_size_m=SIZE_M, budget_mib=1.714))
    octree.load_bricks(pack_keys(grid), values, np.zeros(len(grid), np.int64))
    return octree


def rays(rng, n, spread=2.5):
    origins, directions = rng.uniform(-spread, spread, (n, 3)), rng.normal(size=(n, 3))
    directions[: n // 8, 0] = 0  # square to an axis
    directions[: n // 16, 1] = 0
    origins[n // 8 : n // 4] = np.round(origins[n // 8 : n // 4], 1)  # from corners of voxels
    directions[n // 4 : n // 3] = np.sign(directions[n // 4 : n // 3])  # along diagonals
    origins[n // 3 : n // 3 + 20] = -1e-20  # inside voxel -1, at 1.0 of it once that is rounded
    directions[n // 3 : n // 3 + 10, 2] = 0
    return origins, directions


def assert_same(octree, origins, directions, reach):
    clearance = octree._rays._clearance.prepared(octree, 10**9)
    far = octree._rays._cast_far(clearance, origins, directions, reach)
    near = octree._rays._cast_near(origins, directions, reach)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(far, name), getattr(near, name), err_msg=name)
    return far


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6), reach=st.sampled_from([0.05, 0.7, 3.0, 40.0]), solid=st.sampled_from([0, 0.004, 0.2])
)
def test_leaping_equals_walking(seed, reach, solid):
    octree = cluttered(seed, solid=solid)
    assert_same(octree, *rays(np.random.default_rng(seed), 600), reach)


def test_leaping_equals_marching():
    octree = Octree(SpatialConfig(voxel_size_m=SIZE_M))
    for stamp, T in enumerate(poses()):
        octree.integrate(room_depth(CAMERA, T, holes=9), CAMERA, T, stamp)
    rng = np.random.default_rng(1)
    origins, directions = rng.uniform(-3, 3, (600, 3)), rng.normal(size=(600, 3))
    hits = assert_same(octree, origins, directions, 6.0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wanted = [march(octree, o, d, 6.0) for o, d in zip(origins, directions, strict=True)]
    hit, distance, crossed = (np.array(column) for column in zip(*wanted, strict=True))
    np.testing.assert_array_equal(hits.hit, hit)
    np.testing.assert_allclose(hits.distance_m, distance, atol=1e-6)
    np.testing.assert_array_equal(hits.crossed_unknown, crossed)
    assert hit.any() and not hit.all()
    np.testing.assert_array_equal(octree.occupancy((hits.voxel[hit] + 0.5) * SIZE_M), 1)
    inside = hits.position[hit] + 1e-6 * directions[hit]
    np.testing.assert_array_equal(np.floor(inside / SIZE_M), hits.voxel[hit])
    assert (hits.voxel[~hit] == -(2**31)).all()


def brute_distances(octree):
    """Chebyshev distance of each voxel to the nearest occupied and to the nearest not free one, up to 9."""
    bricks = octree.bricks()
    cells = unpack_keys(bricks.keys)
    low, high = cells.min(axis=0) - 2, cells.max(axis=0) + 3
    dense = np.full((high - low) * 8, np.nan, np.float32)
    for cell, values in zip(cells, bricks.log_odds, strict=True):
        x, y, z = ((cell - low) * 8 + voxel_offsets()).T
        dense[x, y, z] = values
    out = []
    for blocked in (dense > 0, ~(dense <= 0)):
        distance = np.where(blocked, 0, 9)
        reached = blocked
        for d in range(1, 9):
            for axis in range(3):
                reached = reached | np.roll(reached, 1, axis) | np.roll(reached, -1, axis)
            distance = np.minimum(distance, np.where(reached, d, 9))
        places = [(cell - low) * 8 + voxel_offsets() for cell in cells]
        out.append(np.array([distance[tuple(p.T)] for p in places]))
    return bricks.keys, *out


def assert_distances(octree):
    clearance = octree._rays._clearance
    struct = clearance.prepared(octree, 10**9)
    keys, solid, closed = brute_distances(octree)
    pages = dict(zip(clearance._keys.tolist(), clearance._pages.tolist(), strict=True))
    found = struct.distance.numpy()[[pages[key] for key in keys.tolist()]]
    np.testing.assert_array_equal(found >> 4, solid)
    np.testing.assert_array_equal(found & 15, closed)


@pytest.mark.parametrize("seed", range(3))
def test_distances_follow_the_map(seed):
    """Voxels that change, bricks that come and bricks that go, one after the other into the same clearance map."""
    octree = cluttered(seed)
    assert_distances(octree)
    bricks = octree.bricks()
    values = bricks.log_odds[:3].copy()
    values[:, ::37] = 2.0
    octree.load_bricks(bricks.keys[:3], values, np.zeros(3, np.int64))
    assert_distances(octree)
    octree.remove_box([-0.8, -0.8, -0.8], [0.8, 0.8, 0.0])
    assert_distances(octree)
    new = pack_keys(np.array([[3, 0, 0], [-3, 1, 0], [0, 0, -1]]))
    octree.load_bricks(
        new, np.where(np.arange(512) % 99, -1, 2).astype(np.float32)[None].repeat(3, 0), np.zeros(3, int)
    )
    assert_distances(octree)
    assert_same(octree, *rays(np.random.default_rng(seed), 500), 5.0)
    octree.clear()
    assert_same(octree, *rays(np.random.default_rng(seed), 100), 5.0)


@pytest.mark.parametrize("n", [512, 513, 5000, 9001])
def test_every_ray_is_cast_whatever_the_pieces(n):
    """Fewer rays than lanes are left at the end of each piece that a thread is given."""
    octree = cluttered(2)
    hits = assert_same(octree, *rays(np.random.default_rng(n), n), 5.0)
    assert hits.hit.any() and not hits.hit.all()


def test_a_ray_from_far_outside_the_map():
    octree = cluttered(3, solid=0.2)
    origins, directions = rays(np.random.default_rng(0), 600)
    directions = np.where(np.arange(600)[:, None] % 2, directions, -1.0)
    origins = origins - 40.0 * directions  # half of them towards the map, through bricks that are absent
    hits = assert_same(octree, origins, directions, 200.0)
    assert hits.hit.any() and hits.crossed_unknown.all()


def test_bad_rays_among_many():
    octree = cluttered(0)
    origins, directions = rays(np.random.default_rng(0), 600)
    for array, value, words in [
        (origins, np.nan, "finite"),
        (directions, np.inf, "finite"),
        (directions, 0.0, "zero"),
        (origins, 1e7, "within"),
    ]:
        kept = array[77].copy()
        array[77] = value
        with pytest.raises(InvalidInput, match=words):
            octree.raycast(origins, directions, 5.0)
        array[77] = kept
    assert len(octree.raycast(origins, directions, 5.0).hit) == 600


def test_one_thread_and_two_give_the_same():
    origins, directions = rays(np.random.default_rng(3), 3001)
    found = []
    for threads in (1, 2):
        octree = Octree(SpatialConfig(voxel_size_m=SIZE_M, threads=threads))
        bricks = cluttered(5).bricks()
        octree.load_bricks(bricks.keys, bricks.log_odds, bricks.last_seen_ns)
        for _ in range(3):  # the first may do without the clearance map
            hits = octree.raycast(origins, directions, 5.0)
        assert octree._rays.nbytes > 0
        found.append(hits)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


def test_a_map_too_wide_for_a_grid_is_walked():
    octree = cluttered(0)
    octree.load_bricks(pack_keys(np.array([[9000, 9000, 9000]])), np.ones((1, 512), np.float32), np.zeros(1, np.int64))
    assert octree._rays._clearance.prepared(octree, 10**9) is None
    assert octree.raycast(*rays(np.random.default_rng(0), 900), 5.0).hit.any()
