"""Threads that share a job: every part is done once, and what goes wrong in one is heard of."""

from __future__ import annotations

import gc
import threading

import pytest

from embodmem.spatial.octree.crew import Crew


@pytest.mark.parametrize("helpers", [1, 3])
@pytest.mark.parametrize("parts", [1, 2, 17])
def test_every_part_is_done_once(helpers: int, parts: int) -> None:
    crew, done = Crew(helpers), []
    for _ in range(20):
        done.clear()
        crew.work(lambda part, worker: done.append((part, worker)), parts)
        assert sorted(part for part, _ in done) == list(range(parts))
        assert {worker for _, worker in done} <= set(range(helpers + 1))


def test_parts_run_side_by_side() -> None:
    crew, meeting = Crew(1), threading.Barrier(2)
    crew.work(lambda part, worker: meeting.wait(timeout=30), 2)  # would break if one came after the other
    assert not meeting.broken


def test_an_error_is_raised_after_all_parts() -> None:
    crew, done = Crew(2), []

    def work(part: int, worker: int) -> None:
        if part == 1:
            raise ValueError("part 1")
        done.append(part)

    with pytest.raises(ValueError, match="part 1"):
        crew.work(work, 6)
    assert sorted(done) == [0, 2, 3, 4, 5]
    crew.work(work, 1)  # and it goes on working
    assert sorted(done) == [0, 0, 2, 3, 4, 5]


def test_threads_end_with_their_crew() -> None:
    before = set(threading.enumerate())  # maps of other tests may have threads, too
    crew = Crew(3)
    crew.work(lambda part, worker: None, 8)
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 3
    assert all(helper.is_alive() for helper in helpers)
    del crew
    gc.collect()
    for helper in helpers:
        helper.join(timeout=30)
        assert not helper.is_alive()
