"""Stamps as people read them, and round steps for axes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

S = 1_000_000_000
_CALENDAR_FROM_NS = 978_307_200 * S  # 2001-01-01 as Unix time, as in `embodmem.ask`
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CLOCK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Times:
    """How the stamps of one memory are told: stamps after 2001 as dates (UTC), others as seconds since the first.

    Attributes:
        first_ns: The first stamp of the memory, ns.
        last_ns: The last one, ns.
    """

    first_ns: int
    last_ns: int

    @property
    def is_calendar(self) -> bool:
        """Whether stamps look like Unix time."""
        return self.first_ns >= _CALENDAR_FROM_NS

    def tell(self, stamp_ns: int) -> str:
        """A moment for people: "2024-05-02 10:15:03" or "12.3 s"."""
        if self.is_calendar:
            return f"{self._date(stamp_ns):%Y-%m-%d %H:%M:%S}"
        return f"{(stamp_ns - self.first_ns) / S:.1f} s"

    def machine(self, stamp_ns: int) -> str:
        """The same for the attribute `datetime` of HTML: ISO date, or ISO duration since the first stamp."""
        if self.is_calendar:
            return f"{self._date(stamp_ns):%Y-%m-%dT%H:%M:%S}Z"
        return f"PT{max(stamp_ns - self.first_ns, 0) / S:.3f}S"

    def length(self, ns: int) -> str:
        """A duration for people: "33.2 s", "1 h 05 min", "3 d 4 h"."""
        seconds = ns / S
        if seconds < 120:
            return f"{seconds:.1f} s"
        minutes = round(seconds / 60)
        if minutes < 120:
            return f"{minutes} min"
        hours, minutes = divmod(minutes, 60)
        if hours < 48:
            return f"{hours} h {minutes:02d} min"
        return f"{hours // 24} d {hours % 24} h"

    def ticks(self, count: int = 7) -> list[tuple[int, str]]:
        """About `count` round moments (ns) of the memory's time with their words."""
        span = max(self.last_ns - self.first_ns, 1) / S
        if not self.is_calendar:
            step = nice_step(span, count)
            digits = max(0, -int(np.floor(np.log10(step))))
            moments = np.arange(0.0, span + step * 1e-6, step)
            return [(self.first_ns + round(t * S), f"{t:.{digits}f} s") for t in moments.tolist()]
        step = next((s for s in _CLOCK_STEPS if span / s <= count), _DAY * max(1, round(nice_step(span / _DAY, count))))
        begin = -(-self.first_ns // (round(step) * S)) * round(step)
        form = "%Y-%m-%d" if step >= _DAY else "%m-%d %H:%M" if span > _DAY else "%H:%M" if step >= 60 else "%H:%M:%S"
        found = range(begin, self.last_ns // S + 1, round(step))
        return [(t * S, f"{self._date(t * S):{form}}") for t in found]

    def fraction(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,) stamps to 0 (first) .. 1 (last)."""
        span = max(self.last_ns - self.first_ns, 1)
        return np.clip((stamps_ns - self.first_ns) / span, 0.0, 1.0)

    @staticmethod
    def _date(stamp_ns: int) -> datetime:
        return _EPOCH + timedelta(seconds=stamp_ns // S)


def nice_step(span: float, count: int) -> float:
    """The round number (1, 2 or 5 times a power of ten) that divides a span into at most `count` parts."""
    raw = span / count
    power = 10.0 ** np.floor(np.log10(raw))
    return float(next((m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * 0.999), 10.0 * power))
