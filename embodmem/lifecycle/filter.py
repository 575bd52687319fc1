"""The sensory filter: what says nothing new is not stored again, only for how long it went on."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from embodmem.config import LifecycleConfig
from embodmem.store import Store
from embodmem.types import Event


@dataclass(slots=True)
class _Run:
    first_ns: int
    last_ns: int
    count: int
    written: int  # of the count, how much the file knows


class SensoryFilter:
    """Lets an event pass when it is new, and counts it when it only goes on (LightMem, Fang et al., 2025, stage 1).

    An event goes on a run when its agent, objects, source and all that it says (`Event.content_hash`) are those of an
    event of at most `repeat_s` before. The record of the run then says until when it lasted, and of how many events it
    is. What was counted is written by `flush`; a process that is killed loses what was counted since.

    Args:
        store: Of the memory.
        config: How long a run may pause, and how many runs are followed at once.
    """

    def __init__(self, store: Store, config: LifecycleConfig) -> None:
        self.store, self.config = store, config
        self._runs: OrderedDict[tuple[object, ...], _Run] = OrderedDict()
        self._pause_ns = int(config.repeat_s * 1e9)
        self._ended: list[tuple[tuple[object, ...], _Run]] = []
        self.refused = 0
        store.after_rollback.append(self._drop)  # what was admitted may not be in the file
        store.on_erase.append(self._end_all)

    def _drop(self) -> None:
        self._runs.clear()
        self._ended.clear()

    def _end_all(self) -> None:
        """What was forgotten goes on no longer: when it happens again, it is new."""
        self.flush()
        self._drop()

    def admit(self, event: Event) -> bool:
        """Whether an event is to be stored; one that is not has been counted."""
        if not self._pause_ns or event.reward is not None:
            return True
        key = (event.agent, event.kind, event.text, event.objects, event.source, event.content_hash)
        run = self._runs.get(key)
        if run is not None and 0 <= event.stamp_ns - run.last_ns <= self._pause_ns:
            run.last_ns, run.count = max(run.last_ns, event.until_ns or event.stamp_ns), run.count + 1
            self._runs.move_to_end(key)
            self.refused += 1
            return False
        if run is not None:
            self._ended.append((key, run))
        self._runs[key] = _Run(event.stamp_ns, event.until_ns or event.stamp_ns, 1, 1)
        self._runs.move_to_end(key)
        if len(self._runs) > self.config.max_runs:
            self._ended.append(self._runs.popitem(last=False))
        return True

    def write_ended(self) -> None:
        """Write for how long the runs went on that have ended; call it when what was admitted is in the file."""
        ended, self._ended = self._ended, []
        with self.store.transaction():
            for key, run in ended:
                self._write(key, run)

    def flush(self) -> None:
        """Write for how long all runs went on until now."""
        self._ended.extend(self._runs.items())
        self.write_ended()

    def _write(self, key: tuple[object, ...], run: _Run) -> None:
        if run.count == run.written:
            return
        agent, kind, text = key[:3]
        with self.store.transaction() as db:
            db.execute(
                "UPDATE record SET last_ns = max(last_ns, ?), data = json_set(data, '$.count', ?) WHERE id = ("
                "SELECT max(id) FROM record WHERE kind = 'event' AND first_ns = ? AND agent = ? AND subkind = ? "
                "AND text = ?)",
                (run.last_ns, run.count, run.first_ns, agent, kind, text),
            )
        run.written = run.count
