"""BM25 of a pool of records, exactly, with the words of what happened around each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.index.words import Stemmer, content_words

K1, B = 0.9, 0.4
"""Saturation and length normalisation of BM25, as Anserini sets them for all collections (Yang et al., SIGIR 2017)."""

LABEL_WEIGHT = 4.0
"""A word of the label counts as so many of the text (Robertson et al., CIKM 2004: weighted fields)."""

_HELD_TEXTS, _HELD_WORDS = 16_384, 1 << 22
"""Texts, and words in all of them, that are held."""


class Lexical:
    """Scores a pool of records by the words of a query; texts that were taken apart are held.

    Args:
        stemmer: Takes them apart; None makes one.
    """

    def __init__(self, stemmer: Stemmer | None = None) -> None:
        self._stemmer = stemmer or Stemmer()
        self._lock = threading.Lock()
        self._number: dict[str, int] = {}
        self._held: dict[str, NDArray[np.int64]] = {}
        self._words = 0

    def _numbers(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """The stems of each text as numbers."""
        with self._lock:
            if len(self._held) + len(texts) > _HELD_TEXTS or self._words > _HELD_WORDS:
                self._held.clear()
                self._number.clear()
                self._words = 0
            fresh = [text for text in dict.fromkeys(texts) if text not in self._held]
            for text, stems in zip(fresh, self._stemmer.stems(fresh), strict=True):
                found = [self._number.setdefault(stem, len(self._number)) for stem in stems]
                self._held[text] = np.array(found, dtype=np.int64)
                self._words += len(found)
            return [self._held[text] for text in texts]

    def count(self, labels: Sequence[str], texts: Sequence[str], terms: Sequence[str]) -> Counts:
        """How often terms occur in records.

        Args:
            labels: (N,) of the records.
            texts: (N,) of the records.
            terms: (T,) words.
        """
        total, labelled = len(texts), [i for i, label in enumerate(labels) if label]
        found = self._numbers([*terms, *texts, *(labels[i] for i in labelled)])
        wanted = np.array([row[0] if len(row) else -1 for row in found[: len(terms)]], dtype=np.int64)
        rows = found[len(terms) :]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        record = np.concatenate([np.arange(total), np.array(labelled, dtype=np.int64)])
        weight = np.where(np.arange(len(rows)) < total, 1.0, LABEL_WEIGHT)
        length = np.bincount(record, weight * lengths, total)
        if not total or not len(terms):
            return Counts(np.zeros((total, len(terms))), length)
        flat = np.concatenate(rows)
        order = np.argsort(wanted, kind="stable")
        place = np.minimum(np.searchsorted(wanted[order], flat), len(terms) - 1)
        hit = np.flatnonzero(wanted[order][place] == flat)
        owner = np.searchsorted(np.cumsum(lengths), hit, side="right")
        cell = record[owner] * len(terms) + order[place[hit]]
        return Counts(np.bincount(cell, weight[owner], total * len(terms)).reshape(total, len(terms)), length)


class Counts:
    """Frequencies (N, T) of terms in records, and the lengths (N,) of the records in words."""

    def __init__(self, frequency: NDArray[Any], length: NDArray[Any]) -> None:
        self.frequency = frequency.astype(np.float64)
        self.length = length.astype(np.float64)

    def weighed(self) -> NDArray[np.float64]:
        """(N, T) part of BM25 that saturates (Robertson and Zaragoza, 2009), before rarity."""
        mean = max(float(self.length.mean()) if len(self.length) else 1.0, 1e-9)
        soft = K1 * (1.0 - B + B * self.length / mean)
        return np.asarray(self.frequency * (K1 + 1.0) / (self.frequency + soft[:, None]))

    def of(self, rows: NDArray[np.int64]) -> Counts:
        """Those of some records."""
        return Counts(self.frequency[rows], self.length[rows])

    def grouped(self, group: NDArray[np.int64]) -> Counts:
        """What `group` (N,) puts together, as one text."""
        groups = int(group.max()) + 1 if len(group) else 0
        frequency = np.zeros((groups, self.frequency.shape[1]))
        np.add.at(frequency, group, self.frequency)
        return Counts(frequency, np.bincount(group, self.length, groups))


def terms_of(parts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """The content words of parts of a query: T different words, and which part has which, (P, T) 0 or 1."""
    found = [content_words(part) for part in parts]
    terms = list(dict.fromkeys(word for part in found for word in part))
    return terms, np.array([[float(term in part) for term in terms] for part in found]).reshape(len(parts), len(terms))
