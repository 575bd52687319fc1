"""Redundant neighbours become one record, in bounded steps (MemoryVLA, Shi et al., 2025, section 3.3, on records)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodmem.config import LifecycleConfig
from embodmem.index import Record, Records
from embodmem.index.given import carry_over
from embodmem.index.words import words
from embodmem.lifecycle.changes import Changes

_CURSOR = "consolidated"


@dataclass(slots=True)
class _Row:
    id: int
    key: tuple[str, str, str]
    text: str
    first_ns: int
    last_ns: int
    position: tuple[float, float, float] | None
    data: dict[str, Any]

    @property
    def count(self) -> int:
        return int(self.data.get("count", 1))


class Merging:
    """Walks once over the events, oldest first, and remembers in the file how far it came.

    Args:
        records: Of the memory.
        changes: Where each merge is logged, so that it can be taken back.
        config: What is redundant, and how old it has to be.
    """

    def __init__(self, records: Records, changes: Changes, config: LifecycleConfig) -> None:
        self.records, self.changes, self.config = records, changes, config
        self.store = records.store

    def step(self, now_ns: int, limit: int) -> tuple[int, bool]:
        """Look at the next `limit` events.

        Returns:
            How many records were merged away, and whether there is nothing more to look at now.
        """
        old_ns = now_ns - int(self.config.settle_s * 1e9)
        with self.store.transaction() as db:
            after = self.store.get_state(_CURSOR, 0)
            rows = list(self._rows(db, after, limit))
            done = len(rows) < limit
            young = next((i for i, row in enumerate(rows) if row.first_ns >= old_ns), len(rows))
            rows, done = rows[:young], done or young < len(rows)
            if not rows:
                return 0, True
            groups, resume = self._groups(rows, last=done)
            gone = sum(self._merge(group, now_ns) for group in groups)
            self.store.set_state(_CURSOR, resume)
        return gone, done

    def _rows(self, db: sqlite3.Connection, after: int, limit: int) -> Iterator[_Row]:
        found = db.execute(
            "SELECT id, agent, source, subkind, text, first_ns, last_ns, x, y, z, data FROM record "
            "WHERE id > ? AND kind = 'event' AND live AND id NOT IN (SELECT id FROM life WHERE pinned) "
            "ORDER BY id LIMIT ?",
            (after, limit),
        )
        for number, agent, source, subkind, text, first_ns, last_ns, x, y, z, data in found:
            position = None if x is None else (x, y, z)
            yield _Row(number, (agent, source, subkind), text, first_ns, last_ns, position, json.loads(data))

    def _groups(self, rows: list[_Row], last: bool) -> tuple[list[list[_Row]], int]:
        """Neighbours in time that say the same, and the row after which to go on.

        A group that may still grow is left for the next step, unless it takes up the whole one.
        """
        open_groups: dict[tuple[str, str, str], list[_Row]] = {}
        groups = []
        for row in rows:
            group = open_groups.get(row.key)
            if group is not None and self._goes_on(group, row):
                group.append(row)
                continue
            if group is not None:
                groups.append(group)
            open_groups[row.key] = [row]
        now_ns, resume = rows[-1].first_ns, rows[-1].id
        pause_ns = int(self.config.merge_pause_s * 1e9)
        for group in open_groups.values():
            growing = not last and now_ns - group[-1].last_ns <= pause_ns
            if growing and group[0].id != rows[0].id:
                resume = min(resume, group[0].id - 1)
            else:
                groups.append(group)
        return [group for group in groups if len(group) > 1 and group[-1].id <= resume], resume

    def _goes_on(self, group: list[_Row], row: _Row) -> bool:
        before = group[-1]
        if row.first_ns - before.last_ns > self.config.merge_pause_s * 1e9 or row.data.get(
            "outcome"
        ) != before.data.get("outcome"):
            return False
        if row.position is not None and before.position is not None:
            way_m = float(np.linalg.norm(np.subtract(row.position, group[0].position or row.position)))
            if way_m > self.config.merge_distance_m:
                return False
        a, b = set(words(group[0].text)), set(words(row.text))
        return len(a & b) >= self.config.merge_alike * len(a | b)

    def _merge(self, group: list[_Row], now_ns: int) -> int:
        """One record for a group: the words of its first, from its beginning to its end."""
        first, parts = group[0], [row.id for row in group]
        with self.store.transaction() as db:
            ids = json.dumps(parts)
            tags = db.execute(
                "SELECT DISTINCT tag FROM record_tag WHERE id IN (SELECT value FROM json_each(?))", (ids,)
            ).fetchall()
            refs = db.execute(
                "SELECT DISTINCT ref FROM record_link WHERE id IN (SELECT value FROM json_each(?1)) "
                "AND ref NOT IN (SELECT value FROM json_each(?1))",
                (ids,),
            ).fetchall()
            placed = [row.position for row in group if row.position is not None]
            box = np.array([np.min(placed, axis=0), np.max(placed, axis=0)]) if placed else None
            rewards = [row.data["reward"] for row in group if "reward" in row.data]
            data = {**first.data, "count": sum(row.count for row in group)}
            if rewards:
                data["reward"] = float(np.sum(rewards))
            agent, source, subkind = first.key
            made = self.records.add(
                Record(
                    kind="event",
                    subkind=subkind,
                    agent=agent,
                    source=source,
                    text=first.text,
                    first_ns=min(row.first_ns for row in group),
                    last_ns=max(row.last_ns for row in group),
                    position=np.mean(placed, axis=0) if placed else None,
                    box=box,
                    tags=[tag for (tag,) in tags],
                    evidence=[ref for (ref,) in refs],
                    data=data,
                )
            )
            carry_over(db, first.id, made)
            why = f"{len(group)} events say the same within {self.config.merge_pause_s:g} s of each other"
            self.changes.note(now_ns, "merge", why, parts, made)
        return len(group) - 1
