"""What `update` returned for is there after `kill -9`, and nothing of a claim that was not yet taken in whole."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_facts import RULES
from benchmarks.facts_world import World
from embodmem.index import Records
from embodmem.semantic import SemanticMemory
from embodmem.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the writers that it kills")


def killed_after(path: Path, world: World, begin: int, seconds: float) -> int:
    """Fork a writer that takes in claim after claim, kill it, and return how many it had said were taken in."""
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hear)
            store = Store(path)
            memory = SemanticMemory(Records(store, None), RULES)
            for i in range(begin, len(world.stream)):
                with store.transaction():
                    memory.update(world.stream[i])
                    store.set_state("taken", i + 1)
                os.write(say, b".")
        finally:
            os._exit(0)
    os.close(say)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    with os.fdopen(hear, "rb") as dots:
        said = len(dots.read())
    os.waitpid(pid, 0)
    return begin + said


def content(memory: SemanticMemory) -> list[tuple[object, ...]]:
    with memory.store.read() as db:
        facts = db.execute(
            "SELECT f.*, r.text, r.live FROM fact f JOIN record r ON r.id = f.id ORDER BY f.id"
        ).fetchall()
        claims = db.execute(
            "SELECT subject, relation, object, holds, is_open, valid_from_ns, last_ns, known_ns FROM fact_claim "
            "ORDER BY id"
        ).fetchall()
    return [*facts, *claims]


def test_killed_again_and_again(tmp_path: Path) -> None:
    path, rng, acknowledged = tmp_path / "facts.mem", np.random.default_rng(3), 0
    world = World(5, subjects=4, changes=12)
    store = Store()
    unharmed, there = SemanticMemory(Records(store, None), RULES), 0
    for _ in range(12):
        acknowledged = killed_after(path, world, there, float(rng.uniform(0.05, 0.4)))
        reopened = Store(path)
        memory = SemanticMemory(Records(reopened, None), RULES)
        kept = reopened.get_state("taken", 0)
        assert kept - acknowledged in (0, 1)
        with store.transaction():
            for claim in world.stream[there:kept]:
                unharmed.update(claim)
        there = kept
        assert content(memory) == content(unharmed)
        with reopened.read() as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        reopened.close()
    assert there > 0
    store.close()
