"""What comes into the octree from outside, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import LONGEST_VOXELS
from embodmem.errors import DepthError, InvalidInput, PoseError
from embodmem.geometry import Pose, check_pose
from embodmem.spatial.octree.keys import BRICK_EDGE, BRICK_LIMIT, BRICK_VOXELS, MAX_DEPTH
from embodmem.types import PinholeCamera


def check_depth(depth: NDArray[Any], camera: PinholeCamera) -> NDArray[np.float32]:
    """A depth image (H, W) float32 in metres of the camera's size; its values are checked while they are reduced.

    Raises:
        DepthError: Another type, dtype or size.
    """
    if not isinstance(depth, np.ndarray) or depth.dtype != np.float32:
        raise DepthError(f"depth: wanted an array of float32 metres, got {getattr(depth, 'dtype', type(depth))}")
    if depth.shape != camera.shape:
        raise DepthError(f"depth: wanted the camera's size {camera.shape} (H, W), got {depth.shape}")
    return depth


def check_points(points: ArrayLike, name: str, dtype: Any = np.float64) -> NDArray[Any]:
    """Finite points (N, 3).

    Raises:
        InvalidInput: Another shape, or NaN or infinity.
    """
    try:
        array = np.ascontiguousarray(points, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name}: wanted numbers (N, 3), got {points!r}") from error
    if array.ndim != 2 or array.shape[1] != 3:
        raise InvalidInput(f"{name}: wanted shape (N, 3), got {array.shape}")
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array).all(axis=1)))
        raise InvalidInput(f"{name}: wanted finite numbers, got {bad} rows with NaN or infinity")
    return array


def check_directions(directions: ArrayLike, count: int) -> NDArray[np.float64]:
    """Directions (N, 3) made unit vectors.

    Raises:
        InvalidInput: Another shape, another number than origins, NaN, or a direction of length zero.
    """
    array = check_points(directions, "directions")
    if len(array) != count:
        raise InvalidInput(f"directions: wanted one for each of {count} origins, got {len(array)}")
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    if not (norms > 1e-12).all():
        raise InvalidInput(f"directions: wanted vectors other than zero, got {int((norms <= 1e-12).sum())} of zero")
    unit: NDArray[np.float64] = array / norms
    return unit


def reach_limit(voxel_size_m: float) -> float:
    """How far from the origin of the world a view may begin so that it stays within the numbers of a key, metres."""
    return voxel_size_m * (BRICK_LIMIT * BRICK_EDGE - 2 * LONGEST_VOXELS)


def check_reach(positions: NDArray[np.float64], voxel_size_m: float, name: str) -> None:
    """Refuse positions (..., 3) from which a view could leave the numbers of a key.

    Raises:
        InvalidInput: A position is too far from the origin of the world.
    """
    limit = reach_limit(voxel_size_m)
    farthest = float(np.abs(positions).max()) if positions.size else 0.0
    if farthest > limit:
        raise InvalidInput(
            f"{name}: wanted coordinates within +-{limit:.0f} m (a map of {voxel_size_m} m voxels ends there), "
            f"got {farthest:.6g} m"
        )


def check_sensor_pose(T: ArrayLike | None, name: str, voxel_size_m: float) -> Pose:
    """A pose (4, 4) inside the map.

    Raises:
        PoseError: It is no pose, or too far from the origin of the world.
    """
    pose = check_pose(T, name)
    try:
        check_reach(pose[:3, 3], voxel_size_m, name)
    except InvalidInput as error:
        raise PoseError(str(error)) from error
    return pose


def check_range(max_range_m: float, voxel_size_m: float) -> float:
    """A length of rays in metres.

    Raises:
        InvalidInput: Not above zero, or longer than 2**20 voxels.
    """
    longest = voxel_size_m * (1 << 20)
    if not 0 < max_range_m <= longest:
        raise InvalidInput(f"max_range_m: wanted metres in 0 .. {longest:.0f}, got {max_range_m!r}")
    return float(max_range_m)


def check_box(lower: ArrayLike, upper: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (3,) of a box; infinity is allowed.

    Raises:
        InvalidInput: Another shape, NaN, or upper below lower.
    """
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    if low.shape != (3,) or high.shape != (3,) or not (low <= high).all():
        raise InvalidInput(f"box: wanted lower (3,) <= upper (3,) in metres, got {lower!r} and {upper!r}")
    return low, high


def check_depth_of_tree(depth: int) -> int:
    """A depth of the octree.

    Raises:
        InvalidInput: It is none.
    """
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or not 0 <= depth <= MAX_DEPTH:
        raise InvalidInput(f"depth: wanted 0 (root) .. {MAX_DEPTH} (voxel), got {depth!r}")
    return int(depth)


def check_bricks(keys: Any, values: Any, last_seen_ns: Any, ages: Any) -> None:
    """The four arrays of a set of bricks.

    Raises:
        InvalidInput: A shape or dtype is another, a key comes twice or is negative, a value is infinite, or a stamp
            is negative.
    """
    keys, values, stamps, ages = (np.asarray(array) for array in (keys, values, last_seen_ns, ages))
    n = len(keys) if keys.ndim == 1 else -1
    cells = (n, BRICK_VOXELS)
    wanted = (((n,), np.int64), (cells, np.float32), ((n,), np.int64), (cells, np.uint16))
    got = tuple((array.shape, array.dtype) for array in (keys, values, stamps, ages))
    if got != wanted:
        raise InvalidInput(
            f"bricks: wanted keys (N,) int64, values (N, {BRICK_VOXELS}) float32, last_seen_ns (N,) int64, "
            f"ages (N, {BRICK_VOXELS}) uint32, got " + ", ".join(f"{shape} {dtype}" for shape, dtype in got)
        )
    if n and (keys.min() < 0 or stamps.min() < 0 or len(np.unique(keys)) != n):
        raise InvalidInput("bricks: wanted distinct keys >= 0 and stamps >= 0, got others")
    if np.isinf(values).any():
        raise InvalidInput("bricks: wanted finite log-odds or NaN for unknown, got infinity")


def check_paint(words: Any, shape: tuple[int, ...]) -> NDArray[np.uint32] | None:
    """Colours or labels (N, 512) of a set of bricks; None where there are none: None, or an array (N, 0).

    Raises:
        InvalidInput: The shape or dtype is another.
    """
    if words is None or np.shape(words) == (shape[0], 0):
        return None
    array = np.asarray(words)
    if array.shape != shape or array.dtype != np.uint32:
        raise InvalidInput(f"bricks: wanted colours and labels {shape} uint32, got {array.shape} {array.dtype}")
    return array
