"""Admission by utility: what answers nothing that is asked, and says nothing new, is kept for a while only.

After SEDM (2025): an entry is admitted with a weight that a reproducible replay gives it. Here the last questions are
asked again, and each record of their answers is weighed by what the answer would lose without it.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass

from embodmem.config import LifecycleConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.index.filters import row_id
from embodmem.index.words import words
from embodmem.lifecycle.changes import Changes
from embodmem.types import Query, Recall

_CURSOR = "admitted"
_K = 10
"""Answers that a replayed question gets."""
_NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class _Due:
    number: int
    text: str
    first_ns: int


class Admission:
    """Weighs each event once, when its trial is over, off the hot path.

    Args:
        memory: Asked again.
        changes: Where it is logged what was not admitted; `undo` brings it back until it is settled.
        config: How long a trial is, and from which weight on a record is admitted.

    Attributes:
        asked: The last questions, in RAM alone: what is to be forgotten must not live on in them.
    """

    def __init__(self, memory: EmbodiedMemory, changes: Changes, config: LifecycleConfig) -> None:
        self.memory, self.changes, self.config = memory, changes, config
        self.store = memory.store
        self.asked: deque[Query] = deque(maxlen=config.questions)

    def note(self, query: Query) -> None:
        """Remember what was asked, if in words or by a vector."""
        if query.text is not None or query.embedding is not None:
            self.asked.append(query)

    def step(self, now_ns: int, limit: int) -> tuple[int, bool]:
        """Weigh the next events whose trial is over, `limit` at most.

        Returns:
            How many were not admitted, and whether no other is due. Nothing is weighed while hardly anything was asked.
        """
        if not self.config.trial_s or len(self.asked) < self.config.min_questions:
            return 0, True
        due, last, all_due = self._due(now_ns - int(self.config.trial_s * 1e9), limit)
        if not due:
            return 0, all_due
        weights, gone = self.replay(), list[int]()
        with self.store.transaction() as db:
            for one in due:
                weight = weights.get(one.number, 0.0)
                if weight < self.config.admit_from:  # what was asked decides; only else it matters what is new
                    weight += self.config.novelty_weight * self._novelty(one)
                if weight < self.config.admit_from:
                    gone.append(one.number)
                    continue
                sql = "UPDATE record SET data = json_set(data, '$.utility', ?) WHERE id = ?"
                db.execute(sql, (round(weight, 4), one.number))
            if gone:
                why = f"not admitted: {len(self.asked)} questions lose less than {self.config.admit_from:g} without it"
                self.changes.note(now_ns, "reject", why, gone)
            self.store.set_state(_CURSOR, last)
        return len(gone), all_due

    def replay(self) -> dict[int, float]:
        """Row id -> the mean over the last questions of what their answers lose without the record.

        Without it the others move up, so one answer tells of all: a record on place r counts 1 / r, as far as its
        words or its meaning fit beside those of the best, less the part of its words that an answer before it has,
        too: of several that say the same the first one counts.
        """
        lost: dict[int, float] = {}
        for query in self.asked:
            items = self.memory.recall(query, _K)
            said = [set(words(item.text)) for item in items]
            for place, (item, fits) in enumerate(zip(items, _fits(items), strict=True)):
                share = fits * (1.0 - _likeness(said[place], said[:place])) / (1 + place)
                lost[row_id(item.id)] = lost.get(row_id(item.id), 0.0) + share / len(self.asked)
        return lost

    def _due(self, before_ns: int, limit: int) -> tuple[list[_Due], int, bool]:
        """Which of the next `limit` events are to be weighed, the last one's row id, and whether no other is due."""
        sql = (
            "SELECT id, text, first_ns, subkind IN (SELECT value FROM json_each(?)) "
            "OR json_extract(data, '$.reward') IS NOT NULL OR id IN (SELECT id FROM life WHERE pinned) "
            "FROM record WHERE id > ? AND kind = 'event' AND live ORDER BY id LIMIT ?"
        )
        kinds = json.dumps(self.config.significant)
        with self.store.read() as db:
            rows = db.execute(sql, (kinds, self.store.get_state(_CURSOR, 0), limit)).fetchall()
        young = next((i for i, row in enumerate(rows) if row[2] >= before_ns), len(rows))
        all_due, rows = young < limit, rows[:young]
        # What a person told, what earned something and what is pinned needs no trial.
        due = [_Due(number, text, first_ns) for number, text, first_ns, significant in rows if not significant]
        if rows and not due:
            self.store.set_state(_CURSOR, rows[-1][0])
        return due, rows[-1][0] if rows else 0, all_due

    def _novelty(self, one: _Due) -> float:
        """The part of its words that no earlier record like it says."""
        earlier = Query(text=one.text, kinds=("event",), between_ns=(None, one.first_ns))
        like: list[Recall] = self.memory.episodic.recall(earlier, _NEIGHBOURS + 1)
        others = [set(words(item.text)) for item in like if row_id(item.id) < one.number]
        return 1.0 - _likeness(set(words(one.text)), others)


def _fits(items: list[Recall]) -> list[float]:
    """How well each answer fits, 0..1: its words or its meaning beside the best of all, whichever is more."""
    fits = [0.0] * len(items)
    for channel in ("words", "meaning"):
        scores = [max((s for name, s in item.why.items() if name.endswith(channel)), default=0.0) for item in items]
        best = max(scores, default=0.0)
        if best > 0.0:
            fits = [max(old, score / best) for old, score in zip(fits, scores, strict=True)]
    return fits


def _likeness(said: set[str], others: list[set[str]]) -> float:
    """The largest part of these words that another text has, too."""
    if not said:
        return 1.0
    return max((len(said & other) / len(said) for other in others), default=0.0)
