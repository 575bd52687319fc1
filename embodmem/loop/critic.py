"""The critic: whether a step can be done, by rules that are data, checked against what the memory believes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from embodmem.errors import ConfigError
from embodmem.loop.situation import Situation
from embodmem.loop.types import Step

Condition = Callable[[Situation, Step], str]
"""Why a step cannot be done, or "" where this condition holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What a verb takes and needs.

    Attributes:
        name: The verb.
        takes: Names of its arguments.
        needs: Conditions by name (`CONDITIONS`); all must hold.
        says: What it does, in words, for a planner.
    """

    name: str
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    says: str = ""


def _room_known(situation: Situation, step: Step) -> str:
    known = ", ".join(situation.rooms) or "none"
    return "" if step.objects[0] in situation.rooms else f"there is no room {step.objects[0]!r}; rooms: {known}"


def _elsewhere(situation: Situation, step: Step) -> str:
    return f"the body is in the {situation.here} already" if step.objects[0] == situation.here else ""


def _hand_empty(situation: Situation, step: Step) -> str:
    return f"the hand holds {situation.holding}" if situation.holding else ""


def _hand_full(situation: Situation, step: Step) -> str:
    return "" if situation.holding else "the hand is empty"


def _seen(situation: Situation, step: Step) -> str:
    return "" if situation.find(step.objects[-1]) else f"no {step.objects[-1]} was ever seen"


def _present(situation: Situation, step: Step) -> str:
    found = situation.find(step.objects[-1])
    gone = found and not any(thing.present for thing in found)
    return f"{step.objects[-1]} is no longer where it was seen" if gone else ""


def _one_thing(situation: Situation, step: Step) -> str:
    found = [thing for thing in situation.find(step.objects[-1]) if thing.present]
    which = ", ".join(f"{thing.id} ({thing.text})" for thing in found)
    return (
        f"{len(found)} things bear the name {step.objects[-1]}; name one by its id: {which}" if len(found) > 1 else ""
    )


def _not_failed(situation: Situation, step: Step) -> str:
    """What failed will fail again, unless the thing was seen since the attempt began."""
    begun = situation.failed.get(str(step))
    if begun is None or any(thing.seen_ns > begun for thing in situation.find(step.objects[-1])):
        return ""
    return f"it failed before, and {step.objects[-1]} was not seen since"


def _other_than_held(situation: Situation, step: Step) -> str:
    return "it is what the hand holds" if step.objects[-1] == situation.holding else ""


CONDITIONS: dict[str, Condition] = {
    "room known": _room_known,
    "elsewhere": _elsewhere,
    "hand empty": _hand_empty,
    "hand full": _hand_full,
    "seen": _seen,
    "present": _present,
    "one thing": _one_thing,
    "not failed": _not_failed,
    "other than held": _other_than_held,
}
"""What rules may need, by name; add one's own."""

FETCH_RULES: tuple[Verb, ...] = (
    Verb(name="go", takes=("room",), needs=("room known",), says="drive into a room and look around in it"),
    Verb(
        name="pick",
        takes=("thing",),
        needs=("hand empty", "seen", "present", "one thing", "not failed"),
        says="drive to a thing, named by its id, and pick it up",
    ),
    Verb(
        name="place",
        takes=("furniture",),
        needs=("hand full", "seen", "present", "one thing", "other than held", "not failed"),
        says="drive to a piece of furniture, named by its id, and put down there what is held",
    ),
)
"""The rules of a robot that drives, picks and places."""


class Critic:
    """Says why a step cannot be done.

    Args:
        rules: The verbs that the body knows.

    Raises:
        ConfigError: A rule needs a condition that there is none of, or a verb stands twice.
    """

    def __init__(self, rules: Sequence[Verb] = FETCH_RULES) -> None:
        self.verbs: Mapping[str, Verb] = {rule.name: rule for rule in rules}
        if len(self.verbs) != len(rules):
            raise ConfigError(f"critic: wanted each verb once, got {[rule.name for rule in rules]}")
        unknown = sorted({need for rule in rules for need in rule.needs} - CONDITIONS.keys())
        if unknown:
            raise ConfigError(f"critic: wanted conditions of {', '.join(CONDITIONS)}; got {', '.join(unknown)}")

    def check(self, step: Step, situation: Situation) -> str:
        """Why a step cannot be done as far as the memory knows; "" where nothing speaks against it."""
        verb = self.verbs.get(step.verb)
        if verb is None:
            return f"there is no verb {step.verb!r}; wanted one of {', '.join(self.verbs)}"
        if len(step.objects) != len(verb.takes):
            wanted = " ".join((verb.name, *(name.upper() for name in verb.takes)))
            return f"wanted {wanted!r}, got {str(step)!r}"
        return next((why for need in verb.needs if (why := CONDITIONS[need](situation, step))), "")
