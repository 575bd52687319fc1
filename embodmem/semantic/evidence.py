"""When a statement held, from all that was claimed for it and against it.

Every open claim is a mark on the time axis: what it says goes on until the next mark. A closed claim speaks for its
own time only. The belief does not depend on the order in which claims arrive, but for those that contradict each other
at the same moments: there the one told last wins, or the one of more weight.

At a moment, of all claims for and against a statement that reach it, the first in this order decides:
    1. more weight (all weigh the same where the relation keeps the newest),
    2. closed before open (what was said of that very time, before what goes on from an earlier one),
    3. of open ones the one that begins later,
    4. the one told later.
A claim is left out where an opposite open one, told later and not of less weight, was vouched for when it began; and a
closed claim ends where such a one begins in the midst of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.semantic.facts import FOREVER, Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One claim as it is kept.

    Attributes:
        id: Its row; 0 for one that is not kept (yet).
        told: Its place in the order of telling.
        relation: The relation.
        object: The object; "" of an ending of whatever there was.
        holds: Whether it says that it held; else that it ended.
        is_open: Whether that goes on.
        from_ns: When it begins, ns.
        last_ns: The last moment that it speaks of itself, ns.
        weight: What it counts against others.
        confidence: 0..1.
        source: Who says so.
        content: Place, names, text, position and evidence, as JSON.
        row: The fact that it stands for, where it is taken from what is believed.
    """

    id: int
    told: int
    relation: str
    object: str
    holds: bool
    is_open: bool
    from_ns: int
    last_ns: int
    weight: float = 1.0
    confidence: float = 1.0
    source: str = ""
    content: str = "{}"
    row: Fact | None = None

    @property
    def data(self) -> dict[str, Any]:
        """Place, names, text, position and evidence, where there are any."""
        found: dict[str, Any] = json.loads(self.content)
        return found

    @property
    def place(self) -> str:
        """Where that is."""
        return str(self.data.get("place", "")) if self.row is None else self.row.place


@dataclass(frozen=True, slots=True)
class Piece:
    """A time in which a statement held, and the claim that says so; until None: still."""

    from_ns: int
    until_ns: int | None
    carrier: Evidence


class Columns:
    """Evidence as arrays (N,).

    Args:
        claims: N of them, all of one subject.
    """

    def __init__(self, claims: Sequence[Evidence]) -> None:
        self.claims = claims
        times = np.array([(c.from_ns, c.last_ns, c.told) for c in claims], dtype=np.int64).reshape(-1, 3)
        self.begin, self.last, self.told = times.T
        self.weight = np.array([c.weight for c in claims], dtype=np.float64)
        self.is_open = np.array([c.is_open for c in claims], dtype=np.bool_)

    def of(self, chosen: NDArray[np.int64]) -> Columns:
        """Those of these rows."""
        part = object.__new__(Columns)
        part.claims = [self.claims[i] for i in chosen.tolist()]
        part.begin, part.last, part.told = self.begin[chosen], self.last[chosen], self.told[chosen]
        part.weight, part.is_open = self.weight[chosen], self.is_open[chosen]
        return part

    def against(self, sign: NDArray[np.int8]) -> NDArray[np.bool_]:
        """(N, N): whether claim i, being open, opposite, told later and not of less weight, may override claim j."""
        told = self.told[:, None] > self.told[None, :]
        opposite = sign[:, None] != sign[None, :]
        heavy = self.weight[:, None] >= self.weight[None, :]
        may: NDArray[np.bool_] = self.is_open[:, None] & opposite & told & heavy
        return may

    def rank(self) -> NDArray[np.int64]:
        """(N,): the place of each in the order that decides; the highest wins."""
        begin = np.where(self.is_open, self.begin, 0)
        order = np.lexsort((self.told, begin, ~self.is_open, self.weight))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return rank


def when_held(every: Columns, side: NDArray[np.int8], since_ns: int) -> list[Piece]:
    """The times in which a statement held, from `since_ns` on.

    Args:
        every: N claims.
        side: (N,) 1 for those that speak for it, -1 against it, 0 of something else.
        since_ns: What was before is not looked at, ns.

    Returns:
        Pieces in order; neighbours that touch have different carriers.
    """
    chosen = np.flatnonzero(side)
    if not len(chosen):
        return []
    rows, sign = every.of(chosen), side[chosen]
    against = rows.against(sign)
    begin_i, begin_j, last = rows.begin[:, None], rows.begin[None, :], rows.last
    gone = (against & (begin_i <= begin_j) & (begin_j <= last[:, None])).any(axis=0)
    end = np.where(rows.is_open, FOREVER, np.minimum(last, FOREVER - 1) + 1)
    inside = against & (begin_i > begin_j) & (begin_i <= last[None, :])
    end = np.where(rows.is_open, end, np.minimum(end, np.where(inside, begin_i, FOREVER).min(axis=0)))
    marks, closed = np.flatnonzero(rows.is_open & ~gone), np.flatnonzero(~rows.is_open & ~gone)
    edges = np.concatenate([rows.begin[marks], rows.begin[closed], end[closed]])
    points = np.unique(np.append(edges[edges > since_ns], since_ns))
    rank = rows.rank()
    winner = np.maximum(_by_marks(rows, rank, marks, points), _by_closed(rows, rank, closed, end, points))
    return _pieces(rows.claims, sign, np.argsort(rank), winner, points)


def _by_marks(
    rows: Columns, rank: NDArray[np.int64], marks: NDArray[np.int64], points: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(P,): highest rank of the open claims that began by each point; -1 for none."""
    order = marks[np.argsort(rows.begin[marks], kind="stable")]
    best = np.concatenate([[-1], np.maximum.accumulate(rank[order])]) if len(order) else np.array([-1])
    found: NDArray[np.int64] = best[np.searchsorted(rows.begin[order], points, side="right")]
    return found


def _by_closed(
    rows: Columns,
    rank: NDArray[np.int64],
    closed: NDArray[np.int64],
    end: NDArray[np.int64],
    points: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(P,): highest rank of the closed claims that hold each point; -1 for none."""
    if not len(closed):
        return np.full(len(points), -1, dtype=np.int64)
    covers = (rows.begin[closed] <= points[:, None]) & (points[:, None] < end[closed])
    best: NDArray[np.int64] = np.where(covers, rank[closed], -1).max(axis=1)
    return best


def _pieces(
    claims: Sequence[Evidence],
    sign: NDArray[np.int8],
    by_rank: NDArray[np.int64],
    winner: NDArray[np.int64],
    points: NDArray[np.int64],
) -> list[Piece]:
    changes = np.flatnonzero(np.append(True, winner[1:] != winner[:-1]))  # the first point of each winner in a row
    ends = np.append(points[changes[1:]], FOREVER)
    found = []
    for point, until, rank in zip(points[changes].tolist(), ends.tolist(), winner[changes].tolist(), strict=True):
        if rank >= 0 and sign[by_rank[rank]] > 0:
            found.append(Piece(point, None if until == FOREVER else until, claims[by_rank[rank]]))
    return found
