"""A ROS 2 node without ROS: a DDS participant with the names, headers and graph of rmw_cyclonedds.

Topics are `rt/NAME`; a service is a pair `rq/NAMERequest` and `rr/NAMEReply`, whose messages begin with the guid of
the client's writer and a sequence number. `ros_discovery_info` tells other nodes which endpoints belong to this node,
and each endpoint's user data tells the hash of its type.
"""

from __future__ import annotations

import itertools
import os
import struct
import threading
from collections.abc import Callable
from typing import Any

from embodmem.errors import ConfigError, EmbodmemError, InvalidInput
from embodmem_ros.bag_messages import decode, encode
from embodmem_ros.dds.peers import await_reply_reader
from embodmem_ros.dds.types import require_cyclonedds, sample, type_hash, wire_type
from embodmem_ros.messages import Plain
from embodmem_ros.ports import SERVICE_QOS, Qos

_DISCOVERY_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
_HEADER = struct.Struct("<Qq")
_TAKE = 8  # few at a time: images that pile up must not keep the transforms they need waiting
# As rmw_cyclonedds sets a domain up for ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, so that the two find one another;
# packets never leave the machine, so that they may be large.
_LOCALHOST = """<CycloneDDS><Domain>
<General><AllowMulticast>false</AllowMulticast>
<MaxMessageSize>65500B</MaxMessageSize><FragmentSize>63000B</FragmentSize></General>
<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>
<Peers><Peer address="localhost"/></Peers></Discovery>
</Domain></CycloneDDS>,"""
_domains: dict[int, Any] = {}
_Take = Callable[[bytes, int], None]
"""What takes a message: its bytes, and the handle of the writer that it came from."""


class ServiceTimeout(EmbodmemError, TimeoutError):
    """A service is not there, or did not answer in time."""


def _join(domain_id: int | None, localhost_only: bool) -> Any:
    from cyclonedds.core import DDSException, Policy
    from cyclonedds.domain import Domain, DomainParticipant
    from cyclonedds.qos import Qos as DdsQos

    text = os.environ.get("ROS_DOMAIN_ID", "0") if domain_id is None else str(domain_id)
    if not text.isdigit() or int(text) > 232:  # RTPS has no ports for more
        raise ConfigError(f"ROS_DOMAIN_ID: wanted 0..232, got {text!r}")
    domain = int(text)
    told = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST" or os.environ.get("ROS_LOCALHOST_ONLY") == "1"
    try:
        if (localhost_only or told) and domain not in _domains:
            _domains[domain] = Domain(domain, _LOCALHOST + os.environ.get("CYCLONEDDS_URI", ""))
        return DomainParticipant(domain, DdsQos(Policy.Userdata(b"enclave=/;")))
    except DDSException as error:
        raise ConfigError(f"the network of ROS domain {domain} cannot be joined (CYCLONEDDS_URI?): {error}") from error


def _make_qos(qos: Qos, user_data: str, writer: bool) -> Any:
    from cyclonedds.core import Policy
    from cyclonedds.qos import Qos as DdsQos
    from cyclonedds.util import duration

    forever = duration(infinite=True)
    policies = [
        Policy.Reliability.Reliable(forever) if qos.reliable else Policy.Reliability.BestEffort,
        Policy.History.KeepLast(qos.depth),
        Policy.DataRepresentation(use_cdrv0_representation=True),
        Policy.Userdata(user_data.encode("ascii")),
    ]
    if writer:
        policies.append(Policy.WriterDataLifecycle(autodispose=False))
    if qos.transient_local:
        policies += [
            Policy.Durability.TransientLocal,
            Policy.DurabilityService(0, Policy.History.KeepLast(qos.depth), -1, -1, -1),
        ]
    return DdsQos(*policies)


class Publisher:
    """Writes one topic."""

    def __init__(self, node: Participant, topic: str, type_name: str, qos: Qos) -> None:
        self.type_name = type_name
        self._writer, self._wire = node._writer(f"rt{topic}", type_name, qos)

    def publish(self, content: Plain | bytes | memoryview) -> None:
        """Send a message: nested plain values, or its bytes. Blocks while a reliable subscriber is too far behind."""
        raw = encode(self.type_name, content) if isinstance(content, dict) else content
        self._writer.write(sample(self._wire, raw))

    def subscribers(self) -> int:
        """How many subscriptions it is matched with."""
        return len(self._writer.get_matched_subscriptions())

    def wait_for_acks(self, timeout_s: float) -> bool:
        """Whether all reliable subscribers have all messages in time."""
        return bool(self._writer.wait_for_acks(int(timeout_s * 1e9)))


class Client:
    """Calls one service."""

    def __init__(self, node: Participant, name: str, service_type: str) -> None:
        self.name, self._type = name, service_type
        data = node._unique("clientid")
        request, reply = f"{service_type}_Request", f"{service_type}_Response"
        self._writer, self._wire = node._writer(f"rq{name}Request", request, SERVICE_QOS, data, True)
        self._guid = self._writer.get_instance_handle() & 0xFFFF_FFFF_FFFF_FFFF
        self._numbers = itertools.count(1)
        self._replies: dict[int, bytes] = {}
        self._came = threading.Condition()
        self._reader = node._reader(f"rr{name}Reply", reply, SERVICE_QOS, self._on_reply, data, True)

    def _on_reply(self, raw: bytes, source: int) -> None:
        guid, number = _HEADER.unpack_from(raw, 4)
        if guid == self._guid:
            with self._came:
                self._replies[number] = raw[:4] + raw[4 + _HEADER.size :]
                self._came.notify_all()

    def is_ready(self) -> bool:
        """Whether there is a service that hears and can answer."""
        return bool(self._writer.get_matched_subscriptions() and self._reader.get_matched_publications())

    def call(self, request: Plain, timeout_s: float = 5.0) -> Any:
        """The response to a request.

        Raises:
            ServiceTimeout: No answer came in time.
        """
        number = next(self._numbers)
        raw = bytes(encode(f"{self._type}_Request", request))
        self._writer.write(sample(self._wire, raw[:4] + _HEADER.pack(self._guid, number) + raw[4:]))
        with self._came:
            if not self._came.wait_for(lambda: number in self._replies, timeout_s):
                raise ServiceTimeout(f"{self.name}: no answer within {timeout_s:g} s")
            return decode(f"{self._type}_Response", self._replies.pop(number))


class Participant:
    """A node in the graph of ROS 2.

    Handlers of topics run in one thread, handlers of services in another, so that a long answer holds up no sensor.
    An error in a handler is given to `log` and stops nothing.

    Args:
        name: Its name.
        namespace: Its namespace.
        domain_id: ROS_DOMAIN_ID; None takes that variable of the environment, or 0.
        localhost_only: Find only nodes on this machine, without multicast, as ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
            does, which holds here, too. CYCLONEDDS_URI holds in any case, if set.
        log: Told about errors in handlers.

    Raises:
        MissingDependency: cyclonedds is not installed.
        ConfigError: The domain is none, or the network cannot be joined.
    """

    def __init__(
        self,
        name: str,
        namespace: str = "/",
        *,
        domain_id: int | None = None,
        localhost_only: bool = False,
        log: Callable[[str], None] | None = None,
    ) -> None:
        require_cyclonedds()
        self.name, self.namespace = name, namespace
        self._participant: Any = _join(domain_id, localhost_only)
        self._log = log or (lambda text: None)
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._gids: dict[str, list[bytes]] = {"reader": [], "writer": []}
        self._nodes: dict[bytes, set[str]] = {}
        self._queues = {kind: _Dispatch(self._participant, kind, self._log) for kind in ("topics", "services")}
        latched = Qos(reliable=True, transient_local=True, depth=1)
        self._discovery, self._discovery_wire = self._writer(
            "ros_discovery_info", _DISCOVERY_TYPE, latched, listed=False
        )
        everyone = Qos(reliable=True, transient_local=True, depth=100)
        self._reader("ros_discovery_info", _DISCOVERY_TYPE, everyone, self._on_discovery, listed=False)
        self._announce()

    def _unique(self, key: str) -> str:
        number = bytes(self._participant.get_guid().bytes[:12]) + next(self._ids).to_bytes(4, "big")
        return f"{key}={'.'.join(f'{byte:x}' for byte in number)};"

    def _topic(self, topic: str, type_name: str, with_header: bool) -> tuple[Any, Any]:
        from cyclonedds.topic import Topic

        wire = wire_type(type_name, with_header)
        return Topic(self._participant, topic, wire), wire

    def _writer(
        self, topic: str, type_name: str, qos: Qos, data: str = "", with_header: bool = False, listed: bool = True
    ) -> tuple[Any, Any]:
        from cyclonedds.pub import DataWriter

        dds_topic, wire = self._topic(topic, type_name, with_header)
        writer = DataWriter(
            self._participant, dds_topic, _make_qos(qos, f"{data}typehash={type_hash(type_name)};", True)
        )
        self._list("writer", writer, listed)
        return writer, wire

    def _reader(
        self,
        topic: str,
        type_name: str,
        qos: Qos,
        handler: _Take,
        data: str = "",
        with_header: bool = False,
        listed: bool = True,
    ) -> Any:
        from cyclonedds.sub import DataReader

        dds_topic, _ = self._topic(topic, type_name, with_header)
        reader = DataReader(
            self._participant, dds_topic, _make_qos(qos, f"{data}typehash={type_hash(type_name)};", False)
        )
        self._list("reader", reader, listed)
        self._queues["services" if topic.startswith("rq/") else "topics"].add(topic, reader, handler)
        return reader

    def _list(self, kind: str, entity: Any, listed: bool) -> None:
        if listed:
            with self._lock:
                self._gids[kind].append(entity.get_guid().bytes)
            self._announce()

    def _announce(self) -> None:
        """Tell which endpoints are of this node."""
        if not hasattr(self, "_discovery"):
            return
        with self._lock:
            entry = {
                "node_namespace": self.namespace,
                "node_name": self.name,
                "reader_gid_seq": [{"data": gid} for gid in self._gids["reader"]],
                "writer_gid_seq": [{"data": gid} for gid in self._gids["writer"]],
            }
            info = {"gid": {"data": self._participant.get_guid().bytes}, "node_entities_info_seq": [entry]}
            self._discovery.write(sample(self._discovery_wire, encode(_DISCOVERY_TYPE, info)))

    def _on_discovery(self, raw: bytes, source: int) -> None:
        info = decode(_DISCOVERY_TYPE, raw)
        names = {f"{n.node_namespace.rstrip('/')}/{n.node_name}" for n in info.node_entities_info_seq}
        with self._lock:
            self._nodes[bytes(info.gid.data)] = names

    def nodes(self) -> set[str]:
        """Full names of the nodes that were heard of, this one included."""
        with self._lock:
            return set().union(*self._nodes.values())

    def publisher(self, topic: str, type_name: str, qos: Qos) -> Publisher:
        """Make a publisher of a full topic name ("/camera/image")."""
        _check_name(topic)
        return Publisher(self, topic, type_name, qos)

    def subscribe(self, topic: str, type_name: str, handler: Callable[[Any], None], qos: Qos) -> Any:
        """Call a handler with each message of a topic; its arrays are views of the received bytes."""
        _check_name(topic)
        return self._reader(f"rt{topic}", type_name, qos, lambda raw, source: handler(decode(type_name, raw)))

    def serve(self, name: str, service_type: str, handler: Callable[[Any], Plain]) -> None:
        """Answer a service: the handler takes a request and gives nested plain values."""
        _check_name(name)
        data = self._unique("serviceid")
        reply_type = f"{service_type}_Response"
        writer, wire = self._writer(f"rr{name}Reply", reply_type, SERVICE_QOS, data, True)

        request_type, ready = f"{service_type}_Request", threading.Event()

        def on_request(raw: bytes, source: int) -> None:
            ready.wait()  # the first request may come before `reader` is bound
            request = decode(request_type, raw[:4] + raw[4 + _HEADER.size :])
            reply = bytes(encode(reply_type, handler(request)))
            if not await_reply_reader(reader, writer, source):
                self._log(f"{name}: the client of a request does not listen to its answer")
            writer.write(sample(wire, reply[:4] + raw[4 : 4 + _HEADER.size] + reply[4:]))

        reader = self._reader(f"rq{name}Request", request_type, SERVICE_QOS, on_request, data, True)
        ready.set()

    def client(self, name: str, service_type: str) -> Client:
        """Make a client of a service."""
        _check_name(name)
        return Client(self, name, service_type)

    def close(self) -> None:
        """Leave the graph; safe to call twice."""
        for queue in self._queues.values():
            queue.close()
        self._participant = None

    def __enter__(self) -> Participant:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_name(name: str) -> None:
    if not name.startswith("/"):
        raise InvalidInput(f"wanted a full name like /camera/image, got {name!r}")


class _Dispatch:
    """A thread that takes what comes to some readers and gives it to their handlers."""

    def __init__(self, participant: Any, name: str, log: Callable[[str], None]) -> None:
        from cyclonedds.core import GuardCondition, WaitSet

        self._log = log
        self._readers: list[tuple[str, Any, _Take]] = []
        self._waitset = WaitSet(participant)
        self._guard = GuardCondition(participant)  # wakes the thread: another reader, or the end
        self._waitset.attach(self._guard)
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"embodmem-dds-{name}", daemon=True)
        self._thread.start()

    def add(self, topic: str, reader: Any, handler: _Take) -> None:
        from cyclonedds.core import InstanceState, ReadCondition, SampleState, ViewState

        condition = ReadCondition(reader, SampleState.NotRead | ViewState.Any | InstanceState.Any)
        with self._lock:
            self._readers.append((topic, reader, handler))
            self._waitset.attach(condition)
        self._guard.set(True)

    def _run(self) -> None:
        while not self._closed:
            self._waitset.wait(1_000_000_000)
            self._guard.set(False)
            more = True
            while more and not self._closed:
                with self._lock:
                    readers = list(self._readers)
                more = any([self._take_some(*entry) for entry in readers])  # a list: each reader has its turn

    def _take_some(self, topic: str, reader: Any, handler: _Take) -> bool:
        """Hand over what has come, `_TAKE` messages at the most; returns whether there may be more."""
        samples = reader.take(_TAKE)
        for item in samples:
            if not hasattr(item, "raw"):
                continue  # a writer went away
            try:
                handler(item.raw, item.sample_info.publication_handle)
            except Exception as error:  # whatever a handler does, the other topics go on
                self._log(f"{topic}: {type(error).__name__}: {error}")
        return len(samples) == _TAKE

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._guard.set(True)
            if threading.current_thread() is not self._thread:
                self._thread.join()
            self._readers.clear()
