"""Checks of single values that come from outside."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput

_ROUNDING = 1e-6


def check_stamp(stamp_ns: Any, name: str = "stamp_ns") -> int:
    """Return a time stamp as a Python int.

    Raises:
        InvalidInput: It is no whole number, is negative, or does not fit in 63 bits.
    """
    if isinstance(stamp_ns, bool) or not isinstance(stamp_ns, (int, np.integer)):
        raise InvalidInput(f"{name}: wanted whole nanoseconds (int), got {stamp_ns!r}")
    if not 0 <= int(stamp_ns) < 2**63:
        raise InvalidInput(f"{name}: wanted 0 <= nanoseconds < 2**63, got {stamp_ns}")
    return int(stamp_ns)


def check_between(between_ns: Any, name: str) -> tuple[int | None, int | None]:
    """Return a span of time (from, until) as Python ints; either may be None, or before the first stamp.

    Raises:
        InvalidInput: It is no pair of whole numbers of 64 bits, or ends before it begins.
    """
    try:
        begin, end = between_ns
    except (TypeError, ValueError):
        raise InvalidInput(f"{name}: wanted (from, until), got {between_ns!r}") from None
    for stamp in (begin, end):
        whole = isinstance(stamp, (int, np.integer)) and not isinstance(stamp, bool)
        if stamp is not None and not (whole and abs(int(stamp)) < 2**63):
            raise InvalidInput(f"{name}: wanted whole nanoseconds (int), got {between_ns}")
    if begin is not None and end is not None and end < begin:
        raise InvalidInput(f"{name}: wanted (from, until), got {between_ns}")
    return (None if begin is None else int(begin), None if end is None else int(end))


def check_texts(name: str, *texts: Any) -> None:
    """Refuse what is no text, or cannot be written as Unicode.

    Raises:
        InvalidInput: It is no string, or holds half a surrogate pair.
    """
    for text in texts:
        if not isinstance(text, str):
            raise InvalidInput(f"{name}: wanted text, got {text!r}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{name}: wanted Unicode text, got half a surrogate pair in {text!r:.80}") from None


def check_unit_vector(value: ArrayLike, name: str) -> NDArray[np.float32]:
    """Return a vector (D,) with unit norm.

    Raises:
        InvalidInput: It is no vector, is not finite, or is all zeros.
    """
    vector = np.asarray(value, dtype=np.float32)
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        raise InvalidInput(f"{name}: wanted a finite vector (D,), got shape {vector.shape}")
    norm = math.sqrt(vector.dot(vector))
    if norm == 0.0:
        raise InvalidInput(f"{name}: wanted a vector of unit norm, got all zeros")
    if abs(norm - 1.0) < _ROUNDING:  # to divide again would change its last bits each time
        return vector
    unit: NDArray[np.float32] = vector / np.float32(norm)
    return unit


def check_point(value: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a point (3,) as float64.

    Raises:
        InvalidInput: It has another shape or is not finite.
    """
    point = np.asarray(value, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise InvalidInput(f"{name}: wanted a finite point (3,) in metres, got {value!r}")
    return point


def digest_of(*parts: bytes) -> str:
    """BLAKE2b of some bytes, 128 bits in hex; where one part ends and the next begins counts, too."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
