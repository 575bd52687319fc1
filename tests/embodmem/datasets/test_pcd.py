"""PCD files: what is written by hand is read back, damaged files are named."""

import struct

import numpy as np
import pytest

from embodmem.datasets import read_pcd
from embodmem.errors import DatasetError

HEADER = """# .PCD v0.7
VERSION 0.7
FIELDS x y z _ intensity ring normal
SIZE 4 4 4 1 4 2 8
TYPE F F F U F U F
COUNT 1 1 1 4 1 1 3
WIDTH {n}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {n}
DATA {kind}
"""
RECORD = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("_3", "u1", (4,)), ("intensity", "<f4"), ("ring", "<u2")]
    + [("normal", "<f8", (3,))]
)


def cloud(n=50):
    rng = np.random.default_rng(0)
    fields = np.zeros(n, RECORD)
    for name in RECORD.names:
        fields[name] = rng.integers(0, 7, fields[name].shape)
    fields["x"] = rng.normal(size=n)
    fields["z"][3] = np.nan
    return fields


def literal_lzf(data):
    return b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))


def write(path, fields, kind):
    if kind == "ascii":
        rows = [[v for part in row for v in np.ravel(part).tolist()] for row in fields]
        body = "\n".join(" ".join(map(repr, row)) for row in rows).encode()
    elif kind == "binary":
        body = fields.tobytes() + bytes(100)  # PCL pads to whole pages
    else:
        plain = b"".join(np.ascontiguousarray(fields[name]).tobytes() for name in fields.dtype.names)
        packed = literal_lzf(plain)
        body = struct.pack("<II", len(packed), len(plain)) + packed
    path.write_bytes(HEADER.format(n=len(fields), kind=kind).encode() + body)
    return path


@pytest.mark.parametrize("kind", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("n", [0, 1, 50])
def test_reads_what_was_written(tmp_path, kind, n):
    fields = cloud()[:n]
    got = read_pcd(write(tmp_path / "a.pcd", fields, kind))
    assert got.points.dtype == np.float32 and got.points.shape == (n, 3)
    np.testing.assert_array_equal(got.points, np.stack([fields["x"], fields["y"], fields["z"]], axis=-1))
    for name in RECORD.names:
        np.testing.assert_array_equal(got.fields[name], fields[name])


def test_matches_that_look_back(tmp_path):
    """LZF: "abc", then 9 bytes from 3 back (they overlap themselves), then 4 from 12 back by the long form."""
    from embodmem.spatial.octree.files.pcd import _unpack_lzf

    short = bytes([2]) + b"abc" + bytes([(7 << 5), 0, 2]) + bytes([(2 << 5), 11])
    assert _unpack_lzf(short, 16) == b"abc" * 4 + b"abca"
    with pytest.raises(ValueError, match="before the start"):
        _unpack_lzf(bytes([0]) + b"a" + bytes([32, 5]), 4)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("POINTS 50", "POINTS fifty", "POINTS"),
        ("POINTS 50", "POINTS 5000", "wanted 5000 points"),
        ("DATA binary", "DATA zip", "DATA"),
        ("FIELDS x y z", "FIELDS x y w", "x, y and z"),
        ("SIZE 4 4 4", "SIZE 4 4", "one length"),
        ("TYPE F", "TYPE Q", "field x"),
        ("FIELDS x y z", "FIELDS x y y", "FIELDS"),
        ("DATA", "DATUM", "DATA"),
    ],
)
def test_damaged_files_are_named(tmp_path, old, new, words):
    path = write(tmp_path / "a.pcd", cloud(), "binary")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    with pytest.raises(DatasetError, match=words) as error:
        read_pcd(path)
    assert str(path) in str(error.value)


def test_truncated_compressed(tmp_path):
    path = write(tmp_path / "a.pcd", cloud(), "binary_compressed")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DatasetError, match="bytes that hold"):
        read_pcd(path)
    with pytest.raises(DatasetError, match=r"none\.pcd"):
        read_pcd(tmp_path / "none.pcd")


def test_the_city(shared_data):
    cloud = read_pcd(shared_data / "city_lidar" / "0000000000.pcd")
    assert cloud.points.shape == (119978, 3) and cloud.fields.dtype.names == ("x", "y", "z", "intensity")
    reach = np.linalg.norm(cloud.points, axis=1)
    assert np.median(reach) > 5.0 and reach.max() < 81.0
