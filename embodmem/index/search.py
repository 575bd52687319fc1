"""How records are found: exact filters first, then channels that rank what passes, then their fusion."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.config_recall import RecallConfig
from embodmem.errors import InvalidInput
from embodmem.index.asked import Asked
from embodmem.index.channels import Channels
from embodmem.index.filters import is_open, matching, row_id, select
from embodmem.index.given import GivenVectors
from embodmem.index.hydrate import Contents
from embodmem.index.late import HoldsTexts, Late, WordEncoder
from embodmem.index.mirror import Mirror
from embodmem.index.pool import Pool
from embodmem.index.ranking import fuse
from embodmem.index.ready import Ready
from embodmem.index.vectors import NO_VECTOR
from embodmem.index.words import match_expression
from embodmem.store import Store
from embodmem.types import Encoder, Query, Recall

CHANNEL_DEPTH = 200
"""How many each channel brings in, unless more answers than that are asked for."""

HELD_TEXTS = 2048
"""How many texts keep their vector in RAM."""


@dataclass(slots=True)
class Ranked:
    """Records in their order, without their content.

    Attributes:
        ids: Row ids, best first.
        scores: Of each.
        reasons: Where some stand among them -> for each of these channel -> score.
        support: 0..1, the most that one of them has for it, for a query by words or by a vector; below 0 is nothing.
        lead: By what part of its score the first is ahead of the second.
        asked: Words of the query that some record holds.
        held: Those that one of the first three holds.
    """

    ids: list[int]
    scores: Sequence[float] = ()
    reasons: Callable[[Sequence[int]], list[dict[str, float]]] = lambda places: [{} for _ in places]
    support: Callable[[], float] = float
    lead: float = 0.0
    asked: Sequence[str] = ()
    held: Sequence[str] = ()

    @classmethod
    def alone(cls, channel: str, ids: list[int], scores: list[float]) -> Ranked:
        """What one channel says."""
        return cls(
            ids, scores, lambda places: [{channel: scores[at]} for at in places], lambda: max(scores, default=0.0)
        )


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
        self._held: dict[str, NDArray[np.float32]] = {}
        self._held_lock = threading.Lock()
        self.given = GivenVectors(encoder)
        self.contents = Contents(store)
        self.channels = Channels(store, self.mirror, self.given, self.contents, encoder, self.encode)
        self.settings = RecallConfig()
        self._late = Late(encoder) if isinstance(encoder, WordEncoder) else None
        self._looked_at: tuple[str, ...] = ()
        self._ready = Ready(store, self._make_ready)
        store.on_erase.append(self._drop_held)

    def prepare(self, kinds: Sequence[str]) -> None:
        """Begin to make ready what searches for some kinds will need, if anything is there; see `Ready`."""
        with self.store.read() as db:
            is_empty = db.execute("SELECT 1 FROM record LIMIT 1").fetchone() is None
        if not is_empty:
            self._looked_at = tuple(kinds)
            self._ready.begin()

    def finish_preparing(self) -> None:
        """Do at once what `prepare` has begun; from now on the rows follow what is written."""
        self._ready.finish()
        self.mirror.expect_searches()

    def _make_ready(self) -> bool:
        with self.store.read() as db:
            return self.channels.make_ready(db, self._looked_at)

    def _drop_held(self) -> None:
        """What is forgotten stays in RAM no longer than in the file: neither texts nor their words."""
        with self._held_lock:
            self._held = {}
        self.channels.drop_held()
        for holder in (self._late, self.encoder):
            if isinstance(holder, HoldsTexts):
                holder.drop_held()

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
            late = self._late if self.settings.late != "never" else None
            known.update(zip(fresh, (late or self.encoder).encode(fresh), strict=True))
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
                ids = np.intersect1d(ids, self._holding(db, query.text))
        return [int(n) for n in ids]

    def search(self, query: Query, k: int, kinds: tuple[str, ...] = ()) -> list[Recall]:
        """The k best records among those that pass every filter, best first.

        A first look brings in a pool: what holds a word of the text (FTS5), what means the like (cosine), what is near.
        Channels score all of it: "words" (BM25 over label and text), "meaning" (cosine), "near" (distance) and
        "context" (what the neighbours in time and the stretch of events say); each sentence of a longer text is asked
        for by itself, too. "recent" (newest first) is there where nothing else ranks.
        """
        with self.store.read() as db:
            found = self._rank(db, query, k, {"": kinds})[""]
            return self.contents.hydrate(db, found.ids, found.scores, found.reasons(range(len(found.ids))))

    def rank(self, query: Query, k: int, groups: Mapping[str, tuple[str, ...]]) -> dict[str, Ranked]:
        """What `search` finds of each group of kinds, without the records themselves: one look at the words for all.

        Args:
            query: What is looked for.
            k: How many of each group.
            groups: Name -> kinds, none of which is in two groups; () is every kind.

        Returns:
            Name -> the k best, best first.

        Raises:
            InvalidInput: k is below 1.
        """
        with self.store.read() as db:
            return self._rank(db, query, k, groups)

    def _rank(
        self, db: sqlite3.Connection, query: Query, k: int, groups: Mapping[str, tuple[str, ...]]
    ) -> dict[str, Ranked]:
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        alone = self._alone(db, query, k, groups)
        if alone is not None:
            return alone
        passed = self.channels.passing(db, query, groups)
        if query.text is None and query.near is None and query.around_ns is None:
            rank = self._newest if query.embedding is None else self._by_meaning
            return {name: rank(db, query, ids, k) for name, ids in passed.each()}
        if not self._ready.has_begun:
            self._looked_at = () if () in groups.values() else tuple(chain(*groups.values()))
            self._ready.begin()
        asked = self.channels.ask(db, query)
        pools = self.channels.pools(db, asked, passed, max(k, CHANNEL_DEPTH), self.settings)
        known = [term for term, ids in zip(asked.terms, asked.postings, strict=True) if len(ids)]
        return {
            name: self._best_of(db, asked, pools[name], known, k) if name in pools else Ranked([], asked=known)
            for name in groups
        }

    def _alone(
        self, db: sqlite3.Connection, query: Query, k: int, groups: Mapping[str, tuple[str, ...]]
    ) -> dict[str, Ranked] | None:
        """What a vector alone finds among the rows in RAM: what passes the filters is ranked without being named first.

        None where there is more to it.
        """
        vector, encoder = query.embedding, self.encoder
        if encoder is None or vector is None or vector.shape != (encoder.dim,) or len(groups) > 1:
            return None
        is_more = query.text is not None or query.near is not None or query.around_ns is not None
        if is_more or not self.given.is_own(query.embedding_model):
            return None
        ((name, kinds),) = groups.items()
        with self.mirror.at(db) as rows:
            at = None if rows is None else select(db, rows, query, kinds, live=True)
            if rows is None or at is None:
                return None
            best = self.channels.vectors.best_rows(db, rows, at, vector, k, encoder.min_score)
        return {name: Ranked.alone("meaning", *best)}

    def _best_of(self, db: sqlite3.Connection, asked: Asked, pool: Pool, known: list[str], k: int) -> Ranked:
        scores = pool.scores()
        if asked.parts and self._late is not None and self._needs_late(scores):
            scores = self._ranked_late(db, self._late, asked, pool, scores)
        best = np.argsort(-scores, kind="stable")[:k]
        return Ranked(
            pool.ids[best].tolist(),
            scores[best].tolist(),
            lambda places: pool.whys(best[list(places)], self.channels.floor),
            lambda: float(pool.support(best).max(initial=0.0)),
            _lead(scores[best[:2]]),
            known,
            [] if pool.holds is None else [asked.terms[t] for t in np.flatnonzero(pool.holds[best[:3]].any(axis=0))],
        )

    def _by_meaning(self, db: sqlite3.Connection, query: Query, ids: NDArray[np.int64], k: int) -> Ranked:
        """One channel alone: its k best are the answer."""
        if query.embedding is not None and not self.given.is_own(query.embedding_model):
            seen = self.given.scores(db, ids, query.embedding, query.embedding_model)
            at = np.argsort(-seen, kind="stable")[: min(k, int((seen > NO_VECTOR).sum()))]
            return Ranked.alone("meaning", ids[at].tolist(), seen[at].tolist())
        if self.encoder is None or not len(ids):
            return Ranked([])
        vector = query.embedding
        if vector is None or vector.shape != (self.encoder.dim,):
            vector = self.channels.ask(db, query).vectors[0]  # or why it cannot be searched by
        return Ranked.alone("meaning", *self.channels.vectors.best(db, ids, vector, k, self.encoder.min_score))

    def _newest(self, db: sqlite3.Connection, query: Query, ids: NDArray[np.int64], k: int) -> Ranked:
        newest = np.array(self._column(db, "last_ns", ids), dtype=np.int64)
        order = np.argsort(-newest, kind="stable")[:k]
        numbers = ids[order].tolist()
        stamps = newest[order].tolist()
        scores = list(fuse({"recent": numbers}).values())
        return Ranked(numbers, scores, lambda places: [{"recent": float(stamps[at])} for at in places])

    def _needs_late(self, scores: NDArray[np.float64]) -> bool:
        """Cheap first: word by word only when asked for, or when the first answer is not clearly ahead (D-Mem)."""
        if self.settings.late != "unsure" or len(scores) < 2:
            return self.settings.late == "always"
        second, first = np.partition(scores, -2)[-2:]
        return bool(first - second < self.settings.sure_margin * first)

    def _ranked_late(
        self, db: sqlite3.Connection, late: Late, asked: Asked, pool: Pool, scores: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(N,) scores with the first `late_depth` in the order that late interaction gives them."""
        first = np.sort(np.argsort(-scores, kind="stable")[: self.settings.late_depth])
        labels, texts = self.contents.texts(db, pool.ids[first].tolist())
        codes = late.of(db, pool.ids[first], [text or label for label, text in zip(labels, texts, strict=True)])
        laid = [
            late.scores(
                part, {t: w for t, w, h in zip(asked.terms, asked.late_worth.tolist(), row, strict=True) if h}, codes
            )
            for part, row in zip(asked.parts, asked.has, strict=True)
        ]
        return pool.with_late(first, np.array(laid))

    @staticmethod
    def _holding(db: sqlite3.Connection, text: str) -> NDArray[np.int64]:
        """Row ids of what holds every content word of a text; of a text without words, none."""
        expression = match_expression(text, every=True)
        sql = "SELECT rowid FROM record_words WHERE record_words MATCH ?"
        found = db.execute(sql, (expression,)).fetchall() if expression else []
        return np.array(found, dtype=np.int64).reshape(-1)

    @staticmethod
    def _column(db: sqlite3.Connection, name: str, ids: NDArray[np.int64]) -> list[Any]:
        numbers = json.dumps(ids.tolist())
        sql = f"SELECT {name} FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        return [row[0] for row in db.execute(sql, (numbers,))]

    def in_order(self, query: Query, kinds: tuple[str, ...], *, newest_first: bool, limit: int) -> list[Recall]:
        """Records that pass the filters of a query, by time; its text and embedding play no part."""
        with self.store.read() as db:
            ids, _ = matching(db, query, kinds, mirror=self.mirror)
            order = "last_ns DESC, id DESC" if newest_first else "first_ns, id"
            sql = f"SELECT id FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY {order} LIMIT ?"
            numbers = [row[0] for row in db.execute(sql, (json.dumps(ids.tolist()), limit))]
            return self.contents.hydrate(db, numbers)

    def get(self, numbers: Sequence[int]) -> list[Recall]:
        """The records of these row ids, in this order; missing ones are left out."""
        with self.store.read() as db:
            return self.contents.hydrate(db, numbers)

    def get_id(self, record_id: str) -> Recall:
        """The record of an id such as "object:12".

        Raises:
            InvalidInput: There is none.
        """
        found = [r for r in self.get([row_id(record_id)]) if r.id == record_id]
        if not found:
            raise InvalidInput(f"id: wanted one that is in the memory, got {record_id!r}")
        return found[0]


def _lead(scores: NDArray[np.float64]) -> float:
    """By what part of its score the first of at most two is ahead of the second."""
    if len(scores) < 2 or scores[0] <= 0:
        return 1.0 if len(scores) == 1 else 0.0
    return float((scores[0] - scores[1]) / scores[0])
