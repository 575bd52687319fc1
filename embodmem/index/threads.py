"""Work over many rows, shared by a few threads: products of bytes wait for memory, and two cores read more than one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

PART = 8192
"""Rows that a thread takes at a time: 3 MB of vectors of 384 bytes."""

THREADS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""The asking thread, and those that help it."""

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    global _pool
    _pool = None  # a forked process has the pool, and none of its threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def in_parts(job: Callable[[slice], None], count: int) -> None:
    """Call a job for slices that make up `range(count)`; it lets go of the interpreter for most of its time.

    The asking thread works, too, so that nothing waits for a thread that the system does not run.
    """
    left = deque(slice(begin, min(begin + PART, count)) for begin in range(0, count, PART))

    def work() -> None:
        with suppress(IndexError):  # all are taken
            while True:
                job(left.popleft())

    helpers = _called(work, min(THREADS, len(left)) - 1)
    try:
        work()
    finally:
        left.clear()
        for helper in helpers:
            if not helper.cancel():  # one that has not begun is not waited for
                helper.result()


def aside(job: Callable[[], None]) -> Callable[[], None]:
    """Begin a job in another thread; what is returned waits for it, or does it where no thread has begun."""
    begun = _called(job, min(1, THREADS - 1))

    def finish() -> None:
        if not begun or begun[0].cancel():
            job()
        else:
            begun[0].result()

    return finish


def _called(work: Callable[[], None], times: int) -> list[Future[None]]:
    global _pool
    if times < 1:
        return []
    if _pool is None:
        _pool = ThreadPoolExecutor(THREADS - 1, "embodmem-rows")
    with suppress(RuntimeError):  # the interpreter is about to end and starts no thread any more
        return [_pool.submit(work) for _ in range(times)]
    return []
