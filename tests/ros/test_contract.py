"""What a node does for other nodes, whichever shell it runs in; the other end is always a participant without ROS.

The pip shell runs always. The rclpy shell runs where rclpy is, with RMW_IMPLEMENTATION=rmw_cyclonedds_cpp, because the
header of a service's messages is that of rmw_cyclonedds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("cyclonedds")

from embodmem.embodied import EmbodiedMemory
from embodmem.spatial.octree.files import bt_file
from embodmem_ros import NodeConfig, ports
from embodmem_ros.dds import Client, DdsNode, Participant
from embodmem_ros.parameters import parameters
from embodmem_ros.ports import Qos
from tests.ros import room
from tests.ros.test_dds import until

DOMAIN = room.domain(2)
LATCHED = Qos(reliable=True, transient_local=True, depth=1)
TOUR = room.tour()


@contextmanager
def pip_shell(config: NodeConfig) -> Iterator[Callable[[], None]]:
    """The node in the pip shell; yields what stops it."""
    with DdsNode(config) as node:
        runner = threading.Thread(target=node.run)
        runner.start()
        yield node.close
        node.stop()
        runner.join()


@contextmanager
def rclpy_shell(config: NodeConfig) -> Iterator[Callable[[], None]]:
    """The node in the rclpy shell, configured and activated; yields what stops it."""
    rclpy = pytest.importorskip("rclpy")
    if os.environ.get("RMW_IMPLEMENTATION") != "rmw_cyclonedds_cpp":
        pytest.skip("wanted RMW_IMPLEMENTATION=rmw_cyclonedds_cpp for the header of services")
    from rclpy.executors import MultiThreadedExecutor
    from rclpy.parameter import Parameter

    from embodmem_ros.rclpy_node import MemoryNode

    rclpy.init(domain_id=DOMAIN)
    values = []
    for parameter in parameters():
        value: Any = config
        for part in parameter.name.split("."):
            value = getattr(value, part)
        values.append(Parameter(parameter.name, value=value))
    node = MemoryNode(parameter_overrides=values)
    executor = MultiThreadedExecutor(num_threads=4)
    executor.add_node(node)
    runner = threading.Thread(target=executor.spin)
    runner.start()
    node.trigger_configure()
    node.trigger_activate()

    def stop() -> None:
        node.trigger_deactivate()
        node.trigger_cleanup()

    yield stop
    executor.shutdown()
    runner.join()
    node.destroy_node()
    rclpy.try_shutdown()


class Shell(NamedTuple):
    """A running node, and a participant that stands beside it."""

    config: NodeConfig
    peer: Participant
    stop: Callable[[], None]

    def client(self, name: str) -> Client:
        kind = "std_srvs/srv/Trigger" if name == "save" else f"embodmem_msgs/srv/{name.capitalize()}"
        client = self.peer.client(self.config.full_name(f"~/{name}"), kind)
        until(client.is_ready)
        return client

    def listen(self, key: str) -> list[Any]:
        """Messages of an output, latched ones included."""
        output = next(output for output in ports.outputs(self.config) if output.name == key)
        got: list[Any] = []
        self.peer.subscribe(output.topic, output.type, got.append, output.qos)
        return got

    def counters(self, diagnostics: list[Any]) -> dict[str, int]:
        return {v.key: int(v.value) for v in diagnostics[-1].status[0].values} if diagnostics else {}

    def publishers(self, *keys: str) -> dict[str, Any]:
        reliable = {"tf_static": Qos(reliable=True, transient_local=True, depth=10)}
        made = {
            key: self.peer.publisher(
                self.config.full_name(getattr(self.config.topics, key)),
                room.TYPES[key],
                reliable.get(key, Qos(reliable=True, transient_local=False, depth=100)),
            )
            for key in keys
        }
        until(lambda: all(publisher.subscribers() for publisher in made.values()))
        return made

    def play(self) -> None:
        """Send the tour, and wait until it is written."""
        diagnostics = self.listen("diagnostics")
        topics = self.publishers("tf_static", "tf", "camera_info", "rgb", "depth", "detections")
        topics["tf_static"].publish(room.standing())
        for view in TOUR:
            for key, plain in room.spoken(view):
                topics[key].publish(plain)
            time.sleep(0.02)
        until(lambda: self.counters(diagnostics).get("written") == len(TOUR))
        counters = self.counters(diagnostics)
        lost = {k: n for k, n in counters.items() if not k.startswith(("written", "received"))}
        assert not any(lost.values()), lost


@pytest.fixture(params=["pip", "rclpy"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    local = request.param == "pip"
    config = room.config(str(tmp_path / "tour.mem"), domain_id=DOMAIN)
    start = pip_shell if local else rclpy_shell
    with (
        start(config) as stop,
        Participant("peer", domain_id=DOMAIN, localhost_only=local) as peer,
    ):
        yield Shell(config, peer, stop)


def test_the_tour_is_remembered_and_kept(shell: Shell) -> None:
    shell.play()
    recall = shell.client("recall")
    answer = recall.call({"text": "where is the mug?"})
    assert answer.success and "mug" in answer.answer
    place = answer.items[0].position
    np.testing.assert_allclose((place.x, place.y, place.z), room.MUG, atol=0.1)
    assert [i.label for i in recall.call({"labels": ["book"], "kinds": ["object"], "k": 3}).items] == ["book"]
    refused = recall.call({"text": "  "})
    assert not refused.success and "wanted a text, labels or kinds" in refused.message
    assert shell.client("save").call({}).success
    shell.stop()
    with EmbodiedMemory(shell.config.memory_file, "r") as kept, EmbodiedMemory(config=room.MEMORY) as direct:
        direct.write_batch(TOUR)
        room.same_memory(kept, direct)


def test_maps_and_objects_reach_who_comes_later(shell: Shell, tmp_path: Path) -> None:
    shell.play()
    time.sleep(1.2)  # all is given out before anyone listens
    got = {key: shell.listen(key) for key in ("octomap", "grid", "markers")}
    until(lambda: all(got.values()))
    octomap, grid, markers = (messages[-1] for messages in got.values())
    assert {m.header.frame_id for m in (octomap, grid)} == {"map"}
    last = TOUR[-1].stamp_ns
    assert octomap.header.stamp.sec * 10**9 + octomap.header.stamp.nanosec == last
    assert len(grid.data) == grid.info.width * grid.info.height and set(grid.data) == {-1, 0, 100}
    assert sorted(m.text for m in markers.markers if m.text) == ["book", "mug", "table"]
    pyoctomap = pytest.importorskip("pyoctomap")
    (tmp_path / "map.bt").write_bytes(bt_file(octomap.data.tobytes(), octomap.resolution))
    tree = pyoctomap.OcTree(0.1)
    assert tree.readBinary(str(tmp_path / "map.bt"))
    shell.stop()
    with EmbodiedMemory(shell.config.memory_file, "r") as kept:
        centres, edge = kept.spatial.octree.occupied()
    assert all(tree.isNodeOccupied(tree.search(centre.astype(float))) for centre in centres[::20])
    volume = sum(leaf.getSize() ** 3 for leaf in tree.begin_leafs() if tree.isNodeOccupied(leaf))
    assert round(volume / edge**3) == len(centres)


def test_what_is_told_is_remembered_and_forgotten(shell: Shell) -> None:
    recall = shell.client("recall")
    assert shell.client("remember").call({"text": "the keys are in the drawer"}).success
    shell.publishers("told")["told"].publish({"data": "the bins go out on Tuesday"})
    until(lambda: "Tuesday" in recall.call({"text": "when do the bins go out?"}).answer)
    assert "drawer" in recall.call({"text": "where are my keys?"}).answer
    forget = shell.client("forget")
    refused = forget.call({})
    assert not refused.success and "at least one filter" in refused.message
    told = [i.id for i in recall.call({"text": "keys", "kinds": ["told"]}).items if "keys" in i.text]
    gone = forget.call({"ids": told})
    assert gone.success and gone.count == len(told) == 1
    assert "drawer" not in recall.call({"text": "where are my keys?"}).answer


def test_it_is_in_the_graph(shell: Shell) -> None:
    until(lambda: shell.config.full_name(shell.config.name) in shell.peer.nodes())
    for name in ("recall", "remember", "forget", "save"):
        assert shell.client(name).is_ready()
