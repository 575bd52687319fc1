"""What the loop's parts hand to one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from embodmem.checks import check_texts
from embodmem.errors import InvalidInput
from embodmem.types import Event, Percept

if TYPE_CHECKING:
    from embodmem.loop.situation import Situation


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        verb: "go", "pick", "place", ...
        objects: What it is done to: ids of the memory ("object:3") or names ("kitchen").
    """

    verb: str
    objects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.objects, str):
            raise InvalidInput(f"step: wanted objects as a tuple of names, got the string {self.objects!r}")
        check_texts("step", self.verb, *self.objects)
        if not self.verb.strip() or not all(name.strip() for name in self.objects):
            raise InvalidInput(f"step: wanted a verb and names, got {self.verb!r} {self.objects!r}")

    def __str__(self) -> str:
        return " ".join((self.verb, *self.objects))


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A planner's word that it knows no further step.

    Attributes:
        reason: Why, in words.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a step.

    Attributes:
        done: Whether it did what it was to do.
        text: What happened, in words.
        stamp_ns: When it was over, ns.
        seen: What was seen and done on the way, in order of time: what the memory is told.
        facts: What the body itself knows to hold now: (subject, relation, object), ids or names.
    """

    done: bool
    text: str
    stamp_ns: int
    seen: Sequence[Percept | Event] = ()
    facts: tuple[tuple[str, str, str], ...] = ()


@runtime_checkable
class Body(Protocol):
    """What acts in a world: a simulator's robot, or a real one."""

    def act(self, step: Step) -> Outcome:
        """Do a step and look at what came of it. A step that cannot be done is an outcome, not an error."""


@runtime_checkable
class Planner(Protocol):
    """What proposes the next step: rules, or a language model."""

    def propose(self, situation: Situation) -> Step | GiveUp:
        """The next step. `situation.forbidden` are those that were refused or broke a loop: others are wanted."""


@runtime_checkable
class HasSubgoals(Protocol):
    """A planner that says what it is at (HiAgent, Hu et al., 2024): a subgoal that is over folds into a summary."""

    def subgoal(self, situation: Situation) -> str:
        """What it is at now, in words; another text than before says that the one before is over."""
