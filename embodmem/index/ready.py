"""What searches are going to need, made ready when nobody reads or writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from embodmem.errors import StoreError
from embodmem.store import Store


class Ready:
    """Does pieces of work in a thread of its own, which begins once and ends with the work.

    Args:
        store: Of the memory; its closing ends the work.
        piece: Does some milliseconds of the work, with one `Store.read`; returns whether any is left.
    """

    def __init__(self, store: Store, piece: Callable[[], bool]) -> None:
        self._store, self._piece = store, piece
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        store.before_close.append(self._end)

    @property
    def has_begun(self) -> bool:
        """Whether it began."""
        return self._thread is not None

    def begin(self) -> None:
        """Begin, once."""
        if self._thread is not None or self._stop.is_set():
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="embodmem-ready")
                with suppress(RuntimeError):  # the interpreter is about to end and starts no thread any more
                    self._thread.start()

    def finish(self) -> None:
        """Do what is left in this thread."""
        while self._piece():
            pass

    def _work(self) -> None:
        quiet, is_left = self._store.quiet, True
        with suppress(StoreError):  # a search that needs what could not be read says so
            while is_left and self._may_go_on() and quiet.wait(self._stop):
                uses = quiet.uses
                while is_left and self._may_go_on() and quiet.uses == uses:
                    is_left, uses = self._piece(), uses + 1

    def _may_go_on(self) -> bool:
        return threading.main_thread().is_alive() and not self._stop.is_set()

    def _end(self) -> None:
        self._stop.set()  # a piece that has begun finds the store closed, or comes to its end
