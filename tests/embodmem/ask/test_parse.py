"""Words to typed questions."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.ask import Question, Vocabulary, parse

WORDS = Vocabulary(
    labels=("mug", "keys", "book", "laptop", "table", "sofa", "game controller", "plastic box", "box", "drawer",
            "shelf", "knife", "can", "lamp", "chair", "coffee cup", "watch", "robot"),
    rooms=("kitchen", "bedroom", "office", "living room"),
    start_ns=1_000_000_000,
)  # fmt: skip
NOW = datetime(2024, 5, 15, 11, 0, tzinfo=timezone.utc)
NOW_NS = int(NOW.timestamp()) * 1_000_000_000


def ns(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1_000_000_000


TABLE: list[tuple[str, str, str, dict[str, object]]] = [
    ("where is the mug?", "where", "objects", {"labels": ("mug",)}),
    ("Where are my keys", "where", "objects", {"labels": ("keys",)}),
    ("where's the MUG", "where", "objects", {"labels": ("mug",)}),
    ("where are the knives?", "where", "objects", {"labels": ("knife",)}),
    ("where is the game controller?", "where", "objects", {"labels": ("game controller",)}),
    ("where is the controller?", "where", "objects", {"labels": ("game controller",)}),
    ("where is the box?", "where", "objects", {"labels": ("box",)}),
    ("where are the plastic boxes?", "where", "objects", {"labels": ("plastic box",)}),
    ("where can I find the mug", "where", "objects", {"labels": ("mug",)}),
    ("find the can", "where", "objects", {"labels": ("can",)}),
    ("where is my watch?", "where", "objects", {"labels": ("watch",)}),
    ("tell me where the mug is", "where", "objects", {"labels": ("mug",)}),
    ("can you please tell me where my keys are?", "where", "objects", {"labels": ("keys",)}),
    ("where is the red mug?", "where", "objects", {"labels": ("mug",), "attributes": ("red",)}),
    ("where is the piano?", "where", "objects", {"labels": (), "unknown": ("piano",)}),
    ("where is the grand piano?", "where", "objects", {"unknown": ("grand piano",)}),
    ("where was the mug before?", "where", "objects", {"labels": ("mug",), "order": "previous"}),
    ("where was the mug previously?", "where", "objects", {"labels": ("mug",), "order": "previous"}),
    ("where did you see the mug first?", "where", "objects", {"labels": ("mug",), "order": "first"}),
    ("where did I leave my keys?", "where", "objects", {"labels": ("keys",)}),
    ("where did the mug go?", "where", "objects", {"labels": ("mug",)}),
    ("what is the mug on?", "where", "objects", {"labels": ("mug",)}),
    ("which room is the laptop in?", "where", "objects", {"labels": ("laptop",)}),
    ("in which room is the plastic box", "where", "objects", {"labels": ("plastic box",)}),
    ("where did you put the book?", "where", "events", {"labels": ("book",), "verb": "place"}),
    ("where did you pick up the book?", "where", "events", {"labels": ("book",), "verb": "pick"}),
    ("where am I?", "where", "self", {"labels": ()}),
    ("where is the robot?", "where", "self", {"labels": ()}),
    ("when did you last see the mug?", "when", "seen", {"labels": ("mug",), "order": "last"}),
    ("when did you first see the controllers?", "when", "seen", {"labels": ("game controller",), "order": "first"}),
    ("how long ago did you see the laptop?", "when", "seen", {"labels": ("laptop",)}),
    ("when did you pick up the book?", "when", "events", {"labels": ("book",), "verb": "pick"}),
    ("when did the mug move?", "when", "moves", {"labels": ("mug",)}),
    ("when did I tell you about the keys", "when", "told", {"labels": ("keys",)}),
    ("when were you in the kitchen?", "when", "self", {"room": "kitchen"}),
    ("when was the mug on the table?", "when", "seen", {"labels": ("mug",), "relation": "on", "landmark": ("table",)}),
    ("what did you see in the bedroom?", "what", "seen", {"room": "bedroom"}),
    ("what was the last thing you saw?", "what", "seen", {"order": "last"}),
    ("what is on the table?", "what", "objects", {"relation": "on", "landmark": ("table",), "labels": ()}),
    ("what's in the living room?", "what", "objects", {"room": "living room"}),
    ("what is near the sofa", "what", "objects", {"relation": "near", "landmark": ("sofa",)}),
    ("what is next to the lamp?", "what", "objects", {"relation": "near", "landmark": ("lamp",)}),
    ("what is on top of the small wooden table?", "what", "objects", {"relation": "on", "landmark": ("table",)}),
    ("what is the mug next to?", "what", "objects", {"relation": "near", "landmark": ("mug",)}),
    ("what things are in the drawer?", "what", "objects", {"relation": "in", "landmark": ("drawer",)}),
    ("what is in the fridge?", "what", "objects", {"relation": "in", "unknown": ("fridge",)}),
    ("list all mugs in the kitchen", "what", "objects", {"labels": ("mug",), "room": "kitchen"}),
    ("which mug is on the table", "what", "objects", {"labels": ("mug",), "landmark": ("table",)}),
    ("how many mugs are there (in the kitchen)?", "how_many", "objects", {"labels": ("mug",), "room": "kitchen"}),
    ("how many of the mugs are on the table", "how_many", "objects", {"labels": ("mug",), "landmark": ("table",)}),
    ("how many things are on the table?", "how_many", "objects", {"labels": (), "landmark": ("table",)}),
    ("how many rooms are there?", "how_many", "rooms", {}),
    ("which rooms do you know?", "what", "rooms", {}),
    ("is there a laptop in the office?", "is_there", "objects", {"labels": ("laptop",), "room": "office"}),
    ("is there a piano in the office?", "is_there", "objects", {"unknown": ("piano",), "room": "office"}),
    ("are there any mugs?", "is_there", "objects", {"labels": ("mug",)}),
    ("have you seen my laptop?", "is_there", "objects", {"labels": ("laptop",)}),
    ("is the mug on the table?", "is_there", "objects", {"labels": ("mug",), "landmark": ("table",)}),
    ("did the mug move?", "did", "moves", {"labels": ("mug",)}),
    ("was the mug moved?", "did", "moves", {"labels": ("mug",)}),
    ("did you pick up the book?", "did", "events", {"labels": ("book",), "verb": "pick"}),
    ("do you have the book?", "did", "holder", {"labels": ("book",)}),
    ("what disappeared?", "what", "moves", {"verb": "vanish"}),
    ("what changed?", "what", "changes", {}),
    ("what is new?", "what", "changes", {}),
    ("what objects have been moved?", "what", "moves", {"labels": ()}),
    ("what did you do first?", "what", "events", {"order": "first"}),
    ("what did you do last?", "what", "events", {"order": "last"}),
    ("what did you pick up in the kitchen?", "what", "events", {"verb": "pick", "room": "kitchen"}),
    ("what did you put in the drawer?", "what", "events", {"verb": "place", "landmark": ("drawer",)}),
    ("what did you calibrate?", "what", "events", {"verb": "calibrate"}),
    ("what happened to the mug?", "what", "events", {"labels": ("mug",)}),
    ("how often did you see the knives?", "how_often", "seen", {"labels": ("knife",)}),
    ("how many times did you pick up the book?", "how_often", "events", {"labels": ("book",), "verb": "pick"}),
    ("what did I tell you about the keys?", "what", "told", {"labels": ("keys",)}),
    ("did I tell you anything about the laptop?", "is_there", "told", {"labels": ("laptop",)}),
    ("who has the book?", "who", "holder", {"labels": ("book",)}),
    ("who took the mug?", "who", "events", {"labels": ("mug",), "verb": "pick"}),
    ("what are you holding?", "what", "holder", {"labels": ()}),
    ("what do you know about the mug?", "what", "everything", {"labels": ("mug",)}),
    ("why did you go to the kitchen?", "why", "events", {"room": "kitchen"}),
    ("where are all my things?", "what", "objects", {"labels": ()}),
    ("the mug in the kitchen", "where", "objects", {"labels": ("mug",), "room": "kitchen"}),
    ("where is the nearest chair?", "where", "objects", {"labels": ("chair",), "order": "nearest"}),
    ("what is the closest thing to the sofa?", "what", "objects", {"relation": "near", "landmark": ("sofa",)}),
    ("which mugs are not in the kitchen?", "other", "everything", {}),
    ("which room has the most mugs?", "other", "everything", {}),
    ("is the kitchen empty?", "other", "everything", {}),
    ("what is the time?", "other", "everything", {}),
    ("hello there", "other", "everything", {"labels": ()}),
    ("what color is the mug?", "other", "everything", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "about", "wanted"), TABLE, ids=[row[0] for row in TABLE])
def test_table(text: str, kind: str, about: str, wanted: dict[str, object]) -> None:
    question = parse(text, WORDS, NOW_NS)
    assert (question.kind, question.about) == (kind, about)
    assert {name: getattr(question, name) for name in wanted} == wanted
    assert question.text == text and question.problem == ""
    if "labels" in wanted and wanted["labels"]:
        assert question.unknown == ()


TIMES = [
    ("where was the mug at 10:15?", "2024-05-15T10:15:00", "2024-05-15T10:16:00"),
    ("where was the mug at 23:15?", "2024-05-14T23:15:00", "2024-05-14T23:16:00"),
    ("where was the mug at 3 pm", "2024-05-14T15:00:00", "2024-05-14T15:01:00"),
    ("where was the mug at 10:15:30", "2024-05-15T10:15:30", "2024-05-15T10:15:31"),
    ("where was the mug around noon yesterday?", "2024-05-14T11:45:00", "2024-05-14T12:16:00"),
    ("where was the mug yesterday?", "2024-05-14T00:00:00", "2024-05-15T00:00:00"),
    ("where was the mug yesterday at 10:15?", "2024-05-14T10:15:00", "2024-05-14T10:16:00"),
    ("where was the mug at 10:15 on monday", "2024-05-13T10:15:00", "2024-05-13T10:16:00"),
    ("what happened this morning?", "2024-05-15T05:00:00", "2024-05-15T12:00:00"),
    ("what happened last night?", "2024-05-14T18:00:00", "2024-05-15T06:00:00"),
    ("what happened yesterday evening", "2024-05-14T18:00:00", "2024-05-15T00:00:00"),
    ("what happened the day before yesterday", "2024-05-13T00:00:00", "2024-05-14T00:00:00"),
    ("what happened on 12 May 2024?", "2024-05-12T00:00:00", "2024-05-13T00:00:00"),
    ("what happened on May 12th", "2024-05-12T00:00:00", "2024-05-13T00:00:00"),
    ("what happened on 2024-05-12 at 9:05", "2024-05-12T09:05:00", "2024-05-12T09:06:00"),
    ("what happened last week?", "2024-05-06T00:00:00", "2024-05-13T00:00:00"),
    ("what happened in March 2023?", "2023-03-01T00:00:00", "2023-04-01T00:00:00"),
    ("what happened in 2023?", "2023-01-01T00:00:00", "2024-01-01T00:00:00"),
    ("what happened two minutes ago?", "2024-05-15T10:57:30", "2024-05-15T10:58:30"),
    ("what happened half an hour ago?", "2024-05-15T10:15:00", "2024-05-15T10:45:00"),
]


@pytest.mark.parametrize(("text", "begin", "end"), TIMES, ids=[row[0] for row in TIMES])
def test_times(text: str, begin: str, end: str) -> None:
    question = parse(text, WORDS, NOW_NS)
    assert question.between_ns is not None and question.problem == ""
    got_begin, got_end = question.between_ns
    assert got_begin == ns(begin)
    assert got_end in (ns(end), ns(end) - 1)  # a stretch of the calendar ends just before the next
    assert not question.unknown and not question.anchors


BOUNDS = [
    ("what happened since 10:00", "2024-05-15T10:00:00", None),
    ("what happened after yesterday", "2024-05-15T00:00:00", None),
    ("what happened before 10:30", None, "2024-05-15T10:30:00"),
    ("what happened between 10:00 and 10:30?", "2024-05-15T10:00:00", "2024-05-15T10:30:00"),
    ("what happened between 8:00 and 9:00 yesterday?", "2024-05-14T08:00:00", "2024-05-14T09:00:00"),
    ("what happened between 8 and 9 yesterday?", "2024-05-14T08:00:00", "2024-05-14T09:00:00"),
    ("what happened yesterday between 8:00 and 9:00?", "2024-05-14T08:00:00", "2024-05-14T09:00:00"),
    ("between 8 am and 9 am on May 3, what happened?", "2024-05-03T08:00:00", "2024-05-03T09:00:00"),
    ("what happened from 23:00 yesterday to 1:00?", "2024-05-14T23:00:00", "2024-05-15T01:00:00"),
    ("what happened from yesterday 8:00 until 9:00?", "2024-05-14T08:00:00", "2024-05-14T09:00:00"),
    ("what happened from 10:00 to 10:30?", "2024-05-15T10:00:00", "2024-05-15T10:30:00"),
    ("what happened after 10:00 and before 10:30?", "2024-05-15T10:00:00", "2024-05-15T10:30:00"),
    ("since 10:00, what has happened?", "2024-05-15T10:00:00", None),
    ("was the mug moved since yesterday?", "2024-05-14T00:00:00", None),
    ("what happened in the last minute", "2024-05-15T10:59:00", "2024-05-15T11:00:00"),
    ("what did you see in the last 30 seconds?", "2024-05-15T10:59:30", "2024-05-15T11:00:00"),
    ("what did you see within the past two hours?", "2024-05-15T09:00:00", "2024-05-15T11:00:00"),
]


@pytest.mark.parametrize(("text", "begin", "end"), BOUNDS, ids=[row[0] for row in BOUNDS])
def test_bounds(text: str, begin: str | None, end: str | None) -> None:
    question = parse(text, WORDS, NOW_NS)
    assert question.between_ns == (begin and ns(begin), end and ns(end))
    assert not question.anchors


ANCHORS = [
    ("what did you do before you picked up the book?", "before", "pick", ("book",), None, ""),
    ("what did you do right after you went to the kitchen?", "after", "go", (), "kitchen", ""),
    ("what was moved since the first tour?", "after", "", (), None, "first"),
    ("where was the mug before you picked it up?", "before", "pick", ("mug",), None, ""),
    ("before you took the book, where was the mug?", "before", "pick", ("book",), None, ""),
    ("where was the laptop when you last picked up the book?", "during", "pick", ("book",), None, "last"),
    ("what did you do while you were in the kitchen?", "during", "", (), "kitchen", ""),
]


@pytest.mark.parametrize(("text", "side", "verb", "labels", "room", "order"), ANCHORS, ids=[row[0] for row in ANCHORS])
def test_anchors(text: str, side: str, verb: str, labels: tuple[str, ...], room: str | None, order: str) -> None:
    question = parse(text, WORDS, NOW_NS)
    (anchor,) = question.anchors
    assert (anchor.side, anchor.verb, anchor.labels, anchor.room, anchor.order) == (side, verb, labels, room, order)
    assert question.between_ns is None


def test_two_anchors_bound_both_ends() -> None:
    question = parse("what happened between the first tour and the second tour?", WORDS, NOW_NS)
    assert [(anchor.side, anchor.words) for anchor in question.anchors] == [
        ("after", ("first", "tour")),
        ("before", ("second", "tour")),
    ]


def test_right_before_asks_for_the_nearest_alone() -> None:
    assert parse("what did you do right before you picked up the book?", WORDS, NOW_NS).order == "last"
    assert parse("what did you do just after the first tour?", WORDS, NOW_NS).order == "first"


def test_stamps_that_are_no_calendar_time() -> None:
    now_ns = 100_000_000_000
    assert "no calendar time" in parse("where was the mug at 10:15?", WORDS, now_ns).problem
    assert "no calendar time" in parse("what happened since yesterday?", WORDS, now_ns).problem
    assert parse("what happened in the last 30 seconds?", WORDS, now_ns).between_ns == (70_000_000_000, now_ns)
    # Second 12 counts from the memory's first stamp, which is 1 s.
    assert parse("where was the mug at second 12?", WORDS, now_ns).between_ns == (12_500_000_000, 13_500_000_000)


def test_times_beyond_all_stamps_end_with_them() -> None:
    question = parse("what happened at second " + "9" * 400, WORDS, 100)
    assert question.between_ns is not None and max(filter(None, question.between_ns)) == 2**63 - 1


@pytest.mark.parametrize("text", ["what happened at 99:99?", "what happened on 31 February", "what happened at 25:61"])
def test_impossible_times_are_said_so(text: str) -> None:
    assert "no date or time" in parse(text, WORDS, NOW_NS).problem


def test_clock_times_are_of_the_zone() -> None:
    from datetime import timedelta

    east = Vocabulary(labels=("mug",), zone=timezone(timedelta(hours=2)))
    question = parse("where was the mug at 12:15?", east, NOW_NS)
    assert question.between_ns is not None and question.between_ns[0] == ns("2024-05-15T10:15:00")


PIECES = st.sampled_from(
    [
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
        "the",
        "a",
        "mug",
        "mugs",
        "keys",
        "kitchen",
        "living",
        "room",
        "before",
        "after",
        "since",
        "between",
        "and",
        "until",
        "first",
        "last",
        "tour",
        "you",
        "i",
        "did",
        "do",
        "see",
        "saw",
        "pick",
        "picked",
        "up",
        "put",
        "on",
        "in",
        "near",
        "table",
        "yesterday",
        "10:15",
        "at",
        "3",
        "pm",
        "ago",
        "minutes",
        "two",
        "99:99",
        "'",
        ",",
        "?",
        "-",
        ":",
        ".",
        "/",
        "of",
        "to",
        "from",
        "while",
        "during",
        "31",
        "may",
        "2024-13-45",
        "last",
        "week",
        "second",
        "million",
        "years",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map(" ".join)), st.integers(0, 2**63 - 1))
def test_parse_takes_any_text(text: str, now_ns: int) -> None:
    question = parse(text, WORDS, now_ns)
    assert isinstance(question, Question) and question.text == text
    assert question == parse(text, WORDS, now_ns)
    assert set(question.labels) | set(question.landmark) <= set(WORDS.labels)
    assert question.room is None or question.room in WORDS.rooms


@given(st.sampled_from(WORDS.labels[:-1]))
def test_every_label_is_understood(label: str) -> None:
    assert parse(f"where is the {label}?", WORDS, NOW_NS).labels == (label,)
    assert parse(f"What's near the {label.upper()}?", WORDS, NOW_NS).landmark == (label,)
