"""Integration of lidar points: the host's side of the ray kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SpatialConfig
from embodmem.geometry import Pose
from embodmem.spatial.octree.keys import BRICK_VOXELS
from embodmem.spatial.octree.pool import BrickPool


def integrate_scan(
    config: SpatialConfig, pool: BrickPool, points: NDArray[np.float32], T_world_sensor: Pose, stamp_ns: int
) -> None:
    """Add one scan of checked points (N, 3), sensor frame, metres.

    Each voxel is updated once a scan: as a hit if a point lies in it, else as a miss if a ray passes it (Hornung et
    al., Autonomous Robots 2013, section 5.3). A ray longer than `max_range_m` is cut there and hits nothing; a point
    nearer than `min_range_m` is ignored.
    """
    import warp as wp

    from embodmem.spatial.octree import kernels_rays as kernels

    launcher, device = pool.launcher, pool.launcher.device
    position = T_world_sensor[:3, 3] / config.voxel_size_m
    base = np.floor(position)
    scan = kernels.Scan()
    scan.points = wp.array(np.ascontiguousarray(points), dtype=wp.vec3, device=device)
    scan.R = wp.mat33d(*(T_world_sensor[:3, :3] / config.voxel_size_m).ravel().tolist())
    scan.base = wp.vec3i(*base.astype(np.int64).tolist())
    scan.start = wp.vec3d(*(position - base).tolist())
    scan.near = wp.float64(config.min_range_m / config.voxel_size_m)
    scan.far = wp.float64(config.max_range_m / config.voxel_size_m)
    launcher.run(kernels.claim_rays, len(points), [pool.struct, scan])
    pool.settle()
    marks = wp.zeros((pool.used, BRICK_VOXELS), dtype=wp.uint8, device=device)
    launcher.run(kernels.mark_hits, len(points), [pool.struct, scan, marks])
    launcher.share(kernels.mark_misses, len(points), 1, [pool.struct, scan, marks])
    odds = [config.log_odds_hit, config.log_odds_miss, wp.vec2(config.log_odds_min, config.log_odds_max)]
    launcher.share(kernels.apply_marks, pool.used, 64, [pool.struct, marks, *odds, wp.int64(stamp_ns)])
