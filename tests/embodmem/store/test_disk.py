"""What was forgotten is gone from the disk, and a full disk costs nothing that was kept."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embodmem.episodic import EpisodicMemory
from embodmem.errors import StoreError
from embodmem.index import Records
from embodmem.semantic import SemanticMemory
from embodmem.store import Store
from embodmem.store.erase import RawFile
from embodmem.types import Event, Query
from tests.embodmem.store.filled import check_file_indexes, content, fill, view

WORD = "xylophonist"


def files_with(folder: Path, needle: bytes) -> list[str]:
    """Names of the files in which the bytes occur; read by another process, since this one may have them open."""
    code = (
        "import sys; from pathlib import Path; needle = bytes.fromhex(sys.argv[2])\n"
        "print([p.name for p in sorted(Path(sys.argv[1]).iterdir()) if needle in p.read_bytes().lower()])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), needle.hex()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names: list[str] = eval(done.stdout)
    return names


def test_forgetting_leaves_no_byte(path: Path) -> None:
    store = Store(path)
    records = fill(store, 60)
    episodic, semantic = EpisodicMemory(records), SemanticMemory(records)
    jpegs = []
    for i in range(60, 66):
        episodic.write(view(i, f"{WORD} playing", x=float(i)))
        episodic.write(Event(stamp_ns=i, kind="told", text=f"the {WORD} number{i} was here", objects=(WORD,)))
        semantic.assert_fact(WORD, "on", f"shelf{i}", valid_from_ns=i)
    for item in episodic.timeline(Query(text=WORD, kinds=("keyframe",))):
        if WORD in item.text:
            jpeg = episodic.get_keyframe(item.id).jpeg
            assert jpeg is not None
            jpegs.append(jpeg[-160:-40].lower())
    assert len(set(jpegs)) == 6
    store.save()
    for needle in (WORD.encode(), *jpegs):
        assert files_with(path.parent, needle) == [path.name]
    for memory in (episodic, semantic):
        assert memory.forget(Query(text=WORD)) > 0
        assert not any(WORD in item.text for item in memory.recall(WORD, 100))
    for when in ("open", "closed"):
        if when == "closed":
            store.close()
        for needle in (WORD.encode(), *jpegs):
            assert files_with(path.parent, needle) == [], when
    check_file_indexes(path)
    store = Store(path)
    assert EpisodicMemory(Records(store, None)).recall("number7")[0].text == "sentence number7"
    store.close()


def test_clearing_leaves_no_byte(path: Path) -> None:
    store = Store(path)
    records = fill(store, 30)
    episodic = EpisodicMemory(records)
    episodic.write(Event(stamp_ns=99, kind="told", text=f"a {WORD} again"))
    store.save()
    assert files_with(path.parent, WORD.encode()) == [path.name]
    episodic.clear()
    assert files_with(path.parent, WORD.encode()) == []
    assert files_with(path.parent, b"sentence") == []
    store.close()


@pytest.mark.parametrize("seed", range(3))
def test_what_moved_between_pages_is_gone_too(path: Path, seed: int) -> None:
    """Rows that SQLite moved while tables grew left copies in the middle of pages, which deleting does not reach."""
    rng = np.random.default_rng(seed)
    store = Store(path)
    episodic = EpisodicMemory(Records(store, None))
    for stamp in range(400):
        text = f"{WORD if stamp % 3 else 'drummer'} " + "abc " * int(rng.integers(1, 300))
        episodic.write(Event(stamp_ns=stamp, kind="told", text=text, objects=("thing",)))
    store.save()
    assert episodic.forget(Query(text=WORD)) > 200
    assert files_with(path.parent, WORD.encode()) == []
    for stamp in range(400, 420):  # pages that SQLite held in RAM do not bring it back
        episodic.write(Event(stamp_ns=stamp, kind="told", text="goes on " * int(rng.integers(1, 300))))
    store.save()
    assert files_with(path.parent, WORD.encode()) == []
    assert len(episodic.recall("drummer", 1000)) == 134
    store.close()
    check_file_indexes(path)


def test_clearing_gaps_changes_no_row(path: Path) -> None:
    store = Store(path)
    fill(store, 60)
    with store.transaction() as db:
        db.execute("DELETE FROM record WHERE id % 3 = 0")
    with store.read() as db:
        before = content(db)
        page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
    store.save()
    raw = RawFile.join(path)
    assert raw.clear_gaps(page_bytes) > 0
    assert raw.clear_gaps(page_bytes) == 0
    raw.leave()
    store.close()
    store = Store(path, "r")
    with store.read() as db:
        assert content(db) == before
    store.close()
    check_file_indexes(path)


def test_forgetting_beside_a_reader(path: Path) -> None:
    """A reader that keeps its snapshot delays the cleaning, and nothing else."""
    store = Store(path)
    episodic = EpisodicMemory(fill(store, 5))
    episodic.write(Event(stamp_ns=9, kind="told", text=f"a {WORD} again"))
    store.save()
    reader = Store(path, "r")
    with reader.read() as db:
        before = db.execute("SELECT count(*) FROM record").fetchone()
        begin = time.perf_counter()
        assert episodic.forget(Query(text=WORD)) == 1
        assert time.perf_counter() - begin < 8
        assert not any(WORD in item.text for item in episodic.recall(WORD, 100))
        begin = time.perf_counter()
        for stamp in range(10, 20):
            episodic.write(Event(stamp_ns=stamp, kind="told", text="goes on"))
        assert time.perf_counter() - begin < 2  # writing never waits for the reader
        assert db.execute("SELECT count(*) FROM record").fetchone() == before
    episodic.write(Event(stamp_ns=20, kind="told", text="the reader has gone"))
    assert files_with(path.parent, WORD.encode()) == []
    reader.close()
    store.close()


def test_a_full_disk(path: Path) -> None:
    store = Store(path)
    records = fill(store, 20)
    episodic = EpisodicMemory(records)
    with store.read() as db:
        before = content(db)
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[union-attr]
    store._writer.execute(f"PRAGMA max_page_count = {pages + 2}")  # type: ignore[union-attr]
    with pytest.raises(StoreError, match="nothing of this write was kept.*full"):
        episodic.write(Event(stamp_ns=100, kind="told", text="long " * 20_000))
    with store.read() as db:
        assert content(db) == before
    assert not any("long" in r.text for r in episodic.recall("long", 50))
    assert episodic.recall("number7")[0].text == "sentence number7"
    store._writer.execute("PRAGMA max_page_count = 100000")  # type: ignore[union-attr]
    episodic.write(Event(stamp_ns=100, kind="told", text="long " * 20_000))
    assert episodic.recall("long")[0].text.startswith("long")
    store.close()
    check_file_indexes(path)


LIMITED = """
import resource, sys
from embodmem.errors import StoreError
from embodmem.episodic import EpisodicMemory
from embodmem.index import Records
from embodmem.store import Store
from embodmem.types import Event

path, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    store = Store(path)
    memory = EpisodicMemory(Records(store, None))
    stamp = 0
    while True:
        memory.write(Event(stamp_ns=stamp, kind="told", text=f"event{stamp} " + "filler " * 200))
        print("kept", stamp, flush=True)
        stamp += 1
except StoreError as error:
    print("refused", flush=True)
if "memory" in globals():
    assert len(memory.timeline()) == stamp
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    memory.write(Event(stamp_ns=stamp, kind="told", text=f"event{stamp} after"))  # there is room again
    print("kept", stamp, flush=True)
    store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files by setrlimit")
@pytest.mark.parametrize("limit_kib", [8, 400, 1000])
def test_a_full_disk_of_a_real_process(path: Path, limit_kib: int) -> None:
    arguments = [sys.executable, "-c", LIMITED, str(path), str(limit_kib * 1024)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "refused" in lines
    kept = [int(line.split()[1]) for line in lines if line.startswith("kept")]
    assert kept == list(range(len(kept)))
    assert bool(kept) == (limit_kib > 8)  # no room even for the empty tables
    store = Store(path)
    timeline = EpisodicMemory(Records(store, None)).timeline()
    assert [item.first_seen_ns for item in timeline] == kept
    store.close()
    check_file_indexes(path)
