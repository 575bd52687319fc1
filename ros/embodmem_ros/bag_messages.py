"""Nested plain values to messages of rosbags, and back to bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embodmem.datasets.ros_definitions import type_store
from embodmem.errors import InvalidInput
from embodmem_ros.messages import Plain

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_DTYPES = {"bool": np.bool_, "byte": np.uint8, "char": np.uint8, "octet": np.uint8}


def make_message(type_name: str, plain: Plain, store: Typestore | None = None) -> Any:
    """A message of rosbags from nested plain values; what they leave out is zero, empty or false.

    Args:
        type_name: "std_msgs/msg/String".
        plain: Name of field -> value; a sequence of numbers may be given as the bytes of its little-endian array.
        store: Types; None takes the shared ones.

    Raises:
        InvalidInput: The type is not known, or a field is not one of it.
    """
    store = store or type_store()
    if type_name not in store.fielddefs:
        raise InvalidInput(f"message: {type_name!r} is not known")
    fields = dict(store.fielddefs[type_name][1])
    unknown = set(plain) - set(fields)
    if unknown:
        raise InvalidInput(f"{type_name}: wanted fields of {sorted(fields)}, got {sorted(unknown)}")
    values = {name: _value(kind, plain.get(name), store) for name, kind in fields.items()}
    return store.types[type_name](**values)


def _value(kind: Any, value: Any, store: Typestore) -> Any:
    node, detail = int(kind[0]), kind[1]
    if node == 1:  # one number or string
        name = detail[0]
        if name == "string":
            return "" if value is None else str(value)
        if name == "bool":
            return bool(value)
        return (float if name.startswith("float") else int)(value or 0)
    if node == 2:
        return make_message(detail, value or {}, store)
    (inner, inner_detail), length = detail
    if int(inner) == 2:
        return [make_message(inner_detail, item, store) for item in value or []]
    name = inner_detail[0]
    if name == "string":
        return [str(item) for item in value or []]
    dtype = np.dtype(_DTYPES.get(name, name)).newbyteorder("<")
    if value is None:
        return np.zeros(length if node == 3 else 0, dtype=dtype)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return np.frombuffer(value, dtype=dtype)
    return np.asarray(value, dtype=dtype)


def encode(type_name: str, plain: Plain) -> memoryview:
    """CDR bytes of nested plain values, with the encapsulation header."""
    raw: memoryview = type_store().serialize_cdr(make_message(type_name, plain), type_name, little_endian=True)
    return raw


def decode(type_name: str, raw: bytes | memoryview) -> Any:
    """The message of CDR bytes; its arrays are views of them.

    Raises:
        InvalidInput: The bytes are no such message.
    """
    from rosbags.serde import SerdeError

    try:
        return type_store().deserialize_cdr(raw, type_name)
    except SerdeError as error:
        raise InvalidInput(f"{type_name}: {error}") from error
