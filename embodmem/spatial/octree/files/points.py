"""Occupied voxels and meshes as point clouds and polygons: .ply (Stanford) and .pcd (PCL)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.keys import BRICK_EDGE, BRICK_LIMIT, BRICK_VOXELS, pack_keys
from embodmem.spatial.octree.surface import TriangleMesh

__all__ = ["bricks_of_points", "colours_of_points", "mesh_ply", "pcd_points", "ply_points", "read_ply", "voxel_size_in"]

_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("log_odds", "<f4")])
_RGB = [("red", "u1"), ("green", "u1"), ("blue", "u1")]
_FACE = np.dtype([("count", "u1"), ("vertices", "<i4", 3)])
_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"}
_TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
_TYPES |= {"double": "f8", "float32": "f4", "float64": "f8"}
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_FARTHEST = 1 << 22  # voxels: float32 tells the centres of neighbours apart up to here


def _records(
    points: NDArray[np.float64],
    log_odds: NDArray[np.float32],
    voxel_size_m: float,
    colours: NDArray[np.uint8] | None = None,
) -> bytes:
    if len(points) and np.abs(points).max() > _FARTHEST * voxel_size_m:
        raise InvalidInput(f"points: wanted a map within {_FARTHEST} voxels of the origin, got one that is larger")
    out = np.empty(len(points), dtype=_POINT if colours is None else np.dtype([*_POINT.descr, *_RGB]))
    for axis, name in enumerate("xyz"):
        out[name] = points[:, axis]
    out["log_odds"] = log_odds
    if colours is not None:
        for channel, (name, _) in enumerate(_RGB):
            out[name] = colours[:, channel]
    return out.tobytes()


def ply_points(
    points: NDArray[np.float64],
    log_odds: NDArray[np.float32],
    voxel_size_m: float,
    colours: NDArray[np.uint8] | None = None,
) -> bytes:
    """A .ply file of points (N, 3) in the world, metres, each with its log-odds (N,) and maybe colour (N, 3)."""
    fields = "".join(f"property float {name}\n" for name in _POINT.names or ()) + _colour_fields(colours)
    head = f"ply\nformat binary_little_endian 1.0\ncomment voxel_size_m {voxel_size_m!r}\n"
    head += f"element vertex {len(points)}\n{fields}end_header\n"
    return head.encode("ascii") + _records(points, log_odds, voxel_size_m, colours)


def _colour_fields(colours: NDArray[np.uint8] | None) -> str:
    return "" if colours is None else "".join(f"property uchar {name}\n" for name, _ in _RGB)


def pcd_points(points: NDArray[np.float64], log_odds: NDArray[np.float32], voxel_size_m: float) -> bytes:
    """A .pcd file of points (N, 3) in the world, metres, each with its log-odds (N,)."""
    n = len(points)
    head = (
        f"# .PCD v0.7 - Point Cloud Data file format\n# voxel_size_m {voxel_size_m!r}\nVERSION 0.7\n"
        f"FIELDS x y z log_odds\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH {n}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {n}\nDATA binary\n"
    )
    return head.encode("ascii") + _records(points, log_odds, voxel_size_m)


def mesh_ply(mesh: TriangleMesh) -> bytes:
    """A .ply file of a mesh; vertices as float64, with their colours where it has some."""
    vertices = np.empty(len(mesh.vertices), dtype=[("at", "<f8", 3), ("rgb", "u1", 0 if mesh.colours is None else 3)])
    vertices["at"] = mesh.vertices
    if mesh.colours is not None:
        vertices["rgb"] = mesh.colours
    faces = np.empty(len(mesh.triangles), dtype=_FACE)
    faces["count"], faces["vertices"] = 3, mesh.triangles
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(mesh.vertices)}\n"
        f"property double x\nproperty double y\nproperty double z\n{_colour_fields(mesh.colours)}"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return head.encode("ascii") + vertices.tobytes() + faces.tobytes()


def voxel_size_in(content: bytes) -> float | None:
    """The voxel size that a comment in the header of one of our point files names, metres."""
    found = re.search(rb"^(?:comment|#) voxel_size_m ([0-9.eE+-]+)\r?$", content[:4096], re.M)
    try:
        size = float(found[1]) if found else 0.0
    except ValueError:
        return None
    return size if 0 < size < float("inf") else None


def read_ply(content: bytes, name: str) -> NDArray[Any]:
    """The vertices (N,) of a .ply file, structured by property; what else it holds is passed over.

    Raises:
        InvalidInput: It is no PLY file, truncated, or its vertices do not come first with plain properties.
    """
    end = content.find(b"end_header", 0, 1 << 16)
    line_end = content.find(b"\n", end)
    if not content.startswith(b"ply") or end < 0 or line_end < 0:
        raise InvalidInput(f"{name}: wanted a PLY file (from 'ply' to 'end_header'), got {content[:24]!r}")
    lines = [line.split() for line in content[:end].decode("latin-1").splitlines() if line.strip()]
    elements = [line for line in lines if line[0] == "element"]
    form = next((line[1] for line in lines if line[0] == "format" and len(line) > 1), "")
    first = elements[0] if elements else []
    if form not in _FORMATS or len(first) != 3 or first[1] != "vertex" or not first[2].isdecimal():
        raise InvalidInput(f"{name}: wanted a PLY format and vertices first, got format {form!r} and {elements}")
    start = lines.index(first) + 1
    stop = lines.index(elements[1]) if len(elements) > 1 else len(lines)
    properties = [line for line in lines[start:stop] if line[0] == "property"]
    if not properties or any(len(line) != 3 or line[1] not in _TYPES for line in properties):
        raise InvalidInput(f"{name}: wanted vertices with plain numbers, got properties {properties}")
    count, order = int(first[2]), _FORMATS[form] or "<"
    try:
        dtype = np.dtype([(line[2], order + _TYPES[line[1]]) for line in properties])
    except ValueError as error:
        raise InvalidInput(f"{name}: wanted each property once: {error}") from error
    return _vertices(content[line_end + 1 :], count, dtype, form == "ascii", name)


def _vertices(body: bytes, count: int, dtype: np.dtype[Any], text: bool, name: str) -> NDArray[Any]:
    names = dtype.names or ()
    if not text:
        if len(body) < count * dtype.itemsize:
            raise InvalidInput(f"{name}: wanted {count} vertices of {dtype.itemsize} bytes, got {len(body)} bytes")
        return np.frombuffer(body, dtype, count)
    words = body.split(maxsplit=count * len(names))[: count * len(names)]
    if len(words) < count * len(names):
        raise InvalidInput(f"{name}: wanted {count} vertices of {len(names)} numbers, got {len(words)} numbers")
    try:
        table = np.array(words, dtype=np.bytes_).astype(np.float64).reshape(count, len(names))
    except ValueError as error:
        raise InvalidInput(f"{name}: wanted numbers: {error}") from error
    out = np.empty(count, dtype)
    for i, field in enumerate(names):
        out[field] = table[:, i]
    return out


def bricks_of_points(
    fields: NDArray[Any], voxel_size_m: float, default: float, name: str, capacity: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Keys and log-odds (N, 512) of the bricks that points fill; the highest log-odds in a voxel count.

    Args:
        fields: (P,) with x, y, z in metres and maybe log_odds; a point with NaN is no point.
        voxel_size_m: Edge of a voxel, metres.
        default: Log-odds of a point that has none.
        name: What errors call the file.
        capacity: The most bricks.

    Raises:
        InvalidInput: x, y or z is missing, a point lies outside of what the map can address, log-odds are not finite,
            or there are more bricks than `capacity`.
    """
    names = fields.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise InvalidInput(f"{name}: wanted points with x, y and z, got {', '.join(names)}")
    points = np.stack([fields[axis].astype(np.float64) for axis in "xyz"], axis=1).reshape(-1, 3)
    odds = fields["log_odds"].astype(np.float32) if "log_odds" in names else np.full(len(points), default, np.float32)
    here = np.isfinite(points).all(axis=1)
    voxels, odds = np.floor(points[here] / voxel_size_m), odds[here]
    if not np.isfinite(odds).all() or (len(voxels) and np.abs(voxels).max() >= BRICK_LIMIT * BRICK_EDGE):
        raise InvalidInput(f"{name}: wanted finite log-odds and points within 2**23 voxels of the origin, got others")
    index = voxels.astype(np.int64)
    keys, row = np.unique(pack_keys(index >> 3), return_inverse=True)
    if len(keys) > capacity:
        raise InvalidInput(f"{name}: wanted at most {capacity} bricks (spatial.budget_mib), got {len(keys)}")
    place = ((index[:, 2] & 7) * 8 + (index[:, 1] & 7)) * 8 + (index[:, 0] & 7)
    values = np.full((len(keys), BRICK_VOXELS), -np.inf, dtype=np.float32)
    np.maximum.at(values, (row.reshape(-1), place), odds)
    values[np.isinf(values)] = np.nan
    return keys, values


def colours_of_points(fields: NDArray[Any], voxel_size_m: float, keys: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Colours (N, 512), see `embodmem.spatial.octree.pool.Paint`, of the bricks of `bricks_of_points`.

    A voxel has the mean of its points'; (N, 0) where they have no red, green and blue of 8 bits.
    """
    names = dict(_RGB)
    if any(name not in (fields.dtype.names or ()) or fields.dtype[name] != np.uint8 for name in names):
        return np.empty((len(keys), 0), dtype=np.uint32)
    points = np.stack([fields[axis].astype(np.float64) for axis in "xyz"], axis=1).reshape(-1, 3)
    here = np.isfinite(points).all(axis=1)
    index = np.floor(points[here] / voxel_size_m).astype(np.int64)
    place = ((index[:, 2] & 7) * 8 + (index[:, 1] & 7)) * 8 + (index[:, 0] & 7)
    flat = np.searchsorted(keys, pack_keys(index >> 3)) * BRICK_VOXELS + place
    count = np.bincount(flat, minlength=len(keys) * BRICK_VOXELS)
    words = np.where(count > 0, np.uint32(1 << 24), np.uint32(0))
    for channel, name in enumerate(names):
        total = np.bincount(flat, weights=fields[name][here], minlength=len(count))
        words |= np.round(total / np.maximum(count, 1)).astype(np.uint32) << np.uint32(8 * channel)
    return np.asarray(words.reshape(len(keys), BRICK_VOXELS), dtype=np.uint32)
