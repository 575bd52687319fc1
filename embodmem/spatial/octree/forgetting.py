"""What leaves the map: what fades, what lies outside a window, and what makes room for something more useful."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput
from embodmem.geometry import Pose, inverse, transform_points
from embodmem.spatial.octree import checks
from embodmem.spatial.octree.keys import BRICK_EDGE, TICK_NS, unpack_keys
from embodmem.spatial.octree.pool import BrickPool, Slots
from embodmem.types import PinholeCamera

Box = tuple[ArrayLike, ArrayLike]


def decay(pool: BrickPool, slots: Slots, since_ns: int, now_ns: int, half_life_s: float, least: float) -> int:
    """Halve log-odds for every half-life since a voxel was last seen, or since `since_ns`; returns bricks freed.

    What comes nearer to 0 than `least` is unknown again; a brick of which nothing is left is freed.
    """
    import warp as wp

    from embodmem.spatial.octree import kernels_decay

    rule = kernels_decay.Decay()
    rule.now = pool.tick_of(now_ns)
    rule.done = since_ns // TICK_NS - (pool.base or 0)
    rule.half_life, rule.least, rule.occupied = half_life_s * 1e9 / TICK_NS, least, pool.struct.occupied
    left = wp.empty(len(slots), dtype=wp.int32, device=pool.launcher.device)
    inputs = [pool.struct, rule, pool.on_device(slots, np.int32), left]
    pool.launcher.share(kernels_decay.decay_bricks, len(slots), 1, inputs)
    known = left.numpy()
    pool.shed(slots)
    pool.collapse(slots)
    gone = slots[known == 0]
    if len(gone):
        pool.free(gone)
    return len(gone)


def select(
    pool: BrickPool,
    voxel_size_m: float,
    keep: Sequence[Box] = (),
    view: tuple[ArrayLike, PinholeCamera, float] | None = None,
) -> Slots:
    """Slots of the observed bricks that touch none of the boxes and, where a view is given, lie in it.

    Args:
        pool: The bricks.
        voxel_size_m: Edge of a voxel.
        keep: Boxes (lower (3,), upper (3,)) in the world, metres.
        view: T_world_camera, camera, and how far it sees, metres; the ball around a brick must reach into it.

    Raises:
        InvalidInput: A box or the range is none.
        PoseError: The pose is none.
    """
    slots = pool.observed()
    edge_m = voxel_size_m * BRICK_EDGE
    lower = unpack_keys(pool.host("keys")[slots]) * edge_m
    chosen = np.ones(len(slots), dtype=bool)
    for low, high in (checks.check_box(*box) for box in keep):
        chosen &= ~((lower <= high) & (lower + edge_m >= low)).all(axis=1)
    if view is not None:
        T, camera, reach_m = view
        pose = checks.check_sensor_pose(T, "T_world_camera", voxel_size_m)
        reach = checks.check_range(reach_m, voxel_size_m)
        chosen &= _in_view(np.asarray(lower + edge_m / 2), edge_m * math.sqrt(3) / 2, pose, camera, reach)
    return slots[chosen]


def _in_view(
    centres: NDArray[np.float64], radius_m: float, T_world_camera: Pose, camera: PinholeCamera, reach_m: float
) -> NDArray[np.bool_]:
    """Whether balls around centres (N, 3) reach into the pyramid of a camera."""
    p = transform_points(inverse(T_world_camera), centres)
    inside: NDArray[np.bool_] = (p[:, 2] > -radius_m) & (p[:, 2] < reach_m + radius_m)
    for axis, first, last, focal in (
        (0, -0.5 - camera.cx, camera.width - 0.5 - camera.cx, camera.fx),
        (1, -0.5 - camera.cy, camera.height - 0.5 - camera.cy, camera.fy),
    ):
        for slope, sign in ((first / focal, 1.0), (last / focal, -1.0)):
            distance = sign * (p[:, axis] - slope * p[:, 2]) / np.hypot(1.0, slope)
            inside &= distance > -radius_m
    return inside


def least_useful(
    pool: BrickPool,
    voxel_size_m: float,
    high: NDArray[np.float32],
    here: ArrayLike,
    now_ns: int,
    count: int,
    spare_m: float,
) -> Slots:
    """The observed bricks that are worth least at a place: far away, long not seen, without a surface.

    Ten metres of distance weigh as much as a minute of age, and as much as holding a surface. As many are taken as
    have `count` blocks, none of them nearer than `spare_m`.
    """
    if count < 0:
        raise InvalidInput(f"count: wanted bricks >= 0, got {count}")
    slots = pool.observed()
    middle = (unpack_keys(pool.host("keys")[slots]) + 0.5) * (voxel_size_m * BRICK_EDGE)
    distance = np.linalg.norm(middle - np.asarray(here, dtype=np.float64), axis=1)
    far = distance >= spare_m
    slots, distance = slots[far], distance[far] / 10.0
    age = np.maximum(now_ns - pool.host("last_seen")[slots], 0) / 60e9
    with np.errstate(invalid="ignore"):
        worth = (high[slots] > pool.struct.occupied) - distance - age
    slots = slots[np.argsort(worth, kind="stable")]
    blocks = np.cumsum(pool.host("block")[slots] >= 0)
    taken: Slots = slots[: int(np.searchsorted(blocks, count)) + 1] if count else slots[:0]
    return taken
