"""Threads that stay and work on the parts of a job together with the one that asks."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[int, int], None]


class _Job:
    """Parts 0 .. parts - 1 of some work; whoever is free takes the next one."""

    def __init__(self, work: Work, parts: int) -> None:
        self._work, self._parts = work, parts
        self._next = itertools.count()
        self.done: SimpleQueue[BaseException | None] = SimpleQueue()

    def help(self, worker: int) -> None:
        """Work until no part is left."""
        for part in self._next:
            if part >= self._parts:
                return
            try:
                self._work(part, worker)
            except BaseException as error:  # it is raised where the job was given
                self.done.put(error)
            else:
                self.done.put(None)


def _serve(jobs: SimpleQueue[_Job | None], worker: int) -> None:
    while (job := jobs.get()) is not None:
        job.help(worker)
        del job  # and with it the arrays that it works on, while waiting


def _dismiss(queues: list[SimpleQueue[_Job | None]]) -> None:
    for queue in queues:
        queue.put(None)


class Crew:
    """`helpers` threads beside the caller's; they end when the crew is no longer used.

    Parts are handed out one by one, so that nobody waits for a helper that was slow to wake up: a part is only waited
    for once it was begun. Work takes (part, worker), and worker 0 is the caller.
    """

    def __init__(self, helpers: int) -> None:
        self._queues: list[SimpleQueue[_Job | None]] = [SimpleQueue() for _ in range(helpers)]
        for worker, queue in enumerate(self._queues, start=1):
            threading.Thread(target=_serve, args=(queue, worker), name=f"octree_{worker}", daemon=True).start()
        weakref.finalize(self, _dismiss, self._queues)

    def work(self, work: Work, parts: int) -> None:
        """Do all parts; raises what the first that failed raised, once all are done."""
        job = _Job(work, parts)
        for queue in self._queues[: parts - 1]:
            queue.put(job)
        job.help(0)
        failed = [error for error in (job.done.get() for _ in range(parts)) if error is not None]
        if failed:
            raise failed[0]
