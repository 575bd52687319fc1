"""The ROS 2 door: what a view costs on its way in, what a map costs on its way out, and what the loopback carries.

The claim: one core's thread has room for 30 views/s of 640x480 colour and depth beside the memory itself, and no view
is lost on the way. Images are also sent as sequences of fragments of the default size, as rmw_cyclonedds does, for
comparison with the larger ones that the pip shell takes on the loopback interface.

    python benchmarks/bench_ros.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from embodmem.config import Config
from embodmem.datasets import open_dataset
from embodmem.embodied import EmbodiedMemory
from embodmem.spatial.octree.files import binary_stream
from embodmem_ros import MemoryService, NodeConfig, Synchroniser, TransformTree, messages
from embodmem_ros.bag_messages import decode, encode
from embodmem_ros.config import TopicConfig
from embodmem_ros.dds import Participant
from embodmem_ros.ports import Qos
from embodmem_ros.to_bag import speak

KITCHEN = Path(__file__).resolve().parents[2] / "shared" / "data" / "seven_scenes_kitchen"
FRAMES = 120
DOMAIN = 97
KEYS = {
    "/tf": "tf",
    "/camera/color/camera_info": "camera_info",
    "/camera/color/image_raw": "rgb",
    "/camera/aligned_depth_to_color/image_raw": "depth",
    "/detections": "detections",
}


def timed(work: Callable[[], object], repeat: int) -> float:
    """Milliseconds of one call, the median."""
    took = []
    for _ in range(repeat):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(took))


def claim(value: float, unit: str, most: float) -> dict[str, object]:
    """A figure that is to be `most` or less."""
    return {"value": round(value, 3), "unit": unit, "target": round(most, 3), "holds": value <= most}


_QOS = Qos(reliable=True, transient_local=False, depth=50)
_TOPICS = ("/rgb", "/depth")


def talk(rate_hz: float, localhost_only: bool, domain: int) -> None:
    """What the other process does: send `FRAMES` views once somebody listens, and stay until all is acknowledged."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8), rng.integers(0, 5000, (480, 640), dtype=np.uint16)
    raws = [encode("sensor_msgs/msg/Image", messages.image(image, 0, "c")) for image in images]
    with Participant("talker", domain_id=domain, localhost_only=localhost_only) as node:
        publishers = [node.publisher(topic, "sensor_msgs/msg/Image", _QOS) for topic in _TOPICS]
        while not all(publisher.subscribers() for publisher in publishers):
            time.sleep(0.01)
        begin = time.perf_counter()
        for i in range(FRAMES):
            time.sleep(max(0.0, begin + i / rate_hz - time.perf_counter()))
            for publisher, raw in zip(publishers, raws, strict=True):
                publisher.publish(raw)
        for publisher in publishers:
            publisher.wait_for_acks(10.0)


def stream(rate_hz: float, localhost_only: bool, domain: int) -> tuple[int, float]:
    """Views of 1.5 MB that arrived from another process, and the seconds from the first to the last."""
    came: list[float] = []
    with Participant("listener", domain_id=domain, localhost_only=localhost_only) as node:
        for topic in _TOPICS:
            node.subscribe(topic, "sensor_msgs/msg/Image", lambda m: came.append(time.perf_counter()), _QOS)
        # Two participants of one process would hand samples over without a network.
        talker = multiprocessing.get_context("spawn").Process(target=talk, args=(rate_hz, localhost_only, domain))
        talker.start()
        talker.join(60)
        time.sleep(0.2)
    return len(came) // 2, came[-1] - came[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the claims to this file")
    chosen = parser.parse_args()
    dataset = open_dataset(KITCHEN)
    views = [dataset.read(i) for i in range(FRAMES)]
    plain = [(KEYS[s.topic], s.type, s.content) for s in speak(views[0]) if s.topic in KEYS]
    raws = [(key, kind, encode(kind, content)) for key, kind, content in plain]
    table = Table("step", "ms a view", title="640x480 colour and depth, detections, /tf")
    table.add_row("percept to messages", f"{timed(lambda: list(speak(views[0])), 20):.2f}")
    table.add_row("messages to bytes", f"{timed(lambda: [encode(k, c) for _, k, c in plain], 20):.2f}")
    table.add_row("bytes to messages", f"{timed(lambda: [decode(k, r) for _, k, r in raws], 20):.2f}")
    decoded = {key: decode(kind, raw) for key, kind, raw in raws}
    images = (decoded["rgb"], decoded["depth"])
    table.add_row("images to arrays", f"{timed(lambda: [messages.image_to_array(m) for m in images], 20):.2f}")
    tree = TransformTree()
    for i in range(3000):
        tree.add("map", "camera", views[i % FRAMES].T_world_sensor, i * 10_000_000)
    table.add_row("transform, interpolated", f"{timed(lambda: tree.lookup('map', 'camera', 15_005_000_000), 200):.3f}")
    sync = Synchroniser(["depth", "rgb", "detections"], slop_ns=0, queue=90)
    stamps = iter(range(10_000))

    def match() -> None:
        stamp = next(stamps)
        assert [bool(sync.add(name, stamp, None)) for name in ("rgb", "detections", "depth")][-1]

    table.add_row("synchronise three streams", f"{timed(match, 500):.4f}")

    topics = TopicConfig(detections="/detections")
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        _ = memory.spatial.octree
        service = MemoryService(memory, NodeConfig(topics=topics))
        said = [[(KEYS[s.topic], decode(s.type, encode(s.type, s.content))) for s in speak(v) if s.topic in KEYS]
                for v in views]  # fmt: skip
        begin = time.perf_counter()
        for i, view in enumerate(said):
            for key, message in view:
                getattr(service, f"on_{key}")(message)
            if i % 8 == 7:
                service.process()
        service.process()
        service_ms = 1e3 * (time.perf_counter() - begin) / FRAMES
        assert service.counters()["written"] == FRAMES
        table.add_row("the whole service, memory included", f"{service_ms:.1f}")
        bricks = memory.spatial.octree.bricks()
        over, under = bricks.log_odds > 0, bricks.log_odds <= 0
        octomap_ms = timed(lambda: binary_stream(bricks.keys, over, under), 10)
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        begin = time.perf_counter()
        for i in range(0, FRAMES, 8):
            memory.write_batch(views[i : i + 8])
        table.add_row(
            "floor: the same percepts, written directly", f"{1e3 * (time.perf_counter() - begin) / FRAMES:.1f}"
        )
    console = Console()
    console.print(table)
    console.print(f"Octomap message of {len(bricks.keys)} bricks: {octomap_ms:.1f} ms")

    claims = {"ros_service_view": claim(service_ms, "ms", 1000 / 30)}
    net = Table("fragments", "rate asked", "arrived", "seconds", "MB/s", title=f"{FRAMES} views of 1.5 MB, reliable")
    for name, local, domain in (("63 kB, this machine only", True, DOMAIN), ("default", False, DOMAIN + 1)):
        for rate in (30.0, 1e6):
            arrived, seconds = stream(rate, local, domain)
            asked = "30 Hz" if rate == 30 else "as fast as it goes"
            if rate == 30:
                claims[f"ros_lost_at_30_hz_{'local' if local else 'default'}"] = claim(FRAMES - arrived, "views", 0)
            net.add_row(name, asked, f"{arrived}/{FRAMES}", f"{seconds:.2f}", f"{arrived * 1.536 / seconds:.0f}")
    console.print(net)
    if chosen.json:
        chosen.json.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
