"""Records taken apart into words, in one column for all that were asked for, until they change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.index.held import Newest
from embodmem.index.hydrate import listed
from embodmem.index.kin import IN_LABEL
from embodmem.index.words import Stemmer
from embodmem.store import Store

MOST_WORDS = 4 << 20
"""Words that are held, 8 bytes each; with more, all are let go of."""

AT_ONCE = 1024
"""Records that are taken apart ahead in one go: about ten milliseconds, and some waits where other threads compute."""

LABEL_WEIGHT = 4.0
"""A word of the label counts as so many of the text (Robertson et al., CIKM 2004: weighted fields)."""


class Laid(NamedTuple):
    """Records taken apart, one after the other.

    Attributes:
        words: (W,) number of each stem, of label and text (`kin.number_of`).
        sizes: (N,) how many of them are of each record.
        length: (N,) words of the text, and those of the label, which count more.
    """

    words: NDArray[np.int64]
    sizes: NDArray[np.int64]
    length: NDArray[np.float64]

    def owners(self) -> NDArray[np.int64]:
        """(W,) of which record each word is."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


def lay(stemmer: Stemmer, labels: Sequence[str], texts: Sequence[str]) -> Laid:
    """Take records apart, each with its label and its text."""
    said, of_text = stemmer.numbers(texts)
    length = of_text.astype(np.float64)
    if not any(labels):
        return Laid(said, of_text, length)
    named, of_label = stemmer.numbers(labels)
    owner = np.concatenate([np.repeat(np.arange(len(sizes)), sizes) for sizes in (of_text, of_label)])
    order = np.argsort(owner, kind="stable")
    words = np.concatenate([said, named ^ IN_LABEL])[order]
    return Laid(words, of_text + of_label, length + LABEL_WEIGHT * of_label)


class LaidRecords:
    """Records taken apart, held as of the newest state of the file.

    Args:
        store: The memory's file.
        stemmer: Takes them apart.
    """

    def __init__(self, store: Store, stemmer: Stemmer) -> None:
        self._stemmer = stemmer
        self._place: dict[int, int] = {}  # row id -> where in the columns
        self._begin, self._size = np.empty(0, np.int64), np.empty(0, np.int64)
        self._length, self._words = np.empty(0), np.empty(0, np.int64)
        self._n = self._used = 0
        self._above = 2**63 - 1  # `lay_more` has come to all from here on
        self._newest = Newest(store, self._drop, words=True)

    def _drop(self, touched: list[int] | None) -> None:
        if touched is None:
            self._place.clear()
            self._n = self._used = 0
        for number in touched or ():
            self._place.pop(number, None)

    def drop_held(self) -> None:
        """Let go of all."""
        with self._newest.lock:
            self._drop(None)
            self._words = np.empty(0, np.int64)

    def of(self, db: sqlite3.Connection, ids: NDArray[np.int64]) -> Laid:
        """Records that exist, in the order of their ids (N,); called inside `Store.read`."""
        numbers = ids.tolist()
        with self._newest.lock:
            state = self._newest.sees()
            at = np.full(len(numbers), -1, np.int64)
            if state is not None:
                at = np.fromiter(map(self._place.get, numbers, repeat(-1)), np.int64, len(numbers))
            left = np.flatnonzero(at < 0)
            if not len(left):
                return self._taken(at)
            held = self._taken(at[at >= 0])
        fresh = self.read(db, ids[left].tolist())
        with self._newest.lock:
            if self._newest.is_still(state):
                self._keep(ids[left].tolist(), fresh)
        return _merged(np.flatnonzero(at >= 0), held, left, fresh) if len(left) < len(numbers) else fresh

    def lay_more(self, db: sqlite3.Connection, kinds: Sequence[str]) -> bool:
        """Take apart the newest records of some kinds, () is all, that this has not come to yet, some hundred; whether
        there are more.
        """
        # One row: SQLite lets go of Python's lock for each, and waits to have it back where another thread computes.
        of_kind = "AND +kind IN (SELECT value FROM json_each(?))" if kinds else "AND ? IS NOT NULL"
        sql = (
            "SELECT json_group_array(json_array(id, label, text)) FROM "
            f"(SELECT id, label, text FROM record WHERE id < ? AND live {of_kind} ORDER BY id DESC LIMIT ?)"
        )
        with self._newest.lock:
            state, used = self._newest.sees(), self._used
        rows = json.loads(db.execute(sql, (self._above, json.dumps(kinds), AT_ONCE)).fetchone()[0])
        if not rows or used > MOST_WORDS // 2:
            return False
        self._above = min(row[0] for row in rows)
        rows = [row for row in rows if row[0] not in self._place]
        fresh = lay(self._stemmer, [row[1] for row in rows], [row[2] for row in rows])
        with self._newest.lock:
            if self._newest.is_still(state):
                self._keep([row[0] for row in rows], fresh)
        return True

    def read(self, db: sqlite3.Connection, numbers: Sequence[int]) -> Laid:
        """Records that exist, in this order, taken apart anew."""
        some, values = listed(numbers)
        sql = f"{some} SELECT id, label, text FROM listed CROSS JOIN record ON id = number"
        found = {row[0]: row for row in db.execute(sql, values)}
        rows = [found[number] for number in numbers]
        return lay(self._stemmer, [row[1] for row in rows], [row[2] for row in rows])

    def _taken(self, at: NDArray[np.int64]) -> Laid:
        begin, size = self._begin[at], self._size[at]
        ends = np.cumsum(size)
        if not len(at):
            return Laid(np.empty(0, np.int64), size, np.empty(0))
        where = np.arange(ends[-1]) + np.repeat(begin - ends + size, size)
        return Laid(self._words[where], size, self._length[at])

    def _keep(self, numbers: list[int], fresh: Laid) -> None:
        if self._used + len(fresh.words) > MOST_WORDS:
            self._drop(None)  # what changed left gaps; what is asked for comes back
        n, used = self._n + len(numbers), self._used + len(fresh.words)
        self._begin, self._size, self._length = (grown(a, n) for a in (self._begin, self._size, self._length))
        self._words = grown(self._words, used)
        ends = np.cumsum(fresh.sizes)
        self._begin[self._n : n] = self._used + ends - fresh.sizes
        self._size[self._n : n], self._length[self._n : n] = fresh.sizes, fresh.length
        self._words[self._used : used] = fresh.words
        self._place.update(zip(numbers, range(self._n, n), strict=True))
        self._n, self._used = n, used


def grown(column: NDArray[Any], count: int) -> NDArray[Any]:
    """A column with room for so many, at least as long as before."""
    if count <= len(column):
        return column
    return np.concatenate([column, np.zeros(max(count, 2 * len(column)) - len(column), column.dtype)])


def _merged(at: NDArray[np.int64], one: Laid, others: NDArray[np.int64], other: Laid) -> Laid:
    """Records that stand at `at` and `others`, which share none, in one order."""
    sizes, length = np.empty(len(at) + len(others), np.int64), np.empty(len(at) + len(others))
    sizes[at], sizes[others] = one.sizes, other.sizes
    length[at], length[others] = one.length, other.length
    owner = np.concatenate([np.repeat(at, one.sizes), np.repeat(others, other.sizes)])
    words = np.concatenate([one.words, other.words])[np.argsort(owner, kind="stable")]
    return Laid(words, sizes, length)
