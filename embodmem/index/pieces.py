"""Vectors of a text's word pieces in a bit a component, as they stand in the file.

A component's sign says most of what a vector means (Charikar, STOC 2002): laid on signs, the words of a question find
what they find among whole vectors (docs/recall.md), and a piece takes 48 bytes instead of 1,536.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from embodmem.index.words import STOP_WORDS

Codes = NDArray[np.uint8]
"""(T, D / 8) of T pieces: the most significant bit of the first byte is the sign of the first component."""


def codes_of(text: str, places: NDArray[np.int64], vectors: NDArray[np.float32]) -> Codes:
    """Codes of the pieces that are of content words; of all where there is no such word.

    Args:
        text: It.
        places: (T, 2) first letter and end of each piece in it.
        vectors: (T, D) of the pieces.
    """
    said = np.zeros(len(text) + 1, np.bool_)
    for match in re.finditer(r"\w+", text):
        said[match.start() : match.end()] = match.group().lower() not in STOP_WORDS
    kept = said[np.minimum(places[:, 0], len(text))] if len(places) else np.zeros(0, np.bool_)
    return np.packbits(vectors[kept if kept.any() else slice(None)] > 0, axis=1)


def cosines(asked: NDArray[np.float32], codes: Codes) -> NDArray[np.float32]:
    """(A, T) of vectors (A, D) of unit norm with those that have the signs of T pieces and one length everywhere."""
    dim = asked.shape[1]
    signs = np.unpackbits(codes, axis=1, count=dim).astype(np.float32)
    # q . (2 b - 1) = 2 q . b - sum(q)
    return np.asarray((2.0 * (asked @ signs.T) - asked.sum(axis=1, keepdims=True)) / np.float32(np.sqrt(dim)))
