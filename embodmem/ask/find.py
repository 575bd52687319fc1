"""What a memory holds in answer to a typed question: objects, events, facts, and where things were."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.ask.question import Between, Reference
from embodmem.ask.search import EventSearch, event_numbers
from embodmem.ask.words import tokens
from embodmem.types import Query, Recall

if TYPE_CHECKING:
    from embodmem.embodied import EmbodiedMemory

NEAR_M = 1.0
"""Two things whose boxes are at most this far apart are near each other, metres."""
MANY = 1_000_000
_LATEST = 50
"""Of views and events, so many are enough to find the latest that has a pose."""
_POINT = re.compile(r"\((-?\d+\.\d+), (-?\d+\.\d+), (-?\d+\.\d+)\) m")
"""A position as the texts of moves tell it."""
_BOUNDS = {"begin", "began", "begun", "start", "started", "finish", "finished", "end", "ended", "complete", "completed"}


@dataclass(slots=True)
class Stay:
    """An object at one place for a time; `until_ns` is None while it is there.

    Attributes:
        position: (3,) metres in the world, or None where only words are known.
        begin_ns: Since when, ns.
        until_ns: Until when, ns.
        relations: What it was on, in or held by: ("on", "table").
        evidence: Ids of the facts and events that say so.
        words: Where, when no position is known.
    """

    position: NDArray[np.float64] | None
    begin_ns: int
    until_ns: int | None
    relations: tuple[tuple[str, str], ...] = ()
    evidence: tuple[str, ...] = ()
    words: str = ""


@dataclass(slots=True)
class Finder:
    """Looks things up in one memory. Every look-up filters in the file's indexes before it reads records."""

    memory: EmbodiedMemory
    _objects: dict[tuple[str, ...], list[Recall]] = field(default_factory=dict)

    def objects(self, labels: Sequence[str] = ()) -> list[Recall]:
        """Objects of any of these labels (all without), those in their place first, then the latest seen."""
        key = tuple(labels)
        if key not in self._objects:
            found = [item for label in (key or (None,)) for item in self.memory.scene.objects(label=label)]
            found.sort(key=lambda item: (bool(item.data.get("vanished")), -item.last_seen_ns))
            self._objects[key] = found
        return self._objects[key]

    def facts(
        self, about: Iterable[str], between_ns: Between | None = None, relations: Sequence[str] = (), role: str = ""
    ) -> list[Recall]:
        """Facts about ids or names, as believed now; without a time only those that hold now. Oldest first.

        Args:
            about: Ids and names; nothing gives no facts.
            between_ns: When they held.
            relations: Only these.
            role: "subject" or "object": what the names are of the fact; either when "".
        """
        names = {name.lower() for name in about}
        if not names:
            return []
        query = Query(labels=tuple(sorted(names)))
        found = self.memory.records.in_order(query, ("fact",), newest_first=False, limit=MANY)
        begin, end = between_ns or (None, None)

        def fits(fact: Recall) -> bool:
            data = fact.data
            until = data["valid_until_ns"]
            if until is not None and (between_ns is None or (begin is not None and until <= begin)):
                return False
            if end is not None and data["valid_from_ns"] > end or relations and data["relation"] not in relations:
                return False
            if role == "subject":
                return data["subject"].lower() in names or fact.label.lower() in names
            return role != "object" or data["object"].lower() in names or object_name(fact).lower() in names

        return [fact for fact in found if fits(fact)]

    def labelled(
        self, labels: Sequence[str], kinds: tuple[str, ...], between_ns: Between | None = None
    ) -> list[Recall]:
        """Records tagged with any of these labels, oldest first; of any label when there is none."""
        query = Query(labels=tuple(labels), kinds=kinds, between_ns=between_ns)
        return self.memory.records.in_order(query, (), newest_first=False, limit=MANY)

    def poses(self, between_ns: Between | None = None, labels: Sequence[str] = ()) -> list[Recall]:
        """Views and events that say where the body was, oldest first; without a time and a label the latest few."""
        query = Query(labels=tuple(labels), kinds=("keyframe", "event"), between_ns=between_ns)
        limit = _LATEST if between_ns is None and not labels else MANY
        found = self.memory.records.in_order(query, (), newest_first=True, limit=limit)[::-1]
        return [f for f in found if f.position is not None and (f.kind == "keyframe" or "T_world_body" in f.data)]

    def numbers(self, what: EventSearch) -> list[int]:
        """Row ids of the events that fit, oldest first."""
        with self.memory.store.read() as db:
            return event_numbers(db, what)

    def events(self, what: EventSearch) -> list[Recall]:
        """The events that fit, oldest first."""
        return self.memory.records.get(self.numbers(what))

    def span(self, reference: Reference) -> tuple[int, int, list[Recall]] | None:
        """When the event that a question names began and ended, ns, and what says so; None when there is none."""
        if reference.verb == "see" and reference.labels:
            seen = self.objects(reference.labels)
            if not seen:
                return None
            if reference.order == "first":
                first = min(seen, key=lambda item: item.first_seen_ns)
                return first.first_seen_ns, first.first_seen_ns, [first]
            last = max(seen, key=lambda item: item.last_seen_ns)
            return last.last_seen_ns, last.last_seen_ns, [last]
        if not reference.verb:
            return self._named_span(reference)
        search = EventSearch(verb=reference.verb, labels=reference.labels, words=reference.words, room=reference.room)
        numbers = self.numbers(search)
        if not numbers:
            return None
        (chosen,) = self.memory.records.get([numbers[0 if reference.order == "first" else -1]])
        return chosen.first_seen_ns, chosen.last_seen_ns, [chosen]

    def _named_span(self, reference: Reference) -> tuple[int, int, list[Recall]] | None:
        """An event named by a noun ("the first tour"), or a stay in a room."""
        words = [word for word in reference.words if word not in _BOUNDS]
        if reference.room is not None and set(words) <= set(tokens(reference.room.lower())):
            return self._visit(reference.room)
        if not words:
            return None
        found = self.events(EventSearch(words=words))
        rest = [word for word in words if word != reference.order]
        if not found and rest != words and rest:  # no text says "first": the first of all
            found = self.events(EventSearch(words=rest))
        if not found:
            return None
        # "Began the first tour" and "finished the first tour" are two ends of one event.
        groups: dict[frozenset[str], list[Recall]] = {}
        for item in found:
            groups.setdefault(frozenset(set(tokens(item.text.lower())) - _BOUNDS), []).append(item)
        spans = []
        for items in groups.values():
            ended = any(set(tokens(item.text.lower())) & _BOUNDS for item in items)
            spans += [items] if ended else [[item] for item in items]
        spans.sort(key=lambda items: items[0].first_seen_ns)
        chosen = spans[0] if reference.order == "first" else spans[-1]
        return min(item.first_seen_ns for item in chosen), max(item.last_seen_ns for item in chosen), chosen

    def _visit(self, room: str) -> tuple[int, int, list[Recall]] | None:
        """The latest stay of the body in a room, by its keyframes."""
        frames = self.memory.episodic.timeline(Query(kinds=("keyframe",)), newest_first=True, limit=MANY)
        inside = [frame.label == room for frame in frames]
        if True not in inside:
            return None
        begin = inside.index(True)
        end = inside.index(False, begin) if False in inside[begin:] else len(frames)
        return frames[end - 1].first_seen_ns, frames[begin].last_seen_ns, frames[begin:end]

    def stays(self, item: Recall) -> list[Stay]:
        """Where an object was, oldest first: moves and what was done to it split the time, facts say what it was on."""
        moves = self.labelled((item.id,), ("moved",))
        laid = self.labelled((item.id,), ("place", "drop"))
        facts = [
            fact
            for fact in self.facts((item.id,), (None, None), ("on", "in", "at", "held by"), "subject")
            if fact.data["subject"] == item.id
        ]
        gone = self.labelled((item.id,), ("vanished",)) if item.data.get("vanished") else []
        cuts = {item.first_seen_ns, *(event.first_seen_ns for event in (*moves, *laid, *gone[-1:]))}
        for fact in facts:
            cuts |= {ns for ns in (fact.data["valid_from_ns"], fact.data["valid_until_ns"]) if ns is not None}
        marks: list[int | None] = [*sorted(cuts), None]
        stays: list[Stay] = []
        for start, until in zip(marks, marks[1:], strict=False):
            assert start is not None
            stay = _stay_since(start, item, moves, laid, facts)
            stay.until_ns = until
            if stays and _same_place(stays[-1], stay):
                stays[-1].until_ns = until
                stays[-1].relations = stays[-1].relations or stay.relations
                stays[-1].evidence = tuple(dict.fromkeys((*stays[-1].evidence, *stay.evidence)))
            else:
                stays.append(stay)
        if gone:  # nothing is known of it since then
            stays = [stay for stay in stays if stay.begin_ns < gone[-1].first_seen_ns]
            if stays:
                stays[-1].until_ns = gone[-1].first_seen_ns
        return stays

    def related(
        self, relation: str, landmarks: Sequence[Recall], names: Sequence[str], between_ns: Between | None
    ) -> list[Recall]:
        """Facts that state a relation to any of these things."""
        about = [item.id for item in landmarks] + list(names)
        if relation == "under":  # what the table stands on is under the table
            return self.facts(about, between_ns, ("on",), "subject") + self.facts(
                about, between_ns, ("under",), "object"
            )
        return self.facts(about, between_ns, (relation,), "object")

    def near(self, landmarks: Sequence[Recall]) -> list[Recall]:
        """Objects in their place near any of these, nearest first."""
        others = [o for o in self.objects() if o.id not in {item.id for item in landmarks} and not o.data["vanished"]]
        if not others or not landmarks:
            return []
        lower, upper = _boxes(others)
        low, high = _boxes(landmarks)
        gap = np.maximum(np.maximum(low[None] - upper[:, None], lower[:, None] - high[None]), 0.0)
        distance = np.linalg.norm(gap, axis=2).min(axis=1)
        order = np.argsort(distance, kind="stable")
        return [
            replace(others[i], why={**others[i].why, "near": -float(distance[i])})
            for i in order.tolist()
            if distance[i] <= NEAR_M
        ]


def object_name(fact: Recall) -> str:
    """The word for a fact's object, whose id may stand in the data."""
    relation = fact.data["relation"]
    for verb in (" is ", " was "):
        head = f"{fact.label}{verb}{relation} "
        if fact.text.startswith(head):
            return fact.text[len(head) :]
    return str(fact.data["object"])


def _stay_since(begin: int, item: Recall, moves: list[Recall], laid: list[Recall], facts: list[Recall]) -> Stay:
    """Where an object was from a moment on, from what was noticed up to then.

    The last of these that is not later says it: a move, a fact with a position, or that it was laid down. Before the
    first move, a fact of that time knows the place; else the move itself says in words where it came from.
    """
    valid = [f for f in facts if f.data["valid_from_ns"] <= begin and begin < _until(f)]
    relations = tuple(dict.fromkeys((fact.data["relation"], object_name(fact)) for fact in valid))
    proof = tuple(fact.id for fact in valid)
    held = [fact for fact in valid if fact.data["relation"] == "held by"]
    if held:
        return Stay(None, begin, None, relations, proof)
    done = [move for move in moves if move.first_seen_ns <= begin]
    placed = [event for event in laid if event.first_seen_ns <= begin]
    stood = [f for f in facts if f.position is not None and f.data["valid_from_ns"] <= begin]
    moved_ns = max(
        [event.first_seen_ns for event in done[-1:]] + [f.data["valid_from_ns"] for f in stood[-1:]], default=-1
    )
    is_last = len(done) == len(moves)
    if placed and placed[-1].first_seen_ns > moved_ns:  # laid down, and not seen there before the next move
        unseen = not is_last or item.last_seen_ns <= placed[-1].first_seen_ns
        if unseen:
            words = f"laid down and not yet seen again ({placed[-1].text})"
            return Stay(None, begin, None, relations, (*proof, placed[-1].id), words)
    if is_last:
        return Stay(item.position, begin, None, relations, tuple(dict.fromkeys((*proof, *item.evidence))))
    if done:
        return Stay(done[-1].position, begin, None, relations, (*proof, done[-1].id))
    known = [f for f in facts if f.position is not None and f.data["valid_from_ns"] < moves[0].first_seen_ns]
    if known:
        return Stay(known[0].position, begin, None, relations, (*proof, moves[0].id))
    words = moves[0].text.partition(" moved from ")[2].partition(" to ")[0]
    told = _POINT.search(words)
    position = np.array([float(value) for value in told.groups()]) if told else None
    return Stay(position, begin, None, relations, (*proof, moves[0].id), "" if told else words)


def _until(fact: Recall) -> int:
    until = fact.data["valid_until_ns"]
    return 2**63 if until is None else int(until)


def _same_place(a: Stay, b: Stay) -> bool:
    """A relation is noticed some looks after the place: with and without it, it is one stay."""
    if a.words != b.words or (a.relations and b.relations and a.relations != b.relations):
        return False
    if a.position is None and b.position is None and a.relations != b.relations:
        return False
    if a.position is None or b.position is None:
        return a.position is b.position
    return bool(np.linalg.norm(a.position - b.position) < 1e-9)


def _boxes(items: Sequence[Recall]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 3) lower and upper corners."""

    def corner(item: Recall, name: str) -> Any:
        return item.data.get(name, item.position)

    return np.array([corner(i, "lower") for i in items], float), np.array([corner(i, "upper") for i in items], float)
