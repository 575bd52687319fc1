"""What FolderWriter writes is read back equal, in order, and what a dead process left is readable."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.datasets import FolderWriter, experiences, open_dataset
from embodmem.errors import DatasetError, InvalidInput, StampError
from embodmem.types import Detection, Event, Percept, PinholeCamera
from tests.embodmem.datasets.recordings import CAMERA, images, percept


def _same(a: object, b: object) -> None:
    for name in type(a).__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if name == "detections":
            assert len(x) == len(y)
            for one, other in zip(x, y, strict=True):
                _same(one, other)
        elif name == "embedding" and x is not None:
            np.testing.assert_allclose(y, x, atol=1e-7)
        elif isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, name
            np.testing.assert_array_equal(x, y, err_msg=name)
        else:
            assert x == y, name


def _full(i: int, agent: str = "") -> Percept:
    segmentation = np.random.default_rng(i).integers(0, 300, CAMERA.shape).astype(np.int32)
    detections = (
        Detection(label="mug", score=0.25, box=np.array([1.5, 2, 9, 8]), instance_id=3),
        Detection(label="Tasse à café", mask=segmentation > 100, embedding=np.arange(1, 5, dtype=np.float32)),
    )
    labels = {3: "mug", 299: "table"}
    return percept(i, segmentation=segmentation, labels=labels, detections=detections, caption="a desk", agent=agent)


def test_everything_is_read_back_equal(tmp_path: Path) -> None:
    wide = PinholeCamera(width=32, height=24, fx=9.0, fy=9.0, cx=16.0, cy=12.0)
    far_ids = np.full(CAMERA.shape, 70_000, dtype=np.int32)
    written: list[Percept | Event] = [
        Event(stamp_ns=0, kind="told", text="the mug is Anna's", source="user"),
        _full(1),
        percept(2, depth=None, embedding=np.array([1, 2, 2], np.float32)),
        Event(
            stamp_ns=200,
            kind="pick",
            text="picked up the mug",
            until_ns=250,
            T_world_body=np.eye(4),
            objects=("mug", "table"),
            outcome="done",
            reward=np.float32(1.5),
            agent="",
        ),
        percept(3, camera=wide, segmentation=far_ids, agent="second"),
        Percept(stamp_ns=400, T_world_sensor=np.eye(4), points=np.arange(30, dtype=np.float32).reshape(10, 3)),
        Event(stamp_ns=400, kind="end", text="done"),
    ]
    with FolderWriter(tmp_path / "run") as writer:
        for experience in written:
            writer.append(experience)
    dataset = open_dataset(tmp_path / "run")
    assert (dataset.name, dataset.camera, len(dataset)) == ("run", CAMERA, 4)
    assert dataset.stamps_ns().tolist() == [100, 200, 300, 400]
    read = list(experiences(dataset))
    assert [type(x) for x in read] == [type(x) for x in written]
    for before, after in zip(written, read, strict=True):
        _same(before, after)
    # A part of a run holds the events between its own frames.
    assert [x.stamp_ns for x in experiences(dataset, start=1, stop=3)] == [200, 200, 300]


@settings(max_examples=20, deadline=None)
@given(depth_scale=st.sampled_from([1000.0, 5000.0, 100.0]), far_m=st.floats(0.0, 500.0), seed=st.integers(0, 99))
def test_depth_is_kept_to_its_unit(
    tmp_path_factory: pytest.TempPathFactory, depth_scale: float, far_m: float, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("run") / "r"
    depth = (np.random.default_rng(seed).random(CAMERA.shape) * far_m).astype(np.float32)
    with FolderWriter(folder, depth_scale=depth_scale) as writer:
        writer.append(percept(0, depth=depth))
    read = open_dataset(folder).read(0).depth
    wanted = np.minimum(depth, 65535 / depth_scale)
    np.testing.assert_allclose(read, wanted, rtol=1e-6, atol=0.5001 / depth_scale)


def test_jpeg_is_near_and_smaller(tmp_path: Path) -> None:
    smooth = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], 24, axis=0).repeat(3, axis=2)
    with FolderWriter(tmp_path / "jpeg", rgb_format="jpeg") as writer:
        writer.append(percept(0, rgb=smooth))
    read = open_dataset(tmp_path / "jpeg").read(0).rgb
    assert np.abs(read.astype(int) - smooth).max() < 10


def test_a_recording_cut_off_in_its_last_line_is_read_up_to_there(tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path)
    for i in range(3):
        writer.append(percept(i))
    # Not closed: what append returned for is on disk.
    assert len(open_dataset(tmp_path)) == 3
    index = tmp_path / "index.jsonl"
    for cut in (1, 20, 200):
        whole = index.read_text()
        index.write_text(whole[:-cut])
        dataset = open_dataset(tmp_path)
        # Without its newline alone the last line is still whole.
        assert len(dataset) == (3 if cut == 1 else 2)
        np.testing.assert_array_equal(dataset.read(1).rgb, images(1)[0])
        index.write_text(whole)
    writer.close()


def test_a_recording_made_by_hand(tmp_path: Path) -> None:
    """camera.json without a size, labels.json and detections.json for all frames."""
    with FolderWriter(tmp_path) as writer:
        writer.append(percept(0, segmentation=np.ones(CAMERA.shape, np.int32)))
    (tmp_path / "camera.json").write_text('{"fx": 1, "fy": 2, "cx": 3, "cy": 4}')
    (tmp_path / "labels.json").write_text('{"1": "mug"}')
    (tmp_path / "detections.json").write_text('{"000000": [{"label": "mug", "box": [0, 0, 5, 5]}]}')
    read = open_dataset(tmp_path).read(0)
    assert (read.camera.width, read.camera.fy, dict(read.labels)) == (32, 2, {1: "mug"})
    assert [d.label for d in read.detections] == ["mug"]


def test_rooms(tmp_path: Path) -> None:
    with FolderWriter(tmp_path) as writer:
        writer.append(percept(0))
        assert open_dataset(tmp_path).rooms() == ()
        writer.add_room("hall", [0, 0, 0], [9, 9, 9])
        writer.add_room("Küche", [0, 3, 0], [4, 5.5, 2.5])
        writer.add_room("hall", [0, 0, 0], [1, 2, 3])
        for bad in (("", [0, 0, 0], [1, 1, 1]), ("x", [0, 0], [1, 1]), ("x", [0, 0, 2], [1, 1, 1])):
            with pytest.raises(InvalidInput, match="room .*wanted a name and corners"):
                writer.add_room(*bad)
    rooms = [(name, lower.tolist(), upper.tolist()) for name, lower, upper in open_dataset(tmp_path).rooms()]
    assert rooms == [("hall", [0, 0, 0], [1, 2, 3]), ("Küche", [0, 3, 0], [4, 5.5, 2.5])]


def test_the_writer_refuses(tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path / "a")
    writer.append(percept(5, agent="robot"))
    writer.append(percept(1, agent="other"))
    with pytest.raises(StampError, match="'robot'.*got 400 after 500"):
        writer.append(Event(stamp_ns=400, kind="told", text="late", agent="robot"))
    writer.close()
    assert len((tmp_path / "a" / "index.jsonl").read_text().splitlines()) == 2
    assert len(open_dataset(tmp_path / "a")) == 2
    with pytest.raises(DatasetError, match="already|is there"):
        FolderWriter(tmp_path / "a")
    with pytest.raises(InvalidInput, match="'png' or 'jpeg'"):
        FolderWriter(tmp_path / "b", rgb_format="webp")
    with pytest.raises(InvalidInput, match="depth_scale"):
        FolderWriter(tmp_path / "c", depth_scale=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("stamp_ns"), r"index\.jsonl:2: wanted percept with T_world_sensor, stamp_ns"),
        (lambda f: f.update(color="x.png"), r"index\.jsonl:2: .*'color'"),
        (lambda f: f.update(stamp_ns=1.5), r"index\.jsonl:2: stamp_ns: wanted whole nanoseconds"),
        (lambda f: f.update(stamp_ns=0), r"index\.jsonl:2: time goes backwards for '', from 100 to 0"),
        (lambda f: f.update(T_world_sensor=[1, 2]), r"index\.jsonl:2: wanted T_world_sensor as 16 numbers"),
        (lambda f: f.update(T_world_sensor=[2.0] * 16), r"index\.jsonl:2: T_world_sensor: wanted"),
        (lambda f: f.update(rgb="rgb/none.png"), r"rgb/none\.png: missing, but .*index\.jsonl:2 names it"),
        (lambda f: f.update(rgb=5), r"index\.jsonl:2: wanted the name of a file, got 5"),
        (lambda f: f.update(camera={"fx": 1}), r"index\.jsonl:2: wanted a camera with width"),
        (lambda f: f.update(camera=None), r"index\.jsonl:2: wanted a camera for its images, got null"),
        (lambda f: f.update(labels=["mug"]), r"index\.jsonl:2: wanted labels"),
        (lambda f: f.update(detections=["mug"]), r"index\.jsonl:2: wanted detections as objects"),
        (lambda f: f.update(embedding=["a"]), r"index\.jsonl:2: a value is of another type"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, change: object, message: str) -> None:
    with FolderWriter(tmp_path) as writer:
        for i in (1, 2):
            writer.append(percept(i))
    index = tmp_path / "index.jsonl"
    first, second = (json.loads(line) for line in index.read_text().splitlines())
    change(second["percept"])
    index.write_text(json.dumps(first) + "\n" + json.dumps(second) + "\n")
    with pytest.raises(InvalidInput, match=message):
        open_dataset(tmp_path).read(1)
