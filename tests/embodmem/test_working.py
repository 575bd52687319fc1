"""Working memory: bounded, with pins, and text within a budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import WorkingConfig
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.store import Store
from embodmem.types import Detection, Event, Percept, Query
from embodmem.working import WorkingMemory, count_tokens


def lines(memory: WorkingMemory) -> list[str]:
    return [item.text for item in memory.items()]


def small(records: Records, max_items: int = 4) -> WorkingMemory:
    return WorkingMemory(records, WorkingConfig(max_items=max_items))


def view(stamp_ns: int, *labels: str, agent: str = "") -> Percept:
    detections = tuple(Detection(label=label, box=np.array([0, 0, 5, 5])) for label in labels)
    return Percept(stamp_ns=stamp_ns, T_world_sensor=np.eye(4), detections=detections, agent=agent)


def test_the_oldest_goes_first(records: Records) -> None:
    memory = small(records)
    for i in range(7):
        memory.write(Event(stamp_ns=i, kind="told", text=f"line {i}"))
    assert lines(memory) == ["line 3", "line 4", "line 5", "line 6"]
    assert [r.text for r in memory.recall("line 3", 1)] == ["line 3"]
    assert "line 2" not in [r.text for r in memory.recall("line", 10)]


def test_pins_stay(records: Records) -> None:
    memory = small(records)
    first = memory.note("pinned from the start", 0, pinned=True)
    second = memory.note("pinned later", 1)
    memory.pin(f"item:{second}")
    for i in range(2, 9):
        memory.note(f"line {i}", i)
    assert lines(memory) == ["pinned from the start", "pinned later", "line 7", "line 8"]
    memory.unpin(f"item:{first}")
    memory.note("line 9", 9)
    assert lines(memory) == ["pinned later", "line 7", "line 8", "line 9"]


def test_more_pins_than_room_drop_the_oldest_pin(records: Records) -> None:
    memory = small(records, 2)
    for i in range(4):
        memory.note(f"pin {i}", i, pinned=True)
    assert lines(memory) == ["pin 2", "pin 3"]
    memory.note("not a pin", 5)
    assert lines(memory) == ["pin 3", "not a pin"]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(["note", "pinned", "pin", "unpin", "forget"]), st.integers(0, 30)), max_size=40),
)
def test_bounds_and_pins_hold_whatever_is_done(max_items: int, steps: list[tuple[str, int]]) -> None:
    memory = small(Records(Store(), None), max_items)
    model: list[list] = []  # [row id, pinned], oldest first
    for stamp, (what, which) in enumerate(steps):
        if what in ("note", "pinned"):
            pinned = what == "pinned"
            model.append([memory.note(f"line {stamp}", stamp, pinned=pinned), pinned])
            if len(model) > max_items:
                model.remove(min(model[:-1], key=lambda entry: entry[1]) if max_items > 0 else model[0])
        elif model:
            entry = model[which % len(model)]
            if what == "forget":
                assert memory.forget(Query(ids=(f"item:{entry[0]}",))) == 1
                model.remove(entry)
            else:
                memory.pin(f"item:{entry[0]}", what == "pin")
                entry[1] = what == "pin"
        assert [(item.id, item.data["pinned"]) for item in memory.items()] == [(f"item:{n}", p) for n, p in model]
    memory.store.close()


def test_a_smaller_bound_after_a_restart(path: Path) -> None:
    store = Store(path)
    memory = WorkingMemory(Records(store, None))
    for i in range(20):
        memory.note(f"line {i}", i)
    store.close()
    store = Store(path)
    memory = small(Records(store, None), 3)
    assert memory.render(4) == "line 18\nline 19"
    memory.note("line 20", 20)
    assert lines(memory) == ["line 18", "line 19", "line 20"]
    store.close()


def test_a_restart_keeps_it(path: Path) -> None:
    store = Store(path)
    memory = small(Records(store, None))
    memory.write(Event(stamp_ns=1, kind="told", text="the keys are in the drawer", objects=("keys",)))
    memory.note("remember the oven", 2, pinned=True)
    before = memory.render(100)
    store.close()
    store = Store(path)
    memory = small(Records(store, None))
    assert memory.render(100) == before == "the keys are in the drawer\nremember the oven"
    for i in range(9):
        memory.note(f"line {i}", 3 + i)
    assert "remember the oven" in lines(memory)
    store.close()


texts = st.text(min_size=1, max_size=30).filter(lambda t: t.strip() and "\x00" not in t and t.isprintable())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, st.booleans()), max_size=12), st.integers(-3, 60), st.booleans())
def test_the_budget_is_never_exceeded(items: list[tuple[str, bool]], budget: int, by_words: bool) -> None:
    def words_of(text: str) -> int:
        return len(text.split())

    count = words_of if by_words else count_tokens
    memory = WorkingMemory(Records(Store(), None))
    for i, (text, pinned) in enumerate(items):
        memory.note(text, i, pinned=pinned)
    rendered = memory.render(budget, count)
    assert rendered == "" or count(rendered) <= budget
    # What is there is whole items, in their order.
    taken, rest = [], rendered
    for text, pinned in items:
        if rest == text or rest.startswith(text + "\n"):
            taken.append((text, pinned))
            rest = rest[len(text) + 1 :]
    assert "\n".join(text for text, _ in taken) == rendered
    if count("\n".join(text for text, _ in items)) <= budget:
        assert len(taken) == len(items)
    memory.store.close()


def test_rendering_takes_pins_then_the_newest(records: Records) -> None:
    memory = WorkingMemory(records)
    memory.note("pinned words", 0, pinned=True)
    for i in range(5):
        memory.note(f"line number {i}", i + 1)
    words = lambda text: len(text.split())  # noqa: E731
    assert memory.render(8, words) == "pinned words\nline number 3\nline number 4"
    assert memory.render(2, words) == "pinned words"
    assert memory.render(1, words) == ""
    assert memory.render(0) == ""
    assert count_tokens("") == 0 and count_tokens("abcd") == 1 and count_tokens("abcde") == 2
    assert count_tokens("ééé") == 2  # bytes count, not letters


def test_a_view_is_noted_when_it_shows_something_else(records: Records) -> None:
    memory = WorkingMemory(records)
    for stamp, labels in enumerate([("mug", "book"), ("book", "mug", "mug"), (), ("mug",), ("mug",), ("book", "mug")]):
        memory.write(view(stamp, *labels))
    assert lines(memory) == ["saw book, mug", "saw mug", "saw book, mug"]
    memory.write(view(9, "mug", "book", agent="other"))
    assert len(lines(memory)) == 4
    with pytest.raises(ZeroDivisionError), records.store.transaction():
        memory.write(view(10, "cat"))
        raise ZeroDivisionError
    memory.write(view(10, "cat"))  # it was not kept, so it has to be noted
    assert lines(memory)[-1] == "saw cat"


def test_an_item_goes_with_nothing_but_says_what_it_rests_on(records: Records) -> None:
    from embodmem.episodic import EpisodicMemory

    episodic, memory = EpisodicMemory(records), WorkingMemory(records)
    number = episodic.add_event(Event(stamp_ns=1, kind="told", text="the mug fell"))
    memory.note("the mug fell", 1, ref=number)
    assert memory.items()[0].evidence == (f"event:{number}",)
    episodic.forget(Query(text="mug fell"))
    assert memory.items()[0].evidence == ()


def test_what_is_refused(records: Records) -> None:
    with pytest.raises(InvalidInput, match="max_items of 1 or more, got 0"):
        small(records, 0)
    memory = small(records)
    number = memory.note("x", 1)
    for bad in ("item:99", f"event:{number}", "item:x", "item"):
        with pytest.raises(InvalidInput):
            memory.pin(bad)
    assert memory.items()[0].data["pinned"] is False
    with pytest.raises(InvalidInput, match="a line of text"):
        memory.note("  ", 1)
