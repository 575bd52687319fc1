"""Typed reads of what happened: first, last, before, after, how often, how long, and whether one was here before."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.checks import check_point, check_stamp
from embodmem.episodic.summaries import HAPPENED, Summaries
from embodmem.errors import InvalidInput
from embodmem.index import RecordMemory
from embodmem.query import Query
from embodmem.types import Recall

_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Visit:
    """A stay at a place.

    Attributes:
        from_ns: Stamp of its first record, ns.
        until_ns: Stamp of its last one, ns.
        ids: Its keyframes and events, by time.
    """

    from_ns: int
    until_ns: int
    ids: tuple[str, ...]


class EpisodicReads(RecordMemory):
    """Reads that give one answer; all filters of the query apply, its text and embedding play no part."""

    summaries: Summaries

    def first(self, query: Query) -> Recall | None:
        """The earliest keyframe or event that passes; None when there is none."""
        return next(iter(self._in_order(query, newest_first=False, limit=1)), None)

    def last(self, query: Query) -> Recall | None:
        """The latest one."""
        return next(iter(self._in_order(query, newest_first=True, limit=1)), None)

    def before(self, stamp_ns: int, query: Query | None = None, k: int = 1) -> list[Recall]:
        """The k that had ended last when `stamp_ns` came, latest first."""
        check_stamp(stamp_ns)
        found = self._in_order(_within(query, None, stamp_ns - 1), newest_first=True, limit=_ALL)
        return [item for item in found if item.last_seen_ns < stamp_ns][:k]

    def after(self, stamp_ns: int, query: Query | None = None, k: int = 1) -> list[Recall]:
        """The k that began first after `stamp_ns`, earliest first."""
        check_stamp(stamp_ns)
        found = self._in_order(_within(query, stamp_ns + 1, None), newest_first=False, limit=_ALL)
        return [item for item in found if item.first_seen_ns > stamp_ns][:k]

    def how_often(self, query: Query) -> int:
        """How many times something that passes happened; an event that stands for several counts as these."""
        return sum(int(item.data.get("count", 1)) for item in self._in_order(query, newest_first=False, limit=_ALL))

    def how_long_s(self, query: Query) -> float:
        """For how long something that passes went on, seconds; what went on at once counts once."""
        spans = [(i.first_seen_ns, i.last_seen_ns) for i in self._in_order(query, newest_first=False, limit=_ALL)]
        total, end = 0, -1
        for begin, until in spans:  # by their beginnings
            total += max(0, until - max(begin, end))
            end = max(end, until)
        return total * 1e-9

    def been_here(
        self, position: ArrayLike, radius_m: float, *, agent: str | None = None, pause_s: float = 60.0
    ) -> list[Visit]:
        """When a place was visited, as far as keyframes and events with a pose tell, earliest first.

        Args:
            position: (3,) metres in the world.
            radius_m: What counts as here, metres.
            agent: Whose visits; None: anybody's.
            pause_s: A longer time without a record here is between two visits, seconds.

        Raises:
            InvalidInput: The point or the radius is none.
        """
        near: NDArray[np.float64] = check_point(position, "been_here: position")
        if not radius_m > 0:
            raise InvalidInput(f"been_here: wanted a radius above 0 m, got {radius_m}")
        items = self._in_order(Query(near=near, radius_m=radius_m, agent=agent), newest_first=False, limit=_ALL)
        visits: list[Visit] = []
        for item in items:
            if visits and item.first_seen_ns - visits[-1].until_ns <= pause_s * 1e9:
                last = visits[-1]
                visits[-1] = Visit(last.from_ns, max(last.until_ns, item.last_seen_ns), (*last.ids, item.id))
            else:
                visits.append(Visit(item.first_seen_ns, item.last_seen_ns, (item.id,)))
        return visits

    def _in_order(self, query: Query | None, *, newest_first: bool, limit: int) -> list[Recall]:
        if query is None:
            return []
        return self.records.in_order(query, self.looked_at(query), newest_first=newest_first, limit=limit)

    def looked_at(self, query: Query) -> tuple[str, ...]:
        """What a query looks among: summaries are only there for who asks for that kind."""
        asked = any(kind == "summary" or kind in self.summaries.names for kind in query.kinds)
        return self.kinds if asked else HAPPENED


def _within(query: Query | None, begin: int | None, end: int | None) -> Query | None:
    """A query narrowed to a span of time; None where that leaves none of its own."""
    first, last = (query.between_ns if query is not None else None) or (None, None)
    begin = begin if first is None else first if begin is None else max(begin, first)
    end = end if last is None else last if end is None else min(end, last)
    if begin is not None and end is not None and end < begin:
        return None
    return replace(query or Query(), between_ns=(begin, end))
