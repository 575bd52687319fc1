"""Answers from a real memory that has lived through a morning (see home.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embodmem.ask import Answer, ask
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.types import Event
from tests.embodmem.ask.home import CONTROLLER as CONTROLLER_ID
from tests.embodmem.ask.home import LAPTOP as LAPTOP_ID
from tests.embodmem.ask.home import MUG as MUG_ID
from tests.embodmem.ask.home import START_NS, S, furnished, live
from tests.embodmem.spatial.scene_room import eyes, percept

MUG, OTHER_MUG = (-0.6, 0.75, 0.80), (0.55, 0.9, 0.80)
MUG_BEFORE, CONTROLLER_BEFORE, CONTROLLER = (-0.3, 1.0, 0.80), (0.3, 1.0, 0.80), (-1.8, 1.6, 0.65)


@pytest.fixture(scope="module")
def memory() -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory() as made:
        live(made)
        yield made


def places(answer: Answer) -> np.ndarray:
    return np.array([item.position for item in answer.recalls])


def labels(answer: Answer) -> list[str]:
    return sorted(item.label for item in answer.recalls)


def texts(answer: Answer) -> list[str]:
    return [item.text for item in answer.recalls]


def test_where_is_one(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "where is the game controller?")
    np.testing.assert_allclose(places(answer), [CONTROLLER], atol=0.03)
    (found,) = answer.recalls
    assert found.text == (
        "game controller at (-1.80, 1.60, 0.65) m in the kitchen, on the shelf, seen 14 times, last 23 s ago"
    )
    assert found.why["label"] == 1.0
    assert answer.text.startswith("The game controller is at (-1.80, 1.60, 0.65) m in the kitchen, on the shelf")
    assert found.id in answer.text
    assert any(name.startswith("keyframe:") for name in found.evidence)
    assert any(name.startswith("fact:") for name in found.evidence)


def test_where_are_two(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "where are the mugs?")
    np.testing.assert_allclose(places(answer), [MUG, OTHER_MUG], atol=0.03)  # seen last comes first
    assert answer.text.startswith("There are 2 mugs: ")
    assert labels(answer) == ["mug", "mug"]


def test_every_evidence_is_in_the_memory(memory: EmbodiedMemory) -> None:
    for text in ("where is the mug?", "what is on the table?", "what was moved?", "where was the mug before?"):
        for item in ask(memory, text).recalls:
            for name in (item.id, *item.evidence):
                assert memory.records.get_id(name).id == name


def test_where_is_what_is_held(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "where is the laptop?")
    assert answer.text.startswith("The laptop is held by robot, seen before at (-0.00, 1.20, 0.80) m")
    assert labels(answer) == ["laptop"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("where was the game controller before?", CONTROLLER_BEFORE),
        ("where was the game controller at 10:00:30?", CONTROLLER_BEFORE),
        ("where was the game controller before you picked it up?", CONTROLLER_BEFORE),
        ("where was the game controller during the first tour?", CONTROLLER_BEFORE),
        ("where was the game controller first?", CONTROLLER_BEFORE),
        ("where was the game controller at 10:15:10?", CONTROLLER),
        ("where was the game controller 20 seconds ago?", CONTROLLER),
        ("where was the mug before?", MUG_BEFORE),
        ("where did the mug come from?", MUG_BEFORE),
        ("where was the laptop before you picked up the laptop?", (0.0, 1.2, 0.8)),
        ("where was the laptop before?", (0.0, 1.2, 0.8)),
    ],
)
def test_where_was_it(memory: EmbodiedMemory, text: str, place: tuple[float, float, float]) -> None:
    answer = ask(memory, text)
    np.testing.assert_allclose(places(answer), [place], atol=0.03)
    assert answer.recalls[0].kind == "object"


def test_where_was_it_in_between(memory: EmbodiedMemory) -> None:
    held = ask(memory, "where was the game controller at 10:01:15?")
    assert "held by robot" in held.text and held.recalls[0].position is None
    laid = ask(memory, "where was the game controller at 10:05?")
    assert "put the game controller on the shelf" in laid.text and laid.recalls[0].position is None


def test_places_of_a_stretch_come_in_order(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "where was the game controller since the first tour?")
    begins = [item.first_seen_ns for item in answer.recalls]
    assert begins == sorted(begins) and len(begins) == 4


def test_what_is_there(memory: EmbodiedMemory) -> None:
    assert labels(ask(memory, "what is on the table?")) == ["mug", "mug"]
    then = ask(memory, "what was on the table at 10:00:50?")
    assert labels(then) == ["game controller", "laptop", "mug", "mug"]
    controller = next(item for item in then.recalls if item.label == "game controller")
    np.testing.assert_allclose(controller.position, CONTROLLER_BEFORE, atol=0.03)  # as it lay then
    assert labels(ask(memory, "what is on the shelf?")) == ["game controller"]
    assert labels(ask(memory, "what is near the shelf?")) == ["game controller", "table"]
    assert len(ask(memory, "what is in the kitchen?").recalls) == 6
    assert labels(ask(memory, "which mugs are on the table?")) == ["mug", "mug"]


def test_what_was_seen(memory: EmbodiedMemory) -> None:
    assert labels(ask(memory, "what did you see in the kitchen?")) == [
        "game controller", "laptop", "mug", "mug", "shelf", "table",
    ]  # fmt: skip
    assert "a laptop" in ask(memory, "what did you see between 10:00 and 10:05?").text
    assert ask(memory, "what did you see in the bedroom?").text.startswith("not known")
    assert ask(memory, "what did you see between 10:05 and 10:10?").recalls == []


def test_when(memory: EmbodiedMemory) -> None:
    last = ask(memory, "when did you last see the laptop?")
    assert last.text.startswith("I last saw the laptop at 10:15:07, 23 s ago, at (-0.00, 1.20, 0.80) m")
    first = ask(memory, "when did you first see the game controller?")
    assert first.text.startswith("I first saw the game controller at 10:00:10, 15 min ago, at (0.30, 1.00, 0.80) m")
    assert texts(ask(memory, "when did you pick up the laptop?")) == ["picked up the laptop in the kitchen"]
    assert "on table from 10:00:11 until 10:01:10" in ask(memory, "when was the game controller on the table?").text


def test_counts(memory: EmbodiedMemory) -> None:
    assert ask(memory, "how many mugs are there?").text.startswith("2 mugs")
    assert ask(memory, "how many things are on the shelf?").text.startswith("1 thing on the shelf")
    assert ask(memory, "how often did you pick up the laptop?").text.startswith("once")
    assert ask(memory, "how often did you see the laptop?").text.startswith("I saw the laptop 14 times")
    assert ask(memory, "how many rooms are there?").text.startswith("I know 2 rooms: bedroom and kitchen")


def test_yes_and_no(memory: EmbodiedMemory) -> None:
    assert ask(memory, "is there a laptop in the kitchen?").text.startswith("yes: laptop")
    no = ask(memory, "is there a mug in the bedroom?")
    assert no.text.startswith("no, I have not seen a mug in the bedroom; what I know: mug at")
    assert ask(memory, "is the game controller on the table?").text.startswith("no, ")
    assert ask(memory, "did the mug move?").text.startswith("yes: mug moved from")
    assert ask(memory, "did the laptop move?").text.startswith("not known")
    assert ask(memory, "did you pick up the laptop?").text.startswith("yes: ")
    assert ask(memory, "did you pick up the mug?").text.startswith("not known")


def test_no_tells_where_it_is_instead(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "is the laptop on the table?")
    assert answer.text.startswith("no, I have not seen a laptop on the table; what I know: laptop held by robot")


def test_moves(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "what was moved since the first tour?")
    assert [text.split(" moved ")[0] for text in texts(answer)] == ["mug", "game controller"]
    np.testing.assert_allclose(places(answer), [MUG, CONTROLLER], atol=0.03)
    assert ask(memory, "what was moved before the first tour?").recalls == []
    assert ask(memory, "what was moved during the first tour?").text.startswith("not known")


BEFORE = ["went to the kitchen", "finished the first tour", "began the first tour"]
AFTER = [
    "put the game controller on the shelf in the kitchen",
    "picked up the laptop in the kitchen",
    "went to the bedroom",
]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("what did you do before you picked up the game controller?", BEFORE),
        ("what did you do before you took the controller?", BEFORE),
        ("what did you do right before you picked up the game controller?", BEFORE[:1]),
        ("what did you do after you picked up the game controller?", AFTER),
        ("what did you do after picking up the game controller?", AFTER),
        ("what did you do after you put the game controller on the shelf?", AFTER[1:]),
        ("what happened between 10:01 and 10:01:15?", [BEFORE[0], "picked up the game controller in the kitchen"]),
        ("what did you do in the last 30 seconds?", AFTER[1:]),
        ("what did you do first?", ["began the first tour"]),
        ("what was the last thing you did?", ["went to the bedroom"]),
        ("what did you pick up in the kitchen?", [AFTER[1], "picked up the game controller in the kitchen"]),
        ("what did you pick up since 10:10?", AFTER[1:2]),
        ("where did you put the game controller?", AFTER[:1]),
        ("what did I tell you about the keys?", ["the keys are in the drawer"]),
        ("where are my keys?", ["the keys are in the drawer"]),
        ("who has the laptop?", ["laptop is held by robot"]),
        ("what are you holding?", ["laptop is held by robot"]),
    ],
)
def test_events(memory: EmbodiedMemory, text: str, wanted: list[str]) -> None:
    assert texts(ask(memory, text)) == wanted


NOT_KNOWN = [
    ("where is the piano?", "I have never seen a piano"),
    ("is there a piano in the kitchen?", "I have never seen a piano in the kitchen"),
    ("how many pianos are there?", "I have never seen pianos"),
    ("when did you last see the piano?", "I have never seen a piano"),
    ("what did I tell you about the piano?", "I was told nothing about piano"),
    ("did the piano move?", "I have never seen a piano"),
    ("what is in the fridge?", "I have never seen a fridge"),
    ("what is in the bedroom?", "I have seen nothing in the bedroom"),
    ("what did you do before you sold the laptop?", "I remember no event like 'you sold the laptop'"),
    ("what happened since the third tour?", "I remember no event like 'the third tour'"),
    ("who has the mug?", "I know of nobody who holds the mug"),
    ("where was the laptop before 09:00?", "I do not know where the laptop was"),
    ("what happened at 99:99?", "'at 99:99' is no date or time"),
    ("did you see the mug yesterday?", "I did not see a mug between 2024-05-14 00:00:00 and 2024-05-14 23:59:59"),
    ("where will the mug be tomorrow?", "this asks about the future"),
    ("where is the laptob?", "I have never seen a laptob (did you mean laptop?)"),
]


@pytest.mark.parametrize(("text", "why"), NOT_KNOWN, ids=[row[0] for row in NOT_KNOWN])
def test_not_known(memory: EmbodiedMemory, text: str, why: str) -> None:
    answer = ask(memory, text)
    assert answer.text.startswith(f"not known: {why}")
    assert answer.recalls == []


def test_attributes_that_are_not_kept_are_said_so(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "where is the red mug?")
    assert labels(answer) == ["mug", "mug"] and "I do not know which is red" in answer.text


def test_no_rule_falls_back_on_recall(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "what colour is the mug?")
    assert answer.text.startswith("I have no rule for this question; what is nearest to its words: ")
    assert [item.id for item in answer.recalls] == [item.id for item in memory.recall("what colour is the mug?")]


def test_the_body(memory: EmbodiedMemory) -> None:
    np.testing.assert_allclose(places(ask(memory, "where are you?")), [(0, -2, 1)])
    assert "in the kitchen" in ask(memory, "where were you at 10:01:10?").text
    np.testing.assert_allclose(places(ask(memory, "where were you before you went to the kitchen?")), [(0, -1, 1)])
    assert ask(memory, "when were you in the kitchen?").text.startswith("I was in the kitchen at 10:15:10")


def test_the_nearest_one(memory: EmbodiedMemory) -> None:
    np.testing.assert_allclose(places(ask(memory, "where is the nearest mug?")), [MUG], atol=0.03)


def test_an_anchor_tells_which_of_two() -> None:
    with EmbodiedMemory() as made:
        live(made)
        T = np.eye(4)
        T[:3, 3] = (0.6, 0.8, 1.0)  # beside the other mug
        pick = Event(
            stamp_ns=START_NS + 940 * S, kind="pick", text="picked up the mug", objects=("mug",), T_world_body=T
        )
        made.write(pick)
        answer = ask(made, "where was the mug before you picked it up?")
    np.testing.assert_allclose(places(answer), [OTHER_MUG], atol=0.03)


PIECES = st.sampled_from(
    [
        *(
            "where",
            "when",
            "what",
            "who",
            "why",
            "how",
            "many",
            "often",
            "is",
            "was",
            "there",
            "did",
            "you",
            "I",
            "the",
        ),
        *(
            "mug",
            "laptop",
            "game controller",
            "shelf",
            "table",
            "piano",
            "red",
            "kitchen",
            "bedroom",
            "in",
            "on",
            "near",
        ),
        *(
            "see",
            "picked up",
            "put",
            "tell",
            "move",
            "do",
            "happen",
            "tour",
            "first",
            "last",
            "nearest",
            "things",
            "about",
        ),
        *(
            "before",
            "after",
            "since",
            "between",
            "and",
            "at",
            "10:05",
            "yesterday",
            "2 minutes ago",
            "second 99999999999",
        ),
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words=st.lists(PIECES, min_size=1, max_size=9), k=st.integers(1, 12))
def test_any_question_gets_an_answer(memory: EmbodiedMemory, words: list[str], k: int) -> None:
    answer = ask(memory, " ".join(words), k=k)
    assert len(answer.recalls) <= k
    assert answer.text.startswith("not known: ") == (not answer.recalls)
    for item in answer.recalls:
        assert memory.records.get_id(item.id).kind == item.kind


def test_k_bounds_the_recalls_and_not_the_count(memory: EmbodiedMemory) -> None:
    answer = ask(memory, "what is in the kitchen?", k=2)
    assert len(answer.recalls) == 2 and answer.text.startswith("6 things in the kitchen")


def test_now_is_passed(memory: EmbodiedMemory) -> None:
    later = ask(memory, "where is the game controller?", now_ns=START_NS + 7200 * S)
    assert "last 105 min ago" in later.text
    assert ask(memory, "what happened in the last minute?", now_ns=START_NS + 7200 * S).recalls == []


def test_same_question_same_answer(memory: EmbodiedMemory) -> None:
    for text in ("where are the mugs?", "what was moved since the first tour?", "what colour is the mug?"):
        first, again = ask(memory, text), ask(memory, text)
        assert first.text == again.text and first.question == again.question
        assert [item.id for item in first.recalls] == [item.id for item in again.recalls]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_question_is_refused(memory: EmbodiedMemory, text: str) -> None:
    with pytest.raises(InvalidInput, match="wanted a question"):
        ask(memory, text)


def test_k_is_checked(memory: EmbodiedMemory) -> None:
    with pytest.raises(InvalidInput, match="k: wanted 1 or more"):
        ask(memory, "where is the mug?", k=0)


def test_an_empty_memory_knows_nothing() -> None:
    with EmbodiedMemory() as memory:
        for text in ("where is the mug?", "what happened?", "where am I?", "what moved?", "hm"):
            assert ask(memory, text).text.startswith("not known: ")


def test_what_was_told_after_it_was_seen_is_added() -> None:
    with EmbodiedMemory() as memory:
        live(memory)
        told = Event(stamp_ns=START_NS + 940 * S, kind="told", text="the mug is in the dishwasher", source="user")
        memory.write(told)
        answer = ask(memory, "where is the mug?")
    assert "since then: the mug is in the dishwasher" in answer.text
    assert [item.kind for item in answer.recalls] == ["object", "object", "event"]


def test_laid_down_and_not_seen_since() -> None:
    with EmbodiedMemory() as memory:
        live(memory)
        down = Event(
            stamp_ns=START_NS + 950 * S,
            kind="place",
            text="put the laptop on the bed",
            objects=("laptop",),
            source="robot",
        )
        memory.write(down)
        answer = ask(memory, "where is the laptop?")
    assert "laid down and not yet seen again (put the laptop on the bed)" in answer.text
    assert labels(answer) == ["laptop"]


def test_facts_and_words_without_objects() -> None:
    with EmbodiedMemory() as memory:
        memory.write(Event(stamp_ns=1 * S, kind="told", text="the passport is in the safe", source="user"))
        memory.semantic.assert_fact("wine", "in", "cellar", valid_from_ns=1 * S)
        memory.semantic.assert_fact("wine", "in", "fridge", valid_from_ns=5 * S)
        memory.write(Event(stamp_ns=9 * S, kind="go", text="went home"))
        assert texts(ask(memory, "where is the wine?")) == ["wine is in fridge"]
        assert texts(ask(memory, "where was the wine before?")) == ["wine was in cellar"]
        assert texts(ask(memory, "what is in the fridge?")) == ["wine is in fridge"]
        assert texts(ask(memory, "where is my passport?")) == ["the passport is in the safe"]
        # Stamps that are no calendar time are told as seconds since the first.
        assert "at 8.0 s, just now" in ask(memory, "what did you do last?").text
        assert "no calendar time" in ask(memory, "where was the wine at 10:15?").text
        assert texts(ask(memory, "where was the wine at second 2?")) == ["wine was in cellar"]


def test_what_is_no_longer_there_comes_last_and_is_said_so() -> None:
    with EmbodiedMemory() as memory:
        live(memory)
        boxes = {id: box for id, box in furnished().items() if id not in (MUG_ID, CONTROLLER_ID, LAPTOP_ID)}
        for i, eye in enumerate(eyes(12)):  # the place of the mug that was moved is seen without it
            look = percept(boxes, 0, "segmentation", eye=eye)
            memory.write(dataclasses.replace(look, stamp_ns=START_NS + (1000 + i) * S))
        answer = ask(memory, "where is the mug?")
        assert [bool(item.data["vanished"]) for item in answer.recalls] == [False, True]
        np.testing.assert_allclose(places(answer), [OTHER_MUG, MUG], atol=0.03)
        assert answer.recalls[1].text.endswith("and is no longer there")
        assert ask(memory, "how many mugs are there?").text.startswith("1 mug: ")
        assert ask(memory, "did the mug disappear?").text.startswith("yes: mug is no longer on the table")
        assert [item.label for item in ask(memory, "what is on the table?").recalls] == ["mug"]
