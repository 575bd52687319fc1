"""The memory as a lifecycle node of rclpy, for a sourced ROS 2 (written for Jazzy)."""

from __future__ import annotations

from typing import Any

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, State, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rosidl_runtime_py.utilities import get_message, get_service

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import EmbodmemError
from embodmem_ros import ports
from embodmem_ros.fill import fill
from embodmem_ros.parameters import Parameter, config_from_parameters, parameters
from embodmem_ros.service import MemoryService


def _qos(qos: ports.Qos) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE if qos.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if qos.transient_local else DurabilityPolicy.VOLATILE,
    )


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=parameter.description)
    if parameter.range is not None and isinstance(parameter.default, float):
        low, high = (float(value) for value in parameter.range)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    elif parameter.range is not None:
        least, most = (int(value) for value in parameter.range)
        descriptor.integer_range = [IntegerRange(from_value=least, to_value=most, step=1)]
    return descriptor


class MemoryNode(LifecycleNode):  # type: ignore[misc]
    """Unconfigured: parameters only. Inactive: the memory is open and answers. Active: it takes in and gives out.

    Parameters are read when it is configured; quality of service can be overridden per topic in the way of ROS
    (`qos_overrides./topic.subscription.reliability`).
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__("embodmem", **settings)
        self._parameters_known = parameters()
        for parameter in self._parameters_known:
            self.declare_parameter(parameter.name, parameter.default, _descriptor(parameter))
        # rclpy's own Node has attributes such as _timers and _services: ours must not bear their names.
        self._group_sensors, self._group_answers, self._group_output = (
            MutuallyExclusiveCallbackGroup() for _ in range(3)
        )
        self._memory: EmbodiedMemory | None = None
        self._service: MemoryService | None = None
        self._outputs: dict[str, tuple[Any, type]] = {}
        self._answering: list[Any] = []
        self._listening: list[Any] = []
        self._timer: Any = None

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Open the memory, make publishers and services."""
        values = {p.name: self.get_parameter(p.name).value for p in self._parameters_known}
        try:
            config = config_from_parameters(values, self.get_name(), self.get_namespace())
            self._memory = EmbodiedMemory(config.memory_file, config=config.memory)
            _ = self._memory.spatial.octree  # its kernels are loaded before sensors send
            self._service = MemoryService(self._memory, config, lambda text: self.get_logger().warning(text))
        except EmbodmemError as error:
            self.get_logger().error(str(error))
            self._close()
            return TransitionCallbackReturn.FAILURE
        overriding = QoSOverridingOptions.with_default_policies()
        for output in ports.outputs(config):
            kind = get_message(output.type)
            publisher = self.create_lifecycle_publisher(
                kind, output.topic, _qos(output.qos), qos_overriding_options=overriding
            )
            self._outputs[output.name] = (publisher, kind)
        for service in ports.services(self._service):
            handler = service.handler

            def answer(request: Any, response: Any, handler: Any = handler) -> Any:
                return fill(response, handler(request), get_message)

            made = self.create_service(
                get_service(service.type), service.name, answer, callback_group=self._group_answers
            )
            self._answering.append(made)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Listen to the sensors, and give out what changes."""
        assert self._service is not None
        self._service.start()
        overriding = QoSOverridingOptions.with_default_policies()
        for item in ports.inputs(self._service):
            self._listening.append(
                self.create_subscription(
                    get_message(item.type),
                    item.topic,
                    item.handler,
                    _qos(item.qos),
                    callback_group=self._group_sensors,
                    qos_overriding_options=overriding,
                )
            )
        period_s = self._service.config.output.period_s
        self._timer = self.create_timer(period_s, self._publish, callback_group=self._group_output)
        return super().on_activate(state)

    def _publish(self) -> None:
        if self._service is not None:
            for name, content in self._service.publications().items():
                publisher, kind = self._outputs[name]
                publisher.publish(fill(kind(), content, get_message))

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Stop listening; what came is written."""
        self._silence()
        if self._service is not None:
            self._service.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Close the memory."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Close the memory."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Close the memory; the node can be configured again."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def _silence(self) -> None:
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        while self._listening:
            self.destroy_subscription(self._listening.pop())

    def _close(self) -> None:
        self._silence()
        while self._answering:
            self.destroy_service(self._answering.pop())
        for publisher, _ in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._outputs.clear()
        service, self._service = self._service, None
        if service is not None:
            service.close()
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    def destroy_node(self) -> None:
        """Close the memory with the node."""
        self._close()
        super().destroy_node()


def main(arguments: list[str] | None = None) -> None:
    """The executable: one node, with threads for sensors, services and the timer."""
    rclpy.init(args=arguments)
    node = MemoryNode()
    executor = MultiThreadedExecutor(num_threads=4)
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
