"""Vectors as bytes: a first pass over all of them reads a quarter of the memory, and says how far off it may be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.index.threads import in_parts

Codes = NDArray[np.int8]
Floats = NDArray[np.float32]

FEW = 512
"""Up to so many rows are estimated finely at once."""

ALONE_BYTES = 6 << 20
"""Up to so many bytes of codes are multiplied by the asking thread alone: about a millisecond."""

_SLACK = 1e-5
"""What the order of summation may change in a product of float32 vectors of unit norm."""

_STRIDE = 16


def quantise(vectors: Floats) -> tuple[Codes, Floats, Floats]:
    """Vectors (N, dim) as codes (N, dim), with the scale (N,) and the error (N,) of each: |vector - scale * code|."""
    peak = np.maximum(vectors.max(axis=1, initial=0.0), -vectors.min(axis=1, initial=0.0))
    scale = np.where(peak > 0, peak, 1.0).astype(np.float32) / np.float32(127.0)
    scaled = np.rint(vectors / scale[:, None])
    codes = scaled.astype(np.int8)
    scaled *= scale[:, None]
    scaled -= vectors
    error = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    return codes, scale, error.astype(np.float32)


class Estimate:
    """Cosines of coded vectors with one query, each with a bound of its error.

    By Cauchy and Schwarz, |x . q - x' . q'| <= |x - x'| |q| + |x'| |q - q'| for codes x', q' of unit vectors x, q.

    Args:
        query: (dim,) float32 of unit norm.
    """

    def __init__(self, query: Floats) -> None:
        self._query = query
        self._coded: tuple[Codes, float, float] | None = None

    def _code(self) -> tuple[Codes, float, float]:
        """The query as a code (1, dim), with its scale and its error: |query - scale * code|."""
        if self._coded is None:
            peak = float(np.maximum.reduce(np.abs(self._query), initial=0.0)) or 1.0
            scaled = self._query * np.float32(127.0 / peak)
            whole = np.rint(scaled)
            scaled -= whole
            lacking = math.sqrt(scaled.dot(scaled))
            self._coded = whole.astype(np.int8)[None], peak / 127.0, peak / 127.0 * lacking
        return self._coded

    @property
    def code(self) -> Codes:
        """(dim,) the query in bytes."""
        code: Codes = self._code()[0][0]
        return code

    def rough(self, codes: Codes, scale: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Cosines (N,) and how far off each may be (N,), from products of bytes."""
        if len(codes) <= FEW:
            return self.fine(codes, scale, error)
        import numkong

        code, query_scale, lacking = self._code()
        cosines, bounds = np.empty((1, len(codes)), np.float32), np.empty(len(codes), np.float32)
        wider, slack = np.float32(1 + lacking), np.float32(_SLACK + lacking * (1 + _SLACK))

        def part_of(part: slice) -> None:
            mine = cosines[:, part]
            numkong.cdist(code, codes[part], "dot", out=mine)
            mine *= scale[part]
            mine *= np.float32(query_scale)
            np.multiply(error[part], wider, out=bounds[part])
            bounds[part] += slack

        if codes.nbytes <= ALONE_BYTES:  # to wake another thread costs more than it helps
            part_of(slice(None))
        else:
            in_parts(part_of, len(codes))
        return cosines[0], bounds

    def fine(self, codes: Codes, scale: Floats, error: Floats) -> tuple[Floats, Floats]:
        """As `rough`, with the query as it is: tighter, and slower for many."""
        vectors = codes.astype(np.float32)
        # Row by row: of a whole matrix BLAS makes a product with two threads, and waits for the second.
        cosines: Floats = np.matmul(vectors[:, None], self._query)[:, 0]
        cosines *= scale
        return cosines, error + np.float32(_SLACK)


def dots(queries: Floats, vectors: Floats) -> Floats:
    """(V, N) products of queries (V, dim) with few vectors (N, dim); those of equal vectors are equal, wherever they
    stand.
    """
    import numkong

    made = np.zeros((len(queries), len(vectors)), np.float32)
    if made.size and vectors.shape[1]:
        numkong.cdist(queries, vectors, "dot", out=made)
    return made


def contenders(cosines: Floats, bounds: Floats, depth: int, floor: float) -> NDArray[np.int64]:
    """Which rows may be among the `depth` best with a cosine of `floor` or more; all that are, are among them."""
    least = np.float32(floor)
    if len(cosines) > depth:
        low = cosines - bounds  # at least `depth` rows reach the depth-th largest of these
        if len(low) > max(FEW, _STRIDE * depth):  # what reaches the depth-th of some holds the `depth` largest of all
            some = low[::_STRIDE]
            low = low[low >= np.partition(some, len(some) - depth)[len(some) - depth]]
        low.partition(len(low) - depth)
        least = max(least, low[len(low) - depth])
    found: NDArray[np.int64] = (cosines + bounds >= least).nonzero()[0]
    return found


def best_first(scores: NDArray[Any], depth: int) -> NDArray[np.int64]:
    """Indices of the `depth` best, best first; of equals the first comes first."""
    return (-scores).argsort(kind="stable")[:depth]
