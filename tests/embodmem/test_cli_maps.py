"""Maps out of a memory and into a new one, by the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from embodmem import EmbodiedMemory
from embodmem.cli import app
from embodmem.errors import EmbodmemError
from tests.embodmem.small import look


def run(*words: object) -> dict[str, object]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return dict(json.loads(done.stdout))


@pytest.fixture
def memory(tmp_path):
    path = tmp_path / "first.mem"
    with EmbodiedMemory(path) as memory:
        memory.write(look(0))
    return path


@pytest.mark.parametrize("suffix", ["bt", "ot", "ply", "pcd"])
def test_a_map_goes_out_and_comes_in(memory, suffix, tmp_path):
    out = run("export", memory, "--out", tmp_path / f"map.{suffix}")
    back = run("import", tmp_path / f"map.{suffix}", "--out", tmp_path / "second.mem")
    assert back["occupied_voxels"] == out["occupied_voxels"] > 0
    with EmbodiedMemory(memory, "r") as first, EmbodiedMemory(tmp_path / "second.mem") as second:
        a, b = first.spatial.octree, second.spatial.octree
        assert second.config.spatial.voxel_size_m == first.config.spatial.voxel_size_m
        wanted, got = ({tuple(row) for row in octree.occupied()[0].tolist()} for octree in (a, b))
        assert got == wanted and a.occupied()[1] == b.occupied()[1]
        if suffix in ("bt", "ot"):
            assert a.stats().free_voxels == b.stats().free_voxels > 0
        second.write(look(1))  # and it goes on from there


def test_a_mesh(memory, tmp_path):
    made = run("export", memory, "--out", tmp_path / "map.ply", "--mesh")
    assert made["triangles"] > 0 and (tmp_path / "map.ply").stat().st_size > 12 * made["triangles"]


def test_what_cannot_be_done_leaves_nothing(memory, tmp_path):
    broken = tmp_path / "broken.bt"
    broken.write_bytes(b"# Octomap OcTree binary file\nid OcTree\nsize 9\nres 0.1\ndata\n\1")
    for words in (
        ("import", broken, "--out", tmp_path / "second.mem"),
        ("export", memory, "--out", tmp_path / "map.xyz"),
        ("export", tmp_path / "none.mem", "--out", tmp_path / "map.bt"),
    ):
        with pytest.raises(EmbodmemError):
            run(*words)
    assert sorted(path.name for path in tmp_path.iterdir() if ".mem" not in path.name) == ["broken.bt"]
    assert not (tmp_path / "second.mem").exists()
