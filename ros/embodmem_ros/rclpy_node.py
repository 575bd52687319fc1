"""The memory as a lifecycle node of rclpy, for a sourced ROS 2 (written for Jazzy)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
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


Transition = Callable[["MemoryNode", State], TransitionCallbackReturn]


def _told(transition: Transition) -> Transition:
    """Log an error in a transition: rclpy only takes it for the result ERROR."""

    @wraps(transition)
    def run(self: MemoryNode, state: State) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except Exception as error:  # whatever it is, on_error cleans up
            self.get_logger().error(f"{transition.__name__}: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR

    return run


class MemoryNode(LifecycleNode):  # type: ignore[misc]
    """Unconfigured: parameters only. Inactive: the memory is open and answers. Active: it takes in and gives out.

    An error in the handler of a message, a request or the timer is logged and stops nothing: an executor would end the
    process. Parameters are read when it is configured; quality of service can be overridden per topic in the way of ROS
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

    @_told
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
            kind, answer = get_service(service.type), self._answerer(service)
            made = self.create_service(kind, service.name, answer, callback_group=self._group_answers)
            self._answering.append(made)
        return TransitionCallbackReturn.SUCCESS

    @_told
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
                    self._guarded(item.topic, item.handler),
                    _qos(item.qos),
                    callback_group=self._group_sensors,
                    qos_overriding_options=overriding,
                )
            )
        period_s = self._service.config.output.period_s
        publish = self._guarded("giving out", self._publish)
        self._timer = self.create_timer(period_s, publish, callback_group=self._group_output)
        return super().on_activate(state)

    def _guarded(self, what: str, call: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            try:
                call(*arguments)
            except Exception as error:  # whatever a handler does, the others go on
                self.get_logger().error(f"{what}: {type(error).__name__}: {error}", throttle_duration_sec=1.0)

        return run

    def _answerer(self, service: ports.Service) -> Callable[[Any, Any], Any]:
        def answer(request: Any, response: Any) -> Any:
            try:
                return fill(response, service.handler(request), get_message)
            except Exception as error:  # the caller is told, and waits for nothing
                self.get_logger().error(f"{service.name}: {type(error).__name__}: {error}")
                response.success, response.message = False, f"{type(error).__name__}: {error}"
                return response

        return answer

    def _publish(self) -> None:
        service, outputs = self._service, dict(self._outputs)  # a transition may take them away meanwhile
        if service is None:
            return
        for name, content in service.publications().items():
            if name in outputs:
                publisher, kind = outputs[name]
                publisher.publish(fill(kind(), content, get_message))

    @_told
    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Stop listening; what came is written."""
        self._silence()
        if self._service is not None:
            self._service.close()
        return super().on_deactivate(state)

    @_told
    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Close the memory."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    @_told
    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Close the memory."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    @_told
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
