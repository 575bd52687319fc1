"""The context as text within a budget."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from embodmem.index.filters import row_id
from embodmem.types import Recall
from embodmem.working.bounds import Count, joined


def render(items: Sequence[Recall], path: Sequence[str], sinks: Collection[int], budget: int, count: Count) -> str:
    """Lines that fit: pins first, then sinks, the path, and the newest; each whole or not at all.

    Args:
        items: The context, oldest first.
        path: Lines of the path to the active task; they stand before the items.
        sinks: Row ids of the first items.
        budget: What `count` may give for the whole text.
        count: Counts the tokens of a text.
    """
    lines = [*path, *(item.text for item in items)]

    def turn(i: int) -> tuple[int, int]:
        if i < len(path):
            return 2, i
        item = items[i - len(path)]
        return (0 if item.data["pinned"] else 1 if row_id(item.id) in sinks else 3), -i

    taken: list[int] = []
    text = ""
    for i in sorted(range(len(lines)), key=turn):
        longer = joined(lines[j] for j in sorted([*taken, i]))
        if count(longer) <= budget:
            taken.append(i)
            text = longer
    return text
