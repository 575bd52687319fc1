"""What SQLite leaves behind in the pages of a file after a removal, and how it goes.

`secure_delete` overwrites a row when it is deleted. But when SQLite moves rows between pages, as it does while a table
grows, their old copies stay in the unused middle of a page: between the list of its cells, which grows from the top,
and their content, which grows from the bottom (SQLite's file format, section 1.6). Nobody reads these bytes, so they
can be overwritten while others read, and a crash meanwhile harms nothing.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4 << 20
_TREE_PAGES = (2, 5, 10, 13)
"""First byte of a page of a B-tree: inner index, inner table, leaf index, leaf table. Other pages begin with a page
number, whose first byte is 0 in any file below 64 GiB."""


class RawFile:
    """A file beside SQLite's own connections to it.

    Closing any descriptor of a file drops all locks that this process holds on it (POSIX locks belong to the process),
    so one descriptor serves all stores of a process on a file, and is closed after the last of them.
    """

    _open: dict[str, RawFile] = {}
    _mutex = threading.Lock()

    def __init__(self, key: str) -> None:
        self._key = key
        self._stores = 0
        self._file: BinaryIO | None = None

    @classmethod
    def join(cls, path: Path) -> RawFile:
        """The one of this file, for as long as `leave` is not called."""
        key = os.path.realpath(path)
        with cls._mutex:
            found = cls._open.setdefault(key, cls(key))
            found._stores += 1
        return found

    def leave(self) -> None:
        """A store that joined has closed its connections."""
        with self._mutex:
            self._stores -= 1
            if not self._stores:
                del self._open[self._key]
                if self._file is not None:
                    self._file.close()

    def clear_gaps(self, page_bytes: int) -> int:
        """Overwrite what is unused in the pages of B-trees; the write-ahead log has to be in the file.

        Returns:
            How many pages had something there.
        """
        with self._mutex:
            if self._file is None:
                self._file = open(self._key, "r+b", buffering=0)  # noqa: SIM115 (closed by `leave`)
            cleared, at = 0, 0
            while block := self._read(at):
                pages = np.frombuffer(block, np.uint8)[: len(block) // page_bytes * page_bytes].reshape(-1, page_bytes)
                begin, end = _gaps(pages, 100 if at == 0 else 0)
                for i in _dirty(pages, begin, end):
                    self._file.seek(at + int(i) * page_bytes + int(begin[i]))
                    self._file.write(bytes(int(end[i] - begin[i])))
                    cleared += 1
                at += len(block)
            if cleared:
                os.fsync(self._file.fileno())
        return cleared

    def _read(self, at: int) -> bytes:
        assert self._file is not None
        self._file.seek(at)
        return self._file.read(_BLOCK)


def _gaps(pages: NDArray[np.uint8], first_header: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the unused middle of each page begins and ends; empty in a page of another kind.

    Args:
        pages: (N, page_bytes).
        first_header: Where the header of the first page begins: the file's own header stands before it.
    """
    header = np.zeros(len(pages), np.int64)
    header[0] = first_header
    columns = np.arange(8)[None] + header[:, None]
    h = np.take_along_axis(pages, columns, axis=1).astype(np.int64)
    cells, content = h[:, 3] * 256 + h[:, 4], h[:, 5] * 256 + h[:, 6]
    content[content == 0] = 65536
    begin = header + np.where(h[:, 0] <= 5, 12, 8) + 2 * cells
    fits = np.isin(h[:, 0], _TREE_PAGES) & (begin <= content) & (content <= pages.shape[1])
    return np.where(fits, begin, 0), np.where(fits, content, 0)


def _dirty(pages: NDArray[np.uint8], begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which pages hold anything but zeros between their `begin` and `end`."""
    # Up to each byte, how many are not zero; pages are few enough in a block for that to fit.
    held = np.flatnonzero(end > begin)
    count = np.zeros((len(held), pages.shape[1] + 1), np.int32)
    np.cumsum(pages[held] != 0, axis=1, out=count[:, 1:])
    rows = np.arange(len(held))
    return held[count[rows, end[held]] > count[rows, begin[held]]]
