"""What searches need is made ready when nobody reads or writes, and does not change what they find."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from embodmem.errors import StoreError
from embodmem.index import Record, Records, laid
from embodmem.store import Store
from embodmem.types import Query


def told(n: int) -> list[Record]:
    return [Record(kind="event", text=f"mug {i} stands here", first_ns=i, last_ns=i) for i in range(n)]


def await_ready() -> None:
    for thread in threading.enumerate():
        if thread.name == "embodmem-ready":
            thread.join()


def test_only_what_is_looked_at_is_taken_apart(path: Path) -> None:
    records = Records(Store(path), None)
    numbers = records.add_many(told(20)).tolist()
    records.add_many([Record(kind="fact", text="a mug", first_ns=1, last_ns=1) for _ in range(20)])
    records.search(Query(text="7"), 1, ("event",))
    await_ready()
    assert sorted(records.channels._lexical.laid._place) == numbers
    records.store.close()


@pytest.mark.parametrize("mode", ["a", "r"])
def test_all_are_taken_apart_after_the_first_search(path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(laid, "AT_ONCE", 32)
    store = Store(path)
    numbers = Records(store, None).add_many(told(300)).tolist()
    if mode == "r":
        store.close()
        store = Store(path, "r")
    records = Records(store, None)
    held = records.channels._lexical.laid._place
    await_ready()
    assert not held
    first = records.search(Query(text="mug 7"), 300)
    await_ready()
    assert sorted(held) == numbers
    assert [(item.id, item.score) for item in records.search(Query(text="mug 7"), 300)] == [
        (item.id, item.score) for item in first
    ]
    store.close()


def test_half_of_the_room_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laid, "AT_ONCE", 8)
    monkeypatch.setattr(laid, "MOST_WORDS", 400)
    records = Records(Store(path), None)
    numbers = records.add_many(told(200)).tolist()
    records.search(Query(text="199"), 1)
    await_ready()
    column = records.channels._lexical.laid
    assert 200 <= column._used < 400
    assert set(numbers[-20:]) <= set(column._place)
    records.store.close()


def test_closing_does_not_wait_for_quiet(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(Store(path), None)
    records.add_many(told(20))
    monkeypatch.setattr(records.store.quiet, "_is_in_use", lambda: True)
    assert records.search(Query(text="mug 3"), 1)
    records.store.close()
    await_ready()
    assert not [thread for thread in threading.enumerate() if thread.name == "embodmem-ready"]


def test_what_cannot_be_read_is_left_to_searches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(Store(path), None)
    records.add_many(told(20))
    records.search(Query(text="mug 3"), 1)
    await_ready()
    records.store.close()
    records._ready._stop.clear()
    with pytest.raises(StoreError):
        records._ready._piece()
    records._ready._work()
