"""Recall across memories: one search for all of them, fused by rank, in the order that the guard allows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

from embodmem.errors import InvalidInput
from embodmem.guard import Guard
from embodmem.guard.order import placed, said_in
from embodmem.index import RecordMemory, Records, fuse
from embodmem.index.choose import spread
from embodmem.index.enough import FIRST, is_enough, missing, next_question, support
from embodmem.index.hydrate import Said, among
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
        self._reasons: list[tuple[str, Ranked, Mapping[int, list[int]] | None]] = []

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
            if found.ids:
                self._reasons.append((f"{hop}{name}", found, None))
            self.is_empty = self.is_empty and not found.ids
        lines: dict[int, list[int]] = {}
        for line, record in stands_for.items():
            lines.setdefault(record, []).append(line)
        if lines:
            self._reasons.append((f"{hop}working", ranked["working"], lines))

    def add_surfaces(self, found: list[Recall]) -> None:
        """Take in what the map answered."""
        self.surfaces, self.is_empty = found, self.is_empty and not found
        self._rankings["spatial"], self._weights["spatial"] = [item.id for item in found], 1.0

    def scores(self) -> dict[int | str, float]:
        """Answer -> score, best first."""
        return fuse(self._rankings, self._weights)

    def whys(self, numbers: Sequence[int]) -> list[dict[str, float]]:
        """Memory and channel ("episodic.words") -> score, of some records; a line that stands for one says why, too."""
        made: list[dict[str, float]] = [{} for _ in numbers]
        for name, found, lines in self._reasons:
            place = {number: at for at, number in enumerate(found.ids)}
            keys = ((into, n) for into, n in zip(made, numbers, strict=True))
            if lines is not None:
                keys = ((into, line) for into, n in keys for line in lines.get(n, ()))
            there = [(into, place[key]) for into, key in keys if key in place]
            for (into, _), why in zip(there, found.reasons([at for _, at in there]) if there else (), strict=True):
                into.update((f"{name}.{channel}", score) for channel, score in why.items())
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
            if (query.text or query.embedding is not None) and how.not_known_below and not fused.is_empty:
                known = support(first)
                if known < how.not_known_below:
                    return [], f"the best answer has {known:.2f} for it (recall.not_known_below {how.not_known_below})"
            if query.text and how.max_hops:
                self._hop(db, query, k, first, fused)
            scores = fused.scores()
            best = list(scores)[: max(4 * k, _PER_MEMORY)]
            if reranker is not None or query.min_gap_s or query.diversity:
                items = self._read(db, best, fused, scores)
                if reranker is not None and query.text:
                    items = reranked(items, query.text, reranker, how.rerank_depth)
                answers = spread(self._guard.order(items, query), query, k)
            else:
                answers = self._first(db, query, k, best, fused, scores)
        return answers, "" if answers else "nothing matches"

    def _read(
        self, db: sqlite3.Connection, keys: Sequence[int | str], fused: Fused, scores: Mapping[int | str, float]
    ) -> list[Recall]:
        """Answers as they are given: records, and surfaces of the map."""
        numbers = [key for key in keys if isinstance(key, int)]
        records = self._records.contents.hydrate(db, numbers, [scores[n] for n in numbers], fused.whys(numbers))
        found: dict[int | str, Recall] = dict(zip(numbers, records, strict=True))
        for item in fused.surfaces:
            why = {f"spatial.{name}": x for name, x in item.why.items()}
            found[item.id] = replace(item, score=scores[item.id], why=why)
        return [found[key] for key in keys]

    def _first(
        self,
        db: sqlite3.Connection,
        query: Query,
        k: int,
        best: Sequence[int | str],
        fused: Fused,
        scores: Mapping[int | str, float],
    ) -> list[Recall]:
        """The k first in the order of the guard: only these are made, the others are known by their rows."""
        if not self._guard.orders(query):
            return self._read(db, best[:k], fused, scores)
        records = [key for key in best if isinstance(key, int)]
        said = dict[int | str, Said](zip(records, self._records.contents.said(db, records), strict=True))
        said.update((item.id, said_in(item)) for item in fused.surfaces)
        order = self._guard.places([said[key] for key in best], query)
        items = self._read(db, [best[place.at] for place in order[:k]], fused, scores)

        def name(at: int) -> str:
            key = best[at]
            return key if isinstance(key, str) else f"{said[key].kind}:{key}"

        return placed(items, order, name)

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
