"""Bricks as compact bytes, exact to the bit: what a database stores a row of."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.keys import BRICK_VOXELS

_UNIFORM_BYTES = 4


def encode_bricks(values: NDArray[np.float32]) -> list[bytes]:
    """One blob a brick: 4 bytes where all voxels are equal, else zlib level 1 over the four byte planes.

    Args:
        values: (N, 512) float32 log-odds, NaN where unknown.

    Raises:
        InvalidInput: The shape or dtype is another.
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] != BRICK_VOXELS or values.dtype != np.float32:
        raise InvalidInput(
            f"bricks: wanted (N, {BRICK_VOXELS}) float32 log-odds, got shape {values.shape} {values.dtype}"
        )
    bits = np.ascontiguousarray(values).view(np.uint32).astype("<u4", copy=False)
    uniform = (bits == bits[:, :1]).all(axis=1).tolist()
    # The planes of sign and exponent and of the zero bytes of the mantissa are nearly constant: they pack to nothing.
    planes = bits.view(np.uint8).reshape(-1, BRICK_VOXELS, 4).transpose(0, 2, 1)
    packed = np.ascontiguousarray(planes).reshape(len(bits), 4 * BRICK_VOXELS)
    return [
        row[::BRICK_VOXELS].tobytes() if same else zlib.compress(row.tobytes(), 1)
        for row, same in zip(packed, uniform, strict=True)
    ]


def decode_bricks(blobs: Sequence[bytes]) -> NDArray[np.float32]:
    """Values (N, 512) float32 of the blobs of `encode_bricks`.

    Raises:
        InvalidInput: A blob is damaged.
    """
    try:
        raw = b"".join(
            b"".join(blob[i : i + 1] * BRICK_VOXELS for i in range(4))
            if len(blob) == _UNIFORM_BYTES
            else zlib.decompress(blob)
            for blob in blobs
        )
    except zlib.error as error:
        raise InvalidInput(f"brick: wanted a blob of encode_bricks, got a damaged one: {error}") from error
    if len(raw) != len(blobs) * 4 * BRICK_VOXELS:
        raise InvalidInput(f"bricks: wanted {4 * BRICK_VOXELS} bytes each, got {len(raw)} for {len(blobs)}")
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(len(blobs), 4, BRICK_VOXELS)
    bits = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u4").reshape(len(blobs), BRICK_VOXELS)
    values: NDArray[np.float32] = bits.astype(np.uint32, copy=False).view(np.float32)
    return values
