"""The store: one SQLite file, one writer, any number of readers, one transaction over all indexes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from embodmem.errors import MemoryInUse, ReadOnlyMemory, StoreError
from embodmem.store.changes import MERGE, MERGE_FROM, RECORDS_PER_PAGE, REWORDED, TOUCHED, Changed, take_changed
from embodmem.store.checkpoint import Checkpoints
from embodmem.store.erase import RawFile
from embodmem.store.files import BUSY_MS, check_file, connect, create_file
from embodmem.store.hooks import Hooks
from embodmem.store.quiet import Quiet
from embodmem.store.schema import migrate
from embodmem.store.state import State

Mode = Literal["r", "a", "x"]

READERS_MS = 2000
"""How long a call that cleans the disk waits for readers of what was there before."""


class Store(Hooks, State):
    """One memory's file.

    What `transaction` returned for survives the death of the process and a power cut (WAL, synchronous=FULL).
    Readers, in other threads and processes, see the last finished transaction and never wait for a writer.

    Args:
        path: The file; None keeps it in a temporary file that goes with the store.
        mode: "a" opens for writing and makes the file if there is none, "x" makes a new file and refuses an
            existing one, "r" opens an existing file for reading.
        check_below_mib: Files up to this size are checked for damage.

    Raises:
        StoreError: NotAMemory, DamagedMemory, NewerMemory or MemoryInUse; the file is left as it was.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, mode: Mode = "a", check_below_mib: int = 512
    ) -> None:
        if mode not in ("r", "a", "x"):
            raise StoreError(f"mode: wanted 'r', 'a' or 'x', got {mode!r}")
        super().__init__()
        self.temporary = path is None
        if path is None:
            folder = tempfile.mkdtemp(prefix="embodmem-")
            self._remove = weakref.finalize(self, shutil.rmtree, folder, True)
            path = os.path.join(folder, "memory.mem")
        self.path = Path(path)
        self.read_only = mode == "r"
        self._state = 0  # even: the number of the last finished state; odd: a commit is under way
        self._mutex, self._depth = threading.RLock(), 0
        self._save_due: int | None = None  # the log still has to be moved into the file, waiting so many ms for readers
        self._traces = False  # what was removed may still stand between the rows of the file
        self._raw: RawFile | None = None
        self._owner: int | None = None  # the thread that writes
        self._local = threading.local()
        self._idle: list[sqlite3.Connection] = []  # readers that no thread uses now
        self._lent, self._idle_lock = 0, threading.Lock()
        self._version_reader: sqlite3.Connection | None = None
        self._closed = False
        self._writer: sqlite3.Connection | None = None
        self.quiet = Quiet(lambda: self._lent > (self._version_reader is not None) or self._depth > 0)
        self._checkpoints = Checkpoints(self.path, not self.temporary, self.quiet)
        self._lock: Any = None
        if self.read_only:
            check_file(self.path, check_below_mib, writable=False)
        else:
            self._open_for_writing(mode, check_below_mib)
        self._raw = RawFile.join(self.path)

    def _open_for_writing(self, mode: Mode, check_below_mib: int) -> None:
        from filelock import FileLock, Timeout

        if not self.path.parent.is_dir():
            raise StoreError(
                f"{self.path}: wanted an existing folder to put the memory in, got none at {self.path.parent}"
            )
        if mode == "x" and self.path.exists():
            raise StoreError(f"{self.path}: wanted a new file, but it exists")
        if self.path.exists():
            check_file(self.path, check_below_mib)
        self._lock = FileLock(f"{self.path}.lock", thread_local=False)  # any thread may close what one opened
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise MemoryInUse(
                f"{self.path}: another process has it open for writing; open it for reading, or wait for it to close"
            ) from None
        except OSError as error:
            raise StoreError(
                f"{self.path}: wanted to write here, but that is not possible ({error}); mode 'r' opens it for reading"
            ) from error
        try:
            if not self.path.exists():
                create_file(self.path)
            self._writer = connect(self.path, writable=True, durable=not self.temporary)
            migrate(self._writer)
            self._writer.executescript(TOUCHED + REWORDED)
        except BaseException as error:
            self.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise StoreError(f"{self.path}: it could not be made ready for writing: {error}") from error
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One writing transaction; nested calls join the outer one. On an error nothing of it is kept.

        Raises:
            ReadOnlyMemory: The store is open for reading.
            StoreError: SQLite could not write (a full disk, say).
        """
        if self.read_only:
            raise ReadOnlyMemory(f"{self.path}: it is open for reading; open it with mode 'a' to change it")
        with self._mutex:
            if self._writer is None:
                raise StoreError(f"{self.path}: the memory is closed")
            if self._depth:
                self._depth += 1
                try:
                    yield self._writer
                finally:
                    self._depth -= 1
                return
            self._depth, self._owner = 1, threading.get_ident()
            try:
                self._checkpoints.before()
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                for hook in self.before_commit:
                    hook(self._writer)
                self.commit()
            except BaseException as error:
                self._depth, self._owner = 0, None
                self._rollback()
                if isinstance(error, sqlite3.Error):
                    raise StoreError(f"{self.path}: nothing of this write was kept: {error}") from error
                raise
            finally:
                self._depth, self._owner = 0, None
            for done in self.after_commit:
                done()
            if self._save_due is not None:
                self._move_log(self._save_due)
            else:
                self._checkpoints.after(self._writer.total_changes)

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside a transaction of its own."""
        return self._owner == threading.get_ident()

    def commit(self) -> None:
        """Sync the running transaction to disk; `transaction` does it at its end."""
        assert self._writer is not None
        changed = take_changed(self._writer)
        if len(changed.records) >= MERGE_FROM:
            self._writer.execute(MERGE, (len(changed.records) // RECORDS_PER_PAGE,))
        with self._changing(changed):
            self._writer.execute("COMMIT")

    @contextmanager
    def _changing(self, changed: Changed | None) -> Iterator[None]:
        """Around the moment in which what readers see becomes another."""
        before, self._state = self._state, self._state + 1
        try:
            yield
        except BaseException:
            self._state = before
            raise
        for hook in self.on_change:
            hook(before + 2, changed)
        self._state = before + 2

    def _rollback(self) -> None:
        assert self._writer is not None
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        for hook in self.after_rollback:
            hook()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A consistent snapshot for reading; inside this thread's own transaction, what it has written so far."""
        if self._owner == threading.get_ident():
            assert self._writer is not None
            yield self._writer
            return
        outer: sqlite3.Connection | None = getattr(self._local, "reader", None)
        if outer is not None:
            yield outer
            return
        reader = self._local.reader = self._take_reader()
        try:
            self._local.state = self._begin(reader)
            yield reader
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: it could not be read: {error}") from error
        finally:
            self._local.reader = None
            self._give_back(reader)

    def _begin(self, reader: sqlite3.Connection) -> int | None:
        """Take a snapshot; returns the number of its state, or None while commits come too fast to tell."""
        for _ in range(3):
            before = self._now()
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM state").fetchone()  # a snapshot is of the moment of the first read
            if before % 2 == 0 and self._now() == before:
                return before
            reader.execute("ROLLBACK")
        reader.execute("BEGIN")
        return None

    def _now(self) -> int:
        return 2 * self.foreign_version() if self.read_only else self._state

    @property
    def snapshot(self) -> int | None:
        """The number of the state that this thread's `read` sees: equal numbers, equal content. None where that cannot
        be told, or inside this thread's own transaction.
        """
        state: int | None = getattr(self._local, "state", None)
        return None if self.in_transaction or getattr(self._local, "reader", None) is None else state

    def _take_reader(self) -> sqlite3.Connection:
        with self._idle_lock:
            if self._closed:
                raise StoreError(f"{self.path}: the memory is closed")
            self._lent += 1
            self.quiet.uses += 1
            if self._idle:
                return self._idle.pop()
        return connect(self.path, writable=False)

    def _give_back(self, reader: sqlite3.Connection) -> None:
        if reader.in_transaction:
            reader.execute("ROLLBACK")
        with self._idle_lock:
            self._lent -= 1
            if not self._closed:
                self._idle.append(reader)
                return
        reader.close()
        self._leave_raw()

    def _leave_raw(self) -> None:
        """After the last connection of a closed store."""
        with self._idle_lock:
            raw = self._raw
            if raw is None or self._lent:
                return
            self._raw = None
        raw.leave()

    def foreign_version(self) -> int:
        """A number that is another one whenever another process has written; always 0 while this one is the writer."""
        if not self.read_only:
            return 0
        with self._mutex:
            if self._version_reader is None:  # versions of different connections do not compare
                self._version_reader = self._take_reader()
            return int(self._version_reader.execute("PRAGMA data_version").fetchone()[0])

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Move all that is in the write-ahead log into the file, or write a compact copy to another path.

        The log is moved when no transaction runs and no reader still reads from it; where that takes too long, it is
        tried again after each write. A copy does not hold what is not yet committed.
        """
        if path is None:
            with self._mutex:
                if self._depth:
                    self._save_due = READERS_MS
                elif self._writer is not None:
                    self._move_log(READERS_MS)
            return
        target = Path(path)
        if target.exists():
            raise StoreError(f"{target}: wanted a new file to save to, but it exists")
        part = target.with_name(target.name + ".part")
        part.unlink(missing_ok=True)
        reader = self._take_reader()
        try:
            with self._as_store_error(f"save a copy as {target}"):
                reader.execute("VACUUM INTO ?", (str(part),))
                os.replace(part, target)
        finally:
            self._give_back(reader)
            part.unlink(missing_ok=True)

    def _move_log(self, wait_ms: int) -> None:
        assert self._writer is not None
        with self._as_store_error("move the log into the file"), self._checkpoints.held():
            self._writer.execute(f"PRAGMA busy_timeout = {wait_ms}")
            try:
                busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        self._save_due = 0 if busy else None
        if self._traces and not busy and self._raw is not None:
            with self._as_store_error("clear what was removed"):
                self._writer.execute("PRAGMA shrink_memory")  # pages held in RAM would bring their gaps back
                self._raw.clear_gaps(self._writer.execute("PRAGMA page_size").fetchone()[0])
            self._traces = False

    @contextmanager
    def _as_store_error(self, aim: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: could not {aim}: {error}") from error

    def dump(self) -> bytes:
        """The whole memory as the bytes of a compact file."""
        with tempfile.TemporaryDirectory(prefix="embodmem-") as folder:
            copy = Path(folder, "copy.mem")
            self.save(copy)
            return copy.read_bytes()

    def load(self, content: bytes, accept: Callable[[sqlite3.Connection], None] | None = None) -> None:
        """Replace everything by what `dump` gave; all of it or, on an error, nothing.

        Args:
            content: The bytes.
            accept: Looks at the content before it is taken over, and raises to refuse it.

        Raises:
            StoreError: The bytes are no sound memory of a known version.
        """
        if self._writer is None or self._depth:
            raise StoreError(f"{self.path}: wanted a memory that is open for writing, outside a transaction")
        with tempfile.TemporaryDirectory(prefix="embodmem-") as folder:
            copy = Path(folder, "copy.mem")
            copy.write_bytes(content)
            check_file(copy, check_below_mib=len(content) // 2**20 + 1)
            source = connect(copy, writable=True)
            try:
                migrate(source)
                if accept is not None:
                    accept(source)
                with self._mutex, self._as_store_error("take over the content"), self._changing(None):
                    source.backup(self._writer)
            finally:
                source.close()
        for hook in self.after_rollback:
            hook()

    def erase_traces(self) -> None:
        """After a removal: take what was removed out of RAM, the word index, the free pages and the log on disk."""
        self._traces = True
        with self.transaction() as db:
            # A word stays in an FTS5 segment, marked as deleted, until its segments are merged.
            db.execute("INSERT INTO record_words (record_words) VALUES ('optimize')")
        for hook in self.on_erase:
            hook()
        self.save()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close the file; safe to call twice. Later calls raise StoreError."""
        with self._mutex:
            if self._closed:
                return
            for hook in self.before_close:
                hook()
            with self._idle_lock:  # a reader that a thread still uses is closed when that thread gives it back
                self._closed = True
                idle, self._idle = self._idle, []
            for reader in (*idle, self._version_reader):
                if reader is not None:
                    reader.close()
            self._checkpoints.close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._leave_raw()
            if self._lock is not None:
                self._lock.release()
            if self.temporary:
                self._remove()
