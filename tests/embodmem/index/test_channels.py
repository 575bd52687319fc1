"""The first look at the words, several memories in one search, and what each channel brings in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from embodmem.encoders import HashingEncoder
from embodmem.index import Record, Records
from embodmem.index.asked import best, words_of
from embodmem.index.postings import Postings, presence
from embodmem.index.words import Stemmer
from embodmem.store import Store
from embodmem.types import Query

ids_of_words = st.lists(st.lists(st.integers(0, 30), unique=True).map(sorted), min_size=1, max_size=4)


@pytest.fixture
def records(path: Path) -> Records:
    return Records(Store(path), HashingEncoder(64))


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
        Query(embedding=HashingEncoder(64).encode(["red mug"])[0]),
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
        assert_allclose([together[name].scores[n] for n in together[name].ids], [item.score for item in alone])
        for number, item in zip(together[name].ids, alone, strict=True):
            assert together[name].why[number] == pytest.approx(dict(item.why))
