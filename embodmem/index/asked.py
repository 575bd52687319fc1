"""A query made ready: its parts, their vectors and words, once for all memories that are asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodmem.index.lexical import terms_of
from embodmem.index.words import Stemmer, parts_of
from embodmem.types import Query


@dataclass(slots=True, kw_only=True)
class Asked:
    """What is looked for, in the form that the channels work with.

    Attributes:
        query: As it was asked.
        parts: The text and, where it has several, its sentences: P texts; none without a text.
        vectors: (V, dim) to search by; none without an encoder.
        terms: T different content words.
        has: (P, T) which part has which word, 0 or 1.
        postings: T arrays of row ids, ascending: who holds the word.
        worth: (T,) rarity of each word; less where it only says what is to be done (`request`).
        late_worth: (T,) the same for late interaction: with what the encoder knows of the language, if it does.
    """

    query: Query
    parts: list[str]
    vectors: NDArray[np.float32]
    terms: list[str]
    has: NDArray[np.float64]
    postings: list[NDArray[np.int64]]
    worth: NDArray[np.float64]
    late_worth: NDArray[np.float64]

    @property
    def weights(self) -> NDArray[np.float64]:
        """(P, T) what each word is worth to each part."""
        return np.asarray(self.has * self.worth)


def words_of(text: str | None, stemmer: Stemmer) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """The parts of a text, their words, and which part has which, (P, T).

    Two words of one stem are one: the first of them stands for both.
    """
    parts = parts_of(text)
    terms, has = terms_of(parts)
    stems = [tuple(found) for found in stemmer.stems(terms)] if len(terms) > 1 else [(term,) for term in terms]
    first: dict[tuple[str, ...], int] = {}
    for t, stem in enumerate(stems):
        into = first.setdefault(stem, t)
        if into != t:
            has[:, into] = np.maximum(has[:, into], has[:, t])
    kept = sorted(first.values())
    return parts, [terms[t] for t in kept], has[:, kept]


def best(scores: NDArray[np.float64], depth: int) -> NDArray[np.int64]:
    """Where the `depth` best scores above 0 stand, in no order; among equals the last ones (the newest records)."""
    there: NDArray[np.int64] = (scores > 0).nonzero()[0]
    if len(there) <= depth:
        return there
    values = scores if len(there) == len(scores) else scores[there]
    if depth == 1:  # the last of the best
        return there[len(values) - 1 - values[::-1].argmax() :][:1]
    least = np.partition(values, len(values) - depth)[len(values) - depth]
    above, equal = (values > least).nonzero()[0], (values == least).nonzero()[0]
    chosen: NDArray[np.int64] = there[np.concatenate([above, equal[len(equal) - (depth - len(above)) :]])]
    return chosen
