"""Experiences as records, and how those that fit a task and a state are found."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from embodmem.config import ProceduralConfig
from embodmem.errors import InvalidInput
from embodmem.index import Record, Records, fuse
from embodmem.index.filters import is_open, matching, row_id
from embodmem.index.words import words
from embodmem.procedural.distil import signature
from embodmem.procedural.lift import fill, ground, mask, match, rename, roles
from embodmem.procedural.types import Case, Experience, Lesson, Stream
from embodmem.procedural.values import Rarity, Terms, Values, terms
from embodmem.types import Query, Recall

KIND = "experience"
DEPTH = 64
"""How many of its best each channel hands to the fusion."""
_IN_DATA = ("state", "plan", "after", "reward", "error", "stream", "failed_step", "objects")


def as_record(experience: Experience, config: ProceduralConfig) -> Record:
    """The record that keeps an experience."""
    data = {name: getattr(experience, name) for name in _IN_DATA}
    if not experience.success and experience.stream is None:
        seen = set(words(experience.error)) & set(config.perception_words)
        data["stream"] = "perception" if seen else "logic"
    parts = [experience.task, ": ", ", ".join(experience.plan) or "done" if experience.success else ""]
    if not experience.success:
        parts[2] = f"failed: {experience.error}" if experience.error else "failed"
        parts[2] += f" (plan: {', '.join(experience.plan)})" if experience.plan else ""
    if experience.state:
        parts.append(f"; when {', '.join(experience.state)}")
    return Record(
        kind=KIND,
        subkind="success" if experience.success else "failure",
        label=experience.task,
        text="".join(parts),
        first_ns=experience.stamp_ns,
        last_ns=experience.stamp_ns if experience.until_ns is None else experience.until_ns,
        agent=experience.agent,
        source=experience.source,
        position=experience.position,
        tags=experience.objects,
        evidence=[row_id(item) for item in experience.evidence],
        data={**data, "signature": signature(experience)},
    )


def as_experience(item: Recall) -> Experience:
    """The experience that a record keeps."""
    known = {f.name for f in fields(Experience)}
    data = {name: value for name, value in item.data.items() if name in known}
    lists: dict[str, Any] = {name: tuple(data.pop(name, ())) for name in ("state", "plan", "after", "objects")}
    return Experience(
        stamp_ns=item.first_seen_ns,
        until_ns=None if item.last_seen_ns == item.first_seen_ns else item.last_seen_ns,
        task=item.label,
        success=item.data["kind"] == "success",
        position=item.position,
        evidence=item.evidence,
        **lists,
        **data,
    )


def adapted(experience: Experience, task: str, state: Sequence[str]) -> tuple[str, ...]:
    """Its steps with the names of another task of the same kind, and of what relates to them in the state."""
    places = {name.lower(): f"{{v{i}}}" for i, name in enumerate(dict.fromkeys(experience.objects))}
    names = match(rename(experience.task, places), task)
    if names is None:
        return experience.plan
    known = ground([rename(fact, places) for fact in experience.state], state, names)
    own = {f"v{i}": name for i, name in enumerate(dict.fromkeys(experience.objects))}
    return tuple(fill(rename(step, places), {**own, **known}) for step in experience.plan)


class Cases:
    """Finds experiences by task and by state.

    Args:
        records: Where they are kept.
        config: Of the values that they have.
    """

    def __init__(self, records: Records, config: ProceduralConfig) -> None:
        self.records, self.config, self.values = records, config, Values(config)
        self._kinds_of_task: dict[str, None] | None = None
        self._version = 0

    def reload(self) -> None:
        """Read the kinds of tasks again at the next use."""
        self._kinds_of_task = None

    def add(self, db: sqlite3.Connection, experience: Experience) -> int:
        """Keep an experience with its terms, and what it earned in its own state; returns its row id."""
        number = self.records.add(as_record(experience, self.config))
        own = terms(experience.task, experience.state, experience.objects)
        where = terms(experience.task, experience.state, experience.objects, with_task=True)
        rows = [(int(term), number, len(own)) for term in where]  # those of the task tell how rare they are
        db.executemany("INSERT INTO experience_term VALUES (?, ?, ?)", rows)
        self.values.learn(db, number, where, experience.value)
        if self._kinds_of_task is not None:
            self._kinds_of_task[signature(experience)] = None
        return number

    def names(self, task: str, objects: Sequence[str] | None) -> tuple[str, ...]:
        """The names in a task: those given, else those that a known kind of task tells."""
        if objects is not None:
            return tuple(objects)
        version = self.records.store.foreign_version()
        if self._kinds_of_task is None or version != self._version:
            sql = f"SELECT DISTINCT json_extract(data, '$.signature') FROM record WHERE kind = '{KIND}'"
            with self.records.store.read() as db:
                self._kinds_of_task, self._version = {row[0]: None for row in db.execute(sql)}, version
        hits = [(len(kind), hit) for kind in self._kinds_of_task if (hit := match(kind, task)) is not None]
        # The kind that says most of the task in its own words.
        return tuple(max(hits, key=lambda hit: hit[0])[1].values()) if hits else ()

    def where(self, task: str, state: Sequence[str], objects: Sequence[str] | None) -> Terms:
        """The terms of a task and a state, for values."""
        return terms(task, state, self.names(task, objects), with_task=True)

    def retrieve(
        self,
        task: str,
        state: Sequence[str],
        k: int,
        *,
        success: bool | None = None,
        steps: Sequence[str] = (),
        objects: Sequence[str] | None = None,
        filters: Query | None = None,
    ) -> list[Case]:
        """The k experiences that fit task and state best: ranked by each, and the ranks fused (MINDSTORES)."""
        if not task.strip() or k < 1:
            raise InvalidInput(f"retrieve: wanted a task in words and k >= 1, got {task!r} and {k}")
        query = filters or Query()
        if success is not None:
            query = replace(query, kinds=("success" if success else "failure",))
        names = self.names(task, objects)
        with self.records.store.read() as db:
            by_task = self.records.search(replace(query, text=" ".join((task, *steps))), max(DEPTH, k), (KIND,))
            scores = {"task": {row_id(item.id): item.score for item in by_task}}
            scores["state"] = self._by_state(db, terms(task, state, names), query, max(DEPTH, k)) if state else {}
            fused = fuse({name: list(ranked) for name, ranked in scores.items()})
            best = list(fused)[:k]
            value = self.values.value(db, best, terms(task, state, names, with_task=True))
            found = {row_id(item.id): item for item in self.records.get(best)}
        why = {n: {name: ranked[n] for name, ranked in scores.items() if n in ranked} for n in best}
        return [self._case(found[n], task, state, fused[n], value[n], why[n]) for n in best]

    @staticmethod
    def _case(
        item: Recall, task: str, state: Sequence[str], score: float, value: float, why: Mapping[str, float]
    ) -> Case:
        experience = as_experience(item)
        plan = adapted(experience, task, state)
        return Case(
            id=item.id, experience=experience, plan=plan, score=score, do=experience.success, value=value, why=why
        )

    @staticmethod
    def _by_state(db: sqlite3.Connection, wanted: Terms, query: Query, depth: int) -> dict[int, float]:
        """Row id -> the part of their terms, by weight, that its state and this one share, best first.

        Of the terms that only the other state has the number is known, not the weight: they count as this one's mean.
        """
        rarity, asked = Rarity(db, [wanted]), json.dumps(wanted.tolist())
        sql = "SELECT id, term, size FROM experience_term WHERE term IN (SELECT value FROM json_each(?)) ORDER BY id"
        rows = np.array(db.execute(sql, (asked,)).fetchall(), dtype=np.int64).reshape(-1, 3)
        if not is_open(query):
            rows = rows[np.isin(rows[:, 0], matching(db, replace(query, text=None), (KIND,))[0])]
        ids, first, n_shared = np.unique(rows[:, 0], return_index=True, return_counts=True)
        weights = rarity.of(wanted)
        shared = np.add.reduceat(rarity.of(rows[:, 1]), first) if len(ids) else np.empty(0)
        part = shared / (weights.sum() + (rows[first, 2] - n_shared) * weights.mean())
        order = np.argsort(-part, kind="stable")[:depth]
        return {int(ids[i]): float(part[i]) for i in order}

    def lessons(
        self, task: str, state: Sequence[str], k: int, stream: Stream | None, objects: Sequence[str] | None
    ) -> list[Lesson]:
        """What went wrong in like cases, the most frequent first (ViLoMem: two streams, refined as they grow)."""
        grown: dict[tuple[Any, ...], list[Case]] = {}
        for case in self.retrieve(task, state, 50, success=False, objects=objects):
            life = case.experience
            step = "" if life.failed_step is None else life.plan[life.failed_step]
            places = roles(life.task, life.objects)
            alike = tuple(mask(text, life.objects, places) for text in (life.error, step))
            if stream in (None, life.stream) and (life.error or step):
                grown.setdefault((life.stream, *alike), []).append(case)
        made = []
        for (kind, *_), cases in grown.items():
            cases.sort(key=lambda case: -case.experience.stamp_ns)
            last = cases[0].experience
            step = "" if last.failed_step is None else last.plan[last.failed_step]
            ids = tuple(case.id for case in cases)
            made.append(Lesson(text=last.error, stream=kind, step=step, count=len(cases), evidence=ids))
        return sorted(made, key=lambda lesson: -lesson.count)[:k]
