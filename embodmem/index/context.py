"""What stands around a record in time: its neighbours, and the stretch of events that it is part of.

A neighbour adds part of its score (the contiguity of EM-LLM, Fountas et al., ICLR 2025), and the words of
the whole stretch add theirs (HCAM, Lampinen et al., NeurIPS 2021: the chunk first, then within it).
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodmem.index.mirror import Mirror


class Stretches:
    """Events of a pool in order of time, in stretches without a long gap.

    Args:
        order: (E,) positions in the pool of those that take part, by time.
        stretch: (E,) number of each one's stretch, ascending.
        next_to: (E - 1,) whether one and the next are neighbours.
    """

    def __init__(self, order: NDArray[np.int64], stretch: NDArray[np.int64], next_to: NDArray[np.bool_]) -> None:
        self.order = order
        self.stretch = stretch
        self.next_to = next_to

    def spread(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P, N) sum of both neighbours' scores, 0 where there is none."""
        around = np.zeros_like(scores)
        before, after = self.order[:-1][self.next_to], self.order[1:][self.next_to]
        around[:, after] += scores[:, before]
        around[:, before] += scores[:, after]
        return around


@dataclass(frozen=True, slots=True)
class Times:
    """When records happened.

    Attributes:
        is_event: (N,) whether it is an event.
        first: (N,) when it began, ns; of what is no event, anything.
        last: (N,) when it ended, ns.
    """

    is_event: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, db: sqlite3.Connection, ids: NDArray[np.int64], mirror: Mirror) -> Times:
        """Of the records `ids` (N,), ascending."""
        with mirror.at(db) as rows:
            if rows is not None:
                events = np.array([*(group[0] == "event" for group in rows.groups), False])
                at = rows.find(ids)
                is_event = events[rows.column("group")[at]] & (at >= 0)
                return cls(is_event, rows.column("first")[at], rows.column("last")[at])
        sql = (
            "SELECT id, first_ns, last_ns FROM record WHERE +kind = 'event' "
            "AND id IN (SELECT value FROM json_each(?)) ORDER BY id"
        )
        read = np.array(db.execute(sql, (json.dumps(ids.tolist()),)).fetchall(), dtype=np.int64).reshape(-1, 3)
        at = np.searchsorted(ids, read[:, 0])
        made = cls(np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64))
        made.is_event[at], made.first[at], made.last[at] = True, read[:, 1], read[:, 2]
        return made

    def part(self, at: NDArray[np.int64]) -> Times:
        """Those of some."""
        return Times(self.is_event[at], self.first[at], self.last[at])


def stretches(times: Times, gap_ns: int) -> Stretches:
    """The events among records, by time."""
    at = np.flatnonzero(times.is_event)
    if not len(at):
        return Stretches(at, at, np.empty(0, np.bool_))
    first, last = times.first[at], times.last[at]
    order = np.lexsort((at, first))
    at, first, last = at[order], first[order], last[order]
    # Later than anything before it ended, by more than the gap.
    ended = np.maximum.accumulate(last)
    joined = first[1:] - ended[:-1] <= gap_ns
    return Stretches(at, np.concatenate([[0], np.cumsum(~joined)]).astype(np.int64), joined)
