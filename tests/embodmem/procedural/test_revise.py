"""A plan revised step by step by what like cases did."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.procedural import Case, ProceduralMemory, revise, suggest
from tests.embodmem.procedural.house import run, some_life

TASK = "bring vase to window"
CLOSED = ("vase on chest", "chest closed", "lamp on")
RIGHT = ("goto chest", "open chest", "pick vase", "goto window", "place vase on window")


@pytest.fixture
def memory(records: Records) -> ProceduralMemory:
    filled = ProceduralMemory(records)
    for life in some_life():
        filled.add(life)
    return filled


@pytest.mark.parametrize(
    ("draft", "actions"),
    [
        (RIGHT, ["keep"] * 5),
        (RIGHT[:1] + RIGHT[2:], ["keep", "insert", "keep", "keep", "keep"]),
        (RIGHT[:3], ["keep"] * 3 + ["insert"] * 2),
        ((*RIGHT[:3], "dance", *RIGHT[4:]), ["keep"] * 3 + ["replace", "keep"]),
        ((*RIGHT[:3], "dance", *RIGHT[3:]), ["keep"] * 3 + ["drop", "keep", "keep"]),
    ],
)
def test_steps_are_kept_put_in_replaced_and_dropped(
    memory: ProceduralMemory, draft: tuple[str, ...], actions: list[str]
) -> None:
    plan = revise(draft, TASK, CLOSED, memory, k=3)
    assert plan.steps == RIGHT
    assert [step.action for step in plan.revised] == actions
    assert run(plan.steps, CLOSED)[0]
    for step in plan.revised:
        assert step.evidence and 0.5 < step.support <= 1
        assert all(memory.experience(case).success for case in step.evidence)


def test_without_cases_the_plan_stays(records: Records) -> None:
    empty = ProceduralMemory(records)
    plan = revise(RIGHT, TASK, CLOSED, empty)
    assert plan.steps == RIGHT and {step.action for step in plan.revised} == {"keep"}
    assert suggest(TASK, (), CLOSED, empty) == ("", 0.0, ())
    assert revise((), TASK, CLOSED, empty).steps == ()


def test_a_plan_from_nothing(memory: ProceduralMemory) -> None:
    assert revise((), TASK, CLOSED, memory, k=3).steps == RIGHT


def test_a_reviser_is_asked_with_what_was_found(memory: ProceduralMemory) -> None:
    asked: list[tuple[str, tuple[str, ...], str, int]] = []

    def reviser(task: str, past: Sequence[str], step: str, cases: Sequence[Case]) -> Sequence[str]:
        asked.append((task, tuple(past), step, len(cases)))
        return {"a": ["a"], "b": [], "c": ["c1", "c2"], "d": ["e"]}[step]

    plan = revise(("a", "b", "c", "d"), TASK, CLOSED, memory, reviser=reviser, k=4)
    assert plan.steps == ("a", "c1", "c2", "e")
    assert [step.action for step in plan.revised] == ["keep", "drop", "insert", "insert", "replace"]
    assert asked[2] == (TASK, ("a",), "c", 4)  # the steps so far are the revised ones
    with pytest.raises(InvalidInput, match="reviser"):
        revise(("a",), TASK, CLOSED, memory, reviser=lambda *_: "one text")


def test_the_next_step_of_a_workflow(memory: ProceduralMemory) -> None:
    text, support, ids = suggest(TASK, RIGHT[:2], CLOSED, memory, k=3)
    assert text == "pick vase" and support > 0.9 and ids
    assert suggest(TASK, RIGHT, CLOSED, memory, k=3)[0] == ""


def test_what_is_refused(memory: ProceduralMemory) -> None:
    with pytest.raises(InvalidInput, match="plan: wanted a tuple"):
        revise("goto chest", TASK, CLOSED, memory)
    with pytest.raises(InvalidInput, match="a task in words"):
        revise(RIGHT, " ", CLOSED, memory)
