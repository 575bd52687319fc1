"""Vectors in fewer bits in the file: 8, 4 or 2 a component instead of 32, read back as vectors of unit norm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WHOLE = 32
"""Bits of a component of a vector as the encoder made it: float32."""

_LEVELS = {8: 127, 4: 7, 2: 1}
_CLIPS = {8: (1.0,), 4: (1.0, 0.85, 0.7, 0.6, 0.5, 0.4), 2: (0.9, 0.7, 0.55, 0.45, 0.35, 0.25)}
"""Parts of the largest component at which the codes may end; the one that keeps the direction best is taken."""

BITS = (WHOLE, *_LEVELS)
"""What a component can have, most first."""

SQL_BITS = (
    f"CASE WHEN length({{0}}) % 4 = 0 THEN {WHOLE} WHEN substr({{0}}, 1, 1) = x'08' THEN 8 "
    "WHEN substr({0}, 1, 1) = x'04' THEN 4 ELSE 2 END"
)
"""The bits of a blob in SQL, to be formatted with its column."""


def pack(vectors: Floats, bits: int) -> list[bytes]:
    """Vectors as they stand in the file.

    Codes are whole numbers from -L to L, L = 2^(bits - 1) - 1, so that a zero stays one; how long the vector was is
    not kept, since it is 1. A byte that says the bits stands before them, and they fill whole words of 4 bytes: no
    length of such a blob is that of a vector of float32.

    Args:
        vectors: (N, dim) of unit norm.
        bits: One of `BITS`.
    """
    content = np.ascontiguousarray(vectors, np.float32)
    if bits == WHOLE:
        return [row.tobytes() for row in content]
    levels, each = _LEVELS[bits], 8 // bits
    best = np.zeros(content.shape, np.int8)
    likeness = np.full(len(content), -1.0, np.float32)
    peak = np.maximum(np.abs(content).max(axis=1, initial=0.0), np.finfo(np.float32).tiny)
    for clip in _CLIPS[bits]:
        codes = np.clip(np.rint(content * (levels / (clip * peak))[:, None]), -levels, levels)
        length = np.maximum(np.sqrt(np.einsum("ij,ij->i", codes, codes)), 1.0)
        cosine = np.einsum("ij,ij->i", codes, content) / length
        better = cosine > likeness
        best[better], likeness[better] = codes[better], cosine[better]
    unsigned = np.full((len(content), _padded(content.shape[1], each)), levels, np.uint8)
    unsigned[:, : content.shape[1]] = best.astype(np.int16) + levels
    shifts = (bits * np.arange(each)).astype(np.uint8)
    packed = (unsigned.reshape(len(content), -1, each) << shifts).sum(axis=-1, dtype=np.uint8)
    return [bytes([bits]) + row.tobytes() for row in packed]


def unpack(blobs: Sequence[bytes | None], dim: int) -> tuple[NDArray[np.bool_], Floats]:
    """Vectors from the file, whatever the bits of each.

    Returns:
        has: (N,) whether there is a vector of this length.
        vectors: (N, dim) of unit norm, 0 where there is none.
    """
    lengths = np.array([-1 if blob is None else len(blob) for blob in blobs], dtype=np.int64)
    has = np.zeros(len(blobs), np.bool_)
    vectors = np.zeros((len(blobs), dim), np.float32)
    for bits in BITS:
        size = 4 * dim if bits == WHOLE else 1 + _padded(dim, 8 // bits) * bits // 8
        at = np.flatnonzero(lengths == size)
        if not len(at):
            continue
        joined = b"".join(blob for i in at.tolist() if (blob := blobs[i]) is not None)
        if bits == WHOLE:
            vectors[at] = np.frombuffer(joined, np.float32).reshape(-1, dim)
        else:
            content = np.frombuffer(joined, np.uint8).reshape(-1, size)
            mine = content[:, 0] == bits  # a longer vector in fewer bits may fill as many bytes
            at = at[mine]
            vectors[at] = _decoded(content[mine, 1:], bits, dim)
        has[at] = True
    return has, vectors


def _decoded(packed: NDArray[np.uint8], bits: int, dim: int) -> Floats:
    each = 8 // bits
    shifts = (bits * np.arange(each)).astype(np.uint8)
    codes = (packed[..., None] >> shifts) & np.uint8(2**bits - 1)
    unsigned = codes.reshape(len(packed), packed.shape[1] * each)[:, :dim]
    values: Floats = unsigned.astype(np.float32) - np.float32(_LEVELS[bits])
    length = np.sqrt(np.einsum("ij,ij->i", values, values))
    values /= np.maximum(length, np.float32(1.0))[:, None]
    return values


def _padded(dim: int, each: int) -> int:
    """Components that fill whole words."""
    return -(-dim // (4 * each)) * 4 * each
