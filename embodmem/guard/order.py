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
from dataclasses import replace
from functools import lru_cache

from embodmem.config import GuardConfig
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


def is_alike(a: frozenset[str], b: frozenset[str], least: float) -> bool:
    """Whether two texts say the same: the part of their words that they share (Jaccard, 1901) is `least` or more."""
    return bool(a) and len(a & b) >= least * len(a | b)


def is_echo(said: frozenset[str], asked: frozenset[str], config: GuardConfig) -> bool:
    """Whether a claim repeats the question: it is long enough not to do so by chance, and says too little besides."""
    return len(said) >= config.echo_words and len(said - asked) <= config.echo_new * len(said)


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
    asked, said = stems(question), {item.id: stems(item.text) for item in items if _is_claim(item, config)}
    groups: dict[tuple[bool, bool], list[Recall]] = {}
    for item in items:
        echo = bool(asked) and item.id in said and is_echo(said[item.id], asked, config)
        group = groups.setdefault((is_proven(_source(item)), echo), [])
        group.append(_marked(item, "guard.echo") if echo else item)
    by_rank = {item.id: rank for rank, item in enumerate(items)}
    kept = [item for group in _groups(groups.get((False, False), ()), config) for item in _vouched(group, config)]
    others = [item for item in kept if not _is_vouched(item)]
    trusted = [*groups.get((True, False), ()), *(item for item in kept if _is_vouched(item))]
    trusted.sort(key=lambda item: by_rank[item.id])
    repeated, more = _capped(groups.get((True, True), ()), config.max_per_source)
    if trusted or repeated:  # where nobody is proven, all may answer
        others, _ = _capped(others, config.max_per_source)
    first = trusted[:1] or repeated[:1]
    rest = [item for item in (*trusted, *repeated, *others) if item is not first[0]] if first else others
    return _falling([*first, *sorted(rest, key=lambda i: by_rank[i.id]), *more, *groups.get((False, True), ())])


def _source(item: Recall) -> str:
    return str(item.data.get("source", ""))


def _is_claim(item: Recall, config: GuardConfig) -> bool:
    return item.kind == "event" and item.data.get("kind") in config.claims


def _marked(item: Recall, reason: str) -> Recall:
    return replace(item, why={**item.why, reason: 1.0})


def _is_vouched(item: Recall) -> bool:
    return "guard.quorum" in item.why


def _groups(items: Iterable[Recall], config: GuardConfig) -> list[list[Recall]]:
    """Answers that say the same, together; in order of the best of each."""
    groups: list[tuple[frozenset[str], list[Recall]]] = []
    for item in items:
        words = stems(item.text)
        same = next((group for first, group in groups if is_alike(words, first, config.alike)), None)
        if same is None:
            groups.append((words, [item]))
        else:
            same.append(item)
    return [group for _, group in groups]


def _vouched(group: list[Recall], config: GuardConfig) -> list[Recall]:
    """One answer for all that say the same, and whether enough independent sources do."""
    first, *copies = group
    sources = {_source(item) for item in group}
    if copies:
        first = replace(first, data={**first.data, "copies": [item.id for item in copies]})
    if len(sources) >= config.quorum:
        return [replace(first, why={**first.why, "guard.quorum": float(len(sources))})]
    return [_marked(first, "guard.unproven")]


def _capped(items: Iterable[Recall], most: int) -> tuple[list[Recall], list[Recall]]:
    """At most so many of each source, and what is over."""
    count: dict[str, int] = {}
    kept, over = list[Recall](), list[Recall]()
    for item in items:
        count[_source(item)] = count.get(_source(item), 0) + 1
        (kept if count[_source(item)] <= most else over).append(item)
    return kept, over


def _falling(items: list[Recall]) -> list[Recall]:
    """Scores that say the order: none above the one before it."""
    done: list[Recall] = []
    for item in items:
        score = min(item.score, done[-1].score) if done else item.score
        done.append(item if score == item.score else replace(item, score=score))
    return done
