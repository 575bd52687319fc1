"""Asks a node that runs, with no ROS installed: ``python -m embodmem_ros.recall "where is the mug?"``."""

from __future__ import annotations

import argparse
import sys
import time

from embodmem.errors import EmbodmemError
from embodmem_ros.dds import Participant, ServiceTimeout


def ask_node(text: str, node: Participant, *, name: str = "/embodmem", k: int = 10, wait_s: float = 10.0) -> str:
    """The answer of a node, a line for the sentence and one for each thing that it rests on.

    Args:
        text: The question.
        node: Who asks.
        name: Full name of the node that is asked.
        k: At most so many things.
        wait_s: How long to wait for the node, and for its answer.

    Raises:
        ServiceTimeout: There is no such node, or it did not answer.
        EmbodmemError: The node refused the question.
    """
    client = node.client(f"{name}/recall", "embodmem_msgs/srv/Recall")
    end = time.monotonic() + wait_s
    while not client.is_ready():
        if time.monotonic() > end:
            raise ServiceTimeout(f"{client.name}: no such service within {wait_s:g} s; is the node up?")
        time.sleep(0.01)
    answer = client.call({"text": text, "k": k}, wait_s)
    if not answer.success:
        raise EmbodmemError(answer.message)
    lines = [answer.answer]
    for item in answer.items:
        p = item.position
        place = f" at ({p.x:.2f}, {p.y:.2f}, {p.z:.2f}) m" if item.has_position else ""
        lines.append(f"  {item.id}  {item.label or item.text}{place}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m embodmem_ros.recall", description="Ask a node that runs.")
    parser.add_argument("question", help='"where is the mug?"')
    parser.add_argument("--node", default="/embodmem", help="full name of the node")
    parser.add_argument("-k", type=int, default=10, help="at most so many things")
    parser.add_argument("--wait", type=float, default=10.0, help="seconds to wait for it")
    parser.add_argument("--localhost-only", action="store_true", help="only nodes of this machine")
    chosen = parser.parse_args(arguments)
    try:
        with Participant("asker", localhost_only=chosen.localhost_only) as node:
            print(ask_node(chosen.question, node, name=chosen.node, k=chosen.k, wait_s=chosen.wait))
    except EmbodmemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
