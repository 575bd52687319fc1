"""Point clouds and meshes as files, and recordings of others as maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embodmem.config import SpatialConfig
from embodmem.datasets import read_pcd
from embodmem.errors import InvalidInput
from embodmem.spatial.octree import Octree, pack_keys
from embodmem.spatial.octree.files import load_map, save_map, save_mesh
from embodmem.spatial.octree.files.points import read_ply
from embodmem.spatial.octree.surface import surface_mesh

CONFIG = SpatialConfig(voxel_size_m=0.1, budget_mib=0.215)


def some_map() -> Octree:
    rng = np.random.default_rng(0)
    cells = np.array([[0, 0, 0], [-1, 2, 0], [3, -4, -5]])
    values = rng.choice(np.array([np.nan, -1, 0.85, 3.5], np.float32), (3, 512))
    octree = Octree(CONFIG)
    octree.load_bricks(pack_keys(cells), values, np.zeros(3, np.int64))
    return octree


@pytest.mark.parametrize("suffix", ["ply", "pcd"])
def test_occupied_voxels_come_back(suffix: str, tmp_path: Path) -> None:
    octree = some_map()
    path = tmp_path / f"map.{suffix}"
    save_map(octree, path)
    again = load_map(path, stamp_ns=3)
    bricks, found = octree.bricks(), again.bricks()
    wanted = np.where(bricks.log_odds > 0, bricks.log_odds, np.nan)
    np.testing.assert_array_equal(
        found.log_odds[np.argsort(found.keys)], wanted[np.argsort(bricks.keys)].astype(np.float32)
    )
    assert again.config.voxel_size_m == 0.1
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(InvalidInput, match="wanted .* bytes"):
        load_map(path)
    save_map(Octree(CONFIG), path)
    assert load_map(path).stats().bricks == 0
    with pytest.raises(InvalidInput, match=r"voxels of 0.05 m"):
        load_map(path, SpatialConfig())


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_clouds_of_others(form: str, tmp_path: Path) -> None:
    """A cloud with colours and faces: its points are occupied, the rest is passed over."""
    points = np.array([[0.05, 0.05, 0.05], [0.06, 0.02, 0.01], [-1.01, 2.0, 3.3], [np.nan, 0, 0]])
    order = ">" if form == "binary_big_endian" else "<"
    rows = np.zeros(4, np.dtype([("x", order + "f8"), ("y", order + "f4"), ("red", "u1"), ("z", order + "f4")]))
    rows["x"], rows["y"], rows["z"], rows["red"] = *points.T, 200
    head = f"ply\nformat {form} 1.0\ncomment made elsewhere\nelement vertex 4\nproperty double x\nproperty float y\n"
    head += (
        "property uchar red\nproperty float32 z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    text = "\n".join(f"{r['x']} {r['y']} {r['red']} {r['z']}" for r in rows) + "\n"
    body = text.encode() + b"3 0 1 2\n" if form == "ascii" else rows.tobytes() + b"\3" + bytes(12)
    path = tmp_path / "cloud.ply"
    path.write_bytes(head.encode() + body)
    octree = load_map(path, CONFIG)
    assert octree.stats().occupied_voxels == 2 and octree.stats().free_voxels == 0
    assert (octree.log_odds(points[:3]) == CONFIG.log_odds_max).all()
    with pytest.raises(InvalidInput, match="names none"):
        load_map(path)
    path.write_bytes(head.encode() + body[:30])
    with pytest.raises(InvalidInput, match="wanted 4 vertices"):
        load_map(path, CONFIG)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a PLY file"),
        (b"ply\nformat ascii 1.0\n", "a PLY file"),
        (b"ply\nformat odd 1.0\nelement vertex 0\nproperty float x\nend_header\n", "'odd'"),
        (b"ply\nformat ascii 1.0\nelement face 0\nend_header\n", "vertices first"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n1 1\n", "plain numbers"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "x, y and z"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x\nend_header\n1 1\n",
            "each property",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\nfar\n", "numbers"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
            b"end_header\n9e9 0 0\n",
            "2\\*\\*23 voxels",
        ),
    ],
)
def test_foreign_and_damaged_files(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=words):
        load_map(path, CONFIG)


def test_too_many_bricks(tmp_path: Path) -> None:
    save_map(some_map(), tmp_path / "map.ply")
    with pytest.raises(InvalidInput, match="at most 2 bricks .* got 3"):
        load_map(tmp_path / "map.ply", SpatialConfig(voxel_size_m=0.1, budget_mib=0.007))


def test_a_mesh_file(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = surface_mesh(some_map())
    save_mesh(mesh, tmp_path / "mesh.ply")
    read = trimesh.load(tmp_path / "mesh.ply", process=False)
    np.testing.assert_allclose(read.vertices, mesh.vertices)
    np.testing.assert_array_equal(read.faces, mesh.triangles)
    vertices = read_ply((tmp_path / "mesh.ply").read_bytes(), "mesh")
    np.testing.assert_array_equal(vertices["x"], mesh.vertices[:, 0])
    with pytest.raises(InvalidInput, match=r"ends in \.ply"):
        save_mesh(mesh, tmp_path / "mesh.stl")


def test_a_city_scan_is_a_map(shared_data: Path) -> None:
    path = shared_data / "city_lidar" / "0000000000.pcd"
    octree = load_map(path, SpatialConfig(voxel_size_m=0.2))
    points = read_pcd(path).points
    assert (octree.occupancy(points.astype(np.float64)) == 1).all()
    voxels = np.unique(np.floor(points.astype(np.float64) / 0.2), axis=0)
    assert octree.stats().occupied_voxels == len(voxels)
