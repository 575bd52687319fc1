"""What of the map's surface is visible from a pose: rays into the octree, gathered into surface elements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.geometry import Pose, backproject
from embodmem.spatial.leaves import element_edge_m, leaf_keys
from embodmem.types import PinholeCamera

if TYPE_CHECKING:
    from embodmem.spatial.octree import Octree

RAYS = 4096
"""About how many rays look out of a pose."""

_AROUND = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) != (0, 0, 0)])
_AROUND = _AROUND / np.linalg.norm(_AROUND, axis=1, keepdims=True)


class Surface(NamedTuple):
    """Visible surface elements (surfels: place, normal, and a radius of half the diagonal of a leaf).

    Attributes:
        position: (E, 3) mean of what is seen of each, world, metres.
        normal: (E, 3) unit vectors out of the surface, world.
        share: (E,) part of the visible surface, as the camera sees it; they add up to 1.
        element: (P,) element of each key below.
        keys: (P,) leaves (`embodmem.spatial.leaves`) under which the surface of an element may stand.
    """

    position: NDArray[np.float64]
    normal: NDArray[np.float64]
    share: NDArray[np.float64]
    element: NDArray[np.intp]
    keys: NDArray[np.int64]


def pixel_rays(camera: PinholeCamera, count: int) -> NDArray[np.float64]:
    """Directions (N, 3), optical frame with z = 1, of a regular grid of at most about `count` pixels."""
    step = max(1, math.ceil(math.sqrt(camera.width * camera.height / count)))
    rows, cols = np.mgrid[step // 2 : camera.height : step, step // 2 : camera.width : step].reshape(2, -1)
    rays: NDArray[np.float64] = backproject(camera, rows, cols, np.ones(len(rows)))
    return rays


def visible_surface(octree: Octree, T_world_camera: Pose, camera: PinholeCamera, max_range_m: float) -> Surface:
    """The surface that a camera at a pose would see of the map, up to `max_range_m` along its optical axis.

    A ray ends in the first occupied voxel. A mapped surface is a shell of one to three voxels, and the true surface
    runs through the middle of it: so an element stands under the leaf of that middle, and where the front of the
    shell lies in another leaf, under that one as well.
    """
    size = octree.config.voxel_size_m
    rays = pixel_rays(camera, RAYS)
    lengths = np.linalg.norm(rays, axis=1)
    directions = (rays / lengths[:, None]) @ T_world_camera[:3, :3].T
    origins = np.broadcast_to(T_world_camera[:3, 3], directions.shape)
    hits = octree.raycast(origins, directions, max_range_m * float(lengths.max()))
    met = hits.hit & (hits.distance_m <= max_range_m * lengths)
    front, along = hits.position[met] + 1e-3 * size * directions[met], directions[met]
    steps = size * np.arange(0.25, 4.0, 0.5)
    inside = front[:, None] + along[:, None] * steps[:, None]
    shell = (octree.log_odds(inside.reshape(-1, 3)) > octree.config.log_odds_occupied).reshape(len(front), len(steps))
    depth = np.cumprod(shell, axis=1).sum(axis=1) * 0.5 * size
    middle = front + along * (0.5 * depth)[:, None]
    edge = element_edge_m(size)
    _, owner, count = np.unique(leaf_keys(middle, edge), return_inverse=True, return_counts=True)
    owner = owner.reshape(-1)
    position, outward = (_mean(values, owner, count) for values in (middle, -along))
    known, name = np.unique(np.concatenate([leaf_keys(p, edge) for p in (front, middle)]), return_inverse=True)
    pairs = np.unique(np.tile(owner, 2) * max(1, len(known)) + name.reshape(-1))
    element, name = np.divmod(pairs, max(1, len(known)))
    share = count / max(1, len(front))
    return Surface(position, surface_normals(octree, position, outward), share, element, known[name])


def _mean(values: NDArray[np.float64], owner: NDArray[np.intp], count: NDArray[np.intp]) -> NDArray[np.float64]:
    sums = np.stack([np.bincount(owner, weights=values[:, i], minlength=len(count)) for i in range(3)], axis=1)
    means: NDArray[np.float64] = sums / count[:, None]
    return means


def surface_normals(octree: Octree, points: NDArray[np.float64], outward: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normals (N, 3) of the surface at points (N, 3): the way from what is solid or unknown to what is free.

    Args:
        octree: The map.
        points: In the shell of a surface, world, metres.
        outward: (N, 3) towards who sees it. The side of a thin wall is the side that is seen, so a normal that points
            away from there is replaced by this direction.
    """
    reach = octree.config.voxel_size_m * np.array([1.5, 3.0])
    offsets = (_AROUND[None] * reach[:, None, None]).reshape(-1, 3)
    around = octree.log_odds((points[:, None] + offsets).reshape(-1, 3)).reshape(len(points), len(offsets))
    free = around <= octree.config.log_odds_occupied  # unknown (NaN) is not free
    gradient = free.astype(np.float64) @ np.tile(_AROUND, (len(reach), 1))
    toward = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
    length = np.linalg.norm(gradient, axis=1)
    usable = (length > 1e-6) & ((gradient * toward).sum(axis=1) > 0)
    normals: NDArray[np.float64] = np.where(usable[:, None], gradient / np.maximum(length, 1e-6)[:, None], toward)
    return normals
