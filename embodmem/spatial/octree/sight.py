"""Which voxels a depth image does not show to be empty: surface passes through them between its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.geometry import Pose
from embodmem.types import PinholeCamera

if TYPE_CHECKING:
    from embodmem.spatial.octree.octree import Octree

REACH = 4.0
"""How far a surface may go on unseen behind an edge in the image, in voxels."""


class Look(NamedTuple):
    """A depth image.

    Attributes:
        depth: (H, W) float32 metres along the optical axis, 0 = no return.
        camera: Its intrinsics.
        T_world_camera: (4, 4), optical frame.
    """

    depth: NDArray[np.float32]
    camera: PinholeCamera
    T_world_camera: Pose


def touched(octree: Octree, look: Look, centres: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which voxels (N,), given by their centres (N, 3) in the world, an image tells of surface in, or shows in part.

    A surface seen at a low angle passes through voxels that no pixel falls into. It touches a voxel

    - where three pixels side by side lie on a line within half a voxel, and that line, a pixel longer at both ends,
      meets the voxel;
    - where the way from a pixel to the next meets it, up to `REACH` voxels from the nearer of the two: farther on, what
      lies between them is rather the gap between a thing and what is behind it.
    """
    import warp as wp

    from embodmem.spatial.octree import kernels_sight

    if not len(centres):
        return np.zeros(0, dtype=bool)
    size, camera, T, device = octree.config.voxel_size_m, look.camera, look.T_world_camera, octree._launcher.device
    sight = kernels_sight.Sight()
    sight.fx, sight.fy, sight.cx, sight.cy = camera.fx, camera.fy, camera.cx, camera.cy
    sight.R = wp.mat33(*T[:3, :3].ravel().tolist())
    sight.size_m, sight.near_m, sight.reach_m = size, octree.config.min_range_m, REACH * size
    lows = (centres - size / 2 - T[:3, 3]).astype(np.float32)
    depth = wp.array(np.ascontiguousarray(look.depth, dtype=np.float32), dtype=wp.float32, device=device, copy=False)
    found = wp.empty(len(lows), dtype=wp.uint8, device=device)
    inputs = [sight, depth, wp.array(lows, dtype=wp.vec3, device=device), found]
    octree._launcher.share(kernels_sight.find_touched, len(lows), 1, inputs, worth=64)
    return np.asarray(found.numpy() > 0)
