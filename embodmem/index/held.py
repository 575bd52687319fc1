"""What was read of records, held in RAM until they change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from embodmem.store import Store
from embodmem.store.changes import Changed

T = TypeVar("T")

MOST_RECORDS, MOST_BYTES = 16_384, 32 << 20
"""How many records, and about how many bytes of them, are held; with more, those read first are dropped."""


class Newest:
    """Whether what somebody holds in RAM is what a reader sees: the newest state that anybody has read or written.

    A reader of an older state, and a transaction of one's own, get nothing of it and leave nothing there.

    Args:
        store: The memory's file.
        drop: Let go of what is held of these records, of all where it is None; called with the lock held.
        words: What is held hangs on the words of a record alone.

    Attributes:
        lock: For what is held; taken for moments only: a writer must not wait for a reader.
    """

    def __init__(self, store: Store, drop: Callable[[list[int] | None], None], words: bool = False) -> None:
        self._store, self._drop, self._words = store, drop, words
        self.lock = threading.Lock()
        self._state: int | None = None
        store.on_change.append(self._note)

    def _note(self, state: int, changed: Changed | None) -> None:
        with self.lock:
            if changed is None:
                self._drop(None)
            else:
                self._drop([*changed.said, *changed.gone] if self._words else changed.records)
            self._state = state

    def sees(self) -> int | None:
        """With the lock held, inside `Store.read`: the number of the newest state where that is what is read."""
        state = self._store.snapshot
        if state is None:
            return None
        if state != self._state and (self._state is None or state > self._state or self._store.read_only):
            self._drop(None)  # what another process has changed, nobody tells
            self._state = state
        return state if state == self._state else None

    def is_still(self, state: int | None) -> bool:
        """With the lock held: whether nothing was written since `sees` said this."""
        return state is not None and state == self._state


class Held(Generic[T]):
    """Something of each record, as of the newest state of the file.

    Args:
        store: Of the records.
        size: About how many bytes one takes.
    """

    def __init__(self, store: Store, size: Callable[[T], int]) -> None:
        self._size = size
        self._held: dict[int, T] = {}
        self._bytes = 0
        self._newest = Newest(store, self._drop)

    def _drop(self, touched: list[int] | None) -> None:
        if touched is None:
            self._held, self._bytes = {}, 0
        for number in touched or ():
            if number in self._held:
                self._bytes -= self._size(self._held.pop(number))

    def of(self, numbers: Sequence[int], read: Callable[[list[int]], dict[int, T]]) -> dict[int, T]:
        """What is held of records, by row id, and what `read` says of the others; called inside `Store.read`."""
        with self._newest.lock:
            state = self._newest.sees()
            held = {} if state is None else self._held
            found = {number: held[number] for number in numbers if number in held}
        left = [number for number in numbers if number not in found]
        if not left:
            return found
        fresh = read(left)
        found.update(fresh)
        with self._newest.lock:
            if self._newest.is_still(state):
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
