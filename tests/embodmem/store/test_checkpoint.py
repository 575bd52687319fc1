"""The log goes into the file beside the writer."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from embodmem.index import Record, Records
from embodmem.store import Store, quiet
from embodmem.store import checkpoint as module
from embodmem.types import Query


def told(n: int) -> list[Record]:
    texts = [f"secret{i} was told" for i in range(n)]
    return [Record(kind="event", text=text, first_ns=i, last_ns=i) for i, text in enumerate(texts)]


def test_the_log_is_moved_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.mem"
    store = Store(path)
    records = Records(store, None)
    before = path.stat().st_size
    records.add_many(told(module.CHANGES))
    for thread in threading.enumerate():
        if thread.name == "embodmem-log":
            thread.join()
    assert path.stat().st_size > before + 100_000  # no close, and no commit of SQLite's own size, has moved it
    assert len(records.search(Query(text=f"secret{module.CHANGES - 1}"), 10)) == 1
    store.close()


def test_a_long_log_is_waited_for_and_forgetting_takes_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.mem"
    store = Store(path)
    records = Records(store, None)
    for _ in range(3):
        numbers = records.add_many(told(800))
        records.remove(numbers[:1])
        store.erase_traces()  # waits for what is being moved: SQLite would refuse a second one
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM record").fetchone()[0] == 3 * 799
    store.close()
    assert b"secret0 " not in path.read_bytes()


def test_rows_that_follow_in_time_are_found_by_halving(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    store = Store(tmp_path / "a.mem")
    records = Records(store, None)
    stamps = np.sort(rng.integers(0, 10_000, 1000))
    records.add_many([Record(kind="event", first_ns=int(s), last_ns=int(s) + 5) for s in stamps])
    for late in (False, True):
        if late:  # one that ends when others have begun: they are in order no more
            records.add(Record(kind="event", first_ns=0, last_ns=9000))
            stamps = np.append(stamps, 0)
        for begin, end in [(0, 0), (9999, 20_000), (-5, -1), *rng.integers(0, 10_000, (50, 2)).tolist()]:
            begin, end = min(begin, end), max(begin, end)
            ends = stamps + 5
            if late:
                ends[-1] = 9000
            wanted = (np.flatnonzero((ends >= begin) & (stamps <= end)) + 1).tolist()
            assert records.match(Query(between_ns=(begin, end), kinds=("event",))) == wanted
    store.close()


def test_the_log_is_moved_when_nobody_reads_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_MOST_S", 60.0)
    path = tmp_path / "a.mem"
    store = Store(path)
    records = Records(store, None)
    before = path.stat().st_size
    with store.read():
        writer = threading.Thread(target=records.add_many, args=(told(module.CHANGES),))
        writer.start()
        writer.join()
        (mover,) = [thread for thread in threading.enumerate() if thread.name == "embodmem-log"]
        mover.join(5 * quiet.QUIET_S)
        assert mover.is_alive()
        assert path.stat().st_size == before
    mover.join()
    assert path.stat().st_size > before + 100_000
    store.close()


@pytest.mark.parametrize("closes", [True, False])
def test_what_has_to_be_moved_now_does_not_wait_for_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closes: bool
) -> None:
    monkeypatch.setattr(module, "AT_MOST_S", 3600.0)
    monkeypatch.setattr(module, "MOST_BYTES", 0)  # any log is a long one
    store = Store(tmp_path / "a.mem")
    records = Records(store, None)
    monkeypatch.setattr(store.quiet, "_is_in_use", lambda: True)
    records.add_many(told(module.CHANGES))
    if not closes:
        records.add(told(1)[0])
        assert not [thread for thread in threading.enumerate() if thread.name == "embodmem-log"]
    store.close()
