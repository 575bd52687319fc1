"""A tree of coordinate frames in time, as /tf and /tf_static tell of it (REP 105: map, odom, base_link, sensors)."""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.datasets.ros_messages import pose_from_pose, pose_from_transform, stamp_to_ns
from embodmem.errors import InvalidInput
from embodmem.geometry import Pose, check_pose, inverse, pose_from_quat

_S = 1_000_000_000


class TransformError(InvalidInput):
    """There is no transform between two frames at a time.

    Attributes:
        may_come: Whether a later message can still bring it: the newest sample is older than the time asked for, or
            the frames are not connected yet. False when the time has fallen out of the history.
    """

    def __init__(self, message: str, may_come: bool) -> None:
        super().__init__(message)
        self.may_come = may_come


def quat_from_pose(T: Pose) -> NDArray[np.float64]:
    """(4,) quaternion x, y, z, w with w >= 0 of the rotation of a pose (4, 4) (Shepperd, J. Guidance 1978)."""
    m = T[:3, :3]
    trace = m[0, 0] + m[1, 1] + m[2, 2]
    # Four times the products of the quaternion's parts; the row with the largest diagonal entry is the best to divide.
    table = np.array(
        [
            [1 + 2 * m[0, 0] - trace, m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], 1 + 2 * m[1, 1] - trace, m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 1 + 2 * m[2, 2] - trace, m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], 1 + trace],
        ]
    )
    quat: NDArray[np.float64] = table[int(np.argmax(np.diag(table)))]
    quat = quat / np.linalg.norm(quat)
    return -quat if quat[3] < 0 else quat


def interpolate(T_0: Pose, T_1: Pose, part: float) -> Pose:
    """Pose at 0 <= part <= 1 between two: straight for the position, slerp (Shoemake, SIGGRAPH 1985) for the rest."""
    q0, q1 = quat_from_pose(T_0), quat_from_pose(T_1)
    dot = float(q0 @ q1)
    if dot < 0:
        q1, dot = -q1, -dot
    angle = float(np.arccos(min(dot, 1.0)))
    if angle < 1e-9:
        weights = (1 - part, part)
    else:
        weights = (np.sin((1 - part) * angle) / np.sin(angle), np.sin(part * angle) / np.sin(angle))
    position = (1 - part) * T_0[:3, 3] + part * T_1[:3, 3]
    return pose_from_quat(position, weights[0] * q0 + weights[1] * q1)


@dataclass
class _Edge:
    """How one frame sits in its parent over time."""

    parent: str
    static: bool
    source: str
    stamps: list[int] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)


class TransformTree:
    """Frames and how they move; a look-up is at a given time and interpolates. There is no "latest".

    A frame has one parent. A transform with another parent moves the frame there and drops what was known of it.
    Static transforms hold at any time. Look-ups do not extrapolate. Any thread may use it.

    Args:
        history_s: Samples this much older than the newest one of their frame are dropped; None keeps all.
        max_samples: At most so many samples of a frame are kept; the oldest go first.

    Raises:
        InvalidInput: A bound is not above 0.
    """

    def __init__(self, history_s: float | None = 30.0, max_samples: int | None = 100_000) -> None:
        if (history_s is not None and not history_s > 0) or (max_samples is not None and max_samples < 2):
            raise InvalidInput(f"transforms: wanted history_s > 0, max_samples >= 2, got {history_s}, {max_samples}")
        self._history_ns = None if history_s is None else int(history_s * _S)
        self._max_samples = max_samples
        self._edges: dict[str, _Edge] = {}
        self._lock = threading.RLock()

    def add(
        self, parent: str, child: str, T_parent_child: Any, stamp_ns: int, *, static: bool = False, source: str = "tf"
    ) -> None:
        """Note how `child` sits in `parent` at a time.

        Args:
            parent: Name of the parent frame; a leading "/" is dropped.
            child: Name of the child frame.
            T_parent_child: (4, 4) maps points of the child frame into the parent frame.
            stamp_ns: When, ns; of no account for a static one.
            static: Whether it holds at any time.
            source: Who says so; what another source says of a frame that "tf" tells of is left out.

        Raises:
            InvalidInput: A name is empty or both are the same.
            PoseError: The pose is none.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            raise InvalidInput(f"transform: wanted two different frames, got {parent!r} and {child!r}")
        pose = check_pose(T_parent_child, f"T_{parent}_{child}")
        with self._lock:
            edge = self._edges.get(child)
            if edge is not None and edge.source == "tf" and source != "tf":
                return
            if edge is None or edge.parent != parent or edge.source != source or edge.static != static:
                edge = self._edges[child] = _Edge(parent, static, source)
            if static:
                edge.stamps, edge.poses = [0], [pose]
                return
            at = bisect.bisect_left(edge.stamps, stamp_ns)
            if at < len(edge.stamps) and edge.stamps[at] == stamp_ns:
                edge.poses[at] = pose
                return
            edge.stamps.insert(at, stamp_ns)
            edge.poses.insert(at, pose)
            self._trim(edge)

    def _trim(self, edge: _Edge) -> None:
        drop = 0
        if self._history_ns is not None:
            drop = bisect.bisect_left(edge.stamps, edge.stamps[-1] - self._history_ns)
        if self._max_samples is not None:
            drop = max(drop, len(edge.stamps) - self._max_samples)
        if drop:
            del edge.stamps[:drop], edge.poses[:drop]

    def add_message(self, message: Any, *, static: bool = False) -> None:
        """Note all transforms of a tf2_msgs/TFMessage."""
        for item in message.transforms:
            pose = pose_from_transform(item.transform)
            stamp = stamp_to_ns(item.header.stamp)
            self.add(item.header.frame_id, item.child_frame_id, pose, stamp, static=static)

    def add_odometry(self, message: Any) -> None:
        """Note the pose of a nav_msgs/Odometry, which counts where /tf does not tell of its child frame."""
        pose, stamp = pose_from_pose(message.pose.pose), stamp_to_ns(message.header.stamp)
        self.add(message.header.frame_id, message.child_frame_id, pose, stamp, source="odometry")

    def frames(self) -> set[str]:
        """Names of all frames."""
        with self._lock:
            return set(self._edges) | {edge.parent for edge in self._edges.values()}

    def roots(self) -> set[str]:
        """Names of the frames that have no parent."""
        with self._lock:
            return {edge.parent for edge in self._edges.values()} - set(self._edges)

    def span_ns(self, child: str) -> tuple[int, int] | None:
        """First and last stamp known of a frame, ns; None where it is not known or static."""
        with self._lock:
            edge = self._edges.get(child)
            return None if edge is None or edge.static else (edge.stamps[0], edge.stamps[-1])

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose:
        """T_target_source (4, 4) at a time: maps points of frame `source` into frame `target`.

        Raises:
            TransformError: A frame is not known, the two are not connected, or the time lies outside of what is known
                of a frame between them.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._lock:
            up_source, up_target = self._path(source), self._path(target)
            shared = next((frame for frame in up_source if frame in up_target), None)
            if shared is None:
                known = ", ".join(sorted(self.frames())) or "none"
                raise TransformError(f"transform: {target!r} and {source!r} are not connected; frames: {known}", True)
            T_shared_source = self._down(up_source[: up_source.index(shared)], target, source, stamp_ns)
            T_shared_target = self._down(up_target[: up_target.index(shared)], target, source, stamp_ns)
        return inverse(T_shared_target) @ T_shared_source

    def _path(self, frame: str) -> list[str]:
        """The frame and all above it."""
        path = [frame]
        while path[-1] in self._edges:
            parent = self._edges[path[-1]].parent
            if parent in path:
                raise TransformError(f"transform: the frames go in a circle: {' in '.join([*path, parent])}", False)
            path.append(parent)
        return path

    def _down(self, path: list[str], target: str, source: str, stamp_ns: int) -> Pose:
        T = np.eye(4)
        for frame in path:
            T = self._at(frame, target, source, stamp_ns) @ T
        return T

    def _at(self, frame: str, target: str, source: str, stamp_ns: int) -> Pose:
        edge = self._edges[frame]
        if edge.static:
            return edge.poses[0]
        first, last = edge.stamps[0], edge.stamps[-1]
        if not first <= stamp_ns <= last:
            what = f"{frame!r} in {edge.parent!r} is known from {first} to {last} ns"
            raise TransformError(
                f"transform: {source!r} in {target!r} at {stamp_ns} ns: {what}; transforms are not extrapolated",
                stamp_ns > last,
            )
        at = bisect.bisect_left(edge.stamps, stamp_ns)
        if edge.stamps[at] == stamp_ns:
            return edge.poses[at]
        before, after = edge.stamps[at - 1], edge.stamps[at]
        return interpolate(edge.poses[at - 1], edge.poses[at], (stamp_ns - before) / (after - before))
