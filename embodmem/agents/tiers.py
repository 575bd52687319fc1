"""Three tiers of what several agents lived through, and the ways between them (G-Memory, Zhang et al., 2025).

Interactions are events; tasks are experiences, each over the events it rests on; insights are skills, each over the
experiences that it was distilled from. A recall can go up from what happened to what was learnt from it, and down from
a lesson to where it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embodmem.embodied import EmbodiedMemory
from embodmem.index.filters import row_id
from embodmem.types import Query, Recall

Level = Literal["insight", "task", "interaction"]
_KINDS: dict[Level, tuple[str, ...]] = {
    "insight": ("skill",),
    "task": ("experience",),
    "interaction": ("event", "keyframe"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Tier:
    """What is remembered of a question, a tier at a time, best first.

    Attributes:
        insights: Skills.
        tasks: Experiences.
        interactions: Events and keyframes.
    """

    insights: list[Recall]
    tasks: list[Recall]
    interactions: list[Recall]


class Tiers:
    """Walks between the tiers of a memory.

    Args:
        memory: Of one agent or several.
    """

    def __init__(self, memory: EmbodiedMemory) -> None:
        self.memory = memory

    def down(self, record_ids: Sequence[str], level: Level) -> list[Recall]:
        """What of a lower tier these rest on, over as many links as it takes."""
        return self._linked(record_ids, level, "SELECT l.ref FROM record_link l JOIN found f ON f.id = l.id")

    def up(self, record_ids: Sequence[str], level: Level) -> list[Recall]:
        """What of a higher tier rests on these."""
        return self._linked(record_ids, level, "SELECT l.id FROM record_link l JOIN found f ON f.id = l.ref")

    def _linked(self, record_ids: Sequence[str], level: Level, way: str) -> list[Recall]:
        marks, kinds = ",".join("(?)" for _ in record_ids), ",".join("?" * len(_KINDS[level]))
        if not record_ids:
            return []
        sql = (
            f"WITH RECURSIVE found (id) AS (VALUES {marks} UNION {way}) SELECT r.id FROM record r JOIN found f "
            f"ON f.id = r.id WHERE r.live AND r.kind IN ({kinds}) ORDER BY r.first_ns, r.id"
        )
        with self.memory.store.read() as db:
            rows = db.execute(sql, (*map(row_id, record_ids), *_KINDS[level])).fetchall()
            return self.memory.records.get([row[0] for row in rows])

    def recall(self, question: str, k: int = 5) -> Tier:
        """Tasks like the question, the insights above them, and the interactions below them.

        Where no task is like it, interactions are found by themselves.
        """
        with self.memory.store.read():
            tasks = self.memory.recall(Query(text=question, kinds=("experience",)), k)
            ids = [item.id for item in tasks]
            insights = self.up(ids, "insight") or self.memory.recall(Query(text=question, kinds=("skill",)), k)
            below = self.down(ids, "interaction")
            if not below:
                below = self.memory.recall(Query(text=question, kinds=("event", "keyframe")), k)
        return Tier(insights[:k], tasks, below[: 4 * k])
