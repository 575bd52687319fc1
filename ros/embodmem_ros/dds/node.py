"""The memory as a ROS 2 node without ROS: what `embodmem ros` runs."""

from __future__ import annotations

import threading
from collections.abc import Callable

from embodmem.embodied import EmbodiedMemory
from embodmem_ros import ports
from embodmem_ros.config import NodeConfig
from embodmem_ros.dds.participant import Participant
from embodmem_ros.service import MemoryService


class DdsNode:
    """A `MemoryService` on the network.

    Args:
        config: Settings.
        log: Told about what was lost and about errors in handlers.

    Raises:
        StoreError: The memory's file cannot be used.
        MissingDependency: cyclonedds or rosbags is not installed.
    """

    def __init__(self, config: NodeConfig, log: Callable[[str], None] | None = None) -> None:
        self.config = config
        domain = None if config.dds.domain_id < 0 else config.dds.domain_id
        self.participant = Participant(
            config.name, config.namespace, domain_id=domain, localhost_only=config.dds.localhost_only, log=log
        )
        try:
            self.memory = EmbodiedMemory(config.memory_file, config=config.memory)
        except BaseException:
            self.participant.close()
            raise
        _ = self.memory.spatial.octree  # its kernels are loaded before sensors send
        self.service = MemoryService(self.memory, config, log)
        self._stop = threading.Event()
        self._publishers = {
            output.name: self.participant.publisher(output.topic, output.type, output.qos)
            for output in ports.outputs(config)
        }
        for service in ports.services(self.service):
            self.participant.serve(service.name, service.type, service.handler)
        self.service.start()
        for item in ports.inputs(self.service):
            self.participant.subscribe(item.topic, item.type, item.handler, item.qos)

    def publish(self) -> None:
        """Give out what changed."""
        for name, content in self.service.publications().items():
            self._publishers[name].publish(content)

    def run(self) -> None:
        """Give out what changes until `stop` is called."""
        while not self._stop.wait(self.config.output.period_s):
            self.publish()

    def stop(self) -> None:
        """Make `run` return; any thread may call it."""
        self._stop.set()

    def close(self) -> None:
        """Leave the network, write what came, close the memory; safe to call twice."""
        self.stop()
        self.participant.close()
        self.service.close()
        self.memory.close()

    def __enter__(self) -> DdsNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
