"""One object that keeps a memory small and true: write through it, and let it work when the agent rests."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields

from embodmem.checks import check_stamp
from embodmem.config import LifecycleConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.index.filters import row_id
from embodmem.index.memory import as_query
from embodmem.lifecycle.admission import Admission
from embodmem.lifecycle.ageing import Ageing
from embodmem.lifecycle.changes import Changes
from embodmem.lifecycle.filter import SensoryFilter
from embodmem.lifecycle.forgetting import Forgetting
from embodmem.lifecycle.merge import Merging
from embodmem.types import Event, Percept, Query, Recall


@dataclass(frozen=True, slots=True)
class Report:
    """What one step, or a run of them, did.

    Attributes:
        merged: Records that others now stand for.
        retired: Records that faded.
        expired: Records whose time had come.
        dropped: Records whose bytes are free.
        summarised: Summaries and segments that were made, or made anew.
        learnt: Facts about routines and preferences that are new; only `run` looks for them.
        thinned: Vectors that lost bits.
        renewed: Vectors that were made anew, since they are in use again.
        rejected: Records that were not admitted after their trial.
        done: Whether nothing is left to do at this time.
    """

    merged: int = 0
    retired: int = 0
    expired: int = 0
    dropped: int = 0
    summarised: int = 0
    learnt: int = 0
    thinned: int = 0
    renewed: int = 0
    rejected: int = 0
    done: bool = True

    def __add__(self, other: Report) -> Report:
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "done"}
        return Report(**counts, done=other.done)


class Lifecycle:
    """Sensory filter, consolidation, forgetting.

    Args:
        memory: Open for writing.
        config: What is done; None takes the memory's own settings (`config.lifecycle`).

    Attributes:
        filter: What says nothing new is counted instead of stored.
        changes: What was changed and why; `changes.undo(number)` takes a change back until it is settled.

    Example:
        >>> from embodmem import EmbodiedMemory, Event
        >>> from embodmem.lifecycle import Lifecycle
        >>> with EmbodiedMemory() as memory:
        ...     life = Lifecycle(memory)
        ...     for s in range(60):
        ...         life.write(Event(stamp_ns=s * 10**9, kind="state", text="the door is open"))
        ...     _ = life.run(now_ns=10**12)
        ...     len(memory.episodic.timeline()), memory.episodic.timeline()[0].data["count"]
        (1, 60)
    """

    def __init__(self, memory: EmbodiedMemory, config: LifecycleConfig | None = None) -> None:
        self.memory, self.config, records = memory, config or memory.config.lifecycle, memory.records
        self.filter = SensoryFilter(memory.store, self.config)
        self.changes = Changes(records)
        self.merging = Merging(records, self.changes, self.config)
        self.forgetting = Forgetting(records, self.changes, self.config)
        self.admission = Admission(memory, self.changes, self.config)
        self.ageing = Ageing(records, self.changes, self.forgetting, self.config)
        self._used: dict[int, int] = {}

    def write(self, experience: Percept | Event) -> bool:
        """Write what is new to the memory; returns whether it was stored."""
        return self.write_batch((experience,)) == 1

    def write_batch(self, experiences: Iterable[Percept | Event]) -> int:
        """Write what is new, in one transaction; returns how many were stored."""
        with self.memory.store.transaction():  # runs that end here are written with what is new
            new = [e for e in experiences if not isinstance(e, Event) or self.filter.admit(e)]
            if new:
                self.memory.write_batch(new)
            self.filter.write_ended()
        return len(new)

    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        """What the memory recalls; what is recalled is kept for longer."""
        found = self.memory.recall(query, k)
        self.admission.note(as_query(query))
        for item in found:
            if item.kind in ("event", "keyframe", "item"):
                self._used[row_id(item.id)] = self._used.get(row_id(item.id), 0) + 1
        return found

    def pin(self, record_id: str, pinned: bool = True) -> None:
        """Keep a record whatever its age.

        Raises:
            InvalidInput: There is none.
        """
        self._set(record_id, "pinned", int(pinned))

    def expire_at(self, record_id: str, stamp_ns: int | None) -> None:
        """Say when a record is to go, ns; None: not at any time.

        Raises:
            InvalidInput: There is no such record, or the stamp is none.
        """
        self._set(record_id, "expires_ns", None if stamp_ns is None else check_stamp(stamp_ns))

    def _set(self, record_id: str, column: str, value: int | None) -> None:
        number = row_id(self.memory.records.get_id(record_id).id)
        with self.memory.store.transaction() as db:
            db.execute("INSERT OR IGNORE INTO life (id) VALUES (?)", (number,))
            db.execute(f"UPDATE life SET {column} = ? WHERE id = ?", (value, number))

    def step(self, now_ns: int, limit: int = 1000) -> Report:
        """One bounded piece of work: at most about `limit` records are looked at or changed, in one transaction.

        Args:
            now_ns: What time it is, ns.
            limit: Most records.

        Raises:
            InvalidInput: `limit` is below 2.
        """
        check_stamp(now_ns, "now_ns")
        if limit < 2:
            raise InvalidInput(f"lifecycle: wanted a limit of 2 or more, got {limit}")
        with self.memory.store.transaction() as db:
            self.filter.flush()
            self._note_use(db, now_ns)
            merged, all_seen = self.merging.step(now_ns, limit)
            expired = self.forgetting.expire(now_ns, limit)
            retired = self.forgetting.fade(now_ns, limit) if all_seen else 0
            settled = len(self.changes.settle(now_ns - int(self.config.undo_s * 1e9), limit))
            thinned, renewed = self.ageing.step(now_ns, limit) if all_seen else (0, 0)
            shrunk, fits = self.forgetting.shrink(now_ns, limit) if all_seen else (0, False)
        rejected, weighed = self.admission.step(now_ns, limit) if all_seen else (0, False)
        # Outside of the transaction: a language model may write them.
        summarised, told = self.memory.episodic.consolidate(now_ns, limit) if all_seen else (0, False)
        self.memory.episodic.reload()
        done = all_seen and fits and told and weighed and max(expired, retired, settled, thinned, renewed) < limit
        return Report(
            merged,
            retired,
            expired,
            settled + shrunk,
            summarised,
            thinned=thinned,
            renewed=renewed,
            rejected=rejected,
            done=done,
        )

    def _note_use(self, db: sqlite3.Connection, now_ns: int) -> None:
        used, self._used = self._used, {}
        db.executemany(
            "INSERT INTO life (id, uses, used_ns) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM record WHERE id = ?1) "
            "ON CONFLICT (id) DO UPDATE SET uses = uses + ?2, used_ns = ?3",
            [(number, uses, now_ns) for number, uses in used.items()],
        )

    def run(
        self, now_ns: int, limit: int = 1000, progress: Callable[[Report], None] | None = None, max_steps: int = 10**6
    ) -> Report:
        """Steps until nothing is left to do; may be stopped between any two, and goes on from there.

        First facts are mined from what repeats itself, as long as it is there.

        Args:
            now_ns: What time it is, ns.
            limit: Most records a step.
            progress: Called with the sum after each step.
            max_steps: Most steps.
        """
        total = Report(learnt=self._mine(now_ns, limit), done=False)
        for _ in range(max_steps):
            total = total + self.step(now_ns, limit)
            if progress is not None:
                progress(total)
            if total.done:
                break
        return total

    def _mine(self, now_ns: int, limit: int) -> int:
        learnt, finished = 0, False
        while not finished:
            mined = self.memory.semantic.consolidate(now_ns, limit)
            learnt, finished = learnt + len(mined.begun), mined.finished
        return learnt

    def plain(self, report: Report) -> dict[str, int | bool]:
        """A report in plain values, with the bytes in use."""
        return {**asdict(report), "bytes": self.forgetting.used_bytes()}
