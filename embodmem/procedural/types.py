"""What procedural memory keeps and gives: experiences, cases, lessons, skills."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embodmem.checks import check_point, check_stamp, check_texts
from embodmem.errors import InvalidInput

Stream = Literal["perception", "logic"]
STREAMS: tuple[Stream, ...] = ("perception", "logic")


def _set(obj: object, name: str, value: Any) -> None:
    object.__setattr__(obj, name, value)


def check_lines(name: str, value: Any) -> tuple[str, ...]:
    """Lines of text as a tuple.

    Raises:
        InvalidInput: It is one string, or a line is empty or no text.
    """
    if isinstance(value, str):
        raise InvalidInput(f"{name}: wanted a tuple of texts, got the string {value!r}")
    lines = tuple(value)
    check_texts(name, *lines)
    if not all(line.strip() for line in lines):
        raise InvalidInput(f"{name}: wanted no empty line, got {lines!r}")
    return tuple(line.strip() for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Experience:
    """One attempt at a task: what held before, what was planned, what came of it.

    Attributes:
        stamp_ns: When it began, ns.
        task: What was to be done: "bring the mug to the kitchen".
        state: What held before, a fact a line: "mug on table".
        plan: The steps that were taken, in order: "pick mug".
        success: Whether the task was done.
        after: What held afterwards, a fact a line; () where that is not known.
        reward: What it earned; None counts as 1 for success and 0 for failure.
        error: What went wrong, in words; "" for a success.
        stream: Which kind of error that was: something perceived wrongly, or a step that was wrong; None lets words of
            `error` decide (setting `procedural.perception_words`).
        failed_step: Index of the step that failed, or None.
        objects: Names in task, state and plan that could have been others: what a skill generalises over.
        until_ns: When it ended, ns; None when it took no time.
        position: (3,) metres in the world, or None.
        agent: Who did it; stamps must not decrease per agent.
        source: Who says so.
        evidence: Ids of records that it rests on.
    """

    stamp_ns: int
    task: str
    state: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    success: bool
    after: tuple[str, ...] = ()
    reward: float | None = None
    error: str = ""
    stream: Stream | None = None
    failed_step: int | None = None
    objects: tuple[str, ...] = ()
    until_ns: int | None = None
    position: NDArray[np.float64] | None = None
    agent: str = ""
    source: str = ""
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _set(self, "stamp_ns", check_stamp(self.stamp_ns))
        check_texts("experience", self.task, self.error, self.agent, self.source)
        if not self.task.strip():
            raise InvalidInput("experience: wanted a task in words, got an empty one")
        for name in ("state", "plan", "after", "objects", "evidence"):
            _set(self, name, check_lines(f"experience: {name}", getattr(self, name)))
        if not isinstance(self.success, (bool, np.bool_)):
            raise InvalidInput(f"experience: wanted success as True or False, got {self.success!r}")
        _set(self, "success", bool(self.success))
        if self.reward is not None and not math.isfinite(self.reward):
            raise InvalidInput(f"experience: wanted a finite reward, got {self.reward}")
        if self.stream not in (None, *STREAMS):
            raise InvalidInput(f"experience: wanted a stream of {STREAMS}, got {self.stream!r}")
        if self.success and (self.error or self.failed_step is not None):
            raise InvalidInput("experience: wanted no error and no failed_step of a success")
        if self.failed_step is not None and not 0 <= self.failed_step < len(self.plan):
            raise InvalidInput(f"experience: wanted 0 <= failed_step < {len(self.plan)}, got {self.failed_step}")
        if self.until_ns is not None:
            _set(self, "until_ns", check_stamp(self.until_ns, "until_ns"))
            if self.until_ns < self.stamp_ns:
                raise InvalidInput(f"experience: wanted until_ns >= stamp_ns, got {self.until_ns} < {self.stamp_ns}")
        if self.position is not None:
            _set(self, "position", check_point(self.position, "experience: position"))

    @property
    def value(self) -> float:
        """The reward, or what stands for it."""
        return float(self.success) if self.reward is None else float(self.reward)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """An experience that was retrieved for a task and a state.

    Attributes:
        id: "experience:12".
        experience: It.
        plan: Its steps with the names of the present task, as far as these are known.
        score: Larger is better; comparable only within one answer.
        do: True: it went well, do likewise. False: avoid what it did.
        value: What the case is expected to earn here (`ProceduralMemory.value`).
        why: Channel -> score: "task", "state", "value".
    """

    id: str
    experience: Experience
    plan: tuple[str, ...]
    score: float
    do: bool
    value: float
    why: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What went wrong, as often as it did: failures with the same error, names left out, are one lesson.

    Attributes:
        text: The error, in the words of the latest.
        stream: "perception" or "logic".
        step: The step at which it happened, or "".
        count: How many failures say so.
        evidence: Their ids, latest first.
    """

    text: str
    stream: Stream
    step: str
    count: int
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A script that was distilled from experiences. Names that vary are variables in braces: "pick {a}".

    Attributes:
        id: "skill:13".
        task: What it does: "bring {a} to {b}".
        steps: What to do, in order.
        preconditions: What held before in all successes, and not in every failure.
        context: What held before in all successes and failures alike: it tells nothing apart, but it gives names to
            variables.
        unless: What held before in failures, twice at least, and never in a success.
        adds: What held after all successes, and not before.
        removes: What held before all successes, and not after.
        version: Counts its changes, from 1.
        deprecated: Whether it is no longer offered.
        successes: How often it went well, later uses counting more (setting `use_discount`).
        failures: How often it did not.
        lower: Lower credible bound of its rate of success.
        mean: Its expected rate of success.
        upper: Upper credible bound.
        evidence: Ids of the experiences that it was distilled from.
    """

    id: str
    task: str
    steps: tuple[str, ...]
    preconditions: tuple[str, ...]
    context: tuple[str, ...]
    unless: tuple[str, ...]
    adds: tuple[str, ...]
    removes: tuple[str, ...]
    version: int
    deprecated: bool
    successes: float
    failures: float
    lower: float
    mean: float
    upper: float
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A skill that fits a task, with names for its variables.

    Attributes:
        skill: The skill.
        names: Variable -> name; variables that neither task nor state name are missing.
        steps: Its steps with these names.
        missing: Preconditions, with these names, that do not hold.
        against: Facts that hold and with which it only failed so far.
    """

    skill: Skill
    names: Mapping[str, str]
    steps: tuple[str, ...]
    missing: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether all that it needs is named and holds, and nothing speaks against it."""
        return not (self.missing or self.against or any("{" in step for step in self.steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a skill.

    Attributes:
        stamp_ns: When, ns.
        what: "distilled", "refined", "deprecated", "restored" or "reverted".
        version: The version that it led to.
        why: In words.
    """

    stamp_ns: int
    what: str
    version: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a planner should know before it plans.

    Attributes:
        skills: Scripts that fit, those ready first, then by lower bound.
        do: Cases that went well.
        avoid: Cases that did not.
        lessons: What went wrong before, by stream.
    """

    skills: tuple[Offer, ...]
    do: tuple[Case, ...]
    avoid: tuple[Case, ...]
    lessons: tuple[Lesson, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisedStep:
    """One step of a revised plan.

    Attributes:
        text: The step; "" when it was dropped.
        action: What was done to it.
        was: The step as it was planned; "" when it was inserted.
        evidence: Ids of the cases that speak for it.
        support: Part of the weight of all retrieved cases that speaks for it, 0..1.
    """

    text: str
    action: Literal["keep", "replace", "insert", "drop"]
    was: str
    evidence: tuple[str, ...]
    support: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisedPlan:
    """A plan after its revision, with what each step rests on."""

    task: str
    revised: tuple[RevisedStep, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps to take."""
        return tuple(step.text for step in self.revised if step.text)
