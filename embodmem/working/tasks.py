"""The task tree: what is to be done, for what, after what; and the path to what is being done now.

TME (Ye, 2025): a node is a step with its state and relations, and what is rendered is the path to the active node; its
graph form lets a step wait for others. HiAgent's subgoals are nodes, too (`embodmem.working.memory`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from embodmem.checks import check_stamp, check_texts
from embodmem.errors import InvalidInput
from embodmem.index import Record, Records
from embodmem.index.filters import row_id
from embodmem.types import Query, Recall

KIND = "task"
Status = Literal["todo", "doing", "done", "failed", "dropped"]
OPEN = ("todo", "doing")
_ACTIVE = "working_active"


@dataclass(frozen=True, slots=True)
class Task:
    """A node of the tree.

    Attributes:
        id: "task:7".
        text: What is to be done.
        status: "todo", "doing", "done", "failed" or "dropped".
        parent: Id of the task that it is a part of, or None.
        needs: Ids of the tasks that must be done before.
        outcome: What came of it, in words.
        agent: Whose it is.
        begun_ns: When it was added, ns.
        changed_ns: When it was changed last, ns.
    """

    id: str
    text: str
    status: Status
    parent: str | None
    needs: tuple[str, ...]
    outcome: str
    agent: str
    begun_ns: int
    changed_ns: int


def _as_task(item: Recall) -> Task:
    data = item.data
    parent = None if data["parent"] is None else f"{KIND}:{data['parent']}"
    needs = tuple(f"{KIND}:{number}" for number in data["needs"])
    agent = data.get("agent", "")
    return Task(
        item.id, item.text, data["status"], parent, needs, data["outcome"], agent, item.first_seen_ns, item.last_seen_ns
    )


class TaskTree:
    """Tasks as records, and which one each agent is at.

    Args:
        records: Where they are kept.
    """

    def __init__(self, records: Records) -> None:
        self.records, self.store = records, records.store

    def get(self, task_id: str) -> Task:
        """The task of an id.

        Raises:
            InvalidInput: There is none.
        """
        if not task_id.startswith(f"{KIND}:"):
            raise InvalidInput(f"task: wanted an id such as 'task:7', got {task_id!r}")
        return _as_task(self.records.get_id(task_id))

    def all(self) -> list[Task]:
        """All tasks, oldest first."""
        items = self.records.in_order(Query(), (KIND,), newest_first=False, limit=1_000_000)
        return [_as_task(item) for item in items]

    def ready(self) -> list[Task]:
        """Tasks to do whose needs are all done."""
        tasks = {task.id: task for task in self.all()}
        met = {name for name, task in tasks.items() if task.status == "done"}
        # A need that was forgotten is none any more.
        waits = {name for name, task in tasks.items() if not met.issuperset(set(task.needs) & tasks.keys())}
        return [task for name, task in tasks.items() if task.status == "todo" and name not in waits]

    def add(
        self, text: str, stamp_ns: int, *, parent: str | None = None, needs: Sequence[str] = (), agent: str = ""
    ) -> str:
        """Add a task to do; returns its id.

        Raises:
            InvalidInput: The text is empty, or the parent or a need is no task.
        """
        check_texts("task", text, agent)
        if not text.strip():
            raise InvalidInput("task: wanted what is to be done in words, got an empty text")
        above = None if parent is None else row_id(self.get(parent).id)
        before = [row_id(self.get(need).id) for need in needs]
        data = {"status": "todo", "parent": above, "needs": before, "outcome": ""}
        stamp_ns = check_stamp(stamp_ns)
        with self.store.transaction():
            number = self.records.add(
                Record(kind=KIND, text=text, first_ns=stamp_ns, last_ns=stamp_ns, agent=agent, data=data)
            )
        return f"{KIND}:{number}"

    def begin(self, task_id: str, stamp_ns: int) -> None:
        """Be at a task from now on; it must be open and its needs done.

        Raises:
            InvalidInput: It is not, or there is no such task.
        """
        task = self.get(task_id)
        waiting = [need for need in task.needs if self._exists(need) and self.get(need).status != "done"]
        if task.status not in OPEN or waiting:
            reason = f"it waits for {', '.join(waiting)}" if waiting else f"it is {task.status}"
            raise InvalidInput(f"task: wanted one that can begin, but {task_id} cannot: {reason}")
        with self.store.transaction() as db:
            self._change(db, task_id, stamp_ns, {"status": "doing"})
            self._set_active(task.agent, task_id)

    def end(self, task_id: str, stamp_ns: int, *, success: bool = True, outcome: str = "") -> None:
        """A task is done, or failed; its parent is what is being done, if there is one."""
        task = self.get(task_id)
        if task.status not in OPEN:
            raise InvalidInput(f"task: wanted one that is open, but {task_id} is {task.status}")
        check_texts("task: outcome", outcome)
        with self.store.transaction() as db:
            values = {"status": "done" if success else "failed", "outcome": outcome}
            self._change(db, task_id, stamp_ns, values)
            if self.active(task.agent) == task_id:
                self._set_active(task.agent, self._open_above(task))

    def revise(
        self, task_id: str, stamp_ns: int, *, text: str | None = None, needs: Sequence[str] | None = None
    ) -> None:
        """Change what a task says, or what it waits for.

        Raises:
            InvalidInput: A need is no task, or would wait for this one in turn.
        """
        self.get(task_id)
        values: dict[str, Any] = {}
        if needs is not None:
            values["needs"] = [row_id(self.get(need).id) for need in needs]
            for need in needs:
                if task_id in self._waits_for(need):
                    raise InvalidInput(f"task: wanted needs without a circle, but {need} waits for {task_id}")
        if text is not None:
            check_texts("task", text)
            if not text.strip():
                raise InvalidInput("task: wanted what is to be done in words, got an empty text")
        with self.store.transaction() as db:
            self._change(db, task_id, stamp_ns, values, text)

    def backtrack(self, task_id: str, stamp_ns: int, *, why: str = "") -> str | None:
        """Give a task up with all that is open below it, and go back to the one above; returns that one's id.

        What was done below stays done; the branch stays in the tree, to be seen as tried.
        """
        task = self.get(task_id)
        if task.status not in OPEN:
            raise InvalidInput(f"task: wanted one that is open, but {task_id} is {task.status}")
        check_texts("task: why", why)
        with self.store.transaction() as db:
            for below in self._below(task_id):
                if below.status in OPEN:
                    self._change(db, below.id, stamp_ns, {"status": "dropped"})
            self._change(db, task_id, stamp_ns, {"status": "failed", "outcome": why})
            above = self._open_above(task)
            self._set_active(task.agent, above)
        return above

    def active(self, agent: str = "") -> str | None:
        """Id of the task that an agent is at; None where it is at none."""
        number = self.store.get_state(_ACTIVE, {}).get(agent)
        found = None if number is None else f"{KIND}:{number}"
        return found if found is not None and self._exists(found) else None

    def path(self, agent: str = "") -> list[Task]:
        """From the root to the task that an agent is at."""
        made: list[Task] = []
        at = self.active(agent)
        while at is not None and self._exists(at):
            made.append(self.get(at))
            at = made[-1].parent
        return made[::-1]

    def render(self, agent: str = "") -> list[str]:
        """The active path as lines, the root first."""
        return [f"{'  ' * depth}task: {task.text}" for depth, task in enumerate(self.path(agent))]

    def clear_active(self) -> None:
        """Be at no task."""
        self.store.set_state(_ACTIVE, {})

    def state(self) -> dict[str, int]:
        """Agent -> row id of the task it is at."""
        made: dict[str, int] = self.store.get_state(_ACTIVE, {})
        return made

    def load_state(self, state: Mapping[str, int]) -> None:
        """Take over what `state` gave."""
        self.store.set_state(_ACTIVE, dict(state))

    def _set_active(self, agent: str, task_id: str | None) -> None:
        active = {name: number for name, number in self.state().items() if name != agent}
        if task_id is not None:
            active[agent] = row_id(task_id)
        self.store.set_state(_ACTIVE, active)

    def _exists(self, task_id: str) -> bool:
        return bool(self.records.get([row_id(task_id)]))

    def _open_above(self, task: Task) -> str | None:
        above = task.parent
        while above is not None and self._exists(above):
            parent = self.get(above)
            if parent.status in OPEN:
                return above
            above = parent.parent
        return None

    def _below(self, task_id: str) -> list[Task]:
        tasks, made, level = self.all(), list[Task](), {task_id}
        while found := [task for task in tasks if task.parent in level]:
            made += found
            level = {task.id for task in found}
        return made

    def _waits_for(self, task_id: str) -> set[str]:
        """The task and all that must be done before it."""
        seen, open_ids = set[str](), [task_id]
        while open_ids:
            name = open_ids.pop()
            if name not in seen and self._exists(name):
                seen.add(name)
                open_ids.extend(self.get(name).needs)
        return seen

    def _change(
        self, db: sqlite3.Connection, task_id: str, stamp_ns: int, values: Mapping[str, Any], text: str | None = None
    ) -> None:
        item = self.records.get_id(task_id)
        agent = item.data.get("agent", "")
        data = {**{name: item.data[name] for name in ("status", "parent", "needs", "outcome")}, **values}
        last_ns = max(check_stamp(stamp_ns), item.first_seen_ns)
        new = item.text if text is None else text
        record = Record(kind=KIND, text=new, first_ns=item.first_seen_ns, last_ns=last_ns, agent=agent, data=data)
        self.records.replace(row_id(task_id), record)
