"""A small recording, made here, and the command line as a process."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.datasets import FolderWriter
from embodmem.spatial.octree import decode_bricks
from embodmem.types import Event, Percept
from tests.embodmem.spatial.scene_room import Box, eyes, percept, room

ROOT = Path(__file__).resolve().parents[2]
STEP_NS = 100_000_000
FRAMES = 40
MUG, MUG_LATER, BOOK = (-0.5, 0.9, 0.80), (0.55, 1.1, 0.80), (0.1, 1.0, 0.78)
COLOURS = np.array([(90, 90, 90), (150, 140, 120), (200, 200, 190), (180, 190, 200), (120, 80, 40), (200, 30, 30)])


def look(i: int, frames: int = FRAMES) -> Percept:
    """Frame i: a table with a book and a mug, and from the middle on the mug elsewhere; 160x120 px."""
    mug = MUG if i < frames // 2 else MUG_LATER
    things = {5: Box("mug", mug, (0.09, 0.09, 0.1)), 6: Box("book", BOOK, (0.2, 0.15, 0.06))}
    seen = percept(room() | things, i, "segmentation", eyes(frames)[i * 7 % frames], (0.0, 1.0, 0.75))
    assert seen.segmentation is not None
    return replace(seen, rgb=COLOURS.astype(np.uint8)[seen.segmentation % len(COLOURS)])


def events(i: int, frames: int = FRAMES) -> list[Event]:
    """What happened before frame i."""
    told = {
        0: ("tour", "began to look around"),
        3: ("told", "the mug belongs to Anna"),
        frames // 2: ("told", "somebody took the mug"),
        frames: ("tour", "finished looking around"),
    }
    if i not in told:
        return []
    kind, text = told[i]
    return [Event(stamp_ns=max(i - 1, 0) * STEP_NS, kind=kind, text=text, source="robot")]


def write_recording(folder: Path, frames: int = FRAMES) -> Path:
    """A recording in the folder form with a room and with events before, between and after its frames."""
    with FolderWriter(folder) as writer:
        writer.add_room("hall", (-3, -3, 0), (3, 3, 3))
        for i in range(frames):
            for event in events(i, frames):
                writer.append(event)
            writer.append(look(i, frames))
        for event in events(frames, frames):
            writer.append(event)
    return folder


def environment() -> dict[str, str]:
    """That of this process, with the work tree in front of whatever is installed."""
    paths = [str(ROOT / name) for name in (".", "envs", "policies", "ros")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def command(*args: object) -> list[str]:
    """The command line `embodmem ...` of this interpreter."""
    return [sys.executable, "-m", "embodmem.cli", *map(str, args)]


def embodmem(*args: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `embodmem ...` to its end."""
    return subprocess.run(command(*args), cwd=cwd, env=environment() | env, capture_output=True, text=True, timeout=300)


def content(path: Path) -> dict[str, list[Any]]:
    """All rows of all tables of a memory's file, but for the vectors."""
    records = ("record_tag", "record_link", "record_area", "object", "fact", "stamp", "state")
    tables = (*records, "brick", "keyframe", "keyframe_surface", "keyframe_depth", "payload")
    columns = "id, kind, subkind, agent, label, text, first_ns, last_ns, x, y, z, x0, y0, z0, x1, y1, z1, live, data"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = {name: sorted(db.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in tables}
        rows["record"] = db.execute(f"SELECT {columns} FROM record ORDER BY id").fetchall()
    return rows


def bricks(rows: dict[str, list[Any]]) -> dict[int, bytes]:
    """Log-odds of the bricks by key."""
    values = decode_bricks([row[2] for row in rows["brick"]]).values
    return {key: row.tobytes() for (key, *_), row in zip(rows["brick"], values, strict=True)}


def vectors(path: Path) -> NDArray[np.float32]:
    """(N, D) vectors of the records that have one, in the order of their ids."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        blobs = db.execute("SELECT embedding FROM record_vector ORDER BY id").fetchall()
    return np.array([np.frombuffer(blob, dtype=np.float32) for (blob,) in blobs])


def assert_same(one: Path, other: Path) -> None:
    """Two memories hold the same, to the last bit, but for two things.

    Vectors round differently in other batches. And a process that is killed takes with it when single voxels were last
    seen, as far as that was not yet due to be written.
    """
    first, second = content(one), content(other)
    assert bricks(first) == bricks(second)
    for table in first.keys() - {"brick"}:
        assert first[table] == second[table], table
    np.testing.assert_allclose(vectors(one), vectors(other), atol=1e-5)


def frames_kept(path: Path) -> int:
    """How far a build has got, as the file says; -1 before there is one."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT value FROM state WHERE name = 'build'").fetchone()
    except sqlite3.OperationalError:
        return -1
    return 0 if row is None else int(json.loads(row[0])["next"])
