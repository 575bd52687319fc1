"""The memory stays small and true: filter, merging, forgetting, budget, undo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem import EmbodiedMemory, Event, Query
from embodmem.config import Config, LifecycleConfig, SpatialConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import ConfigError, InvalidInput, StampError
from embodmem.lifecycle import Lifecycle, Report
from tests.embodmem.store.test_disk import files_with

S = 10**9
DAY = 86_400 * S


def made(path: Path | None = None, **life: object) -> Lifecycle:
    config = Config(spatial=SpatialConfig(budget_mib=1), lifecycle=LifecycleConfig(**life))  # type: ignore[arg-type]
    return Lifecycle(EmbodiedMemory(path, config=config, encoder=HashingEncoder(64)))


@pytest.fixture
def life() -> Iterator[Lifecycle]:
    life = made()
    yield life
    life.memory.close()


def event(stamp: int, text: str, kind: str = "state", **more: object) -> Event:
    return Event(stamp_ns=stamp, kind=kind, text=text, **more)  # type: ignore[arg-type]


def texts(life: Lifecycle) -> list[str]:
    return [item.text for item in life.memory.episodic.timeline(limit=100_000)]


def test_what_goes_on_is_counted_and_not_stored(life: Lifecycle) -> None:
    stored = [life.write(event(s * S, "the door is open")) for s in range(30)]
    assert stored == [True] + [False] * 29 and life.filter.refused == 29
    assert life.write(event(31 * S, "the door is shut"))
    assert life.write(event(100 * S, "the door is open"))  # after a pause it is another run
    life.step(101 * S)
    first, _, last = life.memory.episodic.timeline()
    assert (first.first_seen_ns, first.last_seen_ns, first.data["count"]) == (0, 29 * S, 30)
    assert "count" not in last.data


def test_runs_that_begin_and_end_in_one_batch_are_counted(life: Lifecycle) -> None:
    batch = [event(s * S, f"door {s // 5}") for s in range(40)]
    assert life.write_batch(batch) == 8
    life.step(50 * S)
    assert [item.data["count"] for item in life.memory.episodic.timeline()] == [5] * 8


def test_what_could_not_be_written_is_admitted_again(life: Lifecycle) -> None:
    life.write(event(10, "the door is open"))
    with pytest.raises(StampError):
        life.write(event(5, "the window is open"))
    assert life.write(event(20, "the window is open")) and len(texts(life)) == 2


def test_a_reward_or_another_outcome_is_always_stored(life: Lifecycle) -> None:
    for s in range(3):
        assert life.write(event(s * S, "grasped", reward=1.0))
    assert life.write(event(4 * S, "grasped", outcome="done"))
    assert life.write(event(5 * S, "grasped", outcome="dropped"))


def test_redundant_neighbours_become_one(life: Lifecycle) -> None:
    for i in range(5):
        life.write(event(i * 60 * S, "the robot waits at the dock", objects=("dock",), agent="r"))
    life.write(event(400 * S, "the robot leaves", agent="r"))
    life.write(event(460 * S, "the robot waits at the dock", agent="q"))
    report = life.run(now_ns=DAY)
    assert report.merged == 4 and report.done
    items = life.memory.episodic.timeline()
    assert [item.text for item in items] == ["the robot waits at the dock", "the robot leaves"] + [items[0].text]
    assert (items[0].first_seen_ns, items[0].last_seen_ns, items[0].data["count"]) == (0, 240 * S, 5)
    assert life.memory.recall(Query(text="dock", labels=("dock",)))[0].id == items[0].id
    assert life.run(now_ns=DAY) == Report()  # nothing is left to do


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 900), st.sampled_from(["open", "shut", "open again"])), max_size=40),
    st.integers(2, 12),
)
def test_merging_loses_no_event_and_no_time(steps: list[tuple[int, str]], limit: int) -> None:
    life = made(repeat_s=0.0, settle_s=0.0)
    stamp, total = 0, 0
    spans: dict[str, list[int]] = {}
    for pause, text in steps:
        stamp, total = stamp + pause * S, total + 1
        life.write(event(stamp, text))
        spans.setdefault(text, []).append(stamp)
    before = {text: (min(s), max(s)) for text, s in spans.items()}
    life.run(now_ns=stamp + DAY, limit=limit)
    items = life.memory.episodic.timeline(limit=1000)
    assert sum(item.data.get("count", 1) for item in items) == total
    for text, (begin, end) in before.items():
        same = [item for item in items if item.text == text]
        assert (min(i.first_seen_ns for i in same), max(i.last_seen_ns for i in same)) == (begin, end)
    for change in life.changes.all():  # newest first
        life.changes.undo(change.number)
    after = [(item.text, item.first_seen_ns) for item in life.memory.episodic.timeline(limit=1000)]
    assert sorted(after) == sorted((text, s) for text, all_of in spans.items() for s in all_of)
    life.memory.close()


def test_a_change_is_logged_and_settles(life: Lifecycle) -> None:
    for i in range(3):
        life.write(event(i * 60 * S, "the robot waits"))
    life.run(now_ns=DAY)
    (change,) = life.changes.all()
    assert change.what == "merge" and len(change.parts) == 3 and "say the same" in change.why
    assert life.run(now_ns=3 * DAY).dropped == 0  # it can still be taken back
    assert life.run(now_ns=9 * DAY).dropped == 3
    with life.memory.store.read() as db:
        assert db.execute("SELECT count(*) FROM record WHERE kind = 'event'").fetchone()[0] == 1
    with pytest.raises(InvalidInput, match="not settled"):
        life.changes.undo(change.number)


def test_what_was_merged_is_forgotten_with_its_parts(tmp_path: Path) -> None:
    life = made(tmp_path / "m.mem")
    for i in range(4):
        life.write(event(i * 60 * S, "the xylophonist plays"))
    life.run(now_ns=DAY)
    assert life.memory.forget(Query(text="xylophonist")) > 0
    assert files_with(tmp_path, b"xylophonist") == [] and texts(life) == []
    life.memory.close()


def test_what_is_recalled_or_told_or_pinned_lasts_longer() -> None:
    life = made(half_life_s=3600.0, forget_below=0.25, undo_s=0.0)  # fades after two hours
    for i, text in enumerate(("a red lamp", "a green vase", "a blue chair", "a white wall")):
        life.write(event(i, text, kind="seen"))
    life.write(event(10, "remember the yellow door", kind="told"))
    by_text = {item.text: item.id for item in life.memory.episodic.timeline()}
    life.pin(by_text["a green vase"])
    life.recall(Query(ids=(by_text["a red lamp"],)))
    life.run(now_ns=3600 * S)
    assert len(texts(life)) == 5
    life.run(now_ns=3 * 3600 * S)
    assert set(texts(life)) == {"a red lamp", "a green vase", "remember the yellow door"}
    life.run(now_ns=10 * 3600 * S)
    assert set(texts(life)) == {"a green vase", "remember the yellow door"}
    assert life.forgetting.describe(int(by_text["a green vase"].split(":")[1]))["pinned"] == 1
    life.pin(by_text["a green vase"], False)
    life.run(now_ns=100 * DAY)
    assert texts(life) == []
    life.memory.close()


def test_what_has_a_date_goes_on_it(life: Lifecycle) -> None:
    life.write(event(0, "the parcel comes at noon"))
    (item,) = life.memory.episodic.timeline()
    life.expire_at(item.id, 500 * S)
    assert life.run(now_ns=499 * S).expired == 0
    assert life.run(now_ns=500 * S).expired == 1 and texts(life) == []
    life.changes.undo(life.changes.all()[0].number)
    assert texts(life) == ["the parcel comes at noon"]
    with pytest.raises(InvalidInput, match="event:999"):
        life.pin("event:999")


def test_the_file_stays_within_its_budget(tmp_path: Path) -> None:
    life = made(tmp_path / "m.mem", budget_mib=1.0, half_life_s=3600.0, forget_below=0.0, repeat_s=0.0)
    rng = np.random.default_rng(0)
    for block in range(12):
        words = [" ".join(str(w) for w in rng.integers(0, 10**6, 30)) for _ in range(100)]
        stamp = block * 1000 * S
        life.write_batch(event(stamp + i * S, text, kind="seen") for i, text in enumerate(words))
        life.write(event(stamp + 500 * S, f"told number {block}", kind="told"))
        life.run(now_ns=stamp + 900 * S)
        assert life.forgetting.used_bytes() <= 1 << 20
    kept = texts(life)
    assert sum(text.startswith("told number") for text in kept) == 12  # what was told outlasts what was seen
    assert 100 < len(kept) < 1212
    stamps = [i.first_seen_ns for i in life.memory.episodic.timeline(limit=10_000) if i.data["kind"] == "seen"]
    assert min(stamps) > 4000 * S  # the oldest went first
    assert any(change.what == "drop" and "budget" in change.why for change in life.changes.all())
    life.memory.close()


def test_what_repeats_itself_becomes_a_fact(life: Lifecycle) -> None:
    hour, monday = 3600 * S, 4 * DAY
    for day in range(28):
        if day % 7 < 5:
            life.memory.semantic.assert_fact("cup", "on", "desk", valid_from_ns=monday + day * DAY + 8 * hour)
            life.memory.semantic.retract("cup", "on", until_ns=monday + day * DAY + 12 * hour)
    assert life.run(now_ns=monday + 28 * DAY).learnt == 1
    (fact,) = life.memory.semantic.facts("cup", "usually on")
    assert "weekdays" in fact.text


def test_a_step_is_bounded(life: Lifecycle) -> None:
    for i in range(50):
        life.write(event(i * 60 * S, "the robot waits"))
    report = life.step(DAY, limit=10)
    assert not report.done and report.merged < 10
    with pytest.raises(InvalidInput, match="limit of 2"):
        life.step(DAY, limit=1)


CHILD = """
import sys
from tests.embodmem.test_lifecycle import made, event, S, DAY
from pathlib import Path
life = made(Path(sys.argv[1]))
print("open", flush=True)
life.run(now_ns=DAY, limit=4, progress=lambda report: print("step", flush=True))
"""


@pytest.mark.parametrize("after", [1, 3, 7])
def test_killed_in_the_middle_it_goes_on(tmp_path: Path, after: int) -> None:
    path = tmp_path / "m.mem"
    life = made(path, repeat_s=0.0)
    for i in range(60):
        life.write(event(i * 60 * S, f"the robot waits at dock {i // 6}"))
    life.memory.close()
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        after -= line.startswith("step")
        if after == 0:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    life = made(path)
    life.run(now_ns=DAY)
    items = life.memory.episodic.timeline()
    assert sum(item.data.get("count", 1) for item in items) == 60
    assert 10 <= len(items) <= 20  # a run longer than a step may stay in two
    life.memory.close()


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="merge_alike"):
        LifecycleConfig(merge_alike=2.0)
    with pytest.raises(ConfigError, match="spans"):
        LifecycleConfig(undo_s=-1.0)


def bits(life: Lifecycle) -> dict[int, int]:
    """How many vectors of events have so many bits."""
    with life.memory.store.read() as db:
        sql = "SELECT length(v.embedding) FROM record_vector v JOIN record r ON r.id = v.id WHERE r.kind = 'event'"
        dim = life.memory.records.encoder.dim  # type: ignore[union-attr]
        sizes = [size for (size,) in db.execute(sql)]
    return dict(Counter(32 if size == 4 * dim else 8 * (size - 1) // dim for size in sizes))


def test_vectors_lose_bits_with_age_and_come_back_with_use() -> None:
    life = made(vector_half_life_s=10 * 86_400.0)
    for day in range(60):
        life.write(event(day * DAY, f"on day {day} the courier brought parcel {day * 37}", "note"))
    life.write(event(60 * DAY, "the spare key hangs behind the green door", "told", source="user"))
    life.pin(life.memory.episodic.timeline(limit=1)[0].id)
    before = {item.id: item.text for item in life.memory.episodic.timeline(limit=100)}
    assert bits(life) == {32: 61} and life.memory.info()["vector_bits"].keys() == {32}
    report = life.run(60 * DAY)
    assert report.thinned >= 49 and report.renewed == 0
    # retention halves in 10 days: under 0.5 after 10, under 0.25 after 20, under 0.1 after 33; day 0 is pinned
    assert bits(life) == {32: 12, 8: 10, 4: 13, 2: 26}
    assert life.memory.info()["vector_bits"].keys() == {32, 8, 4, 2}
    assert life.run(60 * DAY) == Report()  # no vector is made smaller twice
    assert {item.id: item.text for item in life.memory.episodic.timeline(limit=100)} == before
    assert life.recall("parcel 185", 1)[0].text == "on day 5 the courier brought parcel 185"
    life.run(60 * DAY + 1)
    assert bits(life)[2] == 25  # what was recalled is whole again ...
    with life.memory.store.read() as db:
        (number,) = db.execute("SELECT id FROM record WHERE text LIKE '%parcel 185'").fetchone()
        (blob,) = db.execute("SELECT embedding FROM record_vector WHERE id = ?", (number,)).fetchone()
    encoder = life.memory.records.encoder
    assert encoder is not None
    exact = encoder.encode(["on day 5 the courier brought parcel 185"])[0].astype(np.float32)
    np.testing.assert_array_equal(np.frombuffer(blob, np.float32), exact)  # ... to the bit
    assert {change.what for change in life.changes.all()} == {"thin", "renew"}
    life.memory.close()


def test_vectors_that_lost_bits_free_their_bytes(tmp_path: Path) -> None:
    config = Config(spatial=SpatialConfig(budget_mib=1), lifecycle=LifecycleConfig(vector_half_life_s=60.0))
    life = Lifecycle(EmbodiedMemory(tmp_path / "m.mem", config=config, encoder=HashingEncoder(384)))
    life.write_batch(event(i * S, f"note {i} about thing {i % 97}", "note") for i in range(2000))
    before = life.forgetting.used_bytes()
    life.run(DAY)
    freed = before - life.forgetting.used_bytes()
    assert bits(life) == {2: 2000}
    assert freed > 0.8 * 2000 * (1536 - 97)
    life.memory.close()
    with EmbodiedMemory(tmp_path / "m.mem", mode="r", encoder=HashingEncoder(384)) as again:
        assert again.recall("note 1500 about thing 45")[0].text == "note 1500 about thing 45"


def test_vectors_stay_as_they_are_unless_asked(life: Lifecycle) -> None:
    life.write(event(0, "a note", "note"))
    life.run(1000 * DAY)
    assert set(bits(life)) == {32}
    for wrong in (((0.5, 3),), ((0.2, 8), (0.5, 4)), ((1.5, 8),), ((0.5, 8), (0.4, 8))):
        with pytest.raises(ConfigError, match="vector_bits"):
            LifecycleConfig(vector_bits=wrong)


HOUSEHOLD = ("the parcel came with the blue van", "the violin went to the repair shop", "rain fell into the cellar")


def lived(**more: object) -> Lifecycle:
    """Things that are asked for, said once; and what says the same about the dock again and again, at other times."""
    life = made(trial_s=86_400.0, merge_alike=1.0, merge_pause_s=0.0, **more)
    for i, text in enumerate(HOUSEHOLD):
        life.write(event(i * 1000 * S, text, "note"))
    for i in range(20):
        life.write(event((10_000 + i * 60) * S, f"the robot waits at the dock {i % 2}", "state"))
    life.write(event(20_000 * S, "the robot waits at the dock for Ada", "told", source="user"))
    return life


def test_what_answers_nothing_and_says_nothing_new_is_kept_for_a_trial_only() -> None:
    life = lived()
    for question in ("parcel", "where is the violin?", "did rain come in?", "blue van", "violin repair"):
        life.recall(question, 3)
    assert life.run(DAY // 2).rejected == 0 and len(texts(life)) == 24  # the trial is not over
    rejected = life.run(2 * DAY).rejected
    assert 17 <= rejected <= 19
    assert {*HOUSEHOLD, "the robot waits at the dock 0"} < set(texts(life))  # of what says the same, the first
    assert texts(life)[-1] == "the robot waits at the dock for Ada"  # what a person told needs no trial
    weights = [item.data.get("utility", 0.0) for item in life.memory.episodic.timeline()]
    assert min(weights[:3]) >= life.config.admit_from
    assert life.run(2 * DAY) == Report()  # each is weighed once
    (change,) = [change for change in life.changes.all() if change.what == "reject"]
    assert "5 questions" in change.why and life.changes.undo(change.number) == rejected
    assert len(texts(life)) == 24
    life.memory.close()


def test_what_is_asked_for_is_admitted_though_it_says_nothing_new() -> None:
    life = lived(novelty_weight=0.0)
    for _ in range(5):
        life.recall("where does the robot wait?", 3)
    life.run(2 * DAY)
    left = texts(life)
    assert any(text.startswith("the robot waits at the dock") and text[-1].isdigit() for text in left)
    assert not set(HOUSEHOLD) <= set(left)  # novelty counts nothing here, and nobody asked for all of these
    life.memory.close()


def test_what_needs_no_trial_does_not_end_the_weighing() -> None:
    life = made(trial_s=86_400.0, merge_alike=1.0, merge_pause_s=0.0)
    for i in range(12):
        life.write(event(i * 60 * S, f"note {i} for Ada", "told", source="user"))
    for i in range(6):
        life.write(event((10_000 + i * 60) * S, f"the robot waits at the dock {i % 2}", "state"))
    for question in ("note", "dock", "Ada", "robot", "note for Ada"):
        life.recall(question, 3)
    first, more = life.admission.step(2 * DAY, 4)
    assert (first, more) == (0, False)  # four of the told ones; others are due
    rejected = 0
    while not more:
        gone, more = life.admission.step(2 * DAY, 4)
        rejected += gone
    assert 1 <= rejected <= 5 and len(texts(life)) == 18 - rejected
    life.memory.close()


def test_without_questions_everything_is_admitted() -> None:
    life = lived()
    assert life.run(9 * DAY).rejected == 0 and len(texts(life)) == 24
    life.memory.close()
    with pytest.raises(ConfigError, match="min_questions"):
        LifecycleConfig(min_questions=9, questions=8)


def test_summaries_go_last_when_the_budget_is_tight(tmp_path: Path) -> None:
    life = made(tmp_path / "m.mem", budget_mib=0.0, repeat_s=0.0)
    rng = np.random.default_rng(0)
    for s in range(0, 6000, 10):
        life.write(event(s * S, " ".join(str(w) for w in rng.integers(0, 10**6, 20)), kind="seen"))
    life.run(now_ns=DAY)
    before = life.memory.counts()["summary"]
    assert before > 50
    free = replace(life.config, budget_mib=life.forgetting.used_bytes() * 0.6 / 2**20)
    tight = Lifecycle(life.memory, free)
    tight.run(now_ns=DAY)
    left = life.memory.counts()
    assert left["summary"] == before and left["event"] < 600  # what happened goes first
    tighter = Lifecycle(life.memory, replace(free, budget_mib=0.3))  # less than an empty file takes
    assert tighter.run(now_ns=DAY).done
    assert "event" not in life.memory.counts() and "summary" not in life.memory.counts()
    life.memory.close()
