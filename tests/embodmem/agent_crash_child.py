"""Processes that note, fold, try and distil, and are killed: run as a script, it forks one for every line it reads.

A line is "<path> <seconds>", as in `crash_child`; the answer is one line of JSON: the steps that were acknowledged.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from embodmem.config import WorkingConfig
from embodmem.encoders import HashingEncoder
from embodmem.index import Records
from embodmem.procedural import Experience, ProceduralMemory
from embodmem.store import Store
from embodmem.working import WorkingMemory
from tests.embodmem.crash_child import killed_after

BOUNDS = WorkingConfig(max_items=5, max_tokens=60)


def open_both(path: Path | str) -> tuple[WorkingMemory, ProceduralMemory]:
    records = Records(Store(path), HashingEncoder())
    return WorkingMemory(records, BOUNDS), ProceduralMemory(records)


def step(working: WorkingMemory, procedural: ProceduralMemory, i: int) -> None:
    """What happens at step i, in one transaction: something of everything."""
    with working.store.transaction():
        if i % 7 == 0:
            working.begin_subgoal(f"subgoal number{i}", i)
        number = working.note_action(f"action number{i}", i)
        if i % 3 == 0:
            working.pin(f"item:{number}", who="test")
        if i % 3 == 1:
            working.undo()
        if i % 7 == 6:
            working.end_subgoal("done", i)
        procedural.add(experience(i))
        if i % 5 == 4:
            procedural.distil(i)


def experience(i: int) -> Experience:
    thing = f"thing{i}"
    plan = (f"pick {thing}", f"carry {thing}")
    return Experience(
        stamp_ns=i, task=f"bring {thing}", state=(f"{thing} there",), plan=plan, success=i % 4 != 3, objects=(thing,)
    )


def write_on(path: str, say: int) -> None:
    """Go on where the file stops."""
    working, procedural = open_both(path)
    newest = working.store.newest_stamp("ProceduralMemory")
    i = 0 if newest is None else newest + 1
    while True:
        step(working, procedural, i)
        os.write(say, f"{i}\n".encode())
        i += 1


if __name__ == "__main__":
    for line in sys.stdin:
        path, seconds = line.split()
        print(json.dumps(killed_after(path, float(seconds), write_on)), flush=True)
