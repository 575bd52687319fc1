"""The map as OctoMap reads it, voxel by voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.keys import pack_keys, unpack_keys, voxel_offsets
from embodmem_ros.octomap import binary_stream, bt_file, count_nodes

SIZE_M = 0.1


def read(stream: bytes, tmp_path: Path) -> tuple[int, dict[tuple[int, int, int], bool]]:
    """Nodes, and voxel -> whether it is occupied, as OctoMap reads a stream."""
    pyoctomap = pytest.importorskip("pyoctomap")
    path = tmp_path / "map.bt"
    path.write_bytes(bt_file(stream, SIZE_M))
    tree = pyoctomap.OcTree(1.0)
    assert tree.readBinary(str(path))
    assert tree.getResolution() == SIZE_M
    voxels = {}
    for leaf in tree.begin_leafs():
        edge = round(leaf.getSize() / SIZE_M)
        low = np.round(np.array(leaf.getCoordinate()) / SIZE_M - edge / 2).astype(int)
        for x, y, z in np.ndindex(edge, edge, edge):
            voxels[int(low[0]) + x, int(low[1]) + y, int(low[2]) + z] = bool(tree.isNodeOccupied(leaf))
    return tree.size(), voxels


@pytest.mark.parametrize("seed", range(4))
def test_octomap_reads_every_voxel(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(-2, 2, (9, 3)), axis=0)
    states = rng.choice([-1, 0, 1], (len(cells), 512), p=[0.5, 0.3, 0.2])
    states[0] = 0  # a brick that is free as a whole becomes one leaf
    states[1, :64] = 1  # and so do parts of one
    stream = binary_stream(pack_keys(cells), states == 1, states == 0)
    size, voxels = read(stream, tmp_path)
    brick, place = np.nonzero(states >= 0)
    wanted = cells[brick] * 8 + voxel_offsets()[place]
    known = zip(map(tuple, wanted.tolist()), (states[brick, place] == 1).tolist(), strict=True)
    assert voxels == dict(known)
    assert size == count_nodes(stream)


def test_an_empty_map_has_no_nodes() -> None:
    nothing = np.zeros((1, 512), bool)
    assert binary_stream(pack_keys(np.zeros((1, 3), int)), nothing, nothing) == b""


def test_a_map_that_octomap_cannot_address_is_refused() -> None:
    keys = pack_keys(np.array([[4096, 0, 0]]))
    assert unpack_keys(keys)[0, 0] == 4096
    with pytest.raises(InvalidInput, match="within 32768 voxels"):
        binary_stream(keys, np.ones((1, 512), bool), np.zeros((1, 512), bool))
    binary_stream(keys - (1 << 42), np.ones((1, 512), bool), np.zeros((1, 512), bool))
