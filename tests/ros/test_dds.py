"""Two ROS 2 participants without ROS: topics, services, the graph."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("cyclonedds")

from embodmem.errors import ConfigError, InvalidInput, MissingDependency
from embodmem_ros import messages
from embodmem_ros.bag_messages import decode
from embodmem_ros.dds import Participant, ServiceTimeout
from embodmem_ros.dds.participant import _domains
from embodmem_ros.dds.peers import told_by
from embodmem_ros.dds.types import sample, type_hash, wire_type
from embodmem_ros.ports import SERVICE_QOS, Qos
from tests.ros import room

DOMAIN = room.domain(0)
RELIABLE = Qos(reliable=True, transient_local=False, depth=50)
LATCHED = Qos(reliable=True, transient_local=True, depth=1)


def until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.01)


@pytest.fixture
def pair() -> Iterator[tuple[Participant, Participant]]:
    with (
        Participant("talker", domain_id=DOMAIN, localhost_only=True) as talker,
        Participant("listener", "/robot", domain_id=DOMAIN, localhost_only=True) as listener,
    ):
        yield talker, listener


def test_large_messages_arrive_whole_and_in_order(pair: tuple[Participant, Participant]) -> None:
    talker, listener = pair
    got: list[object] = []
    listener.subscribe("/camera/image", "sensor_msgs/msg/Image", got.append, RELIABLE)
    publisher = talker.publisher("/camera/image", "sensor_msgs/msg/Image", RELIABLE)
    until(lambda: publisher.subscribers() == 1)
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for i in range(10):
        publisher.publish(messages.image(pixels + np.uint8(i), i, "camera"))
    until(lambda: len(got) == 10)
    for i, message in enumerate(got):
        assert messages.stamp_to_ns(message.header.stamp) == i
        np.testing.assert_array_equal(messages.image_to_array(message), pixels + np.uint8(i))


def test_what_is_latched_reaches_who_comes_later(pair: tuple[Participant, Participant]) -> None:
    talker, listener = pair
    talker.publisher("/said", "std_msgs/msg/String", LATCHED).publish({"data": "first"})
    publisher = talker.publisher("/said", "std_msgs/msg/String", LATCHED)
    publisher.publish({"data": "second"})
    got: list[str] = []
    listener.subscribe("/said", "std_msgs/msg/String", lambda m: got.append(m.data), LATCHED)
    until(lambda: "second" in got)


def test_services_answer_each_client_its_own(pair: tuple[Participant, Participant]) -> None:
    talker, listener = pair
    kind = "embodmem_msgs/srv/Recall"
    talker.serve("/recall", kind, lambda request: {"success": True, "answer": request.text[::-1]})
    clients = [node.client("/recall", kind) for node in (talker, listener)]
    until(lambda: all(client.is_ready() for client in clients))
    for i in range(5):
        for client in clients:
            assert client.call({"text": f"abc{i}"}).answer == f"{i}cba"
    empty = talker.client("/nobody", "std_srvs/srv/Trigger")
    with pytest.raises(ServiceTimeout, match="/nobody: no answer within 0.1 s"):
        empty.call({}, timeout_s=0.1)


def test_services_speak_as_rmw_cyclonedds(pair: tuple[Participant, Participant]) -> None:
    """A request is the guid of the client's writer (8 bytes), a number (8 bytes), and then the body; so is a reply."""
    talker, listener = pair
    kind, heard, replied = "embodmem_msgs/srv/Recall", [], []  # type: ignore[var-annotated]
    talker.serve("/robot/recall", kind, lambda request: {"success": True, "message": request.text})
    listener._reader("rq/robot/recallRequest", f"{kind}_Request", RELIABLE, lambda raw, _: heard.append(raw), "", True)
    listener._reader("rr/robot/recallReply", f"{kind}_Response", RELIABLE, lambda raw, _: replied.append(raw), "", True)
    client = listener.client("/robot/recall", kind)
    until(client.is_ready)
    for _ in range(2):
        client.call({"text": "mug", "k": 3})
    until(lambda: len(heard) == 2 and len(replied) == 2)
    body = struct.pack("<I4sI", 4, b"mug\0", 3) + struct.pack("<II", 0, 0)  # text, k, no labels, no kinds
    for number, (request, reply) in enumerate(zip(heard, replied, strict=True), 1):
        assert request[:4] == b"\x00\x01\x00\x00"  # CDR, little endian
        guid, sequence = struct.unpack_from("<Qq", request, 4)
        assert guid == client._writer.get_instance_handle() & 0xFFFF_FFFF_FFFF_FFFF and sequence == number
        assert request[20:] == body
        assert reply[4:20] == request[4:20] and reply[20:21] == b"\x01"
    types = {endpoint: wire_type(f"{kind}_{endpoint}", True).__idl_typename__ for endpoint in ("Request", "Response")}
    assert types["Request"].replace(".", "::") == "embodmem_msgs::srv::dds_::Recall_Request_"
    assert types["Response"].replace(".", "::") == "embodmem_msgs::srv::dds_::Recall_Response_"


def test_an_answer_waits_for_a_client_whose_ear_is_found_late(pair: tuple[Participant, Participant]) -> None:
    """Requests and replies are discovered apart: here the reader of replies comes 50 ms after the request."""
    talker, listener = pair
    kind, replied, data = "std_srvs/srv/Trigger", [], "clientid=1.2.3;"  # type: ignore[var-annotated]
    talker.serve("/save", kind, lambda request: {"success": True})
    writer, wire = listener._writer("rq/saveRequest", f"{kind}_Request", SERVICE_QOS, data, True)
    until(lambda: len(writer.get_matched_subscriptions()) == 1)
    time.sleep(0.1)  # the service's reader has found the writer, too
    writer.write(sample(wire, b"\x00\x01\x00\x00" + struct.pack("<QqB", 7, 1, 0)))
    time.sleep(0.05)
    late = lambda raw, _: replied.append(raw)  # noqa: E731
    listener._reader("rr/saveReply", f"{kind}_Response", SERVICE_QOS, late, data, True)
    until(lambda: len(replied) == 1)
    assert struct.unpack_from("<QqB", replied[0], 4) == (7, 1, 1)


def test_an_error_in_a_handler_stops_nothing() -> None:
    said: list[str] = []
    got: list[str] = []

    def handler(message: object) -> None:
        got.append(message.data)  # type: ignore[attr-defined]
        raise ValueError("no")

    with Participant("one", domain_id=DOMAIN, localhost_only=True, log=said.append) as node:
        node.subscribe("/x", "std_msgs/msg/String", handler, RELIABLE)
        publisher = node.publisher("/x", "std_msgs/msg/String", RELIABLE)
        until(lambda: publisher.subscribers() == 1)
        for text in "ab":
            publisher.publish({"data": text})
        until(lambda: len(said) == 2)
    assert got == ["a", "b"] and said[0] == "rt/x: ValueError: no"


def test_nodes_names_and_hashes_are_in_the_graph(pair: tuple[Participant, Participant]) -> None:
    from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication
    from cyclonedds.core import Policy

    talker, listener = pair
    publisher = talker.publisher("/image", "sensor_msgs/msg/Image", RELIABLE)
    until(lambda: {"/talker", "/robot/listener"} <= talker.nodes() and {"/talker"} <= listener.nodes())
    reader = BuiltinDataReader(listener._participant, BuiltinTopicDcpsPublication)
    found: dict[str, object] = {}

    def seen() -> bool:
        found.update({endpoint.topic_name: endpoint for endpoint in reader.take(100)})
        return "rt/image" in found

    until(seen)
    endpoint = found["rt/image"]
    assert endpoint.type_name == "sensor_msgs::msg::dds_::Image_"  # type: ignore[attr-defined]
    wanted = f"typehash={type_hash('sensor_msgs/msg/Image')};".encode()
    assert endpoint.qos[Policy.Userdata].data == wanted  # type: ignore[attr-defined]
    # As REP 2011's implementation in Jazzy has it (ros2 topic info -v).
    assert type_hash("sensor_msgs/msg/Image") == (
        "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"
    )
    assert publisher.subscribers() == 0


def test_the_graph_says_whose_endpoints_they_are(pair: tuple[Participant, Participant]) -> None:
    """What rmw_dds_common joins: the gids of `ros_discovery_info` with the keys of DDS' own discovery."""
    from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription

    talker, listener = pair
    kind, latest = "rmw_dds_common/msg/ParticipantEntitiesInfo", {}  # type: ignore[var-annotated]

    def heard(raw: bytes, _: int) -> None:
        info = decode(kind, raw)
        latest[bytes(info.gid.data)] = info.node_entities_info_seq

    listener._reader("ros_discovery_info", kind, Qos(True, True, 100), heard, listed=False)
    image = talker.publisher("/image", "sensor_msgs/msg/Image", RELIABLE)
    talker.subscribe("/told", "std_msgs/msg/String", print, RELIABLE)
    talker.serve("/save", "std_srvs/srv/Trigger", lambda request: {"success": True})
    me = talker._participant.get_guid().bytes
    seen: dict[str, dict[str, object]] = {"writer": {}, "reader": {}}
    builtin = {"writer": BuiltinTopicDcpsPublication, "reader": BuiltinTopicDcpsSubscription}
    readers = {what: BuiltinDataReader(listener._participant, topic) for what, topic in builtin.items()}
    topics = {"writer": {"rt/image", "rr/saveReply"}, "reader": {"rt/told", "rq/saveRequest"}}

    def complete() -> bool:
        for what, reader in readers.items():
            seen[what] |= {e.topic_name: e for e in reader.take(100) if e.participant_key.bytes == me}
        listed = latest.get(me, [])
        return all(topics[what] <= set(seen[what]) for what in topics) and bool(listed) and (
            len(listed[0].reader_gid_seq), len(listed[0].writer_gid_seq)
        ) == (2, 2)  # fmt: skip

    until(complete)
    (node,) = latest[me]
    assert image.subscribers() == 0
    assert (node.node_namespace, node.node_name) == ("/", "talker")
    for what, gids in (("reader", node.reader_gid_seq), ("writer", node.writer_gid_seq)):
        wanted = {seen[what][topic].key.bytes for topic in topics[what]}  # type: ignore[attr-defined]
        assert {bytes(gid.data) for gid in gids} == wanted
    pair_of = [told_by(seen[what][topic], "serviceid") for what, topic in (("writer", "rr/saveReply"),
                                                                          ("reader", "rq/saveRequest"))]  # fmt: skip
    assert pair_of[0] is not None and pair_of[0] == pair_of[1]
    assert told_by(seen["reader"]["rq/saveRequest"], "typehash") == type_hash("std_srvs/srv/Trigger_Request")


@pytest.mark.parametrize(
    "name, value", [("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"), ("ROS_LOCALHOST_ONLY", "1"), ("X", "1")]
)
def test_the_environment_says_how_far_to_look(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    _domains.pop(DOMAIN + 100, None)
    with Participant("near", domain_id=DOMAIN + 100):
        assert (DOMAIN + 100 in _domains) == (name != "X")
    _domains.pop(DOMAIN + 100, None)


def test_bad_names_and_types_are_refused(pair: tuple[Participant, Participant]) -> None:
    with pytest.raises(InvalidInput, match="wanted a full name"):
        pair[0].publisher("image", "sensor_msgs/msg/Image", RELIABLE)
    with pytest.raises(InvalidInput, match="'pkg/msg/Nothing' is not known"):
        wire_type("pkg/msg/Nothing")


def test_asking_a_node_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    from embodmem_ros import recall

    assert recall.main(["where is the mug?", "--node", "/nobody", "--wait", "0.2", "--localhost-only"]) == 1
    assert "error: /nobody/recall: no such service within 0.2 s; is the node up?" in capsys.readouterr().err


def test_without_the_package_the_error_holds_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cyclonedds", "cyclonedds.idl"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        MissingDependency, match=r'needs cyclonedds, which is not installed: pip install "embodmem\[dds\]"'
    ):
        Participant("nobody")


def test_a_domain_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("kitchen", "233", "-1"):
        monkeypatch.setenv("ROS_DOMAIN_ID", text)
        with pytest.raises(ConfigError, match=f"ROS_DOMAIN_ID: wanted 0..232, got '{text}'"):
            Participant("nobody")


def test_rosbags_and_cyclonedds_are_imported_when_needed() -> None:
    code = (
        "import sys, embodmem.datasets, embodmem.cli, embodmem_ros; print({'rosbags', 'cyclonedds'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
