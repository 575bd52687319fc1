"""Reading ahead: in order, bounded, errors in their place, threads that end."""

import threading
import time

import numpy as np
import pytest

from embodmem.datasets import Dataset, prefetch
from embodmem.errors import DatasetError, InvalidInput
from embodmem.types import Percept


class Numbers(Dataset):
    """Frames without images that take an uneven time to read; frame `broken` is damaged."""

    def __init__(self, count: int, broken: int = -1) -> None:
        self.name, self.camera = "numbers", None
        self.count, self.broken = count, broken
        self.started: list[int] = []

    def __len__(self) -> int:
        return self.count

    def stamps_ns(self) -> np.ndarray:
        return np.arange(self.count, dtype=np.int64)

    def read(self, i: int) -> Percept:
        self.started.append(i)
        time.sleep(0.003 * (i % 3 == 0))
        if i == self.broken:
            raise DatasetError(f"frame {i} is damaged")
        return Percept(stamp_ns=i, T_world_sensor=np.eye(4))


def _threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("embodmem-prefetch")]


@pytest.mark.parametrize(("workers", "depth"), [(1, 1), (2, 8), (4, 3), (3, 100)])
def test_frames_come_in_order(workers: int, depth: int) -> None:
    stamps = [p.stamp_ns for p in prefetch(Numbers(30), start=3, stop=25, workers=workers, depth=depth)]
    assert stamps == list(range(3, 25))
    assert not _threads()


def test_no_more_than_depth_frames_are_read_ahead() -> None:
    dataset = Numbers(50)
    frames = prefetch(dataset, workers=2, depth=5)
    assert dataset.started == []
    for taken in range(1, 20):
        next(frames)
        time.sleep(0.002)
        assert len(dataset.started) <= taken + 5
    frames.close()


def test_an_error_comes_at_its_place() -> None:
    frames = prefetch(Numbers(30, broken=7), workers=3)
    seen = []
    with pytest.raises(DatasetError, match="frame 7 is damaged"):
        for percept in frames:
            seen.append(percept.stamp_ns)
    assert seen == list(range(7))
    assert not _threads()


def test_closing_early_stops_the_threads() -> None:
    dataset = Numbers(1000)
    frames = prefetch(dataset, workers=3)
    assert next(frames).stamp_ns == 0
    assert _threads()
    frames.close()
    assert not _threads()
    assert len(dataset.started) < 30


@pytest.mark.parametrize("bad", [{"start": -1}, {"stop": 11}, {"start": 5, "stop": 4}, {"workers": 0}, {"depth": 0}])
def test_ranges_are_checked_at_once(bad: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="prefetch: wanted"):
        prefetch(Numbers(10), **bad)
