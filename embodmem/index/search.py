"""How records are found: exact filters first, then channels that rank what passes, then their fusion."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.config_recall import RecallConfig
from embodmem.errors import InvalidInput
from embodmem.index.context import stretches
from embodmem.index.filters import is_open, matching, row_id
from embodmem.index.given import GivenVectors
from embodmem.index.hydrate import hydrate
from embodmem.index.late import Late, WordEncoder
from embodmem.index.lexical import Lexical, rarity, terms_of, texts_of
from embodmem.index.mirror import Mirror
from embodmem.index.pool import Pool
from embodmem.index.ranking import fuse
from embodmem.index.vectors import NO_VECTOR, Vectors
from embodmem.index.words import match_expression, parts_of
from embodmem.store import Store
from embodmem.types import Encoder, Query, Recall

CHANNEL_DEPTH = 200
"""How many each channel brings in, unless more answers than that are asked for."""

HELD_TEXTS = 2048
"""How many texts keep their vector in RAM."""


class Search:
    """Reads records: by id, by time, by the channels of a query.

    Args:
        store: The memory's file.
        encoder: Texts to vectors; None leaves the channel "meaning" out.
    """

    def __init__(self, store: Store, encoder: Encoder | None) -> None:
        self.store = store
        self.encoder = encoder
        dim = 0 if encoder is None else encoder.dim
        self.mirror = Mirror(store, dim)
        self._vectors = Vectors(self.mirror, dim)
        self.given = GivenVectors(encoder)
        self._held: dict[str, NDArray[np.float32]] = {}
        self._held_lock = threading.Lock()
        self._lexical = Lexical()
        self.settings = RecallConfig()
        self._late = Late(encoder) if isinstance(encoder, WordEncoder) else None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, dim) of texts; those used last are held, since what a robot sees repeats itself.

        Raises:
            InvalidInput: There is no encoder.
        """
        if self.encoder is None:
            raise InvalidInput("encode: wanted an encoder, but this memory is open without one")
        with self._held_lock:  # what is taken out here goes back in as used last
            known = {text: self._held.pop(text) for text in dict.fromkeys(texts) if text in self._held}
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        if fresh:
            known.update(zip(fresh, self.encoder.encode(fresh), strict=True))
        with self._held_lock:
            self._held.update(known)
            for text in list(islice(self._held, max(0, len(self._held) - HELD_TEXTS))):
                del self._held[text]
        return np.array([known[text] for text in texts], dtype=np.float32).reshape(-1, self.encoder.dim)

    def match(self, query: Query, kinds: tuple[str, ...] = ()) -> list[int]:
        """Row ids of all records that pass the filters and hold every content word of the text, if one is given.

        Raises:
            InvalidInput: The query is empty, which would be everything.
        """
        if is_open(query):
            raise InvalidInput("query: wanted at least one filter, got an empty query; clear() removes everything")
        with self.store.read() as db:
            ids, _ = matching(db, query, kinds, live=False, mirror=self.mirror)
            if query.text is not None:
                ids = np.array([n for n in self._by_words(db, query.text, ids, len(ids), every=True)], dtype=np.int64)
        return [int(n) for n in ids]

    def search(self, query: Query, k: int, kinds: tuple[str, ...] = ()) -> list[Recall]:
        """The k best records among those that pass every filter, best first.

        A first look brings in a pool: what holds a word of the text (FTS5), what means the like (cosine), what is near.
        Channels score all of it: "words" (BM25 over label and text), "meaning" (cosine), "near" (distance) and
        "context" (what the neighbours in time and the stretch of events say); each sentence of a longer text is asked
        for by itself, too. "recent" (newest first) is there where nothing else ranks.
        """
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        with self.store.read() as db:
            ids, distance = matching(db, query, kinds, mirror=self.mirror)
            if not len(ids):
                return []
            if query.text is None and query.embedding is None and query.near is None:
                return self._newest(db, ids, k)
            if query.text is None and query.near is None:
                return self._by_meaning(db, query, ids, k)
            pool = self._pool(db, query, ids, distance, max(k, CHANNEL_DEPTH))
            scores = pool.scores()
            if query.text and self._late is not None and len(pool.ids) and self._needs_late(scores):
                scores = self._ranked_late(db, self._late, query.text, pool, scores)
            best = np.argsort(-scores, kind="stable")[:k]
            least = 0.0 if self.encoder is None else self.encoder.min_score
            why = {int(pool.ids[i]): pool.why(i, least) for i in best}
            numbers = [int(pool.ids[i]) for i in best]
            return hydrate(db, numbers, dict(zip(numbers, scores[best].tolist(), strict=True)), why)

    def _by_meaning(self, db: sqlite3.Connection, query: Query, ids: NDArray[np.int64], k: int) -> list[Recall]:
        """One channel alone: its k best are the answer."""
        if query.embedding is not None and not self.given.is_own(query.embedding_model):
            seen = self.given.scores(db, ids, query.embedding, query.embedding_model)
            like = _best(ids, seen, seen > NO_VECTOR, k)
            return hydrate(db, list(like), like, {number: {"meaning": score} for number, score in like.items()})
        if self.encoder is None:
            return []
        like = self._vectors.best(db, ids, self._part_vectors(query, ())[0], k, self.encoder.min_score)
        return hydrate(db, list(like), like, {number: {"meaning": score} for number, score in like.items()})

    def _newest(self, db: sqlite3.Connection, ids: NDArray[np.int64], k: int) -> list[Recall]:
        newest = np.array(self._column(db, "last_ns", ids), dtype=np.int64)
        order = np.argsort(-newest, kind="stable")[:k]
        numbers = ids[order].tolist()
        why = {n: {"recent": float(newest[i])} for n, i in zip(numbers, order, strict=True)}
        return hydrate(db, numbers, fuse({"recent": numbers}), why)

    def _pool(
        self, db: sqlite3.Connection, query: Query, ids: NDArray[np.int64], distance: NDArray[np.float64], depth: int
    ) -> Pool:
        """What answers may come from, scored by every channel."""
        parts = parts_of(query.text)
        foreign = query.embedding is not None and not self.given.is_own(query.embedding_model)
        vectors = np.empty((0, 0), np.float32) if foreign else self._part_vectors(query, parts)
        chosen = [np.fromiter(self._by_words(db, part, ids, depth), np.int64) for part in parts]
        if self.encoder is not None:
            found = [self._vectors.best(db, ids, vector, depth, self.encoder.min_score) for vector in vectors]
            chosen += [np.fromiter(like, np.int64) for like in found]
        seen = None
        if foreign and query.embedding is not None:
            seen = self.given.scores(db, ids, query.embedding, query.embedding_model)
            chosen.append(np.array(list(_best(ids, seen, seen > NO_VECTOR, depth)), np.int64))
        if query.near is not None and query.text is None and not len(vectors) and seen is None:
            chosen.append(np.array(list(_best(ids, -distance, ~np.isnan(distance), depth)), np.int64))
        pool = Pool(np.unique(np.concatenate([*chosen, np.empty(0, np.int64)])))
        place = np.searchsorted(ids, pool.ids)
        if len(vectors):
            pool.meaning = np.array([self._vectors.scores(db, pool.ids, vector) for vector in vectors], np.float64)
        if seen is not None:
            pool.meaning = seen[place][None]
        if query.near is not None:  # nearness orders what the words chose; it brings in nothing of its own
            pool.distance = distance[place]
        if parts and len(pool.ids):
            terms, has = terms_of(parts)
            counts = self._lexical.count(*texts_of(db, pool.ids), terms)
            weights = has * rarity(db, terms)
            pool.words = weights @ counts.weighed().T
            around = stretches(db, pool.ids, int(self.settings.episode_gap_s * 1e9))
            pool.add_context(around, counts, weights, self.settings)
        return pool

    def _needs_late(self, scores: NDArray[np.float64]) -> bool:
        """Cheap first: word by word only when asked for, or when the first answer is not clearly ahead (D-Mem)."""
        if self.settings.late != "unsure" or len(scores) < 2:
            return self.settings.late == "always"
        second, first = np.partition(scores, -2)[-2:]
        return bool(first - second < self.settings.sure_margin * first)

    def _ranked_late(
        self, db: sqlite3.Connection, late: Late, text: str, pool: Pool, scores: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(N,) scores with the first `late_depth` in the order that late interaction gives them."""
        first = np.sort(np.argsort(-scores, kind="stable")[: self.settings.late_depth])
        labels, texts = texts_of(db, pool.ids[first])
        whole = [f"{a}. {b}" if a and b else a or b for a, b in zip(labels, texts, strict=True)]
        parts = parts_of(text)
        terms, has = terms_of(parts)
        worth = rarity(db, terms)
        laid = [
            late.scores(part, {t: w for t, w, h in zip(terms, worth.tolist(), row, strict=True) if h}, whole)
            for part, row in zip(parts, has, strict=True)
        ]
        return pool.with_late(first, np.array(laid))

    def _part_vectors(self, query: Query, parts: Sequence[str]) -> NDArray[np.float32]:
        """(P, dim) vectors to search by: the query's own, or its text's, and those of its further parts."""
        if self.encoder is None:
            return np.empty((0, 0), dtype=np.float32)
        given = query.embedding
        if given is not None and given.shape != (self.encoder.dim,):
            raise InvalidInput(f"query: wanted an embedding ({self.encoder.dim},), got {given.shape}")
        if given is None:
            return self.encode(parts)
        return np.concatenate([given[None], self.encode(parts[1:])]) if len(parts) > 1 else given[None]

    @staticmethod
    def _column(db: sqlite3.Connection, name: str, ids: NDArray[np.int64]) -> list[Any]:
        numbers = json.dumps(ids.tolist())
        sql = f"SELECT {name} FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        return [row[0] for row in db.execute(sql, (numbers,))]

    @staticmethod
    def _by_words(
        db: sqlite3.Connection, text: str, ids: NDArray[np.int64], depth: int, every: bool = False
    ) -> dict[int, float]:
        expression = match_expression(text, every)
        if not expression:
            return {}
        # The + keeps SQLite from asking the word index anew for each id.
        sql = (
            "SELECT rowid, -bm25(record_words, 4.0, 1.0) FROM record_words WHERE record_words MATCH ? "
            "AND +rowid IN (SELECT value FROM json_each(?)) ORDER BY bm25(record_words, 4.0, 1.0), rowid LIMIT ?"
        )
        return dict(db.execute(sql, (expression, json.dumps(ids.tolist()), depth)).fetchall())

    def in_order(self, query: Query, kinds: tuple[str, ...], *, newest_first: bool, limit: int) -> list[Recall]:
        """Records that pass the filters of a query, by time; its text and embedding play no part."""
        with self.store.read() as db:
            ids, _ = matching(db, query, kinds, mirror=self.mirror)
            order = "last_ns DESC, id DESC" if newest_first else "first_ns, id"
            sql = f"SELECT id FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY {order} LIMIT ?"
            numbers = [row[0] for row in db.execute(sql, (json.dumps(ids.tolist()), limit))]
            return hydrate(db, numbers, {}, {})

    def get(self, numbers: Sequence[int]) -> list[Recall]:
        """The records of these row ids, in this order; missing ones are left out."""
        with self.store.read() as db:
            return hydrate(db, numbers, {}, {})

    def get_id(self, record_id: str) -> Recall:
        """The record of an id such as "object:12".

        Raises:
            InvalidInput: There is none.
        """
        found = [r for r in self.get([row_id(record_id)]) if r.id == record_id]
        if not found:
            raise InvalidInput(f"id: wanted one that is in the memory, got {record_id!r}")
        return found[0]


def _best(ids: NDArray[np.int64], scores: NDArray[Any], keep: NDArray[np.bool_], depth: int) -> dict[int, float]:
    """Row id -> score of the `depth` best that are kept, best first."""
    chosen = np.flatnonzero(keep)
    order = chosen[np.argsort(-scores[chosen], kind="stable")[:depth]]
    return {int(ids[i]): float(scores[i]) for i in order}
