"""Which records hold a word: asked of the word index once a query, whatever number of memories is asked."""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.store import Store
from embodmem.store.changes import Changed

HELD_BYTES = 32 << 20
"""Bytes of row ids that are held for words that are asked for again; with more, all are let go of."""

MOST_WORDS = 4096
"""Words for which they are held."""

LONGEST_LOG = 512
"""Records that were changed since words were asked for; after more of them it costs less to ask for words anew."""

_ENTRY = 32
"""A commit counts as so many records more."""

PRIOR_RECORDS = 1000
"""As many records as what the language says of a word is worth; 400 to 3,200 differ little (docs/recall.md)."""

RECORD_WORDS = 20
"""Words of a record, about: of so many, chosen by how often they are used, one or more is the word."""


class _Held(NamedTuple):
    """Row ids (N,) of the records that hold a word, as of a state of the file."""

    state: int
    ids: NDArray[np.int64]


class _Entry(NamedTuple):
    """Of a commit: ids (N,) of records that say something new or are gone, and (M,) of those that are there."""

    state: int
    changed: NDArray[np.int64]
    said: NDArray[np.int64]


_state = attrgetter("state")


class Postings:
    """Row ids of the records that hold a word; of words that are asked for again, only what changed since is read.

    Args:
        store: The memory's file.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._bytes = 0
        self._log: list[_Entry] = []  # of all commits after `_since`
        self._since = self._logged = 0
        store.on_change.append(self._note)

    def _note(self, state: int, changed: Changed | None) -> None:
        with self._lock:
            if changed is None or not self._held:
                self._forget(state)
            elif changed.said or changed.gone:
                said = np.array(changed.said, dtype=np.int64)
                entry = _Entry(state, np.union1d(said, np.array(changed.gone, dtype=np.int64)), said)
                self._log.append(entry)
                self._logged += len(entry.changed) + _ENTRY
                if self._logged > LONGEST_LOG:
                    self._forget(state)

    def _forget(self, state: int) -> None:
        """What is held is as of a state that is not followed any more; with the lock held."""
        self._held, self._bytes, self._log, self._logged, self._since = {}, 0, [], 0, state

    def drop_held(self) -> None:
        """Let go of all words that are held."""
        with self._lock:
            self._held, self._bytes = {}, 0

    def of(self, db: sqlite3.Connection, terms: Sequence[str]) -> list[NDArray[np.int64]]:
        """For each word the row ids (N,) that hold it, ascending, of all records."""
        state = self._store.snapshot
        with self._lock:
            held = {term: self._held[term] for term in terms if term in self._held}
            since, log = self._since, []
            if state is not None and held:
                oldest = min(known.state for known in held.values())
                begin, end = (bisect_right(self._log, one, key=_state) for one in (oldest, state))
                log = self._log[begin:end]
        found = dict[str, NDArray[np.int64]]()
        for term in dict.fromkeys(terms):
            known = held.get(term)
            if known is not None and known.state == state:
                found[term] = known.ids
            elif known is None or state is None or self._store.read_only or not since <= known.state < state:
                found[term] = _read(db, term)
            else:
                found[term] = _followed(db, term, known.ids, log[bisect_right(log, known.state, key=_state) :])
        if state is not None:
            self._hold(state, found)
        return [found[term] for term in terms]

    def _hold(self, state: int, fresh: Mapping[str, NDArray[np.int64]]) -> None:
        with self._lock:
            if state < self._since:
                return
            for term, ids in fresh.items():
                old = self._held.get(term)
                if old is None or old.state < state:
                    self._held[term] = _Held(state, ids)
                    self._bytes += ids.nbytes - (0 if old is None else old.ids.nbytes)
            if self._bytes > HELD_BYTES or len(self._held) > MOST_WORDS:
                self._held, self._bytes = {}, 0


def _followed(db: sqlite3.Connection, term: str, ids: NDArray[np.int64], log: Sequence[_Entry]) -> NDArray[np.int64]:
    """The row ids that hold a word now, of those (N,) that did before what a log says."""
    if not log:
        return ids
    changed = log[0].changed if len(log) == 1 else np.unique(np.concatenate([entry.changed for entry in log]))
    at = np.minimum(np.searchsorted(changed, ids), len(changed) - 1)
    ids = ids[changed[at] != ids]
    said = [entry.said for entry in log if len(entry.said)]
    if not said:
        return ids
    low, high = int(min(some[0] for some in said)), int(max(some[-1] for some in said))
    begin, end = np.searchsorted(ids, [low, high + 1])
    return np.concatenate([ids[:begin], _read(db, term, low, high), ids[end:]])


def _read(db: sqlite3.Connection, term: str, *between: int) -> NDArray[np.int64]:
    # One text for all ids: a row of SQLite for each costs three times as much.
    sql = "SELECT group_concat(rowid) FROM record_words WHERE record_words MATCH ?"
    if between:
        sql += " AND rowid BETWEEN ? AND ?"
    found = db.execute(sql, (f'"{term}"', *between)).fetchone()[0]
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
