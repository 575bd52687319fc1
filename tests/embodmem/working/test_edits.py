"""Edits of the context: recorded, and undone exactly."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import WorkingConfig
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.store import Store
from embodmem.types import Query
from embodmem.working import EditAction, WorkingMemory
from tests.embodmem.working.counts import seen


@pytest.fixture
def memory(records: Records) -> WorkingMemory:
    made = WorkingMemory(records, WorkingConfig(max_items=5))
    for i in range(5):
        made.note(f"line {i}", i, tags=(f"t{i}",))
    return made


def whole(memory: WorkingMemory) -> tuple[object, object]:
    return seen(memory.items()), sorted((seen([item]), why) for item, why in memory.spilled())


def texts(memory: WorkingMemory) -> list[str]:
    return [item.text for item in memory.items()]


def test_hide_and_restore(memory: WorkingMemory) -> None:
    before = whole(memory)
    edit = memory.hide("item:2", "item:4", stamp_ns=9, who="planner", why="noise")
    assert texts(memory) == ["line 0", "line 2", "line 4"]
    assert (edit.action, edit.items, edit.who, edit.why, edit.stamp_ns) == (
        "hide", ("item:2", "item:4"), "planner", "noise", 9,
    )  # fmt: skip
    assert [(item.text, why) for item, why in memory.spilled()] == [("line 3", "hidden"), ("line 1", "hidden")]
    memory.restore("item:2", "item:4")
    assert whole(memory) == before
    assert [e.action for e in memory.edits()] == ["hide", "restore"]


def test_a_summary_stands_for_items(memory: WorkingMemory) -> None:
    before = whole(memory)
    name = memory.summarise(("item:1", "item:2", "item:3"), "the first three lines", stamp_ns=9, who="planner")
    assert texts(memory) == ["line 3", "line 4", "the first three lines"]
    assert [item.text for item in memory.unfold(name)] == ["line 0", "line 1", "line 2"]
    assert seen(memory.unfold(name)) == before[0][:3]  # type: ignore[index]
    assert [r.id for r in memory.recall(Query(labels=("t1",)))] == [name]  # it answers for what it stands for
    memory.restore(name)
    assert whole(memory)[0] == before[0]
    assert [(item.text, why) for item, why in memory.spilled()] == [("the first three lines", "unfolded")]
    memory.undo()
    assert texts(memory) == ["line 3", "line 4", "the first three lines"]
    memory.undo()
    assert whole(memory) == before


def test_what_had_to_make_room_comes_back(memory: WorkingMemory) -> None:
    memory.hide("item:3")
    memory.note("line 5", 5, tags=("t5",))
    before = whole(memory)
    edit = memory.restore("item:3")
    assert "line 0" not in texts(memory) and set(edit.items) == {"item:1", "item:3"}
    memory.undo()
    assert whole(memory) == before


def test_only_what_an_edit_changed_is_undone(memory: WorkingMemory) -> None:
    memory.pin("item:1", who="ann")
    memory.hide("item:2")
    memory.note("line 5", 5)
    memory.undo(1)  # the pin, not the hiding
    assert [item.data["pinned"] for item in memory.items()] == [False] * 5
    assert texts(memory) == ["line 0", "line 2", "line 3", "line 4", "line 5"]
    edits = memory.edits()
    assert [(e.action, e.undone) for e in edits] == [("pin", True), ("hide", False), ("undo", False)]
    with pytest.raises(InvalidInput, match="an edit that stands, got 1"):
        memory.undo(1)


def test_a_later_edit_of_the_same_items_is_undone_first(memory: WorkingMemory) -> None:
    memory.pin("item:1")
    memory.hide("item:1")
    with pytest.raises(InvalidInput, match="wanted edit 2 undone first"):
        memory.undo(1)
    memory.undo()
    memory.undo()
    with pytest.raises(InvalidInput, match="none is left to undo"):
        memory.undo()


def test_several_edits_are_all_made_or_none(memory: WorkingMemory) -> None:
    before = whole(memory)
    with pytest.raises(InvalidInput, match="'item:99'"):
        memory.edit([EditAction("hide", ("item:1",)), EditAction("pin", ("item:99",))], who="policy")
    assert whole(memory) == before and memory.edits() == []
    done = memory.edit(
        [EditAction("pin", ("item:1",)), EditAction("summarise", ("item:2", "item:3"), "two", "shorter")],
        9,
        who="policy",
    )
    assert [(e.action, e.who, e.why) for e in done] == [("pin", "policy", ""), ("summarise", "policy", "shorter")]
    assert texts(memory) == ["line 0", "line 3", "line 4", "two"] and done[1].made == "item:6"


ACTIONS = st.tuples(
    st.sampled_from(["pin", "unpin", "hide", "restore", "summarise", "note"]),
    st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.lists(ACTIONS, max_size=12))
def test_undo_restores_exactly(max_items: int, steps: list[tuple[str, list[int]]]) -> None:
    memory = WorkingMemory(Records(Store(), None), WorkingConfig(max_items=max_items))
    for i in range(4):
        memory.note(f"line {i}", i)
    for i, (action, numbers) in enumerate(steps):
        if action == "note":
            memory.note(f"more {i}", 10 + i)
            continue
        before = whole(memory)
        try:
            edit = memory.edit([EditAction(action, tuple(f"item:{n}" for n in numbers), f"sum {i}")], 10 + i)[0]  # type: ignore[arg-type]
        except InvalidInput:
            assert whole(memory) == before
            continue
        after = whole(memory)
        memory.undo(edit.number)
        assert whole(memory) == before
        again = memory.edit([EditAction(action, tuple(f"item:{n}" for n in numbers), f"sum {i}")], 10 + i)[0]  # type: ignore[arg-type]
        if again.made is None:  # a new summary has a new id
            assert whole(memory) == after
    while any(not e.undone and e.action != "undo" for e in memory.edits()):
        memory.undo()
    assert memory.usage().items <= max_items
    memory.store.close()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (("drop", ("item:1",)), "an action of pin"),
        (("hide", "item:1"), "a tuple of ids"),
        (("hide", ()), "a tuple of ids"),
    ],
)
def test_what_is_no_action(action: tuple[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        EditAction(*action)  # type: ignore[arg-type]


def test_what_is_refused(memory: WorkingMemory) -> None:
    memory.hide("item:1")
    before = whole(memory)
    with pytest.raises(InvalidInput, match="'item:1' left it"):
        memory.hide("item:1")
    with pytest.raises(InvalidInput, match="'item:2' is in it"):
        memory.restore("item:2")
    with pytest.raises(InvalidInput, match="each item once"):
        memory.hide("item:2", "item:2")
    with pytest.raises(InvalidInput, match="a summary in words"):
        memory.summarise(("item:2",), " ")
    with pytest.raises(InvalidInput, match="id of an item"):
        memory.unfold("item:77")
    assert whole(memory) == before
