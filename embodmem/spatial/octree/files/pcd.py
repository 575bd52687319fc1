"""Point clouds in PCL's PCD format: ascii, binary and binary_compressed.

The format: https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import DatasetError

__all__ = ["PointCloud", "read_pcd"]

_DATA = ("ascii", "binary", "binary_compressed")
_HEADER_LIMIT = 1 << 16
_TYPES = {"F": "f", "I": "i", "U": "u"}


class PointCloud(NamedTuple):
    """One cloud.

    Attributes:
        points: (N, 3) float32 metres in the frame of the file; NaN where the sensor had no return.
        fields: (N,) structured, every field of the file under its name; a field of COUNT n has shape (N, n).
    """

    points: NDArray[np.float32]
    fields: NDArray[Any]


def read_pcd(path: str | Path) -> PointCloud:
    """Read a cloud. The viewpoint of the header is not applied.

    Raises:
        DatasetError: The file is missing, truncated, or of another form, or has no fields x, y and z.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file}: wanted a PCD file: {error}") from error
    header, body = _header(file, raw)
    dtype, count = _record(file, header), _number(file, header, "POINTS")
    kind = header["DATA"][0] if header["DATA"] else ""
    if kind == "ascii":
        fields = _ascii(file, body, dtype, count)
    elif kind == "binary":
        fields = _binary(file, body, dtype, count)
    elif kind == "binary_compressed":
        fields = _compressed(file, body, dtype, count)
    else:
        raise DatasetError(f"{file}: DATA: wanted one of {', '.join(_DATA)}, got {kind!r}")
    missing = [name for name in ("x", "y", "z") if name not in (dtype.names or ())]
    if missing:
        raise DatasetError(f"{file}: wanted fields x, y and z, got {', '.join(dtype.names or ())}")
    points = np.stack([fields[name].astype(np.float32) for name in ("x", "y", "z")], axis=-1)
    if points.ndim != 2:
        raise DatasetError(f"{file}: x, y, z: wanted one number a point, got a COUNT above 1")
    return PointCloud(points, fields)


def _header(file: Path, raw: bytes) -> tuple[dict[str, list[str]], memoryview]:
    """The header's lines by name, and what follows it."""
    header: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in header:
        end = raw.find(b"\n", at, _HEADER_LIMIT)
        if end < 0:
            raise DatasetError(f"{file}: wanted a PCD header that ends with DATA, got none")
        words = raw[at:end].decode("ascii", "replace").split()
        at = end + 1
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
    return header, memoryview(raw)[at:]


def _number(file: Path, header: dict[str, list[str]], name: str) -> int:
    words = header.get(name, [])
    if len(words) != 1 or not words[0].isdecimal():
        raise DatasetError(f"{file}: {name}: wanted a whole number, got {' '.join(words) or 'nothing'!r}")
    return int(words[0])


def _record(file: Path, header: dict[str, list[str]]) -> np.dtype[Any]:
    """The dtype of one point; fields of padding ("_") keep their place under names of their own."""
    names = header.get("FIELDS", [])
    sizes, types = header.get("SIZE", []), header.get("TYPE", [])
    counts = header.get("COUNT", ["1"] * len(names))
    if not names or not len(names) == len(sizes) == len(types) == len(counts):
        raise DatasetError(f"{file}: wanted FIELDS, SIZE, TYPE and COUNT of one length, got {header}")
    record: list[tuple[Any, ...]] = []
    for i, (name, size, kind, count) in enumerate(zip(names, sizes, types, counts, strict=True)):
        good = size in ("1", "2", "4", "8") and kind in _TYPES and count.isdecimal() and int(count) > 0
        if not good or (kind == "F" and size == "1"):
            raise DatasetError(f"{file}: field {name}: wanted SIZE 1, 2, 4 or 8 and TYPE F, I or U, got {size} {kind}")
        label = f"_{i}" if name == "_" else name
        record.append((label, f"<{_TYPES[kind]}{size}") + (((int(count),),) if count != "1" else ()))
    try:
        return np.dtype(record)
    except ValueError as error:
        raise DatasetError(f"{file}: FIELDS: {error}") from error


def _binary(file: Path, body: memoryview | bytes, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    if len(body) < count * dtype.itemsize:  # more is padding: PCL writes whole pages
        raise DatasetError(f"{file}: wanted {count} points of {dtype.itemsize} bytes, got {len(body)} bytes")
    fields: NDArray[Any] = np.frombuffer(body, dtype, count).copy()
    return fields


def _ascii(file: Path, body: memoryview, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    flat = np.dtype([(f"{i}", base) for i, base in enumerate(_columns(dtype))])
    words = bytes(body).decode("ascii", "replace").split()
    width = len(flat.names or ())
    if len(words) < count * width:
        raise DatasetError(f"{file}: wanted {count} points of {width} numbers, got {len(words)} numbers")
    table = np.array(words[: count * width], dtype=np.str_).reshape(count, width)
    fields = np.empty(count, flat)
    for i, name in enumerate(flat.names or ()):
        try:
            fields[name] = table[:, i].astype(flat[name])
        except ValueError as error:
            raise DatasetError(f"{file}: column {i}: {error}") from error
    return fields.view(dtype)


def _columns(dtype: np.dtype[Any]) -> list[np.dtype[Any]]:
    """The scalar dtype of each number of a point."""
    parts = [dtype[name] for name in dtype.names or ()]
    return [part.base for part in parts for _ in range(int(np.prod(part.shape, dtype=int)))]


def _compressed(file: Path, body: memoryview, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """Two uint32 (packed and plain size), then the LZF of all x, all y, all z, ..."""
    if len(body) < 8:
        raise DatasetError(f"{file}: wanted the sizes of compressed data, got {len(body)} bytes")
    packed, plain = struct.unpack("<II", body[:8])
    if len(body) < 8 + packed or plain != count * dtype.itemsize:
        raise DatasetError(
            f"{file}: wanted {packed} bytes that hold {count * dtype.itemsize}, got {len(body) - 8} that hold {plain}"
        )
    try:
        data = _unpack_lzf(bytes(body[8 : 8 + packed]), plain)
    except (IndexError, ValueError) as error:
        raise DatasetError(f"{file}: the compressed data is damaged") from error
    fields, at = np.empty(count, dtype), 0
    for name in dtype.names or ():
        part = dtype[name]
        fields[name] = np.frombuffer(data, part.base, count * part.itemsize // part.base.itemsize, at).reshape(
            (count, *part.shape)
        )
        at += count * part.itemsize
    return fields


def _unpack_lzf(packed: bytes, size: int) -> bytes:
    """LibLZF's format: a control byte below 32 copies that many bytes and one more; else a match looks back."""
    plain, at = bytearray(), 0
    while at < len(packed):
        control = packed[at]
        at += 1
        if control < 32:
            plain += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[at]
            at += 1
        start = len(plain) - ((control & 31) << 8) - packed[at] - 1
        at += 1
        if start < 0:
            raise ValueError("a match before the start")
        match = bytes(plain[start : start + length + 2])
        plain += (match * (length + 2))[: length + 2] if len(match) < length + 2 else match
    if len(plain) != size:
        raise ValueError("another size than the header's")
    return bytes(plain)
