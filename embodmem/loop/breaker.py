"""The loop breaker: notices that a planner goes in circles.

RoboMemory (Lei et al., 2025) names infinite loops as a failure of closed-loop planners. Two signs are looked for, both
over digests of states: the same step in the same state more often than allowed, and a sequence of (state, step) that
repeats itself with a period.
"""

from __future__ import annotations

from collections import Counter

from embodmem.errors import ConfigError


class Breaker:
    """Counts what was done in which state.

    Args:
        max_repeats: How often one step may be done in one state.
        max_period: Longest cycle looked for, steps.
        rounds: How often a cycle must have gone round before its next step is refused.
        patience: How many steps in a row may bring nothing new before nothing more is hoped for.

    Raises:
        ConfigError: A number is below 1, or `rounds` below 2.
    """

    def __init__(self, max_repeats: int = 2, max_period: int = 6, rounds: int = 2, patience: int = 8) -> None:
        if max_repeats < 1 or max_period < 1 or rounds < 2 or patience < 1:
            raise ConfigError(
                f"breaker: wanted max_repeats, max_period and patience of 1 or more and rounds of 2 or more, got "
                f"{max_repeats}, {max_period}, {patience}, {rounds}"
            )
        self._patience, self._idle = patience, 0
        self._reached: set[str] = set()
        self._max_repeats, self._max_period, self._rounds = max_repeats, max_period, rounds
        self._count: Counter[tuple[str, str]] = Counter()
        self._history: list[tuple[str, str]] = []

    def note(self, key: str, step: str) -> None:
        """A step was done in the state of this digest."""
        self._count[key, step] += 1
        self._history.append((key, step))

    def stalled(self, progress: str) -> str:
        """Why to give up, after a step: nothing that bears on the task is new; "" where something is, or was lately.

        Args:
            progress: Digest of what bears on the task, after the step.
        """
        self._idle = self._idle + 1 if progress in self._reached else 0
        self._reached.add(progress)
        return f"nothing that bears on the task was new in {self._idle} steps" if self._idle >= self._patience else ""

    def check(self, key: str, step: str) -> str:
        """Why this step in this state would go in circles; "" where it would not."""
        count = self._count[key, step]
        if count >= self._max_repeats:
            return f"it was done {count} times in this state and changed nothing"
        history = [*self._history, (key, step)]
        for period in range(2, self._max_period + 1):
            length = period * self._rounds + 1
            tail = history[-length:]
            if len(tail) == length and all(tail[i] == tail[i + period] for i in range(length - period)):
                cycle = " -> ".join(name for _, name in tail[:period])
                return f"it would go round in a circle again: {cycle}"
        return ""
