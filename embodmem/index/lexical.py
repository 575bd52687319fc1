"""BM25 of a pool of records, exactly, with the words of what happened around each."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.index.kin import themselves, wanted, within
from embodmem.index.laid import LABEL_WEIGHT, Laid, LaidRecords
from embodmem.index.words import Stemmer, content_words
from embodmem.store import Store

K1, B = 0.9, 0.4
"""Saturation and length normalisation of BM25, as Anserini sets them for all collections (Yang et al., SIGIR 2017)."""

KIN = 0.5
"""How often a word counts as said where only one of its kin is said: "workspace" for "work" (`kin`)."""


def counted(stemmer: Stemmer, laid: Laid, terms: Sequence[str], with_kin: bool = True) -> Counts:
    """How often words (T,) occur in records (N,), `KIN` where only one of a word's kin does (`with_kin`).

    Of two words of one stem, one counts.
    """
    total, count = len(laid.sizes), len(terms)
    if not total or not count:
        return Counts(np.zeros((total, count)), laid.length)
    stems = first_stems(stemmer, terms)
    sought = wanted(stems, stemmer.stop_stems()) if with_kin else themselves(stems)
    of, at = within(laid.words, sought)
    cell = laid.owners()[at] * count + sought.term[of]
    kin = sought.kin[of]
    weight = np.where(kin, 0.0, np.where(sought.in_label[of], LABEL_WEIGHT, 1.0))
    made = np.bincount(cell, weight, total * count)
    made[cell[kin]] = np.maximum(made[cell[kin]], KIN)  # itself counts once or more
    return Counts(made.reshape(total, count), laid.length)


def first_stems(stemmer: Stemmer, terms: Sequence[str]) -> list[str]:
    """(T,) the first stem of each word; "" where there is none, or where it came before."""
    found = [stems[0] if stems else "" for stems in stemmer.stems(terms)]
    first = {stem: t for t, stem in reversed(list(enumerate(found)))}
    return [stem if first[stem] == t else "" for t, stem in enumerate(found)]


class Lexical:
    """Counts the words of a query in records; what was taken apart is held until it changes.

    Args:
        store: The memory's file.
        stemmer: Takes them apart.
    """

    def __init__(self, store: Store, stemmer: Stemmer) -> None:
        self._stemmer = stemmer
        self.laid = LaidRecords(store, stemmer)

    def count(self, db: sqlite3.Connection, ids: NDArray[np.int64], terms: Sequence[str], kin: bool = True) -> Counts:
        """How often words occur in records.

        Args:
            db: From `Store.read`.
            ids: (N,) of the records.
            terms: (T,) words.
            kin: Whether words of their kin count, too.
        """
        return counted(self._stemmer, self.laid.of(db, ids), terms, kin)


class Counts:
    """Frequencies (N, T) of terms in records, below 1 of those that they do not hold; their lengths (N,) in words."""

    def __init__(self, frequency: NDArray[Any], length: NDArray[Any]) -> None:
        self.frequency = np.asarray(frequency, np.float64)
        self.length = np.asarray(length, np.float64)

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
