"""What repeats itself: hours of the day on which something is so, day after day, more often than by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodmem.config import RoutineConfig

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
CLASSES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("every day", tuple(range(7))),
    ("weekdays", tuple(range(5))),
    ("weekends", (5, 6)),
    *((name, (day,)) for day, name in enumerate(WEEKDAYS)),
)
"""Groups of days of the week, Monday = 0, the wider ones first."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Something that is so in certain hours of certain days.

    Attributes:
        days: "every day", "weekdays", "weekends", "Mondays", ...
        from_hour: Since which hour of the local day, 0..23.
        until_hour: Until which, 1..24.
        support: On how many days it was so (in the hour in which it was so least often).
        of: On how many such days it could have been.
        p_value: How probable so many days would be by chance; of its least sure hour, before the correction.
    """

    days: str
    from_hour: int
    until_hour: int
    support: int
    of: int
    p_value: float

    @property
    def confidence(self) -> float:
        """The part of the days on which it was so."""
        return self.support / self.of

    @property
    def text(self) -> str:
        """When, in words: "on weekdays from 8:00 to 12:00"."""
        days = self.days if self.days == "every day" else f"on {self.days}"
        return f"{days} from {self.from_hour}:00 to {self.until_hour}:00"


def hours_held(spans: NDArray[np.int64], begin_ns: int, days: int) -> NDArray[np.bool_]:
    """(days, 24): whether something held for at least half of each hour.

    Args:
        spans: (N, 2) from and until, ns, disjoint and in order.
        begin_ns: Local midnight at which the first day begins, ns of UTC.
        days: How many.
    """
    edges = (begin_ns + HOUR_NS * np.arange(24 * days + 1, dtype=np.int64)).astype(np.float64)
    times = spans.reshape(-1).astype(np.float64)
    # How much of the time before each moment it held: flat between spans, rising within them.
    total = np.concatenate([[0.0], np.cumsum(np.diff(times) * (np.arange(len(times) - 1) % 2 == 0))])
    held: NDArray[np.bool_] = (np.diff(np.interp(edges, times, total)) >= HOUR_NS / 2).reshape(days, 24)
    return held


def hours_hit(stamps: NDArray[np.int64], begin_ns: int, days: int) -> NDArray[np.bool_]:
    """(days, 24): whether something happened in each hour; stamps (N,), ns, outside of these days do not count."""
    hour = (stamps - begin_ns) // HOUR_NS
    hit = np.zeros(24 * days, dtype=np.bool_)
    hit[hour[(hour >= 0) & (hour < len(hit))]] = True
    return hit.reshape(days, 24)


def chance(k: NDArray[np.int64], n: NDArray[np.int64], p: float) -> NDArray[np.float64]:
    """P(X >= k) for X ~ Binomial(n, p), elementwise."""
    if p <= 0.0 or p >= 1.0:
        return np.where((k <= 0) | ((p >= 1.0) & (k <= n)), 1.0, 0.0)
    most = int(n.max(initial=0))
    log_factorial = np.array([math.lgamma(i + 1) for i in range(most + 1)])
    x = np.arange(most + 1)
    rest = np.maximum(n[..., None] - x, 0)
    log_p = log_factorial[n][..., None] - log_factorial[x] - log_factorial[rest]
    log_p = log_p + x * math.log(p) + rest * math.log1p(-p)
    counts = (x >= k[..., None]) & (x <= n[..., None])
    tail: NDArray[np.float64] = np.minimum(np.where(counts, np.exp(log_p), 0.0).sum(axis=-1), 1.0)
    return tail


def holm(p_values: NDArray[np.float64], alpha: float) -> NDArray[np.bool_]:
    """Which of several tests hold together at level `alpha` (Holm, Scandinavian Journal of Statistics 1979)."""
    flat = p_values.reshape(-1)
    order = np.argsort(flat, kind="stable")
    passed = np.logical_and.accumulate(flat[order] <= alpha / (len(flat) - np.arange(len(flat))))
    kept = np.zeros(len(flat), dtype=np.bool_)
    kept[order] = passed
    return kept.reshape(p_values.shape)


def find_patterns(cells: NDArray[np.bool_], first_weekday: int, config: RoutineConfig) -> list[Pattern]:
    """The hours and days on which something is so more often than at any hour of any day.

    A cell (group of days, hour) counts where it was so on `min_days` days and `min_share` of the days, on each day of
    the week of the group at least half as often, and where chance alone (the share of all hours in which it was so)
    would hardly give as many. Of groups that overlap, the widest takes the hour.

    Args:
        cells: (D, 24), whether it was so, for each day and hour.
        first_weekday: Day of the week of the first day, Monday = 0.
        config: The bounds.
    """
    weekday = (first_weekday + np.arange(len(cells))) % 7
    per_day = np.array([cells[weekday == day].sum(axis=0) for day in range(7)])  # (7, 24)
    days = np.bincount(weekday, minlength=7)
    k = np.array([per_day[list(group)].sum(axis=0) for _, group in CLASSES])
    n = np.repeat(np.array([days[list(group)].sum() for _, group in CLASSES])[:, None], 24, axis=1)
    p_values = chance(k, n, float(cells.mean()))
    share = k / np.maximum(n, 1)
    even = np.array(
        [(per_day[list(group)] >= 0.5 * config.min_share * days[list(group), None]).all(axis=0) for _, group in CLASSES]
    )
    good = (k >= config.min_days) & (share >= config.min_share) & even & holm(p_values, config.alpha)
    found, taken = [], np.zeros((7, 24), dtype=np.bool_)
    for row, (name, group) in enumerate(CLASSES):
        hours = good[row] & ~taken[list(group)].any(axis=0)
        taken[list(group)] |= hours
        for begin, end in _runs(hours):
            span = slice(begin, end)
            support = int(k[row, span].min())
            found.append(Pattern(name, begin, end, support, int(n[row, 0]), float(p_values[row, span].max())))
    return found


def _runs(hours: NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    """Begin and end of each run of hours."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hours, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
