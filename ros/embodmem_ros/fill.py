"""Nested plain values into messages as rosidl generates them for Python (those of rclpy)."""

from __future__ import annotations

import array
import re
from collections.abc import Callable
from typing import Any

from embodmem_ros.messages import Plain

_BYTES = {"sequence<uint8>": "B", "sequence<int8>": "b"}
_SEQUENCE = re.compile(r"sequence<(\w+)/(\w+)(?:, \d+)?>|(\w+)/(\w+)\[\d+\]")


def fill(message: Any, plain: Plain, find_type: Callable[[str], Any]) -> Any:
    """Put nested plain values into a message; fields that they leave out keep their defaults.

    Args:
        message: A message; its setters check the types of values.
        plain: Name of field -> value.
        find_type: "geometry_msgs/msg/Point" -> class (`rosidl_runtime_py.utilities.get_message`).

    Returns:
        The same message.
    """
    types = message.get_fields_and_field_types()
    for name, value in plain.items():
        kind = types[name]
        nested = _SEQUENCE.fullmatch(kind)
        if isinstance(value, dict):
            fill(getattr(message, name), value, find_type)
        elif nested is not None:
            package, kind = nested[1] or nested[3], nested[2] or nested[4]
            made = find_type(f"{package}/msg/{kind}")
            setattr(message, name, [fill(made(), item, find_type) for item in value])
        elif kind in _BYTES and isinstance(value, (bytes, memoryview)):
            setattr(message, name, array.array(_BYTES[kind], bytes(value)))
        elif kind == "octet":
            setattr(message, name, bytes([value]))
        else:
            setattr(message, name, value)
    return message
