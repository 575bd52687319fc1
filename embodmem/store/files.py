"""Making, checking and connecting to the file of a memory."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from embodmem.errors import DamagedMemory, NewerMemory, NotAMemory, StoreError
from embodmem.store.schema import APPLICATION_ID, VERSION, migrate

BUSY_MS = 30_000
"""How long a connection waits for a lock that another one holds."""

CACHE_KIB = 65_536
"""Pages that the writer holds in RAM at most; a reader holds a quarter. Beyond its cache a large transaction writes
pages more than once."""

LOG_PAGES, LOG_BYTES = 16_000, 32 << 20
"""With so many pages in the log a commit moves them into the file itself; `checkpoint` mostly does it before, beside
the writer. A log that begins anew is cut to so many bytes."""

MAPPED_BYTES = 1 << 30
"""So much of the file readers see in memory, without a call of the system for each page. A narrow search, which reads
some 25 pages from all over the file, takes up to a tenth less time."""


def connect(path: Path, *, writable: bool, durable: bool = True, immutable: bool = False) -> sqlite3.Connection:
    """Open a connection.

    Args:
        path: The file.
        writable: For writing; otherwise for reading.
        durable: False is for temporary files, which no crash has to survive.
        immutable: Nobody writes meanwhile: read without locks and without a file beside it.
    """
    options = "mode=rw" if writable else "mode=ro"
    if not writable and not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        immutable = True  # a read-only folder cannot hold the shared index of a write-ahead log
    if immutable:
        options += "&immutable=1"
    db = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_MS / 1000,
    )
    db.execute("PRAGMA foreign_keys = ON")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB if writable else CACHE_KIB // 4}")
    if writable:
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        db.execute("PRAGMA secure_delete = ON")
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    else:
        db.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
    return db


def create_file(path: Path) -> None:
    """Make a new memory: whole under another name first, so that a crash leaves no half-made file."""
    part = path.with_name(f"{path.name}.part")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{part}{suffix}").unlink(missing_ok=True)
    part.touch()
    db = connect(part, writable=True)
    try:
        migrate(db)
    finally:
        db.close()
    os.replace(part, path)


def check_file(path: Path, check_below_mib: int, writable: bool = True) -> None:
    """Refuse what is no sound memory of a known version, without touching it.

    Raises:
        StoreError: There is no such file; or NotAMemory, DamagedMemory, NewerMemory.
    """
    if not path.is_file():
        raise StoreError(f"{path}: wanted a memory file, got {'a folder' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise NotAMemory(f"{path}: wanted an embodmem memory, got an empty file")
    while True:
        before = _state(path)
        try:
            # Without a log nobody is writing: an immutable connection then leaves nothing beside a file it refuses.
            _inspect(path, check_below_mib, writable, immutable=before[-1] is None)
            return
        except StoreError:
            if _state(path) == before:
                raise
            # A writer began meanwhile, and what was read may have been half old, half new: look again.


def _state(path: Path) -> tuple[int | None, ...]:
    stat, wal = path.stat(), Path(f"{path}-wal")
    return stat.st_mtime_ns, stat.st_size, wal.stat().st_size if wal.exists() else None


def _inspect(path: Path, check_below_mib: int, writable: bool, immutable: bool) -> None:
    # Only SQLite may open the file: closing any other descriptor of it would drop the locks that this process's own
    # connections hold on it (POSIX locks belong to the process).
    db: sqlite3.Connection | None = None
    try:
        db = connect(path, writable=False, immutable=immutable)
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise NotAMemory(f"{path}: wanted an embodmem memory, got an SQLite database of another program")
        if version > VERSION:
            raise NewerMemory(
                f"{path}: it was written by a newer embodmem (schema {version}; this one knows up to {VERSION}); "
                f"pip install --upgrade embodmem"
            )
        if version < VERSION and not writable:
            raise StoreError(
                f"{path}: its schema is {version} and wants to be brought to {VERSION}; open it once for writing"
            )
        if path.stat().st_size <= check_below_mib * 2**20:
            problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise DamagedMemory(f"{path}: the memory is damaged: {problem}")
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise NotAMemory(f"{path}: wanted an embodmem memory, got a file of another kind") from error
        raise DamagedMemory(f"{path}: the memory is damaged: {error}") from error
    finally:
        if db is not None:
            db.close()
