"""Recall across memories: one search for all of them, fused by rank, in the order that the guard allows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

from embodmem.errors import InvalidInput
from embodmem.guard import Guard
from embodmem.index import RecordMemory, Records, fuse
from embodmem.index.choose import spread
from embodmem.index.enough import FIRST, is_enough, missing, next_question, support
from embodmem.index.hydrate import among, hydrate
from embodmem.index.memory import as_query
from embodmem.index.rerank import Reranker, reranked
from embodmem.index.search import Ranked
from embodmem.spatial.memory import SpatialMemory
from embodmem.types import Query, Recall

_PER_MEMORY = 50
"""How many answers of each memory take part, at least."""


class Fused:
    """Rankings of several memories and hops, and the reasons of each answer."""

    def __init__(self) -> None:
        self.why: dict[int | str, dict[str, float]] = {}
        self.surfaces: list[Recall] = []
        self._rankings: dict[str, Sequence[int | str]] = {}
        self._weights: dict[str, float] = {}

    def add(
        self,
        rankings: Mapping[str, Sequence[int | str]],
        why: Mapping[int | str, Mapping[str, float]],
        hop: str,
        weight: float,
    ) -> None:
        """Take in what the memories answered to a question, which counts `weight`."""
        self._rankings.update((f"{hop}{name}", keys) for name, keys in rankings.items())
        self._weights.update((f"{hop}{name}", weight) for name in rankings)
        for key, reasons in why.items():
            self.why.setdefault(key, {}).update((f"{hop}{name}", score) for name, score in reasons.items())

    def scores(self) -> dict[int | str, float]:
        """Answer -> score, best first."""
        return fuse(self._rankings, self._weights)


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

    def recall(self, query: Query | str, k: int, reranker: Reranker | None = None) -> tuple[list[Recall], str]:
        """See `EmbodiedMemory.recall`; the answers, and why there is none."""
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        query = as_query(query)
        how = self._records.settings
        with self._records.store.read() as db:  # one snapshot for all, whatever is written meanwhile
            fused = Fused()
            first = self._ask(db, query, k, fused)
            known = support(first)
            is_asked = bool(query.text) or query.embedding is not None
            if is_asked and fused.why and known < how.not_known_below:
                return [], f"the best answer has {known:.2f} for it (recall.not_known_below {how.not_known_below})"
            if query.text and how.max_hops:
                self._hop(db, query, k, first, fused)
            scores = fused.scores()
            best = list(scores)[: max(4 * k, _PER_MEMORY)]
            numbers = [key for key in best if isinstance(key, int)]
            why = {number: fused.why[number] for number in numbers}
            records = hydrate(db, numbers, {number: scores[number] for number in numbers}, why)
        found: dict[int | str, Recall] = dict(zip(numbers, records, strict=True))
        found.update((item.id, replace(item, score=scores[item.id], why=fused.why[item.id])) for item in fused.surfaces)
        items = [found[key] for key in best]
        if reranker is not None and query.text:
            items = reranked(items, query.text, reranker, how.rerank_depth)
        answers = spread(self._guard.order(items, query), query, k)
        return answers, "" if answers else "nothing matches"

    def _ask(
        self, db: sqlite3.Connection, query: Query, k: int, fused: Fused, hop: str = "", weight: float = 1.0
    ) -> dict[str, Ranked]:
        """Ask all memories, and add their answers to what there is."""
        kinds = {name: memory.looked_at(query) for name, memory in self._memories.items()}
        ranked = self._records.rank(query, max(k, _PER_MEMORY), kinds)
        why = _reasons(ranked)
        for item, record in self._stands_for(db, ranked["working"].ids).items():
            why.setdefault(record, {}).update(why.pop(item))
        rankings: dict[str, Sequence[int | str]] = {name: found.ids for name, found in ranked.items()}
        rankings["working"] = [number for number in ranked["working"].ids if number in why]
        if "surface" in query.kinds and not hop:
            fused.surfaces = self._spatial.recall(query, k)
            rankings["spatial"] = [item.id for item in fused.surfaces]
            surface = {item.id: {f"spatial.{name}": x for name, x in item.why.items()} for item in fused.surfaces}
            why.update(surface)
        fused.add(rankings, why, hop, weight)
        return ranked

    def _hop(self, db: sqlite3.Connection, query: Query, k: int, found: dict[str, Ranked], fused: Fused) -> None:
        """Ask again with what the first answers name, until they are enough or nothing new is named."""
        how = self._records.settings
        text = query.text or ""
        for hop in range(1, how.max_hops + 1):
            if is_enough(found, how.sure_margin):
                return
            first = [number for each in found.values() for number in each.ids[:FIRST]]
            asked = next_question(db, text, first, missing(found))
            if not asked:
                return
            text = f"{text} {asked}"
            again = replace(query, text=asked, embedding=None, embedding_model="")
            found = self._ask(db, again, k, fused, f"hop{hop}.", how.hop_weight**hop)

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
