"""Every kind of damage has its own error, which names the file."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embodmem.datasets import open_dataset
from embodmem.errors import DatasetError, InvalidInput, PoseError
from tests.embodmem.datasets.recordings import write_seven_scenes, write_tum


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _swap_lines(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    path.write_text("\n".join(lines))


def _detections(path: Path, **changes: object) -> None:
    entry = {"label": "mug", "score": 0.5, "box": [1, 2, 3, 4]} | changes
    path.write_text(json.dumps({"000001": [entry]}))


F1 = "frame-000001"
SEVEN_SCENES: dict[str, tuple[Callable[[Path], object], type[InvalidInput], str]] = {
    "pose missing": (lambda d: (d / f"{F1}.pose.txt").unlink(), DatasetError, f"{F1}.pose.txt: missing"),
    "colour missing": (lambda d: (d / f"{F1}.color.png").unlink(), DatasetError, f"{F1}.color.* missing"),
    "depth missing": (lambda d: (d / f"{F1}.depth.png").unlink(), DatasetError, f"{F1}.depth.png: missing"),
    "pose 3x4": (
        lambda d: (d / f"{F1}.pose.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0"),
        PoseError,
        rf"{F1}.pose.txt: wanted shape \(4, 4\), got \(3, 4\)",
    ),
    "pose ragged": (
        lambda d: (d / f"{F1}.pose.txt").write_text("1 0 0 0\n0 1"),
        DatasetError,
        f"{F1}.pose.txt: wanted a matrix",
    ),
    "pose of words": (
        lambda d: (d / f"{F1}.pose.txt").write_text("lost"),
        DatasetError,
        f"{F1}.pose.txt: wanted a matrix",
    ),
    "pose NaN": (
        lambda d: (d / f"{F1}.pose.txt").write_text("nan " * 4 + "\n0 1 0 0\n0 0 1 0\n0 0 0 1"),
        PoseError,
        f"{F1}.pose.txt: wanted finite",
    ),
    "rotation off": (
        lambda d: (d / f"{F1}.pose.txt").write_text("1.1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1"),
        PoseError,
        f"{F1}.pose.txt: wanted a rotation",
    ),
    "world off": (
        lambda d: (d / "T_world_scene.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 2 0\n0 0 0 1"),
        PoseError,
        "T_world_scene.txt: wanted a rotation",
    ),
    "depth truncated": (lambda d: _truncate(d / f"{F1}.depth.png"), DatasetError, f"{F1}.depth.png: .*truncated"),
    "colour truncated": (lambda d: _truncate(d / f"{F1}.color.png"), DatasetError, f"{F1}.color.png: .*truncated"),
    "depth is text": (
        lambda d: (d / f"{F1}.depth.png").write_text("no image"),
        DatasetError,
        f"{F1}.depth.png: wanted an image",
    ),
    "depth of 8 bits": (
        lambda d: Image.fromarray(np.ones((24, 32), np.uint8)).save(d / f"{F1}.depth.png"),
        DatasetError,
        f"{F1}.depth.png: wanted a grey image with 16 bits a pixel, got mode 'L'",
    ),
    "depth of another size": (
        lambda d: Image.fromarray(np.ones((25, 32), np.uint16)).save(d / f"{F1}.depth.png"),
        DatasetError,
        f"{F1}.depth.png: wanted the camera's size 32x24 px, got 32x25",
    ),
    "colour of another size": (
        lambda d: Image.new("RGB", (16, 24)).save(d / f"{F1}.color.png"),
        DatasetError,
        f"{F1}.color.png: wanted the camera's size 32x24 px, got 16x24",
    ),
    "intrinsics 2x2": (
        lambda d: (d / "camera-intrinsics.txt").write_text("1 0\n0 1"),
        DatasetError,
        "camera-intrinsics.txt: wanted a 3x3",
    ),
    "intrinsics negative": (
        lambda d: (d / "camera-intrinsics.txt").write_text("-5 0 1\n0 5 1\n0 0 1"),
        DatasetError,
        "camera-intrinsics.txt: .*fx, fy > 0",
    ),
    "camera.json of a list": (lambda d: (d / "camera.json").write_text("[1]"), DatasetError, "camera.json: wanted a"),
    "camera.json unknown key": (
        lambda d: (d / "camera.json").write_text('{"fx": 1, "fy": 1, "cx": 1, "cy": 1, "k1": 0}'),
        DatasetError,
        "camera.json: wanted a camera with .*'k1'",
    ),
    "camera.yaml broken": (lambda d: (d / "camera.yaml").write_text("{fx: ["), DatasetError, "camera.yaml: wanted YA"),
    "camera.yaml scale": (
        lambda d: (d / "camera.yaml").write_text("{fx: 1, fy: 1, cx: 1, cy: 1, depth_scale: 0}"),
        DatasetError,
        "camera.yaml: wanted depth_scale > 0",
    ),
    "rooms a list": (lambda d: (d / "rooms.json").write_text("[]"), DatasetError, "rooms.json: wanted an object"),
    "rooms inverted": (
        lambda d: (d / "rooms.json").write_text('{"hall": [[0, 0, 0], [1, 1, -1]]}'),
        DatasetError,
        "rooms.json: room 'hall': wanted",
    ),
    "rooms ragged": (
        lambda d: (d / "rooms.json").write_text('{"hall": [[0, 0], [1, 1, 1]]}'),
        DatasetError,
        "rooms.json: room 'hall': wanted",
    ),
    "detections broken": (
        lambda d: (d / "detections.json").write_text('{"000001": ['),
        DatasetError,
        "detections.json: wanted JSON",
    ),
    "detections a list": (lambda d: (d / "detections.json").write_text("[]"), DatasetError, "got list"),
    "detections unlisted": (
        lambda d: (d / "detections.json").write_text('{"000001": {}}'),
        DatasetError,
        "detections.json: frame '000001': wanted a list",
    ),
    "detections of other frames": (
        lambda d: (d / "detections.json").write_text('{"frame-000001": []}'),
        DatasetError,
        "names no frame .*'000000', got 'frame-000001'",
    ),
    "detection unknown key": (
        lambda d: _detections(d / "detections.json", bbox=[1]),
        DatasetError,
        "frame '000001', detection 0: unknown key 'bbox'; known: box, instance_id, label, score",
    ),
    "detection box inverted": (
        lambda d: _detections(d / "detections.json", box=[5, 2, 3, 4]),
        DatasetError,
        "frame '000001', detection 0: .*x1 > x0",
    ),
    "detection box of words": (
        lambda d: _detections(d / "detections.json", box=["a", 2, 3, 4]),
        DatasetError,
        "frame '000001', detection 0: wanted box",
    ),
    "detection without box": (
        lambda d: _detections(d / "detections.json", box=None),
        DatasetError,
        "frame '000001', detection 0: .*wanted a box",
    ),
    "detection score": (
        lambda d: _detections(d / "detections.json", score=1.5),
        DatasetError,
        "frame '000001', detection 0: .*score in 0..1",
    ),
    "detection score of words": (
        lambda d: _detections(d / "detections.json", score="high"),
        DatasetError,
        "frame '000001', detection 0: wanted score",
    ),
    "detection id": (
        lambda d: _detections(d / "detections.json", instance_id="3"),
        DatasetError,
        "frame '000001', detection 0: wanted instance_id",
    ),
}


@pytest.mark.parametrize("case", SEVEN_SCENES)
def test_seven_scenes(tmp_path: Path, case: str) -> None:
    damage, error, message = SEVEN_SCENES[case]
    folder = write_seven_scenes(tmp_path / "kitchen", (0, 1))
    open_dataset(folder).read(1)
    damage(folder)
    with pytest.raises(error, match=message):
        open_dataset(folder).read(1)


TUM: dict[str, tuple[Callable[[Path], object], type[InvalidInput], str]] = {
    "no groundtruth": (
        lambda d: (d / "groundtruth.txt").unlink(),
        DatasetError,
        "groundtruth.txt: the file is missing",
    ),
    "no image": (lambda d: next((d / "rgb").iterdir()).unlink(), DatasetError, r"rgb/.*\.png: the image is missing"),
    "empty list": (lambda d: (d / "depth.txt").write_text("# nothing\n"), DatasetError, "depth.txt: wanted lines"),
    "words for a time": (
        lambda d: (d / "depth.txt").write_text("now x.png"),
        DatasetError,
        "depth.txt:1: wanted a time",
    ),
    "NaN time": (lambda d: (d / "depth.txt").write_text("nan x.png"), DatasetError, "depth.txt:1: wanted a time"),
    "too few fields": (
        lambda d: (d / "groundtruth.txt").write_text("1 2 3"),
        DatasetError,
        "groundtruth.txt:1: wanted",
    ),
    "time backwards": (lambda d: _swap_lines(d / "depth.txt"), DatasetError, "depth.txt:3: time goes backwards"),
    "clocks apart": (
        lambda d: (d / "groundtruth.txt").write_text("5.0 0 0 0 0 0 0 1"),
        DatasetError,
        r"within 0\.02 s .*same clock",
    ),
    "quaternion zero": (
        lambda d: (d / "groundtruth.txt").write_text("1305031102.1 0 0 0 0 0 0 0"),
        PoseError,
        "groundtruth.txt: pose at 1305031102100000000 ns: wanted a quaternion",
    ),
    "position of words": (
        lambda d: (d / "groundtruth.txt").write_text("1305031102.1 x 0 0 0 0 0 1"),
        DatasetError,
        "groundtruth.txt: pose at .*wanted seven numbers",
    ),
}


@pytest.mark.parametrize("case", TUM)
def test_tum(tmp_path: Path, case: str) -> None:
    damage, error, message = TUM[case]
    folder = write_tum(tmp_path / "desk")
    damage(folder)
    with pytest.raises(error, match=message):
        open_dataset(folder)


def test_folders_that_are_no_recording(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: wanted the folder of a recording, got nothing"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="got an empty folder"):
        open_dataset(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DatasetError, match="got a file"):
        open_dataset(tmp_path / "notes.txt")
    with pytest.raises(DatasetError, match=r"no known format: folder wants index.jsonl.*frame-XXXXXX.*groundtruth.txt"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="wanted 'auto' or one of folder, seven_scenes, tum, ros_bag, got 'bag'"):
        open_dataset(tmp_path, format="bag")
    with pytest.raises(DatasetError, match="found no frame; wanted frame-XXXXXX"):
        open_dataset(tmp_path, format="seven_scenes")
    (tmp_path / "index.jsonl").write_text("")
    with pytest.raises(DatasetError, match="index.jsonl: wanted a line for each frame"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("line", ["not json\n{}", "[]\n", '{"frame": {}}\n', '{"event": 3}\n'])
def test_indexes_that_are_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "index.jsonl").write_text(line)
    with pytest.raises(DatasetError, match=r"index.jsonl:1: wanted"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("i", [-1, 2])
def test_frames_that_are_not_there(tmp_path: Path, i: int) -> None:
    with pytest.raises(IndexError, match=r"kitchen: wanted a frame in 0\.\.1"):
        open_dataset(write_seven_scenes(tmp_path / "kitchen", (0, 1))).read(i)
