"""A robot in the house that is told single steps (go, pick, place): the body of a planner loop (`embodmem.loop`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.loop import Outcome, Step
from embodmem.loop.situation import ROBOT
from embodmem.types import Event, Percept, Recall
from embodmem_envs.adapter import HouseAdapter
from embodmem_envs.house import Action, HouseEnv
from embodmem_envs.tour import Guide

THERE_M = 0.6
"""What lies this near to where it is believed to be is what was meant, metres."""


class HouseBody:
    """Does steps in `EmbodMem/House-v0`: drives by the truth of the apartment, sees with its camera.

    Where things are it knows from the memory alone: it drives to the place that is remembered, and what does not lie
    there it cannot pick.

    Args:
        env: The house with discrete actions, after a reset.
        memory: Where ids of steps are looked up.
        look_every: While driving, every so many frames is seen; the look around at the end of a drive always is.
        start_ns: The time of the environment's step 0, ns.
    """

    def __init__(self, env: HouseEnv, memory: EmbodiedMemory, look_every: int = 6, start_ns: int = 0) -> None:
        if look_every < 1:
            raise InvalidInput(f"body: wanted look_every of 1 or more, got {look_every}")
        self.env, self.memory = env, memory
        self.moves = 0
        """Moves of the robot so far: what the steps took."""
        self._adapter = HouseAdapter(env.config.step_s, start_ns)
        self._guide = Guide(env)
        self._look_every = look_every
        self._seen: list[Percept | Event] = []
        self._info: dict[str, Any] = {}
        self._carried = self.label_of_carried = ""

    def begin(self, seed: int | None = None, move: int = 0) -> int:
        """Start a day: a new home with a seed, else the same one with `move` things moved; returns the time, ns."""
        obs, self._info = self.env.reset(seed=seed, options={"move": move})
        if seed is not None:
            self.add_rooms()
        percept = self._adapter.percept(obs, self._info)
        self.memory.write(percept)
        self._believe_room(percept.stamp_ns)
        return percept.stamp_ns

    def add_rooms(self) -> None:
        """Tell the memory the plan of the apartment: names of rooms and their boxes."""
        for name, lower, upper in self._adapter.rooms(self.env):
            self.memory.scene.add_room(name, lower, upper)

    def tour(self) -> int:
        """Look around in all rooms and write down what is seen; returns the time, ns."""
        self._follow(self._guide.tour(), every=2)
        self.memory.write_batch(self._take())
        stamp_ns = self._adapter.stamp_ns(self._info)
        self._believe_room(stamp_ns)
        return stamp_ns

    def act(self, step: Step) -> Outcome:
        """Do a step: `go ROOM`, `pick ID` or `place ID`."""
        done, text = {"go": self._go, "pick": self._pick, "place": self._place}.get(step.verb, self._unknown)(step)
        facts = [(ROBOT, "in", str(self._info["room"]))] if self._info.get("room") else []
        if step.verb == "place" and done:
            facts.append((self._carried, "on", step.objects[0]))
        stamp_ns = self._adapter.stamp_ns(self._info)
        return Outcome(done=done, text=text, stamp_ns=stamp_ns, seen=self._take(), facts=tuple(facts))

    def _go(self, step: Step) -> tuple[bool, str]:
        try:
            for stop in self._guide.stops(step.objects[0]):
                self._follow(self._guide.go_to(stop), every=self._look_every)
                self._follow(self._guide.look_around(), every=1)
        except (InvalidInput, StopIteration) as error:
            return False, str(error) or f"there is no room {step.objects[0]}"
        return True, f"looked around in the {step.objects[0]}"

    def _pick(self, step: Step) -> tuple[bool, str]:
        thing = self._find(step.objects[0])
        if thing is None or thing.position is None:
            return False, f"nobody knows where {step.objects[0]} is"
        place = thing.position
        here = [item for item in self.env.objects if item.label == thing.label]
        near = [item for item in here if np.linalg.norm(item.position - place) <= THERE_M]
        if not near:
            self._inspect(thing)
            return False, f"the {thing.label} is not there"
        nearest = min(near, key=lambda item: float(np.linalg.norm(item.position - place)))
        picked = self._manipulate(self._guide.pick(nearest.id), "pick", thing.id)
        return picked, f"picked up the {thing.label}" if picked else f"the {thing.label} cannot be got at"

    def _place(self, step: Step) -> tuple[bool, str]:
        target = self._find(step.objects[0])
        held = self.env.world.held
        if target is None or target.position is None or held is None:
            return False, f"nobody knows where {step.objects[0]} is" if held else "nothing is held"
        pieces = [piece for piece in self.env.furniture if piece.label == target.label]
        if not pieces:
            return False, f"nothing can be put on the {target.label}"
        piece = min(pieces, key=lambda piece: float(np.linalg.norm(piece.position - np.asarray(target.position))))
        placed = self._manipulate(self._guide.place(piece.id), "place", self._carried)
        return placed, f"put it on the {target.label}" if placed else f"there is no free spot on the {target.label}"

    @staticmethod
    def _unknown(step: Step) -> tuple[bool, str]:
        return False, f"this robot cannot {step.verb}"

    def _manipulate(self, actions: Iterable[Action], kind: str, thing: str) -> bool:
        """Drive and do; the event is about the thing that was meant, by its id."""
        try:
            self._follow(actions, every=self._look_every)
        except InvalidInput:
            return False
        event = self._info.get("event")
        if event is None or event["kind"] != kind:
            return False
        if kind == "pick":
            self._carried, self.label_of_carried = thing, str(event["label"])
        (told,) = self._adapter.events(self._info)
        self._seen.append(replace(told, objects=(thing,)))
        self._follow(self._guide.look_around(), every=2)
        return True

    def _inspect(self, thing: Recall) -> None:
        """Drive to where a thing should be and look around."""
        assert thing.position is not None
        room = str(thing.data.get("room") or self._info["room"])
        stops = self._guide.stops(room)
        nearest = min(stops, key=lambda stop: float(np.linalg.norm(stop - np.asarray(thing.position)[:2])))
        self._follow(self._guide.go_to(nearest), every=self._look_every)
        self._follow(self._guide.look_around(), every=1)

    def _find(self, name: str) -> Recall | None:
        found = self.memory.scene.objects() if name else []
        return next((item for item in found if name in (item.id, item.label)), None)

    def _follow(self, actions: Iterable[Action], every: int) -> None:
        for i, action in enumerate(actions):
            obs, _, _, _, self._info = self.env.step(int(action))
            self.moves += 1
            if i % every == 0:
                self._seen.append(self._adapter.percept(obs, self._info))

    def _take(self) -> list[Percept | Event]:
        seen, self._seen = self._seen, []
        return seen

    def _believe_room(self, stamp_ns: int) -> None:
        self.memory.semantic.assert_fact(ROBOT, "in", str(self._info["room"]), valid_from_ns=stamp_ns)


class ForgetfulBody:
    """A body whose memory is emptied at every step: what is left is the plan of the rooms and what it saw last.

    What a planner without a memory is compared with. What it holds it knows, by the name alone.

    Args:
        body: The body.
    """

    def __init__(self, body: HouseBody) -> None:
        self.body = body

    def act(self, step: Step) -> Outcome:
        """Do a step, and forget all that was before it."""
        body = self.body
        outcome = body.act(step)
        target = body._find(step.objects[0])
        body.memory.clear()
        body.add_rooms()
        held, facts = body.env.world.held, [fact for fact in outcome.facts if fact[0] == ROBOT]
        if held is not None:
            facts.append((held.kind.label, "held by", ROBOT))
        elif step.verb == "place" and outcome.done and target is not None:
            facts.append((body.label_of_carried, "on", target.label))
        seen = [item for item in outcome.seen if not isinstance(item, Event)]  # events name what is forgotten
        return replace(outcome, seen=seen, facts=tuple(facts))
