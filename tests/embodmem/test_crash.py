"""What `write` returned for is there after `kill -9`, at whatever moment it comes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embodmem.embodied import EmbodiedMemory
from embodmem.types import Event, Percept
from tests.embodmem.crash_child import CONFIG, experience, picture
from tests.embodmem.store.filled import check_file_indexes

ROOT = Path(__file__).resolve().parents[2]
KILLS = 50
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the writers that it kills")

Killed = Callable[[Path, float], list[int]]


@pytest.fixture(scope="module")
def killed() -> Iterator[Killed]:
    """Lets a writer work on a file for some seconds, and gives the stamps that it had acknowledged when it died."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.embodmem.crash_child"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None and server.stdout is not None

    def kill(path: Path, seconds: float) -> list[int]:
        server.stdin.write(f"{path} {seconds}\n")  # type: ignore[union-attr]
        server.stdin.flush()  # type: ignore[union-attr]
        said: list[int] = json.loads(server.stdout.readline())  # type: ignore[union-attr]
        return said

    yield kill
    server.stdin.close()
    assert server.wait(30) == 0
    server.stdout.close()


def check_kept(memory: EmbodiedMemory, acknowledged: list[int]) -> int:
    """All that was acknowledged is there, whole; at most one experience more. Returns the newest stamp."""
    newest = memory.newest_stamp()
    assert newest is not None and newest - acknowledged[-1] in (0, 1)
    timeline = memory.episodic.timeline(limit=100_000)
    views = {r.first_seen_ns: r for r in timeline if r.kind == "keyframe"}
    events = {r.first_seen_ns: r for r in timeline if r.kind == "event" and r.data["kind"] == "told"}
    said = [experience(i) for i in range(newest + 1)]
    assert sorted(views) == [e.stamp_ns for e in said if isinstance(e, Percept)]
    assert {stamp: r.text for stamp, r in events.items()} == {e.stamp_ns: e.text for e in said if isinstance(e, Event)}
    for stamp in sorted(views)[-20:]:
        assert f"view number{stamp}" in views[stamp].text
        keyframe = memory.episodic.get_keyframe(views[stamp].id)
        image = keyframe.image()
        assert image is not None and np.abs(image.astype(int) - picture(stamp)).max() <= 8
        assert np.array_equal(keyframe.T_world_camera, experience(stamp).T_world_sensor)
    stats = memory.spatial.octree.stats()
    assert stats.bricks > 0 and stats.occupied_voxels > 0 and stats.refused_bricks == 0
    with memory.store.read() as db:
        assert db.execute("SELECT count(*) FROM brick").fetchone()[0] == stats.bricks
        for table in ("keyframe_surface", "keyframe_depth"):  # every keyframe with the surface that it saw, and depth
            assert db.execute(f"SELECT count(*) FROM {table} JOIN keyframe USING (id)").fetchone()[0] == len(views)
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    if newest > 10:
        assert [item.label for item in memory.scene.objects()] == ["crate"]
        assert newest in [item.last_seen_ns for item in memory.episodic.recall(f"number{newest}")]
    return newest


def test_killed_again_and_again(tmp_path: Path, killed: Killed) -> None:
    path, rng, acknowledged = tmp_path / "memory.mem", np.random.default_rng(7), [-1]
    worked, longest_s = 0, 0.2
    for i in range(KILLS):
        seconds = float(rng.uniform(0.0, longest_s))
        said = killed(path, seconds)
        if not said and seconds > longest_s / 2:
            longest_s *= 1.5  # a slow machine: writers need longer to begin
        if said:
            assert said[0] - acknowledged[-1] in (1, 2)  # it went on where the file stopped
            assert said == list(range(said[0], said[-1] + 1))
            acknowledged += said
            worked += 1
        if acknowledged[-1] < 0:
            continue
        # Every other time the log of the dead writer is left as it is, for the next writer to find.
        with EmbodiedMemory(path, "r" if i % 2 else "a") as memory:
            acknowledged.append(check_kept(memory, acknowledged))
        if i % 2 == 0:
            check_file_indexes(path)
    assert worked > KILLS // 4
    with EmbodiedMemory(path) as memory, EmbodiedMemory(config=CONFIG) as unharmed:
        unharmed.write_batch(experience(i) for i in range(acknowledged[-1] + 1))
        assert_same_map(memory, unharmed)
        assert memory.counts() == unharmed.counts()
        texts = [[r.text for r in m.episodic.timeline(limit=100_000)] for m in (memory, unharmed)]
        assert texts[0] == texts[1]
        memory.write(experience(acknowledged[-1] + 1))


def assert_same_map(one: EmbodiedMemory, other: EmbodiedMemory) -> None:
    a, b = one.spatial.octree.bricks(), other.spatial.octree.bricks()
    order_a, order_b = np.argsort(a.keys), np.argsort(b.keys)
    assert np.array_equal(a.keys[order_a], b.keys[order_b])
    assert np.array_equal(a.log_odds[order_a], b.log_odds[order_b], equal_nan=True)


def test_killed_while_the_file_is_made(tmp_path: Path, killed: Killed) -> None:
    made = 0
    for i in range(20):
        path = tmp_path / f"memory{i}.mem"
        said = killed(path, 0.002 * 1.3**i)  # up to 0.3 s: before, amid and after
        made += path.exists()
        with EmbodiedMemory(path, config=CONFIG) as memory:  # whatever is left of it, it can be opened
            if said:
                check_kept(memory, said)
            newest = memory.newest_stamp()
            memory.write(experience(0 if newest is None else newest + 1))
        check_file_indexes(path)
        left = {p.name.removeprefix(path.name) for p in tmp_path.glob(f"{path.name}*")}
        assert left <= {"", ".lock"}
    assert 0 < made < 20
