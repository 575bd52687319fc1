"""Fusion of several rankings into one, and diversity among the best."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)

RANK_OFFSET = 60
"""The constant k of reciprocal rank fusion (Cormack et al., SIGIR 2009, section 2)."""


def fuse(rankings: Mapping[str, Sequence[K]]) -> dict[K, float]:
    """Reciprocal rank fusion: score(d) = sum over rankings of 1 / (60 + rank), ranks from 1 (Cormack et al., 2009).

    Args:
        rankings: Channel -> keys, best first, each at most once a channel.

    Returns:
        Key -> score, best first; ties keep the order in which they came.
    """
    scores: dict[K, float] = {}
    for ranking in rankings.values():
        for rank, key in enumerate(ranking, start=1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (RANK_OFFSET + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def to_unit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (..., N) with the best of each row at 1 and the least that they can be, 0, at 0.

    Normalised from the theoretical minimum (Bruch et al., "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS
    2023, section 4: TMM): how much better one is than another stays, which ranks forget. A row without a positive
    score is 0.
    """
    scores = np.maximum(scores, 0.0)
    best = scores.max(axis=-1, keepdims=True, initial=0.0)
    return np.asarray(np.divide(scores, best, out=np.zeros_like(scores), where=best > 0))


def diverse(scores: NDArray[np.float64], vectors: NDArray[np.float32], k: int, diversity: float) -> NDArray[np.int64]:
    """Choose k by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998, section 2).

    Args:
        scores: (N,) how well each fits, 0..1.
        vectors: (N, D) of unit norm; a row of zeros is like nothing else.
        k: How many, at most.
        diversity: 1 - lambda of the paper: 0 is by score alone, 1 only avoids what is alike.

    Returns:
        (min(k, N),) positions in the order in which they were chosen.
    """
    left = np.ones(len(scores), dtype=np.bool_)
    alike = np.zeros(len(scores))
    chosen: list[int] = []
    for _ in range(min(k, len(scores))):
        worth = np.where(left, (1.0 - diversity) * scores - diversity * alike, -np.inf)
        best = int(np.argmax(worth))
        chosen.append(best)
        left[best] = False
        alike = np.maximum(alike, vectors @ vectors[best])
    return np.array(chosen, dtype=np.int64)
