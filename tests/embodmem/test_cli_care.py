"""Consolidating, merging and purging by the command line, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embodmem import EmbodiedMemory, Event
from tests.embodmem.small import embodmem

S = 10**9


def run(*words: object) -> dict[str, Any]:
    done = embodmem(*words, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    path = tmp_path / "first.mem"
    with EmbodiedMemory(path) as memory:
        for i in range(5):
            memory.write(Event(stamp_ns=i * 60 * S, kind="state", text="the robot waits at the dock"))
        memory.write(Event(stamp_ns=400 * S, kind="told", text="the xylophone is stolen", source="mallory"))
    return path


def test_consolidate(memory: Path) -> None:
    done = run("consolidate", memory, "--now", 10**13)
    assert done["merged"] == 4 and done["done"] and done["bytes"] > 0
    assert run("consolidate", memory, "--now", 10**13)["merged"] == 0
    assert run("consolidate", memory, "--now", 10**16, "--half-life", 3600)["retired"] >= 2


def test_merge(memory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mem"
    with EmbodiedMemory(other) as there:
        there.write(Event(stamp_ns=5, kind="told", text="the garden gate squeaks", source="user"))
    assert run("merge", memory, other, "--rename", "=second")["records"] == 1
    assert run("merge", memory, other, "--rename", "=second")["known"] == 1
    with EmbodiedMemory(memory, "r") as here:
        (item,) = [i for i in here.episodic.timeline() if "gate" in i.text]
        assert item.data["agent"] == "second"


def test_purge(memory: Path) -> None:
    assert b"xylophone" in memory.read_bytes()
    assert run("purge", memory, "mallory")["gone"] == 2  # what it said, and the note of it
    assert b"xylophone" not in memory.read_bytes()


def test_what_cannot_be_done(memory: Path, tmp_path: Path) -> None:
    for words, wanted in (
        (("merge", memory, memory), "two memories"),
        (("merge", memory, memory, "--rename", "x"), "OLD=NEW"),
        (("consolidate", tmp_path / "none.mem"), "no such file"),
        (("purge", tmp_path / "none.mem", "x"), "no such file"),
    ):
        done = embodmem(*words)
        assert done.returncode == 1 and wanted in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "none.mem").exists()
