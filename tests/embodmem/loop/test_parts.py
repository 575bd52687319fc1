"""The critic, the breaker and the planner by rules, each on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodmem.errors import ConfigError, InvalidInput
from embodmem.loop import Breaker, Critic, Fetch, FetchPlanner, GiveUp, LoopConfig, Situation, Step, Thing, Verb

MUG = Thing("object:1", "mug", "kitchen", True, "mug on table in the kitchen", 5)
OTHER = Thing("object:2", "mug", "office", True, "mug on desk in the office", 5)
TABLE = Thing("object:3", "table", "kitchen", True, "table in the kitchen", 5)
GONE = Thing("object:4", "book", "office", False, "book in the office, no longer there", 5)
HERE = Situation(
    task="bring the mug to the table", now_ns=9, things=(MUG, TABLE, GONE), rooms=("kitchen", "office"), here="kitchen"
)


def holding(situation: Situation, name: str) -> Situation:
    return replace(situation, holding=name)


@pytest.mark.parametrize(
    ("step", "situation", "why"),
    [
        (Step("pick", ("object:1",)), HERE, ""),
        (Step("pick", ("mug",)), HERE, ""),
        (Step("pick", ("mug",)), replace(HERE, things=(MUG, OTHER)), "2 things bear the name mug"),
        (Step("pick", ("piano",)), HERE, "no piano was ever seen"),
        (Step("pick", ("object:4",)), HERE, "object:4 is no longer where it was seen"),
        (Step("pick", ("object:1",)), holding(HERE, "object:2"), "the hand holds object:2"),
        (Step("place", ("object:3",)), HERE, "the hand is empty"),
        (Step("place", ("object:3",)), holding(HERE, "object:1"), ""),
        (Step("place", ("object:1",)), holding(HERE, "object:1"), "it is what the hand holds"),
        (Step("go", ("attic",)), HERE, "there is no room 'attic'; rooms: kitchen, office"),
        (Step("go", ("office",)), HERE, ""),
        (Step("fly", ("office",)), HERE, "there is no verb 'fly'; wanted one of go, pick, place"),
        (Step("go"), HERE, "wanted 'go ROOM', got 'go'"),
        (Step("pick", ("a", "b")), HERE, "wanted 'pick THING', got 'pick a b'"),
    ],
)
def test_the_critic(step: Step, situation: Situation, why: str) -> None:
    said = Critic().check(step, situation)
    assert said.startswith(why) and bool(said) == bool(why)


def test_what_failed_is_refused_until_the_thing_is_seen_again() -> None:
    step = Step("pick", ("object:1",))
    assert Critic().check(step, replace(HERE, failed={str(step): 7})) == (
        "it failed before, and object:1 was not seen since"
    )
    assert Critic().check(step, replace(HERE, failed={str(step): 4})) == ""


def test_rules_are_data() -> None:
    critic = Critic([Verb(name="open", takes=("thing",), needs=("seen",))])
    assert critic.check(Step("open", ("table",)), HERE) == ""
    assert critic.check(Step("open", ("door",)), HERE) == "no door was ever seen"
    with pytest.raises(ConfigError, match="wanted conditions of .*; got blessed"):
        Critic([Verb(name="open", needs=("blessed",))])
    with pytest.raises(ConfigError, match="each verb once"):
        Critic([Verb(name="open"), Verb(name="open")])


def run(breaker: Breaker, moves: list[tuple[str, str]]) -> int:
    """How many moves are done before one is refused."""
    for i, (key, step) in enumerate(moves):
        if breaker.check(key, step):
            return i
        breaker.note(key, step)
    return len(moves)


def test_the_same_step_in_the_same_state() -> None:
    assert run(Breaker(max_repeats=3, max_period=1), [("s", "go")] * 10) == 3
    assert run(Breaker(max_repeats=3), [(str(i), "go") for i in range(50)]) == 50


@given(period=st.integers(2, 6), lead=st.integers(0, 5), rounds=st.integers(2, 4))
def test_cycles_of_any_period_are_broken(period: int, lead: int, rounds: int) -> None:
    """A cycle goes round so often, however long the way was that led to it, and its next step is refused."""
    before = [(f"lead {i}", "go") for i in range(lead)]
    cycle = [(f"state {i}", f"step {i}") for i in range(period)]
    breaker = Breaker(max_repeats=99, max_period=6, rounds=rounds)
    assert run(breaker, before + cycle * 20) == lead + period * rounds
    key, step = cycle[0]
    assert "circle" in breaker.check(key, step) and breaker.check(key, "another") == ""


@given(st.lists(st.sampled_from("abcdef"), max_size=60))
def test_what_is_refused_did_repeat(names: list[str]) -> None:
    breaker = Breaker(max_repeats=2, max_period=4)
    done: list[tuple[str, str]] = []
    for name in names:
        why = breaker.check(name, "go")
        if why:
            assert done.count((name, "go")) >= 2
        else:
            breaker.note(name, "go")
            done.append((name, "go"))


def test_patience_counts_steps_that_bring_nothing_new() -> None:
    breaker = Breaker(patience=3)
    assert [bool(breaker.stalled(key)) for key in "aababcabcc"] == [False] * 4 + [False, False] + [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("wrong", [{"max_repeats": 0}, {"max_period": 0}, {"rounds": 1}, {"patience": 0}])
def test_breakers_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="breaker: wanted"):
        Breaker(**wrong)


def test_the_planner_picks_what_is_known_then_places_it() -> None:
    planner = FetchPlanner(Fetch("mug", "table"))
    assert planner.propose(HERE) == Step("pick", ("object:1",))
    assert planner.propose(replace(HERE, things=(OTHER, MUG, TABLE))) == Step("pick", ("object:1",))  # the nearer room
    assert planner.propose(holding(HERE, "object:1")) == Step("place", ("object:3",))


def test_the_planner_searches_for_what_it_does_not_know() -> None:
    planner = FetchPlanner(Fetch("piano", "table"))
    assert planner.propose(HERE) == Step("go", ("kitchen",))
    assert planner.propose(replace(HERE, searched=("kitchen",))) == Step("go", ("office",))
    assert planner.propose(replace(HERE, searched=("kitchen", "office"))) == Step("go", ("office",))
    forbidden = {"go kitchen": "no", "go office": "no"}
    assert planner.propose(replace(HERE, forbidden=forbidden)) == GiveUp(
        "no piano can be had, and all rooms were searched"
    )
    drawn = {str(FetchPlanner(Fetch("piano", "x"), np.random.default_rng(i)).propose(HERE)) for i in range(20)}
    assert drawn == {"go kitchen", "go office"}


def test_the_planner_takes_another_where_one_is_forbidden() -> None:
    situation = replace(HERE, things=(MUG, OTHER), forbidden={"pick object:1": "it failed before"})
    assert FetchPlanner(Fetch("mug", "table")).propose(situation) == Step("pick", ("object:2",))


def test_when_a_fetch_is_done() -> None:
    task = Fetch("mug", "table")
    assert not task.is_done(HERE)
    there = replace(HERE, facts=frozenset({("object:1", "on", "object:3")}))
    assert not task.is_done(there)  # a belief of before the task
    there = replace(there, done=("pick object:1: done", "place object:3: done"))
    assert task.is_done(there) and not task.is_done(holding(there, "object:2"))
    assert not task.is_done(replace(HERE, facts=frozenset({("object:4", "on", "object:3")}), done=there.done))


def test_a_state_is_the_same_whatever_does_not_bear_on_the_task() -> None:
    seen_later = replace(HERE, now_ns=99, things=(replace(MUG, seen_ns=99, text="mug"), TABLE))
    assert seen_later.key == HERE.key and seen_later.progress == HERE.progress
    assert replace(HERE, here="office").key != HERE.key and replace(HERE, here="office").progress == HERE.progress
    for other in (
        holding(HERE, "object:1"),
        replace(HERE, searched=("office",)),
        replace(HERE, failed={"pick object:1": 3}),
        replace(HERE, things=(replace(MUG, present=False), TABLE, GONE)),
        replace(HERE, facts=frozenset({("object:1", "on", "object:3")})),
    ):
        assert other.progress != HERE.progress


def test_steps_and_settings_that_are_refused() -> None:
    with pytest.raises(InvalidInput, match="wanted objects as a tuple"):
        Step("go", "kitchen")  # type: ignore[arg-type]
    for verb, objects in ((" ", ()), ("go", ("",))):
        with pytest.raises(InvalidInput, match="wanted a verb and names"):
            Step(verb, objects)
    for wrong in ({"max_steps": 0}, {"max_refusals": 0}):
        with pytest.raises(ConfigError, match="loop: wanted"):
            LoopConfig(**wrong)
