"""Which voxels of the house hold something, from MuJoCo's geoms."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def voxels_held(model: Any, data: Any, lower: Array, shape: Array, size: float, slack_m: float) -> Array:
    """(shape) bool: whether the cube of a voxel, grown by slack_m, shares a point with a geom that the camera sees.

    Boxes and cylinders exactly (all stand upright in the house), ellipsoids on a 9x9x9 grid in each voxel.
    """
    held = np.zeros(shape, bool)
    for geom in np.flatnonzero(model.geom_group != 2):  # group 2 is the robot
        kind, s = model.geom_type[geom], model.geom_size[geom]
        centre, turn = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
        extent = {6: np.abs(turn) @ s, 5: s[[0, 0, 1]], 4: np.sqrt(turn**2 @ s**2)}[int(kind)]
        first = np.maximum(np.floor((centre - extent - 2 * slack_m) / size).astype(int), lower)
        last = np.minimum(np.floor((centre + extent + 2 * slack_m) / size).astype(int) + 1, lower + shape)
        if (last <= first).any():
            continue
        cells = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij"), axis=-1)
        offset = (cells.reshape(-1, 3) + 0.5) * size - centre
        touched = _touches(int(kind), s, turn, offset, size / 2 + slack_m).reshape(cells.shape[:3])
        held[tuple(map(slice, first - lower, last - lower))] |= touched
    return held


def _touches(kind: int, s: Array, turn: Array, offset: Array, half: float) -> Array:
    if kind == 4:
        steps = np.linspace(-half, half, 9)
        inside = np.zeros(len(offset), bool)
        for step in np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3):
            inside |= ((((offset + step) @ turn) / s) ** 2).sum(axis=1) < 1
        return inside
    if not np.isclose(abs(turn[2, 2]), 1):
        raise ValueError(f"wanted upright geoms, got the rotation {turn}")
    if kind == 5:
        beside = np.maximum(np.abs(offset[:, :2]) - half, 0)
        return np.asarray((np.abs(offset[:, 2]) < s[1] + half) & ((beside**2).sum(axis=1) < s[0] ** 2))
    touched = np.abs(offset[:, 2]) < s[2] + half
    axes, reach = turn[:2, :2], s[:2]
    for axis in np.eye(2):  # separating axes: the two of the voxels and the two of the box
        touched &= np.abs(offset[:, :2] @ axis) < half + np.abs(axis @ axes) @ reach
    for k in range(2):
        touched &= np.abs(offset[:, :2] @ axes[:, k]) < reach[k] + half * np.abs(axes[:, k]).sum()
    return np.asarray(touched)
