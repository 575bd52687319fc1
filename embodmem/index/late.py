"""Late interaction: words of a question laid on words of a text, each as its sentence makes it mean."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

HELD_BYTES = 64 << 20
"""Bytes of word vectors that are held for texts that come again."""


@runtime_checkable
class WordEncoder(Protocol):
    """An encoder that also gives a vector for each piece of a text."""

    def encode_words(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """For each text: where its T pieces stand, (T, 2) first letter and end, and their vectors (T, D), unit norm."""


class Late:
    """Scores texts by soft alignment (ColBERT's MaxSim, Khattab and Zaharia, SIGIR 2020, eq. 3).

    Unlike there, a word of the question counts by its rarity, and a similarity by its square, so that one true match
    outweighs several vague ones.
    """

    def __init__(self, encoder: WordEncoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self._held: dict[str, NDArray[np.float16]] = {}
        self._bytes = 0

    def _vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        with self._lock:
            known = {text: self._held[text] for text in dict.fromkeys(texts) if text in self._held}
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        made = {text: row[1].astype(np.float16) for text, row in zip(fresh, self._encode(fresh), strict=True)}
        known.update(made)
        with self._lock:
            self._held.update(made)
            self._bytes = sum(array.nbytes for array in self._held.values())
            for text in list(islice(self._held, len(self._held) - 1)):
                if self._bytes <= HELD_BYTES:
                    break
                self._bytes -= self._held.pop(text).nbytes
        return [known[text].astype(np.float32) for text in texts]

    def _encode(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        return self._encoder.encode_words(texts) if texts else []

    def scores(self, question: str, weights: dict[str, float], texts: Sequence[str]) -> NDArray[np.float64]:
        """(N,) of texts, 0..1.

        Args:
            question: Its words are laid on those of the texts.
            weights: What each of its words in lower case counts; others count nothing.
            texts: (N,) to score.
        """
        places, asked = self._encode([question])[0]
        weight = np.zeros(len(places))
        at = 0
        letters = question.lower()
        for word, worth in weights.items():
            at = letters.find(word)
            while at >= 0:
                inside = (places[:, 0] >= at) & (places[:, 1] <= at + len(word))
                weight[inside] = np.maximum(weight[inside], worth / max(int(inside.sum()), 1))
                at = letters.find(word, at + len(word))
        if not len(texts) or not weight.any():
            return np.zeros(len(texts))
        vectors = self._vectors(texts)
        starts = np.cumsum([0, *(len(rows) for rows in vectors[:-1])])
        cosine = np.clip(asked[weight > 0] @ np.concatenate(vectors).T, 0.0, 1.0)
        best = np.maximum.reduceat(cosine, starts, axis=1).astype(np.float64)
        return np.asarray(weight[weight > 0] @ np.square(best) / weight.sum())
