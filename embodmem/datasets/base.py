"""What a recording offers, and reading it ahead of its consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.types import Event, Percept, PinholeCamera


class Room(NamedTuple):
    """A named box of space.

    Attributes:
        name: "kitchen".
        lower: (3,) float64 lower corner in the world, metres.
        upper: (3,) float64 upper corner in the world, metres.
    """

    name: str
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


@runtime_checkable
class Dataset(Protocol):
    """A recording on disk. Opening one reads its index and checks that its files are there; `read` decodes.

    `read` may be called from several threads at once.

    Attributes:
        name: The name of its folder.
        camera: Intrinsics of its images; None where there are none, or where each frame brings its own.
    """

    name: str
    camera: PinholeCamera | None

    def __len__(self) -> int:
        """How many frames it has."""
        ...

    def stamps_ns(self) -> NDArray[np.int64]:
        """(N,) int64 time stamps of the frames, ns, without decoding an image."""
        ...

    def read(self, i: int) -> Percept:
        """Decode frame i of 0..N-1.

        Raises:
            IndexError: There is no frame i.
            DatasetError: A file of this frame is missing, damaged or of another form; the message names it.
            PoseError: Its pose is no rigid transform; the message names the file.
        """
        ...

    def events(self, i: int) -> tuple[Event, ...]:
        """What happened after frame i - 1 and before frame i; i = N asks for what came after the last frame."""
        return ()

    def rooms(self) -> tuple[Room, ...]:
        """Rooms that the recording knows by name."""
        return ()

    def __iter__(self) -> Iterator[Percept]:
        """All frames in order, decoded one at a time when asked for; `prefetch` is the faster way."""
        return (self.read(i) for i in range(len(self)))


def prefetch(
    dataset: Dataset, *, start: int = 0, stop: int | None = None, workers: int = 2, depth: int = 8
) -> Generator[Percept, None, None]:
    """Frames in order, decoded ahead of the consumer in worker threads.

    An error of frame i is raised when the consumer asks for frame i, after the frames before it. Closing the iterator
    (or dropping it) stops the threads. Nothing is decoded before the first frame is asked for.

    Args:
        dataset: What to read.
        start: The first frame.
        stop: One past the last frame; None for all.
        workers: Threads that decode (image decoders release the GIL).
        depth: The most frames that are decoded or waiting at any time.

    Raises:
        InvalidInput: `start`, `stop`, `workers` or `depth` is out of range.
    """
    end = len(dataset) if stop is None else stop
    if not 0 <= start <= end <= len(dataset):
        raise InvalidInput(f"prefetch: wanted 0 <= start <= stop <= {len(dataset)}, got start={start}, stop={stop}")
    if workers < 1 or depth < 1:
        raise InvalidInput(f"prefetch: wanted workers >= 1 and depth >= 1, got {workers} and {depth}")
    return _prefetch(dataset, range(start, end), workers, depth)


def _prefetch(dataset: Dataset, frames: range, workers: int, depth: int) -> Generator[Percept, None, None]:
    pending: deque[Future[Percept]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="embodmem-prefetch")
    try:
        for i in frames:
            pending.append(pool.submit(dataset.read, i))
            if len(pending) == depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        except RuntimeError:  # garbage collection may drop the iterator in one of these threads
            pool.shutdown(wait=False)


def experiences(
    dataset: Dataset, *, start: int = 0, stop: int | None = None, workers: int = 2, depth: int = 8
) -> Generator[Percept | Event, None, None]:
    """Frames and the events between them, in the order in which a memory is to be written.

    The arguments are those of `prefetch`. The events before a frame come when it could be read, so that who goes on at
    a frame that failed gets them then. Events after the last frame belong to a run that reaches the end.
    """
    end = len(dataset) if stop is None else stop
    percepts = prefetch(dataset, start=start, stop=stop, workers=workers, depth=depth)
    return _merge(dataset, percepts, start, end)


def _merge(
    dataset: Dataset, percepts: Generator[Percept, None, None], start: int, end: int
) -> Generator[Percept | Event, None, None]:
    with closing(percepts):
        for i, percept in enumerate(percepts, start):
            yield from dataset.events(i)
            yield percept
    if end == len(dataset):
        yield from dataset.events(end)


def check_index(i: int, length: int, name: str) -> int:
    """Return i when it names a frame.

    Raises:
        IndexError: It does not.
    """
    if not 0 <= i < length:
        raise IndexError(f"{name}: wanted a frame in 0..{length - 1}, got {i}")
    return i
