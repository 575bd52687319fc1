"""Poses and projection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embodmem.errors import PoseError
from embodmem.geometry import backproject, check_pose, inverse, look_at, pose_from_quat, project, transform_points
from embodmem.types import PinholeCamera

CAMERA = PinholeCamera(width=64, height=48, fx=50.0, fy=60.0, cx=31.5, cy=20.0)
metres = st.floats(-100, 100)
points3 = hnp.arrays(np.float64, 3, elements=metres)
quats = hnp.arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1)
poses = st.builds(pose_from_quat, points3, quats)


def is_rotation(R: np.ndarray) -> bool:
    return bool(np.allclose(R.T @ R, np.eye(3), atol=1e-12) and np.linalg.det(R) > 0)


@settings(deadline=None)
@given(poses, hnp.arrays(np.float64, (3, 3), elements=st.floats(-1, 1)), st.floats(-8, -3.6))
def test_small_errors_of_a_rotation_are_mended(T: np.ndarray, noise: np.ndarray, size: float) -> None:
    off = T.copy()
    off[:3, :3] += noise * 10**size
    got = check_pose(off)
    assert is_rotation(got[:3, :3])
    assert np.abs(got[:3, :3] - off[:3, :3]).max() <= 3 * 10**size + 1e-12
    assert np.array_equal(got[:3, 3], off[:3, 3])
    # The nearest rotation: no other one that is a little away from it is closer.
    for turn in np.eye(3) * 1e-4:
        other = pose_from_quat(np.zeros(3), (*turn, 1.0))[:3, :3] @ got[:3, :3]
        assert np.linalg.norm(other - off[:3, :3]) >= np.linalg.norm(got[:3, :3] - off[:3, :3]) - 1e-12


@settings(deadline=None)
@given(poses, st.sampled_from([0.99, 0.9994, 1.0006, 2.0, 1000.0, 0.0]))
def test_scaled_rotations_are_refused(T: np.ndarray, scale: float) -> None:
    off = T.copy()
    off[:3, :3] *= scale
    with pytest.raises(PoseError, match=r"\|R\^T R - 1\| <= 0.001, got"):
        check_pose(off)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda T: T.__setitem__((0, 1), 2e-3), "is it scaled, or row and column swapped"),
        (lambda T: T.__setitem__((0, 0), -1.0), "mirror image"),
        (lambda T: T.__setitem__((3, 0), 1e-3), "the last row 0 0 0 1"),
        (lambda T: T.__setitem__((3, 3), 2.0), "the last row 0 0 0 1"),
        (lambda T: T.__setitem__((0, 3), np.nan), "finite"),
        (lambda T: T.__setitem__((1, 1), np.inf), "finite"),
    ],
)
def test_what_is_no_pose(change, words: str) -> None:  # type: ignore[no-untyped-def]
    T = np.eye(4)
    change(T)
    with pytest.raises(PoseError, match=words):
        check_pose(T, "T_world_camera")


def test_the_message_names_the_pose() -> None:
    with pytest.raises(PoseError, match="^T_map_odom: wanted"):
        check_pose(None, "T_map_odom")
    for shape in ((3, 4), (16,), (1, 4, 4), (0,)):
        with pytest.raises(PoseError, match=r"wanted shape \(4, 4\)"):
            check_pose(np.zeros(shape))
    transposed = pose_from_quat((1.0, 2.0, 3.0), (0, 0, 0.6, 0.8)).T  # column-major data read as row-major
    with pytest.raises(PoseError, match="last row"):
        check_pose(transposed)


@settings(deadline=None)
@given(poses, poses, hnp.arrays(np.float64, (5, 3), elements=metres))
def test_transforms(T_a_b: np.ndarray, T_b_c: np.ndarray, points: np.ndarray) -> None:
    assert np.allclose(inverse(T_a_b) @ T_a_b, np.eye(4), atol=1e-9)
    chained = transform_points(T_a_b, transform_points(T_b_c, points))
    assert np.allclose(chained, transform_points(T_a_b @ T_b_c, points), atol=1e-8)
    assert np.allclose(transform_points(inverse(T_a_b), transform_points(T_a_b, points)), points, atol=1e-8)
    assert transform_points(T_a_b, points.astype(np.float32)).dtype == np.float32


def test_the_order_of_a_quaternion_is_x_y_z_w() -> None:
    quarter = pose_from_quat((1, 2, 3), (0, 0, np.sqrt(0.5), np.sqrt(0.5)))  # 90 degrees about z
    assert np.allclose(transform_points(quarter, np.array([[1.0, 0.0, 0.0]])), [[1.0, 3.0, 3.0]])
    about_x = pose_from_quat((0, 0, 0), (1, 0, 0, 1))  # not normalised
    assert np.allclose(about_x[:3, :3] @ (0, 1, 0), (0, 0, 1))
    assert np.allclose(pose_from_quat((0, 0, 0), (0, 0, 0, 1)), np.eye(4))


@settings(deadline=None)
@given(quats, st.floats(0.1, 10))
def test_quaternions(quat: np.ndarray, scale: float) -> None:
    R = pose_from_quat(np.zeros(3), quat)[:3, :3]
    assert is_rotation(R)
    assert np.allclose(R, pose_from_quat(np.zeros(3), -scale * quat)[:3, :3])
    axis = quat[:3]
    assert np.allclose(R @ axis, axis, atol=1e-12)  # the axis stays
    w = quat[3] / np.linalg.norm(quat)
    assert np.trace(R) == pytest.approx(4 * w * w - 1, abs=1e-12)


@pytest.mark.parametrize("quat", [(0, 0, 0, 0), (np.nan, 0, 0, 1), (0, 0, 1), (np.inf, 0, 0, 1)])
def test_what_is_no_quaternion(quat: tuple[float, ...]) -> None:
    with pytest.raises(PoseError, match="wanted a quaternion"):
        pose_from_quat((0, 0, 0), quat)


pixels = st.tuples(st.floats(-500, 500), st.floats(-500, 500), st.floats(0.01, 100))


@settings(deadline=None)
@given(st.lists(pixels, min_size=1, max_size=20))
def test_projecting_undoes_backprojecting(rows_cols_depth: list[tuple[float, float, float]]) -> None:
    rows, cols, depth = np.array(rows_cols_depth).T
    at, z = project(CAMERA, backproject(CAMERA, rows, cols, depth))
    assert np.allclose(at[:, 0], cols, atol=1e-8) and np.allclose(at[:, 1], rows, atol=1e-8)
    assert np.array_equal(z, depth)


def test_projection() -> None:
    on_axis = backproject(CAMERA, np.array([20.0]), np.array([31.5]), np.array([2.0]))
    assert np.array_equal(on_axis, [[0.0, 0.0, 2.0]])
    right_and_down = backproject(CAMERA, np.array([26.0]), np.array([36.5]), np.array([2.0], np.float32))
    assert np.allclose(right_and_down, [[0.2, 0.2, 2.0]]) and right_and_down.dtype == np.float32
    at, z = project(CAMERA, np.array([[1.0, 1.0, 0.0], [1.0, 1.0, -2.0], [0.0, 0.0, 1.0]]))
    assert np.isnan(at[:2]).all() and np.array_equal(at[2], [31.5, 20.0])
    assert z.tolist() == [0.0, -2.0, 1.0]


@settings(deadline=None)
@given(points3, points3)
def test_looking_at_a_point_puts_it_on_the_axis(eye: np.ndarray, target: np.ndarray) -> None:
    if np.linalg.norm(target - eye) < 1e-3:
        return
    T = look_at(eye, target)
    assert is_rotation(T[:3, :3]) and np.array_equal(T[:3, 3], eye)
    seen = transform_points(inverse(T), target[None])[0]
    assert np.allclose(seen, (0, 0, np.linalg.norm(target - eye)), atol=1e-9 * (1 + np.abs(eye).max() * 10))
    if np.linalg.norm((target - eye)[:2]) > 0.1 * np.linalg.norm(target - eye):
        assert abs(T[2, 0]) < 1e-9 and T[2, 1] < 0  # upright: x level, y down
