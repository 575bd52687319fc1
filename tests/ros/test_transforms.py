"""Frames in time: chains, interpolation against a motion known exactly, history, and what cannot be answered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodmem.errors import InvalidInput, PoseError
from embodmem.geometry import inverse, pose_from_quat
from embodmem_ros import TransformError, TransformTree
from embodmem_ros.bag_messages import make_message
from embodmem_ros.messages import transform, transforms
from embodmem_ros.transforms import interpolate, quat_from_pose

number = st.floats(-1, 1, allow_nan=False, width=32)
quats = st.tuples(number, number, number, number).filter(lambda q: np.linalg.norm(q) > 0.1)
places = st.tuples(*[st.floats(-50, 50, width=32)] * 3)
poses = st.builds(pose_from_quat, places, quats)
S = 1_000_000_000


def turned(axis: np.ndarray, angle: float, place: np.ndarray) -> np.ndarray:
    return pose_from_quat(place, (*(axis * np.sin(angle / 2)), np.cos(angle / 2)))


@given(poses)
def test_quaternion_gives_the_rotation_back(T: np.ndarray) -> None:
    quat = quat_from_pose(T)
    assert abs(np.linalg.norm(quat) - 1) < 1e-12 and quat[3] >= 0
    np.testing.assert_allclose(pose_from_quat(T[:3, 3], quat), T, atol=1e-12)


@given(quats, places, places, st.floats(0.01, 3.1), st.floats(0, 1))
def test_interpolation_is_a_steady_motion(
    q: tuple[float, ...], start: tuple[float, ...], speed: tuple[float, ...], angle: float, part: float
) -> None:
    axis = np.array(q[:3]) + (1e-3, 0, 0)
    axis /= np.linalg.norm(axis)
    at = [turned(axis, angle * t, np.array(start) + np.array(speed) * t) for t in (0.0, 1.0, part)]
    np.testing.assert_allclose(interpolate(at[0], at[1], part), at[2], atol=1e-6)


@given(poses, poses, poses, poses)
def test_lookup_goes_up_and_down_the_tree(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> None:
    tree = TransformTree()
    tree.add("map", "odom", a, 5)
    tree.add("odom", "base_link", b, 5)
    tree.add("base_link", "camera", c, 0, static=True)
    tree.add("map", "dock", d, 0, static=True)
    np.testing.assert_allclose(tree.lookup("map", "camera", 5), a @ b @ c, atol=1e-9)
    np.testing.assert_allclose(tree.lookup("dock", "camera", 5), inverse(d) @ a @ b @ c, atol=1e-9)
    np.testing.assert_allclose(tree.lookup("camera", "map", 5), inverse(a @ b @ c), atol=1e-9)
    np.testing.assert_array_equal(tree.lookup("camera", "camera", 99), np.eye(4))


def test_lookup_is_at_the_stamp_and_never_the_latest() -> None:
    tree = TransformTree()
    for second in (2, 0, 1):  # messages may come in any order
        tree.add("odom", "base_link", turned(np.array([0.0, 0, 1]), 0.5 * second, np.array([second, 0, 0])), second * S)
    half = tree.lookup("odom", "base_link", S // 2)
    np.testing.assert_allclose(half[:3, 3], (0.5, 0, 0))
    np.testing.assert_allclose(np.arctan2(half[1, 0], half[0, 0]), 0.25)
    with pytest.raises(TransformError, match=r"'base_link' in 'odom' is known from 0 to 2000000000 ns") as later:
        tree.lookup("odom", "base_link", 2 * S + 1)
    assert later.value.may_come


def test_history_is_bounded() -> None:
    tree = TransformTree(history_s=3.0, max_samples=20)
    for i in range(100):
        tree.add("odom", "base_link", np.eye(4), i * S // 10)
    assert tree.span_ns("base_link") == (8 * S, 99 * S // 10)  # 20 samples: the tighter bound
    with pytest.raises(TransformError) as gone:
        tree.lookup("odom", "base_link", S)
    assert not gone.value.may_come


def test_unconnected_frames_and_circles_are_named() -> None:
    tree = TransformTree()
    tree.add("map", "odom", np.eye(4), 0)
    tree.add("robot2/odom", "robot2/base_link", np.eye(4), 0)
    with pytest.raises(TransformError, match="'map' and 'robot2/base_link' are not connected; frames: map, odom, robo"):
        tree.lookup("map", "robot2/base_link", 0)
    tree.add("odom", "map", np.eye(4), 0)
    with pytest.raises(TransformError, match="circle: odom in map in odom"):
        tree.lookup("map", "odom", 0)


def test_another_parent_takes_the_frame_along_and_odometry_stands_back() -> None:
    tree = TransformTree()
    shifted = np.eye(4)
    shifted[0, 3] = 3.0
    tree.add("odom", "base_link", np.eye(4), 0, source="odometry")
    tree.add("odom", "base_link", shifted, 0)
    tree.add("odom", "base_link", np.eye(4), 0, source="odometry")
    assert tree.lookup("odom", "base_link", 0)[0, 3] == 3.0
    tree.add("map", "base_link", np.eye(4), 0)
    assert tree.roots() == {"map"}


def test_bad_transforms_are_refused() -> None:
    tree = TransformTree()
    with pytest.raises(InvalidInput, match="wanted two different frames, got 'a' and 'a'"):
        tree.add("a", "/a", np.eye(4), 0)
    message = make_message("tf2_msgs/msg/TFMessage", transforms(transform("a", "b", np.eye(4), 7)))
    message.transforms[0].transform.rotation.w = 0.0
    with pytest.raises(PoseError, match="quaternion"):
        tree.add_message(message)
    message.transforms[0].transform.rotation.w = 1.0
    tree.add_message(message)
    assert tree.span_ns("b") == (7, 7)
