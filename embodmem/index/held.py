"""What was read of records, held in RAM until they change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from embodmem.store import Store

T = TypeVar("T")

MOST_RECORDS, MOST_BYTES = 16_384, 32 << 20
"""How many records, and about how many bytes of them, are held; with more, those read first are dropped."""


class Held(Generic[T]):
    """Something of each record, as of the newest state of the file that anybody has read or written.

    A reader of an older state, and a transaction of one's own, get nothing from here and leave nothing here.

    Args:
        store: Of the records.
        size: About how many bytes one takes.
    """

    def __init__(self, store: Store, size: Callable[[T], int]) -> None:
        self._store, self._size = store, size
        self._lock = threading.Lock()  # held for moments only: a writer must not wait for a reader
        self._state: int | None = None
        self._held: dict[int, T] = {}
        self._bytes = 0
        store.on_change.append(self._drop)

    def _drop(self, state: int, touched: list[int] | None) -> None:
        with self._lock:
            if touched is None:
                self._clear()
            for number in touched or ():
                if number in self._held:
                    self._bytes -= self._size(self._held.pop(number))
            self._state = state

    def _clear(self) -> None:
        self._held, self._bytes = {}, 0

    def of(self, numbers: Sequence[int], read: Callable[[list[int]], dict[int, T]]) -> dict[int, T]:
        """What is held of records, by row id, and what `read` says of the others; called inside `Store.read`."""
        state = self._store.snapshot
        with self._lock:
            if state is not None and state != self._state and (self._is_news(state) or self._store.read_only):
                self._clear()  # what another process has changed, nobody tells
                self._state = state
            is_now = state is not None and state == self._state
            held = self._held if is_now else {}
            found = {number: held[number] for number in numbers if number in held}
        left = [number for number in numbers if number not in found]
        if not left:
            return found
        fresh = read(left)
        found.update(fresh)
        with self._lock:
            if is_now and state == self._state:
                self._keep(fresh)
        return found

    def _keep(self, fresh: dict[int, T]) -> None:
        for number, what in fresh.items():
            if number not in self._held:  # another thread may have read it meanwhile
                self._held[number] = what
                self._bytes += self._size(what)
        if len(self._held) <= MOST_RECORDS and self._bytes <= MOST_BYTES:
            return
        for number in list(self._held):  # in the order in which they came
            self._bytes -= self._size(self._held.pop(number))
            if len(self._held) <= 3 * MOST_RECORDS // 4 and self._bytes <= 3 * MOST_BYTES // 4:
                return

    def _is_news(self, state: int) -> bool:
        return self._state is None or state > self._state
