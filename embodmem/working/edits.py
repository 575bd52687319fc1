"""Edits of the context as actions: recorded with who, when and why, and undone exactly.

Memory-as-Action (Zhang et al., 2025) makes edits of working memory actions of the policy, Sculptor (Li et al., 2025)
tools that hide, restore and summarise. What an edit changed of each item is kept, not what the items say.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from embodmem.checks import check_texts
from embodmem.errors import InvalidInput
from embodmem.working.ledger import KIND

Action = Literal["pin", "unpin", "hide", "restore", "summarise", "fold", "undo"]
ACTIONS: tuple[Action, ...] = ("pin", "unpin", "hide", "restore", "summarise")
"""What a policy may ask for by `WorkingMemory.edit`."""

Place = Mapping[str, Any] | None
"""Where an item is: {"in": True, "pinned": ...}, {"in": False, "reason": ..., "holder": ...}, or None: nowhere."""


@dataclass(frozen=True, slots=True)
class EditAction:
    """An edit that is asked for.

    Attributes:
        action: "pin", "unpin", "hide", "restore" or "summarise".
        items: Ids of the items it is about.
        text: The summary, for "summarise".
        why: In words.
    """

    action: Action
    items: tuple[str, ...]
    text: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise InvalidInput(f"edit: wanted an action of {', '.join(ACTIONS)}, got {self.action!r}")
        if isinstance(self.items, str) or not self.items:
            raise InvalidInput(f"edit: wanted a tuple of ids of items, got {self.items!r}")
        check_texts("edit", *self.items, self.text, self.why)


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit that was made.

    Attributes:
        number: Its number; later ones are larger.
        action: What was done.
        items: Ids of all items that it moved or changed, those that had to make room included.
        made: Id of the summary that it made, or None.
        stamp_ns: When, ns.
        who: Who did it.
        why: In words.
        undone: Whether it was undone.
    """

    number: int
    action: Action
    items: tuple[str, ...]
    made: str | None
    stamp_ns: int
    who: str
    why: str
    undone: bool


class EditLog:
    """Keeps edits, within the caller's transaction.

    Args:
        places: Gives where items are now: row ids -> row id -> `Place`.
    """

    def __init__(self, places: Callable[[sqlite3.Connection, Iterable[int]], dict[int, Place]]) -> None:
        self._places = places

    def add(
        self,
        db: sqlite3.Connection,
        action: Action,
        before: Mapping[int, Place],
        *,
        made: int | None,
        stamp_ns: int,
        who: str,
        why: str,
    ) -> int:
        """Record an edit that was just made, given where all items were before; returns its number."""
        check_texts("edit", who, why)
        now = self._places(db, before)
        sql = "INSERT INTO working_edit (stamp_ns, who, why, action, made) VALUES (?, ?, ?, ?, ?)"
        number = int(db.execute(sql, (stamp_ns, who, why, action, made)).lastrowid or 0)
        rows = [
            (number, item, json.dumps(was), json.dumps(now[item])) for item, was in before.items() if was != now[item]
        ]
        db.executemany("INSERT INTO working_edit_item VALUES (?, ?, ?, ?)", rows)
        return number

    def get(self, db: sqlite3.Connection, condition: str = "1", values: Sequence[Any] = ()) -> list[Edit]:
        """Edits that meet a condition, oldest first."""
        items: dict[int, list[str]] = {}
        for edit, item in db.execute("SELECT edit, item FROM working_edit_item ORDER BY item"):
            items.setdefault(edit, []).append(f"{KIND}:{item}")
        sql = "SELECT number, action, made, stamp_ns, who, why, undone FROM working_edit WHERE "
        return [
            Edit(n, action, tuple(items.get(n, ())), made and f"{KIND}:{made}", stamp_ns, who, why, bool(undone))
            for n, action, made, stamp_ns, who, why, undone in db.execute(f"{sql}{condition} ORDER BY number", values)
        ]

    def changes(self, db: sqlite3.Connection, number: int) -> dict[int, tuple[Place, Place]]:
        """Row id -> where each item was before an edit, and after."""
        sql = "SELECT item, before, after FROM working_edit_item WHERE edit = ? ORDER BY item"
        return {item: (json.loads(was), json.loads(now)) for item, was, now in db.execute(sql, (number,))}

    def undoable(self, db: sqlite3.Connection, number: int | None) -> Edit:
        """The edit that is to be undone; the last one for None.

        Raises:
            InvalidInput: There is none, it was undone, or a later edit of the same items stands on it.
        """
        edits = [edit for edit in self.get(db) if edit.action != "undo"]
        standing = [edit for edit in edits if not edit.undone]
        if number is None:
            if not standing:
                raise InvalidInput("undo: wanted an edit, but none is left to undo")
            return standing[-1]
        chosen = [edit for edit in standing if edit.number == number]
        if not chosen:
            raise InvalidInput(f"undo: wanted the number of an edit that stands, got {number}")
        for later in standing:
            if later.number > number and set(later.items) & set(chosen[0].items):
                raise InvalidInput(f"undo: wanted edit {later.number} undone first: it is about the same items")
        return chosen[0]

    def undo(self, db: sqlite3.Connection, edit: Edit, *, stamp_ns: int, who: str, why: str) -> None:
        """Mark an edit as undone, and record who did that."""
        check_texts("undo", who, why)
        db.execute("UPDATE working_edit SET undone = 1 WHERE number = ?", (edit.number,))
        sql = "INSERT INTO working_edit (stamp_ns, who, why, action, made) VALUES (?, ?, ?, 'undo', NULL)"
        db.execute(sql, (stamp_ns, who, why))
