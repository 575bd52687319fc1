"""The map as OctoMap writes it: nodes in depth-first order, as states (.bt, ROS messages) or as log-odds (.ot).

The formats (Hornung et al., Autonomous Robots 2013, section 3.3; OctoMap's `writeBinaryNode` and `writeNodesRecurs`).
The root is 2**16 voxels wide and centred on the origin; a child's number has x in bit 0, y in bit 1 and z in bit 2.

- States: inner nodes only, 16 bits each, 2 bits for each child (00 unknown, 01 free, 10 occupied, 11 an inner node
  that follows), child 0 in the lowest bits.
- Log-odds: every node, a little-endian float32 and 8 bits that say which children follow. An inner node has the
  largest log-odds of its children (`updateInnerOccupancy`).

A node with eight equal leaves is a leaf itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.files.header import write_header
from embodmem.spatial.octree.files.morton import brick_order, codes_of
from embodmem.spatial.octree.keys import unpack_keys

__all__ = ["TREE_DEPTH", "binary_stream", "bt_file", "count_nodes", "full_stream", "ot_file"]

TREE_DEPTH = 16
"""Depth of a voxel in OctoMap's trees."""
BRICK_DEPTH = TREE_DEPTH - 3
RECORD = np.dtype([("value", "<f4"), ("children", "u1")])
"""A node of a .ot file."""

_INNER = 3
_FREE_WORD, _OCCUPIED_WORD = 0x5555, 0xAAAA

_Codes = NDArray[np.int64]
_Words = NDArray[np.uint16]
_Values = NDArray[np.float32]


def _brick_codes(keys: NDArray[np.int64]) -> _Codes:
    """Codes of bricks in OctoMap's tree.

    Raises:
        InvalidInput: A brick lies outside of what OctoMap can address, 32768 voxels to each side of the origin.
    """
    cells = unpack_keys(keys) + (1 << (BRICK_DEPTH - 1))
    outside = int(np.count_nonzero(((cells < 0) | (cells >= 1 << BRICK_DEPTH)).any(axis=1)))
    if outside:
        raise InvalidInput(
            f"octomap: wanted a map within 32768 voxels of the origin (its trees have {TREE_DEPTH} levels), "
            f"got {outside} of {len(cells)} bricks beyond it"
        )
    return codes_of(cells)


def _depth_first(levels: dict[int, tuple[_Codes, NDArray[np.generic]]]) -> NDArray[np.generic]:
    """Nodes of all depths in depth-first order, parents first: by the first voxel below a node, then by depth."""
    first = [(codes << (3 * (TREE_DEPTH - depth))) << 5 | depth for depth, (codes, _) in levels.items()]
    return np.concatenate([nodes for _, nodes in levels.values()])[np.argsort(np.concatenate(first))]


def _words(states: _Words) -> _Words:
    """Node words of the states (..., 8) of their children."""
    shifted = states << (2 * np.arange(8, dtype=np.uint16))
    return np.asarray(np.bitwise_or.reduce(shifted, axis=-1), dtype=np.uint16)


def _states(words: _Words) -> _Words:
    """What a parent says of nodes: unknown, free or occupied where all children are so, else inner node."""
    states = np.full(words.shape, _INNER, dtype=np.uint16)
    states[words == 0] = 0
    states[words == _FREE_WORD] = 1
    states[words == _OCCUPIED_WORD] = 2
    return states


def binary_stream(keys: NDArray[np.int64], occupied: NDArray[np.bool_], free: NDArray[np.bool_]) -> bytes:
    """OctoMap's stream of states of some bricks: what octomap_msgs/Octomap carries, and the data of a .bt file.

    Args:
        keys: (N,) int64 keys of bricks, see `embodmem.spatial.octree.keys`.
        occupied: (N, 512) voxels that are occupied.
        free: (N, 512) voxels that are free.

    Returns:
        The stream; empty for an empty map.

    Raises:
        InvalidInput: A brick lies outside of what OctoMap can address, 32768 voxels to each side of the origin.
    """
    if not occupied.any() and not free.any():
        return b""
    codes = _brick_codes(keys)
    states = np.where(occupied, np.uint16(2), np.where(free, np.uint16(1), np.uint16(0)))[:, brick_order()]
    levels: dict[int, tuple[_Codes, NDArray[np.generic]]] = {}
    for deeper in (2, 1, 0):  # nodes inside bricks that are 2, 4 and 8 voxels wide
        words = _words(states.reshape(len(codes), -1, 8))
        states = _states(words)
        inner = np.nonzero(states == _INNER)
        levels[BRICK_DEPTH + deeper] = ((codes[inner[0]] << (3 * deeper)) | inner[1], words[inner])
    states = states[:, 0]
    for depth in range(BRICK_DEPTH - 1, -1, -1):
        parents, place = np.unique(codes >> 3, return_inverse=True)
        words = np.zeros(len(parents), dtype=np.uint16)
        np.bitwise_or.at(words, place.reshape(-1), states << (2 * (codes & 7)).astype(np.uint16))
        codes, states = parents, _states(words)
        inner_nodes = (states == _INNER) | (depth == 0)
        levels[depth] = (codes[inner_nodes], words[inner_nodes])
    return _depth_first(levels).astype("<u2").tobytes()


def count_nodes(stream: bytes) -> int:
    """How many nodes a stream of states tells of, leaves included: the `size` in the header of a .bt file."""
    words = np.frombuffer(stream, dtype="<u2")
    known = (words | (words >> 1)) & 0x5555  # one bit for each child that is not unknown
    bits = np.unpackbits(known.view(np.uint8))
    return int(np.count_nonzero(bits)) + (len(words) > 0)


def bt_file(stream: bytes, voxel_size_m: float) -> bytes:
    """A whole .bt file of a stream of states."""
    return write_header(True, count_nodes(stream), voxel_size_m) + stream


def _join(values: _Values, leaf: NDArray[np.bool_]) -> tuple[_Values, NDArray[np.bool_], NDArray[np.uint8]]:
    """Parents (M,) of children (M, 8): value (NaN for none), whether it is a leaf, which children follow it."""
    known = ~np.isnan(values)
    bits = np.packbits(known, axis=-1, bitorder="little")[..., 0]
    parent = np.where(known, values, -np.inf).max(axis=-1).astype(np.float32)
    parent[bits == 0] = np.nan
    equal = (values == values[..., :1]).all(axis=-1) & leaf.all(axis=-1)
    bits[equal] = 0
    return parent, equal, bits


def _records(values: _Values, children: NDArray[np.uint8]) -> NDArray[np.generic]:
    out = np.empty(values.shape, dtype=RECORD)
    out["value"], out["children"] = values, children
    return out


def _within_bricks(
    codes: _Codes, voxels: _Values
) -> tuple[dict[int, tuple[_Codes, NDArray[np.generic]]], _Values, NDArray[np.bool_], NDArray[np.uint8]]:
    """Nodes below bricks by depth, and of the bricks themselves value, whether they are leaves, and children."""
    levels: dict[int, tuple[_Codes, NDArray[np.generic]]] = {}
    values, leaf = voxels, np.ones(voxels.shape, dtype=bool)
    children = np.zeros(voxels.shape, dtype=np.uint8)
    for depth in range(TREE_DEPTH, BRICK_DEPTH, -1):
        shape = (len(codes), -1, 8)
        parents = _join(values.reshape(shape), leaf.reshape(shape))
        kept = np.nonzero(~np.isnan(values) & ~np.repeat(parents[1], 8, axis=1))
        level = (codes[kept[0]] << (3 * (depth - BRICK_DEPTH))) | kept[1]
        levels[depth] = (level, _records(values[kept], children[kept]))
        values, leaf, children = parents
    return levels, values[:, 0], leaf[:, 0], children[:, 0]


def full_stream(keys: NDArray[np.int64], log_odds: NDArray[np.float32]) -> bytes:
    """OctoMap's stream of log-odds of some bricks: the data of a .ot file.

    Args:
        keys: (N,) int64 keys of bricks.
        log_odds: (N, 512) float32, NaN where unknown.

    Returns:
        The stream; empty for an empty map.

    Raises:
        InvalidInput: A brick lies outside of what OctoMap can address, 32768 voxels to each side of the origin.
    """
    here = ~np.isnan(log_odds).all(axis=1)
    if not here.any():
        return b""
    codes = _brick_codes(keys[here])
    levels, values, leaf, children = _within_bricks(codes, log_odds[here][:, brick_order()])
    for depth in range(BRICK_DEPTH, 0, -1):
        above, place = np.unique(codes >> 3, return_inverse=True)
        place = place.reshape(-1)
        eight = np.full((len(above), 8), np.nan, dtype=np.float32)
        leaves = np.zeros(eight.shape, dtype=bool)
        eight[place, codes & 7], leaves[place, codes & 7] = values, leaf
        parents = _join(eight, leaves)
        kept = ~parents[1][place]
        levels[depth] = (codes[kept], _records(values[kept], children[kept]))
        codes, (values, leaf, children) = above, parents
    levels[0] = (codes, _records(values, children))
    return _depth_first(levels).tobytes()


def ot_file(stream: bytes, voxel_size_m: float) -> bytes:
    """A whole .ot file of a stream of log-odds."""
    return write_header(False, len(stream) // RECORD.itemsize, voxel_size_m) + stream
