"""Colours and labels of voxels, against a plain reference, through forgetting, and to the byte."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embodmem.config import SpatialConfig, map_bytes
from embodmem.errors import InvalidInput
from embodmem.spatial.octree import LidarScan, Octree, decode_bricks, encode_bricks, integrate_scans, mark_points
from tests.embodmem.spatial.octree_reference import CAMERA, ODD_ROOM, poses, room_depth
from tests.embodmem.spatial.paint_reference import PAINTED, Reference, marking_points, occupied_in, painted

SECOND = 10**9


def scene(seed=0):
    """An RGB image of noise on a gradient, and a label image of stripes with noise and holes."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rgb = np.stack([u + 20, v * 2, (u + v) // 2], axis=-1) + rng.integers(-15, 15, (*CAMERA.shape, 3))
    labels = 1 + (u + seed * 7) // 20
    noise = rng.random(CAMERA.shape)
    labels = np.where(noise < 0.2, rng.integers(1, 9, CAMERA.shape), np.where(noise > 0.8, 0, labels))
    return np.clip(rgb, 0, 255).astype(np.uint8), labels


def toured(config=PAINTED, looks=6):
    octree = Octree(config)
    for i, T in enumerate(poses(looks)):
        rgb, labels = scene(i)
        octree.integrate(room_depth(CAMERA, T, ODD_ROOM, holes=4), CAMERA, T, i * SECOND, rgb=rgb, labels=labels)
    return octree


def test_points_equal_the_reference():
    rng, octree, reference = np.random.default_rng(4), Octree(PAINTED), Reference()
    for stamp in range(90):
        points = np.round(rng.normal(0, 0.12, (200, 3)), 3) + 0.0005
        rgb, labels = rng.integers(0, 256, (200, 3)).astype(np.uint8), rng.integers(0, 5, 200)
        mark_points(octree, points, stamp * SECOND, labels=labels, colours=rgb)
        reference.see(points, rgb, labels, occupied_in(octree), 0.1)
        if stamp % 25 == 24:
            octree.remove_box([0.1, 0, -1], [0.2, 0.3, 1])
            reference.shed(occupied_in(octree))
        assert painted(octree) == (reference.colours, reference.labels)
    assert len(reference.labels) > 200 and max(votes for _, _, votes in reference.labels.values()) == 64


def test_images_equal_the_reference():
    octree, reference = Octree(PAINTED), Reference()
    for i, T in enumerate(poses(6)):
        (rgb, labels), depth = scene(i), room_depth(CAMERA, T, ODD_ROOM, holes=4)
        octree.integrate(depth, CAMERA, T, i * SECOND, rgb=rgb, labels=labels)
        points, place = marking_points(depth, CAMERA, T, PAINTED)
        is_occupied = occupied_in(octree)
        reference.shed(is_occupied)
        reference.see(points, rgb.reshape(-1, 3)[place], labels.ravel()[place], is_occupied, 0.1)
    for ours, theirs in zip(painted(octree), (reference.colours, reference.labels), strict=True):
        assert len(theirs) > 2000 and len(set(ours) ^ set(theirs)) <= 0.005 * len(theirs)
        both = set(ours) & set(theirs)
        # The kernel works in float32: a point on a face of voxels may fall to the other side.
        assert sum(ours[v] == theirs[v] for v in both) >= 0.98 * len(both)


@pytest.mark.parametrize("exact", [False, True])
def test_scans_equal_the_reference(exact):
    rng, octree, reference = np.random.default_rng(2), Octree(PAINTED), Reference()
    T = poses(1)[0]
    for stamp in range(12):
        rays = rng.normal(size=(3000, 3))
        points = (rays / np.linalg.norm(rays, axis=1)[:, None] * rng.choice([0.05, 2.03, 7.0], (3000, 1))).astype(
            np.float32
        )
        rgb, labels = rng.integers(0, 256, (3000, 3)).astype(np.uint8), rng.integers(0, 4, 3000)
        scan = LidarScan(points=points, T_world_sensor=T, stamp_ns=stamp, labels=labels, colours=rgb)
        integrate_scans(octree, [scan], exact=exact)
        hit = np.abs(np.linalg.norm(points, axis=1) - 2.03) < 0.1
        world = points[hit].astype(np.float64) @ T[:3, :3].T + T[:3, 3]
        reference.shed(occupied_in(octree))
        reference.see(world, rgb[hit], labels[hit], occupied_in(octree), 0.1)
    for ours, theirs in zip(painted(octree), (reference.colours, reference.labels), strict=True):
        assert len(theirs) > 1000 and sum(ours.get(v) == theirs[v] for v in theirs) >= len(theirs) - 3
        assert len(set(ours) - set(theirs)) <= 3
    other = Octree(PAINTED)
    other.integrate_points(points, T, stamp, labels=labels, colours=rgb)
    assert other.labels(world).label.max() > 0


def test_threads_give_the_same_to_the_bit():
    one, three = (toured(replace(PAINTED, threads=threads)).bricks() for threads in (1, 3))
    i, j = np.argsort(one.keys), np.argsort(three.keys)
    assert all(np.array_equal(a[i], b[j], equal_nan=a.dtype.kind == "f") for a, b in zip(one, three, strict=True))
    assert one.colours.any() and one.labels.any()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_the_order_of_points_does_not_matter(count, seed):
    rng = np.random.default_rng(seed)
    points, rgb = rng.uniform(-0.2, 0.2, (count, 3)), rng.integers(0, 256, (count, 3)).astype(np.uint8)
    labels, order = rng.integers(0, 3, count), rng.permutation(count)
    one, other = Octree(PAINTED), Octree(PAINTED)
    mark_points(one, points, 5, labels=labels, colours=rgb)
    mark_points(other, points[order], 5, labels=labels[order], colours=rgb[order])
    assert painted(one) == painted(other)


def test_a_label_changes_when_it_is_outvoted():
    octree, point = Octree(PAINTED), np.array([[0.05, 0.05, 0.05]])
    said = [3] * 5 + [8] * 6 + [0] * 2
    for stamp, label in enumerate(said):
        mark_points(octree, point, stamp, labels=[label])
        if stamp == 9:
            assert octree.labels(point).label[0] == 3 and octree.labels(point).confidence[0] == 0
    found = octree.labels(point)
    assert found.label[0] == 8 and found.confidence[0] == pytest.approx(1 / 11)
    for stamp in range(200):
        mark_points(octree, point, 100 + stamp, labels=[8])
    assert octree.labels(point).confidence[0] > 0.95
    for stamp in range(70):  # however long it was so, it changes in bounded time
        mark_points(octree, point, 300 + stamp, labels=[4])
    assert octree.labels(point).label[0] == 4
    assert octree.labels([[9.0, 9, 9]]).label[0] == 0 and octree.colours(point).views[0] == 0


def test_what_is_seen_through_or_forgotten_bears_nothing():
    octree = toured()

    def check(nothing=False):
        bricks = octree.bricks()
        occupied = bricks.log_odds > 0
        assert not bricks.colours[~occupied].any() and not bricks.labels[~occupied].any()
        assert bool(bricks.colours.any()) is not nothing
        # Blocks that were given back are wiped when they are taken again; none of the map's blocks holds more.
        return int(np.count_nonzero(bricks.colours))

    before, T = check(), poses(6)[0]
    far = np.full(CAMERA.shape, 4.9, np.float32)
    for stamp in range(12):  # the wall is gone
        octree.integrate(far, CAMERA, T, (20 + stamp) * SECOND)
    after = check()
    assert after < 0.9 * before
    octree.remove_box([0, -9, -9], [9, 9, 9])
    assert check() < after
    octree.decay(3600 * SECOND, half_life_s=60.0)
    check(nothing=True)
    octree = toured()
    octree.keep_within([-2.2, -0.4, -0.4], [-1.4, 0.4, 0.4])
    assert 0 < check() < before
    octree.assign(octree.bricks().keys, octree.bricks().log_odds > 0, -0.4)
    check(nothing=True)
    octree.clear()
    points = np.random.default_rng(0).uniform(-2, 2, (20000, 3))
    mark_points(octree, points, 0)  # in blocks that held colours
    assert octree.bricks().log_odds.size and not painted(octree)[0] and not painted(octree)[1]


def test_assigning_and_loading_keep_what_is_occupied():
    octree, other = toured(), Octree(PAINTED)
    bricks = octree.bricks()
    octree.assign(bricks.keys, bricks.log_odds < 0, -1.0)
    assert painted(octree) == painted_of(bricks)
    other.load_bricks(*octree.bricks())
    assert painted(other) == painted(octree)
    solid = np.full((1, 512), 3.5, np.float32), np.zeros(1, np.int64), None, np.full((1, 512), 9, np.uint32)
    other.load_bricks(np.array([5]), *solid)  # all alike, but not without colour
    assert other.bricks().colours[other.bricks().keys == 5].all()
    with pytest.raises(InvalidInput, match="uint32"):
        other.load_bricks(np.array([5]), *solid[:3], solid[3].astype(np.int64))
    plain = Octree(replace(PAINTED, colour=False, labels=False))
    plain.load_bricks(*octree.bricks())
    assert plain.bricks().colours.shape == (len(bricks.keys), 0) and plain.stats().bricks == len(bricks.keys)


def painted_of(bricks):
    octree = Octree(PAINTED)
    octree.load_bricks(*bricks)
    return painted(octree)


@settings(max_examples=12, deadline=None)
@given(st.floats(0.02, 40.0), st.integers(1, 3), st.booleans(), st.booleans())
def test_the_budget_is_exact(budget_mib, threads, colour, labels):
    octree = Octree(SpatialConfig(budget_mib=budget_mib, threads=threads, colour=colour, labels=labels))
    blocks, kinds = octree.config.capacity_bricks, colour + labels
    budget = budget_mib * 2**20
    assert octree.stats().bytes == map_bytes(blocks, threads, kinds) <= budget < map_bytes(blocks + 1, threads, kinds)
    empty = octree.stats().bytes_in_use
    mark_points(octree, [[0.01, 0.01, 0.01]], 0, labels=[1], colours=np.zeros((1, 3), np.uint8))
    assert octree.stats().bytes_in_use == empty + 512 * (6 + 4 * kinds) + 52


def test_what_is_off_costs_and_changes_nothing():
    plain, given_images = Octree(SpatialConfig(voxel_size_m=0.1)), Octree(SpatialConfig(voxel_size_m=0.1))
    for i, T in enumerate(poses(3)):
        rgb, labels = scene(i)
        depth = room_depth(CAMERA, T)
        plain.integrate(depth, CAMERA, T, i)
        given_images.integrate(depth, CAMERA, T, i, rgb=rgb, labels=labels)
    assert plain.stats() == given_images.stats()
    assert plain.stats().bytes == map_bytes(plain.config.capacity_bricks, 2)
    for a, b in zip(plain.bricks(), given_images.bricks(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert given_images.colours(plain.occupied()[0]).views.max() == 0
    bricks = plain.bricks()
    assert encode_bricks(*bricks[1::2]) == encode_bricks(bricks.log_odds, bricks.ages)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(0, 3), st.just(512)), elements=st.floats(width=32, allow_nan=True)),
    st.integers(0, 2**32 - 1),
)
def test_codec_is_exact_to_the_bit(values, seed):
    rng = np.random.default_rng(seed)
    ages = rng.integers(0, 9, values.shape).astype(np.uint16)
    words = [rng.integers(0, 2**32, values.shape).astype(np.uint32) * np.uint32(rng.integers(2)) for _ in range(2)]
    for paint in words:
        paint[rng.random(len(paint)) < 0.4] = 0  # some bricks have none
    found = decode_bricks(encode_bricks(values, ages, *words))
    np.testing.assert_array_equal(found.values.view(np.uint32), values.view(np.uint32))
    np.testing.assert_array_equal(found.ages, ages)
    for got, wanted in zip((found.colours, found.labels), words, strict=True):
        if wanted.any():
            np.testing.assert_array_equal(got, wanted)
        else:
            assert got.shape == (len(values), 0)


def test_codec_refuses_damage_and_leaves_unpainted_bricks_as_they_were():
    bricks = toured().bricks()
    blobs = encode_bricks(bricks.log_odds, bricks.ages, bricks.colours, bricks.labels)
    plain = encode_bricks(bricks.log_odds, bricks.ages)
    bare = ~(bricks.colours | bricks.labels).any(axis=1)
    assert bare.any() and [a == b for a, b in zip(blobs, plain, strict=True)] == bare.tolist()
    whole = zlib.decompress(blobs[int(np.flatnonzero(~bare)[0])])
    for wrong in (whole[:-2], whole[:-1] + b"\1", whole[:-1] + b"\7"):
        with pytest.raises(InvalidInput, match="wanted"):
            decode_bricks([zlib.compress(wrong, 1)])
    with pytest.raises(InvalidInput, match="uint32"):
        encode_bricks(bricks.log_odds, bricks.ages, bricks.colours.astype(np.int32))


def test_bad_input_is_refused_and_nothing_is_changed():
    octree, T = Octree(PAINTED), poses(1)[0]
    depth, (rgb, labels) = room_depth(CAMERA, T), scene()
    points = np.zeros((4, 3))
    for call, match in [
        (lambda: octree.integrate(depth, CAMERA, T, 0, rgb=rgb[:-1]), "rgb: wanted"),
        (lambda: octree.integrate(depth, CAMERA, T, 0, rgb=rgb.astype(float)), "uint8"),
        (lambda: octree.integrate(depth, CAMERA, T, 0, labels=labels * 1e5), "labels: wanted whole"),
        (lambda: octree.integrate(depth, CAMERA, T, 0, labels=labels * 10**5), "65535"),
        (lambda: octree.integrate_points(points, T, 0, labels=[1, 2, 3]), "labels: wanted"),
        (lambda: octree.integrate_points(points, T, 0, colours=np.zeros((4, 4), np.uint8)), "colours: wanted"),
        (lambda: mark_points(octree, points, 0, labels=[-1, 0, 0, 0]), "labels: wanted"),
        (lambda: mark_points(octree, points * np.nan, 0), "finite"),
        (lambda: mark_points(octree, points + 1e12, 0), "wanted coordinates"),
        (
            lambda: integrate_scans(octree, [LidarScan(points=points, T_world_sensor=T, stamp_ns=0, labels=[7])]),
            "scans",
        ),
    ]:
        with pytest.raises(InvalidInput, match=match):
            call()
    assert octree.stats().bricks == 0
    mark_points(octree, np.empty((0, 3)), 0, labels=np.empty(0, int))
    assert octree.stats().bricks == 0


def test_points_that_find_no_room_are_refused_and_counted():
    octree = Octree(replace(PAINTED, budget_mib=0.03))
    points = np.random.default_rng(0).uniform(-5, 5, (3000, 3))
    mark_points(octree, points, 0, labels=np.ones(3000, int))
    stats = octree.stats()
    assert stats.refused_bricks > 0 and stats.uniform_bricks == 0 < stats.occupied_voxels
    assert set(octree.labels(octree.occupied()[0]).label.tolist()) == {1}
