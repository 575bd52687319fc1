"""Summaries of what happened by the minute, the hour, the day: made in bounded steps, off the hot path.

The scales after WorldMM (Yeo et al., 2025): a longer window rests on the summaries of the shorter ones in it. What one
source says is summarised by itself, so that a summary is believed as far as its source is, and goes with it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from embodmem.checks import check_stamp
from embodmem.config_episodic import SummaryConfig
from embodmem.episodic.parts import Part, Summarise, quotes_of, read_parts, summarised
from embodmem.errors import InvalidInput
from embodmem.index import Records

_CURSOR = "summarised"
_NAMES = {60: "minute", 3600: "hour", 86400: "day", 604800: "week"}
SEGMENT = "segment"
HAPPENED = ("keyframe", "event")
_OF_WINDOW = "SELECT q.begin_ns, p.agent, p.source FROM summary q JOIN record p ON p.id = q.id WHERE q.scale_ns = ? "


def scale_name(scale_s: float) -> str:
    """What a summary of a scale calls itself: "minute", or "90s"."""
    return _NAMES.get(int(scale_s), f"{int(scale_s)}s")


class Summaries:
    """Records of the kind "summary", one for each window, agent and source.

    Args:
        records: Where they are kept.
        config: Scales, and how much is quoted.

    Attributes:
        summarise: Writes the text of a summary from those of its parts (a language model, say); None quotes them. Set
            it before `step`; what it raises leaves the window to be done.
    """

    def __init__(self, records: Records, config: SummaryConfig) -> None:
        self.records, self.config, self.store = records, config, records.store
        self.summarise: Summarise | None = None
        self._scales = [int(s) * 10**9 for s in config.scales_s]

    @property
    def names(self) -> tuple[str, ...]:
        """What its records call themselves, shortest first."""
        return (SEGMENT, *(scale_name(s) for s in self.config.scales_s))

    def step(self, now_ns: int, limit: int = 1000) -> tuple[int, bool]:
        """Summarise windows that are over, shortest first, until about `limit` records were looked at.

        Args:
            now_ns: What time it is, ns.
            limit: Of records; one window is done whole.

        Returns:
            How many summaries were made or made anew, and whether nothing is left to do now.

        Raises:
            InvalidInput: `limit` is below 1.
        """
        check_stamp(now_ns, "now_ns")
        if limit < 1:
            raise InvalidInput(f"summaries: wanted a limit of 1 or more, got {limit}")
        if not self._scales:
            return 0, True
        all_seen = self._note_new(limit)
        made = looked = 0
        while looked < limit:
            window = self._next_due(now_ns - int(self.config.settle_s * 1e9))
            if window is None:
                return made, all_seen
            new, parts = self._build(*window)
            made, looked = made + new, looked + parts
        return made, False

    def _note_new(self, limit: int) -> bool:
        """Note the shortest window of what was written since; whether that was all."""
        with self.store.transaction() as db:
            after = self.store.get_state(_CURSOR, 0)
            sql = "SELECT id, first_ns FROM record WHERE id > ? AND live AND kind IN ('event', 'keyframe') ORDER BY id"
            rows = db.execute(f"{sql} LIMIT ?", (after, limit)).fetchall()
            if rows:
                self._due(db, self._scales[0], [stamp for _, stamp in rows])
                self.store.set_state(_CURSOR, rows[-1][0])
        return len(rows) < limit

    @staticmethod
    def _due(db: sqlite3.Connection, scale: int, stamps: Sequence[int]) -> None:
        windows = {stamp - stamp % scale for stamp in stamps}
        db.executemany("INSERT OR IGNORE INTO summary_due VALUES (?, ?)", [(scale, begin) for begin in windows])

    def _next_due(self, before_ns: int) -> tuple[int, int] | None:
        sql = (
            "SELECT scale_ns, begin_ns FROM summary_due WHERE begin_ns + scale_ns <= ? "
            "AND scale_ns IN (SELECT value FROM json_each(?)) ORDER BY scale_ns, begin_ns LIMIT 1"
        )
        with self.store.read() as db:
            row = db.execute(sql, (before_ns, json.dumps(self._scales))).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def _build(self, scale: int, begin: int) -> tuple[int, int]:
        """Make the summaries of a window; returns how many, and of how many parts."""
        name, made = scale_name(scale // 10**9), 0
        with self.store.read() as db:
            groups: dict[tuple[str, str], list[Part]] = {}
            parts = self._children(db, scale, begin)
            for part in parts:
                groups.setdefault((part.agent, part.source), []).append(part)
            known = self._known(db, scale, begin)
            ready = []
            for key in groups.keys() | known.keys():
                number, refs, data = known.get(key, (None, frozenset[int](), {}))
                mine = groups.get(key, [])
                gone = number is not None and len(refs) < int(data["parts"])
                if gone:  # what faded since is not there to be counted again
                    mine = [part for part in mine if part.id not in refs]
                if number is not None and (not mine if gone else _unchanged(refs, data, mine)):
                    continue
                record = None
                if mine and (gone or len(mine) >= self.config.min_parts):
                    quotes = quotes_of(db, self.records, mine)
                    record = summarised(mine, quotes, name, self.config, self.summarise, data if gone else None)
                    if gone:
                        record.evidence = [*refs, *record.evidence]
                ready.append((number, record))
        with self.store.transaction() as db:
            for number, record in ready:
                if record is None and number is not None:
                    self.records.remove([number])
                elif record is not None and number is not None:
                    self.records.replace(number, record)
                elif record is not None:
                    db.execute("INSERT INTO summary VALUES (?, ?, ?)", (self.records.add(record), scale, begin))
                made += record is not None
            longer = [s for s in self._scales if s > scale]
            if longer and (ready or any(len(group) < self.config.min_parts for group in groups.values())):
                self._due(db, longer[0], [begin])
            db.execute("DELETE FROM summary_due WHERE scale_ns = ? AND begin_ns = ?", (scale, begin))
        return made, max(1, len(parts))

    def _children(self, db: sqlite3.Connection, scale: int, begin: int) -> list[Part]:
        """What a window rests on: the longest summaries within it, and what none of them stands for."""
        end, shorter = begin + scale, [s for s in self._scales if s < scale]
        covered = (
            " AND (r.first_ns - r.first_ns % ?, r.agent, r.source) NOT IN ({0}AND q.begin_ns >= ? AND q.begin_ns < ?)"
        )
        covered = covered.format(_OF_WINDOW)
        condition = "r.kind IN ('event', 'keyframe') AND r.first_ns >= ? AND r.first_ns < ?" + covered * len(shorter)
        values: list[Any] = [begin, end]
        for s in shorter:
            values += [s, s, begin, end]
        parts = read_parts(db, condition, values)
        for i, s in enumerate(shorter):
            longer = shorter[i + 1 :]
            condition = "r.id IN (SELECT id FROM summary WHERE scale_ns = ? AND begin_ns >= ? AND begin_ns < ?)"
            values = [s, begin, end]
            for other in longer:
                values += [other, other, begin, end]
            parts += read_parts(db, condition + covered * len(longer), values)
        return sorted(parts, key=lambda part: (part.first_ns, part.id))

    @staticmethod
    def _known(
        db: sqlite3.Connection, scale: int, begin: int
    ) -> dict[tuple[str, str], tuple[int, frozenset[int], dict[str, Any]]]:
        """Agent and source -> row id, what it rests on that did not fade, and data of the summaries of a window."""
        sql = (
            "SELECT p.agent, p.source, p.id, p.data, (SELECT json_group_array(l.ref) FROM record_link l "
            "JOIN record x ON x.id = l.ref WHERE l.id = p.id AND (x.live OR x.id IN (SELECT m.id FROM change_part m "
            "JOIN change c ON c.number = m.change WHERE c.made IS NOT NULL))) "
            "FROM summary q JOIN record p ON p.id = q.id WHERE q.scale_ns = ? AND q.begin_ns = ?"
        )
        rows = db.execute(sql, (scale, begin)).fetchall()
        return {(a, s): (number, frozenset(json.loads(refs)), json.loads(data)) for a, s, number, data, refs in rows}

    def take_back(self, numbers: Sequence[int]) -> list[int]:
        """Before records go because they are to be forgotten: see that no summary tells of them.

        The summaries that rest on them, however far up, go, and their windows are noted to be done anew with what is
        left; those of segments, which no window gives back, are made anew at once.

        Returns:
            What is to go: the given row ids but for the segments that were made anew.
        """
        gone = {int(n) for n in numbers}
        given = json.dumps(sorted(gone))
        with self.store.transaction() as db:
            sql = (
                "WITH RECURSIVE above (id) AS (SELECT value FROM json_each(?) UNION SELECT l.id FROM record_link l "
                "JOIN above a ON l.ref = a.id JOIN summary s ON s.id = l.id) "
                "SELECT s.id, s.scale_ns, s.begin_ns FROM above a JOIN summary s ON s.id = a.id"
            )
            rows = db.execute(sql, (given,)).fetchall()
            segments = [number for number, scale, _ in rows if scale == 0]
            anew = {number for number in segments if self._without(db, number, gone)}
            windows = [row for row in rows if row[1] > 0]
            db.executemany("INSERT OR IGNORE INTO summary_due VALUES (?, ?)", [row[1:] for row in windows])
            if self._scales:
                # What a longer window took up without a summary of its own window comes from the shortest one, too.
                starts = db.execute(
                    "SELECT first_ns FROM record WHERE kind IN ('event', 'keyframe') "
                    "AND id IN (SELECT value FROM json_each(?))",
                    (given,),
                ).fetchall()
                self._due(db, self._scales[0], [row[0] for row in starts])
            self.records.remove([row[0] for row in windows] + [n for n in segments if n not in anew])
        return sorted(gone - anew)

    def _without(self, db: sqlite3.Connection, number: int, gone: set[int]) -> bool:
        """Make the summary of a segment anew without some of its parts; False where nothing of it is to stay."""
        parts = read_parts(db, "r.id IN (SELECT ref FROM record_link WHERE id = ?)", (number,))
        left = [part for part in parts if part.id not in gone]
        if not left or (number in gone and len(left) == len(parts)):
            return False
        data = json.loads(db.execute("SELECT data FROM record WHERE id = ?", (number,)).fetchone()[0])
        record = summarised(left, quotes_of(db, self.records, left), SEGMENT, self.config, None)
        record.data = {**record.data, "segment": data["segment"], "why": data["why"]}
        self.records.replace(number, record)
        return True

    def thin(self, now_ns: int, limit: int) -> int:
        """Let go of up to `limit` summaries that were kept for long enough; what rested on them rests on their parts.

        Returns:
            How many went.
        """
        if not self.config.keep or not self._scales:
            return 0
        kept = [(0, self._scales[0]), *((scale, scale) for scale in self._scales[:-1])]
        gone: list[int] = []
        with self.store.transaction() as db:
            for scale, length in kept:
                sql = (
                    "SELECT id FROM summary WHERE scale_ns = ? AND begin_ns < ? "
                    "AND id NOT IN (SELECT id FROM life WHERE pinned) ORDER BY begin_ns LIMIT ?"
                )
                found = db.execute(sql, (scale, now_ns - int(self.config.keep * length), limit - len(gone)))
                gone += [row[0] for row in found]
            let_go(self.records, db, gone)
        return len(gone)

    def clear(self, db: sqlite3.Connection) -> None:
        """Forget how far it came; what is there is looked at again."""
        db.execute("DELETE FROM summary_due")
        db.execute("DELETE FROM state WHERE name IN (?, 'segmented', 'noted')", (_CURSOR,))


def _unchanged(refs: frozenset[int], data: dict[str, Any], parts: Sequence[Part]) -> bool:
    """Whether a summary still says what its parts do."""
    count = sum(int(part.data.get("count", 1)) for part in parts)
    return refs == {part.id for part in parts} and int(data["count"]) == count


def let_go(records: Records, db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Remove summaries by row id; what rested on them rests on their parts."""
    db.execute(
        "INSERT OR IGNORE INTO record_link SELECT l.id, m.ref FROM record_link l "
        "JOIN record_link m ON m.id = l.ref WHERE l.ref IN (SELECT value FROM json_each(?))",
        (json.dumps([int(n) for n in numbers]),),
    )
    records.remove(numbers)
