"""The order of answers, as far as it depends on who says them (A-MemGuard, Wei et al., 2025, asks for such a check).

Ranking by likeness alone is won by whoever copies the question. Three rules stand against that:

- an echo, a claim that says hardly a word beyond the question, answers nothing: of a trusted source, where it may be
  what somebody looks for word by word, it keeps its rank but is never first; of any other, it comes last;
- what only unproven sources say never comes before the best answer of a trusted one, and they fill no more places than
  they are allowed; the same said by several of them counts as one answer, with the others as its copies;
- what a quorum of independent sources says is as good as proven: sources are counted, never rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from embodmem.config import GuardConfig
from embodmem.index.hydrate import Said
from embodmem.index.words import content_words
from embodmem.types import Recall

_STEM = 5
"""Letters by which two forms of a word are the same here."""

_SHORT = 1000
"""Texts of up to so many letters are taken apart once, while they are among those of the last answers."""


def stems(text: str) -> frozenset[str]:
    """The content words of a text, cut so that forms of a word meet."""
    return _stems_held(text) if len(text) <= _SHORT else _stems(text)


def _stems(text: str) -> frozenset[str]:
    return frozenset(word[:_STEM] for word in content_words(text))


_stems_held = lru_cache(maxsize=4096)(_stems)

drop_held = _stems_held.cache_clear
"""Lets go of the texts whose words are held."""


def is_alike(a: frozenset[str], b: frozenset[str], least: float) -> bool:
    """Whether two texts say the same: the part of their words that they share (Jaccard, 1901) is `least` or more."""
    return bool(a) and len(a & b) >= least * len(a | b)


def is_echo(said: frozenset[str], asked: frozenset[str], config: GuardConfig) -> bool:
    """Whether a claim repeats the question: it is long enough not to do so by chance, and says too little besides."""
    new = config.echo_new * len(said)
    # Of more words than that beyond all of the question's, more than that are new, whichever they are.
    return len(said) >= config.echo_words and len(said) - len(asked) <= new and len(said - asked) <= new


@dataclass(slots=True)
class Place:
    """An answer in the order in which it may be given.

    Attributes:
        at: Where it stood.
        why: Marks of what moved it.
        copies: Where others stood that say the same.
    """

    at: int
    why: dict[str, float] = field(default_factory=dict)
    copies: list[int] = field(default_factory=list)


def said_in(item: Recall) -> Said:
    """What the order of an answer hangs on."""
    return Said(item.kind, str(item.data.get("kind", "")), str(item.data.get("source", "")), item.text)


def guarded(
    items: Sequence[Recall], question: str, config: GuardConfig, is_proven: Callable[[str], bool]
) -> list[Recall]:
    """Answers in the order in which they may be given.

    Args:
        items: Best first.
        question: The words that were asked; "" for none.
        config: The rules.
        is_proven: Whether a source is trusted.

    Returns:
        The same answers, best first, without copies: those are named in `data["copies"]`. `why["guard.echo"]` and
        `why["guard.unproven"]` mark what was moved back.
    """
    order = places([said_in(item) for item in items], question, config, is_proven)
    return placed([items[place.at] for place in order], order, lambda at: items[at].id)


def placed(items: Sequence[Recall], order: Sequence[Place], name: Callable[[int], str]) -> list[Recall]:
    """Answers in their order, with what moved them and a score that is none above the one before it.

    Args:
        items: The first of them, in their order.
        order: Of these and those that follow.
        name: The id of what stood somewhere.
    """
    done: list[Recall] = []
    for item, place in zip(items, order, strict=False):
        changed: dict[str, Any] = {}
        if place.why:
            changed["why"] = {**item.why, **place.why}
        if place.copies:
            changed["data"] = {**item.data, "copies": [name(at) for at in place.copies]}
        if done and item.score > done[-1].score:
            changed["score"] = done[-1].score
        done.append(replace(item, **changed) if changed else item)
    return done


def places(said: Sequence[Said], question: str, config: GuardConfig, is_proven: Callable[[str], bool]) -> list[Place]:
    """As `guarded`, of what the order hangs on alone."""
    asked = stems(question)
    proven = {source: is_proven(source) for source in {one.source for one in said}}
    claims = [at for at, one in enumerate(said) if one.kind == "event" and one.subkind in config.claims]
    echoes = {at for at in claims if is_echo(stems(said[at].text), asked, config)} if asked else set()
    if all(proven.values()) and not echoes:
        return [Place(at) for at in range(len(said))]
    groups: dict[tuple[bool, bool], list[Place]] = {}
    for at, one in enumerate(said):
        group = groups.setdefault((proven[one.source], at in echoes), [])
        group.append(Place(at, {"guard.echo": 1.0} if at in echoes else {}))
    kept = [_vouched(group, said, config) for group in _groups(groups.get((False, False), ()), said, config)]
    others = [place for place in kept if not _is_vouched(place)]
    trusted = [*groups.get((True, False), ()), *(place for place in kept if _is_vouched(place))]
    trusted.sort(key=_rank)
    repeated, more = _capped(groups.get((True, True), ()), said, config.max_per_source)
    if trusted or repeated:  # where nobody is proven, all may answer
        others, _ = _capped(others, said, config.max_per_source)
    first = trusted[:1] or repeated[:1]
    rest = [place for place in (*trusted, *repeated, *others) if place is not first[0]] if first else others
    return [*first, *sorted(rest, key=_rank), *more, *groups.get((False, True), ())]


def _rank(place: Place) -> int:
    return place.at


def _is_vouched(place: Place) -> bool:
    return "guard.quorum" in place.why


def _groups(among: Iterable[Place], said: Sequence[Said], config: GuardConfig) -> list[list[Place]]:
    """Answers that say the same, together; in order of the best of each."""
    groups: list[tuple[frozenset[str], list[Place]]] = []
    for place in among:
        words = stems(said[place.at].text)
        same = next((group for first, group in groups if is_alike(words, first, config.alike)), None)
        if same is None:
            groups.append((words, [place]))
        else:
            same.append(place)
    return [group for _, group in groups]


def _vouched(group: list[Place], said: Sequence[Said], config: GuardConfig) -> Place:
    """One answer for all that say the same, and whether enough independent sources do."""
    first, *copies = group
    sources = {said[place.at].source for place in group}
    first.copies = [place.at for place in copies]
    first.why = {"guard.quorum": float(len(sources))} if len(sources) >= config.quorum else {"guard.unproven": 1.0}
    return first


def _capped(among: Iterable[Place], said: Sequence[Said], most: int) -> tuple[list[Place], list[Place]]:
    """At most so many of each source, and what is over."""
    count: dict[str, int] = {}
    kept, over = list[Place](), list[Place]()
    for place in among:
        source = said[place.at].source
        count[source] = count.get(source, 0) + 1
        (kept if count[source] <= most else over).append(place)
    return kept, over
