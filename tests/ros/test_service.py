"""The service without any ROS: what it writes is what the library writes, what it loses it counts, what it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodmem.datasets.ros_definitions import type_store
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError
from embodmem_ros import MemoryService, TransformError, messages, ports
from embodmem_ros.bag_messages import decode, encode, make_message
from embodmem_ros.config import NodeConfig, OutputConfig, TopicConfig
from embodmem_ros.fill import fill
from tests.ros import room, rosidl_like

TOUR = room.tour()


def feed(service: MemoryService, key: str, plain: messages.Plain) -> None:
    getattr(service, f"on_{key}")(make_message(room.TYPES[key], plain))


def play(service: MemoryService) -> None:
    feed(service, "tf_static", room.standing())
    for view in TOUR:
        for key, plain in room.spoken(view):
            feed(service, key, plain)


@pytest.fixture
def service() -> Iterator[MemoryService]:
    with EmbodiedMemory(config=room.MEMORY) as memory:
        yield MemoryService(memory, room.config())


def request(kind: str, **fields: object) -> object:
    return make_message(f"embodmem_msgs/srv/{kind}_Request", fields)


def test_messages_make_the_memory_that_percepts_make(service: MemoryService) -> None:
    play(service)
    assert service.process() == len(TOUR)
    with EmbodiedMemory(config=room.MEMORY) as direct:
        direct.write_batch(TOUR)
        room.same_memory(service.memory, direct)
    lost = {k: n for k, n in service.counters().items() if not k.startswith("received") and k not in ("written",)}
    assert not any(lost.values()), lost
    assert service.counters()["written"] == len(TOUR)


def test_a_worker_writes_while_messages_come(service: MemoryService) -> None:
    service.start()
    play(service)
    service.close()
    assert service.counters()["written"] == len(TOUR)


def test_a_view_waits_for_its_transform_and_is_dropped_when_none_comes(service: MemoryService) -> None:
    said: list[str] = []
    now = [100.0]
    service = MemoryService(service.memory, service.config, said.append, lambda: now[0])
    feed(service, "tf_static", room.standing())
    for i, view in enumerate(TOUR):
        for key, plain in room.spoken(view):
            if key != "tf" or i not in (3, 4):
                feed(service, key, plain)
        service.process()
        if i == 0:
            assert service.counters()["written"] == 1
        if i == 4:
            assert service.counters()["written"] == 3 and service.counters()["waiting"] == 2
    # Frames 3 and 4 lie between known transforms: they are interpolated, not lost.
    assert service.counters()["written"] == len(TOUR) and not said
    late = replace(TOUR[-1], stamp_ns=TOUR[-1].stamp_ns + 1)
    for view in (late, replace(late, stamp_ns=late.stamp_ns + 2_000_000_000)):
        for key, plain in room.spoken(view):
            if key != "tf":
                feed(service, key, plain)
    service.process()
    assert service.counters()["no_transform"] == 0 and service.counters()["waiting"] == 2
    now[0] += service.config.input.tf_wait_s
    service.process()
    assert service.counters()["no_transform"] == 2 and service.counters()["waiting"] == 0
    assert "transforms are not extrapolated" in said[0] and "'base_link' in 'odom'" in said[0]


def test_a_camera_without_intrinsics_does_not_hold_up_a_lidar(service: MemoryService) -> None:
    said: list[str] = []
    now = [0.0]
    service = MemoryService(service.memory, service.config, said.append, lambda: now[0])
    feed(service, "tf_static", room.standing())
    for view in TOUR:
        for key, plain in room.spoken(view):
            if key != "camera_info":
                feed(service, key, plain)
    wall = np.stack([np.full(100, 2.0), np.linspace(-1, 1, 100), np.zeros(100)], axis=1)
    feed(service, "points", messages.cloud(wall, TOUR[-1].stamp_ns, "odom"))
    assert service.process() == 0
    now[0] += 2.0
    assert service.process() == 1
    assert service.counters()["no_camera_info"] == len(TOUR)
    assert "no message has come on '/camera/color/camera_info'" in said[0]


def test_answers_and_maps_are_given_while_views_are_written(service: MemoryService) -> None:
    stop = threading.Event()
    wrong: list[object] = []
    given: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            answer = service.handle_recall(request("Recall", text="where is the mug?"))
            if not answer["success"]:
                wrong.append(answer)
            given.extend(service.publications())

    asker = threading.Thread(target=ask)
    asker.start()
    service.start()
    try:
        play(service)
        service.close()
    finally:
        stop.set()
        asker.join()
    assert not wrong and {"octomap", "grid", "markers"} <= set(given)
    assert service.counters()["written"] == len(TOUR) and service.counters()["not_given_out"] == 0


def test_a_full_queue_drops_the_oldest_views(service: MemoryService) -> None:
    config = replace(service.config, input=replace(service.config.input, queue=5))
    small = MemoryService(service.memory, config)
    play(small)
    assert small.process() == 5
    assert small.counters()["dropped_views"] == len(TOUR) - 5
    assert small.memory.newest_stamp() == TOUR[-1].stamp_ns


def test_a_view_that_waits_long_keeps_its_pose(service: MemoryService) -> None:
    """Transforms are kept for 1 s of stamps here, and the camera's intrinsics come 11 views after the first."""
    config = replace(service.config, input=replace(service.config.input, tf_history_s=1.0))
    slow = MemoryService(service.memory, config)
    feed(slow, "tf_static", room.standing())
    step = 500_000_000
    views = [replace(view, stamp_ns=(i + 1) * step) for i, view in enumerate(TOUR)]
    for view in views:
        for key, plain in room.spoken(view):
            if key != "camera_info":
                feed(slow, key, plain)
        assert slow.process() == 0
    with pytest.raises(TransformError, match="known from"):
        slow.transforms.lookup("map", room.CAMERA_FRAME, step)  # long gone
    feed(slow, "camera_info", dict(room.spoken(views[-1]))["camera_info"])
    assert slow.process() == len(TOUR) and not slow.lost()
    with EmbodiedMemory(config=room.MEMORY) as direct:
        direct.write_batch(views)
        room.same_memory(slow.memory, direct)


def test_refused_views_are_counted_and_the_others_written(service: MemoryService) -> None:
    bad = dict(room.spoken(TOUR[5]))["depth"]
    feed(service, "tf_static", room.standing())
    for i, view in enumerate(TOUR):
        for key, plain in room.spoken(view):
            feed(service, key, {**bad, "encoding": "mono8"} if (i, key) == (5, "depth") else plain)
    assert service.process() == len(TOUR) - 1
    assert service.counters()["refused"] == 1


def test_clouds_and_odometry(service: MemoryService) -> None:
    pose = messages.transform("map", "lidar", np.eye(4), 0)["transform"]
    for stamp in (1_000_000_000, 2_000_000_000):
        there = {"position": pose["translation"], "orientation": pose["rotation"]}
        odometry = {"header": messages.header(stamp, "map"), "child_frame_id": "lidar", "pose": {"pose": there}}
        feed(service, "odometry", odometry)
    wall = np.stack([np.full(100, 2.0), np.linspace(-1, 1, 100), np.zeros(100)], axis=1)
    feed(service, "points", messages.cloud(wall, 1_500_000_000, "lidar"))
    assert service.process() == 1
    assert (service.memory.spatial.octree.occupancy(wall) == 1).all()


def test_services_answer(service: MemoryService) -> None:
    play(service)
    service.process()
    answer = service.handle_recall(request("Recall", text="where is the mug?"))
    assert answer["success"] and "mug" in answer["answer"]
    mug = answer["items"][0]
    np.testing.assert_allclose([mug["position"][axis] for axis in "xyz"], room.MUG, atol=0.1)
    assert encode("embodmem_msgs/srv/Recall_Response", answer)
    labelled = service.handle_recall(request("Recall", labels=["book"], kinds=["object"]))
    assert [item["label"] for item in labelled["items"]] == ["book"]

    assert service.handle_remember(request("Remember", text="the keys are in the drawer"))["success"]
    feed(service, "told", {"data": "the mug belongs to Ada"})
    assert "drawer" in service.handle_recall(request("Recall", text="where are my keys?"))["answer"]
    assert service.counters()["told"] == 2
    refused = service.handle_remember(request("Remember", text=" "))
    assert not refused["success"] and "text" in refused["message"]

    gone = service.handle_forget(request("Forget", labels=["mug"]))
    assert gone["success"] and gone["count"] >= 1
    assert not service.handle_recall(request("Recall", labels=["mug"], kinds=["object"]))["items"]
    open_query = service.handle_forget(request("Forget"))
    assert not open_query["success"] and "at least one filter" in open_query["message"]
    assert service.handle_save(None)["success"]


def test_what_is_given_out(service: MemoryService) -> None:
    assert set(service.publications()) >= {"octomap", "markers", "diagnostics"}
    play(service)
    service.process()
    config = replace(service.config, output=OutputConfig(grid_z_min_m=0.5, grid_z_max_m=1.0))
    service = MemoryService(service.memory, config)
    made = service.publications()
    assert set(service.publications()) == {"diagnostics"}  # nothing changed
    kinds = {
        "octomap": "octomap_msgs/msg/Octomap",
        "grid": "nav_msgs/msg/OccupancyGrid",
        "markers": "visualization_msgs/msg/MarkerArray",
        "diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
    }
    assert all(encode(kinds[name], plain) for name, plain in made.items())
    grid, info = made["grid"], made["grid"]["info"]
    plan = np.frombuffer(grid["data"], np.int8).reshape(info["height"], info["width"])
    cells = np.argwhere(plan == 100)[:, ::-1]
    corner = (info["origin"]["position"]["x"], info["origin"]["position"]["y"])
    places = (cells + 0.5) * info["resolution"] + corner
    # The plain way: all voxels of these heights, one by one.
    centres, _ = service.memory.spatial.octree.occupied()
    wanted = centres[(centres[:, 2] > 0.5) & (centres[:, 2] < 1.0)][:, :2]
    assert {tuple(p) for p in np.round(places, 3).tolist()} == {
        tuple(p) for p in np.round(wanted.astype(float), 3).tolist()
    }
    assert set(np.unique(plan)) == {-1, 0, 100}
    texts = [m["text"] for m in made["markers"]["markers"] if "text" in m]
    assert sorted(texts) == ["book", "mug", "table"]


def test_settings_are_checked(tmp_path: Path) -> None:
    assert NodeConfig(namespace="/robot").full_name("~/recall") == "/robot/embodmem/recall"
    assert NodeConfig(namespace="/robot").full_name("scan") == "/robot/scan"
    for wrong in ({"namespace": "robot"}, {"topics": TopicConfig(camera_info="")}):
        with pytest.raises(ConfigError, match="wanted"):
            NodeConfig(**wrong)  # type: ignore[arg-type]


def test_what_is_given_out_fits_the_messages_of_rclpy(service: MemoryService) -> None:
    play(service)
    service.process()
    given = {output.name: output.type for output in ports.outputs(service.config)}
    contents = [(given[name], content) for name, content in service.publications().items()]
    contents.append(("embodmem_msgs/srv/Recall_Response", service.handle_recall(request("Recall", text="the mug"))))
    contents.append(("embodmem_msgs/srv/Forget_Response", service.handle_forget(request("Forget", labels=["mug"]))))
    contents.append(("std_srvs/srv/Trigger_Response", service.handle_save(None)))
    assert len(contents) == 7
    for kind, content in contents:
        filled = rosidl_like.to_plain(fill(rosidl_like.find_type(kind)(), content, rosidl_like.find_type))
        assert filled == plain_of(decode(kind, encode(kind, content)))


def plain_of(message: object) -> object:
    """A message of rosbags as nested plain values."""
    if hasattr(message, "__msgtype__"):
        names = [name for name, _ in type_store().fielddefs[message.__msgtype__][1]]
        return {name: plain_of(getattr(message, name)) for name in names}
    if isinstance(message, np.ndarray):
        return message.tolist()
    return [plain_of(item) for item in message] if isinstance(message, list) else message
