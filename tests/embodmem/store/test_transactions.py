"""A write is all or nothing over every index, and readers neither wait nor see half of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from embodmem.errors import InvalidInput, MemoryInUse, ReadOnlyMemory, StampError, StoreError
from embodmem.index import Record
from embodmem.store import Store
from embodmem.types import Query
from tests.embodmem.store.filled import check_indexes, content, fill


def record(text: str, x: float = 0.0, label: str = "new") -> Record:
    return Record(
        kind="object", label=label, text=text, first_ns=1, last_ns=2, position=np.array([x, 0, 0]), tags=("extra",)
    )


def test_an_error_in_the_middle_leaves_every_index_as_it_was(path: Path) -> None:
    store = Store(path)
    records = fill(store)
    with store.read() as db:
        before = content(db)
    with pytest.raises(ZeroDivisionError), store.transaction() as db:
        number = records.add(record("sentence that is never kept", 3.0))
        records.replace(1, record("sentence that changes", 99.0, "changed"))
        records.remove([2, 3, 4])
        db.execute("INSERT INTO brick VALUES (1, 2, x'00', NULL)")
        store.set_state("half", "way")
        store.advance("Someone", "", 5)
        assert [r.id for r in records.search(Query(text="never kept"), 1)] == [f"object:{number}"]
        raise ZeroDivisionError
    with store.read() as db:
        assert content(db) == before
    assert not any("never" in r.text for r in records.search(Query(text="never kept"), 100))
    assert records.search(Query(labels=("changed",)), 10) == []
    with store.transaction() as db:
        check_indexes(db)
    store.close()


def test_vectors_follow_a_rollback(path: Path) -> None:
    store = Store(path)
    records = fill(store)
    assert "meaning" in records.search(Query(text="number7"), 1)[0].why  # the matrix of vectors is in use
    before = [(r.id, r.score) for r in records.search(Query(text="sentence number7"), 20)]
    with pytest.raises(ZeroDivisionError), store.transaction():
        records.replace(2, record("sentence number7"))
        records.remove([6, 7, 8])
        records.add(record("sentence number7"))
        store.before_commit[0](store._writer)  # the vectors are made, then the commit fails
        raise ZeroDivisionError
    assert [(r.id, r.score) for r in records.search(Query(text="sentence number7"), 20)] == before
    store.close()


def test_nested_transactions_are_one(path: Path) -> None:
    store = Store(path)
    other = Store(path, "r")
    with store.transaction():
        with store.transaction():
            store.set_state("inner", 1)
        assert store.get_state("inner") == 1
        assert other.get_state("inner") is None
    assert other.get_state("inner") == 1
    with pytest.raises(ZeroDivisionError), store.transaction():
        with store.transaction():
            store.set_state("inner", 2)
        raise ZeroDivisionError
    assert store.get_state("inner") == other.get_state("inner") == 1
    other.close()
    store.close()


def test_rollback_hooks_run_once_and_see_the_last_commit(path: Path) -> None:
    store = Store(path)
    store.set_state("x", "kept")
    seen: list[object] = []
    store.after_rollback.append(lambda: seen.append(store.get_state("x")))
    with pytest.raises(ZeroDivisionError), store.transaction(), store.transaction():
        store.set_state("x", "lost")
        raise ZeroDivisionError
    assert seen == ["kept"]
    store.set_state("x", "next")
    assert seen == ["kept"]
    assert store.get_state("x") == "next"
    store.close()


def test_a_failing_hook_before_the_commit_rolls_back(path: Path) -> None:
    store = Store(path)
    bad = [True]

    def hook(_: object) -> None:
        if bad[0]:
            raise InvalidInput("no")

    store.before_commit.append(hook)
    with pytest.raises(InvalidInput):
        store.set_state("x", 1)
    assert store.get_state("x") is None
    bad[0] = False
    store.set_state("x", 2)
    assert store.get_state("x") == 2
    store.close()


def test_readers_see_the_last_commit_and_never_wait(path: Path) -> None:
    store = Store(path)
    store.set_state("x", 0)
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with store.transaction():
            store.set_state("x", 1)
            inside.set()
            leave.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(10)
    begin = time.perf_counter()
    answers = [store.get_state("x") for _ in range(20)]
    in_other_store = Store(path, "r")
    answers.append(in_other_store.get_state("x"))
    waited = time.perf_counter() - begin
    leave.set()
    writer.join()
    assert answers == [0] * 21
    assert waited < 2.0
    assert store.get_state("x") == in_other_store.get_state("x") == 1
    in_other_store.close()
    store.close()


def test_a_read_is_one_snapshot(path: Path) -> None:
    store = Store(path)
    store.set_state("x", 0)
    with store.read() as db:
        first = db.execute("SELECT value FROM state WHERE name = 'x'").fetchone()
        thread = threading.Thread(target=store.set_state, args=("x", 1))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()  # the writer did not wait for the reader either
        assert store.get_state("x") == 0  # a read inside joins the snapshot
        assert db.execute("SELECT value FROM state WHERE name = 'x'").fetchone() == first
    assert store.get_state("x") == 1
    store.close()


def test_many_threads_read_and_write_at_once(path: Path) -> None:
    store = Store(path)
    store.set_state("pair", [0, 0])
    torn: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            a, b = store.get_state("pair")
            if a != b:
                torn.append((a, b))

    def write(start: int) -> None:
        for i in range(start, start + 30):
            with store.transaction():
                store.set_state("pair", [i, -1])
                store.set_state("pair", [i, i])

    readers = [threading.Thread(target=read) for _ in range(3)]
    writers = [threading.Thread(target=write, args=(100 * n,)) for n in range(3)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert torn == []
    store.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_threads_that_come_and_go_leave_no_files_open(path: Path) -> None:
    store = Store(path)
    store.get_state("x")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        thread = threading.Thread(target=store.get_state, args=("x",))
        thread.start()
        thread.join()
    assert len(os.listdir("/proc/self/fd")) <= before + 3
    store.close()


def test_closing_lets_a_running_read_finish(path: Path) -> None:
    store = Store(path)
    store.set_state("x", "value")
    inside, leave = threading.Event(), threading.Event()
    got: list[object] = []

    def read() -> None:
        with store.read() as db:
            inside.set()
            leave.wait(20)
            got.append(db.execute("SELECT value FROM state").fetchone()[0])

    reader = threading.Thread(target=read)
    reader.start()
    assert inside.wait(10)
    store.close()
    leave.set()
    reader.join()
    assert got == ['"value"']
    with pytest.raises(StoreError, match="closed"):
        store.get_state("x")
    with pytest.raises(StoreError, match="closed"):
        store.set_state("x", 1)
    with pytest.raises(StoreError, match="closed"):
        store.save(path.with_name("copy.mem"))
    store.close()


def test_one_writer_in_this_process(path: Path) -> None:
    store = Store(path)
    with pytest.raises(MemoryInUse, match="open for writing"):
        Store(path)
    store.set_state("x", 1)  # the refusal did not harm the first
    store.close()
    Store(path).close()


def test_any_thread_may_close(path: Path) -> None:
    made: list[Store] = []
    thread = threading.Thread(target=lambda: made.append(Store(path)))
    thread.start()
    thread.join()
    made[0].close()
    Store(path).close()


def test_one_writer_among_processes(path: Path) -> None:
    code = (
        "import sys; from embodmem.store import Store; from embodmem.errors import MemoryInUse\n"
        "reader = Store(sys.argv[1], 'r'); print(reader.get_state('x'))\n"
        "try: Store(sys.argv[1])\nexcept MemoryInUse as error: print('refused')\n"
    )
    store = Store(path)
    store.set_state("x", 41)
    with store.transaction():
        store.set_state("x", 42)
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["41", "refused"], done.stderr
    assert store.get_state("x") == 42
    store.close()


def test_reading_only_refuses_every_change(path: Path) -> None:
    store = Store(path)
    fill(store, 3)
    store.close()
    reader = Store(path, "r")
    before = reader.get_state("x")
    for change in (
        lambda: reader.set_state("x", 1),
        lambda: reader.advance("A", "", 1),
        reader.erase_traces,
        lambda: reader.transaction().__enter__(),
    ):
        with pytest.raises(ReadOnlyMemory, match="mode 'a'"):
            change()
    with pytest.raises(StoreError):
        reader.load(b"")
    assert reader.get_state("x") == before
    reader.close()


def test_stamps_per_owner_and_agent(path: Path) -> None:
    store = Store(path)
    store.advance("A", "one", 10)
    store.advance("A", "one", 10)
    store.advance("A", "two", 3)
    store.advance("B", "one", 1)
    with pytest.raises(StampError, match=r"wanted 10 or later for agent 'one', got 9"):
        store.advance("A", "one", 9)
    assert (store.newest_stamp("A"), store.newest_stamp("A", "two"), store.newest_stamp("C")) == (10, 3, None)
    store.close()


def test_a_temporary_memory_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Store()
    store.set_state("x", 1)
    assert list(tmp_path.iterdir())
    store.close()
    assert list(tmp_path.iterdir()) == []
    Store()  # never closed: goes with the object
    import gc

    gc.collect()
    assert list(tmp_path.iterdir()) == []
