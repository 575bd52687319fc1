"""A full disk, a file that cannot be written, input that is too much: a clear error each, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embodmem.config import Config, SpatialConfig, StoreConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError, EmbodmemError, InvalidInput, ReadOnlyMemory, StampError, StoreError
from embodmem.geometry import look_at
from embodmem.types import Detection, Event, Percept, PinholeCamera, Query
from tests.embodmem.store.filled import check_file_indexes

SMALL = Config(encoder="hashing", spatial=SpatialConfig(budget_mib=4, threads=1))


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("wanted to mount a small disk, which needs root on Linux")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"wanted to mount a small disk, but that was refused: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=2m")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def told(stamp: int, text: str = "", agent: str = "") -> Event:
    return Event(stamp_ns=stamp, kind="told", text=text or f"event number{stamp} " + "filler " * 100, agent=agent)


def stamps(memory: EmbodiedMemory) -> list[int]:
    return [r.first_seen_ns for r in memory.episodic.timeline(limit=10**6)]


def test_a_disk_that_is_full(disk: Path) -> None:
    path, kept = disk / "home.mem", 0
    with EmbodiedMemory(path, config=SMALL) as memory:
        with pytest.raises(StoreError, match="nothing of this write was kept.*full"):
            while True:
                memory.write(told(kept))
                kept += 1
        assert kept > 20
        assert stamps(memory) == list(range(kept))
        assert memory.recall(f"number{kept - 1}")[0].first_seen_ns == kept - 1
        for _ in range(3):  # it stays full, and stays whole
            with pytest.raises(StoreError, match="nothing of this write was kept"):
                memory.write(told(kept, "long " * 100_000))
        assert stamps(memory) == list(range(kept))
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        memory.write(told(kept))  # there is room again
        assert stamps(memory) == list(range(kept + 1))
    with EmbodiedMemory(path, "r") as memory:
        assert stamps(memory) == list(range(kept + 1))
    check_file_indexes(path)


def test_no_room_for_a_new_memory(disk: Path) -> None:
    (disk / "filler").write_bytes(bytes(2**21 - 8192))
    with pytest.raises(StoreError, match="could not be made"):
        EmbodiedMemory(disk / "home.mem", config=SMALL)
    (disk / "filler").unlink()
    with EmbodiedMemory(disk / "home.mem", config=SMALL) as memory:
        memory.write(told(1))


def test_a_disk_that_became_read_only(disk: Path) -> None:
    path = disk / "home.mem"
    with EmbodiedMemory(path, config=SMALL) as memory:
        memory.write(told(1))
    before = path.read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match="home.mem: wanted to write here.*mode 'r'"):
        EmbodiedMemory(path)
    with EmbodiedMemory(path, "r") as memory:
        assert stamps(memory) == [1]
        assert memory.recall("number1")[0].first_seen_ns == 1
        with pytest.raises(ReadOnlyMemory, match="open for reading"):
            memory.write(told(2))
    assert path.read_bytes() == before
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    with EmbodiedMemory(path) as memory:
        memory.write(told(2))
        assert stamps(memory) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written(path: Path) -> None:
    with EmbodiedMemory(path, config=SMALL) as memory:
        memory.write(told(1))
    path.chmod(0o444)
    with pytest.raises(StoreError, match="memory.mem"), EmbodiedMemory(path) as memory:
        memory.write(told(2))
    with EmbodiedMemory(path, "r") as memory:
        assert stamps(memory) == [1]


def detected(stamp: int, dim: int) -> Percept:
    camera = PinholeCamera(width=32, height=24, fx=30.0, fy=30.0, cx=16.0, cy=12.0)
    mask = np.zeros(camera.shape, np.bool_)
    mask[8:16, 12:20] = True
    return Percept(
        stamp_ns=stamp,
        T_world_sensor=look_at((0.0, 0.0, 1.0), (1.0, 0.0, 1.0)),
        camera=camera,
        depth=np.full(camera.shape, 2.0, np.float32),
        detections=(Detection(label="mug", mask=mask, embedding=np.ones(dim, np.float32)),),
    )


def test_an_object_seen_through_another_encoder(path: Path) -> None:
    with EmbodiedMemory(path, config=SMALL) as memory:
        for stamp, dim in enumerate((512, 512, 64, 512)):
            memory.write(detected(stamp, dim))
        assert [item.label for item in memory.scene.objects()] == ["mug"]


REFUSED: dict[str, tuple[Callable[[EmbodiedMemory], object], type[EmbodmemError], str]] = {
    "text": (lambda m: m.write(told(50, "é" * 5000)), InvalidInput, "text of at most 8192 bytes.*got 10000"),
    "caption": (
        lambda m: m.write(Percept(stamp_ns=50, T_world_sensor=np.eye(4), caption="x" * 9000)),
        InvalidInput,
        "text of at most 8192 bytes.*max_text_bytes.*got 9000",
    ),
    "fact": (
        lambda m: m.semantic.assert_fact("mug", "on", "y" * 9000, valid_from_ns=50),
        InvalidInput,
        "at most 8192 bytes",
    ),
    "clock": (lambda m: m.write(told(5)), StampError, "time went backwards"),
    "query": (
        lambda m: m.recall(Query(embedding=np.ones(7, np.float32))),
        InvalidInput,
        r"wanted an embedding \(512,\), got \(7,\)",
    ),
    "embeddings": (lambda m: m.records.add_many([], np.ones((1, 7), np.float32)), InvalidInput, "embeddings: wanted"),
    "batch": (
        lambda m: m.write_batch([told(60), told(61), told(59)]),
        StampError,
        "wanted 61 or later",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_all_as_it_was(path: Path, name: str) -> None:
    act, error, words = REFUSED[name]
    config = Config(encoder="hashing", spatial=SMALL.spatial, store=StoreConfig(max_text_bytes=8192))
    with EmbodiedMemory(path, config=config) as memory:
        for stamp in range(10):
            memory.write(told(stamp))
        counts = memory.counts()
        with pytest.raises(error, match=words):
            act(memory)
        assert memory.counts() == counts
        assert stamps(memory) == list(range(10))
        memory.write(told(50, "é" * 4096))  # goes on: with the longest text, at the stamp that was refused
        assert stamps(memory) == [*range(10), 50]
    check_file_indexes(path)


def test_a_limit_that_allows_nothing() -> None:
    with pytest.raises(ConfigError, match="max_text_bytes: wanted 1 or more"):
        StoreConfig(max_text_bytes=0)
