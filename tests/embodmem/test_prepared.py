"""A memory that is opened again makes ready what questions need, and answers them as before."""

from __future__ import annotations

import threading
from pathlib import Path

from embodmem import EmbodiedMemory, Event, Query


def await_ready() -> list[threading.Thread]:
    threads = [thread for thread in threading.enumerate() if thread.name == "embodmem-ready"]
    for thread in threads:
        thread.join()
    return threads


def answers(memory: EmbodiedMemory) -> list[tuple[str, float]]:
    return [(item.id, item.score) for question in ("mug 7", "the lamp") for item in memory.recall(question, 10)]


def test_a_memory_opened_again_is_made_ready_before_the_first_question(path: Path) -> None:
    with EmbodiedMemory(path) as memory:
        assert not await_ready()  # nothing is there yet
        memory.write_batch(Event(stamp_ns=i, kind="told", text=f"mug {i} stands by the lamp") for i in range(40))
        first = answers(memory)
        await_ready()
    with EmbodiedMemory(path) as memory:
        assert await_ready()
        held = memory.records.channels._lexical.laid._place
        assert len(held) == memory.counts()["event"] + memory.counts()["item"]
        rows = memory.records.mirror._rows
        assert rows.n >= len(held)
        memory.write(Event(stamp_ns=50, kind="told", text="mug 7 fell from the table"))
        assert memory.recall("mug 7 fell", 1)[0].text == "mug 7 fell from the table"
        assert memory.records.mirror._rows is rows  # read once: what was written since was taken in
        memory.forget(Query(text="fell"))
        assert answers(memory) == first


def test_it_is_made_ready_at_once(path: Path) -> None:
    with EmbodiedMemory(path) as memory:
        memory.make_ready()
        memory.write_batch(Event(stamp_ns=i, kind="told", text=f"mug {i} stands by the lamp") for i in range(40))
        first = answers(memory)
    with EmbodiedMemory(path) as memory:
        memory.store.quiet.uses -= 1  # the other thread waits on
        memory.make_ready()
        assert len(memory.records.channels._lexical.laid._place) == sum(memory.counts().values())
        assert memory.records.mirror._rows.n >= 40
        assert answers(memory) == first


def test_a_reader_is_made_ready_too(path: Path) -> None:
    with EmbodiedMemory(path) as memory:
        memory.write_batch(Event(stamp_ns=i, kind="told", text=f"mug {i} stands by the lamp") for i in range(40))
        first = answers(memory)
        with EmbodiedMemory(path, "r") as reader:
            assert await_ready()
            assert answers(reader) == first
            memory.write(Event(stamp_ns=50, kind="told", text="the lamp is out"))
            assert reader.recall("is the lamp out?", 1)[0].text == "the lamp is out"


def test_a_memory_is_closed_while_it_is_made_ready(path: Path) -> None:
    with EmbodiedMemory(path) as memory:
        memory.write_batch(Event(stamp_ns=i, kind="told", text=f"mug {i}") for i in range(600))
    for _ in range(5):
        for mode in ("a", "r"):
            with EmbodiedMemory(path, mode) as memory:  # type: ignore[arg-type]
                memory.store.quiet.wait(threading.Event())
    await_ready()
    with EmbodiedMemory(path) as memory:
        assert memory.counts()["event"] == 600
