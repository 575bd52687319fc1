"""What a depth image says about the places of objects that were not detected in it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SceneConfig
from embodmem.geometry import inverse, transform_points
from embodmem.spatial.scene.node import ObjectNode
from embodmem.types import Percept

__all__ = ["SEEN_THROUGH", "SURFACE", "UNKNOWN", "look_at_places"]

UNKNOWN = 0
"""Out of view, hidden, or without depth: nothing can be said."""
SURFACE = 1
"""In plain view, and something is there."""
SEEN_THROUGH = 2
"""In plain view, and the image sees what lies behind: nothing is there."""

_CORNERS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
_GRID = np.stack(np.meshgrid(np.linspace(0.25, 0.75, 5), np.linspace(0.25, 0.75, 5)), axis=-1).reshape(-1, 2)


def look_at_places(nodes: Sequence[ObjectNode], percept: Percept, config: SceneConfig) -> NDArray[np.int8]:
    """Compare an image with where objects should be in it.

    Args:
        nodes: M nodes.
        percept: A look with depth.
        config: `max_range_m`.

    Returns:
        (M,) one of UNKNOWN, SURFACE, SEEN_THROUGH.
    """
    result = np.zeros(len(nodes), dtype=np.int8)
    camera, depth = percept.camera, percept.depth
    if camera is None or depth is None or not nodes:
        return result
    lower = np.array([n.lower for n in nodes])
    upper = np.array([n.upper for n in nodes])
    corners = lower[:, None] + _CORNERS * (upper - lower)[:, None]
    T_camera_world = inverse(percept.T_world_sensor)
    corners = transform_points(T_camera_world, corners)
    centre_z = transform_points(T_camera_world, np.array([n.position for n in nodes]))[:, 2]
    near_z = corners[..., 2].min(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = corners[..., :2] / corners[..., 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    samples = low[:, None] + _GRID * (high - low)[:, None]
    limit = np.array([camera.width, camera.height])
    in_view = (near_z > 0.1) & (centre_z <= config.max_range_m)
    in_view &= ((low >= 0) & (high <= limit - 1)).all(axis=1)
    # The middle half of its box in the image, 25 pixels of it, is read and compared.
    at = np.where(in_view[:, None, None], samples, 0.0).astype(np.intp)
    read = depth[at[..., 1], at[..., 0]]
    valid = read > 0
    # Depth noise of structured light grows with the square of depth (Khoshelham and Elberink, Sensors 2012, eq. 11).
    slack = (0.02 + 0.01 * centre_z**2)[:, None]
    enough = in_view & (valid.sum(axis=1) >= 15)
    share = np.maximum(valid.sum(axis=1), 1)
    beyond = (valid & (read > centre_z[:, None] + slack)).sum(axis=1) / share
    before = (valid & (read < near_z[:, None] - slack)).sum(axis=1) / share
    result[enough & (before < 0.5)] = SURFACE
    result[enough & (beyond >= 0.7)] = SEEN_THROUGH
    return result
