"""Working memory: the recent context, bounded, with pins; renders itself as text within a token budget."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from embodmem.checks import check_stamp, check_texts
from embodmem.config import WorkingConfig
from embodmem.errors import InvalidInput
from embodmem.index import Record, RecordMemory, Records
from embodmem.index.filters import row_id
from embodmem.types import Event, Percept, Query, Recall
from embodmem.working.bounds import Count, Usage, count_tokens
from embodmem.working.context import Context
from embodmem.working.edits import Action, Edit, EditAction, EditLog
from embodmem.working.render import render
from embodmem.working.summary import Summariser, summarise
from embodmem.working.tasks import TaskTree

_VIEW = "working_view"


class WorkingMemory(RecordMemory):
    """What is going on now: the last events and changes of view, what was pinned, and the task at hand.

    Bounded by items, bytes and tokens at once, after every call; what has to go goes to episodic memory and can be
    restored. See docs/working-memory.md.

    Args:
        records: Where the items are kept, so that a restart goes on with the same context.
        config: The bounds, and what goes first.
        count: Counts the tokens of a text.
    """

    kinds: ClassVar[tuple[str, ...]] = ("item", "task")

    def __init__(self, records: Records, config: WorkingConfig | None = None, count: Count = count_tokens) -> None:
        super().__init__(records)
        self.config = config or WorkingConfig()
        self.tasks = TaskTree(records)
        self._context = Context(records, self.config, count)
        self._log = EditLog(self._context.places)
        self.reload()
        self.store.after_rollback.append(self.reload)

    def reload(self) -> None:
        """Read again what is held in RAM: the context, and which view of each agent was noted last."""
        self._view: dict[str, str] = self.store.get_state(_VIEW, {})
        self._context.reload()

    # -- what comes in -------------------------------------------------------------------------------------------------

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
            return self._note(text, percept.stamp_ns, percept.agent, labels, ref, {"view": True})

    def note(
        self,
        text: str,
        stamp_ns: int,
        *,
        agent: str = "",
        tags: Iterable[str] = (),
        ref: int | None = None,
        pinned: bool = False,
        salience: float | None = None,
    ) -> int:
        """Keep a line of context.

        Args:
            text: The line.
            stamp_ns: When, ns.
            agent: Whose it is.
            tags: Labels it is about.
            ref: Row id of the record it stands for; it goes when that is forgotten.
            pinned: Keep it until it is unpinned.
            salience: How much it matters, > 0; None: 1, and up to 2 for what is about other things than the context.

        Returns:
            Its row id. A line that does not fit by itself is in episodic memory at once, and can be read by `spilled`.
        """
        if salience is not None and not 0 < salience < float("inf"):
            raise InvalidInput(f"working: wanted a salience > 0, got {salience}")
        given = {} if salience is None else {"salience": float(salience)}
        return self._note(text, stamp_ns, agent, tags, ref, {"pinned": pinned, **given})

    def _note(
        self, text: str, stamp_ns: int, agent: str, tags: Iterable[str], ref: int | None, data: Mapping[str, Any]
    ) -> int:
        check_texts("working", text, agent)
        if not text.strip():
            raise InvalidInput("working: wanted a line of text, got an empty one")
        about = tuple(tags)
        told = {"pinned": False, "salience": self._context.novelty(about), **data}
        active = self.tasks.active(agent)
        if active is not None:
            told["scope"] = row_id(active)
        record = Record(kind="item", first_ns=check_stamp(stamp_ns), last_ns=int(stamp_ns), text=text, agent=agent)
        record.tags, record.evidence, record.data = about, () if ref is None else (ref,), told
        with self.store.transaction() as db:
            return self._context.put(db, record, self._root(agent))

    def _root(self, agent: str) -> int:
        path = self.tasks.path(agent)
        return row_id(path[0].id) if path else 0

    # -- what is there -------------------------------------------------------------------------------------------------

    def items(self) -> list[Recall]:
        """All items of the context, oldest first."""
        return self.records.in_order(Query(), ("item",), newest_first=False, limit=1_000_000)

    def usage(self) -> Usage:
        """What the context takes, in items, bytes and tokens; never more than the settings allow."""
        return self._context.usage()

    def spilled(self, limit: int = 1000) -> list[tuple[Recall, str]]:
        """What left the context, newest first, as it was, and why: evicted, hidden, summarised, folded, unfolded."""
        with self.store.read() as db:
            numbers = self._context.ledger.numbers(db, "1", ())[::-1][:limit]
            reasons = [self._context.ledger.find(db, number) for number in numbers]
            items = self._context.ledger.read(db, numbers)
        return [(item, reason[0]) for item, reason in zip(items, reasons, strict=True) if reason is not None]

    def render(self, budget: int, count: Count = count_tokens, *, agent: str = "") -> str:
        """The context as text, a line an item, oldest first; before it the path to the task that the agent is at.

        Pins are taken first, then sinks, the path, and the newest items, for as long as they fit; an item is taken
        whole or not at all. Never more than `budget` by `count`, a function that never gives less for a longer text.
        """
        sinks = self._context.sinks(self._root(agent))
        return render(self.items(), self.tasks.render(agent), sinks, budget, count)

    # -- edits ---------------------------------------------------------------------------------------------------------

    def pin(
        self, record_id: str, pinned: bool = True, *, stamp_ns: int | None = None, who: str = "", why: str = ""
    ) -> None:
        """Keep an item until it is unpinned.

        Raises:
            InvalidInput: There is no such item.
        """
        action: Action = "pin" if pinned else "unpin"
        self.edit([EditAction(action, (record_id,), why=why)], stamp_ns, who=who)

    def unpin(self, record_id: str, *, stamp_ns: int | None = None, who: str = "", why: str = "") -> None:
        """Let an item go when its time comes."""
        self.pin(record_id, False, stamp_ns=stamp_ns, who=who, why=why)

    def hide(self, *record_ids: str, stamp_ns: int | None = None, who: str = "", why: str = "") -> Edit:
        """Take items out of the context; they can be restored."""
        return self.edit([EditAction("hide", record_ids, why=why)], stamp_ns, who=who)[0]

    def restore(self, *record_ids: str, stamp_ns: int | None = None, who: str = "", why: str = "") -> Edit:
        """Bring items back that left the context, whyever they did; for a summary, the items that it stands for."""
        return self.edit([EditAction("restore", record_ids, why=why)], stamp_ns, who=who)[0]

    def summarise(
        self, record_ids: Sequence[str], text: str, *, stamp_ns: int | None = None, who: str = "", why: str = ""
    ) -> str:
        """Let one line stand for several items; returns the id of the summary. `restore` of it brings them back."""
        edit = self.edit([EditAction("summarise", tuple(record_ids), text, why)], stamp_ns, who=who)[0]
        return str(edit.made)

    def edit(self, actions: Sequence[EditAction], stamp_ns: int | None = None, *, who: str = "") -> list[Edit]:
        """Make edits, all of them or, on an error, none; returns them as recorded.

        Args:
            actions: What is asked for, in order.
            stamp_ns: When, ns; None takes the stamp of the newest item.
            who: Who asks.

        Raises:
            InvalidInput: An id is none of an item that the action can be about.
        """
        when = self._context.newest_ns() if stamp_ns is None else check_stamp(stamp_ns)
        with self.store.transaction() as db:
            numbers = [self._edit(db, action, when, who) for action in actions]
            return [self._log.get(db, "number = ?", (number,))[0] for number in numbers]

    def _edit(self, db: sqlite3.Connection, asked: EditAction, stamp_ns: int, who: str) -> int:
        targets = [self._context.number(name) for name in asked.items]
        if len(set(targets)) < len(targets):
            raise InvalidInput(f"working: wanted each item once, got {asked.items}")
        before, made = self._context.all_places(db, targets), None
        if asked.action in ("pin", "unpin"):
            for number in targets:
                self._context.set_pinned(db, number, asked.action == "pin")
        elif asked.action == "hide":
            self._context.take_out(db, targets, "hidden")
        elif asked.action == "restore":
            before |= self._context.restore(db, targets)
        else:
            made = self._stand_for(db, targets, asked.text, stamp_ns, "summarised")
        self._context.make_room(db, {made} if made else set(targets), self._root(""))
        if made:
            before[made] = None
        return self._log.add(db, asked.action, before, made=made, stamp_ns=stamp_ns, who=who, why=asked.why)

    def _stand_for(
        self,
        db: sqlite3.Connection,
        numbers: Sequence[int],
        text: str,
        stamp_ns: int,
        reason: str,
        agent: str = "",
        folds: int | None = None,
    ) -> int:
        """A summary in the place of items; it belongs to the task that the agent is at now."""
        if not text.strip():
            raise InvalidInput("working: wanted a summary in words, got an empty text")
        data: dict[str, Any] = {"pinned": False, "salience": 1.0, "summary": True}
        if folds is not None:
            data["folds"] = folds
        if (active := self.tasks.active(agent)) is not None:
            data["scope"] = row_id(active)
        record = Record(kind="item", first_ns=stamp_ns, last_ns=stamp_ns, text=text, agent=agent, data=data)
        record.tags = self._context.tags(db, numbers)  # what matches a label matches what says the same in short
        made = self._context.add(record)
        self._context.take_out(db, numbers, reason, made)
        return made

    def edits(self) -> list[Edit]:
        """All edits, oldest first."""
        with self.store.read() as db:
            return self._log.get(db)

    def undo(self, number: int | None = None, *, stamp_ns: int | None = None, who: str = "", why: str = "") -> Edit:
        """Undo an edit, the last one for None: all that it moved or changed is as it was.

        Raises:
            InvalidInput: There is no such edit, or a later one of the same items has to be undone first.
        """
        when = self._context.newest_ns() if stamp_ns is None else check_stamp(stamp_ns)
        with self.store.transaction() as db:
            edit = self._log.undoable(db, number)
            changes = self._log.changes(db, edit.number)
            for item, (was, now) in changes.items():
                self._context.change_back(db, item, was, now)
            self._log.undo(db, edit, stamp_ns=when, who=who, why=why)
            self._context.make_room(db, {item for item, (was, _) in changes.items() if was}, self._root(""))
            return self._log.get(db, "number = ?", (edit.number,))[0]

    # -- subgoals ------------------------------------------------------------------------------------------------------

    def begin_subgoal(self, text: str, stamp_ns: int, *, parent: str | None = None, agent: str = "") -> str:
        """Be at a new subgoal: a task below the active one, or below `parent`. Returns its id, "task:7" (HiAgent)."""
        with self.store.transaction():
            above = self.tasks.active(agent) if parent is None else parent
            name = self.tasks.add(text, stamp_ns, parent=above, agent=agent)
            self.tasks.begin(name, stamp_ns)
        return name

    def note_action(self, text: str, stamp_ns: int, *, agent: str = "", tags: Iterable[str] = ()) -> int:
        """Note what is done; goes with the subgoal that the agent is at."""
        return self._note(text, stamp_ns, agent, tags, None, {"role": "action"})

    def note_observation(self, text: str, stamp_ns: int, *, agent: str = "", tags: Iterable[str] = ()) -> int:
        """Note what was observed then."""
        return self._note(text, stamp_ns, agent, tags, None, {"role": "observation"})

    def end_subgoal(
        self,
        outcome: str,
        stamp_ns: int,
        *,
        success: bool = True,
        agent: str = "",
        summariser: Summariser | None = None,
        who: str = "",
    ) -> str | None:
        """The active subgoal is over: a summary takes the place of all that was noted under it.

        Args:
            outcome: What came of it.
            stamp_ns: When, ns.
            success: Whether it was reached.
            agent: Whose subgoal.
            summariser: Makes the summary; None takes the rule of `embodmem.working.summary`.
            who: Who decided so.

        Returns:
            The id of the summary; None when nothing was noted under it.

        Raises:
            InvalidInput: The agent is at no subgoal.
        """
        active = self.tasks.active(agent)
        if active is None:
            raise InvalidInput(f"end_subgoal: wanted a subgoal that agent {agent!r} is at, but it is at none")
        goal = self.tasks.get(active).text
        with self.store.transaction() as db:
            items = self._under(db, row_id(active))
            self.tasks.end(active, stamp_ns, success=success, outcome=outcome)
            if not items:
                return None
            make = summariser or (lambda g, i, o: summarise(g, i, o, self.config.summary_actions))
            numbers = [row_id(item.id) for item in items]
            before = self._context.all_places(db, numbers)
            text = make(goal, items, outcome)
            made = self._stand_for(db, numbers, text, stamp_ns, "folded", agent, folds=row_id(active))
            self._context.make_room(db, {made}, self._root(agent))
            before[made] = None
            self._log.add(db, "fold", before, made=made, stamp_ns=check_stamp(stamp_ns), who=who, why="")
        return f"item:{made}"

    def unfold(self, record_id: str) -> list[Recall]:
        """What a summary stands for, or what was noted under a task, as it was, oldest first; nothing is changed.

        Raises:
            InvalidInput: There is no such summary or task.
        """
        with self.store.read() as db:
            if record_id.startswith("task:"):
                return self._under(db, row_id(self.tasks.get(record_id).id))
            return self._context.parts(db, self._context.number(record_id))

    def _under(self, db: sqlite3.Connection, task: int) -> list[Recall]:
        here = [item for item in self.items() if item.data.get("scope") == task]
        gone = self._context.ledger.numbers(db, "json_extract(s.content, '$.data.scope') = ?", (task,))
        found = [*here, *self._context.ledger.read(db, gone)]
        return sorted(found, key=lambda item: (item.first_seen_ns, row_id(item.id)))

    # -- as a whole ----------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove everything, stamps included; what went to episodic memory stays there."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM state WHERE name = ?", (_VIEW,))
            self.tasks.clear_active()
            self._context.clear(db)
        super().clear()

    def state_dict(self) -> dict[str, Any]:
        """Its rows, which view of each agent was noted last, the active tasks, and the edits.

        What left the context belongs to episodic memory, whose state has the words.
        """
        with self.store.read() as db:
            state = self._context.state(db)
            return {**super().state_dict(), **state, "view": self.store.get_state(_VIEW, {}), "at": self.tasks.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace its content by what `state_dict` gave."""
        with self.store.transaction() as db:
            self.store.set_state(_VIEW, state.get("view", {}))
            self.tasks.load_state(state.get("at", {}))
            self._context.clear(db)
            super().load_state_dict(state)
            self._context.load_state(db, state)
