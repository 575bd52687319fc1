"""The distance field against brute force, and kept up to date against made from nothing."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem import Config, EmbodiedMemory, Percept
from embodmem.config import SpatialConfig
from embodmem.errors import CapacityError, InvalidInput
from embodmem.planning import DistanceField, update
from embodmem.spatial.octree import OCCUPIED, UNKNOWN, Octree
from tests.embodmem.planning.maps import octree_of, put
from tests.embodmem.spatial.octree_reference import CAMERA, poses, room_depth

SIZE = 0.1
SHAPE = (11, 13, 18)
CORNER = np.array([-9, -3, -6])


def random_map(seed, density=0.02, unknown=0.3):
    """Log-odds (Z, Y, X): few occupied, the rest free or unknown."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(SHAPE) < density, 1.0, -1.0)
    values[rng.random(SHAPE) < unknown] = np.nan
    values[:, :, : rng.integers(0, 12)] = np.nan
    return values


def voxels_around(margin=6):
    """Indices (N, 3) of the voxels of the test's maps and around them."""
    low, high = CORNER - margin, CORNER + np.array(SHAPE)[::-1] + margin
    grid = np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 3)


def obstacles(octree, voxels, unknown):
    """Whether voxels (..., 3) are obstacles."""
    states = octree.occupancy((voxels.reshape(-1, 3) + 0.5) * SIZE).reshape(voxels.shape[:-1])
    return (states == OCCUPIED) | ((states == UNKNOWN) & (unknown == "occupied"))


def plain(octree, radius_m, unknown, margin=6):
    """Squared distances (N,) in voxels around the map, -1 beyond the radius: all offsets are tried, nearest first."""
    most = (radius_m / SIZE) ** 2 * (1 + 1e-12)
    reach = int(radius_m / SIZE + 1e-9)
    shape = np.array(SHAPE)[::-1] + 2 * margin
    whole = obstacles(octree, voxels_around(margin + reach), unknown).reshape(shape + 2 * reach)
    steps = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    order = np.argsort((offsets**2).sum(axis=1), kind="stable")
    squares = np.full(shape, -1)
    for offset in offsets[order]:
        square = int((offset**2).sum())
        if square <= most:
            x, y, z = offset + reach
            there = whole[x : x + shape[0], y : y + shape[1], z : z + shape[2]]
            np.copyto(squares, square, where=there & (squares < 0))
    return squares.ravel()


def content(field, points):
    """All that a field says about points."""
    return np.concatenate([field.distance(points)[:, None], field.nearest(points), field.gradient(points)], axis=1)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.1, 0.35, 0.8]),
    st.sampled_from(["free", "occupied"]),
    st.sampled_from([0.0, 0.003, 0.05]),
)
def test_the_field_equals_brute_force(seed, radius, unknown, density):
    octree = octree_of(random_map(seed, density), CORNER)
    field = DistanceField(octree, radius, unknown, capacity_bricks=600)
    points = (voxels_around() + 0.5) * SIZE
    squares = plain(octree, radius, unknown)
    within = squares >= 0
    metres = np.where(within, np.sqrt(np.maximum(squares, 0).astype(float)) * SIZE, radius)
    metres = np.minimum(metres, radius).astype(np.float32)
    np.testing.assert_array_equal(field.distance(points), metres)
    nearest = field.nearest(points)
    assert (np.isfinite(nearest).all(axis=1) == within).all()
    assert obstacles(octree, np.floor(nearest[within] / SIZE), unknown).all()
    apart = np.linalg.norm(nearest[within] - points[within], axis=1)
    np.testing.assert_allclose(apart, metres[within], atol=1e-6)
    away = field.gradient(points)
    np.testing.assert_allclose(away[within] * apart[:, None], points[within] - nearest[within], atol=1e-9)
    assert (away[~within] == 0).all()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "fill", "remove", "clear", "thin"]), st.integers(0, 2**32 - 1)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0.2, 0.9]),
    st.sampled_from(["free", "occupied"]),
)
def test_kept_up_to_date_equals_made_from_nothing(changes, radius, unknown):
    octree = octree_of(random_map(0), CORNER)
    field = DistanceField(octree, radius, unknown, capacity_bricks=600)
    points = (voxels_around()[::3] + 0.5) * SIZE
    for what, seed in changes:
        rng = np.random.default_rng(seed)
        corner = CORNER * SIZE + rng.random(3)
        if what == "put":
            put(octree, random_map(seed), CORNER)
        elif what == "fill":  # whole bricks of one state
            put(octree, np.full((8, 16, 8), rng.choice([1.0, -1.0])), (rng.integers(-2, 2, 3)) * 8)
        elif what == "thin":
            octree.load_bricks(*thinned(octree, rng))
        elif what == "remove":
            octree.remove_box(corner, corner + rng.random(3))
        else:
            octree.clear()
        if rng.random() < 0.7:
            field.update()
    field.update()
    np.testing.assert_array_equal(
        content(field, points), content(DistanceField(octree, radius, unknown, capacity_bricks=600), points)
    )
    assert field.update() == 0


def thinned(octree, rng):
    """One brick with one obstacle more or less."""
    bricks = octree.bricks()
    if not len(bricks.keys):
        return bricks
    i, j = rng.integers(len(bricks.keys)), rng.integers(512)
    bricks.log_odds[i, j] = -bricks.log_odds[i, j]
    return bricks.keys[[i]], bricks.log_odds[[i]], bricks.last_seen_ns[[i]]


@pytest.mark.parametrize("unknown", ["free", "occupied"])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_field_follows_a_camera(unknown, threads):
    octree = Octree(SpatialConfig(voxel_size_m=SIZE, budget_mib=6.852, threads=threads))
    field = DistanceField(octree, 0.7, unknown)
    points = np.random.default_rng(0).uniform(-3, 3, (5000, 3))
    for stamp, T in enumerate(poses(5)):
        octree.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, stamp)
        assert field.update() > 0
        again = DistanceField(octree, 0.7, unknown)
        np.testing.assert_array_equal(content(field, points), content(again, points))
    octree.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, 9)
    before = octree.changed_since(0)[2]
    field.update()
    octree.integrate(room_depth(CAMERA, T, holes=5), CAMERA, T, 10)
    assert octree.changed_since(0)[2] > before and field.update() == 0  # seen again: the map changed, no state did


def test_between_updates_the_field_stays():
    octree = octree_of(random_map(1), CORNER)
    field = DistanceField(octree, 0.5)
    points = (voxels_around() + 0.5) * SIZE
    before = field.distance(points)
    octree.clear()
    np.testing.assert_array_equal(field.distance(points), before)
    assert field.update() > 0
    assert (field.distance(points) == np.float32(0.5)).all()


def test_interpolation_is_exact_at_middles_continuous_and_within_its_bound():
    octree = octree_of(random_map(2, unknown=0.0), CORNER)
    field = DistanceField(octree, 1.0)
    voxels = voxels_around(3)
    middles = (voxels + 0.5) * SIZE
    np.testing.assert_allclose(field.distance(middles, interpolate=True), field.distance(middles), atol=1e-6)
    rng = np.random.default_rng(0)
    points = rng.uniform(middles.min(0), middles.max(0), (1000, 3))
    sites = octree.occupied()[0].astype(float)
    true = np.minimum(np.linalg.norm(points[:, None] - sites[None], axis=2).min(axis=1), 1.0)
    for interpolate in (False, True):
        assert np.abs(field.distance(points, interpolate) - true).max() <= np.sqrt(3) / 2 * SIZE + 1e-6
    step = rng.normal(size=points.shape) * 1e-5
    change = np.abs(field.distance(points + step, True) - field.distance(points, True))
    assert change.max() < 2 * np.sqrt(3) * np.linalg.norm(step, axis=1).max() + 1e-6
    low = np.floor(points / SIZE - 0.5)
    wanted = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(np.array(corner) == 1, points / SIZE - 0.5 - low, 1 - (points / SIZE - 0.5 - low)).prod(
            axis=1
        )
        wanted += weight * field.distance((low + corner + 0.5) * SIZE)
    np.testing.assert_allclose(field.distance(points, True), wanted, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["free", "occupied"]), st.sampled_from([0.003, 0.05]))
def test_balls_collide_exactly(seed, unknown, density):
    octree = octree_of(random_map(seed, density), CORNER)
    field = DistanceField(octree, 0.8, unknown, capacity_bricks=600)
    rng = np.random.default_rng(seed)
    centres = rng.uniform(CORNER * SIZE - 0.5, (CORNER + np.array(SHAPE)[::-1]) * SIZE + 0.5, (100, 3))
    radii = rng.uniform(0, 0.8, 100)
    radii[:20] = 0.0
    around = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3), axis=-1).reshape(-1, 3)
    cubes = np.floor(centres / SIZE).astype(int)[:, None] + around
    low = cubes * SIZE - centres[:, None]
    apart = np.linalg.norm(np.maximum(np.maximum(low, -low - SIZE), 0.0), axis=2)
    gaps = np.where(obstacles(octree, cubes, unknown), apart, np.inf).min(axis=1)
    sure = np.abs(gaps - radii) > 1e-9
    sure |= (radii == 0) & (gaps == 0)
    np.testing.assert_array_equal(field.collides(centres, radii)[sure], (gaps <= radii)[sure])
    assert sure.sum() > 95
    one = field.collides(centres, 0.3)
    np.testing.assert_array_equal(one, field.collides(centres, np.full(100, 0.3)))
    assert one.dtype == bool


def test_a_full_field_refuses_and_recovers():
    octree = octree_of(random_map(3), CORNER)
    with pytest.raises(CapacityError, match="capacity_bricks"):
        DistanceField(octree, 0.8, capacity_bricks=5)
    octree = octree_of(np.ones((2, 2, 2)), (3, 3, 3))
    field = DistanceField(octree, 0.3, capacity_bricks=12)
    points = (voxels_around() + 0.5) * SIZE
    put(octree, random_map(3), CORNER)
    for _ in range(2):
        with pytest.raises(CapacityError, match="12 bricks"):
            field.update()
        for ask in (field.distance, field.gradient, field.nearest, lambda p: field.collides(p, 0.1)):
            with pytest.raises(CapacityError, match="12 bricks"):
                ask(points)
    octree.clear()
    put(octree, np.ones((2, 2, 2)), (3, 3, 3))
    assert field.update() > 0
    np.testing.assert_array_equal(field.distance(points), DistanceField(octree, 0.3).distance(points))
    assert field.stats().bricks <= 12 == field.stats().capacity_bricks


def test_bricks_without_obstacles_near_make_room():
    """A box that wanders far leaves bricks behind; they are given back when the field is full."""
    octree = octree_of(np.ones((2, 2, 2)), (3, 3, 3))
    field = DistanceField(octree, 0.3, capacity_bricks=20)
    for step in range(1, 12):
        octree.clear()
        put(octree, np.ones((2, 2, 2)), (3 + 40 * step, 3, 3))
        field.update()
        assert field.distance([[(4 + 40 * step) * SIZE, 0.4, 0.7]]) == pytest.approx(2 * SIZE)
    assert field.stats().bricks <= 20


def test_memory_is_what_was_set():
    octree = octree_of(random_map(4), CORNER)
    small, large = (DistanceField(octree, 0.3, capacity_bricks=n).stats() for n in (500, 5000))
    assert small.bricks == large.bricks and 4600 < (large.bytes - small.bytes) / 4500 < 4900


def test_outside_of_everything():
    octree = octree_of(np.ones((2, 2, 2)))
    far = [[1e7, 0, 0], [-1e300, 1e300, 0], [50.0, 50.0, 50.0]]
    field = DistanceField(octree, 0.5)
    assert (field.distance(far) == np.float32(0.5)).all() and np.isnan(field.nearest(far)).all()
    assert not field.collides(far, 0.5).any() and (field.distance(far, True) == np.float32(0.5)).all()
    solid = DistanceField(octree, 0.5, "occupied")
    assert (solid.distance(far) == 0).all() and solid.collides(far[2:], 0.0).all()
    assert field.distance(np.empty((0, 3))).shape == (0,) and field.gradient(np.empty((0, 3))).shape == (0, 3)


def test_bad_input():
    octree = octree_of(np.ones((2, 2, 2)))
    for radius in (0.0, 0.05, 12.1, np.nan, -1.0):
        with pytest.raises(InvalidInput, match="max_distance_m"):
            DistanceField(octree, radius)
    with pytest.raises(InvalidInput, match="unknown"):
        DistanceField(octree, 0.5, "maybe")
    for capacity in (0, True, 1 << 23):
        with pytest.raises(InvalidInput, match="capacity_bricks"):
            DistanceField(octree, 0.5, capacity_bricks=capacity)
    field = DistanceField(octree, 0.5)
    for ask in (field.distance, field.gradient, field.nearest, lambda p: field.collides(p, 0.1)):
        for points in ([1.0, 2.0, 3.0], [[1.0, 2.0]], [[np.nan, 0, 0]], "here"):
            with pytest.raises(InvalidInput, match="wanted"):
                ask(points)
    for radii in (-0.1, 0.51, [0.1, 0.2], np.nan, [[0.1]]):
        with pytest.raises(InvalidInput, match="radii"):
            field.collides([[0.0, 0.0, 0.0]], radii)


def test_the_largest_radius():
    octree = octree_of(np.ones((1, 1, 1)), (3, -5, 2))
    field = DistanceField(octree, 120 * SIZE, capacity_bricks=32768)
    rng = np.random.default_rng(0)
    voxels = rng.integers(-130, 130, (5000, 3))
    squares = ((voxels - [3, -5, 2]) ** 2).sum(axis=1)
    wanted = np.where(squares <= 120**2, np.sqrt(squares) * SIZE, 12.0)
    np.testing.assert_array_equal(field.distance((voxels + 0.5) * SIZE), wanted.astype(np.float32))


def test_updates_and_questions_from_many_threads():
    octree = Octree(SpatialConfig(voxel_size_m=SIZE, budget_mib=6.852))
    field = DistanceField(octree, 0.5)
    points = np.random.default_rng(0).uniform(-2, 2, (5000, 3))
    wrong = []

    def ask():
        try:
            for _ in range(20):
                assert (field.distance(points) <= 0.5).all()
                field.update()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for stamp, T in enumerate(poses(6)):
        octree.integrate(room_depth(CAMERA, T), CAMERA, T, stamp)
    for thread in threads:
        thread.join()
    assert not wrong
    field.update()
    np.testing.assert_array_equal(content(field, points), content(DistanceField(octree, 0.5), points))


def test_two_fields_of_a_map_are_brought_up_to_date_side_by_side():
    """Launches are recorded, and what one field records is not the other's."""
    octree = octree_of(random_map(6), CORNER)
    points = (voxels_around() + 0.5) * SIZE
    fields = [DistanceField(octree, radius, capacity_bricks=600) for radius in (0.8, 0.5)]
    for seed in range(3):
        octree.remove_box([-0.5, -0.5 + 0.2 * seed, -0.5], [0.3, -0.3 + 0.2 * seed, 0.3])
        threads = [threading.Thread(target=field.update) for field in fields]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for field in fields:
            fresh = DistanceField(octree, field.max_distance_m, capacity_bricks=600)
            np.testing.assert_array_equal(content(field, points), content(fresh, points))


@pytest.mark.parametrize("unknown", ["free", "occupied"])
def test_claiming_one_by_one_as_on_a_gpu_makes_the_same_field(unknown, monkeypatch):
    octree = octree_of(random_map(5), CORNER)
    points = (voxels_around() + 0.5) * SIZE
    wanted = content(DistanceField(octree, 0.8, unknown, capacity_bricks=600), points)
    monkeypatch.setattr(update, "_AT_ONCE", None)
    run = octree._launcher.run

    def in_turn(kernel, dim, inputs, recorded=False, worker=0):
        for phases in update._ONE_BY_ONE if inputs[-1] is None else (inputs[-1],):
            run(kernel, dim, [*inputs[:-1], phases], recorded, worker)

    monkeypatch.setattr(octree._launcher, "run", in_turn)
    field = DistanceField(octree, 0.8, unknown, capacity_bricks=600)
    np.testing.assert_array_equal(content(field, points), wanted)
    octree.remove_box([-0.5, -0.5, -0.5], [0.3, 0.3, 0.3])
    field.update()
    monkeypatch.undo()
    np.testing.assert_array_equal(
        content(field, points), content(DistanceField(octree, 0.8, unknown, capacity_bricks=600), points)
    )


def test_a_field_knows_its_map(path):
    class Stop(Exception):
        pass

    with EmbodiedMemory(path, config=Config(encoder="hashing")) as memory:
        T = poses(1)[0]
        memory.write(Percept(stamp_ns=0, T_world_sensor=T, camera=CAMERA, depth=room_depth(CAMERA, T)))
        field = DistanceField(memory.spatial.octree, 0.5)
        assert field.octree is memory.spatial.octree
        with pytest.raises(Stop), memory.store.transaction():
            memory.spatial.octree.clear()
            raise Stop
        assert field.octree is not memory.spatial.octree  # the map was read from the file again
        points = np.random.default_rng(0).uniform(-2, 2, (1000, 3))
        np.testing.assert_array_equal(
            DistanceField(memory.spatial.octree, 0.5).distance(points), field.distance(points)
        )
