"""Colours and labels of voxels as plain Python: what the kernels are held against, to the bit."""

import numpy as np

from embodmem.config import SpatialConfig
from embodmem.geometry import backproject, transform_points
from embodmem.spatial.octree import unpack_keys
from embodmem.spatial.octree.depth import NUDGE, spacing_px

PAINTED = SpatialConfig(voxel_size_m=0.1, budget_mib=14.0, colour=True, labels=True)


class Reference:
    """What voxels bear: {voxel: [r, g, b, views]} and {voxel: [label, margin, votes]}."""

    def __init__(self):
        self.colours, self.labels = {}, {}

    def see(self, points, rgb, labels, is_occupied, size):
        """One view of points (N, 3) of the world; `is_occupied(voxel)` as it is after the view."""
        groups = {}
        for i, voxel in enumerate(map(tuple, np.floor(points / size).astype(int).tolist())):
            groups.setdefault(voxel, []).append(i)
        for voxel, members in groups.items():
            if not is_occupied(voxel):
                continue
            if rgb is not None:
                *mean, views = self.colours.get(voxel, [0, 0, 0, 0])
                views, count = min(views, 15), len(members)
                total = rgb[members].astype(int).sum(axis=0).tolist()
                whole = count * (views + 1)
                mean = [(m * views * count + t + whole // 2) // whole for m, t in zip(mean, total, strict=True)]
                self.colours[voxel] = [*mean, views + 1]
            names = [int(labels[i]) for i in members if labels[i] > 0] if labels is not None else []
            if names:
                self.labels[voxel] = vote(
                    self.labels.get(voxel, [0, 0, 0]), min(names, key=lambda n: (-names.count(n), n))
                )

    def shed(self, is_occupied):
        """What is not occupied bears nothing."""
        for table in (self.colours, self.labels):
            for voxel in [v for v in table if not is_occupied(v)]:
                del table[voxel]


def vote(state, name):
    """Boyer and Moore's majority vote; votes are halved at 64."""
    label, margin, votes = state
    if votes == 64 and not (margin == 64 and name == label):
        votes, margin = 32, margin // 2
    votes = min(votes + 1, 64)
    if label == name:
        return [label, min(margin + 1, 64), votes]
    return [name, 1, votes] if margin == 0 else [label, margin - 1, votes]


def painted(octree):
    """The same two tables of a map."""
    bricks = octree.bricks()
    brick, place = np.nonzero(bricks.colours | bricks.labels)
    voxels = unpack_keys(bricks.keys)[brick] * 8 + np.stack([place % 8, place // 8 % 8, place // 64], axis=1)
    colours, labels = {}, {}
    for voxel, c, n in zip(
        map(tuple, voxels.tolist()),
        bricks.colours[brick, place].tolist(),
        bricks.labels[brick, place].tolist(),
        strict=True,
    ):
        if c:
            colours[voxel] = [c & 255, c >> 8 & 255, c >> 16 & 255, c >> 24]
        if n:
            labels[voxel] = [n & 65535, n >> 16 & 255, n >> 24]
    return colours, labels


def occupied_in(octree):
    """`is_occupied(voxel)` of a map as it is now."""
    size = octree.config.voxel_size_m
    centres, _ = octree.occupied()
    there = set(map(tuple, np.floor(centres.astype(np.float64) / size).astype(int).tolist()))
    return lambda voxel: voxel in there


def marking_points(depth, camera, T_world_camera, config):
    """Points (N, 3) of the pixels that mark voxels, and their places (N,) in the flat image."""
    every = spacing_px(camera, config)
    rows, cols = np.mgrid[every // 2 : camera.height : every, every // 2 : camera.width : every].reshape(2, -1)
    d = depth[rows, cols].astype(np.float64)
    good = (d >= config.min_range_m) & (d <= config.max_range_m)
    rows, cols, d = rows[good], cols[good], d[good] + NUDGE * config.voxel_size_m
    return transform_points(T_world_camera, backproject(camera, rows, cols, d)), rows * camera.width + cols
