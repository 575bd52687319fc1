"""What stands for a subgoal that is over: by rule, what was tried, what changed, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from embodmem.types import Recall

Summariser = Callable[[str, Sequence[Recall], str], str]
"""(subgoal, its items oldest first, outcome) -> one text: a language model may be passed for the rule."""


def summarise(goal: str, items: Sequence[Recall], outcome: str, most: int) -> str:
    """The subgoal, its outcome, its actions, and what was observed first and last.

    Args:
        goal: The subgoal.
        items: Its items, oldest first.
        outcome: What came of it.
        most: Actions that are named, the first and the last ones; the rest is counted.
    """
    tried = [item.text for item in items if item.data.get("role") == "action"]
    seen = [item.text for item in items if item.data.get("role") != "action"]
    if len(tried) > most:
        head, tail = (most + 1) // 2, most // 2
        left_out = f"({len(tried) - head - tail} more)"
        tried = [*tried[:head], left_out, *(tried[len(tried) - tail :] if tail else [])]
    parts = [f"{goal}: {outcome}" if outcome else goal]
    if tried:
        parts.append(f"tried: {', '.join(tried)}")
    if seen and seen[0] != seen[-1]:
        parts.append(f"at first: {seen[0]}; at last: {seen[-1]}")
    elif seen:
        parts.append(f"saw: {seen[0]}")
    return "; ".join(parts)
