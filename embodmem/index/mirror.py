"""The rows in RAM, kept in step with the file; blocks in the file that let a large memory open fast."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np

from embodmem.errors import StoreError
from embodmem.index.approximate import Approximate
from embodmem.index.blocks import BLOCK_BITS, pack, read_rows, unpack
from embodmem.index.rows import Batch, Group, OutOfOrder, Rows, exact_rows
from embodmem.index.threads import aside
from embodmem.store import Store
from embodmem.store.changes import Changed

LONGEST_LOG = 100_000
"""Changed records that are noted one by one between two searches; after more of them everything is read again."""

FOLLOW_FROM, FOLLOW_BATCH = 128, 16
"""From so many changed records on, or so many in one transaction, the rows are brought up to date after the commit,
once something was searched: the next search does not wait for it, and single writes hardly ever do."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """New records that follow one another.

    Attributes:
        batch: Their columns.
        groups: What its group numbers mean.
    """

    batch: Batch
    groups: list[Group]

    def after(self, tail: Fresh) -> Fresh:
        """With those that came before, if these follow them at once."""
        if tail.batch.ids[-1] + 1 != self.batch.ids[0]:
            return self
        groups = list(dict.fromkeys(tail.groups + self.groups))
        parts = []
        for fresh in (tail, self):
            number = np.array([groups.index(group) for group in fresh.groups], dtype=np.int32)
            parts.append(replace(fresh.batch, group=number[fresh.batch.group]))
        return Fresh(Batch.joined(*parts), groups)

    def from_id(self, begin: int) -> Fresh | None:
        """Those from an id on; None where there is none."""
        left = self.batch.part(slice(max(0, begin - int(self.batch.ids[0])), None))
        return Fresh(left, self.groups) if len(left.ids) else None


class Mirror:
    """Columns and vectors of all records as of the state of the file that a reader sees.

    Args:
        store: The memory's file.
        dim: Length of a vector; 0 without an encoder.
    """

    def __init__(self, store: Store, dim: int) -> None:
        self._store = store
        self._dim = dim
        self._mutex = threading.RLock()
        self._rows = Rows(dim, exact=True)
        self._state: int | None = None
        self._is_searched = False
        self._log: list[tuple[int, list[int] | None]] = []
        self._logged = self._newest = 0  # changed records that are noted; those of the last commit
        self._log_mutex = threading.Lock()  # held for moments only: a writer must not wait for a search
        self.approximate = Approximate()
        self._fresh: tuple[int, Fresh, Callable[[], None] | None] | None = None
        self._tail: Fresh | None = None  # of the transaction before, what filled no block yet
        self._sealed: int | None = None  # blocks below this number were sealed, or tried
        store.on_change.append(self._note)
        store.before_commit.append(self._seal_full)
        store.after_commit.append(self._keep_up)
        store.before_close.append(self._seal_rest)
        store.before_close.append(self.approximate.close)
        store.after_rollback.append(self._forget_fresh)

    def _note(self, state: int, changed: Changed | None) -> None:
        touched = None if changed is None else changed.records
        with self._log_mutex:
            self._newest = 0 if touched is None else len(touched)
            self._logged += self._newest
            if touched is None or self._logged > LONGEST_LOG:
                self._log, self._logged = [(state, None)], 0
            elif touched:
                self._log.append((state, touched))

    @contextmanager
    def at(self, db: sqlite3.Connection) -> Iterator[Rows | None]:
        """The rows as this thread's `Store.read` sees them, for as long as the block lasts.

        None inside a transaction of this thread, and where another thread reads a newer state meanwhile: SQL knows.
        """
        state = self._store.snapshot
        if state is None:
            yield None
            return
        self._is_searched = True
        with self._mutex:
            yield self._rows if self._follow(db, state) else None

    def expect_searches(self) -> None:
        """Follow what is written, as after a search."""
        self._is_searched = True

    def prepare(self, db: sqlite3.Connection) -> None:
        """Read the rows before the first search; what is written until that comes is not followed at once."""
        state = self._store.snapshot
        if state is not None:
            with self._mutex:
                self._follow(db, state)

    def invalidate(self) -> None:
        """Read everything again at the next search."""
        with self._mutex:
            self._state = None

    def _keep_up(self) -> None:
        """After a commit: take in what has changed, if that is much and no search holds the rows."""
        is_due = self._is_searched and (self._logged >= FOLLOW_FROM or self._newest >= FOLLOW_BATCH)
        if not is_due or self._state is None or not self._mutex.acquire(blocking=False):
            return
        try:
            with suppress(StoreError), self._store.read() as db, self.at(db):  # what is written is written
                pass
        finally:
            self._mutex.release()

    def _follow(self, db: sqlite3.Connection, state: int) -> bool:
        if self._state == state:
            return True
        if self._state is not None and state < self._state:
            return False
        with self._log_mutex:
            due = [entry for entry in self._log if entry[0] <= state]
            self._log = [entry for entry in self._log if entry[0] > state]
            self._logged = sum(len(ids) for _, ids in self._log if ids is not None)
        changed: set[int] | None = set()
        for _, ids in due:
            changed = None if ids is None or changed is None else changed.union(ids)
        known = self._state is not None and not self._store.read_only
        self._state = None  # an error on the way leaves it to be read anew
        if not known or changed is None or len(changed) > 1000 + self._rows.n // 4 or not self._apply(db, changed):
            self._load(db)
        self._state = state
        return True

    def _apply(self, db: sqlite3.Connection, changed: set[int]) -> bool:
        """Read changed records again; False where that does not do."""
        if not changed:
            return True
        ids = np.array(sorted(changed), dtype=np.int64)
        left = set(changed)
        try:
            for part in np.array_split(ids, -(-len(ids) // 500)):
                marks = ",".join(map(str, part.tolist()))
                for batch in read_rows(db, self._rows, f"r.id IN ({marks})"):
                    self._rows.put(batch)
                    left.difference_update(batch.ids.tolist())
        except OutOfOrder:
            return False
        self._rows.remove(np.array(sorted(left), dtype=np.int64))
        return True

    def _load(self, db: sqlite3.Connection) -> None:
        count, last = db.execute("SELECT count(*), ifnull(max(id), -1) FROM record").fetchone()
        rows = self._rows = Rows(self._dim, exact=count <= exact_rows(self._dim))
        rows.reserve(count)
        begin = 0
        if not rows.is_exact:
            for number, content in db.execute("SELECT number, content FROM record_block ORDER BY number"):
                batch = unpack(content, rows)
                if batch is not None:
                    self._read(db, rows, begin, number << BLOCK_BITS)
                    rows.put(batch)
                    begin = (number + 1) << BLOCK_BITS
        self._read(db, rows, begin, last + 1)

    @staticmethod
    def _read(db: sqlite3.Connection, rows: Rows, begin: int, end: int) -> None:
        if begin < end:
            for batch in read_rows(db, rows, "r.id >= ? AND r.id < ?", (begin, end)):
                rows.put(batch)

    def note(self, db: sqlite3.Connection, batch: Batch, groups: list[Group]) -> None:
        """New records of the running transaction: while nothing else changes in it, blocks are made of these."""
        coded = None
        if batch.ids[-1] >= exact_rows(self._dim):
            coded = aside(batch.as_codes)
        self._fresh = (db.total_changes, Fresh(batch, groups), coded)

    def _forget_fresh(self) -> None:
        self._fresh = self._tail = None

    def _seal_full(self, db: sqlite3.Connection) -> None:
        """Before a commit: seal the blocks that were filled, once the memory is a large one."""
        held, self._fresh, tail, self._tail = self._fresh, None, self._tail, None
        last = db.execute("SELECT ifnull(max(id), 0) FROM record").fetchone()[0]
        full = (last + 1) >> BLOCK_BITS
        if last < exact_rows(self._dim) or self._dim == 0:
            return
        fresh = None
        if held is not None and held[0] == db.total_changes and held[2] is not None:
            held[2]()
            fresh = held[1] if tail is None else held[1].after(tail)
        if self._sealed is None:
            self._sealed = 1 + db.execute("SELECT ifnull(max(number), -1) FROM record_block").fetchone()[0]
        self._seal(db, range(self._sealed, full), fresh)
        self._sealed = max(self._sealed, full)
        self._tail = None if fresh is None else fresh.from_id(full << BLOCK_BITS)

    def _seal_rest(self) -> None:
        """Before the file is closed: seal what was changed since it was sealed."""
        if self._store.read_only or self._store.temporary or self._dim == 0:
            return
        with suppress(StoreError):  # blocks only save time at the next opening: a full disk must not keep from closing
            self._seal_open_blocks()

    def _seal_open_blocks(self) -> None:
        with self._store.read() as db:
            count, last = db.execute("SELECT count(*), ifnull(max(id), 0) FROM record").fetchone()
            sealed = {row[0] for row in db.execute("SELECT number FROM record_block")}
        open_blocks = [number for number in range((last + 1) >> BLOCK_BITS) if number not in sealed]
        if count <= exact_rows(self._dim) or not open_blocks:
            return
        with self._store.transaction() as db:
            self._seal(db, open_blocks)

    def _seal(
        self,
        db: sqlite3.Connection,
        numbers: Sequence[int],
        fresh: Fresh | None = None,
    ) -> None:
        for number in numbers:
            begin, end = number << BLOCK_BITS, (number + 1) << BLOCK_BITS
            if fresh is not None and fresh.batch.ids[0] <= begin and end <= fresh.batch.ids[-1] + 1:
                first = int(fresh.batch.ids[0])
                made = [(fresh.batch.part(slice(begin - first, end - first)), fresh.groups)]
            else:
                rows = Rows(self._dim, exact=False)
                made = [(b, rows.groups) for b in read_rows(db, rows, "r.id >= ? AND r.id < ?", (begin, end))]
            for batch, groups in made:
                db.execute("INSERT OR REPLACE INTO record_block VALUES (?, ?)", (number, pack(batch, groups)))
