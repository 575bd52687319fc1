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
from embodmem.spatial.octree.paint import split_colours

__all__ = ["TREE_DEPTH", "binary_stream", "bt_file", "count_nodes", "full_stream", "ot_file"]

TREE_DEPTH = 16
"""Depth of a voxel in OctoMap's trees."""
BRICK_DEPTH = TREE_DEPTH - 3
RECORD = np.dtype([("value", "<f4"), ("children", "u1")])
"""A node of a .ot file."""
COLOUR_RECORD = np.dtype([("value", "<f4"), ("rgb", "u1", 3), ("children", "u1")])
"""A node of a .ot file of a `ColorOcTree`."""
UNSET = 255
"""White stands for no colour there (`ColorOcTreeNode::isColorSet`)."""

_INNER = 3
_FREE_WORD, _OCCUPIED_WORD = 0x5555, 0xAAAA

_Codes = NDArray[np.int64]
_Words = NDArray[np.uint16]
_Values = NDArray[np.float32]
_Colours = NDArray[np.uint8]


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


def _join(
    values: _Values, leaf: NDArray[np.bool_], colours: _Colours
) -> tuple[_Values, NDArray[np.bool_], NDArray[np.uint8], _Colours]:
    """Parents (M,) of children (M, 8): value (NaN for none), whether it is a leaf, which children follow it, colour.

    Colours (M, 8, 3), or (M, 8, 0) where there are none; a parent has the mean of its children's, as
    `ColorOcTreeNode::getAverageChildColor` gives it.
    """
    known = ~np.isnan(values)
    bits = np.packbits(known, axis=-1, bitorder="little")[..., 0]
    parent = np.where(known, values, -np.inf).max(axis=-1).astype(np.float32)
    parent[bits == 0] = np.nan
    equal = (values == values[..., :1]).all(axis=-1) & leaf.all(axis=-1)
    equal &= (colours == colours[..., :1, :]).all(axis=(-2, -1))
    bits[equal] = 0
    some = (colours != UNSET).any(axis=-1, keepdims=True) & known[..., None]
    count = some.sum(axis=-2)
    mean = np.where(some, colours, 0).sum(axis=-2, dtype=np.int64) // np.maximum(count, 1)
    return parent, equal, bits, np.where(count > 0, mean, UNSET).astype(np.uint8)


def _records(values: _Values, children: NDArray[np.uint8], colours: _Colours) -> NDArray[np.generic]:
    out = np.empty(values.shape, dtype=COLOUR_RECORD if colours.shape[-1] else RECORD)
    out["value"], out["children"] = values, children
    if colours.shape[-1]:
        out["rgb"] = colours
    return out


def _within_bricks(
    codes: _Codes, voxels: _Values, colours: _Colours
) -> tuple[dict[int, tuple[_Codes, NDArray[np.generic]]], _Values, NDArray[np.bool_], NDArray[np.uint8], _Colours]:
    """Nodes below bricks by depth, and of the bricks themselves value, whether they are leaves, children, colour."""
    levels: dict[int, tuple[_Codes, NDArray[np.generic]]] = {}
    values, leaf = voxels, np.ones(voxels.shape, dtype=bool)
    children = np.zeros(voxels.shape, dtype=np.uint8)
    for depth in range(TREE_DEPTH, BRICK_DEPTH, -1):
        shape = (len(codes), values.shape[1] // 8, 8)
        parents = _join(values.reshape(shape), leaf.reshape(shape), colours.reshape(*shape, colours.shape[-1]))
        kept = np.nonzero(~np.isnan(values) & ~np.repeat(parents[1], 8, axis=1))
        level = (codes[kept[0]] << (3 * (depth - BRICK_DEPTH))) | kept[1]
        levels[depth] = (level, _records(values[kept], children[kept], colours[kept]))
        values, leaf, children, colours = parents
    return levels, values[:, 0], leaf[:, 0], children[:, 0], colours[:, 0]


def full_stream(keys: NDArray[np.int64], log_odds: NDArray[np.float32], colours: _Colours | None = None) -> bytes:
    """OctoMap's stream of log-odds of some bricks: the data of a .ot file.

    Args:
        keys: (N,) int64 keys of bricks.
        log_odds: (N, 512) float32, NaN where unknown.
        colours: (N, 512, 3) uint8, white where there is none; with them it is the stream of a `ColorOcTree`.

    Returns:
        The stream; empty for an empty map.

    Raises:
        InvalidInput: A brick lies outside of what OctoMap can address, 32768 voxels to each side of the origin.
    """
    here = ~np.isnan(log_odds).all(axis=1)
    if not here.any():
        return b""
    codes = _brick_codes(keys[here])
    rgb = np.empty((*log_odds.shape, 0), dtype=np.uint8) if colours is None else colours
    order = brick_order()
    levels, values, leaf, children, rgb = _within_bricks(codes, log_odds[here][:, order], rgb[here][:, order])
    for depth in range(BRICK_DEPTH, 0, -1):
        above, place = np.unique(codes >> 3, return_inverse=True)
        place = place.reshape(-1)
        eight = np.full((len(above), 8), np.nan, dtype=np.float32)
        leaves = np.zeros(eight.shape, dtype=bool)
        eight_rgb = np.full((*eight.shape, rgb.shape[-1]), UNSET, dtype=np.uint8)
        eight[place, codes & 7], leaves[place, codes & 7], eight_rgb[place, codes & 7] = values, leaf, rgb
        parents = _join(eight, leaves, eight_rgb)
        kept = ~parents[1][place]
        levels[depth] = (codes[kept], _records(values[kept], children[kept], rgb[kept]))
        codes, (values, leaf, children, rgb) = above, parents
    levels[0] = (codes, _records(values, children, rgb))
    return _depth_first(levels).tobytes()


def octomap_colours(words: NDArray[np.uint32]) -> _Colours:
    """Colours (..., 3) of the words (...,) of `embodmem.spatial.octree.pool.Paint`: white where there is none.

    What is white is written a little darker, since white means none.
    """
    rgb, views = split_colours(words)
    white = (rgb == UNSET).all(axis=-1, keepdims=True)
    return np.where(views[..., None] > 0, np.where(white, np.uint8(UNSET - 1), rgb), np.uint8(UNSET))


def ot_file(stream: bytes, voxel_size_m: float, coloured: bool = False) -> bytes:
    """A whole .ot file of a stream of log-odds, or of log-odds and colours."""
    record, tree_type = (COLOUR_RECORD, "ColorOcTree") if coloured else (RECORD, "OcTree")
    return write_header(False, len(stream) // record.itemsize, voxel_size_m, tree_type) + stream
