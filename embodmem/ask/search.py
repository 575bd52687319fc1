"""Events by what was done, to what, where and when: one statement, however many events there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embodmem.ask.question import Between
from embodmem.ask.words import verb_forms
from embodmem.index.words import match_expression


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSearch:
    """Which events are meant; what is left empty is open.

    Attributes:
        verb: What was done ("pick"): the event's kind or its words say so.
        labels: What it was about, any of these: its objects or its words say so.
        words: Words that it holds, all of them.
        room: Where it happened, by its place or its words.
        landmark: Names, any of which its words hold.
        between_ns: When, ns, ends included.
        kinds: Its kind, any of these.
        without: Kinds that it is not of.
        own: It was not the user's.
    """

    verb: str = ""
    labels: Sequence[str] = ()
    words: Sequence[str] = ()
    room: str | None = None
    landmark: Sequence[str] = ()
    between_ns: Between | None = None
    kinds: Sequence[str] = ()
    without: Sequence[str] = ()
    own: bool = False


def event_numbers(db: sqlite3.Connection, what: EventSearch) -> list[int]:
    """Row ids of the events that fit, oldest first."""
    terms, values = ["kind = 'event'", "live"], list[Any]()

    def either(*options: tuple[str, Sequence[Any]]) -> None:
        """A term that holds when any of the options does; options that cannot hold are given with no values."""
        able = [(sql, given) for sql, given in options if given]
        terms.append(f"({' OR '.join(sql for sql, _ in able)})" if able else "0")
        values.extend(value for _, given in able for value in given)

    if what.verb and what.verb != "do":
        forms = verb_forms(what.verb)
        kinds = sorted({form + ending for form in forms for ending in ("", "d", "ed")})
        either(_one_of("subkind", kinds), _holding(forms))
    if what.labels:
        either(_tagged(what.labels), _holding(what.labels))
    if what.room is not None:
        either(_tagged((what.room,)), _holding((what.room,)))
    if what.landmark:
        either(_holding(what.landmark))
    if what.words:
        either(_holding((" ".join(what.words),)))
    if what.kinds:
        either(_one_of("subkind", what.kinds))
    if what.without:
        sql, given = _one_of("subkind", what.without)
        either((f"NOT {sql}", given))
    if what.own:
        terms.append("source != 'user'")
    begin, end = what.between_ns or (None, None)
    if begin is not None:
        either(("last_ns >= ?", (begin,)))
    if end is not None:
        either(("first_ns <= ?", (end,)))
    sql = f"SELECT id FROM record WHERE {' AND '.join(terms)} ORDER BY first_ns, id"
    return [int(row[0]) for row in db.execute(sql, values)]


def _one_of(column: str, options: Sequence[str]) -> tuple[str, Sequence[Any]]:
    return f"{column} IN ({','.join('?' * len(options))})", options


def _tagged(names: Sequence[str]) -> tuple[str, Sequence[Any]]:
    sql, given = _one_of("tag", [name.lower() for name in names])
    return f"id IN (SELECT id FROM record_tag WHERE {sql})", given


def _holding(phrases: Sequence[str]) -> tuple[str, Sequence[Any]]:
    """Whose words hold every content word of any of these phrases."""
    expressions = [f"({expression})" for phrase in phrases if (expression := match_expression(phrase, every=True))]
    expression = " OR ".join(expressions)
    sql = "id IN (SELECT rowid FROM record_words WHERE record_words MATCH ?)"
    return sql, (expression,) if expression else ()
