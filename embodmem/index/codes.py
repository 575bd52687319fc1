"""Vectors as bytes: a first pass over all of them reads a quarter of the memory, and says how far off it may be."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int8]
Floats = NDArray[np.float32]

FEW = 512
"""Below so many rows, turning their codes into floats costs less than the call of a faster product."""

_SLACK = 1e-5
"""What the order of summation may change in a product of float32 vectors of unit norm."""

_STRIDE = 16

_THREADS = min(4, os.cpu_count() or 1)


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
        self.query = query

    def rough(self, codes: Codes, scale: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Cosines (N,) and how far off each may be (N,), from products of bytes."""
        if len(codes) <= FEW:
            return self.fine(codes, scale, error)
        import numkong

        query, query_scale, query_error = quantise(self.query[None])
        cosines = np.asarray(numkong.cdist(query, codes, "dot", threads=_THREADS)).reshape(-1).astype(np.float32)
        cosines *= scale
        cosines *= query_scale[0]
        bounds = error * (1 + query_error[0])
        bounds += np.float32(_SLACK) + query_error[0] * np.float32(1 + _SLACK)
        return cosines, bounds

    def fine(self, codes: Codes, scale: Floats, error: Floats) -> tuple[Floats, Floats]:
        """As `rough`, with the query as it is: tighter, and slower for many."""
        return (codes.astype(np.float32) @ self.query) * scale, error + np.float32(_SLACK)


def contenders(cosines: Floats, bounds: Floats, depth: int, floor: float) -> NDArray[np.int64]:
    """Which rows may be among the `depth` best with a cosine of `floor` or more; all that are, are among them."""
    least = np.float32(floor)
    if len(cosines) > depth:
        low = cosines - bounds  # at least `depth` rows reach the depth-th largest of these
        some = low[::_STRIDE]
        if len(some) > depth:  # those that reach the depth-th largest of some hold the `depth` largest of all
            low = low[low >= np.partition(some, len(some) - depth)[len(some) - depth]]
        least = max(least, np.partition(low, len(low) - depth)[len(low) - depth])
    return np.flatnonzero(cosines + bounds >= least)


def best_first(scores: NDArray[Any], depth: int) -> NDArray[np.int64]:
    """Indices of the `depth` best, best first; of equals the first comes first."""
    return np.argsort(-scores, kind="stable")[:depth]
