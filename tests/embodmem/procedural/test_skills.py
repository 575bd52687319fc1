"""Skills: distilled, offered, counted, deprecated and restored, reverted, forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import ProceduralConfig
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.procedural import Experience, ProceduralMemory
from embodmem.procedural.distil import common, positions
from embodmem.store import Store
from embodmem.types import Query
from tests.embodmem.procedural.house import HIDDEN, THINGS, lived, run, some_life


@pytest.fixture
def memory(records: Records) -> ProceduralMemory:
    filled = ProceduralMemory(records)
    for life in some_life():
        filled.add(life)
    return filled


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_common_subsequence(a: list[str], b: list[str]) -> None:
    both = common(a, b)
    assert positions(both, a) is not None and positions(both, b) is not None
    length = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a)):
        for j in range(len(b)):
            length[i + 1][j + 1] = length[i][j] + 1 if a[i] == b[j] else max(length[i][j + 1], length[i + 1][j])
    assert len(both) == length[-1][-1]


def test_two_ways_with_what_tells_them_apart(memory: ProceduralMemory) -> None:
    assert len(memory.distil(100)) == 2
    opening, plain = sorted(memory.skills(), key=lambda skill: -len(skill.steps))
    assert opening.task == plain.task == "bring {a} to {b}"
    assert opening.steps == ("goto {c}", "open {c}", "pick {a}", "goto {b}", "place {a} on {b}")
    assert plain.steps == ("goto {c}", "pick {a}", "goto {b}", "place {a} on {b}")
    assert opening.preconditions == ("lamp on", "{a} on {c}", "{c} closed")
    assert plain.context == ("lamp on", "{a} on {c}") and plain.preconditions == ()
    assert plain.unless == ("{c} closed",)  # two failures had it, and no success
    assert plain.adds == ("{a} on {b}",) and plain.removes == ("{a} on {c}",)
    assert opening.removes == ("{a} on {c}", "{c} closed")
    assert plain.evidence == tuple(f"experience:{i}" for i in (1, 2, 3, 4))
    assert memory.distil(101) == []  # nothing new was lived
    assert [change.what for change in memory.history(plain.id)] == ["distilled"]


@pytest.mark.parametrize("closed", [False, True])
def test_an_offer_works_for_what_was_never_seen(memory: ProceduralMemory, closed: bool) -> None:
    memory.distil(100)
    state = ("vase on chest", "lamp on", "hat on stool", *(("chest closed",) if closed else ()))
    best, other = memory.offers("bring vase to window", state)
    assert best.ready and not other.ready
    assert best.names == {"a": "vase", "b": "window", "c": "chest"}
    done, _, _, after = run(best.steps, state)
    assert done and "vase on window" in after
    assert (other.against == ("chest closed",)) if closed else (other.missing == ("chest closed",))
    nowhere = memory.offers("bring vase to window", ())
    assert not any(offer.ready for offer in nowhere)
    assert memory.offers("sing a song") == []


def test_names_that_never_vary_stay(records: Records) -> None:
    memory = ProceduralMemory(records)
    for i, thing in enumerate(("mug", "cup", "pen")):
        memory.add(lived(i, thing, "table", "sink", closed=False, opened=False))
    (skill,) = [memory.skill(item) for item in memory.distil(9)]
    assert skill.task == "bring {a} to sink" and skill.steps[0] == "goto table"
    memory.add(lived(10, "hat", "sofa", "bed", closed=False, opened=False))
    assert memory.distil(11) == [skill.id]  # the same skill, now more general
    wider = memory.skill(skill.id)
    assert (wider.version, wider.task, wider.steps[0]) == (2, "bring {a} to {b}", "goto {c}")
    assert wider.lower > skill.lower and len(wider.evidence) == 4
    back = memory.revert(skill.id, 1, stamp_ns=12, why="too wide")
    assert (back.version, back.task, back.steps) == (3, skill.task, skill.steps)
    assert memory.distil(13) == []  # what was taken back is not taken up again
    assert [change.what for change in memory.history(skill.id)] == ["distilled", "refined", "reverted"]
    with pytest.raises(InvalidInput, match="wanted a version of"):
        memory.revert(skill.id, 9, stamp_ns=14)


def test_detours_are_left_out(records: Records) -> None:
    memory = ProceduralMemory(records)
    for i, (names, detour) in enumerate(zip(THINGS, ("hum", "wait", "turn", "look"), strict=True)):
        life = lived(i, *names, closed=False, opened=False)
        memory.add(replace(life, plan=(*life.plan[: i % 3], detour, *life.plan[i % 3 :])))
    (skill,) = [memory.skill(item) for item in memory.distil(9)]
    assert skill.steps == ("goto {c}", "pick {a}", "goto {b}", "place {a} on {b}")


def test_too_few_successes_make_none(records: Records) -> None:
    memory = ProceduralMemory(records)
    for i, names in enumerate(HIDDEN):
        memory.add(lived(i, *names, closed=True, opened=i < 2))
    assert memory.distil(9) == []
    few = ProceduralMemory(records, ProceduralConfig(min_successes=2))
    assert len(few.distil(9)) == 1


def test_a_skill_that_fails_is_deprecated_until_it_works(memory: ProceduralMemory) -> None:
    memory.distil(100)
    skill = memory.skills()[0]
    task, bounds, stamp = "bring vase to window", [skill.upper], 101
    while not skill.deprecated:
        skill = memory.record_use(skill.id, False, stamp_ns=stamp)
        assert skill.upper <= bounds[-1]
        bounds.append(skill.upper)
        stamp += 1
    assert bounds[-2] >= memory.config.deprecate_below > bounds[-1]
    assert skill.id not in [offer.skill.id for offer in memory.offers(task)]
    assert skill.id not in [item.id for item in memory.recall(Query(text="bring"), 50)]
    assert skill in (memory.skill(skill.id), *memory.skills(deprecated=True)) or memory.skill(skill.id).deprecated
    while skill.deprecated:
        skill = memory.record_use(skill.id, True, stamp_ns=stamp)
        stamp += 1
    memory.deprecate(skill.id, stamp_ns=stamp, why="the user said so")
    memory.restore(skill.id, stamp_ns=stamp + 1)
    memory.restore(skill.id, stamp_ns=stamp + 2)  # nothing to do
    said = [(change.what, change.why) for change in memory.history(skill.id)]
    assert [what for what, _ in said] == ["distilled", "deprecated", "restored", "deprecated", "restored"]
    assert said[3][1] == "the user said so" and "upper bound" in said[1][1]


def test_a_use_is_counted_once(memory: ProceduralMemory) -> None:
    memory.distil(100)
    plain = next(skill for skill in memory.skills() if len(skill.steps) == 4)
    life = memory.add(lived(101, "hat", "sofa", "bed", closed=False, opened=False))
    once = memory.record_use(plain.id, True, stamp_ns=101, experience=life)
    assert memory.record_use(plain.id, True, stamp_ns=101, experience=life).successes == once.successes
    memory.distil(102)
    assert memory.skill(plain.id).successes == once.successes
    assert life in memory.skill(plain.id).evidence


@settings(max_examples=15, deadline=None)
@given(st.lists(st.booleans(), max_size=30), st.floats(0.5, 1.0))
def test_counts_are_those_of_the_equation(uses: list[bool], discount: float) -> None:
    memory = ProceduralMemory(Records(Store(), None), ProceduralConfig(use_discount=discount, min_successes=1))
    memory.add(Experience(stamp_ns=0, task="wave", plan=("wave",), success=True))
    (name,) = memory.distil(1)
    for i, success in enumerate(uses):
        memory.record_use(name, success, stamp_ns=2 + i)
    everything = [True, *uses]
    ages = range(len(everything) - 1, -1, -1)
    wanted = [sum(discount**age for use, age in zip(everything, ages, strict=True) if use == w) for w in (True, False)]
    skill = memory.skill(name)
    assert (skill.successes, skill.failures) == (pytest.approx(wanted[0]), pytest.approx(wanted[1]))
    assert 0 <= skill.lower <= skill.mean <= skill.upper <= 1 or not (skill.successes and skill.failures)
    assert skill.deprecated == (skill.upper < memory.config.deprecate_below)
    memory.store.close()


def test_forgetting_takes_out_of_skills_what_came_from_it(memory: ProceduralMemory) -> None:
    memory.distil(100)
    opening, plain = sorted(memory.skills(), key=lambda skill: -len(skill.steps))
    assert memory.forget(Query(labels=("mug",))) == 1
    kept = memory.skill(plain.id)
    assert len(kept.evidence) == 3 and kept.steps == plain.steps
    with memory.store.read() as db:
        old = db.execute("SELECT content FROM skill_change").fetchall()
    assert all("mug" not in (content or "") for (content,) in old)
    assert (
        memory.forget(Query(labels=("milk",))) == 3
    )  # the success, the failure, and the skill: two successes are left
    assert [skill.id for skill in memory.skills(deprecated=True)] == [plain.id]
    assert memory.store.path.read_bytes().count(b"milk") == 0
    with pytest.raises(InvalidInput):
        memory.skill(opening.id)


def test_what_is_refused(memory: ProceduralMemory) -> None:
    memory.distil(100)
    name = memory.skills()[0].id
    for bad in ("skill:999", "experience:1", "skill", "skill:x"):
        with pytest.raises(InvalidInput):
            memory.record_use(bad, True, stamp_ns=1)
    with pytest.raises(InvalidInput):
        memory.record_use(name, True, stamp_ns=-1)
    with pytest.raises(InvalidInput):
        memory.record_use(name, True, stamp_ns=1, experience="experience:999")
    with pytest.raises(InvalidInput):
        memory.distil(-5)
