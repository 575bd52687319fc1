"""What a planner and the critic look at: the memory's content that matters, read anew before each step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embodmem.embodied import EmbodiedMemory
from embodmem.types import Query

ROBOT = "robot"
"""The name under which the body stands in facts."""


@dataclass(frozen=True, slots=True)
class Thing:
    """An object that the memory knows.

    Attributes:
        id: "object:3".
        label: What it is.
        room: The room it is in, "" where that is not known.
        present: Whether it is believed to be still there.
        text: It in words.
        seen_ns: When it was seen last, ns.
    """

    id: str
    label: str
    room: str
    present: bool
    text: str
    seen_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is believed now.

    Attributes:
        task: What is to be done, in words.
        now_ns: Now, ns.
        things: Objects, those still in their place first.
        rooms: Names of the rooms.
        here: The room that the body is in, or "".
        holding: What the body holds: its id or name, or "".
        facts: What holds, as (subject, relation, object) of ids or names.
        searched: Rooms that were gone to since the task began, in order.
        done: What was done since the task began and what came of it, oldest first.
        failed: Step in words -> when the last attempt at it that failed began, ns.
        context: The working memory as text.
        forbidden: Step in words -> why it was refused in this state.
        advice: What procedural memory knows of such tasks, a line each: "went well: go kitchen, pick mug, ...".
    """

    task: str
    now_ns: int
    things: tuple[Thing, ...] = ()
    rooms: tuple[str, ...] = ()
    here: str = ""
    holding: str = ""
    facts: frozenset[tuple[str, str, str]] = frozenset()
    searched: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)
    context: str = ""
    forbidden: Mapping[str, str] = field(default_factory=dict)
    advice: tuple[str, ...] = ()

    def find(self, name: str) -> tuple[Thing, ...]:
        """The things that an id or a label means, those still in their place first."""
        return tuple(thing for thing in self.things if name in (thing.id, thing.label))

    @property
    def progress(self) -> str:
        """A digest of what bears on the task: the things that it names and what is believed of them, rooms searched.

        Other things, positions within a room, times and the wording of texts play no part: perception changes these
        all the time, and a planner that goes in circles would seem to get on.
        """
        words = self.task.lower()
        named = {thing.id: thing for thing in self.things if thing.label.lower() in words}
        things = sorted((thing.id, thing.room, thing.present) for thing in named.values())
        facts = sorted(fact for fact in self.facts if fact[0] in named and fact[1] in ("on", "held by"))
        parts = (self.holding, things, facts, sorted(set(self.searched)), sorted(self.failed))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """A digest of the state: `progress`, and where the body is."""
        return hashlib.sha256(f"{self.here}|{self.progress}".encode()).hexdigest()[:16]


WENT_WELL = "went well: "
"""What stands before the steps, with commas between them, of a plan that did."""


def advised(memory: EmbodiedMemory, task: str, state: Sequence[str], k: int = 3) -> tuple[str, ...]:
    """What procedural memory advises for a task in a state, a line each: scripts, what went well, what went wrong."""
    advice = memory.procedural.advice(task, state, k)
    scripts = [f"a way that works: {', '.join(offer.steps)}" for offer in advice.skills if offer.ready]
    well = [f"{WENT_WELL}{', '.join(case.experience.plan)}" for case in advice.do if case.experience.plan]
    wrong = [f"went wrong before: {lesson.text}" for lesson in advice.lessons]
    return (*scripts, *well, *wrong)


def read_situation(
    memory: EmbodiedMemory,
    task: str,
    since_ns: int,
    now_ns: int,
    *,
    forbidden: Mapping[str, str] | None = None,
    budget: int = 400,
) -> Situation:
    """Read from a memory what matters for a task.

    Args:
        memory: The memory.
        task: What is to be done.
        since_ns: When it began, ns: what was searched and done is counted from here.
        now_ns: Now, ns.
        forbidden: Steps that were refused in this state.
        budget: Tokens for the working memory's text.
    """
    with memory.store.read():  # one snapshot
        facts = memory.semantic.facts()
        things = tuple(
            Thing(
                item.id,
                item.label,
                str(item.data.get("room", "")),
                not item.data.get("vanished"),
                item.text,
                item.last_seen_ns,
            )
            for item in memory.scene.objects()
        )
        taken = memory.episodic.timeline(Query(kinds=("step",), between_ns=(since_ns, None)))
        rooms = tuple(room.label for room in memory.scene.rooms())
        context = memory.working.render(budget)
    # The last step of the task before ended at the very moment at which this one begins: it is none of this one.
    steps = [step for step in taken if step.first_seen_ns >= since_ns]
    held = [fact.subject for fact in facts if (fact.relation, fact.object) == ("held by", ROBOT)]
    here = [fact.object for fact in facts if (fact.subject, fact.relation) == (ROBOT, "in")]
    return Situation(
        task=task,
        now_ns=now_ns,
        things=things,
        rooms=rooms,
        here=here[-1] if here else "",
        holding=held[-1] if held else "",
        facts=frozenset((fact.subject, fact.relation, fact.object) for fact in facts),
        searched=_searched([(step.text, str(step.data.get("outcome"))) for step in steps], rooms),
        done=tuple(f"{step.text}: {step.data.get('outcome')}" for step in steps),
        failed={step.text: step.first_seen_ns for step in steps if step.data.get("outcome") != "done"},
        context=context,
        forbidden=dict(forbidden or {}),
    )


def _searched(steps: Sequence[tuple[str, str]], rooms: Sequence[str]) -> tuple[str, ...]:
    """The rooms that were reached, in order; each once."""
    names = (text.partition("go ")[2] for text, outcome in steps if text.startswith("go ") and outcome == "done")
    return tuple(dict.fromkeys(name for name in names if name in rooms))
