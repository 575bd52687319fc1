"""7-Scenes and TUM recordings are read as they were written, and detections come along."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embodmem.datasets import open_dataset
from embodmem.errors import DatasetError
from tests.embodmem.datasets.recordings import CAMERA, images, pose, write_seven_scenes, write_tum

KITCHEN = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "seven_scenes_kitchen"


def test_seven_scenes_sequence_reads_back(tmp_path: Path) -> None:
    dataset = open_dataset(write_seven_scenes(tmp_path / "kitchen"))
    assert (dataset.name, dataset.camera, len(dataset)) == ("kitchen", CAMERA, 3)
    assert dataset.stamps_ns().tolist() == [0, 33_333_333, 5 * 33_333_333]
    for number, percept in zip((0, 1, 5), dataset, strict=True):
        rgb, depth = images(number)
        depth[1, :4] = 0  # 65535 means no return.
        np.testing.assert_array_equal(percept.rgb, rgb)
        np.testing.assert_allclose(percept.depth, depth / 1000.0, rtol=1e-6)
        np.testing.assert_allclose(percept.T_world_sensor, pose(number), atol=1e-7)


def test_seven_scenes_world_is_turned_by_its_file(tmp_path: Path) -> None:
    folder = write_seven_scenes(tmp_path / "kitchen")
    (folder / "T_world_scene.txt").write_text("1 0 0 0\n0 0 -1 0\n0 1 0 1.5\n0 0 0 1\n")
    percept = open_dataset(folder).read(1)
    x, y, z = pose(1)[:3, 3]
    np.testing.assert_allclose(percept.T_world_sensor[:3, 3], [x, -z, y + 1.5], atol=1e-7)


def test_seven_scenes_scene_joins_its_sequences_in_time(tmp_path: Path) -> None:
    for name in ("seq-02", "seq-01"):
        write_seven_scenes(tmp_path / name, (0, 1), suffix="jpg")
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 4
    assert (np.diff(dataset.stamps_ns()) > 0).all()
    assert [dataset.read(i).stamp_ns for i in range(4)] == dataset.stamps_ns().tolist()


def test_published_intrinsics_hold_only_for_the_published_size(tmp_path: Path) -> None:
    folder = write_seven_scenes(tmp_path / "small", (0,))
    (folder / "camera-intrinsics.txt").unlink()
    with pytest.raises(DatasetError, match="640x480.*got 32x24"):
        open_dataset(folder)
    Image.new("RGB", (640, 480)).save(folder / "frame-000000.color.png")
    camera = open_dataset(folder).camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (585, 585, 320, 240)


def test_tum_associates_by_time(tmp_path: Path) -> None:
    dataset = open_dataset(write_tum(tmp_path / "desk"))
    assert dataset.camera == CAMERA
    assert dataset.stamps_ns().tolist() == [1305031102_100000000 + 100_000_000 * i for i in range(3)]
    for i, percept in enumerate(dataset):
        rgb, depth = images(i)
        np.testing.assert_array_equal(percept.rgb, rgb)
        np.testing.assert_allclose(percept.depth, depth / 5000.0, rtol=1e-6)
        n = 1 + 20 * i  # The pose at 100 ms + i * 100 ms (and 1 us) is the nearest.
        expected = np.array([np.cos(0.01 * n), -np.sin(0.01 * n)])
        np.testing.assert_allclose(percept.T_world_sensor[:3, 3], [0.01 * n, 0, 1], atol=1e-12)
        np.testing.assert_allclose(percept.T_world_sensor[0, :2], expected, atol=1e-9)


def test_tum_leaves_out_what_has_no_partner(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "desk")
    lines = (folder / "rgb.txt").read_text().splitlines()
    (folder / "rgb.txt").write_text("\n".join([*lines[:2], lines[3]]))  # The second colour image is gone.
    dataset = open_dataset(folder)
    assert (len(dataset), dataset.dropped) == (2, 1)
    np.testing.assert_array_equal(dataset.read(1).rgb, images(2)[0])


def test_tum_takes_its_camera_from_yaml(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "desk")
    (folder / "camera.yaml").write_text("{fx: 10, fy: 11, cx: 12, cy: 13.5, depth_scale: 1000}")
    dataset = open_dataset(folder)
    assert (dataset.camera.fx, dataset.camera.cy, dataset.camera.width) == (10, 13.5, 32)
    np.testing.assert_allclose(dataset.read(0).depth, images(0)[1] / 1000.0, rtol=1e-6)


def test_rooms_lie_beside_the_frames_of_any_format(tmp_path: Path) -> None:
    for folder in (write_seven_scenes(tmp_path / "a"), write_tum(tmp_path / "b")):
        (folder / "rooms.json").write_text('{"kitchen": [[0, 0, 0], [4, 3, 2.5]]}')
        (room,) = open_dataset(folder).rooms()
        assert (room.name, room.lower.tolist(), room.upper.tolist()) == ("kitchen", [0, 0, 0], [4, 3, 2.5])


def test_detections_lie_beside_the_frames_of_any_format(tmp_path: Path) -> None:
    entry = {"label": "mug", "score": 0.5, "box": [1, 2, 3, 4.5], "instance_id": 7}
    for folder, name in (
        (write_seven_scenes(tmp_path / "a"), "000001"),
        (write_tum(tmp_path / "b"), "1305031102.196000"),
    ):
        # Names of frames that are not in this recording are no error: a recording can be a part of another.
        (folder / "detections.json").write_text(json.dumps({name: [entry], "999999": []}))
        dataset = open_dataset(folder)
        (detection,) = dataset.read(1).detections
        assert (detection.label, detection.score, detection.instance_id) == ("mug", 0.5, 7)
        assert detection.box.tolist() == [1, 2, 3, 4.5]
        assert dataset.read(0).detections == ()


@pytest.mark.skipif(
    not KITCHEN.is_dir() and "CI" not in os.environ, reason="needs the recording seven_scenes_kitchen in shared/data"
)
def test_the_kitchen_lies_in_a_world_with_z_up() -> None:
    dataset = open_dataset(KITCHEN)
    assert len(dataset) == 250
    assert dataset.stamps_ns()[:2].tolist() == [0, 4 * 33_333_333]
    percept = dataset.read(100)
    assert (percept.depth > 0).mean() > 0.5
    assert len(percept.detections) > 3
    camera = dataset.camera
    rows, cols = np.nonzero(percept.depth)
    z = percept.depth[rows, cols]
    points = np.stack([(cols - camera.cx) * z / camera.fx, (rows - camera.cy) * z / camera.fy, z])
    heights = percept.T_world_sensor[2, :3] @ points + percept.T_world_sensor[2, 3]
    assert np.percentile(heights, 0.5) > -0.1, "the floor is at z = 0"
    assert heights.max() < 3.0
