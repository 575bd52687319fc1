"""Who is told what a store does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from embodmem.store.changes import Changed


class Hooks:
    """Lists of calls, each made in the order in which it was appended.

    Attributes:
        before_commit: With the connection, before a transaction is synced to disk.
        after_commit: After it was.
        after_rollback: After nothing of a transaction was kept.
        on_change: With the number of a new state and what it changed; None: anything.
        on_erase: When what was removed is to be gone for good: whoever holds texts in RAM lets go of them.
        before_close: Before the file is closed.
    """

    def __init__(self) -> None:
        self.before_commit: list[Callable[[sqlite3.Connection], None]] = []
        self.after_commit: list[Callable[[], None]] = []
        self.after_rollback: list[Callable[[], None]] = []
        self.on_change: list[Callable[[int, Changed | None], None]] = []
        self.on_erase: list[Callable[[], None]] = []
        self.before_close: list[Callable[[], None]] = []
