"""The one statement that finds events gives what a plain walk through all of them gives."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.ask.find import Finder
from embodmem.ask.search import EventSearch
from embodmem.embodied import EmbodiedMemory
from embodmem.types import Event

# kind, text, objects, source
EVENTS = [
    ("pick", "picked up the book in the kitchen", ("book",), "robot"),
    ("pick", "took the coffee cup", ("coffee cup",), "robot"),
    ("place", "put the book on the table", ("book", "table"), "robot"),
    ("take", "a cup from the shelf", ("cup",), "robot"),
    ("go", "went to the kitchen", (), "robot"),
    ("told", "the book is on the table", ("book",), "user"),
    ("note", "the cup of coffee went cold", (), "user"),
    ("open", "opened the drawer", ("drawer",), ""),
]
FORMS = {"pick": {"pick", "picked", "took", "take"}, "place": {"place", "put"}, "go": {"go", "went"}}


@pytest.fixture(scope="module")
def finder() -> Iterator[Finder]:
    with EmbodiedMemory() as memory:
        for stamp_ns, (kind, text, objects, source) in enumerate(EVENTS * 2):
            memory.write(Event(stamp_ns=stamp_ns, kind=kind, text=text, objects=objects, source=source))
        yield Finder(memory)


def plain(what: EventSearch) -> list[int]:
    """Stamps of the events that fit, one after another."""
    found = []
    for stamp_ns, (kind, text, objects, source) in enumerate(EVENTS * 2):
        said = set(re.findall(r"\w+", text))
        begin, end = what.between_ns or (None, None)
        fits = [
            not what.verb or kind in FORMS[what.verb] or bool(said & FORMS[what.verb]),
            not what.labels or any(label in objects or set(label.split()) <= said for label in what.labels),
            what.room is None or what.room in said,
            not what.landmark or any(name in said for name in what.landmark),
            set(what.words) <= said,
            not what.kinds or kind in what.kinds,
            kind not in what.without,
            not what.own or source != "user",
            begin is None or stamp_ns >= begin,
            end is None or stamp_ns <= end,
        ]
        if all(fits):
            found.append(stamp_ns)
    return found


BOUND = st.one_of(st.none(), st.integers(-1, 17))


@settings(max_examples=150, deadline=None)
@given(
    st.builds(
        EventSearch,
        verb=st.sampled_from(["", "pick", "place", "go"]),
        labels=st.lists(st.sampled_from(["book", "cup", "coffee cup", "piano"]), max_size=2, unique=True),
        words=st.lists(st.sampled_from(["book", "kitchen", "shelf", "cold"]), max_size=2, unique=True),
        room=st.sampled_from([None, None, "kitchen"]),
        landmark=st.lists(st.sampled_from(["table", "shelf"]), max_size=2, unique=True),
        between_ns=st.one_of(st.none(), st.tuples(BOUND, BOUND)),
        kinds=st.lists(st.sampled_from(["pick", "told"]), max_size=2, unique=True),
        without=st.lists(st.sampled_from(["told", "go"]), max_size=2, unique=True),
        own=st.booleans(),
    )
)
def test_search_equals_a_plain_walk(finder: Finder, what: EventSearch) -> None:
    assert [item.first_seen_ns for item in finder.events(what)] == plain(what)


def test_importing_ask_is_light() -> None:
    code = "import sys, embodmem.ask; print([m for m in ('dateparser', 'torch', 'warp') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
