"""What an answer is, and what all answers are made with."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from embodmem.ask import phrases as say
from embodmem.ask.find import Finder
from embodmem.ask.question import Between, Question
from embodmem.ask.search import EventSearch
from embodmem.ask.times import Clock
from embodmem.ask.words import Vocabulary, tokens
from embodmem.types import Recall

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is known.

    Attributes:
        question: How the question was understood.
        text: The answer as a sentence, with the ids that it rests on; it begins with "not known" when nothing in the
            memory supports one.
        recalls: What supports it, best first; nothing else.
    """

    question: Question
    text: str
    recalls: list[Recall]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with all that is needed to answer it.

    Attributes:
        question: What is asked.
        find: Looks things up.
        clock: Tells times.
        vocabulary: The names that the memory knows.
        between_ns: The time asked about, its anchors resolved; None when none is.
        anchor_ids: Ids of the events that the question names to bound the time, and of what those rest on.
        k: How many recalls are wanted.
    """

    question: Question
    find: Finder
    clock: Clock
    vocabulary: Vocabulary
    between_ns: Between | None
    anchor_ids: tuple[str, ...] = ()
    k: int = 10

    def select(self, items: Sequence[Recall], related_too: bool = True) -> list[Recall]:
        """Of these objects those in the room, with the attributes and (`related_too`) by the landmark asked for."""
        q = self.question
        kept = list(items)
        if q.room is not None:
            kept = [item for item in kept if str(item.data.get("room", "")).lower() == q.room.lower()]
        if q.landmark and related_too:
            near = (
                {item.id for item in self.find.near(self.find.objects(q.landmark))} if q.relation == "near" else set()
            )
            facts = self.find.related(q.relation, self.find.objects(q.landmark), q.landmark, self.between_ns)
            by = near | {fact.data["subject"] for fact in facts}
            kept = [item for item in kept if item.id in by]
        if q.unknown and not q.labels:
            return []
        wanted = set(q.attributes)
        fit = [item for item in kept if wanted <= set(tokens(f"{item.label} {item.text}".lower()))]
        return fit or kept

    def mentions(self) -> list[Recall]:
        """Events that name the things asked about, oldest first; of moves none."""
        q = self.question
        words = tuple(word for phrase in q.unknown for word in phrase.split()) if not q.labels else ()
        if not (q.labels or words):
            return []
        without = ("moved", "vanished")
        return self.find.events(EventSearch(labels=q.labels, words=words, between_ns=self.between_ns, without=without))

    def known(self, text: str, recalls: Sequence[Recall]) -> Answer:
        """An answer, with the ids that it rests on, and with what of the question was left aside."""
        return Answer(
            question=self.question, text=f"{text}{say.evidence(recalls)}.{self._aside(recalls)}", recalls=list(recalls)
        )

    def not_known(self, what: str) -> Answer:
        """Nothing supports an answer; `what` says what was looked for."""
        return Answer(question=self.question, text=f"not known: {what}", recalls=[])

    def never_seen(self) -> Answer:
        """Nothing is known of the things asked about; a name that is spelt alike is pointed out."""
        if self.question.labels and self.find.objects(self.question.labels):
            return self.not_known(
                f"I did not see {say.asked_for(self.question)}{say.window(self.between_ns, self.clock)}"
            )
        hints = [
            near
            for name in self.question.unknown
            for near in difflib.get_close_matches(name, self.vocabulary.labels, n=1, cutoff=0.8)
        ]
        hint = f" (did you mean {say.join(hints, 'or')}?)" if hints else ""
        return self.not_known(f"I have never seen {say.asked_for(self.question)}{hint}")

    def _aside(self, recalls: Sequence[Recall]) -> str:
        said = {word for item in recalls for word in tokens(f"{item.label} {item.text}".lower())}
        missing = [word for word in self.question.attributes if word not in said]
        aside = f" (I do not know which is {say.join(missing)}.)" if missing and recalls else ""
        strange = [name for name in self.question.unknown if not set(name.split()) <= said]
        return aside + (f" (I know nothing of {say.join(strange, 'or')}.)" if strange and self.question.labels else "")

    def ordered(self, items: list[_T], newest_first: bool = False) -> list[_T]:
        """Items given oldest first, in the order that the question asks for: the first, the last, or all."""
        order = self.question.order
        if order in ("last", "previous") or (newest_first and order != "first"):
            items = items[::-1]
        return items[:1] if order else items

    def backwards(self) -> bool:
        """Whether the latest come first: the time asked about has no beginning."""
        return self.between_ns is None or self.between_ns[0] is None

    def chosen(self, items: Sequence[Recall], channel: str = "label") -> list[Recall]:
        """Recalls as answers: scored by rank, with the channel by which they were chosen."""
        return [
            replace(item, score=1.0 / rank, why={channel: 1.0, **item.why}) for rank, item in enumerate(items, start=1)
        ]

    def events_text(self, items: Sequence[Recall], total: int | None = None) -> str:
        """Events in words: "picked up the book (at 10:15:03, 5 s ago); ..."."""
        return say.several(items, lambda item: f"{item.text} ({self.clock.when(item.first_seen_ns)})", total)

    def event_word(self, item: Recall) -> str:
        """An event with its place and time."""
        room = item.data.get("place")
        where = f" in the {room}" if room and room.lower() not in item.text.lower() else ""
        body = f", the body at {say.point(item.position)}" if item.position is not None else ""
        return f"{item.text}{where} ({self.clock.when(item.first_seen_ns)}{body})"


Rule = Callable[[Asked], Answer]
