"""The maps that `bench_spatial.py` races, each as a function (stamp, frame) -> None over a map of its own.

A peer that is not installed, or wants a GPU where there is none, raises ImportError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from spatial_frames import CAMERA, Frame

from embodmem.config import SpatialConfig
from embodmem.geometry import inverse
from embodmem.spatial.octree import LidarScan, Octree, integrate_scans

Integrate = Callable[[int, Frame], Any]


class Embodmem:
    """This library: free, occupied and unknown space, and when each brick was last seen."""

    def __init__(self, config: SpatialConfig, **options: bool) -> None:
        self.octree, self.options = Octree(config), options

    def __call__(self, stamp: int, frame: Frame) -> None:
        """Add a frame."""
        if frame.depth is not None:
            self.octree.integrate(frame.depth, CAMERA, frame.T_world_sensor, stamp)
        else:
            scan = LidarScan(points=frame.points, T_world_sensor=frame.T_world_sensor, stamp_ns=stamp)
            integrate_scans(self.octree, [scan], **self.options)


class OctoMap:
    """Rays through an octree of pointers, free space included. Points are given to it in the world."""

    def __init__(self, config: SpatialConfig, *, discretize: bool) -> None:
        import pyoctomap

        self.tree, self.discretize = pyoctomap.OcTree(config.voxel_size_m), discretize
        self.max_range_m = config.max_range_m

    def __call__(self, _stamp: int, frame: Frame) -> None:
        """Add a frame."""
        origin = frame.T_world_sensor[:3, 3].copy()
        self.tree.insertPointCloud(frame.world, origin, max_range=self.max_range_m, discretize=self.discretize)

    def known_voxels(self) -> int:
        """Voxels of the finest depth that are free or occupied; a pruned leaf holds many."""
        size = self.tree.getResolution()
        edges = np.fromiter((leaf.getSize() for leaf in self._leaves()), dtype=np.float64)
        return int(np.rint((edges / size) ** 3).sum())

    def _leaves(self) -> Iterator[Any]:
        yield from self.tree.begin_leafs()


def open3d(config: SpatialConfig) -> Integrate:
    """Open3D's voxel block grid: a TSDF near the surface only, no free space."""
    import open3d as o3d

    core = o3d.core
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"),
        (core.float32, core.float32),
        ((1), (1)),
        config.voxel_size_m,
        8,
        config.capacity_bricks,
        core.Device("CPU:0"),
    )
    intrinsic = core.Tensor(np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1.0]]))

    def integrate(_stamp: int, frame: Frame) -> None:
        depth = o3d.t.geometry.Image(core.Tensor(frame.depth))
        extrinsic = core.Tensor(inverse(frame.T_world_sensor))
        blocks = grid.compute_unique_block_coordinates(depth, intrinsic, extrinsic, 1.0, config.max_range_m)
        grid.integrate(blocks, depth, intrinsic, extrinsic, 1.0, config.max_range_m)

    return integrate


def wavemap(config: SpatialConfig, *, lidar: bool) -> Integrate:
    """Wavemap's Python API (library/python of ethz-asl/wavemap); it comes from source, there are no wheels."""
    import pywavemap

    the_map = pywavemap.Map.create(
        {"type": "hashed_chunked_wavelet_octree", "min_cell_width": {"meters": config.voxel_size_m}}
    )
    pipeline = pywavemap.Pipeline(the_map)
    full_turn = {"num_cells": 1800, "min_angle": {"degrees": -180.0}, "max_angle": {"degrees": 180.0}}
    rows = {"num_cells": 64, "min_angle": {"degrees": -24.9}, "max_angle": {"degrees": 2.0}}
    camera = {name: getattr(CAMERA, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    projection = (
        {"type": "spherical_projector", "elevation": rows, "azimuth": full_turn}
        if lidar
        else {"type": "pinhole_camera_projector", **camera}
    )
    pipeline.add_integrator(
        "sensor",
        {
            "projection_model": projection,
            "measurement_model": {
                "type": "continuous_ray",
                "range_sigma": {"meters": config.voxel_size_m / 2},
                "scaling_free": 0.2,
                "scaling_occupied": 0.4,
            },
            "integration_method": {
                "type": "hashed_chunked_wavelet_integrator",
                "min_range": {"meters": config.min_range_m},
                "max_range": {"meters": config.max_range_m},
            },
        },
    )

    def integrate(_stamp: int, frame: Frame) -> None:
        pose = pywavemap.Pose(frame.T_world_sensor)
        if frame.depth is not None:
            pipeline.run_pipeline(["sensor"], pywavemap.PosedImage(pose, pywavemap.Image(frame.depth.T)))
        else:
            cloud = pywavemap.Pointcloud(np.asfortranarray(frame.points.T))
            pipeline.run_pipeline(["sensor"], pywavemap.PosedPointcloud(pose, cloud))

    return integrate


def nvblox(config: SpatialConfig) -> Integrate:
    """nvblox_torch on the GPU: an occupancy layer from depth images, the copy to the GPU included."""
    import torch

    if not torch.cuda.is_available():
        raise ImportError("nvblox wants a CUDA device")
    from nvblox_torch.mapper import Mapper
    from nvblox_torch.mapper_params import MapperParams, ProjectiveIntegratorParams
    from nvblox_torch.projective_integrator_types import ProjectiveIntegratorType
    from nvblox_torch.sensor import Sensor

    integrator = ProjectiveIntegratorParams()
    integrator.projective_integrator_max_integration_distance_m = config.max_range_m
    params = MapperParams()
    params.set_projective_integrator_params(integrator)
    mapper = Mapper(
        voxel_sizes_m=config.voxel_size_m,
        integrator_types=ProjectiveIntegratorType.OCCUPANCY,
        mapper_parameters=params,
    )
    sensor = Sensor.from_camera(
        fu=CAMERA.fx, fv=CAMERA.fy, cu=CAMERA.cx, cv=CAMERA.cy, width=CAMERA.width, height=CAMERA.height
    )

    def integrate(_stamp: int, frame: Frame) -> None:
        depth = torch.from_numpy(frame.depth).cuda()
        mapper.add_depth_frame(depth, torch.from_numpy(frame.T_world_sensor.astype(np.float32)), sensor)
        torch.cuda.synchronize()

    return integrate
