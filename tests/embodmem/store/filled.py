"""A small memory file with something in every table and index, and the fingerprints to compare it by."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embodmem.encoders import HashingEncoder
from embodmem.episodic import EpisodicMemory
from embodmem.index import Record, Records
from embodmem.semantic import SemanticMemory
from embodmem.store import Store
from embodmem.types import Event, Percept, PinholeCamera

TABLES = ("record", "record_tag", "record_link", "keyframe", "object", "brick", "fact", "state", "stamp")
CAMERA = PinholeCamera(width=32, height=24, fx=30.0, fy=30.0, cx=16.0, cy=12.0)


def picture(seed: int) -> np.ndarray:
    """(24, 32, 3) uint8 of noise: its JPEG is like no other."""
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def view(stamp_ns: int, word: str, x: float = 0.0) -> Percept:
    T = np.eye(4)
    T[0, 3] = x
    return Percept(stamp_ns=stamp_ns, T_world_sensor=T, camera=CAMERA, rgb=picture(stamp_ns), caption=word)


def fill(store: Store, n: int = 40) -> Records:
    """Keyframes with images, events, facts and placed records."""
    records = Records(store, HashingEncoder(64))
    episodic, semantic = EpisodicMemory(records), SemanticMemory(records)
    with store.transaction():
        for i in range(n):
            episodic.write(view(i, f"caption{i}", x=float(i)))
            episodic.write(Event(stamp_ns=i, kind="told", text=f"sentence number{i}", objects=(f"thing{i}",)))
            semantic.assert_fact(f"thing{i}", "on", f"shelf{i % 5}", valid_from_ns=i)
            box = np.array([[i, 0, 0], [i + 0.5, 1, 1]], dtype=float)
            records.add(Record(kind="object", label=f"label{i}", text=f"label{i}", first_ns=i, last_ns=i, box=box))
    return records


def content(db: sqlite3.Connection) -> dict[str, list[Any]]:
    """Every row of every table, and of the place and word indexes."""
    rows = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    rows["box"] = db.execute("SELECT * FROM record_area ORDER BY id").fetchall()
    rows["words"] = db.execute(
        "SELECT rowid FROM record_words WHERE record_words MATCH 'sentence OR label1'"
    ).fetchall()
    return rows


def check_indexes(db: sqlite3.Connection) -> None:
    """The file is sound, and the indexes hold exactly what the records say."""
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.execute("INSERT INTO record_words (record_words, rank) VALUES ('integrity-check', 1)")
    areas = np.array(db.execute("SELECT * FROM record_area ORDER BY id").fetchall(), np.float64).reshape(-1, 7)
    sql = (
        "SELECT id >> 6, min(x0), max(x1), min(y0), max(y1), min(z0), max(z1) FROM record WHERE x0 IS NOT NULL "
        "GROUP BY id >> 6 ORDER BY 1"
    )
    wanted = np.array(db.execute(sql).fetchall(), np.float64).reshape(-1, 7)
    assert areas[:, 0].tolist() == wanted[:, 0].tolist()
    np.testing.assert_allclose(areas, wanted, rtol=3e-7, atol=1e-37)  # float32, rounded outwards
    assert (areas[:, 1::2] <= wanted[:, 1::2]).all() and (areas[:, 2::2] >= wanted[:, 2::2]).all()
    assert db.execute("SELECT rtreecheck('record_area')").fetchone()[0] == "ok"


def check_file_indexes(path: Path) -> None:
    """`check_indexes` of a closed file, over a connection of its own."""
    db = sqlite3.connect(path)
    try:
        check_indexes(db)
    finally:
        db.close()


def on_disk(folder: Path, besides: Callable[[Path], bool] = lambda p: p.suffix == ".lock") -> dict[str, str]:
    """Name -> hash of every file of a folder, lock files left out. Only for files that this process has not open."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not besides(p)]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
