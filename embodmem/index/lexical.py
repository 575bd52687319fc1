"""BM25 of a pool of records, exactly, with the words of what happened around each."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.index.words import Stemmer, content_words
from embodmem.store import Store

K1, B = 0.9, 0.4
"""Saturation and length normalisation of BM25, as Anserini sets them for all collections (Yang et al., SIGIR 2017)."""

LABEL_WEIGHT = 4.0
"""A word of the label counts as so many of the text (Robertson et al., CIKM 2004: weighted fields)."""

_HELD_TEXTS, _HELD_WORDS = 16_384, 1 << 22
"""Texts, and words in all of them, that are held."""

Words = NDArray[np.int32]
"""Stems as numbers: of a text, then of a label."""


class _Book:
    """What was taken apart.

    Attributes:
        numbers: Stem -> its number.
        texts: Text -> its stems.
        records: Row id -> the stems of its text and its label, and how many of them are the label's.
        size: Stems of all texts.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.texts: dict[str, Words] = {}
        self.records: dict[int, tuple[Words, int]] = {}
        self.size = 0

    @property
    def is_full(self) -> bool:
        return max(len(self.texts), len(self.records)) > _HELD_TEXTS or self.size > _HELD_WORDS


class Lexical:
    """Scores a pool of records by the words of a query; what was taken apart is held until it changes.

    Args:
        store: Of the records.
        stemmer: Takes texts apart.
    """

    def __init__(self, store: Store, stemmer: Stemmer) -> None:
        self._store, self._stemmer = store, stemmer
        self._lock = threading.Lock()
        self._book = _Book()
        self._state: int | None = None
        store.on_change.append(self._drop)

    def _drop(self, state: int, touched: list[int] | None) -> None:
        with self._lock:
            if touched is None:
                self._book.records.clear()
            for number in touched or ():
                self._book.records.pop(number, None)
            self._state = state

    def count(self, db: sqlite3.Connection, ids: NDArray[np.int64], terms: Sequence[str]) -> Counts:
        """How often terms (T,) occur in the records `ids` (N,), ascending."""
        state, numbers = self._store.snapshot, ids.tolist()
        with self._lock:
            if state is not None and (self._state is None or state > self._state or self._store.read_only):
                if state != self._state:  # nobody tells a reader of another process' file what changed
                    self._book.records.clear()
                self._state = state
            book, is_held = self._book, state is not None and state == self._state
            known = {n: found for n in numbers if (found := book.records.get(n))} if is_held else {}
        left = [number for number in numbers if number not in known]
        labels, texts = texts_of(db, left) if left else ([], [])
        with self._lock:
            stems = self._taken_apart(book, [*terms, *texts, *labels])
            fresh = dict(zip(left, map(_joined, stems[len(terms) :], stems[len(terms) + len(texts) :]), strict=False))
            if is_held and state == self._state and book is self._book:
                book.records.update(fresh)
            if self._book.is_full:
                self._book = _Book()
        known.update(fresh)
        wanted = np.array([row[0] if len(row) else -1 for row in stems[: len(terms)]], dtype=np.int64)
        return _counted([known[number] for number in numbers], wanted)

    def _taken_apart(self, book: _Book, texts: Sequence[str]) -> list[Words]:
        fresh = [text for text in dict.fromkeys(texts) if text not in book.texts]
        for text, stems in zip(fresh, self._stemmer.stems(fresh), strict=True):
            found = [book.numbers.setdefault(stem, len(book.numbers)) for stem in stems]
            book.texts[text] = np.array(found, dtype=np.int32)
            book.size += len(found)
        return [book.texts[text] for text in texts]


def _joined(text: Words, label: Words) -> tuple[Words, int]:
    return (np.concatenate([text, label]), len(label)) if len(label) else (text, 0)


def _counted(rows: Sequence[tuple[Words, int]], wanted: NDArray[np.int64]) -> Counts:
    """How often stems (T,) occur in records (N,)."""
    total, terms = len(rows), len(wanted)
    labels = np.array([row[1] for row in rows], dtype=np.int64)
    lengths = np.array([len(row[0]) for row in rows], dtype=np.int64)
    if not total or not terms:
        return Counts(np.zeros((total, terms)), lengths + (LABEL_WEIGHT - 1.0) * labels)
    flat = np.concatenate([row[0] for row in rows])
    order = np.argsort(wanted, kind="stable")
    ascending = wanted[order].astype(np.int32)
    place = np.minimum(np.searchsorted(ascending, flat), terms - 1)
    hit = np.flatnonzero(ascending[place] == flat)
    ends = np.cumsum(lengths)
    owner = np.searchsorted(ends, hit, side="right")
    weight = np.where(hit >= (ends - labels)[owner], LABEL_WEIGHT, 1.0)
    frequency = np.bincount(owner * terms + order[place[hit]], weight, total * terms).reshape(total, terms)
    return Counts(frequency, lengths + (LABEL_WEIGHT - 1.0) * labels)


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


def texts_of(db: sqlite3.Connection, ids: Sequence[int]) -> tuple[list[str], list[str]]:
    """Labels and texts of records, in the order of their ascending ids."""
    sql = "SELECT label, text FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
    rows = db.execute(sql, (json.dumps(ids),)).fetchall()
    return [row[0] for row in rows], [row[1] for row in rows]
