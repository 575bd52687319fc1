"""Types of ROS 2 as types of Cyclone DDS, built from the message definitions; samples stay serialised bytes.

ROS 2 names the type of `sensor_msgs/msg/Image` on the wire `sensor_msgs::msg::dds_::Image_`. Cyclone is told how the
type is made up, because it checks what comes in, but the bytes are read and written by rosbags.
"""

from __future__ import annotations

import threading
from typing import Any

from embodmem.datasets.ros_definitions import type_store
from embodmem.errors import InvalidInput, MissingDependency

_EMPTY = [("structure_needs_at_least_one_member", (1, ("uint8", 0)))]
_NAMES = {"bool": bool, "string": str, "char": "uint8", "octet": "byte"}
_lock = threading.Lock()
_made: dict[tuple[str, bool], Any] = {}


def require_cyclonedds() -> None:
    """Raises: MissingDependency: cyclonedds 11 is not installed."""
    try:
        import cyclonedds.idl  # noqa: F401
    except ImportError as error:
        raise MissingDependency("cyclonedds", "dds", "The ROS 2 node without ROS") from error


def wire_type(type_name: str, with_header: bool = False) -> Any:
    """The class for a topic of a type: its samples have `raw`, the bytes with the encapsulation header.

    Args:
        type_name: "sensor_msgs/msg/Image" or "std_srvs/srv/Trigger_Request".
        with_header: Whether a request's guid and sequence number come before the body (rmw_cyclonedds).

    Raises:
        InvalidInput: The type is not known.
    """
    with _lock:
        return _wire_type(type_name, with_header)


def _wire_type(type_name: str, with_header: bool) -> Any:
    from cyclonedds import idl
    from cyclonedds.idl import types

    key = (type_name, with_header)
    if key in _made:
        return _made[key]
    store = type_store()
    if type_name not in store.fielddefs:
        raise InvalidInput(f"message: {type_name!r} is not known")
    package, kind, name = type_name.split("/")
    fields: dict[str, Any] = {"guid": types.uint64, "seq": types.int64} if with_header else {}
    fields |= {field: _field(detail) for field, detail in store.fielddefs[type_name][1] or _EMPTY}
    made = idl.make_idl_struct(f"{name}_", f"{package}.{kind}.dds_.{name}_", fields)

    def deserialize(cls: Any, /, data: bytes, **_: Any) -> Any:
        sample = cls.__new__(cls)
        sample.raw = data
        return sample

    made.serialize = lambda self, **_: self.raw
    made.deserialize = classmethod(deserialize)
    _made[key] = made
    return made


def _field(detail: Any) -> Any:
    from cyclonedds.idl import types

    node, inner = int(detail[0]), detail[1]
    if node == 1:
        name, bound = inner
        if name == "string" and bound:
            return types.bounded_str[bound]
        known = _NAMES.get(name, name)
        return getattr(types, known) if isinstance(known, str) else known
    if node == 2:
        return _wire_type(inner, False)
    element, length = inner
    if node == 3:
        return types.array[_field(element), length]
    return types.sequence[_field(element), length] if length else types.sequence[_field(element)]


def sample(wire: Any, raw: bytes | memoryview) -> Any:
    """A sample of a wire type from bytes."""
    made = wire.__new__(wire)
    made.raw = bytes(raw)
    return made


def type_hash(type_name: str) -> str:
    """RIHS01 hash of a type (REP 2011), as ROS 2 nodes tell one another."""
    return str(type_store().hash_rihs01(type_name))
