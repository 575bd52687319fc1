"""Bricks as compact bytes, exact to the bit: what a database stores a row of.

A blob is 6 bytes where all voxels of a brick are alike, else what zlib packs at level 1: byte planes of 512 bytes each.
The four of the log-odds come first, then the two of the ages, then four for colours and four for labels where a voxel
has any; in that case one more byte at the end tells which. Blobs of the first release held log-odds only, those up to
the second no colours and labels; both are read.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.checks import check_paint
from embodmem.spatial.octree.keys import BRICK_VOXELS

_VALUES, _BOTH, _WORD = 4, 6, 4  # bytes a voxel: log-odds, log-odds and age, and a colour or a label
_COLOURS, _LABELS = 1, 2

Words = NDArray[np.uint32]


class Decoded(NamedTuple):
    """What `decode_bricks` found.

    Attributes:
        values: (N, 512) float32 log-odds.
        ages: (N, 512) uint16.
        colours: (N, 512) uint32, 0 = none; (N, 0) where no brick has any.
        labels: (N, 512) uint32, 0 = none; (N, 0) where no brick has any.
    """

    values: NDArray[np.float32]
    ages: NDArray[np.uint16]
    colours: Words
    labels: Words


def encode_bricks(
    values: NDArray[np.float32], ages: NDArray[np.uint16], colours: Words | None = None, labels: Words | None = None
) -> list[bytes]:
    """One blob a brick.

    Args:
        values: (N, 512) float32 log-odds, NaN where unknown.
        ages: (N, 512) uint16, how long before its brick each voxel was last seen, in ticks; 0 where it is unknown.
        colours: (N, 512) uint32, 0 = none; None or (N, 0) for none at all. They add nothing to bricks that have none.
        labels: (N, 512) uint32, likewise.

    Raises:
        InvalidInput: A shape or dtype is another.
    """
    values, ages = np.asarray(values), np.asarray(ages)
    if values.ndim != 2 or values.shape[1] != BRICK_VOXELS or values.dtype != np.float32:
        raise InvalidInput(
            f"bricks: wanted (N, {BRICK_VOXELS}) float32 log-odds, got shape {values.shape} {values.dtype}"
        )
    if ages.shape != values.shape or ages.dtype != np.uint16:
        raise InvalidInput(f"bricks: wanted ages {values.shape} uint16, got {ages.shape} {ages.dtype}")
    bits = np.ascontiguousarray(values).view(np.uint32).astype("<u4", copy=False)
    ages = np.ascontiguousarray(ages).astype("<u2", copy=False)
    uniform = ((bits == bits[:, :1]) & (ages == ages[:, :1])).all(axis=1)
    # The planes of sign and exponent and of the zero bytes of the mantissa are nearly constant: they pack to nothing.
    rows = np.concatenate([_planes(bits), _planes(ages)], axis=1)
    return _packed(rows, uniform, [check_paint(words, values.shape) for words in (colours, labels)])


def _packed(rows: NDArray[np.uint8], uniform: NDArray[np.bool_], paints: list[Words | None]) -> list[bytes]:
    """Blobs of the planes (N, 3072) of bricks, and of their colours and labels."""
    kinds, extra = np.zeros(len(rows), dtype=np.uint8), [np.empty((len(rows), 0), dtype=np.uint8)] * 2
    for place, words in enumerate(paints):
        if words is not None:
            kinds |= np.where(words.any(axis=1), 1 << place, 0).astype(np.uint8)
            extra[place] = _planes(np.ascontiguousarray(words).astype("<u4", copy=False))
    blobs = []
    for i, kind in enumerate(kinds.tolist()):
        parts = [rows[i].tobytes()]
        if kind == 0 and uniform[i]:
            blobs.append(rows[i, ::BRICK_VOXELS].tobytes())
            continue
        if kind:
            parts += [planes[i].tobytes() for bit, planes in zip((_COLOURS, _LABELS), extra, strict=True) if kind & bit]
            parts.append(bytes([kind]))
        blobs.append(zlib.compress(b"".join(parts), 1))
    return blobs


def decode_bricks(blobs: Sequence[bytes]) -> Decoded:
    """What the blobs of `encode_bricks` hold.

    The first release wrote values only: every voxel of such a brick is taken to be as old as the brick.

    Raises:
        InvalidInput: A blob is damaged.
    """
    try:
        parts = [_unpack(blob) for blob in blobs]
    except zlib.error as error:
        raise InvalidInput(f"brick: wanted a blob of encode_bricks, got a damaged one: {error}") from error
    wanted = _BOTH * BRICK_VOXELS
    kinds = np.zeros(len(parts), dtype=np.uint8)
    for i, part in enumerate(parts):
        if len(part) > wanted:
            kinds[i] = kind = part[-1]
            if not 0 < kind <= _COLOURS + _LABELS or len(part) != wanted + _extra_bytes(kind):
                raise InvalidInput(f"brick: wanted a blob of encode_bricks, got {len(part)} bytes of kind {kind}")
    raw = b"".join(part[:wanted] for part in parts)
    if len(raw) != len(blobs) * wanted:
        raise InvalidInput(f"bricks: wanted {wanted} bytes each, got {len(raw)} for {len(blobs)}")
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(len(blobs), _BOTH, BRICK_VOXELS).transpose(0, 2, 1)
    values, ages = np.ascontiguousarray(planes[..., :_VALUES]), np.ascontiguousarray(planes[..., _VALUES:])
    bits, steps = values.view("<u4")[..., 0], ages.view("<u2")[..., 0]
    return Decoded(
        bits.astype(np.uint32, copy=False).view(np.float32),
        steps.astype(np.uint16, copy=False),
        _words(parts, kinds, _COLOURS),
        _words(parts, kinds, _LABELS),
    )


def _planes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """(N, itemsize * 512): of an array (N, 512) the first bytes of all voxels, then the second ones, ..."""
    split = array.view(np.uint8).reshape(len(array), BRICK_VOXELS, array.itemsize)
    return np.ascontiguousarray(split.transpose(0, 2, 1)).reshape(len(array), array.itemsize * BRICK_VOXELS)


def _extra_bytes(kind: int) -> int:
    return _WORD * BRICK_VOXELS * ((kind & _COLOURS) + (kind & _LABELS) // _LABELS) + 1


def _words(parts: list[bytes], kinds: NDArray[np.uint8], kind: int) -> Words:
    """Colours or labels (N, 512) of unpacked blobs, (N, 0) where none has any."""
    some = np.flatnonzero(kinds & kind)
    if not len(some):
        return np.empty((len(parts), 0), dtype=np.uint32)
    out = np.zeros((len(parts), BRICK_VOXELS), dtype=np.uint32)
    size = _WORD * BRICK_VOXELS
    starts = _BOTH * BRICK_VOXELS + size * ((kind == _LABELS) & (kinds[some] & _COLOURS).astype(np.int64))
    raw = b"".join(parts[i][start : start + size] for i, start in zip(some.tolist(), starts.tolist(), strict=True))
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(len(some), _WORD, BRICK_VOXELS).transpose(0, 2, 1)
    out[some] = np.ascontiguousarray(planes).view("<u4")[..., 0]
    return out


def _unpack(blob: bytes) -> bytes:
    if len(blob) in (_VALUES, _BOTH):
        raw = b"".join(blob[i : i + 1] * BRICK_VOXELS for i in range(len(blob)))
    else:
        raw = zlib.decompress(blob)
    return raw + bytes((_BOTH - _VALUES) * BRICK_VOXELS) if len(raw) == _VALUES * BRICK_VOXELS else raw
