"""Semantic memory: facts (subject, relation, object) with validity in the world and in the memory.

Every fact has two time axes (Snodgrass, "Developing Time-Oriented Database Applications", 1999, ch. 10):
`valid_from_ns .. valid_until_ns` is when it held in the world, `known_from_ns .. known_until_ns` is when this memory
believed so. Nothing is overwritten: what changes is closed and written anew, so that both "where was it on Monday?"
and "what did we believe on Monday?" keep their answers.

The memory learns one thing after another: its second axis never runs back, whatever the clocks of those who tell it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SemanticConfig
from embodmem.errors import InvalidInput
from embodmem.index import Record, RecordMemory, Records
from embodmem.types import Event, Percept, check_stamp

_COLUMNS = (
    "f.id, f.subject, f.relation, f.object, f.valid_from_ns, f.valid_until_ns, f.known_from_ns, f.known_until_ns, "
    "f.confidence, r.text"
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement and when it held.

    Attributes:
        id: "fact:12".
        subject: What it is about: an id ("object:3") or a name.
        relation: "on", "in", "held by", ...
        object: What it is related to: an id or a name.
        valid_from_ns: Since when it held in the world, ns.
        valid_until_ns: Until when, ns; None while it holds.
        known_from_ns: Since when the memory believed it, ns.
        known_until_ns: Until when, ns; None while it does.
        confidence: 0..1.
        text: It in words, "mug is on table".
    """

    id: str
    subject: str
    relation: str
    object: str
    valid_from_ns: int
    valid_until_ns: int | None
    known_from_ns: int
    known_until_ns: int | None
    confidence: float
    text: str


class SemanticMemory(RecordMemory):
    """Facts that are superseded when they change, with their history.

    Args:
        records: Where they are kept.
        config: Which relations hold one object at a time.
    """

    kinds: ClassVar[tuple[str, ...]] = ("fact",)

    def __init__(self, records: Records, config: SemanticConfig | None = None) -> None:
        super().__init__(records)
        self.config = config or SemanticConfig()
        self._learnt_ns: int | None = None  # when anything was learnt last; None: read it from the file
        self.store.after_rollback.append(self.reload)

    def reload(self) -> None:
        """Read again from the file when anything was learnt last."""
        self._learnt_ns = None

    def apply(self, experience: Percept | Event, names: Mapping[str, str] | None = None) -> list[str]:
        """Facts that an event states by itself: who picks a thing holds it, until it is placed or dropped.

        Args:
            experience: Percepts state nothing by themselves.
            names: Words for the ids among the event's objects.

        Returns:
            The ids of the facts that hold from now on.
        """
        if isinstance(experience, Percept):
            return []
        who = experience.agent or "robot"
        stamp_ns, words = experience.stamp_ns, names or {}
        if experience.kind == "pick":
            return [
                self.assert_fact(
                    thing, "held by", who, valid_from_ns=stamp_ns, names=(words.get(thing, thing), words.get(who, who))
                )
                for thing in experience.objects
            ]
        if experience.kind in ("place", "drop"):
            for thing in experience.objects:
                self.retract(thing, "held by", until_ns=stamp_ns)
        return []

    def assert_fact(
        self,
        subject: str,
        relation: str,
        object: str,
        *,
        valid_from_ns: int,
        known_from_ns: int | None = None,
        confidence: float = 1.0,
        names: tuple[str, str] | None = None,
        position: NDArray[np.float64] | None = None,
        evidence: Sequence[int] = (),
    ) -> str:
        """State that something holds from a time on.

        Stating again what already holds changes nothing. A new object of a single-valued relation supersedes what was
        believed of it from `valid_from_ns` on, be that a fact that holds or, where this is learnt late, one that ended
        since: the old belief is closed and stays in the history, and what it said of the time before is stated anew.

        Args:
            subject: Id or name.
            relation: The relation.
            object: Id or name.
            valid_from_ns: Since when it holds in the world, ns.
            known_from_ns: When the memory learnt it, ns; None takes `valid_from_ns`. A time before what was learnt last
                counts as that time.
            confidence: 0..1.
            names: Words for subject and object, where these are ids.
            position: (3,) metres in the world, where the subject is.
            evidence: Row ids that it rests on.

        Returns:
            The id of the fact that holds now.

        Raises:
            InvalidInput: A part is empty, the confidence is not in 0..1, or a time is no whole number of ns.
        """
        if not (subject.strip() and relation.strip() and object.strip()) or not 0.0 <= confidence <= 1.0:
            raise InvalidInput(
                f"fact: wanted subject, relation, object and confidence in 0..1, got {subject!r}, {relation!r}, "
                f"{object!r}, {confidence}"
            )
        valid_from_ns = check_stamp(valid_from_ns, "valid_from_ns")
        known_ns = valid_from_ns if known_from_ns is None else check_stamp(known_from_ns, "known_from_ns")
        subject_name, object_name = names or (subject, object)
        with self.store.transaction():
            known_ns = self._learn(known_ns)
            believed = self._believed_after(subject, valid_from_ns)
            same = [old for old in believed if (old.relation, old.object) == (relation, object)]
            for old in same:
                if old.valid_until_ns is None:
                    return old.id
            for old in believed:
                if old in same or self._excludes(relation, old.relation):
                    self._close(old, valid_from_ns, known_ns)
            record = Record(
                kind="fact",
                label=subject_name,
                text=f"{subject_name} is {relation} {object_name}",
                first_ns=valid_from_ns,
                last_ns=known_ns,
                position=position,
                tags=(subject, object, subject_name, object_name),
                evidence=evidence,
            )
            return self._insert(record, (subject, relation, object, valid_from_ns, None, known_ns, None, confidence))

    def retract(self, subject: str, relation: str, *, until_ns: int, known_ns: int | None = None) -> int:
        """State that a relation of a subject ended; returns how many facts were closed.

        Args:
            subject: Id or name.
            relation: The relation.
            until_ns: When it ended in the world, ns; a fact that began later is not believed any more.
            known_ns: When the memory learnt it, as `known_from_ns` of `assert_fact`; None takes `until_ns`.

        Raises:
            InvalidInput: A time is no whole number of ns.
        """
        until_ns = check_stamp(until_ns, "until_ns")
        known_ns = until_ns if known_ns is None else check_stamp(known_ns, "known_ns")
        with self.store.transaction():
            known_ns = self._learn(known_ns)
            ended = [fact for fact in self._current(subject) if fact.relation == relation]
            for fact in ended:
                self._close(fact, until_ns, known_ns)
        return len(ended)

    def _excludes(self, relation: str, old: str) -> bool:
        if relation == old:
            return relation in self.config.single_valued
        return any(relation in group and old in group for group in self.config.exclusive)

    def _learn(self, known_ns: int) -> int:
        """When something counts as learnt: not before what was learnt last, so that no belief ends before it began."""
        if self._learnt_ns is None:
            with self.store.read() as db:
                newest = db.execute("SELECT max(known_from_ns), max(known_until_ns) FROM fact").fetchone()
            self._learnt_ns = max((ns for ns in newest if ns is not None), default=0)
        self._learnt_ns = max(self._learnt_ns, known_ns)
        return self._learnt_ns

    def _current(self, subject: str) -> list[Fact]:
        return self._select("f.subject = ? AND f.known_until_ns IS NULL AND f.valid_until_ns IS NULL", (subject,))

    def _believed_after(self, subject: str, valid_ns: int) -> list[Fact]:
        """What is believed to hold, or to have held, at some time after `valid_ns`."""
        condition = "f.subject = ? AND f.known_until_ns IS NULL AND ifnull(f.valid_until_ns > ?, 1)"
        return self._select(condition, (subject, valid_ns))

    def _close(self, fact: Fact, until_ns: int, known_ns: int) -> None:
        """The belief that it holds, or held for longer, ends; the belief that it held until then begins.

        Where it would have held for no time at all, nothing is believed of it any more.
        """
        number = int(fact.id.partition(":")[2])
        with self.store.transaction() as db:
            row = db.execute("SELECT label, x, y, z FROM record WHERE id = ?", (number,)).fetchone()
            tags = [tag for (tag,) in db.execute("SELECT tag FROM record_tag WHERE id = ?", (number,))]
            evidence = [ref for (ref,) in db.execute("SELECT ref FROM record_link WHERE id = ?", (number,))]
            db.execute("UPDATE fact SET known_until_ns = ? WHERE id = ?", (known_ns, number))
            db.execute("UPDATE record SET live = 0 WHERE id = ?", (number,))
            if until_ns <= fact.valid_from_ns:
                return
            record = Record(
                kind="fact",
                label=row[0],
                text=fact.text.replace(" is ", " was ", 1),
                first_ns=fact.valid_from_ns,
                last_ns=until_ns,
                position=None if row[1] is None else np.array(row[1:]),
                tags=tags,
                evidence=evidence,
            )
            parts = (fact.subject, fact.relation, fact.object, fact.valid_from_ns, until_ns, known_ns, None)
            self._insert(record, (*parts, fact.confidence))

    def _insert(self, record: Record, parts: tuple[Any, ...]) -> str:
        names = ("subject", "relation", "object", "valid_from_ns", "valid_until_ns", "known_from_ns")
        record.data = dict(zip(names, parts, strict=False))
        with self.store.transaction() as db:
            number = self.records.add(record)
            db.execute("INSERT INTO fact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (number, *parts))
        return f"fact:{number}"

    def _select(self, condition: str, values: tuple[Any, ...]) -> list[Fact]:
        source = "fact f JOIN record r ON r.id = f.id"
        sql = f"SELECT {_COLUMNS} FROM {source} WHERE {condition} ORDER BY f.valid_from_ns, f.id"
        with self.store.read() as db:
            return [Fact(f"fact:{row[0]}", *row[1:]) for row in db.execute(sql, values)]

    def facts(self, subject: str | None = None, relation: str | None = None, object: str | None = None) -> list[Fact]:
        """What is believed to hold now, of these parts; None leaves a part open. Oldest first."""
        return self._select(
            "f.known_until_ns IS NULL AND f.valid_until_ns IS NULL AND ifnull(?, f.subject) = f.subject "
            "AND ifnull(?, f.relation) = f.relation AND ifnull(?, f.object) = f.object",
            (subject, relation, object),
        )

    def facts_at(self, valid_ns: int, known_ns: int | None = None, subject: str | None = None) -> list[Fact]:
        """What held in the world at `valid_ns`, as believed at `known_ns` (None: as believed now). Oldest first."""
        known = "f.known_until_ns IS NULL"
        if known_ns is not None:
            known = "f.known_from_ns <= ? AND ifnull(f.known_until_ns > ?, 1)"
        values = () if known_ns is None else (known_ns, known_ns)
        return self._select(
            f"{known} AND f.valid_from_ns <= ? AND ifnull(f.valid_until_ns > ?, 1) "
            "AND ifnull(?, f.subject) = f.subject",
            (*values, valid_ns, valid_ns, subject),
        )

    def history(self, subject: str, relation: str | None = None) -> list[Fact]:
        """All that is believed now of a subject, past and present. Oldest first."""
        return self._select(
            "f.known_until_ns IS NULL AND f.subject = ? AND ifnull(?, f.relation) = f.relation", (subject, relation)
        )
