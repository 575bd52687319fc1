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
from embodmem.index.hydrate import among
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
        self.is_empty = True
        self.surfaces: list[Recall] = []
        self._rankings: dict[str, Sequence[int | str]] = {}
        self._weights: dict[str, float] = {}
        self._why: list[tuple[str, Mapping[int, Mapping[str, float]], Mapping[int, list[int]] | None]] = []

    def add(self, ranked: Mapping[str, Ranked], stands_for: Mapping[int, int], hop: str, weight: float) -> None:
        """Take in what the memories answered to a question, which counts `weight`.

        Args:
            ranked: Memory -> its answers.
            stands_for: Line of working memory -> the record that it stands for.
            hop: Which question it was.
            weight: What it counts.
        """
        for name, found in ranked.items():
            ids = found.ids if name != "working" else [number for number in found.ids if number not in stands_for]
            self._rankings[f"{hop}{name}"], self._weights[f"{hop}{name}"] = ids, weight
            if found.why:
                self._why.append((f"{hop}{name}", found.why, None))
            self.is_empty = self.is_empty and not found.ids
        lines: dict[int, list[int]] = {}
        for line, record in stands_for.items():
            lines.setdefault(record, []).append(line)
        if lines:
            self._why.append((f"{hop}working", ranked["working"].why, lines))

    def add_surfaces(self, found: list[Recall]) -> None:
        """Take in what the map answered."""
        self.surfaces, self.is_empty = found, self.is_empty and not found
        self._rankings["spatial"], self._weights["spatial"] = [item.id for item in found], 1.0

    def scores(self) -> dict[int | str, float]:
        """Answer -> score, best first."""
        return fuse(self._rankings, self._weights)

    def why(self, number: int) -> dict[str, float]:
        """Memory and channel ("episodic.words") -> score, of one record; a line that stands for it says why, too."""
        made: dict[str, float] = {}
        for name, why, lines in self._why:
            for key in (number,) if lines is None else lines.get(number, ()):
                for channel, score in why.get(key, {}).items():
                    made[f"{name}.{channel}"] = score
        return made


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
            if is_asked and not fused.is_empty and known < how.not_known_below:
                return [], f"the best answer has {known:.2f} for it (recall.not_known_below {how.not_known_below})"
            if query.text and how.max_hops:
                self._hop(db, query, k, first, fused)
            scores = fused.scores()
            best = list(scores)[: max(4 * k, _PER_MEMORY)]
            numbers = [key for key in best if isinstance(key, int)]
            why = {number: fused.why(number) for number in numbers}
            records = self._records.contents.hydrate(db, numbers, {number: scores[number] for number in numbers}, why)
        found: dict[int | str, Recall] = dict(zip(numbers, records, strict=True))
        for item in fused.surfaces:
            why_there = {f"spatial.{name}": x for name, x in item.why.items()}
            found[item.id] = replace(item, score=scores[item.id], why=why_there)
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
        fused.add(ranked, self._stands_for(db, ranked["working"].ids), hop, weight)
        if "surface" in query.kinds and not hop:
            fused.add_surfaces(self._spatial.recall(query, k))
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
