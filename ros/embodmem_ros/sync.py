"""Messages of several topics that belong together, by their stamps."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any, NamedTuple

from embodmem.errors import InvalidInput


class _Item(NamedTuple):
    stamp_ns: int
    serial: int  # tells messages of one stamp apart, so that they are never compared
    message: Any


class Match(NamedTuple):
    """Messages of one moment: the pivot's stamp, and topic -> message."""

    stamp_ns: int
    messages: dict[str, Any]


class Synchroniser:
    """Puts messages of several streams together, each pivot message with the nearest of every other stream.

    A match is given out when it is certain: when every other stream has a message of the pivot's very stamp, or one
    at or after it. Matches come in the order of their stamps, each message of the pivot at most once.

    Drop policy: a stream holds at most `queue` messages; when one more comes, the oldest goes, counted in `dropped`.
    A pivot message to which a stream has nothing within `slop_ns` goes when that is certain, counted in `unmatched`.
    What comes with a stamp at or before the last pivot that was decided is counted in `late`; it still serves as a
    partner, but a late pivot is left out. Any thread may use it.

    Args:
        streams: Names of the streams; the first is the pivot.
        slop_ns: The most that stamps of a match lie apart from the pivot's, ns.
        queue: The most messages that wait in a stream.

    Raises:
        InvalidInput: There is no stream, one comes twice, or a bound is out of range.
    """

    def __init__(self, streams: Sequence[str], *, slop_ns: int, queue: int) -> None:
        if not streams or len(set(streams)) != len(streams) or slop_ns < 0 or queue < 1:
            raise InvalidInput(
                f"synchroniser: wanted different streams, slop_ns >= 0 and queue >= 1, got {list(streams)}, {slop_ns}, "
                f"{queue}"
            )
        self._pivot = streams[0]
        self._queues: dict[str, list[_Item]] = {name: [] for name in streams}
        self._slop_ns = slop_ns
        self._queue = queue
        self._decided_ns = -1
        self._count = 0
        self._lock = threading.Lock()
        self.received = dict.fromkeys(streams, 0)
        self.dropped = dict.fromkeys(streams, 0)
        self.unmatched = 0
        self.late = 0

    def add(self, stream: str, stamp_ns: int, message: Any) -> list[Match]:
        """Take in a message; returns the matches that it made certain, in the order of time.

        Raises:
            InvalidInput: There is no such stream.
        """
        if stream not in self._queues:
            raise InvalidInput(f"synchroniser: wanted a stream of {list(self._queues)}, got {stream!r}")
        with self._lock:
            self.received[stream] += 1
            if stamp_ns <= self._decided_ns:
                self.late += 1
                if stream == self._pivot:
                    return []
            self._count += 1
            waiting = self._queues[stream]
            insort(waiting, _Item(stamp_ns, self._count, message))
            if len(waiting) > self._queue:
                waiting.pop(0)
                self.dropped[stream] += 1
            return self._decide()

    def waiting(self) -> int:
        """How many pivot messages wait for their partners."""
        with self._lock:
            return len(self._queues[self._pivot])

    def _decide(self) -> list[Match]:
        matches = []
        pivots = self._queues[self._pivot]
        others = [(name, queue) for name, queue in self._queues.items() if name != self._pivot]
        while pivots:
            stamp = pivots[0].stamp_ns
            if any(not queue or queue[-1].stamp_ns < stamp for _, queue in others):
                break  # a nearer one may still come
            pivot = pivots.pop(0)
            self._decided_ns = stamp
            match = {self._pivot: pivot.message}
            for name, queue in others:
                at = bisect_left(queue, (stamp,))
                near = min(queue[max(at - 1, 0) : at + 1], key=lambda item: abs(item.stamp_ns - stamp))
                if abs(near.stamp_ns - stamp) <= self._slop_ns:
                    match[name] = near.message
            if len(match) == len(self._queues):
                matches.append(Match(stamp, match))
            else:
                self.unmatched += 1
            self._forget_before(stamp - self._slop_ns)
        return matches

    def _forget_before(self, stamp_ns: int) -> None:
        for name, queue in self._queues.items():
            if name != self._pivot:
                del queue[: bisect_left(queue, (stamp_ns,))]
