"""Splits a question into what is asked and the clauses that bound its time ("before you picked up the book")."""

from __future__ import annotations

import re
from dataclasses import dataclass

from embodmem.ask.times import Clock, TimeNotKnown, day_before, read_time

_SIDES = {
    "before": "before", "prior to": "before", "until": "before", "till": "before", "up to": "before",
    "after": "after", "since": "after", "as of": "after",
    "during": "during", "while": "during", "when": "during",
}  # fmt: skip
_INCLUSIVE = ("since", "until", "till", "up to", "as of")
_NEAREST = r"(?:right|just|immediately|directly|shortly|straight)"
_CONNECTOR = re.compile(rf"(?:\b(?P<near>{_NEAREST}) )?\b(?P<word>{'|'.join(_SIDES)})\b")
_FIRST_CLAUSE = re.compile(rf"^(?P<clause>(?:{_NEAREST} )?(?:{'|'.join(_SIDES)}|between|from)\b[^,]*), ?(?P<main>.+)$")
_BETWEEN = re.compile(r"\bbetween (?P<a>.+?) and (?P<b>.+)$")
_FROM = re.compile(r"\bfrom (?P<a>.+?) (?:to|until|till) (?P<b>.+)$")


@dataclass(frozen=True, slots=True)
class Clause:
    """A bound of the time asked about.

    Attributes:
        side: "before", "after" or "during".
        text: A time, or the words that name an event.
        inclusive: The time named belongs to it ("since Monday", not "after Monday").
        nearest: Only what is nearest to it is asked for ("right before").
    """

    side: str
    text: str
    inclusive: bool = False
    nearest: bool = False


def split_clauses(words: str, clock: Clock) -> tuple[str, list[Clause]]:
    """What is asked, and the clauses that bound its time, in their order."""
    leading = _FIRST_CLAUSE.match(words)
    if leading is not None and not leading["clause"].startswith(("when is", "when was", "when did", "when were")):
        words = f"{leading['main']} {leading['clause']}"
    for pattern, only_times in ((_BETWEEN, False), (_FROM, True)):
        found = pattern.search(words)
        if (
            found is not None
            and _is_time(found["a"], clock)
            or found is not None
            and not only_times
            and _is_event(found)
        ):
            before, first, last = day_before(words[: found.start()].strip(), found["a"], found["b"], clock)
            main, rest = split_clauses(before, clock)
            return main, [*rest, Clause("after", first, True), Clause("before", last, True)]
    starts = [found for found in _CONNECTOR.finditer(words) if found.start() > 0]
    clauses = []
    ends = [*(found.start() for found in starts), len(words)][1:]
    for found, end in zip(starts, ends, strict=True):
        word, text = found["word"], words[found.end() : end].strip(" ,").removesuffix(" and")
        clauses.append(Clause(_SIDES[word], text, word in _INCLUSIVE, found["near"] is not None))
    main = words[: starts[0].start()] if starts else words
    return main.strip(" ,"), clauses


def _is_time(text: str, clock: Clock) -> bool:
    try:
        return read_time(text, clock) is not None
    except TimeNotKnown:
        return True


def _is_event(found: re.Match[str]) -> bool:
    """Whether it asks for a time, unlike "what is between the sofa and the table", which asks for a place."""
    return (
        re.search(r"\b(?:happen|happened|did|do|done|was .*moved|moved|seen|see|saw)\b", found.string[: found.start()])
        is not None
    )
