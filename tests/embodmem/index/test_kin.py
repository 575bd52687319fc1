"""Words that begin with one another: found by their numbers as a look at every word would find them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import RecallConfig
from embodmem.encoders import HashingEncoder
from embodmem.index import Record, Records
from embodmem.index.kin import LEAST, LETTERS, beginning_like, number_of, wanted, within
from embodmem.index.laid import LABEL_WEIGHT, lay
from embodmem.index.lexical import KIN, counted
from embodmem.index.words import Stemmer
from embodmem.store import Store
from embodmem.types import Query

PARTS = ("bed", "room", "work", "space", "the", "er", "kitchen", "ware", "ette", "0", "7", "ö", "ß", "x")
words = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("".join)
texts = st.lists(words, max_size=6).map(" ".join)


def is_kin(said: str, asked: str, stop: frozenset[str]) -> bool:
    """By the definition, of two stems."""
    letters = asked.isascii() and asked.isalpha() and len(asked) >= LEAST
    kept = said[:LETTERS].isascii() and "0" not in said[:LETTERS]
    longer = len(asked) <= LETTERS and said != asked and said.startswith(asked) and kept
    shorter = LEAST <= len(said) <= LETTERS and said not in stop and said != asked and asked.startswith(said)
    return letters and (longer or shorter)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5), st.lists(words, min_size=1, max_size=5, unique=True))
def test_counts_are_those_of_a_look_at_every_word(rows: list[tuple[str, str]], terms: list[str]) -> None:
    stemmer = Stemmer()
    stop = stemmer.stop_stems()
    laid = lay(stemmer, *map(list, zip(*rows, strict=True)))
    made, alone = (counted(stemmer, laid, terms, with_kin).frequency for with_kin in (True, False))
    (asked,) = zip(*stemmer.stems(terms), strict=True)
    for i, (label, text) in enumerate(rows):
        in_label, in_text = (Counter(found) for found in stemmer.stems([label, text]))
        for t, stem in enumerate(asked):
            count = LABEL_WEIGHT * in_label[stem] + in_text[stem]
            kin = any(is_kin(said, stem, stop) for said in (in_label + in_text))
            wants = 0.0 if stem in asked[:t] else count or KIN * kin
            assert made[i, t] == wants, (label, text, terms[t])
            assert alone[i, t] == (wants if count else 0.0)


@settings(max_examples=100, deadline=None)
@given(st.lists(words, max_size=20), st.lists(words, min_size=1, max_size=6, unique=True))
def test_ranges_hold_what_lies_in_them(said: list[str], stems: list[str]) -> None:
    numbers = np.array([number_of(word) for word in said], np.int64)
    sought = wanted(stems, frozenset())
    found = sorted(zip(*(part.tolist() for part in within(numbers, sought)), strict=True))
    plain = (numbers >= sought.low[:, None]) & (numbers <= sought.high[:, None])
    assert found == list(zip(*(part.tolist() for part in plain.nonzero()), strict=True))


@settings(max_examples=100, deadline=None)
@given(st.lists(words, min_size=1, max_size=20, unique=True))
def test_numbers_are_in_the_order_of_what_they_keep(some: list[str]) -> None:
    numbers = [number_of(word) for word in some]
    assert len(set(numbers)) == len(some)
    assert all(0 <= number < 2**63 for number in numbers)
    plain = [(word[:LETTERS], number) for word, number in zip(some, numbers, strict=True)]
    ordered = sorted((head, number) for head, number in plain if head.isascii() and "0" not in head)
    heads = {head for head, _ in ordered}
    for one in heads:  # all with these letters are below all with later ones
        later = [n for head, n in ordered if head > one]
        assert max(n for head, n in ordered if head == one) < min(later, default=2**63)
    like = beginning_like(np.array(numbers), np.array(numbers[:1]))
    assert 0 in like


def test_a_memory_finds_what_is_made_of_the_word(path: Path) -> None:
    records = Records(Store(path), None)
    texts = ["my workspace is in the office", "my theatre is in the office", "I work here", "the end of it"]
    for i, text in enumerate(texts):
        records.add(Record(kind="event", first_ns=i * 10**13, last_ns=i * 10**13, text=text))
    found = {item.text: item.why.get("words", 0.0) for item in records.search(Query(text="work in the office"), 4)}
    assert list(found)[0] == texts[0]
    assert found[texts[0]] > found[texts[1]] > 0
    records.store.close()


class _Words(HashingEncoder):
    """A vector for each word by itself."""

    def encode_words(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        places = [[match.span() for match in re.finditer(r"\w+", text)] for text in texts]
        return [
            (np.array(at).reshape(-1, 2), self.encode([text[a:b] for a, b in at]).reshape(-1, self.dim))
            for text, at in zip(texts, places, strict=True)
        ]


@pytest.mark.parametrize(
    ("encoder", "late", "found"),
    [(None, "always", True), (HashingEncoder(256), "always", True), (_Words(256), "never", True)]
    + [(_Words(256), "always", False)],
)
def test_a_word_of_its_kin_is_not_the_word(path: Path, encoder: HashingEncoder | None, late: str, found: bool) -> None:
    records = Records(Store(path), encoder)
    records.settings = RecallConfig(late=late)
    for i, text in enumerate(("a workspace in the office", "a bathroom in the office")):
        records.add(Record(kind="event", first_ns=i * 10**13, last_ns=i * 10**13, text=text))
    query = Query(text="office work")
    assert list(records.rank(query, 3, {"": ()})[""].held) == ["office"]
    words = {item.text: item.why["words"] for item in records.search(query, 2)}
    assert (words["a workspace in the office"] > words["a bathroom in the office"]) == found
    records.store.close()
