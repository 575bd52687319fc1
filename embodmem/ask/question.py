"""Words to a typed question, by rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from embodmem.ask import words as w
from embodmem.ask.clauses import Clause, split_clauses
from embodmem.ask.reader import Reading, read
from embodmem.ask.times import Clock, Span, TimeNotKnown, find_time, read_time
from embodmem.ask.words import PRONOUNS, Vocabulary, plain, tokens

Between = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An event that a question names: "before you picked up the book".

    Attributes:
        text: The words that name it.
        side: Which time is asked about: "before" it, "after" it (since it), or "during" it.
        verb: What was done ("pick"); "" when no verb names it.
        labels: What it was about.
        room: Where it was, or None.
        order: "first" or "last" of several, or "".
        words: What else says which it is.
    """

    text: str
    side: str
    verb: str = ""
    labels: tuple[str, ...] = ()
    room: str | None = None
    order: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        text: The question in its own words.
        kind: "where", "when", "what", "how_many", "how_often", "is_there", "did", "who", "why", or "other" when no
            rule fits.
        about: "objects", "events", "moves", "seen", "told", "holder", "rooms", "self" (the body), "changes" or
            "everything".
        labels: Names of the memory that are asked about; of several, any fits.
        unknown: Things asked about that the memory has no name for.
        attributes: Words that say which ("red").
        relation: "on", "in", "near", ... to `landmark`.
        landmark: Names of what it is on, in or near; of several, any fits.
        room: The room asked about.
        verb: What was done ("pick"), or "".
        subject: Who did it as the question has it ("you", "i"), or "".
        words: What else says which event is meant.
        between_ns: (from, until) asked about, ends included; either is None where open.
        anchors: Events that bound the time asked about.
        order: "first", "last", "previous" or "nearest" of several, or "".
        problem: Why it cannot be answered, or "".
    """

    text: str
    kind: str = "other"
    about: str = "everything"
    labels: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    relation: str = ""
    landmark: tuple[str, ...] = ()
    room: str | None = None
    verb: str = ""
    subject: str = ""
    words: tuple[str, ...] = ()
    between_ns: Between | None = None
    anchors: tuple[Reference, ...] = ()
    order: str = ""
    problem: str = ""


_POLITE = re.compile(
    r"^(?:please|hey|ok|okay|so|and|robot|hi|hello|(?:can|could|would|will) you (?:please )?(?:tell|show|remind) me|"
    r"(?:do|can) you (?:know|remember|recall)(?= (?:where|when|what|who|which|how|why|if|whether))|tell me|remind me|"
    r"i (?:want|would like|need) to know|if|whether)[ ,]+"
)


def parse(text: str, vocabulary: Vocabulary, now_ns: int) -> Question:
    """A question in words as a typed one; kind "other" when no rule fits. Takes any text.

    Args:
        text: The question, in English.
        vocabulary: What its words can refer to.
        now_ns: Now, ns: what "ago", "yesterday" and "in the last minute" count from.
    """
    words = plain(text)
    while (shorter := _POLITE.sub("", words)) != words:
        words = shorter
    clock = Clock(now_ns, vocabulary.start_ns, vocabulary.zone)
    problem, spans, anchors, previous = "", list[Between](), list[Reference](), False
    main, clauses = split_clauses(words, clock)
    try:
        span, main = find_time(main, clock)
        if span is not None:
            spans.append((span.begin_ns, span.end_ns))
        if w.FUTURE.intersection(tokens(main)):
            raise TimeNotKnown("this asks about the future, and I only remember")
        reading = read(main, vocabulary)
        for clause in clauses:
            if clause.side == "before" and clause.text in ("", "that", "then", "now", "this"):
                previous = True
            elif (limits := _limits(clause, clock)) is not None:
                spans.append(limits)
            else:
                anchors.append(_reference(clause, vocabulary, reading))
    except TimeNotKnown as error:
        problem = str(error)
        reading = read(main, vocabulary)
    question = _decide(text, reading)
    order = "previous" if previous else reading.order
    nearest = next((clause.side for clause in clauses if clause.nearest), "")
    order = order or {"before": "last", "after": "first"}.get(nearest, "")
    return replace(question, between_ns=_intersection(spans), anchors=tuple(anchors), order=order, problem=problem)


def _limits(clause: Clause, clock: Clock) -> Between | None:
    """The time that a clause such as "since 10:15" names; None when it names an event."""
    span: Span | None = read_time(clause.text, clock)
    if span is None:
        return None
    if clause.side == "before":
        # Until a moment is until it begins; "until Monday" takes Monday in.
        return (None, span.end_ns if clause.inclusive and not span.exact else span.begin_ns)
    if clause.side == "after":
        return (span.begin_ns if clause.inclusive or span.exact else span.end_ns + 1, None)
    return (span.begin_ns, span.end_ns)


def _intersection(spans: list[Between]) -> Between | None:
    if not spans:
        return None
    begins = [begin for begin, _ in spans if begin is not None]
    ends = [end for _, end in spans if end is not None]
    return (max(begins) if begins else None, min(ends) if ends else None)


def _reference(clause: Clause, vocabulary: Vocabulary, main: Reading) -> Reference:
    """The event that a clause names; "it" is what the rest of the question is about."""
    found = read(clause.text, vocabulary)
    said = set(tokens(clause.text))
    labels = found.labels or (main.labels if said & PRONOUNS - {"you", "i", "we"} else ())
    return Reference(
        text=clause.text,
        side=clause.side,
        verb=found.verb,
        labels=labels or found.landmark,
        room=found.room,
        order=found.order,
        words=found.leftover if found.verb else found.content,
    )


def _decide(text: str, r: Reading) -> Question:
    """Which question it is, from its first words and from what it speaks of."""
    kind, about = _KINDS[r.asks](r)
    if (r.beyond and r.asks != "yes_no") or (r.unknown and w.STATES.issuperset(r.unknown) and about == "objects"):
        kind, about = _NONE  # what is not so, and how things are, is no question of place or time
    words = r.leftover if about in ("events", "told", "everything") or kind == "other" else ()
    unknown = () if about in ("events",) and not r.unknown_landmark else r.unknown
    return Question(
        text=text,
        kind=kind,
        about=about,
        labels=r.labels,
        unknown=unknown,
        attributes=r.attributes,
        relation=r.relation,
        landmark=r.landmark,
        room=r.room,
        verb=r.verb,
        subject=r.subject,
        words=words,
    )


_SEEING = ("", "see", "know")


def _where(r: Reading) -> tuple[str, str]:
    named = bool(r.labels or r.unknown)
    if not named and r.generic and not r.verb:
        return "what", "objects"  # "where are all my things?"
    if not named:
        return ("where", "self") if r.subject in ("i", "you", "we", "robot") and r.verb in ("", "go", "do") else _NONE
    if r.verb == "move":
        return "where", "moves"
    if r.verb == "come":
        r.order = "previous"  # "where did the mug come from?"
        return "where", "objects"
    if r.verb == "go" and not r.subject:
        return "where", "objects"  # "where did the mug go?"
    return ("where", "objects") if r.verb in (*_SEEING, "leave", "hold", "do") else ("where", "events")


def _which_room(r: Reading) -> tuple[str, str]:
    return ("where", "objects") if r.labels or r.unknown else ("what", "rooms")


def _when(r: Reading) -> tuple[str, str]:
    if r.verb in ("move", "vanish"):
        return "when", "moves"
    if r.verb == "tell":
        return "when", "told"
    if not (r.labels or r.unknown):
        if r.room and r.verb in ("", "go", "see"):
            return "when", "self"
        return ("when", "events") if r.verb not in _SEEING or r.leftover else _NONE
    return ("when", "seen") if r.verb in (*_SEEING, "hold") else ("when", "events")


def _who(r: Reading) -> tuple[str, str]:
    if r.verb in ("hold", "") and (r.labels or r.unknown):
        return "who", "holder"
    return ("who", "moves" if r.verb == "move" else "events") if r.verb else _NONE


def _how_many(r: Reading) -> tuple[str, str]:
    if r.counts_rooms:
        return "how_many", "rooms"
    if r.verb == "move":
        return "how_many", "moves"
    if r.verb in _SEEING:
        return ("how_many", "objects") if r.labels or r.unknown or r.generic else _NONE
    return "how_many", "events"


def _how_often(r: Reading) -> tuple[str, str]:
    if r.verb == "move":
        return "how_often", "moves"
    if r.verb in _SEEING:
        return ("how_often", "seen") if r.labels or r.unknown else _NONE
    return "how_often", "events"


def _what(r: Reading) -> tuple[str, str]:
    if r.counts_rooms and not r.labels:
        return "what", "rooms"
    if r.verb == "move" or r.verb == "vanish":
        return "what", "changes" if r.changes else "moves"
    if r.verb == "tell":
        return "what", "told"
    if r.verb == "hold":
        return "what", "holder"
    if r.verb == "see":
        return "what", "seen"
    if r.verb == "know":
        return "what", "everything" if r.labels or r.unknown else "objects"
    if r.verb:
        return "what", "events"
    if r.changes:
        return "what", "changes"
    if r.relation and not (r.landmark or r.unknown_landmark) and (r.labels or r.unknown):
        return "where", "objects"  # "what is the mug on?"
    if r.room or r.landmark or r.unknown_landmark:
        return "what", "objects"
    if r.labels or r.unknown:
        return ("what", "everything") if not r.leftover else _NONE
    return ("what", "objects") if r.generic or r.there else _NONE


def _yes_no(r: Reading) -> tuple[str, str]:
    if r.verb in ("move", "vanish"):
        return "did", "changes" if r.changes else "moves"
    if r.verb == "tell":
        return "is_there", "told"
    if r.verb == "hold":
        return "did", "holder"
    if r.verb in _SEEING:
        return ("is_there", "objects") if r.labels or r.unknown or (r.generic and (r.landmark or r.room)) else _NONE
    return "did", "events"


def _why(r: Reading) -> tuple[str, str]:
    return "why", "events"


def _bare(r: Reading) -> tuple[str, str]:
    """No question word: "the mug in the kitchen" asks where it is."""
    return ("where", "objects") if r.labels and not (r.verb or r.leftover) else _NONE


_NONE = ("other", "everything")
_KINDS: dict[str, Callable[[Reading], tuple[str, str]]] = {
    "where": _where,
    "which_room": _which_room,
    "when": _when,
    "who": _who,
    "how_many": _how_many,
    "how_often": _how_often,
    "what": _what,
    "yes_no": _yes_no,
    "why": _why,
    "": _bare,
}
