"""Words that say what is to be done count less than those that say with what."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodmem import EmbodiedMemory, Event
from embodmem.encoders import HashingEncoder
from embodmem.index import Record, Records
from embodmem.index.request import WORTH, request_weights, request_words
from embodmem.store import Store
from embodmem.types import Query


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Could you set up my desk?", {"set", "up"}),
        ("Please help me to carry the box, then put it down", {"please", "help", "me", "to", "carry"}),
        ("Can you first please tidy up the shelf? Then, would you bring my cup?", None),
        ("I would like you to find the keys", {"find"}),
        ("Let's water the plants", {"water"}),
        ("Let\u2019s water the plants", {"water"}),
        ("What did the cup cost?", set()),
        ("my new work setup", set()),
        ("the can you see is mine", None),
        ("please", set()),
        ("", set()),
    ],
)
def test_the_verb_of_a_request_is_told_by_its_place(text: str, wanted: set[str] | None) -> None:
    found = request_words(text)
    if wanted is None:
        assert not found & {"shelf", "cup", "mine", "my"}
    else:
        assert found == wanted


@given(st.text(max_size=80))
def test_any_text_is_taken_and_no_word_weighs_nothing(text: str) -> None:
    terms = text.lower().split()
    weights = request_weights(text, terms)
    assert weights.shape == (len(terms),)
    assert set(weights.tolist()) <= {WORTH, 1.0}
    assert request_words(text) == request_words(text.upper()) or not text.isascii()


def _written(path: Path, *texts: str) -> Records:
    records = Records(Store(path), HashingEncoder(512))
    for i, text in enumerate(texts):
        records.add(Record(kind="event", first_ns=i, last_ns=i, text=text))
    return records


def test_what_is_asked_for_outweighs_how_it_is_asked(path: Path) -> None:
    # Each verb and each thing is said twice, so that their rarity is one and the place in the question decides.
    texts = ["arrange a meeting", "wash my mug", "arrange the flowers", "dry my mug"]
    records = _written(path, *texts)
    found = records.search(Query(text="could you arrange my mug?"), 4)
    assert {item.text for item in found[:2]} == {"wash my mug", "dry my mug"}
    words = {item.text: item.why["words"] for item in found}
    assert words["dry my mug"] > words["arrange a meeting"] > 0  # less, not nothing


def test_a_request_of_nothing_but_a_verb_still_finds_it() -> None:
    with EmbodiedMemory(encoder=HashingEncoder()) as memory:
        memory.write(Event(stamp_ns=1, kind="told", text="vacuum on Mondays"))
        memory.write(Event(stamp_ns=2, kind="told", text="the cat sleeps"))
        assert memory.recall("could you vacuum?")[0].text == "vacuum on Mondays"
