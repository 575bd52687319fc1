"""The text at the head of OctoMap's files."""

from __future__ import annotations

import math
from typing import NamedTuple

from embodmem.errors import InvalidInput

__all__ = ["BINARY", "FULL", "Header", "read_header", "write_header"]

BINARY = b"# Octomap OcTree binary file"
"""How a .bt file begins."""
FULL = b"# Octomap OcTree file"
"""How a .ot file begins."""

_LONGEST = 1 << 16


class Header(NamedTuple):
    """What a header says, and where the data begins.

    Attributes:
        binary: Whether the data holds states (.bt) or log-odds (.ot).
        tree_type: `OcTree`, `ColorOcTree`, ...
        nodes: How many nodes follow, inner ones and leaves.
        voxel_size_m: Edge of a voxel, metres.
        data: Offset of the first byte of the data.
    """

    binary: bool
    tree_type: str
    nodes: int
    voxel_size_m: float
    data: int


def read_header(content: bytes, name: str) -> Header:
    """The header of a file's content (OctoMap's `AbstractOcTree::readHeader`).

    Args:
        content: The whole file.
        name: What errors call it.

    Raises:
        InvalidInput: It is none of OctoMap's files, or an entry is missing or none.
    """
    if not content.startswith((BINARY, FULL)):
        raise InvalidInput(
            f"{name}: wanted a file of OctoMap (its first line is {BINARY.decode()!r} or {FULL.decode()!r}), "
            f"got one that begins with {content[:28]!r}"
        )
    entries: dict[str, str] = {}
    at = 0
    while at < min(len(content), _LONGEST):
        end = content.find(b"\n", at)
        if end < 0:
            break
        words = content[at:end].decode("latin-1").split()
        at = end + 1
        if words and words[0] == "data":
            return _checked(entries, at, content.startswith(BINARY), name)
        if len(words) >= 2 and not words[0].startswith("#"):
            entries[words[0]] = words[1]
    raise InvalidInput(f"{name}: wanted a line 'data' at the end of the header, got none: the file is damaged")


def _checked(entries: dict[str, str], data: int, binary: bool, name: str) -> Header:
    try:
        nodes, size = int(entries["size"]), float(entries["res"])
        tree_type = entries["id"]
    except (KeyError, ValueError) as error:
        raise InvalidInput(f"{name}: wanted id, size and res in the header, got {entries}") from error
    if nodes < 0 or not (math.isfinite(size) and size > 0):
        raise InvalidInput(f"{name}: wanted size >= 0 and res > 0 m in the header, got {nodes} and {size}")
    # "1" is what old versions of OctoMap call it.
    return Header(binary, "OcTree" if tree_type == "1" else tree_type, nodes, size, data)


def write_header(binary: bool, nodes: int, voxel_size_m: float, tree_type: str = "OcTree") -> bytes:
    """The header of a file of a tree."""
    first = BINARY if binary else FULL
    return first + f"\nid {tree_type}\nsize {nodes}\nres {voxel_size_m!r}\ndata\n".encode("ascii")
