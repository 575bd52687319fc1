"""The map as OctoMap's binary stream: what octomap_msgs/Octomap carries, and what follows the header of a .bt file.

The format (Hornung et al., Autonomous Robots 2013, section 3.3, and OctoMap's `writeBinaryData`): inner nodes in
depth-first order, 16 bits each, 2 bits for each child (00 unknown, 01 free, 10 occupied, 11 an inner node that
follows), child 0 in the lowest bits; a child's number has x in bit 0, y in bit 1 and z in bit 2. The root is 2**16
voxels wide and centred on the origin. A node with eight equal leaves is a leaf itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.keys import unpack_keys, voxel_offsets

_DEPTH = 16
_BRICK_DEPTH = _DEPTH - 3
_INNER = 3
_FREE_WORD, _OCCUPIED_WORD = 0x5555, 0xAAAA

_Level = tuple[NDArray[np.int64], NDArray[np.uint16]]


def _spread(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of 16 bit numbers moved apart, two zeros between each."""
    out = values & 0xFFFF
    for shift, mask in ((16, 0xFF0000FF), (8, 0xF00F00F00F), (4, 0xC30C30C30C3), (2, 0x249249249249)):
        out = (out | (out << shift)) & mask
    return out


def _morton(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes (N,) of indices (N, 3): three bits a level, z y x from high to low."""
    codes: NDArray[np.int64] = _spread(cells[:, 0]) | (_spread(cells[:, 1]) << 1) | (_spread(cells[:, 2]) << 2)
    return codes


def _words(states: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Node words of the states (..., 8) of their children."""
    shifted = states << (2 * np.arange(8, dtype=np.uint16))
    return np.asarray(np.bitwise_or.reduce(shifted, axis=-1), dtype=np.uint16)


def _states(words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """What a parent says of nodes: unknown, free or occupied where all children are so, else inner node."""
    states = np.full(words.shape, _INNER, dtype=np.uint16)
    states[words == 0] = 0
    states[words == _FREE_WORD] = 1
    states[words == _OCCUPIED_WORD] = 2
    return states


def _brick_levels(codes: NDArray[np.int64], voxels: NDArray[np.uint16]) -> tuple[list[_Level], NDArray[np.uint16]]:
    """Inner nodes inside bricks (below them), and the state of each brick; voxels (N, 512) in the order of Morton."""
    levels: list[_Level] = []
    states = voxels
    for deeper in (2, 1, 0):  # nodes that are 2, 4 and 8 voxels wide
        words = _words(states.reshape(len(codes), -1, 8))
        states = _states(words)
        inner = np.nonzero(states == _INNER)
        levels.append(((codes[inner[0]] << (3 * deeper)) | inner[1], words[inner]))
    return levels, states[:, 0]


def binary_stream(keys: NDArray[np.int64], occupied: NDArray[np.bool_], free: NDArray[np.bool_]) -> bytes:
    """OctoMap's binary stream of some bricks.

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
    cells = unpack_keys(keys) + (1 << (_BRICK_DEPTH - 1))
    if cells.min() < 0 or cells.max() >= 1 << _BRICK_DEPTH:
        raise InvalidInput("octomap: wanted a map within 32768 voxels of the origin, got one that is larger")
    order = np.argsort(_morton(voxel_offsets()))
    voxels = np.where(occupied, np.uint16(2), np.where(free, np.uint16(1), np.uint16(0)))[:, order]
    codes = _morton(cells)
    inside, states = _brick_levels(codes, voxels)
    levels = {_DEPTH - 1 - i: level for i, level in enumerate(inside)}
    for depth in range(_BRICK_DEPTH - 1, -1, -1):
        parents, place = np.unique(codes >> 3, return_inverse=True)
        words = np.zeros(len(parents), dtype=np.uint16)
        np.bitwise_or.at(words, place.reshape(-1), states << (2 * (codes & 7)).astype(np.uint16))
        codes, states = parents, _states(words)
        inner = (states == _INNER) | (depth == 0)
        levels[depth] = (codes[inner], words[inner])
    # Depth-first with parents first: by the code of the first voxel below, then by depth.
    first = np.concatenate([(code << (3 * (_DEPTH - depth))) << 5 | depth for depth, (code, _) in levels.items()])
    stream = np.concatenate([words for _, words in levels.values()])[np.argsort(first)]
    return stream.astype("<u2").tobytes()


def count_nodes(stream: bytes) -> int:
    """How many nodes a stream tells of, leaves included: the `size` in the header of a .bt file."""
    words = np.frombuffer(stream, dtype="<u2")
    known = (words | (words >> 1)) & 0x5555  # one bit for each child that is not unknown
    bits = np.unpackbits(known.view(np.uint8))
    return int(np.count_nonzero(bits)) + (len(words) > 0)


def bt_file(stream: bytes, voxel_size_m: float) -> bytes:
    """A whole .bt file of a stream."""
    head = f"# Octomap OcTree binary file\nid OcTree\nsize {count_nodes(stream)}\nres {voxel_size_m!r}\ndata\n"
    return head.encode("ascii") + stream
