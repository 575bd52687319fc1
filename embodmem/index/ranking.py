"""Fusion of several rankings into one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)

RANK_OFFSET = 60
"""The constant k of reciprocal rank fusion (Cormack et al., SIGIR 2009, section 2)."""


def fuse(rankings: Mapping[str, Sequence[K]], weights: Mapping[str, float] | None = None) -> dict[K, float]:
    """Reciprocal rank fusion: score(d) = sum over rankings of 1 / (60 + rank), ranks from 1 (Cormack et al., 2009).

    Args:
        rankings: Channel -> keys, best first, each at most once a channel.
        weights: Channel -> what it counts; 1 where none is given.

    Returns:
        Key -> score, best first; ties keep the order in which they came.
    """
    scores: dict[K, float] = {}
    for name, ranking in rankings.items():
        weight = 1.0 if weights is None else weights.get(name, 1.0)
        for rank, key in enumerate(ranking, start=1):
            scores[key] = scores.get(key, 0.0) + weight / (RANK_OFFSET + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def to_unit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (..., N) with the best of each row at 1 and the least that they can be, 0, at 0.

    Normalised from the theoretical minimum (Bruch et al., "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS
    2023): how much better one is than another stays, which ranks forget. A row without a positive
    score is 0.
    """
    scores = np.maximum(scores, 0.0)
    best = scores.max(axis=-1, keepdims=True, initial=0.0)
    return np.asarray(np.divide(scores, best, out=np.zeros_like(scores), where=best > 0))
