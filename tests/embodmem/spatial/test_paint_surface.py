"""Colours and labels on the surface, in boxes and balls, and in files of other programs."""

from dataclasses import replace

import numpy as np
import pytest

from embodmem.spatial.octree import Octree, mark_points, unpack_keys
from embodmem.spatial.octree.files import load_map, save_map, save_mesh
from embodmem.spatial.octree.files.points import read_ply
from embodmem.spatial.octree.select import in_box, in_sphere
from embodmem.spatial.octree.surface import GREY, surface_mesh, surface_points
from tests.embodmem.spatial.paint_reference import PAINTED
from tests.embodmem.spatial.test_paint import toured


@pytest.fixture(scope="module")
def octree():
    made = toured()
    bricks = made.bricks()
    brick, place = np.argwhere(bricks.log_odds < 0)[1000]
    voxel = unpack_keys(bricks.keys)[brick] * 8 + [place % 8, place // 8 % 8, place // 64]
    for _ in range(5):  # occupied, without colour and label
        mark_points(made, (voxel[None] + 0.5) * 0.1, 9 * 10**9)
    return made


def test_points_of_the_surface_bear_what_their_voxels_bear(octree):
    surface = surface_points(octree)
    found, labels = octree.colours(surface.points), octree.labels(surface.points)
    some = found.views > 0
    assert some.any() and not some.all()
    np.testing.assert_array_equal(surface.colours[some], found.rgb[some])
    assert (surface.colours[~some] == GREY).all()
    np.testing.assert_array_equal(surface.labels, labels.label)
    plain = Octree(replace(PAINTED, colour=False))
    plain.load_bricks(*octree.bricks())
    assert surface_points(plain).colours is None and surface_points(plain).labels.any()


@pytest.mark.parametrize("closed", [False, True])
def test_vertices_bear_what_the_occupied_voxel_beside_them_bears(octree, closed):
    mesh = surface_mesh(octree, closed=closed)
    assert len(mesh.colours) == len(mesh.labels) == len(mesh.vertices) > 1000
    size = octree.config.voxel_size_m
    grid = mesh.vertices / size - 0.5
    axis = np.abs(grid - np.round(grid)).argmax(axis=1)
    for way in (np.floor, np.ceil):
        ends = np.round(grid)
        rows = np.arange(len(grid))
        ends[rows, axis] = way(grid[rows, axis])
        centres = (ends + 0.5) * size
        solid = octree.log_odds(centres) > 0
        assert solid.any()
        np.testing.assert_array_equal(mesh.labels[solid], octree.labels(centres[solid]).label)
        found = octree.colours(centres[solid])
        expected = np.where(found.views[:, None] > 0, found.rgb, GREY)
        np.testing.assert_array_equal(mesh.colours[solid], expected)


@pytest.mark.parametrize("depth", [24, 23, 21, 19])
@pytest.mark.parametrize("ball", [False, True])
def test_leaves_of_a_label(octree, depth, ball):
    bricks = octree.bricks()
    brick, place = np.nonzero((bricks.labels & 0xFFFF) == 3)
    voxels = unpack_keys(bricks.keys)[brick] * 8 + np.stack([place % 8, place // 8 % 8, place // 64], axis=1)
    bearing = set(map(tuple, (voxels // (1 << (24 - depth))).tolist()))
    low, high = np.array([-2.5, -0.7, -0.6]), np.array([0.2, 1.9, 1.0])

    def leaves(label=None):
        if ball:
            return in_sphere(octree, (low + high) / 2, 1.4, depth, label)
        return in_box(octree, low, high, depth, label)

    every, some = leaves(), leaves(3)
    wanted = [node for node in map(tuple, every.nodes.tolist()) if node in bearing]
    assert list(map(tuple, some.nodes.tolist())) == wanted and len(wanted) > 0
    assert some.occupied.all() and len(leaves(999).nodes) == 0


def test_ply_carries_colours_both_ways(octree, tmp_path):
    save_map(octree, tmp_path / "map.ply")
    fields = read_ply((tmp_path / "map.ply").read_bytes(), "map.ply")
    points = np.stack([fields[name].astype(np.float64) for name in "xyz"], axis=1)
    rgb = np.stack([fields[name] for name in ("red", "green", "blue")], axis=1)
    found = octree.colours(points)
    np.testing.assert_array_equal(rgb, np.where(found.views[:, None] > 0, found.rgb, GREY))
    again = load_map(tmp_path / "map.ply", PAINTED)
    np.testing.assert_array_equal(again.colours(points).rgb, rgb)
    save_mesh(mesh := surface_mesh(octree), tmp_path / "mesh.ply")
    fields = read_ply((tmp_path / "mesh.ply").read_bytes(), "mesh.ply")
    np.testing.assert_array_equal(np.stack([fields[c] for c in ("red", "green", "blue")], axis=1), mesh.colours)
    np.testing.assert_array_equal(np.stack([fields[c] for c in "xyz"], axis=1), mesh.vertices)


def test_octomap_reads_the_colours(octree, tmp_path):
    octomap = pytest.importorskip("pyoctomap")
    save_map(octree, tmp_path / "map.ot")
    tree = octomap.ColorOcTree(0.1).read(str(tmp_path / "map.ot"))
    centres, _ = octree.occupied()
    found = octree.colours(centres)
    for centre, rgb, views in zip(centres[::29].astype(float), found.rgb[::29], found.views[::29], strict=True):
        colour = tuple(tree.search(centre).getColor())
        assert colour == (tuple(rgb.tolist()) if views else (255, 255, 255))
    bricks, again = octree.bricks(), load_map(tmp_path / "map.ot", PAINTED).bricks()
    i, j = np.argsort(bricks.keys), np.argsort(again.keys)
    np.testing.assert_array_equal(bricks.log_odds[i], again.log_odds[j])
    np.testing.assert_array_equal(bricks.colours[i] & 0xFFFFFF, again.colours[j] & 0xFFFFFF)
    tree.write(str(tmp_path / "again.ot"))  # what it writes is read, too
    once_more = load_map(tmp_path / "again.ot", PAINTED).bricks()
    k = np.argsort(once_more.keys)
    np.testing.assert_array_equal(once_more.colours[k], again.colours[j])
