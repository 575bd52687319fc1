"""Building a memory from a recording: stopped in any way, it goes on as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from embodmem import EmbodiedMemory
from embodmem.build import BATCH, build
from embodmem.config import Config
from embodmem.datasets import FolderWriter, open_dataset
from embodmem.errors import DatasetError, InvalidInput, StampError
from embodmem.types import Event
from tests.embodmem.small import (
    FRAMES,
    STEP_NS,
    assert_same,
    bricks,
    command,
    content,
    embodmem,
    environment,
    events,
    frames_kept,
    look,
    write_recording,
)

CONFIG = Config(encoder="hashing")


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    return write_recording(tmp_path_factory.mktemp("small") / "room")


@pytest.fixture(scope="module")
def whole(recording, tmp_path_factory) -> Path:
    """A memory of the recording, built without a break."""
    return made(recording, tmp_path_factory.mktemp("whole") / "room.mem")


def made(recording: Path, path: Path, **options) -> Path:
    with EmbodiedMemory(path, config=CONFIG) as memory:
        build(open_dataset(recording), memory, **options)
    return path


def told(path: Path) -> list[str]:
    """What was told or done, without what the scene noticed itself."""
    return [row[5] for row in content(path)["record"] if row[1] == "event" and row[2] in ("told", "tour")]


TOLD = [event.text for i in range(FRAMES + 1) for event in events(i)]


class Stop(Exception):
    pass


def stop_at(frame: int):
    def progress(done: int, total: int) -> None:
        if done >= frame:
            raise Stop

    return progress


def test_what_a_build_reports_and_holds(recording, tmp_path):
    seen = []
    with EmbodiedMemory(tmp_path / "room.mem", config=CONFIG) as memory:
        report = build(open_dataset(recording), memory, progress=lambda *at: seen.append(at))
        labels = sorted(item.label for item in memory.scene.objects())
    assert (report.frames, report.resumed_at, report.total, report.skipped) == (FRAMES, 0, FRAMES, {})
    assert report.frames_per_s == pytest.approx(FRAMES / report.seconds)
    assert list(dict.fromkeys(seen)) == [(done, FRAMES) for done in range(BATCH, FRAMES + 1, BATCH)]
    assert labels == ["book", "mug", "table"]
    assert told(tmp_path / "room.mem") == TOLD


def test_the_same_recording_gives_the_same_memory(recording, whole, tmp_path):
    assert_same(whole, made(recording, tmp_path / "again.mem"))


@pytest.mark.parametrize("frame", [*range(BATCH, FRAMES, BATCH), FRAMES])
def test_stopped_after_any_batch(recording, whole, tmp_path, frame):
    path = tmp_path / "room.mem"
    with pytest.raises(Stop):
        made(recording, path, progress=stop_at(frame))
    made(recording, path, resume=True)
    assert_same(whole, path)
    assert content(whole)["brick"] == content(path)["brick"]  # whoever closes the file writes when places were seen


def killed(recording: Path, path: Path, frame: int, delay_s: float) -> None:
    """Run a build as a process, and kill it a little after this many frames are in the file."""
    process = subprocess.Popen(
        command("build", recording, "--out", path, "--resume"), env=environment(), stderr=subprocess.PIPE
    )
    end = time.monotonic() + 120
    while frames_kept(path) < frame and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def check_kills(recording: Path, frames: int, kills: int, folder: Path) -> None:
    """One build killed several times, each time further on, against one that nobody disturbed."""
    random_ = random.Random(7)
    calm, path = folder / "calm.mem", folder / "killed.mem"
    assert embodmem("build", recording, "--out", calm).returncode == 0
    stops = []
    for frame in (0, *sorted(random_.sample(range(1, frames - 2 * BATCH), kills - 1))):
        killed(recording, path, frame, random_.uniform(0.0, 0.05))
        opened = embodmem("info", path, "--json")
        assert opened.returncode == 0, opened.stderr
        stops.append(frames_kept(path))
    assert stops == sorted(stops)
    assert 0 < stops[-1] <= frames
    assert embodmem("build", recording, "--out", path, "--resume").returncode == 0
    assert_same(calm, path)


def test_killed_again_and_again(tmp_path):
    check_kills(write_recording(tmp_path / "room", 64), 64, 5, tmp_path)


def test_kitchen_killed_again_and_again(shared_data, tmp_path):
    check_kills(shared_data / "seven_scenes_kitchen", 250, 3, tmp_path)


def test_a_finished_build_is_left_as_it_is(recording, whole, tmp_path):
    path = made(recording, tmp_path / "room.mem")
    with EmbodiedMemory(path) as memory:
        report = build(open_dataset(recording), memory, resume=True)
    assert (report.frames, report.resumed_at, report.total) == (0, FRAMES, FRAMES)
    assert_same(whole, path)


def test_not_built_twice_by_mistake(recording, whole, tmp_path):
    path = made(recording, tmp_path / "room.mem")
    with pytest.raises(InvalidInput, match=f"{FRAMES} of {FRAMES} frames are in it already"):
        made(recording, path)
    assert_same(whole, path)


def test_not_resumed_with_another_recording(recording, tmp_path):
    path, other = tmp_path / "room.mem", write_recording(tmp_path / "elsewhere", 10)
    with pytest.raises(Stop):
        made(recording, path, progress=stop_at(16))
    before = content(path)
    with pytest.raises(InvalidInput, match=rf"built from 'room' \({FRAMES} frames\), not from 'elsewhere' \(10"):
        made(other, path, resume=True)
    assert content(path) == before


def truncate(recording: Path, frame: int) -> None:
    image = recording / "depth" / f"{frame:06d}.png"
    image.write_bytes(image.read_bytes()[:200])


def test_frames_before_a_bad_one_are_kept(tmp_path):
    recording = write_recording(tmp_path / "room", 24)
    image = recording / "depth" / "000012.png"
    sound = image.read_bytes()
    truncate(recording, 12)
    path = tmp_path / "room.mem"
    with pytest.raises(DatasetError, match="000012.png: .*truncated"):
        made(recording, path)
    assert frames_kept(path) == 12  # more than the last whole batch
    image.write_bytes(sound)
    made(recording, path, resume=True)
    assert frames_kept(path) == 25
    calm = made(recording, tmp_path / "calm.mem")
    assert bricks(content(path)) == bricks(content(calm))
    assert [row[1:6] for row in content(path)["record"]] == [row[1:6] for row in content(calm)["record"]]


def test_a_bad_frame_is_skipped_and_events_are_kept(tmp_path):
    """Frame 3 and the middle one have an event before them, and the last one after it."""
    recording = write_recording(tmp_path / "room", 24)
    for frame in (3, 12, 13, 23):
        truncate(recording, frame)
    with EmbodiedMemory(tmp_path / "room.mem", config=CONFIG) as memory:
        report = build(open_dataset(recording), memory, skip_bad=True)
        assert memory.newest_stamp() == 23 * STEP_NS
    assert sorted(report.skipped) == [3, 12, 13, 23]
    assert all(f"{frame:06d}.png" in why for frame, why in report.skipped.items())
    assert report.frames == 20
    assert sorted(told(tmp_path / "room.mem")) == sorted(event.text for i in range(25) for event in events(i, 24))


def write_with_agent(folder: Path) -> Path:
    """Frames of an agent "camera", events of another."""
    with FolderWriter(folder) as writer:
        for i in range(24):
            for event in events(i, 24):
                writer.append(event)
            writer.append(replace(look(i, 24), agent="camera"))
        for event in events(24, 24):
            writer.append(event)
    return folder


@pytest.mark.parametrize("tries", [0, 3])
def test_refused_frames_are_skipped_and_events_come_once(tmp_path, tries):
    """The memory has seen later views already: the first frames are refused, but not the events between them."""
    recording, path = write_with_agent(tmp_path / "room"), tmp_path / "room.mem"
    late = replace(look(10, 24), agent="camera", stamp_ns=6 * STEP_NS)
    with EmbodiedMemory(path, config=CONFIG) as memory:
        memory.write(late)
        dataset = open_dataset(recording)
        for again in range(tries):
            with pytest.raises(StampError, match="for agent 'camera', got 0: time went backwards"):
                build(dataset, memory, resume=again > 0)
        report = build(dataset, memory, skip_bad=True, resume=tries > 0)
    assert sorted(report.skipped) == [0, 1, 2, 3, 4, 5]
    assert all("time went backwards" in why for why in report.skipped.values())
    assert report.frames == 18
    assert sorted(told(path)) == sorted(event.text for i in range(25) for event in events(i, 24))


def test_events_that_are_too_late_go_with_the_frame_that_is_left_out(recording, tmp_path):
    path = tmp_path / "room.mem"
    with EmbodiedMemory(path, config=CONFIG) as memory:
        memory.write(Event(stamp_ns=10 * STEP_NS, kind="told", text="it is late"))
        report = build(open_dataset(recording), memory, skip_bad=True)
    assert sorted(report.skipped) == list(range(10))
    assert told(path) == ["it is late", *TOLD[2:]]
