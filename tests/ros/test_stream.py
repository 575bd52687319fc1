"""Two real processes over RTPS on the loopback interface: a player streams the kitchen to `embodmem ros`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cyclonedds")

from embodmem.embodied import EmbodiedMemory
from embodmem.spatial.octree.files import bt_file
from embodmem_ros.dds import Participant
from embodmem_ros.ports import Qos
from tests.ros import room
from tests.ros.test_dds import until

ROOT = Path(__file__).resolve().parents[2]
KITCHEN = ROOT.parent / "shared" / "data" / "seven_scenes_kitchen"
DOMAIN = room.domain(1)
RATE_HZ = 30
MUGS = ((-0.683, 1.762, 0.775), (0.300, 1.644, 0.754))
LATCHED = Qos(reliable=True, transient_local=True, depth=1)

pytestmark = pytest.mark.skipif(not KITCHEN.is_dir() and "CI" not in os.environ, reason=f"{KITCHEN} is not here")


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "ros"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "ROS_DOMAIN_ID": str(DOMAIN)}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "embodmem.cli", "ros", "--config", str(ROOT / "configs" / "ros_kitchen.yaml")]
    command += ["--memory", str(tmp_path / "kitchen.mem")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    yield process
    process.kill()
    process.wait()


def test_no_frame_is_lost_and_the_node_answers(node: subprocess.Popen[str], tmp_path: Path) -> None:
    pyoctomap = pytest.importorskip("pyoctomap")
    maps, diagnostics = [], []
    with Participant("watcher", domain_id=DOMAIN, localhost_only=True) as watcher:
        watcher.subscribe("/embodmem/octomap", "octomap_msgs/msg/Octomap", maps.append, LATCHED)
        watcher.subscribe(
            "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", diagnostics.append, Qos(True, False, 10)
        )
        player = [sys.executable, "-m", "embodmem_ros.play", str(KITCHEN), "--rate", str(RATE_HZ), "--localhost-only"]
        played = subprocess.run(player, env=environment(), capture_output=True, text=True, timeout=180)
        assert played.returncode == 0, played.stderr
        report = json.loads(played.stdout)
        assert report["acknowledged"] and report["heard"] == 6 and report["sent"] == 250
        # A machine that is busy with other things cannot send at this rate; then only the loss is tested.
        assert report["seconds"] < 1.5 * 250 / RATE_HZ or os.getloadavg()[0] > (os.cpu_count() or 1), report

        def counters() -> dict[str, int]:
            return {v.key: int(v.value) for v in diagnostics[-1].status[0].values} if diagnostics else {}

        until(lambda: counters().get("written") == 250, timeout_s=90)
        lost = {k: n for k, n in counters().items() if not k.startswith(("written", "received"))}
        assert not any(lost.values()), lost
        assert all(counters()[f"received_{stream}"] == 250 for stream in ("rgb", "depth", "detections"))

        assert "/embodmem" in watcher.nodes()
        recall = watcher.client("/embodmem/recall", "embodmem_msgs/srv/Recall")
        until(recall.is_ready)
        answer = recall.call({"text": "mug"})
        assert answer.success and "2 mugs" in answer.answer
        places = [(i.position.x, i.position.y, i.position.z) for i in answer.items if i.kind == "object"]
        for mug in MUGS:
            assert min(np.linalg.norm(np.subtract(mug, place)) for place in places) < 0.15
        words = [sys.executable, "-m", "embodmem_ros.recall", "where is the radio?", "--localhost-only"]
        asked = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
        assert asked.returncode == 0 and "radio" in asked.stdout, asked
        save = watcher.client("/embodmem/save", "std_srvs/srv/Trigger")
        until(save.is_ready)
        assert save.call({}).success
        until(lambda: len(maps) > 0 and maps[-1].header.stamp.sec == 33)  # the last frame's: 996 / 30 s
    node.send_signal(signal.SIGTERM)
    _, said = node.communicate(timeout=20)
    assert node.returncode == 0, said
    assert "/embodmem is up" in said and "250 views written, 0 waiting" in said

    # The map on the wire is the map in the file, as OctoMap reads it.
    path = tmp_path / "map.bt"
    path.write_bytes(bt_file(maps[-1].data.tobytes(), maps[-1].resolution))
    tree = pyoctomap.OcTree(0.1)
    assert tree.readBinary(str(path)) and tree.getResolution() == 0.05
    with EmbodiedMemory(tmp_path / "kitchen.mem", "r") as memory:
        centres, edge = memory.spatial.octree.occupied()
        assert len(memory.scene.objects()) == 17
    volume = sum(leaf.getSize() ** 3 for leaf in tree.begin_leafs() if tree.isNodeOccupied(leaf))
    assert round(volume / edge**3) == len(centres)
    assert all(tree.isNodeOccupied(tree.search(centre.astype(float))) for centre in centres[::50])
