"""What the server's tools do, over an open memory and a clock; it knows nothing of the protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timezone, tzinfo

import numpy as np

from embodmem.ask import Vocabulary, ask, parse
from embodmem.ask.times import CALENDAR_FROM_NS, Clock, TimeNotKnown, read_time
from embodmem.ask.words import plain
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.semantic import Fact
from embodmem.serve.shapes import Answered, Corrected, Forgotten, Item, Remembered, Statement
from embodmem.types import Event, Query, Recall

TEXT_LIMIT = 20_000
"""Longest text that a tool takes, characters."""


class Service:
    """Answers and writes for clients, any number at once; writes go one after another.

    A memory of calendar stamps lives by the clock given. One whose stamps are no calendar time (a simulator's) stays
    on its own: what is told to it counts as told at its newest moment.

    Args:
        memory: The memory, open; in mode "r" only what reads works.
        clock: Now as Unix time, ns.
        zone: In which clock times are meant and told.
    """

    def __init__(self, memory: EmbodiedMemory, clock: Callable[[], int], zone: tzinfo = timezone.utc) -> None:
        self.memory = memory
        self._clock = clock
        self._zone = zone
        self._writing = threading.Lock()

    def now_ns(self) -> int:
        """Now, on the memory's clock."""
        newest = self.memory.newest_stamp()
        return self._clock() if newest is None or newest >= CALENDAR_FROM_NS else newest

    def recall(
        self,
        text: str,
        *,
        k: int = 10,
        kinds: Sequence[str] = (),
        labels: Sequence[str] = (),
        agent: str | None = None,
        when: str | None = None,
        near: Sequence[float] | None = None,
        radius_m: float | None = None,
    ) -> Answered:
        """The k memories that fit best, with every filter applied first.

        Raises:
            InvalidInput: A value is not what it should be.
        """
        now_ns = self.now_ns()
        words = text.strip()
        query = Query(
            text=_checked("text", words) if words else None,
            kinds=tuple(kinds),
            labels=tuple(labels),
            agent=agent,
            between_ns=None if when is None else self._span(when, now_ns, by_events=False),
            near=None if near is None else np.asarray(near, np.float64),
            radius_m=radius_m,
        )
        found = self.memory.recall(query, k)
        told = "; ".join(item.text or item.label or item.id for item in found[:3])
        return self._answered(bool(found), told or "not known: nothing in the memory fits", found, now_ns)

    def ask(self, question: str, *, k: int = 10) -> Answered:
        """A question in words, answered by rules.

        Raises:
            InvalidInput: There is none.
        """
        now_ns = self.now_ns()
        answer = ask(self.memory, _checked("question", question), now_ns=now_ns, k=k, zone=self._zone)
        return self._answered(not answer.text.startswith("not known"), answer.text, answer.recalls, now_ns)

    def where_is(self, what: str, *, when: str | None = None, k: int = 10) -> Answered:
        """Where a thing is, or was at a time in words: from the scene and from facts.

        Raises:
            InvalidInput: It names no thing, or no time.
        """
        name = _checked("what", what).strip(" ?.")
        if not name:
            raise InvalidInput(f"what: wanted a thing such as 'the mug', got {what!r}")
        if when is None:
            return self.ask(f"where is {name}?", k=k)
        self._span(when, self.now_ns())
        return self.ask(f"where was {name} {when}?", k=k)

    def what_happened(self, when: str | None = None, *, about: str | None = None, k: int = 20) -> Answered:
        """What happened at a time in words, to a thing or at all.

        Raises:
            InvalidInput: The words name no time.
        """
        question = "what happened"
        if about is not None:
            question += f" with {_checked('about', about).strip(' ?.')}"
        if when is not None:
            self._span(when, self.now_ns())
            question += f" {when}"
        return self.ask(f"{question}?", k=k)

    def remember(self, text: str, *, about: Sequence[str] = (), source: str = "user") -> Remembered:
        """Write down what was told; when this returns, it is on disk.

        Raises:
            InvalidInput: There are no words, or more than `TEXT_LIMIT` characters, or the source is shut out.
            StampError: The clock is behind what the memory holds.
            ReadOnlyMemory: It is open for reading.
        """
        with self._writing:
            return self._tell(_checked("text", text), about, source, self.now_ns())

    def _tell(self, text: str, about: Sequence[str], source: str, stamp_ns: int) -> Remembered:
        event = Event(stamp_ns=stamp_ns, kind="told", text=text, objects=tuple(about), source=source)
        refused = self.memory.guard.objection(event)
        if refused:
            raise InvalidInput(f"source: wanted one that this memory believes: {refused}")
        with self.memory.store.transaction():
            known = self.memory.guard.repeated(event)
            self.memory.write(event)
            if known is not None:  # whoever reads this memory told it what it holds already
                (made,) = self.memory.records.get([known])
            else:
                newest = Query(kinds=("told",), between_ns=(stamp_ns, stamp_ns))
                (made,) = self.memory.episodic.timeline(newest, newest_first=True, limit=1)
        return Remembered(id=made.id, text=text, stamp_ns=stamp_ns)

    def correct(
        self,
        subject: str,
        relation: str,
        object: str | None = None,
        *,
        when: str | None = None,
        source: str = "user",
        confidence: float = 1.0,
    ) -> Corrected:
        """State a fact, or with no object that one ended. What was believed before stays in the history.

        Args:
            subject: A name, or an id where several things bear the name.
            relation: "on", "in", "held by", ...
            object: What it is related to; None retracts what is believed of this relation.
            when: Since when it holds in the world, or when it ended; None is now. The memory learns it now.
            source: Who says so.
            confidence: 0 to 1.

        Raises:
            InvalidInput: A name means several things, or there is nothing to retract.
            ReadOnlyMemory: The memory is open for reading.
        """
        with self._writing, self.memory.store.transaction():
            now_ns = self.now_ns()
            valid_ns = now_ns if when is None else self._moment(when, now_ns)
            thing, name = self._resolve(_checked("subject", subject))
            before = {fact.id: fact for fact in self.memory.semantic.facts(subject=thing)}
            relation = _checked("relation", relation)
            if object is None:
                ended = self._retract(thing, name, relation, valid_ns, now_ns, list(before.values()))
                noted = self._tell(f"{name} is no longer {ended}", (thing,), source, now_ns)
            else:
                other, other_name = self._resolve(_checked("object", object))
                noted = self._tell(f"{name} is {relation} {other_name}", (thing, other), source, now_ns)
                self.memory.semantic.assert_fact(
                    thing,
                    relation,
                    other,
                    valid_from_ns=valid_ns,
                    known_from_ns=now_ns,
                    confidence=confidence,
                    names=(name, other_name),
                    evidence=[int(noted.id.partition(":")[2])],
                    source=source,
                )
            after = self.memory.semantic.facts(subject=thing)
        closed = [fact for number, fact in before.items() if number not in {fact.id for fact in after}]
        return Corrected(
            holds=[Statement.of(fact) for fact in after], closed=[Statement.of(f) for f in closed], noted=noted.id
        )

    def _retract(self, thing: str, name: str, relation: str, until_ns: int, known_ns: int, believed: list[Fact]) -> str:
        """End what is believed of a relation; returns that in words, "on table"."""
        if not self.memory.semantic.retract(thing, relation, until_ns=until_ns, known_ns=known_ns):
            held = ", ".join(fact.text for fact in believed) or "nothing"
            raise InvalidInput(f"relation: wanted one of {name} that holds, got {relation!r}; what is believed: {held}")
        ended = [fact.text.partition(" is ")[2] for fact in believed if fact.relation == relation]
        return " and ".join(words for words in ended if words) or relation

    def forget(
        self,
        *,
        labels: Sequence[str] = (),
        ids: Sequence[str] = (),
        kinds: Sequence[str] = (),
        text: str | None = None,
    ) -> Forgotten:
        """Remove what matches all that is given, from every index and from the disk.

        Raises:
            InvalidInput: Nothing is given, which would be everything.
            ReadOnlyMemory: The memory is open for reading.
        """
        if not (labels or ids or kinds or (text or "").strip()):
            raise InvalidInput("forget: wanted at least one of labels, ids, kinds and text, got none")
        query = Query(labels=tuple(labels), ids=tuple(ids), kinds=tuple(kinds), text=(text or "").strip() or None)
        with self._writing:
            before = self.memory.counts()
            gone = self.memory.forget(query)
            after = self.memory.counts()
        by_kind = {kind: n - after.get(kind, 0) for kind, n in before.items() if n != after.get(kind, 0)}
        return Forgotten(forgotten=gone, by_kind=by_kind)

    def objects(self) -> list[Item]:
        """All objects, those still in their place first."""
        return self._items(self.memory.scene.objects())

    def rooms(self) -> list[Item]:
        """All rooms."""
        return self._items(self.memory.scene.rooms())

    def recent(self, k: int = 50) -> list[Item]:
        """The latest events, newest first."""
        return self._items(self.memory.episodic.timeline(Query(kinds=("event",)), newest_first=True, limit=k))

    def record(self, record_id: str) -> Item:
        """One record.

        Raises:
            InvalidInput: There is none of this id.
        """
        return self._items([self.memory.records.get_id(record_id)])[0]

    def image(self, record_id: str) -> bytes:
        """The picture of a keyframe as JPEG.

        Raises:
            InvalidInput: There is no such keyframe, or it has no picture.
        """
        jpeg = self.memory.episodic.get_keyframe(record_id).jpeg
        if jpeg is None:
            raise InvalidInput(f"keyframe: wanted one with a picture, but {record_id} has none")
        return jpeg

    def _clock_at(self, now_ns: int) -> Clock:
        with self.memory.store.read() as db:
            start = db.execute("SELECT min(first_ns) FROM record WHERE kind != 'room'").fetchone()[0]
        return Clock(now_ns, int(start or 0), self._zone)

    def _items(self, found: Sequence[Recall]) -> list[Item]:
        clock = self._clock_at(self.now_ns())
        return [Item.of(item, clock) for item in found]

    def _answered(self, known: bool, text: str, found: Sequence[Recall], now_ns: int) -> Answered:
        clock = self._clock_at(now_ns)
        return Answered(known=known, answer=text, items=[Item.of(item, clock) for item in found], now_ns=now_ns)

    def _span(self, when: str, now_ns: int, by_events: bool = True) -> tuple[int | None, int | None]:
        """The time that words name; where an event bounds it ("before the tour"), the ends stay open.

        Raises:
            InvalidInput: They name no time, or an event where `by_events` does not allow that.
        """
        question = parse(f"what happened {_checked('when', when)}", Vocabulary.of(self.memory, self._zone), now_ns)
        if question.problem:
            raise InvalidInput(f"when: {question.problem}")
        if question.anchors and not by_events or question.between_ns is None and not question.anchors:
            event = " or 'before the tour'" if by_events else ""
            wanted = f"a time in words such as 'this morning', 'since 10:15', 'in the last 2 hours'{event}"
            raise InvalidInput(f"when: wanted {wanted}, got {when!r}")
        return question.between_ns or (None, None)

    def _moment(self, when: str, now_ns: int) -> int:
        """The first moment of a time in words, not after now."""
        try:
            span = read_time(plain(_checked("when", when)).removeprefix("since "), self._clock_at(now_ns))
        except TimeNotKnown as error:
            raise InvalidInput(f"when: {error}") from error
        if span is None or span.begin_ns > now_ns:
            wanted = "a moment that has been, in words such as '10:15', 'yesterday' or '2 hours ago'"
            raise InvalidInput(f"when: wanted {wanted}, got {when!r}")
        return span.begin_ns

    def _resolve(self, name: str) -> tuple[str, str]:
        """The id and the word of the one object that a name means; a name that no object bears is its own id."""
        bare = name.strip()
        for article in ("the ", "a ", "an "):
            bare = bare[len(article) :] if bare.lower().startswith(article) else bare
        if bare.startswith("object:"):
            return bare, self.memory.records.get_id(bare).label
        found = self.memory.scene.objects(bare)
        present = [item for item in found if not item.data.get("vanished")] or found
        if len(present) > 1:
            which = ", ".join(f"{item.id} ({item.text})" for item in present)
            raise InvalidInput(f"{bare}: wanted one thing, but {len(present)} bear this name; give an id: {which}")
        return (present[0].id, present[0].label) if present else (bare, bare)


def _checked(name: str, text: str) -> str:
    if not text.strip():
        raise InvalidInput(f"{name}: wanted words, got {text!r}")
    if len(text) > TEXT_LIMIT:
        raise InvalidInput(f"{name}: wanted at most {TEXT_LIMIT} characters, got {len(text)}")
    return text.strip()
