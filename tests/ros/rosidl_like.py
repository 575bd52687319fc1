"""Message classes that check what is put into them as strictly as those that rosidl generates for Python.

They are built from the message definitions. Setters refuse what rosidl's refuse: a whole number for a float, text for
a sequence, another array type, a number out of range.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from embodmem.datasets.ros_definitions import type_store

_NAMES = {"float64": "double", "float32": "float", "bool": "boolean", "byte": "octet", "char": "uint8"}
_CODES = {"int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q",
          "uint64": "Q", "float": "f", "double": "d"}  # fmt: skip


def _check_one(kind: str, value: Any) -> None:
    if kind == "boolean":
        assert isinstance(value, bool), value
    elif kind in ("float", "double"):
        assert isinstance(value, float), value
    elif kind == "string":
        assert isinstance(value, str), value
    elif kind == "octet":
        assert isinstance(value, bytes) and len(value) == 1, value
    elif "/" in kind:
        package, name = kind.split("/")
        assert isinstance(value, find_type(f"{package}/msg/{name}")), value
    else:
        info = np.iinfo(kind)
        assert isinstance(value, int) and info.min <= value <= info.max, value


def _names(detail: Any) -> tuple[str, str, int | None]:
    """The name that rosidl gives a field's type, the name of its elements, and how many there are of them."""
    node, inner = int(detail[0]), detail[1]
    if node == 1:
        name = _NAMES.get(inner[0], inner[0])
        return name, name, None
    if node == 2:
        name = inner.replace("/msg/", "/")
        return name, name, None
    _, element, _ = _names(inner[0])
    length = inner[1] if node == 3 else -1
    return (f"{element}[{length}]" if node == 3 else f"sequence<{element}>"), element, length


def _default(element: str, length: int | None) -> Any:
    if "/" in element and length is None:
        package, name = element.split("/")
        return find_type(f"{package}/msg/{name}")()
    if length is None:
        return {"boolean": False, "float": 0.0, "double": 0.0, "string": "", "octet": b"\0"}.get(element, 0)
    if length == -1:
        return array.array(_CODES[element]) if element in _CODES else []
    return np.zeros(length)


@cache
def find_type(name: str) -> type:
    """The class of "geometry_msgs/msg/Point"."""
    fields = {key: _names(detail) for key, detail in type_store().fielddefs[name][1]}

    class Message:
        def __init__(self) -> None:
            for key, (_, element, length) in fields.items():
                object.__setattr__(self, key, _default(element, length))

        @classmethod
        def get_fields_and_field_types(cls) -> dict[str, str]:
            return {key: kind for key, (kind, _, _) in fields.items()}

        def __setattr__(self, key: str, value: Any) -> None:
            assert key in fields, f"{name} has no field {key}"
            _, element, length = fields[key]
            if length is None:
                _check_one(element, value)
            elif isinstance(value, array.array):
                assert length == -1 and value.typecode == _CODES[element], (name, key, value.typecode)
            else:
                assert isinstance(value, Sequence) and not isinstance(value, (str, bytes)), (name, key)
                assert length in (-1, len(value))
                for item in value:
                    _check_one(element, item)
            object.__setattr__(self, key, float(np.float32(value)) if element == "float" and length is None else value)

    return Message


def to_plain(message: Any) -> Any:
    """A message as nested plain values, to compare."""
    if hasattr(message, "get_fields_and_field_types"):
        return {key: to_plain(getattr(message, key)) for key in message.get_fields_and_field_types()}
    if isinstance(message, (list, tuple, array.array, np.ndarray)):
        return [to_plain(item) for item in message]
    return message[0] if isinstance(message, bytes) else message
