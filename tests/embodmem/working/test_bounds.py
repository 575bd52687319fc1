"""The context is within its bounds after every call, and nothing that leaves it is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem import EmbodiedMemory
from embodmem.config import Config, WorkingConfig
from embodmem.encoders import HashingEncoder
from embodmem.episodic import EpisodicMemory
from embodmem.errors import ConfigError, InvalidInput
from embodmem.index import Records
from embodmem.store import Store
from embodmem.types import Event, Query
from embodmem.working import EditAction, WorkingMemory
from tests.embodmem.store.filled import check_indexes
from tests.embodmem.working.counts import Count, counts, seen, words

SECOND = 10**9
STEPS = ("note", "event", "pin", "unpin", "hide", "restore", "summarise", "begin", "end", "undo", "forget")


def check(memory: WorkingMemory, count: Count) -> None:
    """Bounds, and what `usage` says of them."""
    texts = [item.text for item in memory.items()]
    whole = "\n".join(texts)
    taken = memory.usage()
    assert (taken.items, taken.bytes) == (len(texts), len(whole.encode()))
    assert taken.tokens == (count(whole) if texts else 0)
    config = memory.config
    assert taken.items <= config.max_items and taken.bytes <= config.max_bytes and taken.tokens <= config.max_tokens


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        WorkingConfig, max_items=st.integers(1, 6), max_bytes=st.integers(1, 90), max_tokens=st.integers(1, 60),
        sinks=st.integers(0, 3), half_life_s=st.sampled_from([0.5, 100.0]),
    ),
    counts,
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99), words), max_size=25),
)  # fmt: skip
def test_bounds_hold_and_nothing_is_lost(
    config: WorkingConfig, count: Count, steps: list[tuple[str, int, str]]
) -> None:
    records = Records(Store(), None)
    episodic, memory = EpisodicMemory(records), WorkingMemory(records, config, count)
    noted: dict[str, str] = {}  # id -> text of all that was ever noted and not forgotten
    for i, (what, which, text) in enumerate(steps):
        act(memory, episodic, noted, what, which, text, i * SECOND)
        check(memory, count)
        there = [item.id for item in memory.items()] + [item.id for item, _ in memory.spilled()]
        assert len(there) == len(set(there))  # each in one place
        assert noted.keys() <= set(there)  # nothing lost
        texts = {item.id: item.text for item in (*memory.items(), *(item for item, _ in memory.spilled()))}
        assert {name: texts[name] for name in noted} == noted
    with records.store.transaction() as db:
        check_indexes(db)
    records.store.close()


def act(
    memory: WorkingMemory, episodic: EpisodicMemory, noted: dict[str, str], what: str, which: int, text: str, now: int
) -> None:
    """Do a step; one that cannot be done says so, and changes nothing."""
    names = sorted(noted)
    name = names[which % len(names)] if names else "item:99"
    if what == "note":
        tags = tuple(text.split())
        noted[
            f"item:{memory.note(text, now, tags=tags, pinned=which % 5 == 0, salience=[None, 0.5, 8.0][which % 3])}"
        ] = text
    elif what == "event":
        ref = episodic.add_event(Event(stamp_ns=now, kind="told", text=text, objects=tuple(text.split())))
        noted[f"item:{memory.note(text, now, ref=ref, tags=text.split())}"] = text
    elif what == "begin":
        memory.begin_subgoal(text, now)
    elif what == "forget":
        word = text.split()[0]
        for part in (memory, episodic):  # what is about this goes, wherever it is
            part.forget(Query(labels=(word,)))
        for other in [name for name, said in noted.items() if word in said.split()]:
            del noted[other]
        left = [
            item for item in (*memory.items(), *(item for item, _ in memory.spilled())) if "summary" not in item.data
        ]
        assert not any(word in item.text.split() for item in left)
    else:
        before = seen(memory.items())
        try:
            if what == "end":
                memory.end_subgoal(text, now)
            elif what == "undo":
                memory.undo()
            else:
                memory.edit([EditAction(what, (name,), text)], now)  # type: ignore[arg-type]
        except InvalidInput:
            assert seen(memory.items()) == before


def test_what_is_worth_least_goes_first(records: Records) -> None:
    memory = WorkingMemory(records, WorkingConfig(max_items=3, half_life_s=10.0))
    memory.note("salient", 0, salience=4.0)  # two half lives: worth as much as one noted 20 s later
    memory.note("plain", 5 * SECOND, salience=1.0)
    memory.note("later", 19 * SECOND, salience=1.0)
    memory.note("last", 19 * SECOND, salience=1.0)
    assert [item.text for item in memory.items()] == ["salient", "later", "last"]
    memory.note(
        "more", 21 * SECOND, salience=1.0
    )  # by now the salient one is worth less than "later"? 4 * 2^-2.1 < 2^-0.2
    assert [item.text for item in memory.items()] == ["salient", "last", "more"]
    memory.note("end", 60 * SECOND, salience=1.0)
    memory.note("end of all", 61 * SECOND, salience=1.0)
    assert [item.text for item in memory.items()][1:] == ["end", "end of all"]


def test_what_is_about_something_new_matters_more(records: Records) -> None:
    memory = WorkingMemory(records)
    for tags, salience in ((("mug", "table"), 2.0), (("mug", "table"), 1.0), (("mug", "cup"), 1.5), ((), 1.0)):
        memory.note("x", 1, tags=tags)
        assert memory.items()[-1].data["salience"] == salience


def test_first_items_and_a_window_stay(records: Records) -> None:
    memory = WorkingMemory(records, WorkingConfig(max_items=5, sinks=2))
    for i in range(9):
        memory.note(f"line {i}", i)
    assert [item.text for item in memory.items()] == ["line 0", "line 1", "line 6", "line 7", "line 8"]
    assert memory.render(6, lambda text: len(text.split())) == "line 0\nline 1\nline 8"
    memory.begin_subgoal("tidy up", 10)  # its own first items count from here
    for i in range(10, 16):
        memory.note(f"line {i}", i)
    assert [item.text for item in memory.items()] == ["line 10", "line 11", "line 13", "line 14", "line 15"]


def test_a_line_that_does_not_fit_is_kept_elsewhere(records: Records) -> None:
    memory = WorkingMemory(records, WorkingConfig(max_tokens=5))
    memory.note("short", 1)
    number = memory.note("a line that is far too long for five tokens", 2)
    assert [item.text for item in memory.items()] == []  # the newest goes last, and it did not fit
    assert {item.id for item, _ in memory.spilled()} == {f"item:{number}", f"item:{number - 1}"}
    memory.restore(f"item:{number - 1}")
    assert [item.text for item in memory.items()] == ["short"]


def test_what_leaves_is_found_by_episodic_memory(records: Records) -> None:
    episodic, memory = EpisodicMemory(records), WorkingMemory(records, WorkingConfig(max_items=1))
    memory.note("the user likes tea", 1, tags=("tea",), agent="ann")
    kept = seen(memory.items())
    ref = episodic.add_event(Event(stamp_ns=2, kind="told", text="the mug fell", objects=("mug",)))
    second = memory.note("the mug fell", 2, tags=("mug",), ref=ref)
    both = seen(memory.items())
    memory.note("now", 3)
    (tea,) = episodic.recall(Query(labels=("tea",)))
    assert (tea.kind, tea.text, tea.data["kind"], tea.data["agent"]) == ("event", "the user likes tea", "noted", "ann")
    assert [r.id for r in episodic.recall("mug")] == [f"event:{ref}"]  # not twice
    assert [(item.text, why) for item, why in memory.spilled()] == [
        ("the mug fell", "evicted"),
        ("the user likes tea", "evicted"),
    ]
    memory.restore("item:1")
    assert seen(memory.items()) == kept and episodic.recall(Query(labels=("tea",))) == []
    memory.restore(f"item:{second}")
    assert seen(memory.items()) == both
    assert [item.text for item, _ in memory.spilled()] == ["now", "the user likes tea"]


def test_a_restart_goes_on_with_all_of_it(path: Path) -> None:
    def open_it() -> WorkingMemory:
        return WorkingMemory(Records(Store(path), HashingEncoder()), WorkingConfig(max_items=4))

    memory = open_it()
    root = memory.begin_subgoal("make tea", 0)
    for i in range(6):
        memory.note_action(f"step {i}", i)
    memory.hide("item:5", who="planner", why="not needed")
    state = (seen(memory.items()), [(seen([i]), r) for i, r in memory.spilled()], memory.edits(), memory.tasks.path())
    memory.store.close()
    memory = open_it()
    assert (
        seen(memory.items()), [(seen([i]), r) for i, r in memory.spilled()], memory.edits(), memory.tasks.path()
    ) == state  # fmt: skip
    assert memory.tasks.active() == root and len(memory.unfold(root)) == 6
    memory.store.close()


def test_nothing_is_kept_of_what_fails(records: Records) -> None:
    memory = WorkingMemory(records, WorkingConfig(max_items=2))
    for i in range(3):
        memory.note(f"line {i}", i)
    before = seen(memory.items()), memory.usage(), len(memory.spilled())
    with pytest.raises(ZeroDivisionError), records.store.transaction():
        memory.note("gone", 9)
        memory.begin_subgoal("gone", 9)
        memory.hide("item:3")
        raise ZeroDivisionError
    assert (seen(memory.items()), memory.usage(), len(memory.spilled())) == before
    assert memory.tasks.active() is None and memory.edits() == []


def test_forgetting_reaches_what_left_and_what_was_said_of_it() -> None:
    with EmbodiedMemory(config=Config(working=WorkingConfig(max_items=2), encoder="hashing")) as memory:
        memory.write(Event(stamp_ns=SECOND, kind="told", text="the zeppelin is due", objects=("zeppelin",)))
        first = memory.working.items()[0].id
        memory.working.note("zeppelin tickets are in the drawer", 2 * SECOND, tags=("zeppelin",))
        memory.working.pin(first, who="ann", why="zeppelin matters")
        memory.working.unpin(first, who="ann")
        for i in range(3, 6):
            memory.write(Event(stamp_ns=1000 * i * SECOND, kind="told", text=f"line {i}"))
        assert len(memory.working.spilled()) == 3 and len(memory.working.edits()) == 2
        assert memory.forget(Query(labels=("zeppelin",))) == 2
        assert [item.text for item, _ in memory.working.spilled()] == ["line 3"]
        assert memory.working.edits() == []
        assert memory.store.path.read_bytes().count(b"zeppelin") == 0


def test_state_goes_to_another_memory(records: Records, make_records: Any) -> None:
    memory = WorkingMemory(records, WorkingConfig(max_items=3))
    memory.begin_subgoal("tidy", 0)
    for i in range(3):
        memory.note(f"line {i}", i, tags=("a",))
    memory.pin("item:2", who="ann")
    other = WorkingMemory(make_records(), WorkingConfig(max_items=3))
    other.note("is replaced", 5)
    other.load_state_dict(memory.state_dict())
    assert seen(other.items()) == seen(memory.items()) and other.edits() == memory.edits()
    assert other.tasks.path() == memory.tasks.path() and other.usage() == memory.usage()
    other.clear()
    assert other.items() == [] and other.edits() == [] and other.tasks.path() == [] and other.usage().items == 0


@pytest.mark.parametrize(
    "bad", [{"max_items": 0}, {"max_bytes": 0}, {"max_tokens": 0}, {"half_life_s": 0.0}, {"sinks": -1}]
)
def test_settings_that_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="working"):
        WorkingConfig(**bad)


def test_what_is_refused(records: Records) -> None:
    memory = WorkingMemory(records)
    for salience in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="salience > 0"):
            memory.note("x", 1, salience=salience)
    with pytest.raises(InvalidInput, match="nanoseconds"):
        memory.note("x", -1)
    with pytest.raises(InvalidInput, match="wanted text"):
        memory.note_action(7, 1)  # type: ignore[arg-type]
    assert memory.items() == []
