"""How much fits, and what goes first.

What is worth least goes first: worth(i) = s_i * 2^(-age_i / h), salience times recency with half life h, compared as
log2(s_i) - age_i / h, which does not underflow. Sinks (the first items) and pins stay beside the window of the newest:
JanusVLN (Zeng et al., 2025) keeps the initial and a sliding window of its cache, and nothing between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from operator import attrgetter

from embodmem.config_agent import WorkingConfig

Count = Callable[[str], int]


def count_tokens(text: str) -> int:
    """About how many tokens a language model takes for a text: one for every four bytes, rounded up."""
    return math.ceil(len(text.encode()) / 4)


@dataclass(slots=True, eq=False)
class Held:
    """What is needed of an item in the context to decide what goes.

    Attributes:
        number: Its row id.
        stamp_ns: When it was noted, ns.
        text: Its line.
        pinned: Whether it is pinned.
        salience: How much it matters, > 0.
        tags: Labels it is about.
    """

    number: int
    stamp_ns: int
    text: str
    pinned: bool
    salience: float
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the context takes: items, bytes of UTF-8 and tokens of its lines joined by newlines."""

    items: int
    bytes: int
    tokens: int


_AGE = attrgetter("stamp_ns", "number")


def joined(texts: Iterable[str]) -> str:
    """The lines as one text."""
    return "\n".join(texts)


def in_order(items: Iterable[Held]) -> list[Held]:
    """Items as they are rendered: oldest first."""
    return sorted(items, key=_AGE)


def usage(items: Iterable[Held], count: Count) -> Usage:
    """What items take."""
    return _taken([item.text for item in in_order(items)], count)


def _taken(texts: list[str], count: Count) -> Usage:
    text = joined(texts)
    return Usage(len(texts), len(text.encode()), count(text) if texts else 0)


def surplus(
    items: Collection[Held], config: WorkingConfig, count: Count, sinks: Collection[int], kept: Collection[int]
) -> list[Held]:
    """The items that have to go, the first to go first.

    Args:
        items: All items of the context.
        config: The bounds.
        count: Counts tokens.
        sinks: Row ids of the first items, that go after all others but pins.
        kept: Row ids of what was just put in: goes last of all, when it does not fit by itself.
    """

    def fits(left: list[Held]) -> bool:
        if len(left) > config.max_items:
            return False  # before anything is counted
        taken = _taken([item.text for item in left], count)
        return taken.bytes <= config.max_bytes and taken.tokens <= config.max_tokens

    left = in_order(items)
    if fits(left):
        return []
    newest = left[-1].stamp_ns

    def worth(item: Held) -> tuple[int, float, int, int]:
        stays = 3 if item.number in kept else 2 if item.pinned else 1 if item.number in sinks else 0
        age_s = (newest - item.stamp_ns) / 1e9
        return stays, math.log2(item.salience) - age_s / config.half_life_s, item.stamp_ns, item.number

    by_worth, gone = sorted(left, key=worth, reverse=True), []
    while left and not fits(left):
        gone.append(by_worth.pop())
        left.remove(gone[-1])
    return gone
