"""What a summary quotes, without a language model: what stands for the rest, and what came as a surprise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 1024
"""More parts than this are thinned out evenly before any is chosen."""


def representative(vectors: NDArray[np.float32], k: int) -> list[int]:
    """The k rows (N, D) that the others are most alike, each next one for what is not yet well covered.

    Greedy facility location: the next row is the one that adds most to the sum over all rows of the cosine to the
    nearest chosen row (as in extractive summaries, Lin and Bilmes, ACL 2011, eq. 4 without its cap).
    """
    likeness = np.maximum(vectors @ vectors.T, 0.0)
    covered = np.zeros(len(vectors), np.float32)
    chosen: list[int] = []
    for _ in range(min(k, len(vectors))):
        gain = np.maximum(likeness - covered, 0.0).sum(axis=1)
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        if chosen and gain[best] <= 1e-3:  # all is covered: no row says anything of its own
            break
        chosen.append(best)
        covered = np.maximum(covered, likeness[best])
    return chosen


def surprise(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) 1 - cosine of each row to the mean of all rows before it; 0 for the first."""
    before = np.cumsum(vectors, axis=0, dtype=np.float64)[:-1]
    norm = np.maximum(np.linalg.norm(before, axis=1), 1e-12)
    found = np.zeros(len(vectors))
    found[1:] = 1.0 - np.einsum("ij,ij->i", vectors[1:], before) / norm
    return found


def quoted(vectors: NDArray[np.float32], central: int, surprising: int) -> tuple[list[int], list[int]]:
    """Which rows (N, D) to quote: the representative ones, and those most surprising among the others."""
    at = np.arange(len(vectors))
    if len(vectors) > MOST:
        at = np.unique(np.linspace(0, len(vectors) - 1, MOST).astype(np.int64))
    part = vectors[at]
    chosen = representative(part, central)
    unlike = surprise(part)
    unlike[chosen] = -1.0
    order = [int(i) for i in np.argsort(-unlike, kind="stable")[:surprising] if unlike[i] > 0.05]
    return [int(at[i]) for i in chosen], [int(at[i]) for i in order]
