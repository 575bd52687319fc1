"""Moving the write-ahead log into the file beside the writer, which a write then does not wait for.

What is in the log is durable; until it is moved, it is read from there. It is moved when nobody reads or writes: beside
a recall it would take a processor, or the time of one, that the recall waits for.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embodmem.store.files import LOG_BYTES, connect
from embodmem.store.quiet import Quiet

CHANGES = 4000
"""After about so many changed rows the log is moved; SQLite does it itself, while the write waits, at a larger size."""

MOST_BYTES = 64 << 20
"""While the log is longer, the next write waits for it to be moved: only a log that is moved whole begins anew."""

PATIENT_BYTES = LOG_BYTES + (8 << 20)
"""While the log is longer, it is moved whoever reads or writes. One that was moved keeps up to `LOG_BYTES`."""

AT_MOST_S = 30.0
"""After so long the log is moved even if it was never quiet."""


class Checkpoints:
    """Moves the log in a thread of its own, which lives no longer than that takes.

    Args:
        path: The file.
        durable: As the writer's connection is.
        quiet: Tells when nobody reads or writes.
    """

    def __init__(self, path: Path, durable: bool, quiet: Quiet) -> None:
        self._path, self._durable, self._quiet = path, durable, quiet
        self._log = f"{path}-wal"
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()  # held while the log is being moved
        self._thread: threading.Thread | None = None
        self._moved = 0
        self._hurry = threading.Event()

    def after(self, changes: int) -> None:
        """After a commit: begin, if that is due.

        Args:
            changes: How many rows the writer has changed since it was opened.
        """
        if changes - self._moved < CHANGES or (self._thread is not None and self._thread.is_alive()):
            return
        self._moved = changes
        self._hurry.clear()
        self._thread = threading.Thread(target=self._move, name="embodmem-log")
        with suppress(RuntimeError):  # the interpreter is about to end and starts no thread any more
            self._thread.start()

    def before(self) -> None:
        """Before a transaction: let a long log come to its end."""
        self._quiet.uses += 1
        thread = self._thread
        if thread is not None and thread.is_alive() and self._size() > MOST_BYTES:
            self._hurry.set()
            thread.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """For as long as this lasts, nothing is moved: SQLite refuses a second one instead of waiting."""
        with self._lock:
            yield

    def _size(self) -> int:
        try:
            return os.path.getsize(self._log)
        except FileNotFoundError:
            return 0

    def _move(self) -> None:
        self._quiet.wait(self._hurry, AT_MOST_S, lambda: self._size() < PATIENT_BYTES)
        with self._lock, suppress(sqlite3.Error):  # what could not be moved is in the log, and is tried again
            if self._db is None:
                self._db = connect(self._path, writable=True, durable=self._durable)
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        """Wait for what has begun, and close the connection."""
        if self._thread is not None and self._thread.is_alive():
            self._hurry.set()
            self._thread.join()
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None
