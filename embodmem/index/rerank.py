"""A second look at the first answers by whatever the caller brings, such as a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from embodmem.errors import InvalidInput
from embodmem.types import Recall


class Reranker(Protocol):
    """Any callable that says how well texts answer a question."""

    def __call__(self, question: str, texts: Sequence[str], /) -> ArrayLike:
        """(N,) scores of N texts, larger is better."""


def reranked(items: Sequence[Recall], question: str, reranker: Reranker, depth: int) -> list[Recall]:
    """Answers with the first `depth` in the order that the reranker gives them, and `why["rerank"]` its score.

    Scores stay those of the ranks, so that they still fall.

    Raises:
        InvalidInput: It gave another number of scores, or one that is not finite.
    """
    first = items[:depth]
    if not first:
        return list(items)
    texts = [f"{item.label}. {item.text}" if item.label and item.text else item.text or item.label for item in first]
    scores = np.asarray(reranker(question, texts), dtype=np.float64)
    if scores.shape != (len(first),) or not np.isfinite(scores).all():
        raise InvalidInput(f"reranker: wanted {len(first)} finite scores, one a text, got {scores!r:.120}")
    order = np.argsort(-scores, kind="stable").tolist()
    moved = [
        replace(first[i], score=place.score, why={**first[i].why, "rerank": float(scores[i])})
        for place, i in zip(first, order, strict=True)
    ]
    return [*moved, *items[depth:]]
