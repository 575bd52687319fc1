"""Sentences: places, moments, lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from embodmem.ask.question import Question, Reference
from embodmem.ask.times import Clock
from embodmem.types import Recall

TOLD = 5
"""Of several matches a sentence tells this many; the recalls hold the others."""


def point(position: Any) -> str:
    """A position rounded to centimetres: "(0.30, 1.65, 0.75) m"."""
    return "(" + ", ".join(f"{value + 0.0:.2f}" for value in position) + ") m"


def join(parts: Sequence[str], last: str = "and") -> str:
    """As in "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def plural(label: str, count: int) -> str:
    """As in "1 mug", "2 mugs", "2 boxes"."""
    if count == 1 or label.endswith("s"):
        return f"{count} {label}"
    if label.endswith("y") and label[-2:-1] not in "aeiou":
        return f"{count} {label[:-1]}ies"
    return f"{count} {label}{'es' if label.endswith(('x', 'z', 'ch', 'sh')) else 's'}"


def article(label: str) -> str:
    """As in "a mug", "an apple", "keys"."""
    if label.endswith("s") and not label.endswith("ss"):
        return label
    return f"{'an' if label[:1] in 'aeiou' else 'a'} {label}"


def times(count: int) -> str:
    """As in "once", "twice", "38 times"."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def place(position: Any, room: str | None, relations: Sequence[tuple[str, str]], near: Sequence[str] = ()) -> str:
    """Where something is: "at (0.30, 1.65, 0.75) m in the kitchen, on the table"."""
    parts = [f"at {point(position)}" + (f" in the {room}" if room else "")] if position is not None else []
    for relation, other in relations:
        parts.append(f"{relation} {other}" if relation == "held by" else f"{relation} the {other}")
    if near:
        parts.append(f"near {join([f'the {label}' for label in near])}")
    return ", ".join(parts)


def sightings(item: Recall, clock: Clock) -> str:
    """How often and when last it was seen: "seen 38 times, last 12 s ago"."""
    count = int(item.data.get("sightings", 1))
    return f"seen {times(count)}, last {clock.ago(item.last_seen_ns)}"


def evidence(items: Sequence[Recall], limit: int = 6) -> str:
    """The ids that an answer rests on: "[object:3, keyframe:7]"."""
    ids = list(dict.fromkeys(name for item in items[:TOLD] for name in (item.id, *item.evidence)))
    return f" [{', '.join(ids[:limit])}{', ...' if len(ids) > limit else ''}]" if ids else ""


def several(items: Sequence[Recall], tell: Callable[[Recall], str], total: int | None = None) -> str:
    """The first few in words, and how many more there are of `total` (None: of these items)."""
    more = (len(items) if total is None else total) - TOLD
    return "; ".join(tell(item) for item in items[:TOLD]) + (f"; and {more} more" if more > 0 else "")


def asked_for(question: Question) -> str:
    """The things that a question is about, in words: "a red mug in the kitchen"."""
    names = [*question.labels, *question.unknown] or ["anything"]
    which = " ".join((*question.attributes, ""))
    what = join([article(which + name) if name != "anything" else name for name in names], "or")
    if question.landmark:
        what += f" {question.relation} the {join(question.landmark, 'or')}"
    return what + (f" in the {question.room}" if question.room else "")


def event_asked_for(question: Question | Reference) -> str:
    """The event that a question names, in words: "pick the book in the kitchen"."""
    if isinstance(question, Reference):
        return question.text
    things = join([f"the {label}" for label in question.labels], "or") if question.labels else ""
    parts = [question.verb if question.verb != "do" else "", things, " ".join(question.words)]
    text = " ".join(part for part in parts if part) or "anything"
    return text + (f" in the {question.room}" if question.room else "")


def window(between_ns: tuple[int | None, int | None] | None, clock: Clock) -> str:
    """A stretch of time in words, with a space before it; "" when it is open."""
    begin, end = between_ns or (None, None)
    if begin is None and end is None:
        return ""
    if end is None or (begin is not None and end >= clock.now_ns):
        assert begin is not None
        return f" since {clock.tell(begin).removeprefix('at ')}"
    if begin is None:
        return f" until {clock.tell(end).removeprefix('at ')}"
    return f" between {clock.tell(begin).removeprefix('at ')} and {clock.tell(end).removeprefix('at ')}"
