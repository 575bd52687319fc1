"""A house in words for `bench_skills.py`: things to carry, some of which need care that is not to be seen.

A task is "bring <thing> to <place>". A plan works for certain only if it opens what is closed and takes the care that
the thing needs; without the care it works now and then, and with a wrong one never. What a planner sees are facts, most
of them of no account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

THINGS = (
    "red mug", "blue mug", "tea cup", "glass bowl", "steel bowl", "flower vase", "stone vase", "wine bottle",
    "paper box", "tool box", "old lamp", "floor lamp", "book pile", "plate pile", "toy car", "toy train",
)  # fmt: skip
OPEN_PLACES = ("table", "desk", "shelf", "sofa", "window sill")
CLOSED_PLACES = ("drawer", "fridge", "cabinet", "wardrobe")
TARGETS = ("kitchen sink", "dining table", "work bench", "bed side")
CARE = ("", "put on gloves", "fetch the cart", "wrap it in cloth")
NOISE = ("rain outside", "radio on", "lamp on", "floor wet", "door open", "cat asleep", "sun low", "phone rings")


@dataclass(frozen=True)
class Task:
    """What is to be done, and what can be seen."""

    text: str
    thing: str
    source: str
    target: str
    state: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that could have been others."""
        return (self.thing, self.source, self.target)


@dataclass
class World:
    """Draws tasks and carries out plans.

    Args:
        seed: Of the needs of things, the tasks, and luck.
        luck: How often a plan without the care that is needed works all the same.
    """

    seed: int
    luck: float = 0.35
    slip: float = 0.03
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.care = {thing: CARE[self.rng.integers(len(CARE))] for thing in THINGS}

    def task(self) -> Task:
        """The next task."""
        thing, target = str(self.rng.choice(THINGS)), str(self.rng.choice(TARGETS))
        closed = bool(self.rng.random() < 0.4)
        source = str(self.rng.choice(CLOSED_PLACES if closed else OPEN_PLACES))
        noise = tuple(fact for fact in NOISE if self.rng.random() < 0.5)
        facts = (f"{thing} in {source}", *((f"{source} closed",) if closed else ()), *noise)
        return Task(f"bring {thing} to {target}", thing, source, target, facts)

    def draft(self, task: Task, rng: np.random.Generator) -> tuple[str, ...]:
        """A plan by somebody who knows neither this house nor its things."""
        steps = [f"go to {task.source}"]
        if rng.random() < 0.5:
            steps.append(f"open {task.source}")
        care = CARE[rng.integers(len(CARE))]
        return (
            *steps,
            *((care,) if care else ()),
            f"pick {task.thing}",
            f"go to {task.target}",
            f"put {task.thing} down",
        )

    def run(self, task: Task, plan: Sequence[str]) -> tuple[bool, str, int | None]:
        """Whether it worked, what went wrong, and at which step."""
        at, opened, cared, holding = "", False, "", False
        for i, step in enumerate(plan):
            if step.startswith("go to "):
                at = step.removeprefix("go to ")
            elif step == f"open {task.source}" and at == task.source:
                opened = True
            elif step in CARE and step:
                cared = step
            elif step == f"pick {task.thing}" and at == task.source:
                if f"{task.source} closed" in task.state and not opened:
                    return False, f"{task.source} is closed", i
                need = self.care[task.thing]
                fits = 1.0 - self.slip if cared == need else 0.0 if cared else self.luck
                if self.rng.random() >= fits:
                    return False, f"{task.thing} slipped", i
                holding = True
            elif step == f"put {task.thing} down" and at == task.target and holding:
                return True, "", None
            else:
                return False, f"cannot {step}", i
        return False, "the plan ended too early", None
