"""A typed question to an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timezone, tzinfo
from typing import TYPE_CHECKING

from embodmem.ask import around, happenings, things
from embodmem.ask import phrases as say
from embodmem.ask.find import Finder
from embodmem.ask.question import Between, Question, parse
from embodmem.ask.reply import Answer, Asked, Rule
from embodmem.ask.times import Clock
from embodmem.ask.words import Vocabulary
from embodmem.errors import InvalidInput
from embodmem.types import Recall, check_stamp

if TYPE_CHECKING:
    from embodmem.embodied import EmbodiedMemory

_RULES: dict[tuple[str, str], Rule] = {
    ("where", "objects"): things.where_things,
    ("where", "events"): happenings.where_events,
    ("where", "moves"): happenings.moves,
    ("where", "self"): around.where_self,
    ("when", "seen"): things.when_seen,
    ("when", "events"): happenings.events,
    ("when", "moves"): happenings.moves,
    ("when", "told"): happenings.told,
    ("when", "self"): around.when_self,
    ("what", "objects"): things.what_things,
    ("what", "seen"): happenings.what_seen,
    ("what", "events"): happenings.events,
    ("what", "moves"): happenings.moves,
    ("what", "changes"): happenings.changes,
    ("what", "told"): happenings.told,
    ("what", "holder"): around.holder,
    ("what", "rooms"): around.rooms,
    ("what", "everything"): happenings.everything,
    ("how_many", "objects"): things.how_many_things,
    ("how_many", "events"): happenings.events,
    ("how_many", "moves"): happenings.moves,
    ("how_many", "rooms"): around.rooms,
    ("how_often", "seen"): things.how_often_seen,
    ("how_often", "events"): happenings.events,
    ("how_often", "moves"): happenings.moves,
    ("is_there", "objects"): things.is_there_things,
    ("is_there", "told"): happenings.told,
    ("did", "events"): happenings.events,
    ("did", "moves"): happenings.moves,
    ("did", "changes"): happenings.changes,
    ("did", "holder"): around.holder,
    ("who", "holder"): around.holder,
    ("who", "events"): happenings.events,
    ("who", "moves"): happenings.moves,
}


def ask(
    memory: EmbodiedMemory, text: str, *, now_ns: int | None = None, k: int = 10, zone: tzinfo = timezone.utc
) -> Answer:
    """Answer a question in English from a memory, by rules: offline, without a language model.

    When stamps look like Unix time (after 2001), dates and clock times in a question mean the calendar, and answers
    tell them; else only relative times mean something ("in the last 30 seconds", "two minutes ago", "at second 12"),
    and moments are told in seconds since the memory's first stamp. A question that fits no rule is handed to
    `memory.recall`, and the answer says so.

    Args:
        memory: What is asked.
        text: The question.
        now_ns: Now, ns; None takes the memory's newest stamp.
        k: At most so many recalls.
        zone: In which clock times are meant and told.

    Raises:
        InvalidInput: The text is empty, or `k` is below 1.

    Example:
        >>> from embodmem.ask import ask
        >>> from embodmem.embodied import EmbodiedMemory
        >>> from embodmem.types import Event
        >>> with EmbodiedMemory() as memory:
        ...     memory.write(Event(stamp_ns=1, kind="told", text="the keys are in the drawer", source="user"))
        ...     ask(memory, "where are my keys?").recalls[0].text
        'the keys are in the drawer'
    """
    if not text.strip():
        raise InvalidInput(f"ask: wanted a question, got {text!r}")
    if k < 1:
        raise InvalidInput(f"k: wanted 1 or more, got {k}")
    with memory.store.read():  # one snapshot for the whole answer, whatever is written meanwhile
        now_ns = check_stamp(memory.newest_stamp() or 0 if now_ns is None else now_ns, "now_ns")
        vocabulary = Vocabulary.of(memory, zone)
        question = parse(text, vocabulary, now_ns)
        answer = _answer(memory, question, vocabulary, Clock(now_ns, vocabulary.start_ns, zone), k)
    return replace(answer, recalls=answer.recalls[:k])


def _answer(memory: EmbodiedMemory, question: Question, vocabulary: Vocabulary, clock: Clock, k: int) -> Answer:
    find = Finder(memory)
    asked = Asked(question, find, clock, vocabulary, question.between_ns, k=k)
    if question.problem:
        return asked.not_known(question.problem)
    rule = _RULES.get((question.kind, question.about))
    if rule is None:
        return _by_meaning(asked, k)
    between, anchors = question.between_ns, list[Recall]()
    for reference in question.anchors:
        span = find.span(reference)
        if span is None:
            return asked.not_known(f"I remember no event like {say.event_asked_for(reference)!r}")
        begin, end, items = span
        limits = {"before": (None, begin - 1), "after": (end + 1, None), "during": (begin, end)}[reference.side]
        between = _both(between, limits)
        anchors += items
    if between is not None and between[0] is not None and between[1] is not None and between[0] > between[1]:
        return asked.not_known("the time asked about ends before it begins")
    known = tuple(name for item in anchors for name in (item.id, *item.evidence))
    return rule(replace(asked, between_ns=between, anchor_ids=known))


def _both(a: Between | None, b: Between) -> Between:
    if a is None:
        return b
    begins = [begin for begin in (a[0], b[0]) if begin is not None]
    ends = [end for end in (a[1], b[1]) if end is not None]
    return (max(begins) if begins else None, min(ends) if ends else None)


def _by_meaning(asked: Asked, k: int) -> Answer:
    """No rule fits: what the memory finds for the words, said plainly."""
    found = asked.find.memory.recall(asked.question.text, k)
    if not found:
        return asked.not_known("I have no rule for this question, and nothing in the memory is like its words")
    nearest = say.several(found, lambda item: item.text or item.label)
    return asked.known(f"I have no rule for this question; what is nearest to its words: {nearest}", found)
