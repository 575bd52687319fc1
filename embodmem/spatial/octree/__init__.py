"""The brick octree: a tri-state occupancy map of bounded size, on CPU or GPU."""

from embodmem.spatial.octree.codec import decode_bricks, encode_bricks
from embodmem.spatial.octree.keys import BRICK_VOXELS, FREE, MAX_DEPTH, OCCUPIED, UNKNOWN, pack_keys, unpack_keys
from embodmem.spatial.octree.octree import Bricks, Octree, OctreeStats, RaycastHits

__all__ = [
    "BRICK_VOXELS",
    "FREE",
    "MAX_DEPTH",
    "OCCUPIED",
    "UNKNOWN",
    "Bricks",
    "Octree",
    "OctreeStats",
    "RaycastHits",
    "decode_bricks",
    "encode_bricks",
    "pack_keys",
    "unpack_keys",
]
