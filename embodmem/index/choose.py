"""Which of the best answers are given, when they should not all say the same."""

from __future__ import annotations

from collections.abc import Sequence

from embodmem.index.words import content_words
from embodmem.query import Query
from embodmem.types import Recall

_IN_TIME = ("event", "keyframe", "experience", "item")
DEPTH = 50
"""Of how many answers, at least, those that are given are chosen."""


def depth(query: Query, k: int) -> int:
    """How many answers to rank so that `spread` can choose k."""
    return max(4 * k, DEPTH) if query.min_gap_s or query.diversity else k


def spread(items: Sequence[Recall], query: Query, k: int) -> list[Recall]:
    """The k best with `min_gap_s` between them and as diverse as the query wants, best first.

    Each next answer is the one of the largest (1 - diversity) * relevance - diversity * likeness to an answer that is
    given already (Carbonell and Goldstein, SIGIR 1998, eq. 1): relevance is the score beside the best one's, likeness
    the part of the words that two texts share. What happens in time is left out nearer than `min_gap_s` to an answer.
    """
    left = list(items)
    if query.min_gap_s or query.diversity:
        most = max((item.score for item in left), default=0.0) or 1.0
        words = {item.id: frozenset(content_words(item.text)) for item in left}
        gap_ns, chosen = int(query.min_gap_s * 1e9), list[Recall]()

        def worth(item: Recall) -> float:
            alike = max((_alike(words[item.id], words[other.id]) for other in chosen), default=0.0)
            return (1.0 - query.diversity) * item.score / most - query.diversity * alike

        while left and len(chosen) < k:
            best = max(left, key=worth)
            chosen.append(best)
            left = [item for item in left if item is not best and _gap_ns(item, best) >= gap_ns]
        return chosen
    return left[:k]


def _alike(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / max(1, len(a | b))


def _gap_ns(a: Recall, b: Recall) -> int:
    """Time between two answers, ns; what has no time of its own is never too near."""
    if a.kind not in _IN_TIME or b.kind not in _IN_TIME:
        return 2**63
    return max(0, a.first_seen_ns - b.last_seen_ns, b.first_seen_ns - a.last_seen_ns)
