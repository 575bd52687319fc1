"""Bags: the same memory as from the folder, topics told apart, and what is missing is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from embodmem.build import build
from embodmem.config import Config
from embodmem.datasets import RosBagDataset, open_dataset
from embodmem.datasets.ros_bag import read_transforms
from embodmem.datasets.ros_definitions import type_store
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError, DatasetError, InvalidInput
from embodmem_ros import messages, to_bag
from embodmem_ros.bag_messages import encode
from embodmem_ros.messages import Plain
from tests.ros import room

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
KITCHEN, NAV2 = DATA / "seven_scenes_kitchen", DATA / "bags" / "nav2_turtlebot.mcap"
KITCHEN_FRAMES = 60  # of 250: the whole of it takes half a minute

Written = tuple[str, str, int, Plain]  # topic, type, stamp, content


def write(path: Path, written: list[Written], plugin: StoragePlugin = StoragePlugin.MCAP) -> Path:
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections: dict[str, object] = {}
        for topic, kind, stamp, content in written:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=type_store())
            writer.write(
                connections[topic], stamp + 1_700_000_000, encode(kind, content)
            )  # recorded later than stamped
    return path


def tour(leave_out: tuple[str, ...] = ()) -> list[Written]:
    names = {"rgb": "/cam/rgb", "depth": "/cam/depth", "camera_info": "/cam/camera_info", "detections": "/boxes"}
    written: list[Written] = [("/tf_static", room.TYPES["tf_static"], 0, room.standing())]
    for view in room.tour():
        for key, plain in room.spoken(view):
            written.append((names.get(key, f"/{key}"), room.TYPES[key], view.stamp_ns, plain))
    return [item for item in written if item[0] not in leave_out]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bags") / "tour", tour())


@pytest.mark.skipif(not KITCHEN.is_dir() and "CI" not in os.environ, reason=f"{KITCHEN} is not here")
def test_the_kitchen_as_a_bag_makes_the_memory_that_the_folder_makes(tmp_path: Path) -> None:
    count = to_bag.write_bag(open_dataset(KITCHEN), tmp_path / "kitchen.mcap", stop=KITCHEN_FRAMES)
    assert count == 5 * KITCHEN_FRAMES
    bag = open_dataset(tmp_path / "kitchen.mcap")
    assert isinstance(bag, RosBagDataset) and not bag.notes
    settings = Config(encoder="hashing")
    with EmbodiedMemory(config=settings) as from_bag, EmbodiedMemory(config=settings) as from_folder:
        assert build(bag, from_bag).frames == KITCHEN_FRAMES
        frames = open_dataset(KITCHEN)
        for start in range(0, KITCHEN_FRAMES, 8):
            from_folder.write_batch(frames.read(i) for i in range(start, min(start + 8, KITCHEN_FRAMES)))
        room.same_memory(from_bag, from_folder, exact=True)
        assert len(from_bag.scene.objects()) >= 10


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_folder_of_rosbag2(plugin: StoragePlugin, tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path / "bag", tour(), plugin))
    assert isinstance(dataset, RosBagDataset)
    assert dataset.topics.depth == "/cam/depth" and dataset.topics.rgb == "/cam/rgb"
    assert dataset.world_frame == "map" and dataset.camera == room.tour()[0].camera
    views = room.tour()
    assert dataset.stamps_ns().tolist() == [view.stamp_ns for view in views]
    for i in (7, 0, 11, 3):  # in any order
        percept = dataset.read(i)
        np.testing.assert_allclose(percept.T_world_sensor, views[i].T_world_sensor, atol=1e-9)
        np.testing.assert_array_equal(percept.depth, views[i].depth)
        np.testing.assert_array_equal(percept.rgb, views[i].rgb)
        assert [d.label for d in percept.detections] == [d.label for d in views[i].detections]
    with pytest.raises(IndexError, match="wanted a frame in 0..11, got 12"):
        dataset.read(12)


def test_the_command_builds_a_bag(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tour.mem"
    command = [sys.executable, "-m", "embodmem.cli", "build", str(folder), "--out", str(out), "--json"]
    command += ["--set", "bag.rgb=none", "--set", "bag.world_frame=odom", "--set", "encoder=hashing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"]["object"] == 3
    wrong = subprocess.run([*command[:-6], "--overwrite", "--set", "bag.dept=/x"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "unknown key 'dept'; did you mean 'depth'?" in wrong.stderr


def test_options_are_checked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="depth: wanted a topic of sensor_msgs/msg/Image, got '/tf'"):
        open_dataset(folder, options={"depth": "/tf"})
    with pytest.raises(DatasetError, match="wanted the frame 'earth'; the bag has base_link, camera_optical_frame"):
        open_dataset(folder, options={"world_frame": "earth"})
    with pytest.raises(ConfigError, match="bag.slop_s"):
        open_dataset(folder, options={"slop_s": "long"})
    (tmp_path / "frames").mkdir()
    with pytest.raises(DatasetError, match="options are for ROS 2 bags only"):
        open_dataset(tmp_path / "frames", options={"depth": "/x"})


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    cases = {
        "intrinsics are missing: wanted a topic of sensor_msgs/msg/CameraInfo": ("/cam/camera_info",),
        "none of its 12 views has a pose.*'base_link' are not connected|none of its 12 views has a pose": ("/tf",),
        "no camera and no lidar: wanted depth or colour images": ("/cam/rgb", "/cam/depth"),
        "poses are missing: wanted /tf": ("/tf", "/tf_static"),
    }
    for number, (wanted, leave_out) in enumerate(cases.items()):
        with pytest.raises(DatasetError, match=wanted):
            open_dataset(write(tmp_path / str(number), tour(leave_out)))


def test_two_depth_topics_must_be_told_apart(tmp_path: Path) -> None:
    twice = tour() + [("/other/depth", kind, stamp, p) for topic, kind, stamp, p in tour() if topic == "/cam/depth"]
    bag = write(tmp_path / "bag", twice)
    with pytest.raises(DatasetError, match="depth: several topics could be meant: /cam/depth, /other/depth; name one"):
        open_dataset(bag)
    dataset = open_dataset(bag, options={"depth": "/other/depth"})
    assert isinstance(dataset, RosBagDataset) and dataset.topics.depth == "/other/depth"


def test_views_without_a_transform_are_left_out_and_told(tmp_path: Path) -> None:
    late = room.tour()[3].stamp_ns
    written = [item for item in tour() if item[0] != "/tf" or item[2] >= late]
    dataset = RosBagDataset(write(tmp_path / "bag", written))
    assert len(dataset) == room.FRAMES - 3
    assert "3 of 12 views have no pose and are left out" in dataset.notes[0]


def test_told_text_lies_between_the_views(tmp_path: Path) -> None:
    said = (
        "/memory/told",
        "std_msgs/msg/String",
        room.tour()[4].stamp_ns + 1 - 1_700_000_000,
        {"data": "this is my mug"},
    )
    written = [(t, k, s - 1_700_000_000, p) for t, k, s, p in tour()]  # logged at their stamps
    dataset = RosBagDataset(write(tmp_path / "bag", [*written, said]))
    assert [len(dataset.events(i)) for i in range(len(dataset) + 1)] == [0] * 5 + [1] + [0] * 7
    assert dataset.events(5)[0].text == "this is my mug"


def test_clouds_are_views(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((50, 3), dtype=np.float32)
    written: list[Written] = [
        ("/tf_static", room.TYPES["tf"], 0, messages.transforms(messages.transform("map", "lidar", np.eye(4), 0)))
    ]
    written += [("/scan", room.TYPES["points"], 10 * i, messages.cloud(points + i, 10 * i, "lidar")) for i in range(3)]
    dataset = open_dataset(write(tmp_path / "bag", written))
    assert dataset.camera is None and len(dataset) == 3
    np.testing.assert_array_equal(dataset.read(2).points, points + 2)


def test_damaged_bags_are_refused(folder: Path, tmp_path: Path) -> None:
    whole = next(folder.glob("*.mcap")).read_bytes()
    for name, content in (("cut.mcap", whole[: len(whole) // 2]), ("empty.mcap", b""), ("text.mcap", b"hello" * 99)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=name):
            open_dataset(tmp_path / name)
    with pytest.raises(DatasetError, match="wanted"):
        open_dataset(tmp_path / "absent.mcap")
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0")
    with pytest.raises(DatasetError, match="a bag of ROS 1 is not read; convert it: rosbags-convert"):
        open_dataset(tmp_path / "old.bag")


def test_converting_is_exact_and_refuses_to_overwrite(folder: Path, tmp_path: Path) -> None:
    first = open_dataset(folder)
    to_bag.write_bag(first, tmp_path / "again.mcap")
    with EmbodiedMemory(config=room.MEMORY) as a, EmbodiedMemory(config=room.MEMORY) as b:
        build(first, a)
        build(replaced := open_dataset(tmp_path / "again.mcap"), b)
        room.same_memory(a, b)
    assert len(replaced) == len(first)
    with pytest.raises(InvalidInput, match="it exists"):
        to_bag.write_bag(first, tmp_path / "again.mcap")
    assert to_bag.main([str(tmp_path / "nothing"), str(tmp_path / "x.mcap")]) == 1


@pytest.mark.skipif(not NAV2.is_file() and "CI" not in os.environ, reason=f"{NAV2} is not here")
def test_a_bag_of_a_robot_without_a_camera() -> None:
    with pytest.raises(
        DatasetError, match=r"no camera and no lidar: .* the bag has /amcl_pose .*, /odom \(Odometry\), /tf"
    ):
        open_dataset(NAV2)
    tree = read_transforms(NAV2)
    assert {"map", "odom", "base_footprint", "base_link"} <= tree.frames()
    span = tree.span_ns("odom")
    assert span is not None
    middle = (span[0] + span[1]) // 2
    T = tree.lookup("map", "base_link", middle)
    near = tree.lookup("map", "base_link", middle + 20_000_000)
    assert np.linalg.norm(T[:3, 3]) > 0.1 and np.linalg.norm(near[:3, 3] - T[:3, 3]) < 0.05  # a turtlebot is slow
