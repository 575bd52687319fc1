"""Routines, preferences and personal meanings."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import RoutineConfig, SemanticConfig
from embodmem.episodic import EpisodicMemory
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.semantic import Claim, SemanticMemory, find_patterns, preference
from embodmem.semantic.routines import DAY_NS, HOUR_NS, chance, holm, hours_held, hours_hit
from embodmem.types import Event, Query

CONFIG = RoutineConfig()
MONDAY_NS = 4 * DAY_NS  # 5 January 1970, UTC


def fill(
    memory: SemanticMemory, weeks: range, days: tuple[int, ...], hours: tuple[int, int], where: str = "desk"
) -> None:
    """The mug is somewhere in these hours of these days, and in the cupboard else."""
    with memory.store.transaction():
        for week in weeks:
            for day in range(7):
                midnight = MONDAY_NS + (7 * week + day) * DAY_NS
                if day in days:
                    memory.assert_fact(
                        "object:3", "on", where, valid_from_ns=midnight + hours[0] * HOUR_NS, names=("mug", where)
                    )
                memory.assert_fact("object:3", "in", "cupboard", valid_from_ns=midnight + hours[1] * HOUR_NS)
                memory.retract("object:3", "on", until_ns=midnight + hours[1] * HOUR_NS)


def routines(memory: SemanticMemory) -> list[str]:
    return sorted(fact.text for fact in memory.facts() if fact.relation.startswith(("usually", "often")))


def test_the_mug_is_on_the_desk_on_weekday_mornings(records: Records) -> None:
    memory = SemanticMemory(records)
    fill(memory, range(6), (0, 1, 2, 3, 4), (8, 12))
    now = MONDAY_NS + 42 * DAY_NS
    done = memory.consolidate(now)
    assert done.finished and done.examined == 2  # on the desk, and in the cupboard else
    assert len(done.begun) == 1
    (fact,) = memory.facts("object:3", "usually on")
    assert fact.text == "mug is usually on desk on weekdays from 8:00 to 12:00"
    assert (fact.source, fact.confidence, fact.valid_from_ns) == ("mined", 1.0, now)
    (item,) = memory.recall(Query(ids=(fact.id,)))
    assert len(item.evidence) == 30 and all(ref.startswith("fact:") for ref in item.evidence)
    assert fact.id in [item.id for item in memory.recall(Query(labels=("desk",)), 100)]
    again = memory.consolidate(now + DAY_NS)
    assert again.begun == [] and again.ended == 0 and memory.facts("object:3", "usually on") == [fact]


def test_a_routine_ends_when_it_is_contradicted(records: Records) -> None:
    memory = SemanticMemory(records)
    fill(memory, range(6), (0, 1, 2, 3, 4), (8, 12))
    memory.consolidate(MONDAY_NS + 42 * DAY_NS)
    fill(memory, range(6, 14), (5, 6), (14, 16))
    now = MONDAY_NS + 14 * 7 * DAY_NS
    done = memory.consolidate(now)
    assert done.ended == 1 and routines(memory) == ["mug is usually on desk on weekends from 14:00 to 16:00"]
    past = [f.text for f in memory.timeline("object:3", "usually on")]
    assert past[0] == "mug was usually on desk on weekdays from 8:00 to 12:00"
    memory.forget(Query(labels=("cupboard",)))
    gone = memory.consolidate(now + 60 * DAY_NS)
    assert gone.ended == 1 and routines(memory) == []


def test_events_repeat_themselves_too_in_local_time(records: Records) -> None:
    config = SemanticConfig(routines=replace(CONFIG, utc_offset_s=2 * 3600))
    memory, episodic = SemanticMemory(records, config), EpisodicMemory(records)
    rng = np.random.default_rng(0)
    with memory.store.transaction():
        for day in range(40):
            at = MONDAY_NS + day * DAY_NS + 5 * HOUR_NS + int(rng.integers(HOUR_NS))
            episodic.write(Event(stamp_ns=at, kind="brewed", text="made tea", objects=("tea",), agent="ann"))
            at += int(rng.integers(1, 15)) * HOUR_NS
            episodic.write(Event(stamp_ns=at, kind="walked", text="took the dog out", objects=("dog",), agent="ann"))
    memory.consolidate(MONDAY_NS + 40 * DAY_NS)
    assert routines(memory) == ["ann often brewed tea every day from 7:00 to 8:00"]  # and the walks are at any hour


def test_a_step_is_bounded_and_the_next_goes_on(records: Records) -> None:
    memory = SemanticMemory(records)
    for number in range(3):
        with memory.store.transaction():
            for day in range(10):
                at = MONDAY_NS + day * DAY_NS + 9 * HOUR_NS
                memory.assert_fact(f"thing {number}", "on", "desk", valid_from_ns=at)
                memory.retract(f"thing {number}", "on", until_ns=at + HOUR_NS)
    now = MONDAY_NS + 10 * DAY_NS
    steps = [memory.consolidate(now, 2) for _ in range(3)]
    assert [(s.examined, s.finished, len(s.begun)) for s in steps] == [(2, False, 2), (1, True, 1), (2, False, 0)]
    with pytest.raises(InvalidInput, match="wanted a budget of 1"):
        memory.consolidate(now, 0)


def test_what_is_always_so_or_at_any_time_is_no_routine() -> None:
    rng = np.random.default_rng(1)
    assert find_patterns(np.ones((56, 24), dtype=bool), 0, CONFIG) == []
    assert find_patterns(np.zeros((56, 24), dtype=bool), 0, CONFIG) == []
    false = [
        find_patterns(rng.random((56, 24)) < share, 3, CONFIG) for share in (0.1, 0.3, 0.6, 0.7) for _ in range(25)
    ]
    assert sum(map(bool, false)) <= 3  # at a level of 1 %


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 6),
    st.sampled_from([(0, 1, 2, 3, 4), (5, 6), (2,), tuple(range(7))]),
    st.integers(0, 20),
    st.integers(1, 4),
)
def test_a_planted_pattern_is_found_whatever_day_comes_first(
    first: int, days: tuple[int, ...], hour: int, length: int
) -> None:
    weekday = (first + np.arange(56)) % 7
    cells = np.zeros((56, 24), dtype=bool)
    cells[np.isin(weekday, days), hour : hour + length] = True
    (found,) = find_patterns(cells, first, CONFIG)
    names = {(0, 1, 2, 3, 4): "weekdays", (5, 6): "weekends", (2,): "Wednesdays"}
    assert found.days == names.get(days, "every day")
    assert (found.from_hour, found.until_hour, found.confidence) == (hour, hour + length, 1.0)
    assert found.support == found.of == 8 * len(days) and found.p_value < CONFIG.alpha


@given(st.integers(0, 12), st.integers(0, 12), st.floats(0.0, 1.0))
def test_chance_is_the_binomial_tail(k: int, n: int, p: float) -> None:
    want = sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    assert chance(np.array([k]), np.array([n]), p)[0] == pytest.approx(want, abs=1e-9)


def test_holm_stops_at_the_first_that_fails() -> None:
    p = np.array([[0.01, 0.001], [0.03, 0.005]])
    assert holm(p, 0.05).tolist() == [[True, True], [True, True]]
    p[0, 0] = 0.06
    assert holm(p * 1.0, 0.05).tolist() == [[False, True], [False, True]]  # 0.03 > 0.05 / 2
    assert holm(np.array([0.03, 0.001]), 0.05).tolist() == [True, True]


def test_hours_of_spans_and_stamps() -> None:
    spans = np.array([[10, 70], [101, 130], [150, 60 * 25]]) * (HOUR_NS // 60)
    held = hours_held(spans, 0, 2)
    assert held.reshape(-1)[:4].tolist() == [True, False, True, True] and held.sum() == 24
    hit = hours_hit(np.array([-1, 0, HOUR_NS, 48 * HOUR_NS]), 0, 2)
    assert np.flatnonzero(hit.reshape(-1)).tolist() == [0, 1]


def test_a_preference_drifts(records: Records) -> None:
    steady = preference(["tea"] * 30 + ["milk"], CONFIG)
    assert steady.best == "tea" and not steady.changed and sum(steady.fused.values()) == pytest.approx(1.0)
    parted = preference(["tea"] * 30 + ["milk"] * 8, CONFIG)
    assert parted.changed and parted.best == "milk" and parted.short == {"milk": 1.0, "tea": 0.0}
    assert not preference(["tea"] * 30 + ["milk"] * 150, CONFIG).changed  # the long average has come after
    memory = SemanticMemory(records)
    with memory.store.transaction():
        for day in range(30):
            memory.update(
                Claim(
                    subject="ann", relation="chose", object="tea", valid_from_ns=day * 10, valid_until_ns=day * 10 + 1
                )
            )
    memory.consolidate(300)
    assert [f.text for f in memory.facts("ann") if f.source == "mined"] == ["ann prefers tea"]
    with memory.store.transaction():
        for day in range(30, 38):
            memory.update(
                Claim(
                    subject="ann", relation="chose", object="milk", valid_from_ns=day * 10, valid_until_ns=day * 10 + 1
                )
            )
    done = memory.consolidate(400)
    assert done.ended == 1 and done.changes["ann", "chose"].best == "milk"
    assert [f.text for f in memory.facts("ann") if f.source == "mined"] == ["ann prefers milk"]


def test_a_phrase_has_a_meaning_of_its_own(records: Records) -> None:
    memory = SemanticMemory(records)
    memory.define("my morning set", ["mug", "kettle"], 10, "ann")
    memory.define("My  Morning set", ["plate"], 10, "bob")
    memory.define("everything", ["my morning set", "spoon", "everything"], 10, "ann")
    assert memory.meaning("my morning set", "ann") == ["mug", "kettle"]
    assert memory.meaning("my morning set", "bob") == ["plate"] and memory.meaning("my morning set") == []
    assert memory.meaning("everything", "ann") == ["spoon", "mug", "kettle"]
    decisions = memory.define("my morning set", ["mug", "tea pot"], 20, "ann")
    assert [d.operation for d in decisions] == ["DELETE", "NOOP", "ADD"]
    assert memory.meaning("my morning set", "ann") == ["mug", "tea pot"]
    assert memory.meaning("my morning set", "ann", 15) == ["mug", "kettle"]
    assert memory.recall("what is the morning set", 1)[0].label == "my morning set"
    for bad in ([], "mug"):
        with pytest.raises(InvalidInput, match="define: wanted the things"):
            memory.define("my morning set", bad, 30)
