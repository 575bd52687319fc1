"""Segments of what an agent went through, each with a summary: cut as the lifecycle goes, in bounded steps.

Two channels as in HiMem (2026): a segment ends where what comes is a surprise, or where the situation does (a pause).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodmem.config_episodic import EpisodicConfig
from embodmem.episodic.parts import Part, quotes_of, read_parts, summarised
from embodmem.episodic.segmenter import Segmenter
from embodmem.episodic.summaries import SEGMENT, Summaries
from embodmem.index import Records
from embodmem.types import Recall

_STATE = "segmented"
_LEAST = 2
"""An event alone between two boundaries needs no summary."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one agent's events that hang together.

    Attributes:
        agent: Whose.
        from_ns: When its first event began, ns.
        until_ns: When its last one ended, ns.
        why: Why it begins where it does: "surprise", "pause", "length", or "start".
        ids: Its events that are still there, by source and time.
        summaries: Ids of its summaries, one for each source.
    """

    agent: str
    from_ns: int
    until_ns: int
    why: str
    ids: tuple[str, ...]
    summaries: tuple[str, ...]


class Segments:
    """Walks over the events in order of time, and keeps in the file how far it came.

    Args:
        records: Of the memory.
        summaries: What quotes of a segment stand for it.
        config: How to cut.
    """

    def __init__(self, records: Records, summaries: Summaries, config: EpisodicConfig) -> None:
        self.records, self.summaries, self.config, self.store = records, summaries, config, records.store

    def step(self, now_ns: int, limit: int) -> tuple[int, bool]:
        """Look at the next `limit` events that are old enough; returns how many segments closed, and whether no such
        event is left.
        """
        if not self.config.segments.enabled:
            return 0, True
        before = now_ns - int(self.config.summaries.settle_s * 1e9)
        with self.store.transaction() as db:
            state = self.store.get_state(_STATE, {"at": [-1, -1], "agents": {}})
            stamp, number = state["at"]
            parts = read_parts(
                db,
                "r.kind = 'event' AND r.first_ns >= ? AND r.first_ns < ? AND (r.first_ns > ? OR r.id > ?)",
                (stamp, before, stamp, number),
                limit,
            )
            if not parts:
                return 0, True
            made = 0
            for agent in dict.fromkeys(part.agent for part in parts):
                known = state["agents"].get(agent)
                new = [part for part in parts if part.agent == agent]
                closed, state["agents"][agent] = self._go_on(db, known, new)
                made += closed
            state["at"] = [parts[-1].first_ns, parts[-1].id]
            self.store.set_state(_STATE, state)
        return made, len(parts) < limit

    def _go_on(
        self, db: sqlite3.Connection, known: dict[str, Any] | None, new: list[Part]
    ) -> tuple[int, dict[str, Any]]:
        """Cut one agent's events; returns how many segments closed, and its state."""
        segmenter, held, why = Segmenter(self.config.segments), list[Part](), "start"
        if known is not None:
            held, why = self._held(db, known), known["why"]
            vectors = quotes_of(db, self.records, held).vectors if held else np.empty((0, 0), np.float32)
            segmenter.restore(known, vectors)
        base = segmenter.seen - segmenter.held
        stamps = np.array([part.first_ns for part in new], dtype=np.int64)
        found = segmenter.add(quotes_of(db, self.records, new).vectors, stamps)
        parts, made = held + new, 0
        for boundary in found:
            made += self._keep(db, parts[: boundary.index - base], why)
            parts, base, why = parts[boundary.index - base :], boundary.index, boundary.why
        return made, {**segmenter.state(), "held": [part.id for part in parts], "why": why}

    @staticmethod
    def _held(db: sqlite3.Connection, known: dict[str, Any]) -> list[Part]:
        """The events of the open segments; those that went meanwhile are taken out of the state."""
        ids = known["held"]
        parts = {p.id: p for p in read_parts(db, "r.id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))}
        gone = [i for i, number in enumerate(ids) if number not in parts]
        known["seen"] -= len(gone)
        if known["pending"] is not None:
            known["pending"] -= sum(i < known["pending"] for i in gone)
            left = len(ids) - len(gone)
            known["pending"] = known["pending"] if 0 < known["pending"] < left else None
        return [parts[number] for number in ids if number in parts]

    def _keep(self, db: sqlite3.Connection, parts: Sequence[Part], why: str) -> int:
        """Keep a closed segment; returns 1, or 0 where it needs no summary."""
        if len(parts) < _LEAST:
            return 0
        first = min(part.first_ns for part in parts)
        for source in dict.fromkeys(part.source for part in parts):
            mine = [part for part in parts if part.source == source]
            quotes = quotes_of(db, self.records, mine)
            record = summarised(mine, quotes, SEGMENT, self.config.summaries, None)
            record.data = {**record.data, "segment": parts[0].id, "why": why}
            db.execute("INSERT INTO summary VALUES (?, 0, ?)", (self.records.add(record), first))
        return 1

    @staticmethod
    def of(items: Sequence[Recall]) -> list[Segment]:
        """Segments of their summaries, in order of time."""
        groups: dict[tuple[str, int], list[Recall]] = {}
        for item in items:
            groups.setdefault((item.data.get("agent", ""), int(item.data["segment"])), []).append(item)
        made = [
            Segment(
                agent=agent,
                from_ns=min(item.first_seen_ns for item in group),
                until_ns=max(item.last_seen_ns for item in group),
                why=str(group[0].data["why"]),
                ids=tuple(ref for item in group for ref in item.evidence),
                summaries=tuple(item.id for item in group),
            )
            for (agent, _), group in groups.items()
        ]
        return sorted(made, key=lambda segment: (segment.from_ns, segment.agent))
