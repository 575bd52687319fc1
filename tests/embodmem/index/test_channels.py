"""The first look at the words, several memories in one search, and what each channel brings in."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from embodmem import EmbodiedMemory, Event
from embodmem.config_recall import RecallConfig
from embodmem.encoders import HashingEncoder
from embodmem.index import Record, Records
from embodmem.index import postings as module
from embodmem.index.asked import best, words_of
from embodmem.index.links import names_in
from embodmem.index.mirror import FOLLOW_BATCH, FOLLOW_FROM
from embodmem.index.postings import Postings, presence
from embodmem.index.words import Stemmer
from embodmem.store import Store
from embodmem.types import Query

ids_of_words = st.lists(st.lists(st.integers(0, 30), unique=True).map(sorted), min_size=1, max_size=4)


@pytest.fixture
def records(path: Path) -> Records:
    return Records(Store(path), HashingEncoder(512))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), unique=True).map(sorted), ids_of_words, st.integers(0, 2**31))
def test_presence_is_the_sum_over_the_words_that_are_there(ids: list[int], holding: list[list[int]], seed: int) -> None:
    weights = np.random.default_rng(seed).uniform(0, 3, (2, len(holding)))
    made = presence(np.array(ids, np.int64), [np.array(row, np.int64) for row in holding], weights)
    for p in range(2):
        wanted = [sum(w for w, row in zip(weights[p], holding, strict=True) if number in row) for number in ids]
        assert_allclose(made[p], wanted)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), max_size=12), st.integers(1, 12))
def test_the_best_are_the_best_and_of_equals_the_newest(scores: list[float], depth: int) -> None:
    wanted = sorted((i for i, x in enumerate(scores) if x > 0), key=lambda i: (-scores[i], -i))[:depth]
    assert sorted(best(np.array(scores), depth).tolist()) == sorted(wanted)


def test_postings_follow_what_is_written(records: Records) -> None:
    postings = Postings(records.store)

    def holding(word: str) -> list[int]:
        with records.store.read() as db:
            return postings.of(db, [word])[0].tolist()

    mug = records.add(Record(kind="event", text="a red mug", first_ns=1, last_ns=1))
    assert holding("mugs") == holding("mugs") == [mug]
    other = records.add(Record(kind="object", label="mug", first_ns=2, last_ns=2))
    assert holding("mug") == [mug, other]
    records.remove([mug])
    assert holding("mug") == [other]
    assert holding("lamp") == []


steps = st.lists(st.tuples(st.sampled_from(["add", "say", "touch", "remove", "again", "ask"]), st.integers(0, 9)))
NAMES = ("mug", "lamp", "door")


@settings(max_examples=50, deadline=None)
@given(steps, st.integers(1, 300), st.booleans())
def test_postings_are_those_of_the_word_index(todo: list[tuple[str, int]], longest: int, in_one: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LONGEST_LOG", longest)
        store = Store()
        records = Records(store, None)
        mine, there, gone = Postings(store), list[int](), list[int]()

        def check() -> None:
            with store.read() as db:
                for name, ids in zip(NAMES, mine.of(db, NAMES), strict=True):
                    sql = "SELECT rowid FROM record_words WHERE record_words MATCH ? ORDER BY rowid"
                    assert ids.tolist() == [row[0] for row in db.execute(sql, (name,))]

        def do(what: str, which: int) -> None:
            one = Record(kind="event", text=" and ".join(NAMES[: which % 4]), first_ns=which, last_ns=which)
            if what == "add" or not there:
                there.append(records.add(one))
            elif what == "say":
                records.replace(there[which % len(there)], one)
            elif what == "touch":
                with store.transaction() as db:
                    db.execute("UPDATE record SET last_ns = last_ns + 1, live = 1 - live WHERE id = ?", (there[-1],))
            elif what == "remove":
                gone.append(there.pop(which % len(there)))
                records.remove(gone[-1:])
            elif gone:
                there.append(records.add(one, gone.pop()))

        for what, which in todo:
            if what == "ask":
                check()
            elif in_one:  # a transaction sees its own words
                with store.transaction():
                    do(what, which)
                    check()
            else:
                do(what, which)
        check()
        store.close()


def test_a_reader_of_an_older_state_has_its_own_postings(records: Records) -> None:
    store, postings = records.store, Postings(records.store)

    def holding() -> list[int]:
        with store.read() as db:
            return postings.of(db, ["mug"])[0].tolist()

    def write() -> None:
        later.append(records.add(Record(kind="event", text="a blue mug", first_ns=1, last_ns=1)))
        assert holding() == [first, *later]

    later: list[int] = []
    first = records.add(Record(kind="event", text="a red mug", first_ns=1, last_ns=1))
    assert holding() == [first]
    with store.read() as db:
        writer = threading.Thread(target=write)
        writer.start()
        writer.join()
        assert postings.of(db, ["mug"])[0].tolist() == [first]
    assert holding() == [first, *later]


def test_only_what_changed_is_read_of_a_word_that_is_known(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    postings, read = Postings(records.store), list[tuple[object, ...]]()
    raw = module._read
    monkeypatch.setattr(module, "_read", lambda db, *given: read.append(given) or raw(db, *given))

    def holding() -> list[int]:
        with records.store.read() as db:
            return postings.of(db, ["mug"])[0].tolist()

    numbers = records.add_many([Record(kind="event", text="a mug", first_ns=1, last_ns=1) for _ in range(9)]).tolist()
    assert holding() == numbers
    records.remove(numbers[:2])
    with records.store.transaction() as db:
        db.execute("UPDATE record SET last_ns = 5")
    assert holding() == numbers[2:]
    last = records.add(Record(kind="event", text="one more mug", first_ns=6, last_ns=6))
    assert holding() == [*numbers[2:], last]
    assert read == [("mug",), ("mug", last, last)]


def test_two_forms_of_a_word_are_one_word() -> None:
    parts, terms, has = words_of("Fill the mugs. Where is my mug?", Stemmer())
    assert len(parts) == 3
    assert terms == ["fill", "mugs"]
    assert has.tolist() == [[1, 1], [1, 1], [0, 1]]


@pytest.mark.parametrize(
    "query",
    [
        Query(text="the red mug. And a lamp!"),
        Query(text="mug", near=np.zeros(3)),
        Query(near=np.zeros(3)),
        Query(text="mug", between_ns=(3, 40)),
        Query(text="mug", labels=("mug",)),
        Query(kinds=("event", "object")),
        Query(embedding=HashingEncoder(512).encode(["red mug"])[0]),
    ],
)
def test_several_memories_at_once_answer_as_each_alone(records: Records, query: Query) -> None:
    rng = np.random.default_rng(5)
    words = ("red", "mug", "lamp", "table", "blue")
    kinds = ("event", "object", "fact", "item")
    rows = [
        Record(
            kind=kinds[i % 4],
            label="mug" if i % 3 == 0 else "",
            text=" ".join(rng.choice(words, 3)),
            first_ns=i,
            last_ns=i + 1,
            position=rng.uniform(0, 5, 3) if i % 2 else None,
        )
        for i in range(60)
    ]
    records.add_many(rows)
    groups = {"one": ("event", "keyframe"), "two": ("object",), "three": ("fact",), "none": ("skill",)}
    together = records.rank(query, 7, groups)
    assert list(together) == list(groups)
    for name, kinds_of in groups.items():
        alone = records.search(query, 7, kinds_of)
        assert together[name].ids == [int(item.id.split(":")[1]) for item in alone]
        assert_allclose(together[name].scores, [item.score for item in alone])
        for why, item in zip(together[name].reasons(range(len(alone))), alone, strict=True):
            assert why == pytest.approx(dict(item.why))


def texts(records: Records, query: Query, k: int = 10) -> list[str]:
    return [item.text for item in records.search(query, k, ("event",))]


def test_what_bears_a_name_of_the_query_is_found_without_its_words(records: Records) -> None:
    rows = (("she put it away", ("red mug",)), ("it was raining", ()), ("the lamp is on", ("lamp",)))
    with records.store.transaction():
        for i, (text, tags) in enumerate(rows):
            records.add(Record(kind="event", text=text, first_ns=i, last_ns=i, tags=tags))
    found = records.search(Query(text="where are the red mugs?"), 5)
    assert [item.text for item in found] == ["she put it away"]
    assert found[0].why["links"] == pytest.approx(1.0)
    records.settings = RecallConfig(links=0.0, spread=0.0)
    assert texts(records, Query(text="where are the red mugs?")) == []


def test_what_a_first_answer_rests_on_comes_with_it(records: Records) -> None:
    with records.store.transaction():
        view = records.add(Record(kind="event", text="looked around", first_ns=1, last_ns=1))
        records.add(Record(kind="event", text="looked around", first_ns=10**15, last_ns=10**15))
        records.add(Record(kind="fact", text="the mug is on the desk", first_ns=2, last_ns=2, evidence=(view,)))
    found = records.search(Query(text="mug on the desk"), 5)
    assert [item.id for item in found][1:] == [f"event:{view}"]
    assert found[1].why == {"links": 0.5}


def test_a_moment_lifts_what_is_near_it_and_leaves_nothing_out(records: Records) -> None:
    hour = 3_600_000_000_000
    with records.store.transaction():
        for i in range(5):
            records.add(Record(kind="event", text="took the mug", first_ns=i * 24 * hour, last_ns=i * 24 * hour))
        records.add(Record(kind="event", text="rain", first_ns=48 * hour, last_ns=48 * hour))
    found = records.search(Query(text="mug", around_ns=49 * hour), 10)
    assert [item.first_seen_ns // hour for item in found] == [48, 72, 24, 96, 0]
    assert [item.why["moment"] for item in found] == [3600.0, *(h * 3600.0 for h in (23, 25, 47, 49))]
    assert found[0].score - found[1].score == pytest.approx(0.5 * (1 / 2 - 1 / 24), abs=0.2)
    alone = records.search(Query(around_ns=49 * hour), 3)
    assert {item.first_seen_ns // hour for item in alone} == {48, 72}
    with records.store.transaction():  # SQL tells the times where the rows in RAM do not follow yet
        inside = records.search(Query(text="mug", around_ns=49 * hour), 10)
        assert [item.id for item in inside] == [item.id for item in found]


def test_names_of_a_text() -> None:
    assert names_in("Where are the red mugs?") == ["red", "mugs", "red mugs", "mug", "red mug"]
    assert names_in("of the") == []


def test_activation_brings_in_what_facts_lead_to(path: Path) -> None:
    with EmbodiedMemory(path, encoder=HashingEncoder(512)) as memory:
        memory.write(Event(stamp_ns=1, kind="told", text="we are in the lab again"))
        memory.write(Event(stamp_ns=2, kind="told", text="nothing to report"))
        told = [int(item.id.split(":")[1]) for item in memory.episodic.timeline(limit=2)]
        say = memory.semantic.assert_fact
        say("Ann", "owner of", "blue cup", valid_from_ns=1)
        say("blue cup", "in", "cupboard", valid_from_ns=2, evidence=(told[0],))
        say("Bob", "owner of", "bicycle", valid_from_ns=3, evidence=(told[1],))
        found = memory.recall("Ann", 10)
    by_text = {item.text: item for item in found}
    assert by_text["we are in the lab again"].why["episodic.spread"] > 0
    assert "semantic.spread" in by_text["blue cup is in cupboard"].why
    assert "nothing to report" not in by_text
    assert not any("Bob" in text for text in by_text)


def test_rows_keep_up_with_what_is_written_once_something_was_searched(records: Records) -> None:
    many = [Record(kind="event", text=f"mug {i}", first_ns=i, last_ns=i) for i in range(FOLLOW_FROM)]
    records.add_many(many)
    assert records.mirror._rows.n == 0
    records.search(Query(text="mug"), 3)
    records.add(many[0])
    assert records.mirror._rows.n == FOLLOW_FROM
    records.add_many(many)
    assert records.mirror._rows.n == 2 * FOLLOW_FROM + 1
    assert len(records.search(Query(text="mug"), 1000)) == 2 * FOLLOW_FROM + 1
    there = records.mirror._rows.n
    records.add_many(many[: FOLLOW_BATCH - 1])
    assert records.mirror._rows.n == there  # few wait for the next search
    records.add_many(many[:FOLLOW_BATCH])
    assert records.mirror._rows.n == there + 2 * FOLLOW_BATCH - 1
