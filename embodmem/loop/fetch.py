"""The task "bring a thing to a piece of furniture", and a planner by rules for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embodmem.loop.situation import WENT_WELL, Situation, Thing
from embodmem.loop.types import GiveUp, Step


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring a thing to a piece of furniture.

    Attributes:
        thing: Label of what is wanted: any of its like does.
        target: Label of the furniture.
    """

    thing: str
    target: str

    def __str__(self) -> str:
        return f"bring the {self.thing} to the {self.target}"

    def is_done(self, situation: Situation) -> bool:
        """Whether such a thing was put there since the task began and is believed to lie there, the hand empty.

        A belief of before does not do: it may be out of date.
        """
        things = {self.thing} | {thing.id for thing in situation.find(self.thing)}
        targets = {self.target} | {thing.id for thing in situation.find(self.target)}
        placed = any(s in things and r == "on" and o in targets for s, r, o in situation.facts)
        put = any(line.startswith("place ") and line.endswith(": done") for line in situation.done)
        return placed and put and not situation.holding


class FetchPlanner:
    """Proposes by rules: pick a thing that is known, else search the rooms; then place it, else search for where.

    It reads nothing but the situation, so it knows what the memory knows. Rooms not yet searched come first, and of
    these the ones where such a thing was found before, as procedural memory advises.

    Args:
        task: What is to be done.
        rng: Draws the order of rooms; None goes by their names.
    """

    def __init__(self, task: Fetch, rng: np.random.Generator | None = None) -> None:
        self.task = task
        self._rng = rng

    def subgoal(self, situation: Situation) -> str:
        """To get the thing, or to put it down."""
        return f"put it on the {self.task.target}" if situation.holding else f"get the {self.task.thing}"

    def propose(self, situation: Situation) -> Step | GiveUp:
        """The next step; see the class."""
        verb, name = ("place", self.task.target) if situation.holding else ("pick", self.task.thing)
        known = [thing for thing in situation.find(name) if thing.present]
        for thing in sorted(known, key=lambda thing: _order(thing, situation)):
            step = Step(verb, (thing.id,))
            if str(step) not in situation.forbidden:
                return step
        unsearched = [room for room in situation.rooms if room not in situation.searched]
        again = [room for room in situation.rooms if room not in unsearched and room != situation.here]
        if self._rng is not None:
            self._rng.shuffle(unsearched)
            self._rng.shuffle(again)
        before = _rooms_before(f"pick {name}", situation.advice) if verb == "pick" else []
        unsearched.sort(key=lambda room: before.index(room) if room in before else len(before))
        for room in (*unsearched, *again):
            step = Step("go", (room,))
            if str(step) not in situation.forbidden:
                return step
        return GiveUp(f"no {name} can be had, and all rooms were searched")


def _rooms_before(step: str, advice: Sequence[str]) -> list[str]:
    """The rooms that were gone to last before a step, in plans that went well."""
    found = []
    for line in advice:
        if not line.startswith(WENT_WELL):
            continue
        steps = line.removeprefix(WENT_WELL).split(", ")
        if step in steps:
            rooms = [taken.partition("go ")[2] for taken in steps[: steps.index(step)] if taken.startswith("go ")]
            found += rooms[-1:]
    return found


def _order(thing: Thing, situation: Situation) -> tuple[bool, str]:
    return thing.room != situation.here, thing.id
