"""Working memory: the recent context, bounded, with pins; renders itself as text within a token budget."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from embodmem.config import WorkingConfig
from embodmem.errors import InvalidInput
from embodmem.index import Record, RecordMemory, Records
from embodmem.index.filters import row_id
from embodmem.types import Event, Percept, Query, Recall

_VIEW = "working_view"


def count_tokens(text: str) -> int:
    """About how many tokens a language model takes for a text: one for every four bytes, rounded up."""
    return math.ceil(len(text.encode()) / 4)


class WorkingMemory(RecordMemory):
    """What is going on now: the last events and changes of view, and what was pinned.

    Holds at most `max_items`; the oldest item without a pin goes first, the oldest pin last.

    Args:
        records: Where the items are kept, so that a restart goes on with the same context.
        config: How many items are kept.
    """

    kinds: ClassVar[tuple[str, ...]] = ("item",)

    def __init__(self, records: Records, config: WorkingConfig | None = None) -> None:
        super().__init__(records)
        self.config = config or WorkingConfig()
        if self.config.max_items < 1:
            raise InvalidInput(f"working: wanted max_items of 1 or more, got {self.config.max_items}")
        self.reload()
        self.store.after_rollback.append(self.reload)

    def reload(self) -> None:
        """Read again which view of each agent was noted last, so that a restart does not note it twice."""
        self._view: dict[str, str] = self.store.get_state(_VIEW, {})

    def apply(self, experience: Percept | Event) -> int | None:
        """Note an event, or a view that shows other things than the last one noted; returns the row id."""
        if isinstance(experience, Event):
            return self.note(experience.text, experience.stamp_ns, agent=experience.agent, tags=experience.objects)
        return self.note_view(experience, [d.label for d in experience.detections])

    def note_view(self, percept: Percept, labels: list[str], place: str = "", ref: int | None = None) -> int | None:
        """Note what a view shows, if that differs from the last view noted of this agent.

        Args:
            percept: The view.
            labels: What was seen in it.
            place: The room it was taken in.
            ref: Row id of its keyframe, if it has one.
        """
        # A digest: what is forgotten must not stay on disk in words.
        shown = hashlib.sha256("\n".join((place, *sorted(set(labels)))).encode()).hexdigest()[:16]
        if not labels or shown == self._view.get(percept.agent):
            return None
        self._view[percept.agent] = shown
        where = f" in the {place}" if place else ""
        text = f"saw {', '.join(sorted(set(labels)))}{where}"
        with self.store.transaction():
            self.store.set_state(_VIEW, self._view)
            return self.note(text, percept.stamp_ns, agent=percept.agent, tags=labels, ref=ref)

    def note(
        self, text: str, stamp_ns: int, *, agent: str = "", tags: Any = (), ref: int | None = None, pinned: bool = False
    ) -> int:
        """Keep a line of context.

        Args:
            text: The line.
            stamp_ns: When, ns.
            agent: Whose it is.
            tags: Labels it is about.
            ref: Row id of the record it stands for; it goes when that is forgotten.
            pinned: Keep it until it is unpinned.

        Returns:
            Its row id.
        """
        if not text.strip():
            raise InvalidInput("working: wanted a line of text, got an empty one")
        evidence = () if ref is None else (ref,)
        record = Record(kind="item", first_ns=stamp_ns, last_ns=stamp_ns, text=text, agent=agent, tags=tags)
        record.evidence, record.data = evidence, {"pinned": pinned}
        # What goes first comes first: items without a pin, oldest first, then pins.
        spare = (
            "SELECT id FROM record WHERE kind = 'item' AND id != ? "
            "ORDER BY json_extract(data, '$.pinned'), first_ns, id "
            "LIMIT max(0, (SELECT count(*) FROM record WHERE kind = 'item') - ?)"
        )
        with self.store.transaction() as db:
            number = self.records.add(record)
            self.records.remove([row[0] for row in db.execute(spare, (number, self.config.max_items))])
        return number

    def clear(self) -> None:
        """Remove everything, stamps included."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM state WHERE name = ?", (_VIEW,))
        super().clear()

    def state_dict(self) -> dict[str, Any]:
        """Its rows, and which view of each agent was noted last."""
        return {**super().state_dict(), "view": self.store.get_state(_VIEW, {})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace its content by what `state_dict` gave."""
        with self.store.transaction():
            self.store.set_state(_VIEW, state.get("view", {}))
            super().load_state_dict(state)

    def items(self) -> list[Recall]:
        """All items, oldest first."""
        return self.records.in_order(Query(), self.kinds, newest_first=False, limit=1_000_000)

    def pin(self, record_id: str, pinned: bool = True) -> None:
        """Keep an item until it is unpinned.

        Raises:
            InvalidInput: There is no such item.
        """
        if not record_id.startswith("item:"):
            raise InvalidInput(f"working: wanted the id of an item, got {record_id!r}")
        with self.store.transaction() as db:
            sql = "UPDATE record SET data = json_set(data, '$.pinned', json(?)) WHERE id = ? AND kind = 'item'"
            changed = db.execute(sql, ("true" if pinned else "false", row_id(record_id))).rowcount
        if not changed:
            raise InvalidInput(f"working: wanted the id of an item, got {record_id!r}")

    def unpin(self, record_id: str) -> None:
        """Let an item go when its time comes."""
        self.pin(record_id, False)

    def render(self, budget: int, count: Callable[[str], int] = count_tokens) -> str:
        """The context as text, a line an item, oldest first.

        Pins are taken first, then the newest items, for as long as they fit; an item is taken whole or not at all.

        Args:
            budget: Tokens that `count` may give for the whole text.
            count: Counts the tokens of a text.
        """
        items = self.items()
        order = sorted(range(len(items)), key=lambda i: (not items[i].data["pinned"], -i))
        taken: list[int] = []
        text = ""
        for i in order:
            longer = "\n".join(items[j].text for j in sorted([*taken, i]))
            if count(longer) > budget:
                continue
            taken.append(i)
            text = longer
        return text
