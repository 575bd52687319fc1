"""Working and procedural memory after `kill -9`: all that was acknowledged, once, and in step with one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embodmem.procedural.beta import success_bounds
from tests.embodmem.agent_crash_child import BOUNDS, experience, open_both
from tests.embodmem.store.filled import check_file_indexes

ROOT = Path(__file__).resolve().parents[2]
KILLS = 15
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the writers that it kills")


def check_kept(path: Path, acknowledged: int) -> int:
    """Returns the newest step, which is the last one acknowledged or the next."""
    working, procedural = open_both(path)
    newest = working.store.newest_stamp("ProceduralMemory")
    assert newest is not None and newest - acknowledged in (0, 1)
    there = [item.text for item in working.items()] + [item.text for item, _ in working.spilled(100_000)]
    noted = sorted(text for text in there if text.startswith("action"))
    assert noted == sorted(f"action number{i}" for i in range(newest + 1))  # each once, in the context or out of it
    taken = working.usage()
    assert taken.items <= BOUNDS.max_items and taken.tokens <= BOUNDS.max_tokens
    for task in working.tasks.all():
        begun = int(task.text.removeprefix("subgoal number"))
        assert task.status == ("done" if begun + 6 <= newest else "doing")
        wanted = [f"action number{i}" for i in range(begun, min(begun + 7, newest + 1))]
        assert [item.text for item in working.unfold(task.id)] == wanted
    assert [edit.action for edit in working.edits()].count("fold") == (newest + 1) // 7
    with procedural.store.read() as db:
        lived = db.execute("SELECT count(*) FROM record WHERE kind = 'experience'").fetchone()[0]
        valued = db.execute("SELECT count(DISTINCT id) FROM case_value").fetchone()[0]
        counted = db.execute("SELECT count(*) FROM skill_use").fetchone()[0]
    assert lived == valued == newest + 1
    skills = procedural.skills(deprecated=True)
    if newest >= 4:
        last = newest - (newest - 4) % 5  # the last step that distilled
        assert len(skills) == 1 and counted == last + 1
        assert len(skills[0].evidence) == sum(experience(i).success for i in range(last + 1))
        config = procedural.config
        bounds = success_bounds(skills[0].successes, skills[0].failures, config.credible, config.prior)
        assert (skills[0].lower, skills[0].mean, skills[0].upper) == pytest.approx(bounds)
    working.store.close()
    return newest


def test_killed_again_and_again(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.embodmem.agent_crash_child"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    path, rng, newest, worked, longest_s = tmp_path / "memory.mem", np.random.default_rng(7), -1, 0, 0.15
    for _ in range(KILLS):
        seconds = float(rng.uniform(0.0, longest_s))
        server.stdin.write(f"{path} {seconds}\n")
        server.stdin.flush()
        said = json.loads(server.stdout.readline())
        if not said and seconds > longest_s / 2:
            longest_s *= 1.5  # a slow machine: writers need longer to begin
        if said:
            assert said[0] - newest in (1, 2) and said == list(range(said[0], said[-1] + 1))
            newest = said[-1]
            worked += 1
        if newest >= 0:
            newest = check_kept(path, newest)
            check_file_indexes(path)
    assert worked > KILLS // 4
    server.stdin.close()
    assert server.wait(30) == 0
    server.stdout.close()
