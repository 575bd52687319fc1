"""Recall across memories: one search for all of them, fused by rank, in the order that the guard allows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

from embodmem.errors import InvalidInput
from embodmem.guard import Guard
from embodmem.index import RecordMemory, Records, fuse
from embodmem.index.choose import spread
from embodmem.index.hydrate import among, hydrate
from embodmem.index.memory import as_query
from embodmem.index.search import Ranked
from embodmem.spatial.memory import SpatialMemory
from embodmem.types import Query, Recall

_PER_MEMORY = 50
"""How many answers of each memory take part, at least."""


class Recaller:
    """Asks all memories at once.

    Args:
        records: Of the memory.
        spatial: Its map.
        guard: Orders the answers.
        memories: By name.
    """

    def __init__(
        self, records: Records, spatial: SpatialMemory, guard: Guard, memories: Mapping[str, RecordMemory]
    ) -> None:
        self._records, self._spatial, self._guard = records, spatial, guard
        self._memories = memories

    def recall(self, query: Query | str, k: int) -> list[Recall]:
        """See `EmbodiedMemory.recall`."""
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        query = as_query(query)
        depth = max(k, _PER_MEMORY)
        with self._records.store.read() as db:  # one snapshot for all, whatever is written meanwhile
            kinds = {name: memory.looked_at(query) for name, memory in self._memories.items()}
            ranked = self._records.rank(query, depth, kinds)
            rankings: dict[str, Sequence[int | str]] = {name: found.ids for name, found in ranked.items()}
            why = _reasons(ranked)
            for item, record in self._stands_for(db, ranked["working"].ids).items():
                why.setdefault(record, {}).update(why.pop(item))
            rankings["working"] = [number for number in ranked["working"].ids if number in why]
            surfaces = self._spatial.recall(query, k) if "surface" in query.kinds else []
            rankings["spatial"] = [item.id for item in surfaces]
            why.update((item.id, {f"spatial.{name}": score for name, score in item.why.items()}) for item in surfaces)
            scores = fuse(rankings)
            best = list(scores)[: max(4 * k, _PER_MEMORY)]
            numbers = [key for key in best if isinstance(key, int)]
            found: dict[int | str, Recall] = {item.id: item for item in surfaces}
            found.update(zip(numbers, hydrate(db, numbers, {}, {}), strict=True))
        items = [replace(found[key], score=scores[key], why=why[key]) for key in best]
        return spread(self._guard.order(items, query), query, k)

    def _stands_for(self, db: sqlite3.Connection, items: Sequence[int]) -> dict[int, int]:
        """Line of working memory -> the record that it stands for."""
        given, values = among(items)
        sql = f"SELECT id, min(ref) FROM record_link WHERE id {given} GROUP BY id"
        return dict(db.execute(sql, values).fetchall()) if items else {}


def _reasons(answers: Mapping[str, Ranked]) -> dict[int | str, dict[str, float]]:
    """Row id -> "memory.channel" -> score."""
    return {
        number: {f"{name}.{channel}": score for channel, score in found.why.get(number, {}).items()}
        for name, found in answers.items()
        for number in found.ids
    }
