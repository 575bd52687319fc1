"""The interface of ReMEmbR's memory over an embodied memory.

ReMEmbR (Anwar et al., "ReMEmbR: Building and Reasoning Over Long-Horizon Spatio-Temporal Memory for Robot
Navigation", ICRA 2025, sec. III) keeps captions of video segments with the robot's position and time, and its language
model searches them by text, by position and by time of day. The same calls work here. What differs: results are exact
(no approximate index), every search also finds what the memory holds from elsewhere (keyframes, events), ties go to
the newer, and an item that is older than the last one of its camera is refused instead of being filed.
"""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embodmem.checks import check_point
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.index.filters import row_id
from embodmem.types import Event, Query, Recall

S = 1_000_000_000
_KINDS = ("keyframe", "event")
_CLOCK = re.compile(r"(?:(\d{1,2})/(\d{1,2})/(\d{4})\s+)?(\d{1,2}):(\d{2}):(\d{2})$")


@dataclass(slots=True)
class MemoryItem:
    """A caption with where and when it was taken.

    Attributes:
        caption: What was seen, in words.
        time: When, Unix time in seconds.
        position: x, y, z in metres, world.
        theta: Heading, radians about z.
        camera_id: Which camera; "" where there is one.
        id: Its id in the memory; "" before it is inserted.
    """

    caption: str
    time: float
    position: list[float]
    theta: float = 0.0
    camera_id: str = ""
    id: str = ""


class RemembrMemory:
    r"""ReMEmbR's calls over an embodied memory.

    Args:
        memory: Where items are kept.
        k: How many a search gives.
        zone: In which times of day are meant and told.

    Example:
        >>> from embodmem import EmbodiedMemory
        >>> from embodmem.facades import MemoryItem, RemembrMemory
        >>> with EmbodiedMemory() as memory:
        ...     remembr = RemembrMemory(memory)
        ...     item = remembr.insert(MemoryItem("a red fire extinguisher by the lift", 1.7e9, [4.0, 1.0, 0.0], 0.5))
        ...     remembr.search_by_position((4.0, 1.0, 0.0))
        'At time=2023-11-14 22:13:20, at position [4.0, 1.0, 0.0]: a red fire extinguisher by the lift\n'
    """

    def __init__(self, memory: EmbodiedMemory, k: int = 5, zone: tzinfo = timezone.utc) -> None:
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        self.memory = memory
        self._k = k
        self._zone = zone
        self._writing = threading.Lock()
        self._found: list[MemoryItem] = []

    def insert(self, item: MemoryItem, text_embedding: Any = None) -> MemoryItem:
        """Keep an item; returns it with its id.

        Args:
            item: The item.
            text_embedding: Must be None: the memory's own encoder makes the vectors, so that all of them compare.

        Raises:
            InvalidInput: The caption is empty, a number is not finite, an embedding came, or the guard keeps it apart.
            StampError: It is older than the last item of its camera.
        """
        if text_embedding is not None:
            raise InvalidInput("text_embedding: wanted None, since the memory's own encoder makes the vectors")
        place = check_point(item.position, "item: position")
        if not (math.isfinite(item.time) and math.isfinite(item.theta)) or item.time < 0:
            raise InvalidInput(f"item: wanted a finite time >= 0 and theta, got {item.time!r} and {item.theta!r}")
        T_world_body = np.eye(4)
        c, s = math.cos(item.theta), math.sin(item.theta)
        T_world_body[:2, :2] = [[c, -s], [s, c]]
        T_world_body[:3, 3] = place
        event = Event(
            stamp_ns=round(item.time * S),
            kind="caption",
            text=item.caption,
            T_world_body=T_world_body,
            agent=item.camera_id,
            source="remembr",
        )
        with self._writing:
            self.memory.write(event)
            when = Query(kinds=("caption",), between_ns=(event.stamp_ns, event.stamp_ns), agent=item.camera_id or None)
            made = next(iter(self.memory.episodic.timeline(when, newest_first=True, limit=1)), None)
        if made is None:
            raise InvalidInput(f"item: it is kept apart: {self.memory.guard.quarantined()[-1].reason}")
        return self._item(made)

    def items_by_text(self, query: str) -> list[MemoryItem]:
        """The k items that fit words best, best first."""
        return self._items(self.memory.recall(Query(text=query, kinds=_KINDS), self._k))

    def items_by_position(self, query: ArrayLike) -> list[MemoryItem]:
        """The k items nearest to a point (3,) in metres, nearest first."""
        return self._items(self.memory.recall(Query(near=np.asarray(query, np.float64), kinds=_KINDS), self._k))

    def items_by_time(self, hms_time: str) -> list[MemoryItem]:
        """The k items nearest to a time, nearest first.

        Args:
            hms_time: "HH:MM:SS", meant of the latest day on which the memory holds something, or "MM/DD/YYYY HH:MM:SS".

        Raises:
            InvalidInput: It is no such time.
        """
        at = self._moment(hms_time)
        before = self.memory.episodic.timeline(Query(between_ns=(None, at)), newest_first=True, limit=self._k)
        after = self.memory.episodic.timeline(Query(between_ns=(at, None)), limit=self._k)
        found = {item.id: item for item in (*before, *after)}.values()
        near = sorted(found, key=lambda item: (abs(item.first_seen_ns - at), -item.first_seen_ns))
        return self._items(near[: self._k])

    def search_by_text(self, query: str) -> str:
        """`items_by_text` as lines for a language model."""
        return self._told(self.items_by_text(query))

    def search_by_position(self, query: ArrayLike) -> str:
        """`items_by_position` as lines for a language model."""
        return self._told(self.items_by_position(query))

    def search_by_time(self, hms_time: str) -> str:
        """`items_by_time` as lines for a language model."""
        return self._told(self.items_by_time(hms_time))

    def get_working_memory(self) -> list[MemoryItem]:
        """All that searches have given since `reset`, in their order."""
        return list(self._found)

    def remove(self, ids: list[str]) -> int:
        """Remove items by their ids, from the disk, too; returns how many records went."""
        return self.memory.forget(Query(ids=tuple(ids))) if ids else 0

    def reset(self, drop_collection: bool = True) -> None:
        """Forget what searches gave and, unless told otherwise, everything that the memory holds."""
        self._found.clear()
        if drop_collection:
            self.memory.clear()

    def memory_to_string(self, memory_list: list[MemoryItem]) -> str:
        """Items as lines for a language model."""
        lines = []
        for item in memory_list:
            when = datetime.fromtimestamp(item.time, self._zone).strftime("%Y-%m-%d %H:%M:%S")
            place = [round(x, 3) for x in item.position] if item.position else "unknown"
            camera = f", camera {item.camera_id}" if item.camera_id else ""
            lines.append(f"At time={when}, at position {place}{camera}: {item.caption}\n")
        return "".join(lines)

    def _told(self, items: list[MemoryItem]) -> str:
        self._found += items
        return self.memory_to_string(items)

    def _moment(self, text: str) -> int:
        found = _CLOCK.match(text.strip())
        if found is None:
            raise InvalidInput(f"hms_time: wanted HH:MM:SS or MM/DD/YYYY HH:MM:SS, got {text!r}")
        month, day, year, *clock = (None if part is None else int(part) for part in found.groups())
        newest = self.memory.newest_stamp() or 0
        base = datetime.fromtimestamp(newest / S, self._zone)
        try:
            if year is not None and month is not None and day is not None:
                base = base.replace(year=year, month=month, day=day)
            at = base.replace(hour=clock[0] or 0, minute=clock[1] or 0, second=clock[2] or 0, microsecond=0)
        except ValueError as error:
            raise InvalidInput(f"hms_time: wanted a time that exists, got {text!r}: {error}") from error
        return max((at - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1) * 1000, 0)

    def _items(self, found: list[Recall]) -> list[MemoryItem]:
        return [self._item(item) for item in found]

    def _item(self, item: Recall) -> MemoryItem:
        if item.kind == "keyframe":
            T = self.memory.episodic.get_keyframe(item.id).T_world_camera
            theta = math.atan2(T[1, 2], T[0, 2])  # a camera looks along its z
        else:
            T = np.asarray(item.data.get("T_world_body", np.eye(4)))
            theta = math.atan2(T[1, 0], T[0, 0])
        return MemoryItem(
            caption=item.text,
            time=item.first_seen_ns / S,
            position=[] if item.position is None else [float(x) for x in item.position],
            theta=theta,
            camera_id=str(item.data.get("agent", "")),
            id=f"{item.kind}:{row_id(item.id)}",
        )
