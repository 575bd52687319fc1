"""OctoMap's files, as OctoMap reads and writes them, voxel by voxel."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.spatial.octree import BRICK_VOXELS, Octree
from embodmem.spatial.octree.files import binary_stream, bt_file, load_map, read_map, save_map
from embodmem.spatial.octree.files.morton import cells_of, codes_of
from embodmem.spatial.octree.files.octomap_write import count_nodes, full_stream, ot_file
from embodmem.spatial.octree.keys import pack_keys, unpack_keys, voxel_offsets

SIZE_M = 0.1
CONFIG = SpatialConfig(voxel_size_m=SIZE_M, budget_mib=1.714)
Voxels = dict[tuple[int, int, int], float]


def leaves_of(tree) -> Voxels:
    """Voxel -> log-odds of a tree of pyoctomap."""
    voxels = {}
    for leaf in tree.begin_leafs():
        edge = round(leaf.getSize() / SIZE_M)
        low = np.round(np.array(leaf.getCoordinate()) / SIZE_M - edge / 2).astype(int)
        value = tree.search(leaf.getCoordinate()).getLogOdds()
        for x, y, z in np.ndindex(edge, edge, edge):
            voxels[int(low[0]) + x, int(low[1]) + y, int(low[2]) + z] = value
    return voxels


def voxels_of(keys, log_odds) -> Voxels:
    brick, place = np.nonzero(~np.isnan(log_odds))
    where = unpack_keys(keys)[brick] * 8 + voxel_offsets()[place]
    return dict(zip(map(tuple, where.tolist()), log_odds[brick, place].tolist(), strict=True))


def some_bricks(seed: int):
    """Keys and log-odds of random bricks around the origin, with uniform bricks and uniform parts of bricks."""
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(-2, 2, (9, 3)), axis=0)
    values = rng.choice(np.array([np.nan, -2.0, -0.4, 0.85, 3.5], np.float32), (len(cells), BRICK_VOXELS))
    values[0] = -2.0  # a brick that is free as a whole becomes one leaf
    values[1, :64] = 3.5  # and so do parts of one
    values[2] = np.nan
    return pack_keys(cells), values


@pytest.mark.parametrize("seed", range(4))
def test_octomap_reads_every_state(seed: int, tmp_path: Path) -> None:
    pyoctomap = pytest.importorskip("pyoctomap")
    keys, values = some_bricks(seed)
    stream = binary_stream(keys, values > 0, values <= 0)
    (tmp_path / "map.bt").write_bytes(bt_file(stream, SIZE_M))
    tree = pyoctomap.OcTree(1.0)
    assert tree.readBinary(str(tmp_path / "map.bt"))
    assert tree.getResolution() == SIZE_M and tree.size() == count_nodes(stream)
    wanted = voxels_of(keys, values)
    assert {voxel: value > 0 for voxel, value in leaves_of(tree).items()} == {v: x > 0 for v, x in wanted.items()}


@pytest.mark.parametrize("seed", range(4))
def test_octomap_reads_every_value(seed: int, tmp_path: Path) -> None:
    pyoctomap = pytest.importorskip("pyoctomap")
    keys, values = some_bricks(seed)
    octree = Octree(CONFIG)
    octree.load_bricks(keys, values, np.zeros(len(keys), np.int64))
    save_map(octree, tmp_path / "map.ot")
    tree = pyoctomap.OcTree(1.0).read(str(tmp_path / "map.ot"))
    assert leaves_of(tree) == voxels_of(keys, values)
    # What OctoMap writes of it is the same to the byte, apart from the comments in the header.
    tree.write(str(tmp_path / "again.ot"))
    first, again = ((tmp_path / name).read_bytes() for name in ("map.ot", "again.ot"))
    assert first[first.index(b"id ") :] == again[again.index(b"id ") :]
    assert read_map(tmp_path / "again.ot", CONFIG)[0].keys.tolist() == read_map(tmp_path / "map.ot")[0].keys.tolist()


def test_what_octomap_wrote_is_read(tmp_path: Path) -> None:
    """A tree that OctoMap filled itself, unpruned and with values that no file of ours would have."""
    pyoctomap = pytest.importorskip("pyoctomap")
    tree = pyoctomap.OcTree(SIZE_M)
    rng = np.random.default_rng(3)
    for point in rng.uniform(-1.5, 1.5, (400, 3)):
        tree.updateNode(point, bool(rng.random() < 0.4), True)
    tree.updateInnerOccupancy()
    tree.write(str(tmp_path / "map.ot"))
    octree = load_map(tmp_path / "map.ot", stamp_ns=7)
    bricks = octree.bricks()
    assert octree.config.voxel_size_m == SIZE_M and set(bricks.last_seen_ns.tolist()) == {7}
    assert voxels_of(bricks.keys, bricks.log_odds) == pytest.approx(leaves_of(tree))
    tree.writeBinary(str(tmp_path / "map.bt"))
    bricks = load_map(tmp_path / "map.bt").bricks()
    found = {voxel: value > 0 for voxel, value in voxels_of(bricks.keys, bricks.log_odds).items()}
    assert found == {voxel: value > 0 for voxel, value in leaves_of(tree).items()}


def test_a_coloured_tree_loses_its_colours_only(tmp_path: Path) -> None:
    pyoctomap = pytest.importorskip("pyoctomap")
    tree = pyoctomap.ColorOcTree(SIZE_M)
    for i in range(5):
        tree.updateNode(np.array([0.05 + i * SIZE_M, 0.05, 0.05]), i != 2)
    tree.write(str(tmp_path / "map.ot"))
    bricks = load_map(tmp_path / "map.ot").bricks()
    states = {voxel: value > 0 for voxel, value in voxels_of(bricks.keys, bricks.log_odds).items()}
    assert states == {(i, 0, 0): i != 2 for i in range(5)}


def test_the_building_of_octomap(shared_data: Path, tmp_path: Path) -> None:
    pyoctomap = pytest.importorskip("pyoctomap")
    source = shared_data / "octomap" / "geb079.bt"
    octree = load_map(source)
    tree = pyoctomap.OcTree(1.0)
    assert tree.readBinary(str(source)) and octree.config.voxel_size_m == tree.getResolution() == 0.08
    points = np.array([leaf.getCoordinate() for leaf in tree.begin_leafs()])
    edges = np.array([leaf.getSize() for leaf in tree.begin_leafs()])
    states = np.array([tree.isNodeOccupied(leaf) for leaf in tree.begin_leafs()])
    corners = points - edges[:, None] / 2 + 0.04
    for place in (corners, corners + edges[:, None] - 0.08):  # the first and the last voxel of each leaf
        np.testing.assert_array_equal(octree.occupancy(place), states.astype(np.int8))
    stats = octree.stats()
    volume = np.round((edges / 0.08) ** 3)
    assert stats.occupied_voxels == volume[states].sum() and stats.free_voxels == volume[~states].sum()
    save_map(octree, tmp_path / "again.bt")
    again = pyoctomap.OcTree(1.0)
    assert again.readBinary(str(tmp_path / "again.bt")) and again.size() == tree.size()
    content, written = source.read_bytes(), (tmp_path / "again.bt").read_bytes()
    assert content[content.index(b"size") :] == written[written.index(b"size") :]


@settings(deadline=None, max_examples=60)
@given(
    bricks=st.sets(st.tuples(*[st.integers(-4096, 4095)] * 3), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    sparse=st.floats(0, 1),
)
def test_streams_come_back(tmp_path_factory, bricks, seed, sparse) -> None:
    keys = pack_keys(np.array(sorted(bricks)))
    rng = np.random.default_rng(seed)
    values = rng.choice(np.array([-2.0, 3.5], np.float32), (len(keys), BRICK_VOXELS))
    values[rng.random(values.shape) < sparse] = np.nan
    values[0] = rng.choice([np.nan, -2.0, 3.5])
    folder = tmp_path_factory.mktemp("files")
    for name, content in {
        "map.bt": bt_file(binary_stream(keys, values > 0, values <= 0), SIZE_M),
        "map.ot": ot_file(full_stream(keys, values), SIZE_M),
    }.items():
        (folder / name).write_bytes(content)
        found, config = read_map(folder / name)
        assert config.voxel_size_m == SIZE_M
        assert voxels_of(found.keys, found.log_odds) == voxels_of(keys, values)


@given(st.lists(st.tuples(*[st.integers(0, 2**20 - 1)] * 3), min_size=1))
def test_codes_come_back(cells) -> None:
    array = np.array(cells, dtype=np.int64)
    np.testing.assert_array_equal(cells_of(codes_of(array)), array)
    plain = [
        sum(((c >> bit) & 1) << (3 * bit + axis) for axis, c in enumerate(cell) for bit in range(20)) for cell in cells
    ]
    assert codes_of(array).tolist() == plain


def test_an_empty_map(tmp_path: Path) -> None:
    pyoctomap = pytest.importorskip("pyoctomap")
    nothing = np.zeros((1, BRICK_VOXELS), bool)
    assert binary_stream(pack_keys(np.zeros((1, 3), int)), nothing, nothing) == b""
    for suffix in ("bt", "ot"):
        path = tmp_path / f"map.{suffix}"
        save_map(Octree(CONFIG), path)
        tree = pyoctomap.OcTree(1.0)
        tree = tree.read(str(path)) if suffix == "ot" else (tree.readBinary(str(path)) and tree)
        assert tree.size() == 0 and tree.getResolution() == SIZE_M
        assert load_map(path).stats().bricks == 0


def test_a_map_that_octomap_cannot_address_is_refused(tmp_path: Path) -> None:
    keys = pack_keys(np.array([[4096, 0, 0], [0, 0, 0]]))
    values = np.ones((2, BRICK_VOXELS), np.float32)
    octree = Octree(CONFIG)
    octree.load_bricks(keys, values, np.zeros(2, np.int64))
    for suffix in ("bt", "ot"):
        path = tmp_path / f"map.{suffix}"
        path.write_bytes(b"older")
        with pytest.raises(InvalidInput, match="within 32768 voxels .* got 1 of 2 bricks"):
            save_map(octree, path)
        assert path.read_bytes() == b"older" and list(tmp_path.glob("*.part")) == []
    edge = keys - (1 << 42)
    binary_stream(edge, values > 0, values <= 0)
    full_stream(edge, values)


@pytest.mark.parametrize("suffix", ["bt", "ot"])
def test_no_part_of_a_file_is_taken_for_a_map(suffix: str, tmp_path: Path) -> None:
    octree = Octree(CONFIG)
    keys, values = some_bricks(1)
    octree.load_bricks(keys[:3], values[:3], np.zeros(3, np.int64))
    path = tmp_path / f"map.{suffix}"
    save_map(octree, path)
    content = path.read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    for end in [*range(0, 200, 7), *range(200, len(content), max(1, len(content) // 60)), len(content) - 1]:
        broken.write_bytes(content[: min(end, len(content) - 1)])
        with pytest.raises(InvalidInput, match="broken"):
            load_map(broken)
    broken.write_bytes(content + content[-10:])
    with pytest.raises(InvalidInput, match="goes on behind|whole nodes"):
        load_map(broken)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_damaged_byte_gives_an_error_or_a_map(tmp_path_factory, data) -> None:
    keys, values = some_bricks(2)
    content = bytearray(
        data.draw(
            st.sampled_from(
                [
                    bt_file(binary_stream(keys, values > 0, values <= 0), SIZE_M),
                    ot_file(full_stream(keys, values), SIZE_M),
                ]
            )
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("files") / "map.bt"
    path.write_bytes(bytes(content))
    try:
        found, config = read_map(path, SpatialConfig(voxel_size_m=SIZE_M, budget_mib=13.704))
    except InvalidInput as error:
        assert str(path) in str(error)
    else:
        Octree(config).load_bricks(found.keys, found.log_odds, found.last_seen_ns)


def header(text: str) -> bytes:
    return f"# Octomap OcTree binary file\n{text}\ndata\n".encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a file of OctoMap"),
        (b"ply\nformat ascii 1.0\n", "a file of OctoMap.*ply"),
        (b"# Octomap OcTree binary file\nid OcTree\nsize 1\nres 0.1\n", "a line 'data'"),
        (header("id OcTree\nsize 9"), "id, size and res"),
        (header("id OcTree\nsize many\nres 0.1"), "id, size and res"),
        (header("id OcTree\nsize 9\nres nan"), "res > 0"),
        (header("id CountingOcTree\nsize 9\nres 0.1"), "CountingOcTree"),
        (header("id OcTree\nsize 9\nres 0.1") + b"\x01", "whole nodes"),
        (header("id OcTree\nsize 9\nres 0.1"), "whole nodes"),
        (header("id OcTree\nsize 9\nres 0.1") + b"\x01\0", "9 nodes as the header says, got 2"),
        (header("id OcTree\nsize 17\nres 0.1") + b"\x03\0" * 16 + b"\x01\0", "deeper"),
        (header("id OcTree\nsize 2\nres 0.1") + b"\x01\0", f"at most \\d+ bricks .* got {8**12}"),
        (
            b"# Octomap OcTree file\nid OcTree\nsize 1\nres 0.1\ndata\n" + struct.pack("<fB", np.nan, 0),
            "finite log-odds",
        ),
    ],
)
def test_foreign_and_damaged_files(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "map.bt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=words):
        load_map(path)


def test_bad_arguments(tmp_path: Path) -> None:
    octree = Octree(CONFIG)
    with pytest.raises(InvalidInput, match=r"ends in \.bt"):
        save_map(octree, tmp_path / "map.xyz")
    with pytest.raises(InvalidInput, match="No such file"):
        load_map(tmp_path / "none.bt")
    with pytest.raises(InvalidInput, match="can be written"):
        save_map(octree, tmp_path / "none" / "map.bt")
    save_map(octree, tmp_path / "map.bt")
    with pytest.raises(InvalidInput, match=r"voxels of 0.05 m .* got 0.1 m"):
        load_map(tmp_path / "map.bt", SpatialConfig(voxel_size_m=0.05))
    with pytest.raises(InvalidInput, match="stamp"):
        load_map(tmp_path / "map.bt", stamp_ns=-1)


def test_a_large_leaf_becomes_bricks(tmp_path: Path) -> None:
    """Eight bricks that are free throughout are one leaf in the file."""
    octree = Octree(CONFIG)
    cells = np.stack(np.meshgrid(*[[0, 1]] * 3), axis=-1).reshape(-1, 3)
    octree.load_bricks(pack_keys(cells), np.full((8, BRICK_VOXELS), -2.0, np.float32), np.zeros(8, np.int64))
    save_map(octree, tmp_path / "map.bt")
    assert len((tmp_path / "map.bt").read_bytes()) < 120
    bricks = load_map(tmp_path / "map.bt").bricks()
    assert sorted(bricks.keys.tolist()) == sorted(pack_keys(cells).tolist()) and (bricks.log_odds == -2).all()
    with pytest.raises(InvalidInput, match="at most 4 bricks .* got 8"):
        load_map(tmp_path / "map.bt", SpatialConfig(voxel_size_m=SIZE_M, budget_mib=0.014))
