"""What of the map lies in a box or a ball, what is nearest, and what a camera would see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput
from embodmem.geometry import backproject
from embodmem.spatial.octree import checks
from embodmem.spatial.octree.gather import brick_keys, gather
from embodmem.spatial.octree.keys import BRICK_EDGE, BRICK_LIMIT, MAX_DEPTH, pack_keys, unpack_keys, voxel_offsets
from embodmem.types import PinholeCamera

if TYPE_CHECKING:
    from embodmem.spatial.octree.octree import Octree

__all__ = ["Leaves", "NearestVoxels", "in_box", "in_sphere", "nearest_occupied", "visible_bricks"]

BRICK_DEPTH = MAX_DEPTH - 3
_CHUNK = 8192
_MAX_RADIUS_VOXELS = 1 << 15


class Leaves(NamedTuple):
    """Leaves at one depth of the octree that hold something known.

    Attributes:
        nodes: (N, 3) int64 indices; a leaf fills nodes * edge_m .. (nodes + 1) * edge_m of the world.
        edge_m: Edge of a leaf, metres.
        occupied: (N,) bool, whether an occupied voxel is in it; a leaf without one is free as far as it is known.
        has_unknown: (N,) bool, whether a voxel in it was never observed.
    """

    nodes: NDArray[np.int64]
    edge_m: float
    occupied: NDArray[np.bool_]
    has_unknown: NDArray[np.bool_]

    @property
    def centres(self) -> NDArray[np.float64]:
        """(N, 3) in the world, metres."""
        return np.asarray((self.nodes + 0.5) * self.edge_m, dtype=np.float64)


class NearestVoxels(NamedTuple):
    """Occupied voxels nearest to points.

    Attributes:
        found: (N,) bool, whether there is one within the radius.
        distance_m: (N,) float64 to the centre of it; infinite where there is none.
        position: (N, 3) float64 that centre in the world, metres; NaN where there is none.
    """

    found: NDArray[np.bool_]
    distance_m: NDArray[np.float64]
    position: NDArray[np.float64]


def in_box(
    octree: Octree, lower: ArrayLike, upper: ArrayLike, depth: int = MAX_DEPTH, label: int | None = None
) -> Leaves:
    """Leaves at a depth that a box touches. The work is that of the leaves at that depth.

    Args:
        octree: The map.
        lower: (3,) corner in the world, metres; -inf is allowed.
        upper: (3,) corner; inf is allowed. A face of the box that lies on a face of leaves touches only its inside.
        depth: 4 (leaves of 2**20 voxels) .. `MAX_DEPTH` (voxels).
        label: Only leaves with a voxel of this label (`SpatialMemory.label_names.find` gives the number of a text).

    Raises:
        InvalidInput: The corners are no box, or there is no such depth.
    """
    low, high = checks.check_box(lower, upper)
    leaves = _at_depth(octree, low, high, _check_depth(depth))
    inside = (leaves.nodes * leaves.edge_m < high - _sliver(leaves)) & (
        (leaves.nodes + 1) * leaves.edge_m > low + _sliver(leaves)
    )
    return _labelled(octree, _chosen(leaves, np.asarray(inside.all(axis=1))), label, low, high)


def in_sphere(
    octree: Octree, centre: ArrayLike, radius_m: float, depth: int = MAX_DEPTH, label: int | None = None
) -> Leaves:
    """Leaves at a depth that a ball touches; as `in_box`.

    Raises:
        InvalidInput: The centre is no point, the radius is not above 0 and finite, or there is no such depth.
    """
    middle = checks.check_points(np.asarray(centre)[None], "centre")
    if not 0 < radius_m < np.inf:
        raise InvalidInput(f"sphere: wanted a centre (3,) and metres > 0, got {centre!r} and {radius_m!r}")
    low, high = middle[0] - radius_m, middle[0] + radius_m
    leaves = _at_depth(octree, low, high, _check_depth(depth))
    nearest = np.clip(middle, leaves.nodes * leaves.edge_m, (leaves.nodes + 1) * leaves.edge_m)
    return _labelled(octree, _chosen(leaves, ((nearest - middle) ** 2).sum(axis=1) < radius_m**2), label, low, high)


def nearest_occupied(octree: Octree, points: ArrayLike, max_radius_m: float) -> NearestVoxels:
    """The occupied voxel whose centre is nearest to each point, exactly; of equally near ones, any.

    Args:
        octree: The map.
        points: (N, 3) in the world, metres.
        max_radius_m: How far to look; a centre at just this distance counts.

    Raises:
        InvalidInput: The points are none, the radius is not above 0 or more than 32768 voxels, or the map is too
            sparse to be searched: the box around all of its bricks holds more than 2**24 of them.
    """
    import warp as wp

    from embodmem.spatial.octree import kernels_surface

    where = checks.check_points(points, "points")
    size, device, n = octree.config.voxel_size_m, octree._launcher.device, len(where)
    if not 0 < max_radius_m <= _MAX_RADIUS_VOXELS * size:
        raise InvalidInput(f"max_radius_m: wanted metres in 0 .. {_MAX_RADIUS_VOXELS * size:g}, got {max_radius_m!r}")
    checks.check_reach(where, size, "points")
    voxels, distances = wp.empty(n, dtype=wp.vec3i, device=device), wp.empty(n, dtype=wp.float64, device=device)
    with octree._lock:
        clearance = octree._rays.clearance()
        if clearance is None:
            raise InvalidInput("nearest_occupied: wanted a map whose box holds at most 2**24 bricks, got a wider one")
        inputs = [wp.array(where, dtype=wp.vec3d, device=device), wp.float64(size), wp.float64(max_radius_m / size)]
        launcher = octree._launcher
        launcher.share(kernels_surface.find_nearest, n, 1, [clearance, *inputs, voxels, distances], worth=64)
        steps = distances.numpy()
    found = steps >= 0
    centres = (voxels.numpy().reshape(n, 3) + 0.5) * size
    return NearestVoxels(
        found, np.where(found, steps * size, np.inf), np.where(found[:, None], centres, np.nan).reshape(n, 3)
    )


def visible_bricks(
    octree: Octree, camera: PinholeCamera, T_world_camera: ArrayLike, max_range_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bricks whose occupied voxels a camera would see: in its image, in range, and hidden by nothing.

    Rays are cast through a grid of pixels so close that at `max_range_m` a brick is four rays wide.

    Args:
        octree: The map.
        camera: Its intrinsics.
        T_world_camera: (4, 4), optical frame.
        max_range_m: How far it sees, along the ray.

    Returns:
        Keys (N,) int64, those that fill most of the image first, and how many rays ended in each (N,).

    Raises:
        PoseError: The pose is none.
        InvalidInput: The range is not above 0.
    """
    size = octree.config.voxel_size_m
    pose = checks.check_sensor_pose(T_world_camera, "T_world_camera", size)
    reach = checks.check_range(max_range_m, size)
    step = max(1, int(min(camera.fx, camera.fy) * size * BRICK_EDGE / reach / 4))
    rows, cols = np.mgrid[0 : camera.height : step, 0 : camera.width : step].reshape(2, -1)
    directions = backproject(camera, rows, cols, np.ones(len(rows))) @ pose[:3, :3].T
    hits = octree.raycast(np.repeat(pose[None, :3, 3], len(rows), axis=0), directions, reach)
    bricks = hits.voxel[hits.hit].astype(np.int64) >> 3
    keys, counts = np.unique(pack_keys(bricks.reshape(-1, 3)), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return keys[order], counts[order].astype(np.int64)


def _check_depth(depth: int) -> int:
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or not 4 <= depth <= MAX_DEPTH:
        raise InvalidInput(f"depth: wanted 4 .. {MAX_DEPTH} (voxel), got {depth!r}")
    return int(depth)


def _sliver(leaves: Leaves) -> float:
    return 1e-6 * leaves.edge_m


def _chosen(leaves: Leaves, mask: NDArray[np.bool_]) -> Leaves:
    return Leaves(leaves.nodes[mask], leaves.edge_m, leaves.occupied[mask], leaves.has_unknown[mask])


def _labelled(
    octree: Octree, leaves: Leaves, label: int | None, lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> Leaves:
    """Those leaves that hold a voxel with a label; all of them touch the box."""
    if label is None:
        return leaves
    brick_m = BRICK_EDGE * octree.config.voxel_size_m
    reach = max(leaves.edge_m, brick_m)  # a leaf may have its label outside of the box
    with octree._lock:
        slots = octree._pool.observed()
        bricks = unpack_keys(octree._pool.host("keys")[slots])
        near = ((bricks * brick_m < upper + reach) & ((bricks + 1) * brick_m > lower - reach)).all(axis=1)
        words = octree._pool.read_paint(slots[near]).labels
    bearing = np.empty((0, 3), dtype=np.int64)
    if words is not None:
        brick, place = np.nonzero((words & 0xFFFF) == label)
        bearing = bricks[near][brick] * BRICK_EDGE + voxel_offsets()[place]
        bearing = np.unique(bearing // round(leaves.edge_m / octree.config.voxel_size_m), axis=0)
    together = np.unique(np.concatenate([leaves.nodes, bearing]), axis=0, return_inverse=True)[1].reshape(-1)
    n = len(leaves.nodes)
    return _chosen(leaves, np.isin(together[:n], together[n:]))


def _at_depth(octree: Octree, lower: NDArray[np.float64], upper: NDArray[np.float64], depth: int) -> Leaves:
    """Leaves at a depth of bricks or above it, from the level of that depth; below, those of the bricks touched."""
    size = octree.config.voxel_size_m
    if depth <= BRICK_DEPTH:
        level = octree.level(depth)
        return Leaves(level.nodes, level.edge_m, level.high > octree.config.log_odds_occupied, level.has_unknown)
    first, last = (
        np.floor(np.clip(corner / (BRICK_EDGE * size), -BRICK_LIMIT, BRICK_LIMIT)).astype(np.int64)
        for corner in (lower, upper)
    )
    side = BRICK_EDGE >> (MAX_DEPTH - depth)
    parts = []
    with octree._lock:
        keys = brick_keys(octree)
        bricks = unpack_keys(keys)
        keys = keys[((bricks >= first) & (bricks <= last)).all(axis=1)]
        for begin in range(0, len(keys), _CHUNK):
            part = keys[begin : begin + _CHUNK]
            parts.append((np.repeat(unpack_keys(part), side**3, axis=0), *_reduce(octree, part, side)))
    edge_m = size * (1 << (MAX_DEPTH - depth))
    if not parts:
        nothing = np.zeros(0, dtype=bool)
        return Leaves(np.empty((0, 3), dtype=np.int64), edge_m, nothing, nothing)
    cells, place, solid, known, holes = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Leaves((cells * side + place)[known], edge_m, solid[known], holes[known])


def _reduce(octree: Octree, keys: NDArray[np.int64], side: int) -> tuple[NDArray[Any], ...]:
    """Of side**3 nodes in each brick: their place in it (M, 3), whether some voxel is occupied, known, unknown."""
    edge = BRICK_EDGE // side
    values = gather(octree, keys).reshape(len(keys), side, edge, side, edge, side, edge)
    known = ~np.isnan(values)
    axes = (2, 4, 6)
    index = np.arange(side**3)
    place = np.stack([index % side, index // side % side, index // side**2], axis=1)
    solid = (values > octree.config.log_odds_occupied).any(axis=axes).reshape(-1)
    some, whole = (np.asarray(f(axis=axes)).reshape(-1) for f in (known.any, known.all))
    return np.tile(place, (len(keys), 1)), np.asarray(solid), some, ~whole
