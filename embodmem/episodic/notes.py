"""Events as notes that are linked to the earlier ones most alike (A-MEM, Xu et al., 2025)."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodmem.config_episodic import NoteConfig
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.index.bits import unpack
from embodmem.index.filters import row_id
from embodmem.index.words import content_words
from embodmem.types import Recall

CURSOR = "noted"
_CHUNK = 128
"""Notes that are compared at once: some tens of megabytes beside `among` others."""
_SAME = 0.9999
"""From this cosine on, two notes say the same: a link between them would lead nowhere."""


@dataclass(frozen=True, slots=True)
class Note:
    """An event with what it is linked to.

    Attributes:
        id: Its id.
        keywords: The content words of its text, and its objects.
        context: Keywords of it and of the notes linked to it, most frequent first: it grows with each that arrives.
        links: Ids of linked notes and the cosine of each, closest first.
    """

    id: str
    keywords: tuple[str, ...]
    context: tuple[str, ...]
    links: tuple[tuple[str, float], ...]


class Notes:
    """Walks over the events by id, and keeps in the file how far it came.

    Args:
        records: Of the memory.
        config: How alike, and how many.
        settle_s: Only older events are linked, seconds.
    """

    def __init__(self, records: Records, config: NoteConfig, settle_s: float) -> None:
        self.records, self.config, self.store = records, config, records.store
        self._settle_ns = int(settle_s * 1e9)

    def step(self, now_ns: int, limit: int) -> tuple[int, bool]:
        """Link the next `limit` events that are old enough; returns how many links were made, and if none is left."""
        if not self.config.links or self.records.encoder is None:
            return 0, True
        with self.store.transaction() as db:
            after = self.store.get_state(CURSOR, 0)
            found = db.execute(
                "SELECT id, first_ns FROM record WHERE id > ? AND kind = 'event' AND live ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()
            done = len(found) < limit
            young = next((i for i, row in enumerate(found) if row[1] >= now_ns - self._settle_ns), len(found))
            if not young:
                return 0, True
            last = int(found[young - 1][0])
            made = self._link(db, [int(row[0]) for row in found[:young]])
            self.store.set_state(CURSOR, last)
        return made, done or young < len(found)

    def _link(self, db: sqlite3.Connection, new: list[int]) -> int:
        """Link each of these to the most alike among the `among` events before it."""
        ids, vectors = self._vectors(db, new[-1], self.config.among + len(new))
        asked = np.flatnonzero(np.isin(ids, new))
        made = 0
        for begin in range(0, len(asked), _CHUNK):
            made += self._link_some(db, ids, vectors, asked[begin : begin + _CHUNK])
        return made

    def _link_some(
        self, db: sqlite3.Connection, ids: NDArray[np.int64], vectors: NDArray[np.float32], asked: NDArray[np.int64]
    ) -> int:
        """Link those at `asked` (A,) to the most alike of all (N,) before them."""
        cosine = vectors[asked] @ vectors.T
        cosine[(ids[None] >= ids[asked][:, None]) | (cosine > _SAME)] = -1.0
        k = min(self.config.links, cosine.shape[1])
        best = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        scores = np.take_along_axis(cosine, best, axis=1)
        row, column = np.nonzero(scores >= self.config.alike)
        links = zip(
            ids[asked[row]].tolist(), ids[best[row, column]].tolist(), scores[row, column].tolist(), strict=True
        )
        return int(db.executemany("INSERT OR REPLACE INTO note_link VALUES (?, ?, ?)", links).rowcount)

    def _vectors(self, db: sqlite3.Connection, last: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Row ids (N,), ascending, and vectors (N, D) of the newest live events up to `last`."""
        rows = db.execute(
            "SELECT v.id, v.embedding FROM record_vector v JOIN record r ON r.id = v.id "
            "WHERE r.kind = 'event' AND r.live AND v.id <= ? ORDER BY v.id DESC LIMIT ?",
            (last, most),
        ).fetchall()[::-1]
        dim = 0 if self.records.encoder is None else self.records.encoder.dim
        has, vectors = unpack([row[1] for row in rows], dim)
        return np.array([row[0] for row in rows], np.int64)[has], vectors[has]

    def linked(self, record_id: str, k: int, steps: int) -> list[Recall]:
        """See `EpisodicMemory.linked`."""
        if k < 1 or steps < 1:
            raise InvalidInput(f"linked: wanted k and steps of 1 or more, got {k} and {steps}")
        start = row_id(self.records.get_id(record_id).id)
        with self.store.read() as db:
            reached, edge = {start: 1.0}, {start: 1.0}
            for _ in range(steps):
                edge = self._next(db, edge, reached)
                reached.update(edge)
            del reached[start]
            best = sorted(reached, key=lambda number: (-reached[number], number))[:k]
            items = self.records.get(best)
        return [replace(i, score=reached[row_id(i.id)], why={"linked": reached[row_id(i.id)]}) for i in items]

    @staticmethod
    def _next(db: sqlite3.Connection, edge: dict[int, float], reached: dict[int, float]) -> dict[int, float]:
        """Notes one link on, either way, with the product of the cosines on the best way there."""
        given = json.dumps(list(edge))
        rows = db.execute(
            "SELECT l.id, l.ref, l.score FROM note_link l JOIN record r ON r.id = l.ref WHERE r.live "
            "AND l.id IN (SELECT value FROM json_each(?1)) UNION ALL "
            "SELECT l.ref, l.id, l.score FROM note_link l JOIN record r ON r.id = l.id WHERE r.live "
            "AND l.ref IN (SELECT value FROM json_each(?1))",
            (given,),
        )
        found: dict[int, float] = {}
        for here, there, score in rows:
            if there not in reached:
                found[there] = max(found.get(there, 0.0), edge[here] * score)
        return found

    def note(self, record_id: str) -> Note:
        """See `EpisodicMemory.note`."""
        item = self.records.get_id(record_id)
        around = self.linked(record_id, self.config.context, 1)
        own = _keywords(item)
        counts = Counter(own)
        for other in around:
            counts.update(_keywords(other))
        context = tuple(word for word, _ in counts.most_common(self.config.keywords))
        return Note(item.id, tuple(own), context, tuple((other.id, other.score) for other in around))


def _keywords(item: Recall) -> list[str]:
    objects = [name for name in item.data.get("objects", ()) if ":" not in name]
    return list(dict.fromkeys([*content_words(item.text), *(name.lower() for name in objects)]))
