"""Conversions between messages and the memory's types.

Reading is by names of fields (`embodmem.datasets.ros_messages`). What is given out is made as nested plain values,
name of field -> value; each shell turns them into its own messages, and fields that are left out keep their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.datasets.ros_messages import (
    camera_from_info,
    cloud_to_points,
    detections_from_array,
    image_to_array,
    pose_from_pose,
    pose_from_transform,
    stamp_to_ns,
)
from embodmem.datasets.ros_transforms import quat_from_pose
from embodmem.errors import InvalidInput
from embodmem.geometry import Pose
from embodmem.types import Detection, PinholeCamera, Recall

__all__ = [
    "camera_from_info",
    "camera_info",
    "cloud",
    "cloud_to_points",
    "detection_array",
    "detections_from_array",
    "detections_from_segmentation",
    "header",
    "image",
    "image_to_array",
    "pose_from_pose",
    "pose_from_transform",
    "recall_item",
    "stamp_to_ns",
    "time_from_ns",
    "transform",
    "transforms",
]

Plain = dict[str, Any]


def time_from_ns(stamp_ns: int) -> Plain:
    """builtin_interfaces/Time of nanoseconds."""
    return {"sec": stamp_ns // 1_000_000_000, "nanosec": stamp_ns % 1_000_000_000}


def header(stamp_ns: int, frame: str) -> Plain:
    """std_msgs/Header."""
    return {"stamp": time_from_ns(stamp_ns), "frame_id": frame}


def image(pixels: NDArray[Any], stamp_ns: int, frame: str) -> Plain:
    """sensor_msgs/Image of (H, W, 3) uint8 as rgb8, (H, W) uint16 as 16UC1 or (H, W) float32 as 32FC1.

    Raises:
        InvalidInput: It is none of these.
    """
    kinds = {(3, "uint8"): "rgb8", (2, "uint16"): "16UC1", (2, "float32"): "32FC1"}
    encoding = kinds.get((pixels.ndim, str(pixels.dtype)))
    if encoding is None or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InvalidInput(
            f"image: wanted (H, W, 3) uint8, (H, W) uint16 or (H, W) float32, got {pixels.shape} {pixels.dtype}"
        )
    data = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))
    return {
        "header": header(stamp_ns, frame),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": data.strides[0],
        "data": data.tobytes(),
    }


def camera_info(camera: PinholeCamera, stamp_ns: int, frame: str) -> Plain:
    """sensor_msgs/CameraInfo of a camera without distortion."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return {
        "header": header(stamp_ns, frame),
        "height": camera.height,
        "width": camera.width,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "p": [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }


def cloud(points: NDArray[Any], stamp_ns: int, frame: str) -> Plain:
    """sensor_msgs/PointCloud2 of points (N, 3), metres."""
    data = np.ascontiguousarray(points, dtype="<f4")
    return {
        "header": header(stamp_ns, frame),
        "height": 1,
        "width": len(data),
        "fields": [{"name": name, "offset": 4 * i, "datatype": 7, "count": 1} for i, name in enumerate("xyz")],
        "is_bigendian": False,
        "point_step": 12,
        "row_step": 12 * len(data),
        "data": data.tobytes(),
        "is_dense": bool(np.isfinite(data).all()),
    }


def _xyz(values: Sequence[float] | NDArray[Any]) -> Plain:
    return {"x": float(values[0]), "y": float(values[1]), "z": float(values[2])}


def _quat(T: Pose) -> Plain:
    q = quat_from_pose(T)
    return {**_xyz(q), "w": float(q[3])}


def transform(parent: str, child: str, T_parent_child: Pose, stamp_ns: int) -> Plain:
    """geometry_msgs/TransformStamped."""
    return {
        "header": header(stamp_ns, parent),
        "child_frame_id": child,
        "transform": {"translation": _xyz(T_parent_child[:3, 3]), "rotation": _quat(T_parent_child)},
    }


def transforms(*items: Plain) -> Plain:
    """tf2_msgs/TFMessage."""
    return {"transforms": list(items)}


def detection_array(detections: Sequence[Detection], stamp_ns: int, frame: str) -> Plain:
    """vision_msgs/Detection2DArray of detections that have a box; a mask is given out as its box."""
    entries = []
    for detection in detections:
        x0, y0, x1, y1 = _box(detection)
        centre = {"position": {"x": (x0 + x1) / 2, "y": (y0 + y1) / 2}, "theta": 0.0}
        entries.append(
            {
                "header": header(stamp_ns, frame),
                "results": [{"hypothesis": {"class_id": detection.label, "score": float(detection.score)}}],
                "bbox": {"center": centre, "size_x": x1 - x0, "size_y": y1 - y0},
                "id": "" if detection.instance_id is None else str(detection.instance_id),
            }
        )
    return {"header": header(stamp_ns, frame), "detections": entries}


def _box(detection: Detection) -> tuple[float, float, float, float]:
    if detection.box is not None:
        x0, y0, x1, y1 = detection.box.tolist()
        return x0, y0, x1, y1
    assert detection.mask is not None  # a detection has a box or a mask
    rows, cols = np.nonzero(detection.mask)
    return float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1)


def detections_from_segmentation(
    segmentation: NDArray[np.int32], labels: Mapping[int, str], min_pixels: int = 20
) -> tuple[Detection, ...]:
    """A detection with the box of each instance in a segmentation.

    Args:
        segmentation: (H, W) int32 instance ids, 0 = nothing known.
        labels: Instance id -> label; others are left out.
        min_pixels: Smaller instances are left out.
    """
    ids = segmentation.ravel()
    order = np.argsort(ids, kind="stable")
    found, starts, counts = np.unique(ids[order], return_index=True, return_counts=True)
    rows, cols = np.divmod(order, segmentation.shape[1])
    edges = [np.minimum.reduceat(cols, starts), np.minimum.reduceat(rows, starts)]
    edges += [np.maximum.reduceat(cols, starts) + 1, np.maximum.reduceat(rows, starts) + 1]
    boxes = np.stack(edges, axis=1).astype(np.float64)
    return tuple(
        Detection(label=labels[number], box=box, instance_id=number)
        for number, box, count in zip(found.tolist(), boxes, counts, strict=True)
        if number and number in labels and count >= min_pixels
    )


def recall_item(item: Recall) -> Plain:
    """embodmem_msgs/RecallItem; the position is in the world frame, metres."""
    return {
        "kind": item.kind,
        "id": item.id,
        "label": item.label,
        "text": item.text,
        "score": float(item.score),
        "has_position": item.position is not None,
        "position": _xyz([0.0] * 3 if item.position is None else item.position),
        "first_seen": time_from_ns(item.first_seen_ns),
        "last_seen": time_from_ns(item.last_seen_ns),
        "evidence": list(item.evidence),
    }
