"""What is held of records is what a reader of the file would read, whoever writes meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.index import Record, Records, held, laid
from embodmem.index.hydrate import Contents
from embodmem.index.laid import LaidRecords, lay
from embodmem.index.words import Stemmer
from embodmem.store import Store


def record(text: str) -> Record:
    return Record(kind="event", text=text, first_ns=1, last_ns=1)


@pytest.fixture
def records(path: Path) -> Records:
    return Records(Store(path), None)


def texts(contents: Contents, store: Store, numbers: list[int]) -> list[str]:
    with store.read() as db:
        return contents.texts(db, numbers)[1]


def test_a_reader_of_an_older_state_gets_that_state_and_leaves_none_of_it(records: Records) -> None:
    store, contents = records.store, records.contents
    number = records.add(record("red"))

    def write() -> None:
        records.replace(number, record("blue"))
        assert texts(contents, store, [number]) == ["blue"]

    with store.read() as db:
        assert contents.texts(db, [number])[1] == ["red"]
        writer = threading.Thread(target=write)
        writer.start()
        writer.join()
        assert contents.texts(db, [number])[1] == ["red"]
    assert texts(contents, store, [number]) == ["blue"]
    with store.transaction() as db:
        records.replace(number, record("green"))
        assert contents.texts(db, [number])[1] == ["green"]
    assert texts(contents, store, [number]) == ["green"]


def test_what_was_rolled_back_is_not_held(records: Records) -> None:
    number = records.add(record("red"))
    with pytest.raises(ZeroDivisionError), records.store.transaction() as db:
        records.replace(number, record("blue"))
        assert records.contents.texts(db, [number])[1] == ["blue"]
        raise ZeroDivisionError
    assert texts(records.contents, records.store, [number]) == ["red"]


def test_another_process_file_is_read_anew(records: Records, path: Path) -> None:
    number = records.add(record("red"))
    reader = Store(path, "r")
    contents = Contents(reader)
    assert texts(contents, reader, [number]) == texts(contents, reader, [number]) == ["red"]
    records.replace(number, record("blue"))
    assert texts(contents, reader, [number]) == ["blue"]
    reader.close()


steps = st.lists(st.tuples(st.sampled_from(["add", "change", "remove", "read"]), st.integers(0, 9)), max_size=40)


@settings(max_examples=25, deadline=None)
@given(steps, st.integers(2, 6))
def test_held_is_what_the_file_says(todo: list[tuple[str, int]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "MOST_RECORDS", most)
        store = Store()
        records, known = Records(store, None), dict[int, str]()
        for i, (what, which) in enumerate(todo):
            chosen = sorted(known)[which % len(known)] if known else None
            if what == "add" or chosen is None:
                number = records.add(record(f"added {i}"))
                known[number] = f"added {i}"
            elif what == "change":
                records.replace(chosen, record(f"changed {i}"))
                known[chosen] = f"changed {i}"
            elif what == "remove":
                records.remove([chosen])
                del known[chosen]
            else:
                some = sorted(known)[: which + 1]
                assert texts(records.contents, store, some) == [known[n] for n in some]
            assert [item.text for item in records.get(sorted(known))] == [known[n] for n in sorted(known)]
            there = records.contents._held
            assert there._bytes == sum(map(there._size, there._held.values())) and len(there._held) <= most
        store.close()


def same(store: Store, mine: LaidRecords, numbers: list[int], said: dict[int, str]) -> bool:
    with store.read() as db:
        found = mine.of(db, np.array(numbers, dtype=np.int64))
    wanted = lay(Stemmer(), [said[n].split()[0] for n in numbers], [said[n] for n in numbers])
    by_record = [sorted(part) for part in np.split(found.words, np.cumsum(found.sizes))]
    return (
        by_record == [sorted(part) for part in np.split(wanted.words, np.cumsum(wanted.sizes))]
        and found.sizes.tolist() == wanted.sizes.tolist()
        and found.length.tolist() == wanted.length.tolist()
    )


@settings(max_examples=40, deadline=None)
@given(steps, st.integers(1, 60))
def test_what_is_taken_apart_is_what_the_file_says(todo: list[tuple[str, int]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laid, "MOST_WORDS", most)
        store = Store()
        records, known = Records(store, None), dict[int, str]()
        mine = LaidRecords(store, Stemmer())
        for i, (what, which) in enumerate(todo):
            chosen = sorted(known)[which % len(known)] if known else None
            text = f"mug {i} " + "stands here " * (which % 4)
            one = Record(kind="event", label="mug", text=text, first_ns=1, last_ns=1)
            if what == "add" or chosen is None:
                known[records.add(one)] = text
            elif what == "change":
                records.replace(chosen, one)
                known[chosen] = text
            elif what == "remove":
                records.remove([chosen])
                del known[chosen]
            else:
                assert same(store, mine, sorted(known)[: which + 1], known)
        assert same(store, mine, sorted(known), known) and same(store, mine, [], known)
        store.close()


def test_a_transaction_sees_its_own_words_and_leaves_none(records: Records) -> None:
    store, mine = records.store, LaidRecords(records.store, Stemmer())
    number = records.add(Record(kind="event", label="red", text="red", first_ns=1, last_ns=1))
    assert same(store, mine, [number], {number: "red"})
    with pytest.raises(ZeroDivisionError), store.transaction():
        records.replace(number, Record(kind="event", label="blue", text="blue", first_ns=1, last_ns=1))
        assert same(store, mine, [number], {number: "blue"})
        raise ZeroDivisionError
    assert same(store, mine, [number], {number: "red"})
