"""ROS 2 messages to arrays and to the types of the memory.

Messages are taken by the names of their fields, so that those of rclpy and of rosbags do alike. Data is read in place
(`np.frombuffer`), with its byte order, its padding of rows and the layout of its points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.geometry import Pose, pose_from_quat
from embodmem.types import Detection, PinholeCamera

RGB_ENCODINGS = ("rgb8", "bgr8")
DEPTH_ENCODINGS = ("32FC1", "16UC1")
# sensor_msgs/PointField: FLOAT32 = 7, FLOAT64 = 8.
_FLOATS = {7: "f4", 8: "f8"}


def stamp_to_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def raw_header_stamp(raw: bytes | memoryview) -> int:
    """The stamp, ns, of a serialised message that begins with a header, without decoding it."""
    order: Any = "little" if raw[1] & 1 else "big"
    sec = int.from_bytes(raw[4:8], order, signed=True)
    return sec * 1_000_000_000 + int.from_bytes(raw[8:12], order)


def _buffer(data: Any) -> memoryview:
    """The bytes of a uint8[] field: numpy array, array.array, bytes, or a list."""
    return memoryview(bytes(data) if isinstance(data, (list, tuple)) else data).cast("B")


def image_to_array(message: Any) -> NDArray[Any]:
    """Pixels of a sensor_msgs/Image.

    Returns:
        (H, W, 3) uint8 red, green, blue for rgb8 and bgr8; (H, W) uint16 millimetres for 16UC1; (H, W) float32 metres
        for 32FC1, with 0 where the message has NaN, infinity or less than 0.

    Raises:
        InvalidInput: The encoding is none of these, or the data is not `height` rows of `step` bytes.
    """
    encoding, height, width, step = message.encoding, int(message.height), int(message.width), int(message.step)
    channels, kind = {"rgb8": (3, "u1"), "bgr8": (3, "u1"), "16UC1": (1, "u2"), "32FC1": (1, "f4")}.get(
        encoding, (0, "")
    )
    if not channels:
        known = ", ".join((*RGB_ENCODINGS, *DEPTH_ENCODINGS))
        raise InvalidInput(f"image: wanted encoding {known}, got {encoding!r}")
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    row = width * channels * dtype.itemsize
    data = _buffer(message.data)
    if height < 1 or width < 1 or step < row or len(data) < step * (height - 1) + row:
        raise InvalidInput(
            f"image: wanted {height} rows of at least {row} bytes ({width} px {encoding}), got step {step} and "
            f"{len(data)} bytes"
        )
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    pixels: NDArray[Any] = np.ndarray((height, width, channels), dtype, data, strides=strides)
    if encoding in RGB_ENCODINGS:
        return np.ascontiguousarray(pixels[..., ::-1] if encoding == "bgr8" else pixels)
    depth = np.ascontiguousarray(pixels[..., 0].astype(dtype.newbyteorder("="), copy=False))
    if encoding == "32FC1":
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
    return depth


def camera_from_info(message: Any) -> PinholeCamera:
    """Intrinsics of a sensor_msgs/CameraInfo: of the rectified image (P) where it has them, else K.

    Raises:
        InvalidInput: It is not calibrated, or it speaks of a binned or cut image.
    """
    if max(int(message.binning_x), int(message.binning_y)) > 1 or int(message.roi.width) or int(message.roi.height):
        raise InvalidInput("camera info: wanted whole images without binning, got a region of interest or binning")
    p, k = (np.asarray(values, dtype=np.float64) for values in (message.p, message.k))
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if p[0] > 0 else (k[0], k[4], k[2], k[5])
    if not fx > 0:
        raise InvalidInput("camera info: wanted intrinsics in P or K, got none (fx = 0): is the camera calibrated?")
    return PinholeCamera(
        width=int(message.width), height=int(message.height), fx=float(fx), fy=float(fy), cx=float(cx), cy=float(cy)
    )


def cloud_to_points(message: Any) -> NDArray[np.float32]:
    """(N, 3) float32 metres of a sensor_msgs/PointCloud2 in its frame; points that are not finite are left out.

    Raises:
        InvalidInput: It has no x, y and z of float32 or float64, or the data is not `height` rows of `row_step` bytes.
    """
    fields = {field.name: field for field in message.fields}
    order = ">" if message.is_bigendian else "<"
    missing = [name for name in "xyz" if name not in fields or int(fields[name].datatype) not in _FLOATS]
    if missing:
        raise InvalidInput(f"point cloud: wanted float fields x, y, z, got {sorted(fields)}")
    height, width = int(message.height), int(message.width)
    step, row_step = int(message.point_step), int(message.row_step)
    layout = np.dtype(
        {
            "names": list("xyz"),
            "formats": [order + _FLOATS[int(fields[name].datatype)] for name in "xyz"],
            "offsets": [int(fields[name].offset) for name in "xyz"],
            "itemsize": step,
        }
    )
    data = _buffer(message.data)
    if height * width == 0:
        return np.empty((0, 3), dtype=np.float32)
    if row_step < width * step or len(data) < row_step * (height - 1) + width * step:
        raise InvalidInput(
            f"point cloud: wanted {height} rows of {width} points of {step} bytes, got row_step {row_step} and "
            f"{len(data)} bytes"
        )
    cells: NDArray[Any] = np.ndarray((height, width), layout, data, strides=(row_step, step))
    points = np.stack([cells[name].astype(np.float32) for name in "xyz"], axis=-1).reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]


def pose_from_transform(transform: Any) -> Pose:
    """(4, 4) of a geometry_msgs/Transform: T_parent_child of the frames that its header names.

    Raises:
        PoseError: The quaternion is zero or not finite.
    """
    t, q = transform.translation, transform.rotation
    return pose_from_quat((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def pose_from_pose(pose: Any) -> Pose:
    """(4, 4) of a geometry_msgs/Pose.

    Raises:
        PoseError: The quaternion is zero or not finite.
    """
    p, q = pose.position, pose.orientation
    return pose_from_quat((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def detections_from_array(message: Any, *, ids_are_instances: bool = False) -> tuple[Detection, ...]:
    """Detections of a vision_msgs/Detection2DArray; of several hypotheses the best, and none without a label.

    Args:
        message: The message.
        ids_are_instances: Whether a whole number in `id` is one and the same object for ever (a simulator), and not
            the short life of a tracker.

    Raises:
        InvalidInput: A box is empty or a score is outside 0..1.
    """
    found = []
    for entry in message.detections:
        hypotheses = [result.hypothesis for result in entry.results]
        best = max(hypotheses, key=lambda h: float(h.score), default=None)
        if best is None or not best.class_id.strip():
            continue
        centre, half = entry.bbox.center.position, (entry.bbox.size_x / 2, entry.bbox.size_y / 2)
        instance = int(entry.id) if ids_are_instances and entry.id.isdigit() else None
        box = np.array([centre.x - half[0], centre.y - half[1], centre.x + half[0], centre.y + half[1]])
        found.append(Detection(label=best.class_id, score=float(best.score), box=box, instance_id=instance))
    return tuple(found)
