"""Surface points and meshes against solids whose surface is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import SpatialConfig
from embodmem.spatial.octree import Octree, pack_keys, unpack_keys
from embodmem.spatial.octree.keys import voxel_offsets
from embodmem.spatial.octree.surface import surface_mesh, surface_points
from tests.embodmem.spatial.octree_reference import CAMERA, poses, room_depth

SIZE_M = 0.1


def octree_of(inside, cells, known=lambda p: np.ones(len(p), bool)):
    """A map of bricks `cells` whose voxels are occupied where their centre is `inside`, else free, where `known`."""
    cells = np.asarray(cells)
    centres = ((cells[:, None] * 8 + voxel_offsets()) + 0.5).reshape(-1, 3) * SIZE_M
    values = np.where(inside(centres), 2.0, -1.0).astype(np.float32)
    values[~known(centres)] = np.nan
    octree = Octree(SpatialConfig(voxel_size_m=SIZE_M, budget_mib=6.852))
    octree.load_bricks(pack_keys(cells), values.reshape(len(cells), 512), np.zeros(len(cells), np.int64))
    return octree


def around(n):
    return np.stack(np.meshgrid(*[np.arange(-n, n)] * 3), axis=-1).reshape(-1, 3)


def ball(centre, radius):
    return lambda p: np.linalg.norm(p - centre, axis=1) < radius


def edges(triangles):
    """Every directed edge of a mesh."""
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def assert_watertight(mesh):
    """Each edge is there once in each direction, so that the mesh has no hole and one outside."""
    directed = edges(mesh.triangles)
    there, counts = np.unique(directed, axis=0, return_counts=True)
    back = np.unique(directed[:, ::-1], axis=0)
    np.testing.assert_array_equal(there, back)
    return counts


def volume(mesh):
    a, b, c = mesh.vertices[mesh.triangles].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@settings(deadline=None, max_examples=10)
@given(centre=st.tuples(*[st.floats(-0.4, 0.4)] * 3), radius=st.floats(0.5, 1.8))
def test_a_ball(centre, radius):
    """It reaches over several blocks of the mesher, which meet at the origin."""
    octree = octree_of(ball(centre, radius), around(3))
    mesh = surface_mesh(octree)
    assert (assert_watertight(mesh) == 1).all()
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)
    off = np.linalg.norm(mesh.vertices - centre, axis=1) - radius
    assert np.abs(off).max() <= SIZE_M
    exact = 4 / 3 * np.pi * radius**3
    assert volume(mesh) == pytest.approx(exact, abs=4 * np.pi * radius**2 * SIZE_M * 0.6)
    points, normals = surface_points(octree)[:2]
    assert np.abs(np.linalg.norm(points - centre, axis=1) - radius).max() <= np.sqrt(3) * SIZE_M
    outward = (points - centre) / np.linalg.norm(points - centre, axis=1, keepdims=True)
    cosine = (normals * outward).sum(axis=1)
    assert cosine.min() > 0.7 and np.median(cosine) > 0.97
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)


def test_a_box_far_from_the_origin():
    """Eight blocks of 8 bricks meet in the middle of it; float32 alone would not tell its vertices apart."""
    shift = np.array([40000, -40000, 8])
    low, high = (shift * 8 - [5, 6, 7]) * SIZE_M, (shift * 8 + [9, 8, 7]) * SIZE_M
    octree = octree_of(lambda p: ((p > low) & (p < high)).all(axis=1), around(2) + shift)
    mesh = surface_mesh(octree)
    assert (assert_watertight(mesh) == 1).all()
    assert np.abs(np.clip(mesh.vertices, low, high) - mesh.vertices).max() <= SIZE_M
    inner = np.minimum(mesh.vertices - low, high - mesh.vertices).min(axis=1)
    assert np.abs(inner).max() <= SIZE_M
    assert volume(mesh) == pytest.approx(float(np.prod(high - low)), rel=0.25)
    assert len(np.unique(mesh.triangles)) == len(mesh.vertices)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), solid=st.floats(0.01, 0.6))
def test_any_map_gives_a_closed_mesh(seed, solid):
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(-2, 2, (6, 3)), axis=0) + rng.integers(-9, 9, 3)
    values = rng.choice(np.array([np.nan, -2.0, 0.0, 1e-6, 3.5], np.float32), (len(cells), 512)).copy()
    values[rng.random(values.shape) > solid] = -1.0
    octree = Octree(SpatialConfig(voxel_size_m=SIZE_M, budget_mib=0.215))
    octree.load_bricks(pack_keys(cells), values, np.zeros(len(cells), np.int64))
    mesh = surface_mesh(octree)
    directed = edges(mesh.triangles)
    there, ways = np.unique(directed, axis=0, return_counts=True)
    back, ways_back = np.unique(directed[:, ::-1], axis=0, return_counts=True)
    np.testing.assert_array_equal(there, back)
    np.testing.assert_array_equal(ways, ways_back)
    # Every vertex lies between an occupied voxel and one that is not, on the line of their centres.
    place = mesh.vertices / SIZE_M - 0.5
    axis = np.abs(place - np.round(place)).argmax(axis=1)
    rows = np.arange(len(place))
    lower = np.round(place)
    lower[rows, axis] = np.floor(place[rows, axis])
    upper = lower.copy()
    upper[rows, axis] += 1
    states = [octree.occupancy((x + 0.5) * SIZE_M) == 1 for x in (lower, upper)]
    assert (states[0] != states[1]).all()
    # And there is one for each such pair.
    count = 0
    centres = octree.occupied()[0].astype(np.float64)
    for step in (*np.eye(3), *-np.eye(3)):
        count += int((octree.occupancy(centres + step * SIZE_M) != 1).sum())
    assert count == len(mesh.vertices)


def plain_surface(octree):
    """Occupied voxels with a free face neighbour."""
    centres = octree.occupied()[0].astype(np.float64)
    free = np.zeros(len(centres), bool)
    for step in (*np.eye(3), *-np.eye(3)):
        free |= octree.occupancy(centres + step * octree.config.voxel_size_m) == 0
    return centres[free]


def room():
    octree = Octree(SpatialConfig(voxel_size_m=SIZE_M))
    for stamp, T in enumerate(poses()):
        octree.integrate(room_depth(CAMERA, T, holes=9), CAMERA, T, stamp)
    return octree


def test_surface_of_a_room():
    octree = room()
    points, normals = surface_points(octree)[:2]
    wanted = plain_surface(octree)
    assert sorted(map(tuple, np.round(points, 4).tolist())) == sorted(map(tuple, np.round(wanted, 4).tolist()))
    half = np.array([2.0, 1.5, 1.2])
    wall = (np.abs(np.abs(points) - half) < SIZE_M).sum(axis=1) == 1  # off the edges of the room
    axis = np.abs(np.abs(points) - half).argmin(axis=1)[wall]
    inward = -np.sign(points[wall][np.arange(len(axis)), axis]) * normals[wall][np.arange(len(axis)), axis]
    assert (inward > 0).mean() > 0.99 and np.median(inward) > 0.95


def test_a_mesh_that_is_open_to_the_unknown():
    octree = room()
    closed, open_ = surface_mesh(octree), surface_mesh(octree, closed=False)
    assert 0 < len(open_.triangles) < 0.6 * len(closed.triangles)
    half = np.array([2.0, 1.5, 1.2])
    corners = open_.vertices[open_.triangles]
    assert np.abs(np.abs(corners) - half).min(axis=2).max() < 2 * SIZE_M
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normal * -corners[:, 0]).sum(axis=1) > 0).mean() > 0.9  # they face the inside of the room


def test_a_thin_wall_that_is_free_on_both_sides():
    octree = octree_of(lambda p: np.abs(p[:, 2] - 0.05) < 0.04, around(1))
    points, normals = surface_points(octree)[:2]
    assert len(points) == 16 * 16
    np.testing.assert_allclose(normals, np.tile([0, 0, 1], (256, 1)), atol=1e-5)


def test_an_empty_map_and_one_without_a_surface():
    empty = Octree(SpatialConfig(voxel_size_m=SIZE_M, budget_mib=0.014))
    free = octree_of(lambda p: np.zeros(len(p), bool), [[0, 0, 0]])
    for octree in (empty, free):
        assert surface_points(octree).points.shape == surface_mesh(octree).vertices.shape == (0, 3)
    solid = octree_of(lambda p: np.ones(len(p), bool), [[0, 0, 0]])
    assert len(surface_points(solid).points) == 0  # nothing in it touches a free voxel
    assert volume(surface_mesh(solid)) > 0.4**3 and len(surface_mesh(solid, closed=False).triangles) == 0
    assert unpack_keys(solid.bricks().keys).tolist() == [[0, 0, 0]]
