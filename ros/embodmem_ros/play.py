"""Plays a recording or a bag to the network, with no ROS installed: ``python -m embodmem_ros.play FOLDER --rate 30``.

It waits for listeners, sends at the rate, waits until all is acknowledged, and prints one JSON line that says how
many views it sent, how long that took, and by how much the latest view was behind its time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from embodmem.datasets import Dataset, experiences
from embodmem.errors import EmbodmemError
from embodmem.types import Percept
from embodmem_ros.bag_messages import encode
from embodmem_ros.dds import Participant, Publisher
from embodmem_ros.ports import Qos
from embodmem_ros.to_bag import TOLD, open_recording, speak

_QOS = Qos(reliable=True, transient_local=False, depth=200)


def play(dataset: Dataset, node: Participant, *, rate_hz: float, wait_s: float = 10.0) -> dict[str, Any]:
    """Send a recording.

    Args:
        dataset: The recording; its events are sent as told text.
        node: Who sends.
        rate_hz: Views a second.
        wait_s: How long to wait for somebody who listens to each topic, and at the end for
            acknowledgements.

    Returns:
        sent, seconds, latest_s, heard (topics that have a listener), acknowledged.
    """
    publishers: dict[str, Publisher] = {}
    for topic, kind, _ in speak(dataset.read(0)):
        publishers[topic] = node.publisher(topic, kind, _QOS)
    publishers[TOLD] = node.publisher(TOLD, "std_msgs/msg/String", _QOS)
    end = time.monotonic() + wait_s
    while time.monotonic() < end and not all(publisher.subscribers() for publisher in publishers.values()):
        time.sleep(0.01)
    heard = sum(publisher.subscribers() > 0 for publisher in publishers.values())
    sent, latest_s = 0, 0.0
    begin = time.monotonic()
    for experience in experiences(dataset, depth=32):
        ready = [(said, encode(said.type, said.content)) for said in speak(experience)]
        due = begin + sent / rate_hz
        time.sleep(max(0.0, due - time.monotonic()))
        latest_s = max(latest_s, time.monotonic() - due)
        for said, raw in ready:
            if said.topic not in publishers:
                publishers[said.topic] = node.publisher(said.topic, said.type, _QOS)
            publishers[said.topic].publish(raw)
        sent += isinstance(experience, Percept)
    seconds = time.monotonic() - begin
    acknowledged = all(publisher.wait_for_acks(wait_s) for publisher in publishers.values())
    return {
        "sent": sent,
        "seconds": round(seconds, 3),
        "latest_s": round(latest_s, 3),
        "heard": heard,
        "acknowledged": acknowledged,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m embodmem_ros.play", description="Play a recording to ROS 2.")
    parser.add_argument("recording", type=Path, help="what `embodmem build` takes")
    parser.add_argument("--rate", type=float, default=30.0, help="views a second")
    parser.add_argument("--wait", type=float, default=10.0, help="seconds to wait for listeners")
    parser.add_argument("--localhost-only", action="store_true", help="only nodes of this machine")
    chosen = parser.parse_args(arguments)
    if not chosen.rate > 0:
        parser.error(f"--rate: wanted more than 0, got {chosen.rate}")
    try:
        dataset = open_recording(chosen.recording)
        with Participant("player", localhost_only=chosen.localhost_only) as node:
            print(json.dumps(play(dataset, node, rate_hz=chosen.rate, wait_s=chosen.wait)))
    except EmbodmemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
