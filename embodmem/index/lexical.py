"""BM25 of a pool of records, exactly, with the words of what happened around each."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.index.held import Held
from embodmem.index.hydrate import Contents
from embodmem.index.words import Stemmer, content_words
from embodmem.store import Store

K1, B = 0.9, 0.4
"""Saturation and length normalisation of BM25, as Anserini sets them for all collections (Yang et al., SIGIR 2017)."""

LABEL_WEIGHT = 4.0
"""A word of the label counts as so many of the text (Robertson et al., CIKM 2004: weighted fields)."""

_IN_LABEL = 0x5851F42D4C957F2D
"""Makes the number of a stem in a label another one than that in a text."""

_BYTES = 150
"""About what a record that was taken apart takes beside its stems."""


class Laid(NamedTuple):
    """A record taken apart.

    Attributes:
        stems: (W,) number of each, of label and text. They are 64 bits of a hash: among a million stems the chance that
            two share a number is one in 30 million.
        length: Words of the text, and those of the label, which count more.
    """

    stems: NDArray[np.int64]
    length: float


def lay(stemmer: Stemmer, labels: Sequence[str], texts: Sequence[str]) -> list[Laid]:
    """Take records apart, each with its label and its text."""
    made = []
    for label, text in zip(stemmer.stems(labels), stemmer.stems(texts), strict=True):
        numbers = [*(hash(stem) ^ _IN_LABEL for stem in label), *map(hash, text)]
        made.append(Laid(np.array(numbers, dtype=np.int64), LABEL_WEIGHT * len(label) + len(text)))
    return made


def counted(stemmer: Stemmer, rows: Sequence[Laid], terms: Sequence[str]) -> Counts:
    """How often words (T,) occur in records (N,); of two words of one stem, one counts."""
    total, count = len(rows), len(terms)
    length = np.fromiter((row.length for row in rows), np.float64, total)
    if not total or not count:
        return Counts(np.zeros((total, count)), length)
    found = [hash(stems[0]) if stems else -1 for stems in stemmer.stems(terms)]  # no hash is -1
    wanted = np.array([*found, *(number ^ _IN_LABEL if number != -1 else -1 for number in found)], dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    flat = np.concatenate([row.stems for row in rows])
    ends = np.cumsum(np.fromiter((len(row.stems) for row in rows), np.int64, total))
    place = np.minimum(np.searchsorted(wanted[order], flat), 2 * count - 1)
    hit = np.flatnonzero(wanted[order][place] == flat)
    owner, term = np.searchsorted(ends, hit, side="right"), order[place[hit]]
    weight = np.where(term < count, 1.0, LABEL_WEIGHT)
    return Counts(np.bincount(owner * count + term % count, weight, total * count).reshape(total, count), length)


class Lexical:
    """Counts the words of a query in records; what was taken apart is held until it changes.

    Args:
        store: The memory's file.
        contents: What the records say.
        stemmer: Takes them apart.
    """

    def __init__(self, store: Store, contents: Contents, stemmer: Stemmer) -> None:
        self._contents, self._stemmer = contents, stemmer
        self._held: Held[Laid] = Held(store, lambda row: 8 * len(row.stems) + _BYTES)

    def count(self, db: sqlite3.Connection, ids: NDArray[np.int64], terms: Sequence[str]) -> Counts:
        """How often words occur in records.

        Args:
            db: From `Store.read`.
            ids: (N,) of the records.
            terms: (T,) words.
        """

        def read(left: list[int]) -> dict[int, Laid]:
            return dict(zip(left, lay(self._stemmer, *self._contents.texts(db, left)), strict=True))

        numbers = ids.tolist()
        rows = self._held.of(numbers, read)
        return counted(self._stemmer, [rows[number] for number in numbers], terms)


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
