"""The brick octree: a tri-state occupancy map of bounded size, on CPU or GPU."""

from embodmem.spatial.octree.brick_map import Bricks, Changes
from embodmem.spatial.octree.codec import decode_bricks, encode_bricks
from embodmem.spatial.octree.keys import (
    BRICK_VOXELS,
    FREE,
    MAX_DEPTH,
    OCCUPIED,
    TICK_NS,
    UNKNOWN,
    pack_keys,
    unpack_keys,
)
from embodmem.spatial.octree.levels import Level
from embodmem.spatial.octree.octree import Octree, OctreeStats, RaycastHits
from embodmem.spatial.octree.paint import VoxelColours, VoxelLabels, mark_points
from embodmem.spatial.octree.scan import LidarScan, integrate_scans

__all__ = [
    "BRICK_VOXELS",
    "FREE",
    "MAX_DEPTH",
    "OCCUPIED",
    "TICK_NS",
    "UNKNOWN",
    "Bricks",
    "Changes",
    "Level",
    "LidarScan",
    "Octree",
    "OctreeStats",
    "RaycastHits",
    "VoxelColours",
    "VoxelLabels",
    "decode_bricks",
    "encode_bricks",
    "integrate_scans",
    "mark_points",
    "pack_keys",
    "unpack_keys",
]
