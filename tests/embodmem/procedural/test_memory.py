"""Experiences: kept, found by task and state, chosen by what they earned; a restart, a rollback, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embodmem import EmbodiedMemory, Event
from embodmem.config import Config, ProceduralConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import ConfigError, InvalidInput, StampError
from embodmem.index import Records
from embodmem.procedural import Experience, ProceduralMemory
from embodmem.procedural.values import Rarity, terms
from embodmem.store import Store
from embodmem.types import Query
from tests.embodmem.procedural.house import HIDDEN, lived, some_life


@pytest.fixture
def memory(records: Records) -> ProceduralMemory:
    filled = ProceduralMemory(records)
    for life in some_life():
        filled.add(life)
    return filled


def same(a: Experience, b: Experience) -> bool:
    names = [name for name in Experience.__slots__ if name not in ("stream", "position")]
    return all(getattr(a, name) == getattr(b, name) for name in names)


def test_an_experience_comes_back_whole(records: Records) -> None:
    memory = ProceduralMemory(records)
    full = replace(
        lived(5, "mug", "drawer", "sink", closed=True, opened=False),
        reward=-0.5,
        until_ns=9,
        position=np.array([1.0, 2.0, 3.0]),
        agent="ann",
        source="robot",
        evidence=(memory.add(Experience(stamp_ns=1, task="look", success=True)),),
    )
    name = memory.add(full)
    back = memory.experience(name)
    assert same(back, full) and back.stream == "logic"
    assert back.position is not None and back.position.tolist() == [1.0, 2.0, 3.0]
    assert same(memory.experience("experience:1"), Experience(stamp_ns=1, task="look", success=True))


def test_both_channels_choose(memory: ProceduralMemory) -> None:
    found = memory.retrieve("bring vase to window", ("vase on chest", "chest closed", "lamp on"), 20)
    assert {case.do for case in found} == {True, False}
    assert all({"task", "state"} == set(case.why) for case in found[:3])
    assert "open chest" in found[0].plan and found[0].plan[-1] == "place vase on window"
    near = memory.retrieve("bring vase to window", ("vase on chest", "lamp on"), 1, success=True)
    assert "open chest" not in near[0].plan  # the state told
    assert all(not case.do for case in memory.retrieve("bring vase", (), 9, success=False))
    scores = [case.score for case in found]
    assert scores == sorted(scores, reverse=True)


def test_filters_come_before_the_ranks(memory: ProceduralMemory) -> None:
    state = ("vase on chest", "chest closed")
    early = memory.retrieve("bring vase to window", state, 50, filters=Query(between_ns=(None, 3)))
    assert sorted(case.id for case in early) == [f"experience:{i}" for i in (1, 2, 3, 4)]
    assert memory.retrieve("bring vase to window", state, filters=Query(agent="nobody")) == []
    about = memory.retrieve("bring vase to window", state, 50, filters=Query(labels=("milk",)), success=False)
    assert [case.experience.objects[0] for case in about] == ["milk"]


def test_do_and_avoid(memory: ProceduralMemory) -> None:
    memory.distil(100)
    advice = memory.advice("bring vase to window", ("vase on chest", "chest closed", "lamp on"))
    assert advice.skills[0].ready and "open chest" in advice.skills[0].steps
    assert all(case.do for case in advice.do) and not any(case.do for case in advice.avoid)
    (lesson,) = advice.lessons
    assert (lesson.stream, lesson.count, lesson.text, lesson.step) == ("logic", 2, "fridge is closed", "pick milk")


def test_two_streams_of_errors(records: Records) -> None:
    memory = ProceduralMemory(records)
    said = ("the cup was not visible", "took the mug for a cup", "the shelf is too high", "the shelf is too high")
    for i, error in enumerate(said):
        stream: Any = "perception" if "took" in error else None
        tried = Experience(stamp_ns=i, task="fetch the cup", success=False, error=error, stream=stream)
        memory.add(tried)
    seen = memory.lessons("fetch the cup", stream="perception")
    assert {lesson.text for lesson in seen} == set(said[:2])
    logic = memory.lessons("fetch the cup", stream="logic")
    assert [(lesson.text, lesson.count) for lesson in logic] == [(said[2], 2)]
    assert memory.lessons("fetch the cup")[0] == logic[0]  # the most frequent first


def test_values_learn_from_rewards(records: Records) -> None:
    memory = ProceduralMemory(records)
    task, here, there = "cross the river", ("water high",), ("water low", "bridge broken", "night")
    first = memory.add(Experience(stamp_ns=1, task=task, state=here, plan=("swim",), success=True))
    second = memory.add(Experience(stamp_ns=2, task=task, state=there, plan=("wade",), success=True))
    assert memory.select(task, here)[0].id == first and memory.select(task, there)[0].id == second
    before = {state: memory.value(first, task, state) for state in (here, there)}
    for _ in range(4):
        memory.reward(first, task, here, -1.0)
    assert memory.value(first, task, here) < 0 and memory.select(task, here)[0].id == second
    fell = {state: before[state] - memory.value(first, task, state) for state in (here, there)}
    assert fell[here] > 2 * fell[there] > 0  # unlike states learn less of it
    for _ in range(20):
        memory.reward(first, task, here, 1.0)
    assert memory.select(task, here)[0].id == first
    with memory.store.read() as db:
        rows = db.execute("SELECT count(*), max(n) FROM case_value").fetchone()
    assert rows == (2, memory.config.value_memory)  # rewritten, not piled up


def test_rare_terms_count_more(records: Records) -> None:
    memory = ProceduralMemory(records)
    for i in range(9):
        state = ("rain", f"thing{i}")
        memory.add(Experience(stamp_ns=i, task="t", state=state, plan=("p",), success=True))
    asked = terms("t", ("rain", "thing3"), ())
    with memory.store.read() as db:
        rarity = Rarity(db, [asked, terms("t", ("rain",), ()), terms("t", ("thing3",), ())])
    alike = [rarity.overlap(asked, terms("t", state, ())) for state in (("rain",), ("thing3",))]
    weights = np.log1p([9 / 9, 9 / 1])
    assert alike == pytest.approx(weights / weights.sum())
    assert memory.retrieve("t", ("thing3",), 1)[0].id == "experience:4"


def test_value_is_the_equation(records: Records) -> None:
    memory = ProceduralMemory(records)
    states = [("oak pine",), ("oak pine", "elm fir"), ("ash yew",)]
    name = memory.add(Experience(stamp_ns=1, task="t", state=states[0], plan=("p",), success=True, reward=0.7))
    memory.reward(name, "t", states[2], -0.3)
    c = memory.config
    asked = {"t:t", "oak pine", "elm fir", "w:oak", "w:pine", "w:elm", "w:fir"}
    lived = [{"t:t", "oak pine", "w:oak", "w:pine"}, {"t:t", "ash yew", "w:ash", "w:yew"}]
    # Of one experience, terms that it has and terms that none has weigh alike: J is a count.
    kernels = [np.exp(-(1 - len(asked & own) / len(asked | own)) / c.kernel_width) for own in lived]
    up = c.prior_value * c.prior_weight + kernels[0] * 0.7 + kernels[1] * -0.3
    assert memory.value(name, "t", states[1]) == pytest.approx(up / (c.prior_weight + sum(kernels)))


def test_drawing_follows_the_values(records: Records) -> None:
    memory = ProceduralMemory(records, ProceduralConfig(temperature=0.5))
    ids = [
        memory.add(Experience(stamp_ns=i, task="dance", plan=(f"step{i}",), success=True, reward=r))
        for i, r in enumerate((1.0, 0.5))
    ]
    rng = np.random.default_rng(3)
    drawn = [memory.select("dance", rng=rng)[0].id for _ in range(400)]
    values = np.array([memory.value(name, "dance", ()) for name in ids])
    wanted = np.exp(values / 0.5) / np.exp(values / 0.5).sum()
    assert drawn.count(ids[0]) / 400 == pytest.approx(wanted[0], abs=0.08)  # 3 standard deviations
    assert len({case.id for case in memory.select("dance", k=2, rng=rng)}) == 2


def test_a_restart_goes_on(path: Path) -> None:
    store = Store(path)
    memory = ProceduralMemory(Records(store, HashingEncoder()))
    for life in some_life():
        memory.add(life)
    memory.distil(100)
    memory.reward("experience:1", "bring vase to window", (), 0.25)
    asked = ("bring vase to window", ("vase on chest", "chest closed"))
    before = [(case.id, case.plan, case.score, case.value) for case in memory.retrieve(*asked)], memory.skills()
    store.close()
    store = Store(path)
    memory = ProceduralMemory(Records(store, HashingEncoder()))
    assert (
        [(case.id, case.plan, case.score, case.value) for case in memory.retrieve(*asked)],
        memory.skills(),
    ) == before
    store.close()


def test_nothing_is_kept_of_what_fails(memory: ProceduralMemory) -> None:
    with pytest.raises(ZeroDivisionError), memory.store.transaction():
        memory.add(Experience(stamp_ns=200, task="juggle {x}", plan=("throw",), success=True))
        memory.distil(201)
        raise ZeroDivisionError
    assert memory.retrieve("juggle", k=50, filters=Query(between_ns=(150, None))) == [] and memory.skills() == []
    with memory.store.read() as db:
        for table in ("skill_use", "skill_change"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0
        assert db.execute("SELECT count(*) FROM case_value").fetchone()[0] == len(some_life())


def test_state_goes_to_another_file_with_all_tables(memory: ProceduralMemory, make_records: Any) -> None:
    memory.distil(100)
    memory.reward("experience:1", "bring vase to window", (), 0.25)
    other = ProceduralMemory(make_records())
    other.add(Experience(stamp_ns=1, task="is replaced", success=True))
    other.load_state_dict(memory.state_dict())
    assert other.skills() == memory.skills()
    assert other.value("experience:1", "bring vase to window", ()) == memory.value(
        "experience:1", "bring vase to window", ()
    )
    assert [c.id for c in other.retrieve("bring vase", ("vase on chest",))] == [
        c.id for c in memory.retrieve("bring vase", ("vase on chest",))
    ]
    assert other.history(other.skills()[0].id) == memory.history(memory.skills()[0].id)


def test_events_that_are_attempts(records: Records) -> None:
    memory = ProceduralMemory(records)
    memory.write(Event(stamp_ns=1, kind="task", text="bring mug to sink", outcome="done", objects=("mug",)))
    memory.write(Event(stamp_ns=2, kind="task", text="bring cup to sink", outcome="dropped", objects=("cup",)))
    memory.write(Event(stamp_ns=3, kind="task", text="bring pen to sink", reward=0.2))
    memory.write(Event(stamp_ns=4, kind="told", text="bring me tea"))
    tried = [memory.experience(f"experience:{i}") for i in (1, 2, 3)]
    assert [life.success for life in tried] == [True, False, True]
    assert tried[1].error == "dropped" and tried[2].reward == 0.2
    with pytest.raises(StampError):
        memory.add(Experience(stamp_ns=2, task="late", success=True))
    assert len(memory.recall("bring", 20)) == 3


def test_inside_an_embodied_memory() -> None:
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        for life in some_life():
            memory.procedural.add(life)
        memory.procedural.distil(100)
        memory.write(Event(stamp_ns=1, kind="task", text="water the plant", outcome="done"))
        found = memory.recall("bring the milk to the table", 20)
        milk = next(item for item in found if item.kind == "experience" and item.label == "bring milk to table")
        assert any(channel.startswith("procedural.") for channel in milk.why)
        assert memory.counts()["experience"] == 10 and memory.counts()["skill"] == 2
        assert any(item.kind == "experience" for item in memory.recall("water the plant"))
        memory.forget(Query(labels=("milk",)))
        assert not any("milk" in item.text for item in memory.recall("milk", 50))
        state = memory.state_dict()
        memory.clear()
        assert memory.procedural.skills() == [] and "experience" not in memory.counts()
        memory.load_state_dict(state)
        assert memory.procedural.skills() != []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": " "}, "a task in words"),
        ({"plan": "pick mug"}, "plan: wanted a tuple of texts"),
        ({"plan": ("",)}, "no empty line"),
        ({"state": (3,)}, "wanted text"),
        ({"success": 1}, "True or False"),
        ({"reward": float("nan")}, "finite reward"),
        ({"stream": "taste"}, "a stream of"),
        ({"error": "x"}, "no error"),
        ({"failed_step": 0}, "no error and no failed_step"),
        ({"success": False, "failed_step": 1}, "failed_step < 1"),
        ({"until_ns": 0}, "until_ns >= stamp_ns"),
        ({"position": (1, 2)}, "finite point"),
        ({"stamp_ns": -1}, "nanoseconds"),
    ],
)
def test_what_is_no_experience(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"stamp_ns": 5, "task": "wave", "plan": ("wave",), "success": True}
    with pytest.raises(InvalidInput, match=message):
        Experience(**{**good, **change})


def test_what_is_refused(memory: ProceduralMemory) -> None:
    for bad in ("skill:1", "experience:99", "x"):
        with pytest.raises(InvalidInput):
            memory.experience(bad)
    with pytest.raises(InvalidInput, match="a task in words"):
        memory.retrieve("  ")
    with pytest.raises(InvalidInput, match="k >= 1"):
        memory.retrieve("bring", k=0)
    with pytest.raises(InvalidInput, match="tuple of texts"):
        memory.retrieve("bring", "mug on table")
    with pytest.raises(InvalidInput, match="finite number"):
        memory.reward("experience:1", "bring", (), float("inf"))
    with pytest.raises(InvalidInput):
        memory.add(Experience(stamp_ns=100, task="x", success=True, evidence=("nonsense",)))


@pytest.mark.parametrize(
    "bad", [{"credible": 1.0}, {"prior": 0.0}, {"min_successes": 0}, {"use_discount": 0.0}, {"min_overlap": 1.5}]
)
def test_settings_that_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="procedural"):
        ProceduralConfig(**bad)


def test_words_of_a_state_leave_no_words_behind(memory: ProceduralMemory) -> None:
    memory.reward("experience:1", "bring zeppelin to window", ("zeppelin on chest",), 1.0)
    memory.store.save()
    assert memory.store.path.read_bytes().count(b"zeppelin") == 0
    assert lived(1, *HIDDEN[0], closed=True, opened=True).success
