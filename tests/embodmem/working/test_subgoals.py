"""Subgoals that fold and unfold, the task tree, and text within a budget."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import WorkingConfig
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.store import Store
from embodmem.types import Query, Recall
from embodmem.working import WorkingMemory
from tests.embodmem.working.counts import Count, counts, seen, words


@pytest.fixture
def memory(records: Records) -> WorkingMemory:
    return WorkingMemory(records)


def pairs(memory: WorkingMemory, first: int, n: int) -> None:
    for i in range(first, first + n):
        memory.note_action(f"do {i}", 10 * i)
        memory.note_observation(f"state {i}", 10 * i + 1)


def test_a_subgoal_folds_into_a_summary(memory: WorkingMemory) -> None:
    memory.note("before all", 0)
    goal = memory.begin_subgoal("find the mug", 5)
    pairs(memory, 1, 3)
    verbatim = seen(memory.items())[1:]
    name = memory.end_subgoal("found it in the sink", 50)
    assert name is not None
    assert [item.text for item in memory.items()] == [
        "before all",
        "find the mug: found it in the sink; tried: do 1, do 2, do 3; at first: state 1; at last: state 3",
    ]
    assert seen(memory.unfold(name)) == seen(memory.unfold(goal)) == verbatim
    assert memory.tasks.get(goal).status == "done" and memory.tasks.get(goal).outcome == "found it in the sink"
    assert memory.tasks.active() is None
    memory.restore(name)
    assert seen(memory.items())[1:] == verbatim  # and the summary is out
    assert memory.end_subgoal is not None
    with pytest.raises(InvalidInput, match="it is at none"):
        memory.end_subgoal("again", 60)


def test_only_the_pairs_of_the_current_subgoal_stay_verbatim(memory: WorkingMemory) -> None:
    memory.begin_subgoal("make tea", 0)
    for i, part in enumerate(("fetch water", "boil it")):
        memory.begin_subgoal(part, 100 * i)
        pairs(memory, 10 * i + 1, 2)
        memory.end_subgoal("done", 100 * i + 99)
    memory.begin_subgoal("pour", 300)
    pairs(memory, 40, 1)
    lines = [item.text for item in memory.items()]
    assert [line.split(":")[0] for line in lines] == ["fetch water", "boil it", "do 40", "state 40"]
    assert [task.text for task in memory.tasks.path()] == ["make tea", "pour"]
    memory.end_subgoal("dropped the pot", 400, success=False)
    whole = memory.end_subgoal("no tea", 500, success=False)
    assert whole is not None and len(memory.items()) == 1
    parts = memory.unfold(whole)
    assert [part.text.split(":")[0] for part in parts] == ["fetch water", "boil it", "pour"]  # summaries of its parts
    assert [item.text for item in memory.unfold(parts[0].id)] == ["do 1", "state 1", "do 2", "state 2"]
    assert memory.undo(who="ann").action == "fold"
    assert len(memory.items()) == 3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.lists(st.tuples(st.booleans(), words), max_size=12), counts)
def test_unfold_gives_back_what_was_folded(max_items: int, lines: list[tuple[bool, str]], count: Count) -> None:
    memory = WorkingMemory(Records(Store(), None), WorkingConfig(max_items=max_items, max_tokens=80), count)
    goal = memory.begin_subgoal("goal", 0)
    said = []
    for i, (action, text) in enumerate(lines):
        (memory.note_action if action else memory.note_observation)(text, i + 1, tags=text.split())
        said.append(text)
    before = seen(memory.unfold(goal))
    assert [entry[2] for entry in before] == said  # what had to leave already is in it
    name = memory.end_subgoal("over", 100)
    if not said:
        assert name is None
    else:
        assert name is not None and seen(memory.unfold(name)) == seen(memory.unfold(goal)) == before
        summary = next(item for item in (*memory.items(), *(i for i, _ in memory.spilled())) if item.id == name)
        assert summary.text.startswith("goal: over")
    memory.store.close()


def test_a_summariser_may_be_passed(memory: WorkingMemory) -> None:
    def shorten(goal: str, items: Sequence[Recall], outcome: str) -> str:
        return f"{goal}|{len(items)}|{outcome}"

    memory.begin_subgoal("go", 0)
    pairs(memory, 1, 2)
    memory.end_subgoal("there", 90, summariser=shorten)
    assert [item.text for item in memory.items()] == ["go|4|there"]
    memory.begin_subgoal("again", 100)
    pairs(memory, 20, 1)
    before = seen(memory.items())
    with pytest.raises(InvalidInput, match="a summary in words"):
        memory.end_subgoal("x", 300, summariser=lambda *_: "")
    assert seen(memory.items()) == before and memory.tasks.active() is not None  # nothing of it was kept


def test_many_actions_are_counted(records: Records) -> None:
    memory = WorkingMemory(records, WorkingConfig(summary_actions=3))
    memory.begin_subgoal("search", 0)
    for i in range(9):
        memory.note_action(f"look {i}", i)
    memory.end_subgoal("", 20)
    assert memory.items()[0].text == "search; tried: look 0, look 1, (6 more), look 8"


def test_agents_have_subgoals_of_their_own(memory: WorkingMemory) -> None:
    memory.begin_subgoal("ann's", 0, agent="ann")
    memory.begin_subgoal("ben's", 0, agent="ben")
    memory.note_action("a", 1, agent="ann")
    memory.note_action("b", 2, agent="ben")
    memory.end_subgoal("done", 3, agent="ann")
    assert [item.text for item in memory.items()] == ["b", "ann's: done; tried: a"]
    assert memory.tasks.active("ben") is not None and memory.tasks.active("ann") is None


def test_the_tree(memory: WorkingMemory) -> None:
    tree = memory.tasks
    root = tree.add("make tea", 0)
    water, pot = tree.add("fetch water", 1, parent=root), tree.add("find pot", 2, parent=root)
    boil = tree.add("boil", 3, parent=root, needs=(water, pot))
    assert [task.id for task in tree.ready()] == [root, water, pot]
    with pytest.raises(InvalidInput, match=f"it waits for {water}, {pot}"):
        tree.begin(boil, 4)
    tree.begin(root, 5)
    for name in (water, pot):
        tree.begin(name, 6)
        assert tree.active() == name
        tree.end(name, 7)
        assert tree.active() == root
    assert [task.id for task in tree.ready()] == [boil]
    tree.begin(boil, 8)
    assert tree.render() == ["task: make tea", "  task: boil"]
    deeper = tree.add("light the stove", 9, parent=boil)
    tree.begin(deeper, 9)
    assert tree.backtrack(boil, 10, why="no gas") == root
    assert [tree.get(name).status for name in (boil, deeper, water)] == ["failed", "dropped", "done"]
    assert tree.get(boil).outcome == "no gas" and tree.active() == root
    with pytest.raises(InvalidInput, match="that is open"):
        tree.end(boil, 11)
    assert tree.backtrack(root, 12) is None and tree.path() == []


def test_the_tree_has_no_circles_and_is_revised(memory: WorkingMemory) -> None:
    tree = memory.tasks
    a = tree.add("a", 0)
    b = tree.add("b", 0, needs=(a,))
    c = tree.add("c", 0, needs=(b,))
    with pytest.raises(InvalidInput, match="without a circle"):
        tree.revise(a, 1, needs=(c,))
    with pytest.raises(InvalidInput, match="without a circle"):
        tree.revise(a, 1, needs=(a,))
    tree.revise(c, 1, text="see", needs=())
    assert (tree.get(c).text, tree.get(c).needs, tree.get(c).changed_ns) == ("see", (), 1)
    assert [r.id for r in memory.recall("see")] == [c]
    memory.forget(Query(ids=(a,)))
    assert b in [task.id for task in tree.ready()]  # a need that was forgotten is none
    for bad in ("task:99", "item:1", "x"):
        with pytest.raises(InvalidInput):
            tree.begin(bad, 2)
    for call in (
        lambda: tree.add(" ", 1),
        lambda: tree.add("x", 1, parent="task:99"),
        lambda: tree.revise(b, 1, text=""),
    ):
        with pytest.raises(InvalidInput):
            call()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(words, st.booleans()), max_size=10), st.lists(words, max_size=3), st.integers(-2, 60), counts,
    st.integers(0, 3),
)  # fmt: skip
def test_text_is_never_above_the_budget(
    lines: list[tuple[str, bool]], goals: list[str], budget: int, count: Count, sinks: int
) -> None:
    memory = WorkingMemory(Records(Store(), None), WorkingConfig(sinks=sinks))
    for i, goal in enumerate(goals):
        memory.begin_subgoal(goal, i)
    for i, (text, pinned) in enumerate(lines):
        memory.note(text, 10 + i, pinned=pinned)
    text = memory.render(budget, count)
    assert text == "" or count(text) <= budget
    whole = [*memory.tasks.render(), *(line for line, _ in lines)]
    left = iter(whole)
    assert all(line in left for line in text.split("\n") if text)  # whole lines, in their order
    if count("\n".join(whole)) <= budget and whole:
        assert text == "\n".join(whole)
    memory.store.close()


def test_the_order_in_which_lines_are_taken(records: Records) -> None:
    memory = WorkingMemory(records, WorkingConfig(sinks=1))
    memory.begin_subgoal("goal", 0)
    for i in range(5):
        memory.note(f"line {i}", i, pinned=i == 2)
    words_of = lambda text: len(text.split())  # noqa: E731
    assert memory.render(2, words_of) == "line 2"
    assert memory.render(4, words_of) == "line 0\nline 2"
    assert memory.render(6, words_of) == "task: goal\nline 0\nline 2"
    assert memory.render(8, words_of) == "task: goal\nline 0\nline 2\nline 4"
