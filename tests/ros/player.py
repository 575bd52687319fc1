"""A process of its own that plays a recording as a robot would: ``python player.py FOLDER DOMAIN RATE_HZ [FRAMES]``.

It waits for a listener, sends at the rate with reliable quality of service, waits until all is acknowledged, and
prints one JSON line: how many frames it sent, how long it took, and how late the latest frame was.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from embodmem.datasets import open_dataset, prefetch
from embodmem_ros.bag_messages import encode
from embodmem_ros.dds import Participant
from embodmem_ros.ports import Qos
from embodmem_ros.to_bag import speak

TOPICS = {
    "/tf": "tf2_msgs/msg/TFMessage",
    "/camera/color/camera_info": "sensor_msgs/msg/CameraInfo",
    "/camera/color/image_raw": "sensor_msgs/msg/Image",
    "/camera/aligned_depth_to_color/image_raw": "sensor_msgs/msg/Image",
    "/detections": "vision_msgs/msg/Detection2DArray",
}


def main(folder: Path, domain: int, rate_hz: float, frames: int | None) -> dict[str, float]:
    dataset = open_dataset(folder)
    with Participant("player", domain_id=domain, localhost_only=True) as node:
        qos = Qos(reliable=True, transient_local=False, depth=200)
        publishers = {topic: node.publisher(topic, kind, qos) for topic, kind in TOPICS.items()}
        while not all(publisher.subscribers() for publisher in publishers.values()):
            time.sleep(0.01)
        stop = len(dataset) if frames is None else frames
        sent, latest = 0, 0.0
        begin = time.monotonic()
        for i, percept in enumerate(prefetch(dataset, stop=stop, depth=32)):
            encoded = [(m.topic, encode(m.type, m.content)) for m in speak(percept) if m.topic in publishers]
            due = begin + i / rate_hz
            time.sleep(max(0.0, due - time.monotonic()))
            latest = max(latest, time.monotonic() - due)
            for topic, raw in encoded:
                publishers[topic].publish(raw)
            sent += 1
        seconds = time.monotonic() - begin
        acknowledged = all(publisher.wait_for_acks(10.0) for publisher in publishers.values())
    return {"sent": sent, "seconds": seconds, "latest_s": latest, "acknowledged": acknowledged}


if __name__ == "__main__":
    limit = int(sys.argv[4]) if len(sys.argv) > 4 else None
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), limit)))
