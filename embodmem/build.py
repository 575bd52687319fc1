"""A recording into a memory: batches of frames, each with the note of how far it got, so that it can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from embodmem.datasets import Dataset, experiences
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import DatasetError, InvalidInput
from embodmem.types import Event, Percept

BATCH = 8
"""Frames in one transaction: what a crash costs at the most, at one sync to disk."""

_STATE = "build"


@dataclass(slots=True)
class BuildReport:
    """What a build did.

    Attributes:
        frames: Frames written in this run.
        resumed_at: The frame it began with; 0 for a new build, `total` for one that was finished already.
        total: Frames in the recording.
        seconds: Wall time.
        skipped: Frame -> why it was left out.
    """

    frames: int
    resumed_at: int
    total: int
    seconds: float
    skipped: dict[int, str] = field(default_factory=dict)

    @property
    def frames_per_s(self) -> float:
        """Frames written a second of wall time."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


def build(
    dataset: Dataset,
    memory: EmbodiedMemory,
    *,
    resume: bool = False,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
    batch: int = BATCH,
) -> BuildReport:
    """Write a recording into a memory.

    Each batch is one transaction that also notes how far the build got: after a crash or an interrupt, `resume` goes
    on with the frame after the last one that is kept, as if nothing had happened.

    Args:
        dataset: The recording.
        memory: Where to write it, open for writing.
        resume: Go on where an earlier build of the same recording stopped.
        skip_bad: Leave out a frame that cannot be read or that is refused, instead of stopping at it.
        progress: Called with (frames done, frames in all) after each frame.
        batch: Frames in one transaction.

    Raises:
        InvalidInput: The memory was built from another recording, or from this one and `resume` is not set.
        DatasetError: A frame cannot be read; all frames before it are kept.
    """
    begin = time.perf_counter()
    start = _starting_frame(dataset, memory, resume)
    report = BuildReport(0, min(start, len(dataset)), len(dataset), 0.0)
    if start == 0:  # a resumed build keeps the rooms as the first run wrote them
        for name, lower, upper in dataset.rooms():
            memory.scene.add_room(name, lower, upper)
    at = start
    while at <= len(dataset):
        try:
            at = _run(dataset, memory, at, batch, report, progress)
        except _BadFrame as stop:
            if not skip_bad:
                raise stop.cause from None
            report.skipped[stop.frame] = str(stop.cause)
            at = stop.frame + 1
            _keep_events(dataset, memory, stop.frame)
            continue
        break
    report.seconds = time.perf_counter() - begin
    return report


class _BadFrame(Exception):
    def __init__(self, frame: int, cause: InvalidInput) -> None:
        super().__init__(str(cause))
        self.frame = frame
        self.cause = cause


def _run(
    dataset: Dataset,
    memory: EmbodiedMemory,
    start: int,
    batch: int,
    report: BuildReport,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Write frames from `start` on; returns one past the last. Stops at a bad frame once all before it are kept."""
    waiting: list[Percept | Event] = []
    frames, at = 0, start
    stream = experiences(dataset, start=start)
    while True:
        bad: InvalidInput | None = None
        item: Percept | Event | None = None
        try:
            item = next(stream, None)
        except InvalidInput as error:
            bad = error
        if item is not None:
            waiting.append(item)
            frames += isinstance(item, Percept)
        ended = item is None and bad is None
        if ended or (waiting and (bad is not None or frames >= batch)):
            # What comes after the last frame is noted with it: a crash in between would have it written again.
            _write(dataset, memory, waiting, at, len(dataset) + 1 if ended else at + frames)
            at += frames
            report.frames += frames
            waiting, frames = [], 0
            if progress is not None:
                progress(at, len(dataset))
        if bad is not None:
            raise _BadFrame(at, bad)
        if ended:
            return at


def _write(dataset: Dataset, memory: EmbodiedMemory, batch: list[Percept | Event], at: int, done: int) -> None:
    """One transaction, from frame `at` to before `done`. When a frame is refused, those before it are kept."""
    try:
        _write_once(dataset, memory, batch, done)
    except InvalidInput:
        for group in _frame_by_frame(batch):
            after = at + 1 if isinstance(group[-1], Percept) else done
            try:
                _write_once(dataset, memory, group, after)
            except InvalidInput as error:
                raise _BadFrame(at, error) from error
            at = after


def _write_once(dataset: Dataset, memory: EmbodiedMemory, batch: Sequence[Percept | Event], done: int) -> None:
    with memory.store.transaction():
        memory.write_batch(batch)
        _note(dataset, memory, done)


def _frame_by_frame(batch: list[Percept | Event]) -> Iterator[list[Percept | Event]]:
    """Each frame with the events before it, and last those that no frame follows."""
    group: list[Percept | Event] = []
    for item in batch:
        group.append(item)
        if isinstance(item, Percept):
            yield group
            group = []
    if group:
        yield group


def _keep_events(dataset: Dataset, memory: EmbodiedMemory, frame: int) -> None:
    """Write the events before a frame that is left out, but for those that are refused themselves."""
    with memory.store.transaction():
        for event in dataset.events(frame):
            newest = memory.newest_stamp(event.agent)
            if newest is None or event.stamp_ns >= newest:
                memory.write(event)
        _note(dataset, memory, frame + 1)


def _identity(dataset: Dataset) -> dict[str, Any]:
    stamps = dataset.stamps_ns()
    return {"name": dataset.name, "frames": len(dataset), "first_ns": int(stamps[0]) if len(stamps) else 0}


def _note(dataset: Dataset, memory: EmbodiedMemory, done: int) -> None:
    memory.store.set_state(_STATE, {**_identity(dataset), "next": done})


def _starting_frame(dataset: Dataset, memory: EmbodiedMemory, resume: bool) -> int:
    if not len(dataset):
        raise DatasetError(f"{dataset.name}: wanted frames, got an empty recording")
    kept = memory.store.get_state(_STATE)
    if kept is None:
        return 0
    done = int(kept.pop("next"))
    if kept != _identity(dataset):
        raise InvalidInput(
            f"{memory.store.path}: it was built from {kept['name']!r} ({kept['frames']} frames), "
            f"not from {dataset.name!r} ({len(dataset)} frames)"
        )
    if not resume:
        have = min(done, len(dataset))
        raise InvalidInput(f"{memory.store.path}: {have} of {len(dataset)} frames are in it already; resume the build")
    return done
