"""The loop over a memory that has lived through a morning, with a body whose world is as simple as can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from embodmem.config import Config
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import StampError
from embodmem.loop import Fetch, FetchPlanner, GiveUp, LoopConfig, LoopResult, Outcome, Situation, Step, run_loop
from embodmem.loop.situation import advised
from embodmem.procedural import Experience
from embodmem.types import Event, Query
from tests.embodmem.ask.home import START_NS, S, live

NOW_NS = START_NS + 1200 * S


@dataclass
class Room:
    """A body that drives and handles without fail, but for what stands in `fails`: step in words -> how often."""

    memory: EmbodiedMemory
    fails: dict[str, int] = field(default_factory=dict)
    stamp_ns: int = NOW_NS
    held: str = ""

    def act(self, step: Step) -> Outcome:
        self.stamp_ns += S
        if self.fails.get(str(step), 0):
            self.fails[str(step)] -= 1
            return Outcome(done=False, text="it is not there", stamp_ns=self.stamp_ns)
        seen, facts = [], []
        if step.verb == "go":
            facts = [("robot", "in", step.objects[0])]
        else:
            thing = step.objects[0] if step.verb == "pick" else self.held
            self.held = thing if step.verb == "pick" else ""
            seen = [Event(stamp_ns=self.stamp_ns, kind=step.verb, text=str(step), objects=(thing,))]
            facts = [(thing, "on", step.objects[0])] if step.verb == "place" else []
        return Outcome(done=True, text="done", stamp_ns=self.stamp_ns, seen=seen, facts=tuple(facts))


@pytest.fixture
def memory() -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory(config=Config(encoder="hashing")) as made:
        live(made)
        for fact in made.semantic.facts(relation="held by"):
            made.semantic.retract(fact.subject, "held by", until_ns=START_NS + 1000 * S)
        yield made


def fetch(memory: EmbodiedMemory, body: Room, task: Fetch, **settings: object) -> LoopResult:
    config = LoopConfig(**settings)  # type: ignore[arg-type]
    return run_loop(memory, body, FetchPlanner(task), str(task), task.is_done, now_ns=NOW_NS, config=config)


def mugs(memory: EmbodiedMemory) -> list[str]:
    return sorted(item.id for item in memory.scene.objects("mug"))


def test_a_task_is_done_and_all_of_it_is_remembered(memory: EmbodiedMemory) -> None:
    task = Fetch("mug", "shelf")
    result = fetch(memory, Room(memory), task)
    (shelf,) = (item.id for item in memory.scene.objects("shelf"))
    first = mugs(memory)[0]
    assert result.success and result.reason == "done"
    assert result.steps == [Step("pick", (first,)), Step("place", (shelf,))]
    steps = memory.episodic.timeline(Query(kinds=("step",)))
    assert [(step.text, step.data["outcome"]) for step in steps] == [(str(step), "done") for step in result.steps]
    assert (first, "on", shelf) in {(f.subject, f.relation, f.object) for f in memory.semantic.facts()}
    assert not memory.semantic.facts(relation="held by")
    kept = memory.procedural.experience(result.experience)
    assert kept.success and kept.plan == ("pick mug", "place shelf") and kept.task == "bring the mug to the shelf"


def test_the_last_step_of_one_task_is_none_of_the_next(memory: EmbodiedMemory) -> None:
    task, body = Fetch("mug", "shelf"), Room(memory)
    first = fetch(memory, body, task)
    again = run_loop(memory, body, FetchPlanner(task), str(task), task.is_done, now_ns=first.ended_ns)
    assert first.success and again.success and [step.verb for step in again.steps] == ["pick", "place"]


def test_the_task_and_its_parts_fold_into_a_line(memory: EmbodiedMemory) -> None:
    task = Fetch("mug", "shelf")
    result = fetch(memory, Room(memory), task)
    assert result.success
    done = {(item.text, item.status) for item in memory.working.tasks.all()}
    assert done == {(str(task), "done"), ("get the mug", "done"), ("put it on the shelf", "done")}
    assert memory.working.tasks.active() is None
    lines = [item.text for item in memory.working.items()]
    assert [line for line in lines if "mug" in line and "shelf" in line and "done" in line][-1].startswith(str(task))
    assert "pick mug" not in lines and not any(line.startswith("get the mug") for line in lines)
    get = next(item for item in memory.working.tasks.all() if item.text == "get the mug")
    assert "pick mug" in [item.text for item in memory.working.unfold(get.id)]
    body, other = Room(memory, stamp_ns=result.ended_ns), Fetch("piano", "shelf")
    failed = run_loop(
        memory, body, FetchPlanner(other), str(other), other.is_done, now_ns=result.ended_ns,
        config=LoopConfig(max_steps=2),
    )  # fmt: skip
    assert any(item.text.startswith(f"{other}: {failed.reason}") for item in memory.working.items())
    assert memory.working.tasks.active() is None


def test_without_subgoals_working_memory_holds_no_task(memory: EmbodiedMemory) -> None:
    assert fetch(memory, Room(memory), Fetch("mug", "shelf"), subgoals=False).success
    assert memory.working.tasks.all() == []


def test_what_went_well_before_is_looked_for_there_first(memory: EmbodiedMemory) -> None:
    plan = ("go bedroom", "go kitchen", "pick hammer", "place shelf")
    tried = Experience(stamp_ns=NOW_NS, task="bring the hammer to the desk", plan=plan, success=True)
    task = Fetch("hammer", "shelf")
    assert str(fetch(memory, Room(memory), task, max_steps=1).steps[0]) == "go bedroom"
    memory.procedural.add(tried)
    assert str(fetch(memory, Room(memory), task, max_steps=1).steps[0]) == "go kitchen"
    assert str(fetch(memory, Room(memory), task, max_steps=1, advise=False).steps[0]) == "go bedroom"
    lines = advised(memory, str(task), ())
    assert f"went well: {', '.join(plan)}" in lines
    assert any(line.startswith("went wrong before: the limit of 1 steps") for line in lines)


def test_what_failed_is_not_done_again(memory: EmbodiedMemory) -> None:
    first, second = mugs(memory)
    result = fetch(memory, Room(memory, fails={f"pick {first}": 99}), Fetch("mug", "shelf"))
    assert result.success
    assert [str(step) for step in result.steps][:2] == [f"pick {first}", f"pick {second}"]
    (refused,) = result.refusals
    assert (refused.by, str(refused.step)) == ("critic", f"pick {first}") and "failed before" in refused.refused
    assert memory.episodic.timeline(Query(kinds=("step",)))[0].data["outcome"] == "it is not there"


def test_without_critic_and_breaker_it_goes_on_for_ever(memory: EmbodiedMemory) -> None:
    first = mugs(memory)[0]
    body = Room(memory, fails={f"pick {first}": 99})
    result = fetch(memory, body, Fetch("mug", "shelf"), critic=False, breaker=False, max_steps=12)
    assert not result.success and result.reason == "the limit of 12 steps is reached"
    assert {str(step) for step in result.steps} == {f"pick {first}"}


def test_the_breaker_alone_forces_another_choice(memory: EmbodiedMemory) -> None:
    first = mugs(memory)[0]
    body = Room(memory, fails={f"pick {first}": 99})
    result = fetch(memory, body, Fetch("mug", "shelf"), critic=False)
    assert result.success and {turn.by for turn in result.refusals} == {"breaker"}
    assert "3 times" not in result.refusals[0].refused and "changed nothing" in result.refusals[0].refused


def test_it_gives_up_with_a_reason_and_learns_that(memory: EmbodiedMemory) -> None:
    result = fetch(memory, Room(memory), Fetch("piano", "shelf"))
    assert not result.success and result.reason == "no piano can be had, and all rooms were searched"
    assert [str(step) for step in result.steps][:2] == ["go bedroom", "go kitchen"]
    kept = memory.procedural.experience(result.experience)
    assert not kept.success and kept.error == result.reason and kept.plan[:2] == ("go bedroom", "go kitchen")
    assert memory.procedural.retrieve("bring the piano to the shelf", success=False)


def test_its_patience_ends(memory: EmbodiedMemory) -> None:
    result = fetch(memory, Room(memory), Fetch("piano", "shelf"), patience=2)
    assert result.reason == "nothing that bears on the task was new in 2 steps" and len(result.steps) == 4


def test_a_planner_that_insists_is_stopped(memory: EmbodiedMemory) -> None:
    class Stubborn:
        def propose(self, situation: Situation) -> Step:
            return Step("pick", ("piano",))

    result = run_loop(memory, Room(memory), Stubborn(), "play", lambda _: False, now_ns=NOW_NS)
    assert not result.success and result.steps == [] and len(result.refusals) == 6
    assert result.reason == "6 proposals in a row were refused, the last (pick piano): no piano was ever seen"


def test_a_planner_sees_what_was_refused_and_gives_up(memory: EmbodiedMemory) -> None:
    looked: list[dict[str, str]] = []

    class Careful:
        def propose(self, situation: Situation) -> Step | GiveUp:
            looked.append(dict(situation.forbidden))
            return GiveUp("enough") if situation.forbidden else Step("go", ("attic",))

    result = run_loop(memory, Room(memory), Careful(), "look", lambda _: False, now_ns=NOW_NS)
    assert result.reason == "enough" and looked[0] == {} and "no room 'attic'" in looked[1]["go attic"]


def test_cycles_between_states_are_broken(memory: EmbodiedMemory) -> None:
    class Pacing:
        def propose(self, situation: Situation) -> Step | GiveUp:
            to = "kitchen" if situation.here == "bedroom" else "bedroom"
            return GiveUp("stopped") if f"go {to}" in situation.forbidden else Step("go", (to,))

    config = LoopConfig(max_repeats=99, patience=99, max_steps=99)
    result = run_loop(memory, Room(memory), Pacing(), "pace", lambda _: False, now_ns=NOW_NS, config=config)
    assert result.reason == "stopped" and "circle again: go" in result.refusals[0].refused
    assert len(result.steps) <= 8


def test_nothing_is_done_where_nothing_is_to_do(memory: EmbodiedMemory) -> None:
    result = run_loop(memory, Room(memory), FetchPlanner(Fetch("x", "y")), "rest", lambda _: True, now_ns=NOW_NS)
    assert result.success and result.turns == []


def test_a_body_whose_clock_goes_back_is_refused_and_nothing_of_the_step_is_kept(memory: EmbodiedMemory) -> None:
    body = Room(memory, stamp_ns=START_NS)
    before = memory.counts()
    with pytest.raises(StampError):
        run_loop(memory, body, FetchPlanner(Fetch("mug", "shelf")), "x", lambda _: False, now_ns=START_NS)
    assert {kind: n for kind, n in memory.counts().items() if kind != "task"} == before
    assert memory.working.tasks.active() is None
