"""Channels against plain reference implementations, and what context, sentences and late interaction change."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from embodmem.config import RecallConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import ConfigError
from embodmem.index import Record, Records
from embodmem.index.kin import number_of
from embodmem.index.laid import LABEL_WEIGHT, lay
from embodmem.index.late import Late
from embodmem.index.lexical import K1, B, counted
from embodmem.index.ranking import to_unit
from embodmem.index.words import STOP_WORDS, Stemmer, parts_of
from embodmem.store import Store
from embodmem.types import Query

HOUR_NS = 3_600_000_000_000
WORDS = ("mug", "mugs", "red", "table", "kitchen", "running", "runs", "über")
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(texts, st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True))
def test_counts_and_weights_are_those_of_the_definition(rows: list[str], terms: list[str]) -> None:
    stem = {word: Stemmer().stems([word])[0][0] for word in WORDS}
    labels = rows[::-1]
    stemmer = Stemmer()
    counts = counted(stemmer, lay(stemmer, labels, rows), terms)
    length = [len(text.split()) + LABEL_WEIGHT * len(label.split()) for label, text in zip(labels, rows, strict=True)]
    assert_allclose(counts.length, length)
    for i, (label, text) in enumerate(zip(labels, rows, strict=True)):
        in_label, in_text = (Counter(stem[word] for word in t.split()) for t in (label, text))
        for j, term in enumerate(terms):
            if stem[term] in [stem[t] for t in terms[:j]]:
                continue  # two words of one stem: it is counted for one of them
            alike = [n for n, t in enumerate(terms) if stem[t] == stem[term]]
            tf = LABEL_WEIGHT * in_label[stem[term]] + in_text[stem[term]]
            assert counts.frequency[i, alike].sum() == pytest.approx(tf)
            if len(alike) == 1:
                soft = K1 * (1 - B + B * length[i] / max(sum(length) / len(length), 1e-9))
                assert counts.weighed()[i, j] == pytest.approx(tf * (K1 + 1) / (tf + soft))


def test_stems_are_those_of_the_word_index() -> None:
    assert Stemmer().stems(["The Mugs", "running über-fast", ""]) == [["the", "mug"], ["run", "uber", "fast"], []]


any_text = st.text(st.sampled_from("abZ é9_-\0\n\u0301Σ"), max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(any_text, max_size=6))
def test_numbers_are_those_of_the_stems_of_each_text(rows: list[str]) -> None:
    numbers, sizes = Stemmer().numbers(rows)
    wanted = Stemmer().stems(rows)
    assert sizes.tolist() == [len(stems) for stems in wanted]
    assert numbers.tolist() == [number_of(stem) for stems in wanted for stem in stems]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_the_best_is_one(scores: list[float]) -> None:
    made = to_unit(np.array(scores))
    assert made.min() >= 0
    assert made.max() == pytest.approx(1.0 if max(scores) > 0 else 0.0)


def test_sentences() -> None:
    assert parts_of(None) == []
    assert parts_of("where is the mug?") == ["where is the mug?"]
    assert parts_of("Bring tea. Then my book!") == ["Bring tea. Then my book!", "Bring tea.", "Then my book!"]
    assert len(parts_of("a. " * 50)) <= 9


@pytest.fixture
def records(path: Path) -> Records:
    return Records(Store(path), HashingEncoder(256))


def add(records: Records, *rows: tuple[int, str]) -> list[int]:
    with records.store.transaction():
        return [records.add(Record(kind="event", text=text, first_ns=ns, last_ns=ns)) for ns, text in rows]


def found(records: Records, text: str) -> list[str]:
    return [item.text for item in records.search(Query(text=text), 10)]


def test_each_sentence_of_a_question_is_asked_for(records: Records) -> None:
    many = [(i * HOUR_NS * 24, f"the kettle, tea and cups number {i} on the kitchen table") for i in range(8)]
    add(records, *many, (1000 * HOUR_NS, "a novel beside the lamp"))
    text = "Please put the kettle, the tea and the cups on the kitchen table. Then bring my novel."
    assert "a novel beside the lamp" in found(records, text)[:2]


def test_what_stands_around_decides_between_equals(records: Records) -> None:
    day = 24 * HOUR_NS
    add(records, (1, "we bought a tent"), (2, "it was green"), (day, "we bought a car"), (day + 1, "it was green"))
    best = records.search(Query(text="was the tent green"), 4)
    green = [item for item in best if item.text == "it was green"]
    assert [item.first_seen_ns for item in green] == [2, day + 1]
    assert green[0].why["context"] > green[1].why.get("context", 0.0)
    records.settings = RecallConfig(neighbour=0.0, episode=0.0)
    green = [item for item in records.search(Query(text="was the tent green"), 4) if item.text == "it was green"]
    assert green[0].score == pytest.approx(green[1].score)


def test_one_alone_has_no_context(records: Records) -> None:
    add(records, (1, "a red mug"), (HOUR_NS, "a blue mug"))
    assert all("context" not in item.why for item in records.search(Query(text="mug"), 5))


class _Words(HashingEncoder):
    """A vector for each word by itself; "cup" is a "mug" to it."""

    def encode_words(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        made = []
        for text in texts:
            places, at = [], 0
            for word in text.split():
                at = text.index(word, at)
                places.append((at, at + len(word)))
                at += len(word)
            vectors = self.encode([word.replace("cup", "mug") for word in text.split()])
            made.append((np.array(places).reshape(-1, 2), vectors.reshape(-1, self.dim)))
        return made


def test_late_scores_are_those_of_the_definition() -> None:
    encoder = _Words(256)
    rows = ["a mug here", "the red door", "red mug"]
    weights = {"red": 2.0, "cup": 3.0}
    late = Late(encoder)
    codes = late.codes(rows)
    made = late.scores("the red cup", weights, codes)
    for text, score in zip(rows, made, strict=True):
        total = 0.0
        for word, weight in (("red", 2.0), ("mug", 3.0)):
            (asked,) = encoder.encode([word])
            signs = np.where(encoder.encode([w for w in text.split() if w not in STOP_WORDS]) > 0, 1, -1)
            total += weight * max(0.0, *(signs @ asked / math.sqrt(256)))
        assert score == pytest.approx(total / sum(weights.values()), abs=1e-6)
    assert math.isclose(late.scores("the", {}, codes).sum(), 0.0)
    assert late.scores("cup", {"cup": 1.0}, []).shape == (0,)
    (nothing,) = late.codes([""])
    assert late.scores("red cup", weights, [nothing, codes[1]])[0] == 0.0


def _kept(records: Records) -> dict[str, bytes]:
    """Text -> codes of its words in the file."""
    with records.store.read() as db:
        sql = "SELECT r.text, p.codes FROM record_pieces p JOIN record r ON r.id = p.id"
        return dict(db.execute(sql).fetchall())


def test_words_are_kept_as_signs_and_follow_their_record(path: Path) -> None:
    encoder = _Words(256)
    records = Records(Store(path), encoder)
    (first,), (second,) = add(records, (1, "a mug is on the shelf")), add(records, (2, "the red door"))
    fresh = Late(encoder)
    assert _kept(records) == {
        text: fresh.codes([text])[0].tobytes() for text in ("a mug is on the shelf", "the red door")
    }
    event = records.get([first])[0]
    records.replace(first, Record(kind="event", first_ns=1, last_ns=1, text="a green cup"))
    assert event.text not in _kept(records)
    assert _kept(records)["a green cup"] == fresh.codes(["a green cup"])[0].tobytes()
    records.remove([second])
    assert list(_kept(records)) == ["a green cup"]


def test_a_memory_without_kept_words_answers_the_same(path: Path) -> None:
    records = Records(Store(path), _Words(256))
    add(records, (1, "the red box is on the shelf"), (2, "a mug is on the shelf"), (3, "zebra"))
    query = Query(text="cup on the shelf")
    before = [(item.id, item.score) for item in records.search(query, 3)]
    with records.store.transaction() as db:
        db.execute("DELETE FROM record_pieces")
    again = Records(records.store, _Words(256))
    assert [(item.id, item.score) for item in again.search(query, 3)] == before
    again.settings = RecallConfig(late="never")
    again.encode_texts()
    assert not _kept(again)
    again.settings = RecallConfig()
    again.encode_texts()
    assert len(_kept(again)) == 3


def test_a_question_that_comes_again_is_not_encoded_again(path: Path) -> None:
    class Counted(_Words):
        asked: Counter[str] = Counter()

        def encode_words(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
            self.asked.update(texts)
            return super().encode_words(texts)

    encoder = Counted(256)
    records = Records(Store(path), encoder)
    add(records, (1, "the red box is on the shelf"), (2, "a mug is on the shelf"))
    records.settings = RecallConfig(late="never")
    records.search(Query(text="red cup"), 2)  # its vector is held, and its words are not
    records.settings = RecallConfig()
    for _ in range(3):
        records.search(Query(text="red cup"), 2)
    assert encoder.asked["red cup"] == 1
    assert encoder.asked["a mug is on the shelf"] == 1


def test_late_interaction_comes_when_it_is_wanted(path: Path) -> None:
    records = Records(Store(path), _Words(256))
    day = 24 * HOUR_NS
    add(records, (1, "the red box is on the shelf"), (day, "a mug is on the shelf"), (2 * day, "zebra"))
    records.settings = RecallConfig(late="never")
    plain = records.search(Query(text="cup on the shelf"), 3)
    assert all("late" not in item.why for item in plain)
    records.settings = RecallConfig(late="always")
    best = records.search(Query(text="cup on the shelf"), 3)
    assert best[0].text == "a mug is on the shelf"
    assert best[0].why["late"] > best[1].why["late"]
    records.settings = RecallConfig(late="unsure", sure_margin=0.9)
    assert "late" in records.search(Query(text="shelf"), 2)[0].why  # both hold the word: not sure
    assert "late" not in records.search(Query(text="zebra"), 2)[0].why
    with pytest.raises(ConfigError, match="late"):
        RecallConfig(late="often")
