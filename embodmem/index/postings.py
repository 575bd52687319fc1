"""Which records hold a word: asked of the word index once a query, whatever number of memories is asked."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.store import Store

HELD_BYTES = 32 << 20
"""Bytes of row ids that are held for words that are asked for again before anything changes."""

PRIOR_RECORDS = 1000
"""As many records as what the language says of a word is worth; 400 to 3,200 differ little (docs/recall.md)."""

RECORD_WORDS = 20
"""Words of a record, about: of so many, chosen by how often they are used, one or more is the word."""


class Postings:
    """Row ids of the records that hold a word.

    Args:
        store: The memory's file.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._state: int | None = None
        self._held: dict[str, NDArray[np.int64]] = {}
        self._bytes = 0

    def drop_held(self) -> None:
        """Let go of all words that are held."""
        with self._lock:
            self._state, self._held, self._bytes = None, {}, 0

    def of(self, db: sqlite3.Connection, terms: Sequence[str]) -> list[NDArray[np.int64]]:
        """For each word the row ids (N,) that hold it, ascending, of all records."""
        state = self._store.snapshot
        with self._lock:
            if state is None or state != self._state:
                self._state, self._held, self._bytes = state, {}, 0
            held = dict(self._held)
        found = {term: held[term] if term in held else _read(db, term) for term in dict.fromkeys(terms)}
        fresh = {term: ids for term, ids in found.items() if term not in held}
        with self._lock:
            if state is not None and state == self._state and self._bytes < HELD_BYTES:
                self._held.update(fresh)
                self._bytes += sum(ids.nbytes for ids in fresh.values())
        return [found[term] for term in terms]


def _read(db: sqlite3.Connection, term: str) -> NDArray[np.int64]:
    # One text for all ids: a row of SQLite for each costs three times as much.
    sql = "SELECT group_concat(rowid) FROM record_words WHERE record_words MATCH ?"
    found = db.execute(sql, (f'"{term}"',)).fetchone()[0]
    ids = np.fromstring(found or "", dtype=np.int64, sep=",")
    return ids if not len(ids) or (np.diff(ids) > 0).all() else np.unique(ids)


def rarities(
    total: int, postings: Sequence[NDArray[np.int64]], shares: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """(T,) inverse document frequency of words among `total` records (Robertson and Zaragoza, 2009), kept above 0.

    In a small memory it is a matter of chance which words are rare. What is known of the language is a Beta prior of
    the part of records that hold a word: it counts as `PRIOR_RECORDS` records, and a large memory outweighs it.

    Args:
        total: How many records there are.
        postings: T arrays of row ids.
        shares: (T,) part of the words of the language that each is, NaN where that is not known; None of all.
    """
    held = np.array([len(ids) for ids in postings], dtype=np.float64)
    others = np.maximum(total - held, 0)
    if shares is not None:
        unknown = np.isnan(shares)
        expected = PRIOR_RECORDS * -np.expm1(RECORD_WORDS * np.log1p(-np.where(unknown, 0.0, shares)))
        held, others = held + expected, others + np.where(unknown, 0.0, PRIOR_RECORDS - expected)
    return np.asarray(np.log1p((others + 0.5) / (held + 0.5)))


def presence(
    ids: NDArray[np.int64], postings: Sequence[NDArray[np.int64]], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(P, N) what the words that a record holds are worth together, each counted once.

    Args:
        ids: (N,) ascending row ids.
        postings: T arrays of ascending row ids.
        weights: (P, T) what each word is worth to each part of a query.
    """
    made = np.zeros((len(weights), len(ids)))
    for t, holding in enumerate(postings):  # a handful of words
        made[:, _common(ids, holding)] += weights[:, t, None]
    return made


def _common(ids: NDArray[np.int64], holding: NDArray[np.int64]) -> NDArray[Any]:
    """Where in `ids` those stand that are in both; both ascend."""
    if not len(ids) or not len(holding):
        return np.empty(0, np.int64)
    if len(ids) < len(holding):
        at = np.minimum(np.searchsorted(holding, ids), len(holding) - 1)
        return np.flatnonzero(holding[at] == ids)
    at = np.minimum(np.searchsorted(ids, holding), len(ids) - 1)
    return np.asarray(at[ids[at] == holding])
