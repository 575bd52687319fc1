"""What the tools do, without the protocol."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from embodmem.config import Config
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput, ReadOnlyMemory, StampError
from embodmem.types import Event
from tests.embodmem.ask.home import START_NS, S
from tests.embodmem.serve.conftest import NOW_NS

pytest.importorskip("mcp", reason="the extra mcp is not installed")
from embodmem.serve import Service  # noqa: E402

HOUR = 3600 * S


class Hand:
    """A clock that is set by hand."""

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Hand:
    return Hand(NOW_NS)


@pytest.fixture
def service(home: Path, clock: Hand) -> Iterator[Service]:
    with EmbodiedMemory(home) as memory:
        yield Service(memory, clock)


@pytest.fixture
def empty(clock: Hand) -> Iterator[Service]:
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        yield Service(memory, clock)


def test_where_things_are_and_were(service: Service) -> None:
    now = service.where_is("the laptop")
    assert now.known and now.items[0].label == "laptop" and now.now_ns == NOW_NS
    mug = service.where_is("mug").items
    assert [item.label for item in mug] == ["mug", "mug"]
    assert min(np.linalg.norm(np.subtract(item.position, (-0.6, 0.75, 0.80))) for item in mug) < 0.1
    before = service.where_is("the game controller", when="before you picked up the game controller")
    assert before.known and np.linalg.norm(np.subtract(before.items[0].position, (0.3, 1.0, 0.8))) < 0.1
    unknown = service.where_is("the piano")
    assert not unknown.known and unknown.answer.startswith("not known") and unknown.items == []


def test_what_happened_in_words_of_time(service: Service, clock: Hand) -> None:
    first = service.what_happened("between 10:00:00 and 10:00:45")
    assert [item.text for item in first.items if "tour" in item.text or "keys" in item.text] == [
        "began the first tour",
        "finished the first tour",
        "the keys are in the drawer",
    ]
    morning = service.what_happened("this morning")
    assert len(morning.items) > len(first.items) and all("2024" not in item.when for item in morning.items)
    clock.ns = NOW_NS + 24 * HOUR
    assert not service.what_happened("today").known
    assert {item.id for item in service.what_happened("yesterday morning").items} == {i.id for i in morning.items}
    about = service.what_happened(about="the game controller")
    assert about.items and all("controller" in item.text for item in about.items)


def test_times_are_meant_in_the_zone(service: Service) -> None:
    there = Service(service.memory, lambda: NOW_NS, timezone(timedelta(hours=9)))
    assert not there.what_happened("this morning").known  # 10:00 UTC is 19:00 there
    assert there.what_happened("this evening").known


def test_what_is_told_is_found_and_answers(service: Service, clock: Hand) -> None:
    made = service.remember("the passport is in the suitcase", about=("passport",), source="Anna")
    assert made.stamp_ns == NOW_NS and made.id == service.recent(1)[0].id
    assert service.record(made.id).text == "the passport is in the suitcase"
    assert service.where_is("my passport").items[0].id == made.id
    assert service.ask("what did I tell you about the passport?").items[0].id == made.id
    clock.ns += 60 * S
    again = service.remember("the passport is in the suitcase")
    assert again.id != made.id and again.stamp_ns == clock.ns
    event = service.memory.records.get_id(made.id)
    assert event.data["kind"] == "told" and event.data["source"] == "Anna"


def test_a_clock_that_went_back_is_refused_and_nothing_is_kept(service: Service, clock: Hand) -> None:
    service.remember("one")
    before = service.memory.counts()
    clock.ns -= HOUR
    with pytest.raises(StampError, match="time went backwards"):
        service.remember("two")
    with pytest.raises(StampError):
        service.correct("laptop", "owned by", "Anna")
    assert service.memory.counts() == before
    clock.ns += 2 * HOUR
    assert service.remember("three").stamp_ns == clock.ns


def test_a_memory_of_no_calendar_stays_on_its_clock(empty: Service) -> None:
    empty.memory.write(Event(stamp_ns=90 * S, kind="go", text="went to the kitchen"))
    assert empty.now_ns() == 90 * S
    assert empty.remember("the door is open").stamp_ns == 90 * S
    assert "at 0.0 s" in empty.what_happened("in the last 10 seconds").items[0].when
    with pytest.raises(InvalidInput, match="no calendar time"):
        empty.what_happened("this morning")


def test_corrections_keep_both_axes_of_time(service: Service, clock: Hand) -> None:
    laptop = service.where_is("laptop").items[0].id
    first = service.correct("the laptop", "owned by", "Anna", when="10:05")
    (fact,) = [fact for fact in first.holds if fact.relation == "owned by"]
    assert (fact.subject, fact.text) == (laptop, "laptop is owned by Anna")
    assert (fact.valid_from_ns, fact.known_from_ns) == (START_NS + 5 * 60 * S, NOW_NS)
    assert service.memory.records.get_id(fact.id).evidence == (first.noted,)
    clock.ns += 60 * S
    ended = service.correct(laptop, "owned by", when="10:10")
    assert [f.id for f in ended.closed] == [fact.id]
    semantic = service.memory.semantic

    def held(valid: int, known: int | None = None) -> list[str]:
        return [f.object for f in semantic.facts_at(valid, known, laptop) if f.relation == "owned by"]

    assert held(START_NS + 7 * 60 * S) == ["Anna"] and held(START_NS + 12 * 60 * S) == []
    assert held(START_NS + 12 * 60 * S, NOW_NS) == ["Anna"]  # what was believed before the correction


def test_a_correction_moves_a_thing(service: Service) -> None:
    changed = service.correct("laptop", "on", "shelf")
    assert "laptop is on shelf" in [fact.text for fact in changed.holds]
    assert all(fact.text.startswith("laptop is") for fact in changed.closed)
    assert "on the shelf" in service.where_is("laptop").answer
    assert "laptop is no longer on shelf" in service.record(service.correct("laptop", "on").noted).text


def test_corrections_that_cannot_be_understood(service: Service) -> None:
    before = service.memory.counts()
    mugs = {item.id for item in service.where_is("mug").items}
    with pytest.raises(InvalidInput, match="2 bear this name") as caught:
        service.correct("mug", "owned by", "Anna")
    assert all(name in str(caught.value) for name in mugs)
    with pytest.raises(InvalidInput, match=r"wanted one of laptop that holds, got 'painted by'; what is believed"):
        service.correct("laptop", "painted by")
    with pytest.raises(InvalidInput, match=r"object:99999"):
        service.correct("object:99999", "on", "shelf")
    with pytest.raises(InvalidInput, match="a moment that has been"):
        service.correct("laptop", "on", "shelf", when="the other day")
    with pytest.raises(InvalidInput, match="a moment that has been"):
        service.correct("laptop", "on", "shelf", when="11:30 today")
    with pytest.raises(InvalidInput, match="relation: wanted words"):
        service.correct("laptop", " ", "shelf")
    assert service.memory.counts() == before


def test_forget_removes_from_the_file(service: Service, home: Path) -> None:
    service.remember("the alarm code is quokka", about=("alarm",))
    assert service.recall("quokka").known
    gone = service.forget(text="quokka")
    assert gone.forgotten == sum(gone.by_kind.values()) and gone.by_kind["event"] == 1
    assert all("quokka" not in item.text for item in service.recall("quokka").items)
    service.memory.close()
    assert b"quokka" not in home.read_bytes()
    assert not any(b"quokka" in path.read_bytes() for path in home.parent.iterdir())


def test_forget_wants_a_filter_and_takes_ids(service: Service) -> None:
    with pytest.raises(InvalidInput, match="at least one of labels, ids, kinds and text"):
        service.forget()
    with pytest.raises(InvalidInput, match="at least one"):
        service.forget(text="  ")
    made = service.remember("one")
    kept = service.remember("two")
    assert service.forget(ids=(made.id,)).by_kind["event"] == 1
    assert [item.id for item in service.recent(1)] == [kept.id]


def test_recall_filters_before_it_ranks(service: Service) -> None:
    found = service.recall("mug", kinds=("object",), k=1)
    assert [item.kind for item in found.items] == ["object"] and found.items[0].why
    near = service.recall("", near=(-0.6, 0.75, 0.80), radius_m=0.2, kinds=("object",))
    assert [item.label for item in near.items] == ["mug", "table"]  # the table's box reaches there, too
    told = service.recall("keys", kinds=("told",), when="at 10:00")
    assert [item.text for item in told.items] == ["the keys are in the drawer"]
    assert not service.recall("keys", when="yesterday").known
    with pytest.raises(InvalidInput, match="wanted a time in words"):
        service.recall("mug", when="before the tour")
    with pytest.raises(InvalidInput, match="k: wanted 1 or more"):
        service.recall("mug", k=0)


@pytest.mark.parametrize("text", ["", " \n", "x" * 20_001])
def test_texts_that_are_refused(service: Service, text: str) -> None:
    for call in (service.remember, service.ask, service.where_is, service.what_happened):
        with pytest.raises(InvalidInput, match="wanted"):
            call(text)


def test_records_and_pictures(service: Service) -> None:
    rooms = {room.label for room in service.rooms()}
    assert rooms == {"kitchen", "bedroom"}
    thing = service.objects()[0]
    assert service.record(thing.id) == thing
    frame = next(name for name in thing.evidence if name.startswith("keyframe:"))
    with pytest.raises(InvalidInput, match="has none"):  # these views came without colour
        service.image(frame)
    with pytest.raises(InvalidInput):
        service.record("event:99999")


def test_a_memory_open_for_reading_only_reads(home: Path) -> None:
    with EmbodiedMemory(home, "r") as memory:
        service = Service(memory, lambda: NOW_NS)
        assert service.where_is("laptop").known
        for write in (
            lambda: service.remember("x"),
            lambda: service.correct("laptop", "on", "shelf"),
            lambda: service.forget(labels=("mug",)),
        ):
            with pytest.raises(ReadOnlyMemory):
                write()


def test_many_threads_at_once(service: Service, clock: Hand) -> None:
    """Every acknowledged write is there once; stamps never run back though the clock moves under the writers."""
    made: list[str] = []
    failed: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for i in range(10):
                clock.ns += 1
                made.append(service.remember(f"note {name} {i}").id)
                assert service.recall(f"note {name} {i}", k=3).known
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed
    assert len(set(made)) == 60
    texts = [item.text for item in service.recent(60)]
    assert sorted(texts) == sorted(f"note {name} {i}" for name in range(6) for i in range(10))


def test_a_source_that_is_shut_out_is_refused(empty: Service) -> None:
    empty.memory.guard.trust.judge("mallory", bad=9)
    for act in (
        lambda: empty.remember("the safe is open", source="mallory"),
        lambda: empty.correct("safe", "in", "garden", source="mallory"),
    ):
        with pytest.raises(InvalidInput, match="'mallory' is not trusted"):
            act()
    assert empty.memory.episodic.timeline() == [] and empty.memory.semantic.facts() == []


def test_what_an_assistant_read_here_is_not_told_again(empty: Service, clock: Hand) -> None:
    told = empty.remember("the spare key hangs behind the green door")
    clock.ns += S
    again = empty.remember("the spare key hangs behind the green door", source="llm")
    assert again.id == told.id and len(empty.memory.episodic.timeline()) == 1


def test_a_correction_goes_with_its_source(empty: Service) -> None:
    empty.correct("safe", "in", "cellar", source="visitor")
    assert [fact.source for fact in empty.memory.semantic.facts("safe")] == ["visitor"]
    assert empty.memory.purge("visitor") > 0
    assert empty.memory.semantic.facts() == [] and empty.memory.episodic.timeline() == []
