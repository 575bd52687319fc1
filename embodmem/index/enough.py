"""Whether answers are enough, and what to ask next where they are not.

MEMO (variable hops), HyMem and D-Mem go on only when the first, cheap answer does not do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from embodmem.index.hydrate import among
from embodmem.index.links import bearers, names_in
from embodmem.index.search import Ranked

FIRST = 3
"""Answers, of each memory, that count as the first ones."""

MOST_NAMES = 4
"""Names of the first answers that a hop asks for; those that the fewest records bear."""


def missing(answers: Mapping[str, Ranked]) -> list[str]:
    """Words of the question that some record holds, but none of the first answers."""
    asked = dict.fromkeys(word for found in answers.values() for word in found.asked)
    held = {word for found in answers.values() for word in found.held}
    return [word for word in asked if word not in held]


def is_enough(answers: Mapping[str, Ranked], margin: float) -> bool:
    """Whether the first answers hold every word of the question and one memory's first is clearly ahead."""
    ahead = any(found.lead >= margin for found in answers.values() if found.ids)
    return ahead and not missing(answers)


def support(answers: Mapping[str, Ranked]) -> float:
    """0..1: the most that any answer has for it, the cosine or the part of the question's words that it holds."""
    # A cosine may be below 0, which is nothing.
    return max((0.0, *(found.support() for found in answers.values())))


def next_question(db: sqlite3.Connection, text: str, first: Sequence[int], left: Sequence[str]) -> str:
    """What the first answers name and the question does not, with the words that are left; "" where that is nothing.

    Args:
        db: From `Store.read`.
        text: The question so far.
        first: Row ids of the first answers.
        left: Words that nothing answers yet.
    """
    if not first:
        return ""
    given, values = among(first)
    sql = f"SELECT DISTINCT tag FROM record_tag WHERE id {given} AND tag NOT GLOB '*:[0-9]*' ORDER BY tag"
    known = {*names_in(text), *text.lower().split()}
    names = [row[0] for row in db.execute(sql, values) if row[0] not in known]
    holders = bearers(db, names)
    rarest = sorted(names, key=lambda name: (len(holders[name]), name))[:MOST_NAMES]
    return " ".join([*rarest, *left]) if rarest else ""
