"""Rigid transforms and pinhole projection on plain arrays. `T_a_b` maps points of frame b into frame a."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import PoseError

if TYPE_CHECKING:
    from embodmem.types import PinholeCamera

Pose = NDArray[np.float64]
"""(4, 4) float64 rigid transform."""

_IDENTITY = np.eye(3)
ROTATION_TOLERANCE = 1e-3
"""Largest |R^T R - 1| entry that is taken for rounding and mended; more is refused."""


def check_pose(T: ArrayLike | None, name: str = "pose") -> Pose:
    """Check a rigid transform and remove rounding from its rotation.

    Args:
        T: (4, 4) array-like.
        name: What to call it in messages.

    Returns:
        (4, 4) float64 whose rotation is orthonormal: the nearest rotation in the Frobenius norm (Higham,
        "Matrix Nearness Problems", 1989, th. 4.1).

    Raises:
        PoseError: It is missing, not (4, 4), not finite, its last row is not 0 0 0 1, its rotation is off by more
            than 1e-3, or it is a mirror image.
    """
    if T is None:
        raise PoseError(f"{name}: wanted a (4, 4) pose, got none")
    pose = np.array(T, dtype=np.float64)
    if pose.shape != (4, 4):
        raise PoseError(f"{name}: wanted shape (4, 4), got {pose.shape}")
    # In plain numbers: a dozen small numpy calls would take ten times as long, and every view pays for it.
    (a, b, c, x), (d, e, f, y), (g, h, i, z), last = pose.tolist()
    if not all(map(math.isfinite, (a, b, c, x, d, e, f, y, g, h, i, z, *last))):
        raise PoseError(f"{name}: wanted finite numbers, got\n{pose}")
    if max(abs(last[0]), abs(last[1]), abs(last[2]), abs(last[3] - 1.0)) > 1e-6:
        raise PoseError(f"{name}: wanted the last row 0 0 0 1, got {pose[3]}")
    lengths = (a * a + d * d + g * g - 1.0, b * b + e * e + h * h - 1.0, c * c + f * f + i * i - 1.0)
    error = max(map(abs, (*lengths, a * b + d * e + g * h, a * c + d * f + g * i, b * c + e * f + h * i)))
    if error > ROTATION_TOLERANCE:
        raise PoseError(
            f"{name}: wanted a rotation with |R^T R - 1| <= {ROTATION_TOLERANCE}, got {error:.2e}; is it scaled, "
            f"or row and column swapped?"
        )
    if a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) < 0:
        raise PoseError(f"{name}: wanted a right-handed rotation, got a mirror image (det = -1)")
    while error > 1e-12:  # Newton-Schulz steps, ten times as fast as a decomposition for what is nearly a rotation
        rotation = pose[:3, :3]
        pose[:3, :3] = rotation @ (1.5 * _IDENTITY - 0.5 * (rotation.T @ rotation))
        error = 3.0 * error * error
    pose[3] = (0.0, 0.0, 0.0, 1.0)
    return pose


def inverse(T_a_b: Pose) -> Pose:
    """T_b_a of a rigid transform (4, 4)."""
    result = np.eye(4)
    result[:3, :3] = T_a_b[:3, :3].T
    result[:3, 3] = -T_a_b[:3, :3].T @ T_a_b[:3, 3]
    return result


def transform_points(T_a_b: Pose, points_b: NDArray[Any]) -> NDArray[Any]:
    """Map points (..., 3) of frame b into frame a, in the dtype of the points."""
    rotation = T_a_b[:3, :3].astype(points_b.dtype)
    moved: NDArray[Any] = points_b @ rotation.T + T_a_b[:3, 3].astype(points_b.dtype)
    return moved


def pose_from_quat(position: ArrayLike, quat_xyzw: ArrayLike) -> Pose:
    """Pose (4, 4) from a position (3,) in metres and a quaternion (4,) in the order x, y, z, w.

    Raises:
        PoseError: The quaternion is all zeros or not finite.
    """
    quat = np.asarray(quat_xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(quat))
    if quat.shape != (4,) or not np.isfinite(norm) or norm < 1e-6:
        raise PoseError(f"quat_xyzw: wanted a quaternion (4,) other than zero, got {quat_xyzw!r}")
    x, y, z, w = quat / norm
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = np.asarray(position, dtype=np.float64)
    return check_pose(pose)


def look_at(eye: ArrayLike, target: ArrayLike) -> Pose:
    """T_world_camera (4, 4) of an upright camera (world z up) at `eye` (3,) that looks at `target` (3,), metres."""
    position = np.asarray(eye, dtype=np.float64)
    forward = np.asarray(target, dtype=np.float64) - position
    forward /= np.linalg.norm(forward)
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.999 else np.array([0.0, 1.0, 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = position
    return pose


def backproject(camera: PinholeCamera, rows: NDArray[Any], cols: NDArray[Any], depth: NDArray[Any]) -> NDArray[Any]:
    """Pixels with depth to points of the optical frame.

    Args:
        camera: The intrinsics.
        rows: (N,) pixel rows.
        cols: (N,) pixel columns.
        depth: (N,) metres along +z.

    Returns:
        (N, 3) points in metres, in the dtype of `depth`.
    """
    points = np.empty((len(depth), 3), dtype=depth.dtype)
    points[:, 0] = (cols - camera.cx) * depth / camera.fx
    points[:, 1] = (rows - camera.cy) * depth / camera.fy
    points[:, 2] = depth
    return points


def project(camera: PinholeCamera, points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Points (N, 3) of the optical frame to pixels (N, 2) as x, y and depth (N,); pixels are NaN where depth <= 0."""
    depth = points[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        inv = np.where(depth > 0, 1.0 / depth, np.nan)
    pixels = np.stack([points[:, 0] * inv * camera.fx + camera.cx, points[:, 1] * inv * camera.fy + camera.cy], axis=-1)
    return pixels, depth
