"""Messages to arrays and back: encodings, byte order, padding, layouts; and definitions."""

from __future__ import annotations

import array
from types import SimpleNamespace as Message

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodmem.datasets.ros_messages import raw_header_stamp
from embodmem.errors import InvalidInput
from embodmem.types import Detection, PinholeCamera
from embodmem_ros import messages
from embodmem_ros.bag_messages import decode, encode, make_message

CAMERA = PinholeCamera(width=5, height=3, fx=4.0, fy=4.5, cx=2.0, cy=1.0)


def image(pixels: np.ndarray, encoding: str, *, big: bool = False, pad: int = 0, wrap: object = bytes) -> Message:
    """An image message as another driver may lay it out: byte order, padded rows, other containers of bytes."""
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = stored.reshape(len(stored), -1).view(np.uint8)
    padded = np.concatenate([rows, np.full((len(rows), pad), 0xAB, np.uint8)], axis=1)
    return Message(
        encoding=encoding,
        height=pixels.shape[0],
        width=pixels.shape[1],
        step=padded.shape[1],
        is_bigendian=int(big),
        data=wrap(padded.tobytes()),  # type: ignore[operator]
    )


@given(st.booleans(), st.integers(0, 7), st.sampled_from([bytes, list, lambda b: array.array("B", b), bytearray]))
def test_images_are_read_in_every_layout(big: bool, pad: int, wrap: object) -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    depth_mm = rng.integers(0, 60000, (3, 5), dtype=np.uint16)
    depth_m = rng.random((3, 5), dtype=np.float32)
    layout = {"big": big, "pad": pad, "wrap": wrap}
    read = messages.image_to_array
    np.testing.assert_array_equal(read(image(colour, "rgb8", **layout)), colour)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read(image(colour, "bgr8", **layout)), colour[..., ::-1])  # type: ignore[arg-type]
    for pixels, encoding in ((depth_mm, "16UC1"), (depth_m, "32FC1")):
        got = read(image(pixels, encoding, **layout))  # type: ignore[arg-type]
        np.testing.assert_array_equal(got, pixels)
        assert got.dtype == pixels.dtype and got.dtype.isnative


def test_depth_without_return_is_zero() -> None:
    depth = np.array([[np.nan, np.inf, -1.0, 0.0, 2.5]], dtype=np.float32)
    assert messages.image_to_array(image(depth, "32FC1")).tolist() == [[0, 0, 0, 0, 2.5]]


def test_bad_images_are_told() -> None:
    grey = image(np.zeros((3, 5), np.uint8), "mono8")
    with pytest.raises(InvalidInput, match="wanted encoding rgb8, bgr8, 32FC1, 16UC1, got 'mono8'"):
        messages.image_to_array(grey)
    short = image(np.zeros((3, 5), np.uint16), "16UC1")
    short.data = short.data[:-1]
    with pytest.raises(InvalidInput, match="wanted 3 rows of at least 10 bytes .* got step 10 and 29 bytes"):
        messages.image_to_array(short)


@pytest.mark.parametrize("pixels", [np.arange(45, dtype=np.uint8).reshape(3, 5, 3), np.ones((3, 5), np.float32)])
def test_images_survive_the_wire(pixels: np.ndarray) -> None:
    raw = encode("sensor_msgs/msg/Image", messages.image(pixels, 5_000_000_007, "camera"))
    assert raw_header_stamp(raw) == 5_000_000_007
    message = decode("sensor_msgs/msg/Image", raw)
    assert messages.stamp_to_ns(message.header.stamp) == 5_000_000_007 and message.header.frame_id == "camera"
    np.testing.assert_array_equal(messages.image_to_array(message), pixels)


def test_camera_info_gives_the_camera_back() -> None:
    message = decode(
        "sensor_msgs/msg/CameraInfo", encode("sensor_msgs/msg/CameraInfo", messages.camera_info(CAMERA, 1, "c"))
    )
    assert messages.camera_from_info(message) == CAMERA
    message.p = np.zeros(12)  # only K is there: an image that is not rectified
    assert messages.camera_from_info(message) == CAMERA
    message.k = np.zeros(9)
    with pytest.raises(InvalidInput, match="is the camera calibrated"):
        messages.camera_from_info(message)
    message.binning_x = 2
    with pytest.raises(InvalidInput, match="without binning"):
        messages.camera_from_info(message)


@given(st.booleans(), st.sampled_from(["f4", "f8"]), st.integers(0, 5))
def test_clouds_are_read_in_every_layout(big: bool, kind: str, pad: int) -> None:
    order = ">" if big else "<"
    layout = np.dtype(
        {"names": ["ring", "x", "z", "y"], "formats": ["u2"] + [order + kind] * 3, "offsets": [0, 4, 12, 20]}
    )
    cells = np.zeros((2, 3), layout)
    rng = np.random.default_rng(1)
    for name in "xyz":
        cells[name] = rng.random((2, 3))
    cells["y"][1, 2] = np.nan
    rows = np.concatenate([cells.view(np.uint8).reshape(2, -1), np.zeros((2, pad), np.uint8)], axis=1)
    datatype = {"f4": 7, "f8": 8}[kind]
    message = Message(
        fields=[
            Message(name=n, offset=layout.fields[n][1], datatype=datatype if n != "ring" else 4) for n in layout.names
        ],
        is_bigendian=big,
        height=2,
        width=3,
        point_step=layout.itemsize,
        row_step=rows.shape[1],
        data=rows.tobytes(),
    )
    wanted = np.stack([cells[name] for name in "xyz"], axis=-1).reshape(-1, 3)[:5].astype(np.float32)
    np.testing.assert_array_equal(messages.cloud_to_points(message), wanted)
    message.data = message.data[: -pad - 1]
    with pytest.raises(InvalidInput, match="wanted 2 rows of 3 points"):
        messages.cloud_to_points(message)


def test_clouds_survive_the_wire() -> None:
    points = np.arange(12, dtype=np.float32).reshape(4, 3)
    raw = encode("sensor_msgs/msg/PointCloud2", messages.cloud(points, 1, "lidar"))
    np.testing.assert_array_equal(messages.cloud_to_points(decode("sensor_msgs/msg/PointCloud2", raw)), points)
    no_z = decode("sensor_msgs/msg/PointCloud2", raw)
    no_z.fields.pop()
    with pytest.raises(InvalidInput, match="wanted float fields x, y, z, got"):
        messages.cloud_to_points(no_z)


def test_detections_survive_the_wire() -> None:
    mask = np.zeros((3, 5), bool)
    mask[1:3, 2] = True
    found = (
        Detection(label="mug", score=0.5, box=np.array([1.0, 2.0, 4.5, 3.0]), instance_id=7),
        Detection(label="cup", mask=mask),
    )
    kind = "vision_msgs/msg/Detection2DArray"
    message = decode(kind, encode(kind, messages.detection_array(found, 3, "camera")))
    back = messages.detections_from_array(message)
    assert [(d.label, d.score, d.box.tolist(), d.instance_id) for d in back if d.box is not None] == [
        ("mug", 0.5, [1.0, 2.0, 4.5, 3.0], None),
        ("cup", 1.0, [2.0, 1.0, 3.0, 3.0], None),
    ]
    assert messages.detections_from_array(message, ids_are_instances=True)[0].instance_id == 7
    message.detections[0].results = []  # found, but not told what it is
    assert [d.label for d in messages.detections_from_array(message)] == ["cup"]


def test_unknown_fields_and_damaged_bytes_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"std_msgs/msg/String: wanted fields of \['data'\], got \['date'\]"):
        make_message("std_msgs/msg/String", {"date": "x"})
    with pytest.raises(InvalidInput, match="sensor_msgs/msg/Image"):
        decode("sensor_msgs/msg/Image", bytes(9))


def test_boxes_of_a_segmentation() -> None:
    ids = np.zeros((20, 30), np.int32)
    ids[2:8, 5:15], ids[10:12, 0:2], ids[12:20, 20:30] = 4, 7, 9
    ids[3, 6] = 0
    found = messages.detections_from_segmentation(ids, {4: "mug", 7: "crumb", 11: "absent"})
    assert [(d.label, d.instance_id, d.box.tolist()) for d in found if d.box is not None] == [("mug", 4, [5, 2, 15, 8])]
    everything = messages.detections_from_segmentation(ids, {4: "mug", 7: "crumb", 9: "box", 0: "wall"}, min_pixels=1)
    assert [d.instance_id for d in everything] == [4, 7, 9]
    for detection in everything:  # the plain way
        rows, cols = np.nonzero(ids == detection.instance_id)
        assert detection.box is not None
        assert detection.box.tolist() == [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
