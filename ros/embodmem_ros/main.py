"""The node as a command: `embodmem ros --config FILE`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from embodmem_ros.config import NodeConfig, load_node_config


def run(config_file: Path | None, memory_file: Path | None, log: Callable[[str], None]) -> None:
    """Run the node until SIGINT or SIGTERM; what came by then is written.

    Args:
        config_file: YAML file of settings; None takes the defaults.
        memory_file: The memory's file, in place of the one in the settings.
        log: Told where the node is, and what was lost.

    Raises:
        ConfigError: The settings are not as wanted.
        StoreError: The memory's file cannot be used.
        MissingDependency: cyclonedds or rosbags is not installed.
    """
    from embodmem_ros.dds import DdsNode

    config = NodeConfig() if config_file is None else load_node_config(config_file)
    if memory_file is not None:
        config = replace(config, memory_file=str(memory_file))
    with DdsNode(config, log) as node:
        before = {number: signal.signal(number, lambda *_: node.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            log(f"{config.full_name(config.name)} is up; it writes to {config.memory_file}")
            node.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    counters, lost = node.service.counters(), node.service.lost()
    told = "; lost: " + ", ".join(f"{n} {kind}" for kind, n in lost.items()) if lost else ""
    log(f"stopped: {counters['written']} views written, {counters['waiting']} waiting{told}")
