"""How records are found: exact filters first, then channels that rank what passes, then one fusion by rank."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.index.filters import is_open, matching, row_id
from embodmem.index.mirror import Mirror
from embodmem.index.ranking import fuse
from embodmem.index.vectors import Vectors
from embodmem.index.words import match_expression
from embodmem.store import Store
from embodmem.types import Encoder, Query, Recall

CHANNEL_DEPTH = 200
"""How many of its best each channel hands to the fusion, unless more answers than that are asked for."""

HELD_TEXTS = 2048
"""How many texts keep their vector in RAM."""

_COLUMNS = "id, kind, subkind, label, text, first_ns, last_ns, x, y, z, data, agent, source"


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
        self._held: dict[str, NDArray[np.float32]] = {}
        self._held_lock = threading.Lock()

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

        Channels: "words" (BM25 over label and text), "meaning" (cosine of embeddings), "near" (distance), and
        "recent" (newest first) where nothing else ranks. They are fused by rank.
        """
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        with self.store.read() as db:
            ids, distance = matching(db, query, kinds, mirror=self.mirror)
            if not len(ids):
                return []
            fused_with_others = query.text is not None or query.near is not None
            scores = self._channels(db, query, ids, distance, max(k, CHANNEL_DEPTH) if fused_with_others else k)
            fused = fuse({name: list(ranked) for name, ranked in scores.items()})
            best = list(fused)[:k]
            why = {n: {name: ranked[n] for name, ranked in scores.items() if n in ranked} for n in best}
            return self._hydrate(db, best, fused, why)

    def _channels(
        self, db: sqlite3.Connection, query: Query, ids: NDArray[np.int64], distance: NDArray[np.float64], depth: int
    ) -> dict[str, dict[int, float]]:
        """Channel -> row id -> score, best first, `depth` at most."""
        channels: dict[str, dict[int, float]] = {}
        if query.text is not None:
            channels["words"] = self._by_words(db, query.text, ids, depth)
        vector = query.embedding
        if vector is None and query.text and self.encoder is not None:
            vector = self.encode([query.text])[0]
        if vector is not None and self.encoder is not None:
            if vector.shape != (self.encoder.dim,):
                raise InvalidInput(f"query: wanted an embedding ({self.encoder.dim},), got {vector.shape}")
            channels["meaning"] = self._vectors.best(db, ids, vector, depth, self.encoder.min_score)
        if query.near is not None and (query.text is None or any(channels.values())):
            placed = ~np.isnan(distance)
            if query.text is not None:  # nearness orders what the words chose; it brings in nothing of its own
                placed &= np.isin(ids, [n for ranked in channels.values() for n in ranked])
            channels["near"] = {n: -s for n, s in _best(ids, -distance, placed, depth).items()}
        if not channels:
            newest = np.array(self._column(db, "last_ns", ids), dtype=np.int64)
            order = np.argsort(-newest, kind="stable")[:depth]
            channels["recent"] = {int(ids[i]): float(newest[i]) for i in order}
        return {name: ranked for name, ranked in channels.items() if ranked}

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
        sql = (
            "SELECT rowid, -bm25(record_words, 4.0, 1.0) FROM record_words WHERE record_words MATCH ? "
            "AND rowid IN (SELECT value FROM json_each(?)) ORDER BY bm25(record_words, 4.0, 1.0), rowid LIMIT ?"
        )
        return dict(db.execute(sql, (expression, json.dumps(ids.tolist()), depth)).fetchall())

    def in_order(self, query: Query, kinds: tuple[str, ...], *, newest_first: bool, limit: int) -> list[Recall]:
        """Records that pass the filters of a query, by time; its text and embedding play no part."""
        with self.store.read() as db:
            ids, _ = matching(db, query, kinds, mirror=self.mirror)
            order = "last_ns DESC, id DESC" if newest_first else "first_ns, id"
            sql = f"SELECT id FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY {order} LIMIT ?"
            numbers = [row[0] for row in db.execute(sql, (json.dumps(ids.tolist()), limit))]
            return self._hydrate(db, numbers, {}, {})

    def get(self, numbers: Sequence[int]) -> list[Recall]:
        """The records of these row ids, in this order; missing ones are left out."""
        with self.store.read() as db:
            return self._hydrate(db, numbers, {}, {})

    def _hydrate(
        self,
        db: sqlite3.Connection,
        numbers: Sequence[int],
        scores: Mapping[int, float],
        why: Mapping[int, Mapping[str, float]],
    ) -> list[Recall]:
        wanted = json.dumps([int(n) for n in numbers])
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM record WHERE id IN (SELECT value FROM json_each(?))", (wanted,)
        ).fetchall()
        evidence: dict[int, list[str]] = {}
        links = db.execute(
            "SELECT l.id, r.kind || ':' || r.id FROM record_link l JOIN record r ON r.id = l.ref "
            "WHERE l.id IN (SELECT value FROM json_each(?)) ORDER BY l.ref",
            (wanted,),
        )
        for number, ref in links:
            evidence.setdefault(number, []).append(ref)
        found = {}
        for number, kind, subkind, label, text, first_ns, last_ns, x, y, z, data, agent, source in rows:
            extra = json.loads(data)
            if subkind:
                extra["kind"] = subkind
            if agent:
                extra["agent"] = agent
            if source:
                extra["source"] = source
            found[number] = Recall(
                kind=kind,
                id=f"{kind}:{number}",
                score=scores.get(number, 0.0),
                position=None if x is None else np.array([x, y, z]),
                first_seen_ns=first_ns,
                last_seen_ns=last_ns,
                label=label,
                text=text,
                evidence=tuple(evidence.get(number, ())),
                why=dict(why.get(number, {})),
                data=extra,
            )
        return [found[int(n)] for n in numbers if int(n) in found]

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
