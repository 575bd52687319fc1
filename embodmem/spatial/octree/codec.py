"""Bricks as compact bytes, exact to the bit: what a database stores a row of."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.keys import BRICK_VOXELS

_VALUES, _BOTH = 4, 6  # bytes a voxel: log-odds, or log-odds and age


def encode_bricks(values: NDArray[np.float32], ages: NDArray[np.uint16]) -> list[bytes]:
    """One blob a brick: 6 bytes where all voxels are equal, else zlib level 1 over the six byte planes.

    Args:
        values: (N, 512) float32 log-odds, NaN where unknown.
        ages: (N, 512) uint16, how long before its brick each voxel was last seen, in ticks; 0 where it is unknown.

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
    uniform = ((bits == bits[:, :1]) & (ages == ages[:, :1])).all(axis=1).tolist()
    # The planes of sign and exponent and of the zero bytes of the mantissa are nearly constant: they pack to nothing.
    planes = [array.view(np.uint8).reshape(-1, BRICK_VOXELS, array.itemsize) for array in (bits, ages)]
    packed = np.concatenate(planes, axis=2).transpose(0, 2, 1).reshape(len(bits), _BOTH * BRICK_VOXELS)
    return [
        row[::BRICK_VOXELS].tobytes() if same else zlib.compress(row.tobytes(), 1)
        for row, same in zip(packed, uniform, strict=True)
    ]


def decode_bricks(blobs: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Values (N, 512) float32 and ages (N, 512) uint16 of the blobs of `encode_bricks`.

    The first release wrote values only: every voxel of such a brick is taken to be as old as the brick.

    Raises:
        InvalidInput: A blob is damaged.
    """
    try:
        raw = b"".join(_unpack(blob) for blob in blobs)
    except zlib.error as error:
        raise InvalidInput(f"brick: wanted a blob of encode_bricks, got a damaged one: {error}") from error
    wanted = _BOTH * BRICK_VOXELS
    if len(raw) != len(blobs) * wanted:
        raise InvalidInput(f"bricks: wanted {wanted} bytes each, got {len(raw)} for {len(blobs)}")
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(len(blobs), _BOTH, BRICK_VOXELS).transpose(0, 2, 1)
    values, ages = np.ascontiguousarray(planes[..., :_VALUES]), np.ascontiguousarray(planes[..., _VALUES:])
    bits, steps = values.view("<u4")[..., 0], ages.view("<u2")[..., 0]
    return bits.astype(np.uint32, copy=False).view(np.float32), steps.astype(np.uint16, copy=False)


def _unpack(blob: bytes) -> bytes:
    if len(blob) in (_VALUES, _BOTH):
        raw = b"".join(blob[i : i + 1] * BRICK_VOXELS for i in range(len(blob)))
    else:
        raw = zlib.decompress(blob)
    return raw + bytes((_BOTH - _VALUES) * BRICK_VOXELS) if len(raw) == _VALUES * BRICK_VOXELS else raw
