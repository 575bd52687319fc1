"""What stands around a record in time: its neighbours, and the stretch of events that it is part of.

A neighbour adds part of its score (the contiguity of EM-LLM, Fountas et al., ICLR 2025), and the words of
the whole stretch add theirs (HCAM, Lampinen et al., NeurIPS 2021: the chunk first, then within it).
"""

from __future__ import annotations

import json
import sqlite3

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


def stretches(db: sqlite3.Connection, ids: NDArray[np.int64], gap_ns: int, mirror: Mirror) -> Stretches:
    """The events among the records `ids` (N,), ascending, by time."""
    at, first, last = _events(db, ids, mirror)
    order = np.lexsort((at, first))
    at, first, last = at[order], first[order], last[order]
    # Later than anything before it ended, by more than the gap.
    ended = np.maximum.accumulate(last)
    joined = first[1:] - ended[:-1] <= gap_ns
    stretch = np.concatenate([[0], np.cumsum(~joined)]) if len(at) else np.empty(0, np.int64)
    return Stretches(at, stretch.astype(np.int64), joined)


def _events(
    db: sqlite3.Connection, ids: NDArray[np.int64], mirror: Mirror
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Positions (E,) of those that are events, when they began and ended, ns."""
    with mirror.at(db) as rows:
        if rows is not None:
            is_event = np.array([*(group[0] == "event" for group in rows.groups), False])
            found = rows.find(ids)
            place = np.flatnonzero(is_event[rows.column("group")[found]] & (found >= 0))
            return place, rows.column("first")[found[place]], rows.column("last")[found[place]]
    sql = (
        "SELECT id, first_ns, last_ns FROM record WHERE +kind = 'event' "
        "AND id IN (SELECT value FROM json_each(?)) ORDER BY id"
    )
    read = np.array(db.execute(sql, (json.dumps(ids.tolist()),)).fetchall(), dtype=np.int64).reshape(-1, 3)
    return np.searchsorted(ids, read[:, 0]), read[:, 1], read[:, 2]
