"""OctoMap's files as bricks: the inverse of `octomap_write`, level by level over arrays.

A node's children follow it one whole subtree after the other, and no length is written. Where a subtree ends comes
from the numbers of children alone: with H(k) = sum over nodes up to k of (children - 1), the subtree of node i ends
at the first k >= i with H(k) = H(i - 1) - 1 (Lukasiewicz words; Knuth, TAOCP vol. 1, section 2.3.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.files.header import Header, read_header
from embodmem.spatial.octree.files.morton import brick_order, cells_of
from embodmem.spatial.octree.files.octomap_write import (
    BRICK_DEPTH,
    COLOUR_RECORD,
    RECORD,
    TREE_DEPTH,
    UNSET,
    count_nodes,
)
from embodmem.spatial.octree.keys import BRICK_VOXELS, pack_keys

__all__ = ["read_octomap"]

_RECORDS = {
    "OcTree": RECORD,
    "OcTreeStamped": RECORD,
    "ColorOcTree": COLOUR_RECORD,
}  # a stamp is not written by OctoMap

_Ints = NDArray[np.int64]
_Leaves = tuple[_Ints, _Ints, NDArray[np.float32]]


def read_octomap(
    content: bytes, name: str, log_odds: tuple[float, float], capacity: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], float, NDArray[np.uint32]]:
    """The bricks of a .bt or .ot file.

    Args:
        content: The whole file.
        name: What errors call it.
        log_odds: What free and occupied voxels of a .bt file get.
        capacity: The most bricks that the leaves may fill.

    Returns:
        Keys (N,) int64, log-odds (N, 512) float32 with NaN where unknown, the edge of a voxel in metres, and colours
        (N, 512) as `embodmem.spatial.octree.pool.Paint` has them, (N, 0) where the tree has none.

    Raises:
        InvalidInput: The file is foreign, damaged or truncated, or holds more bricks than `capacity`.
    """
    header = read_header(content, name)
    if header.tree_type not in _RECORDS:
        raise InvalidInput(f"{name}: wanted a tree of {', '.join(_RECORDS)}, got {header.tree_type!r}")
    if header.nodes == 0 and header.data == len(content):
        none = np.empty((0, BRICK_VOXELS), dtype=np.float32)
        return np.empty(0, dtype=np.int64), none, header.voxel_size_m, none.astype(np.uint32)
    if header.binary:
        leaves, words = _read_states(content, header, name, log_odds), None
    else:
        leaves, words = _read_log_odds(content, header, name)
    keys, values = _bricks(leaves, name, capacity, np.float32(np.nan))
    colours = np.empty((len(keys), 0), dtype=np.uint32)
    if words is not None:
        colours = _bricks((*leaves[:2], words), name, capacity, np.uint32(0))[1]
    return keys, values, header.voxel_size_m, colours


def _nodes(content: bytes, header: Header, dtype: np.dtype[np.void] | np.dtype[np.uint16], name: str) -> NDArray:  # type: ignore[type-arg]
    spare = (len(content) - header.data) % dtype.itemsize
    if spare or header.data == len(content):
        raise InvalidInput(
            f"{name}: wanted data in whole nodes of {dtype.itemsize} bytes, got {len(content) - header.data} bytes: "
            "the file is truncated or damaged"
        )
    return np.frombuffer(content, dtype=dtype, offset=header.data)


def _check_count(found: int, header: Header, name: str) -> None:
    if found != header.nodes:
        raise InvalidInput(f"{name}: wanted {header.nodes} nodes as the header says, got {found}: the file is damaged")


def _walk(children: NDArray[np.uint8], deepest: int, name: str) -> tuple[_Ints, _Ints]:
    """Code and depth (N,) of nodes in depth-first order of which bit c of `children` says whether child c follows."""
    n = len(children)
    counts = np.unpackbits(children[:, None], axis=1).sum(axis=1).astype(np.int64)
    height = np.cumsum(counts - 1)
    if height[-1] != -1 or (height[:-1] < 0).any():
        what = (
            "ends before its last node" if height[-1] >= 0 and (height >= 0).all() else "goes on behind its last node"
        )
        raise InvalidInput(f"{name}: wanted one whole tree, got data that {what}: the file is truncated or damaged")
    # The first k >= i at a height: a search among (height, place) pairs in order.
    pairs = np.sort((height + 1) * n + np.arange(n))
    before = height - counts + 1
    ends = pairs[np.searchsorted(pairs, before * n + np.arange(n))] % n + 1
    codes, depths = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    nodes = np.zeros(1, dtype=np.int64)
    for depth in range(deepest + 1):
        depths[nodes] = depth
        if not children[nodes].any():
            break
        if depth == deepest:
            raise InvalidInput(f"{name}: wanted a tree of {TREE_DEPTH} levels, got a deeper one: the file is damaged")
        following, found = nodes + 1, []
        for child in range(8):
            here = (children[nodes] >> child) & 1 == 1
            at = following[here]
            codes[at] = codes[nodes[here]] * 8 + child
            found.append(at)
            following[here] = ends[at]
        nodes = np.concatenate(found)
    return codes, depths


def _read_states(content: bytes, header: Header, name: str, log_odds: tuple[float, float]) -> _Leaves:
    words = _nodes(content, header, np.dtype("<u2"), name)
    states = (words[:, None] >> (2 * np.arange(8, dtype=np.uint16))) & 3
    codes, depths = _walk(np.packbits(states == 3, axis=1, bitorder="little")[:, 0], TREE_DEPTH - 1, name)
    _check_count(count_nodes(words.tobytes()), header, name)
    node, child = np.nonzero((states == 1) | (states == 2))
    values = np.asarray(log_odds, dtype=np.float32)[states[node, child].astype(np.int64) - 1]
    return codes[node] * 8 + child, depths[node] + 1, values


def _read_log_odds(content: bytes, header: Header, name: str) -> tuple[_Leaves, NDArray[np.uint32] | None]:
    """The leaves, and their colours (N,) where the tree has some."""
    records = _nodes(content, header, _RECORDS[header.tree_type], name)
    codes, depths = _walk(np.ascontiguousarray(records["children"]), TREE_DEPTH, name)
    _check_count(len(records), header, name)
    leaf = records["children"] == 0
    values = records["value"][leaf].astype(np.float32)
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise InvalidInput(
            f"{name}: wanted finite log-odds, got {bad} leaves with NaN or infinity: the file is damaged"
        )
    words = None
    if "rgb" in (records.dtype.names or ()):
        red, green, blue = records["rgb"][leaf].astype(np.uint32).T
        words = np.where((red & green & blue) == UNSET, 0, red | green << 8 | blue << 16 | 1 << 24).astype(np.uint32)
    return (codes[leaf], depths[leaf], values), words


def _bricks(
    leaves: tuple[_Ints, _Ints, NDArray[Any]], name: str, capacity: int, blank: np.generic
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Keys of the bricks that some leaves fill, and their values (N, 512), `blank` where no leaf is.

    Raises:
        InvalidInput: They are more than `capacity`.
    """
    codes, depths, values = leaves
    fine = depths >= BRICK_DEPTH
    inside = codes[fine] >> (3 * (depths[fine] - BRICK_DEPTH))
    owners, rows = np.unique(inside, return_inverse=True)
    rows = rows.reshape(-1)
    each = 8 ** (BRICK_DEPTH - depths[~fine])
    total = len(owners) + int(each.sum())
    if total > capacity:
        raise InvalidInput(
            f"{name}: wanted at most {capacity} bricks (spatial.budget_mib), got {total} of 8x8x8 voxels"
        )
    out = np.full((total, BRICK_VOXELS), blank)
    for depth in range(BRICK_DEPTH, TREE_DEPTH + 1):
        chosen = depths[fine] == depth
        edge = 3 * (depth - BRICK_DEPTH)
        parts = out.reshape(total, 1 << edge, -1)
        parts[rows[chosen], codes[fine][chosen] & ((1 << edge) - 1)] = values[fine][chosen, None]
    large = np.repeat(codes[~fine] * each, each) + np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
    out[len(owners) :] = np.repeat(values[~fine], each)[:, None]
    stored = np.empty_like(out)
    stored[:, brick_order()] = out
    cells = cells_of(np.concatenate([owners, large])) - (1 << (BRICK_DEPTH - 1))
    return pack_keys(cells), stored
