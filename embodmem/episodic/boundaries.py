"""Where between two segments the boundary lies best, by what the graph of their likeness says (EM-LLM, Fountas et al.,
ICLR 2025, section 3.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def likeness(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, N) weights of the graph of rows (N, D) of unit norm: the cosine where it is above 0, no loops."""
    weights: NDArray[np.float64] = np.maximum(vectors @ vectors.T, 0.0).astype(np.float64)
    np.fill_diagonal(weights, 0.0)
    return weights


def _cuts(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """For the cuts after rows 1..N-1: the weight across (N - 1,), the volume before (N - 1,), and the whole volume."""
    degree = weights.sum(axis=1)
    before = np.cumsum(degree)[:-1]
    # What lies within the first p rows: the sum of the square that they span.
    within = np.cumsum(np.cumsum(weights, axis=0), axis=1).diagonal()[:-1]
    return before - within, before, float(degree.sum())


def modularity(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N - 1,) modularity of the parts before and after each cut (Newman, PNAS 2006; EM-LLM, eq. 3); larger is better.

    Of one part alone it is 0. 0 everywhere for a graph without weights.
    """
    across, before, whole = _cuts(weights)
    if whole <= 0.0:
        return np.zeros(len(across))
    after = whole - before
    return 1.0 - 2.0 * across / whole - (before**2 + after**2) / whole**2


def conductance(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N - 1,) conductance of each cut (EM-LLM, eq. 4): the weight across by the smaller volume; smaller is better."""
    across, before, whole = _cuts(weights)
    smaller = np.minimum(before, whole - before)
    return np.where(smaller > 0.0, across / np.maximum(smaller, 1e-300), 1.0)


def best_cut(vectors: NDArray[np.float32], least: int, measure: str) -> tuple[int, float]:
    """The row before which rows (N, D) fall best into two parts of at least `least` rows, and the modularity there.

    Args:
        vectors: Of unit norm; N of 2 * least or more.
        least: Rows of a part.
        measure: "modularity" or "conductance".
    """
    weights = likeness(vectors)
    gain = modularity(weights)
    score = gain if measure == "modularity" else -conductance(weights)
    allowed = score[least - 1 : len(vectors) - least]
    at = least - 1 + int(np.argmax(allowed))
    return at + 1, float(gain[at])
