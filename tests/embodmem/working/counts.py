"""Ways to count tokens that never give less for a longer text, and what is compared of items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from embodmem.types import Recall

Count = Callable[[str], int]


def monotone(per_byte: int, per_word: int, per_line: int, step: int, start: int) -> Count:
    def count(text: str) -> int:
        given = per_byte * len(text.encode()) + per_word * len(text.split()) + per_line * text.count("\n")
        return start + given // step * step

    return count


counts = st.builds(
    monotone, st.integers(0, 2), st.integers(0, 3), st.integers(0, 3), st.integers(1, 7), st.integers(0, 2)
)
words = st.lists(st.sampled_from(["mug", "cup", "naïve", "☕", "longerword", "a"]), min_size=1, max_size=6).map(
    " ".join
)


def seen(items: list[Recall]) -> list[tuple[Any, ...]]:
    """All that an item says."""
    return [(i.id, i.kind, i.text, i.label, i.first_seen_ns, i.last_seen_ns, i.evidence, dict(i.data)) for i in items]
