"""What is no sound memory is refused, clearly, and left as it was; older files are brought forward."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embodmem.errors import DamagedMemory, NewerMemory, NotAMemory, StoreError
from embodmem.index import Records
from embodmem.store import Store
from embodmem.store.files import connect
from embodmem.store.schema import STEPS, VERSION, migrate
from embodmem.store.store import Mode
from embodmem.types import Query
from tests.embodmem.store.filled import check_file_indexes, content, fill, on_disk

PAGE = 4096
BTREE = (2, 5, 10, 13)  # first byte of an index or table page, inner or leaf (SQLite file format, section 1.6)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed memory with content; copy it before use."""
    path = tmp_path_factory.mktemp("sound") / "memory.mem"
    store = Store(path)
    fill(store, 80)
    store.close()
    return path


def refused(path: Path, mode: Mode, error: type[StoreError], words: str) -> None:
    """Opening fails with this error, and the folder holds what it held."""
    before = on_disk(path.parent)
    with pytest.raises(error, match=words) as caught:
        Store(path, mode)
    assert type(caught.value) is error
    assert str(path) in str(caught.value)
    assert on_disk(path.parent) == before


@pytest.mark.parametrize("mode", ["r", "a"])
@pytest.mark.parametrize(
    "make, words",
    [
        (lambda p: p.write_text("a diary, not a database\n" * 500), "a file of another kind"),
        (lambda p: p.write_text("short"), "a file of another kind"),
        (lambda p: p.write_bytes(b""), "an empty file"),
        (lambda p: p.write_bytes(np.random.default_rng(1).bytes(20_000)), "a file of another kind"),
    ],
    ids=["text", "short text", "empty", "noise"],
)
def test_no_memory(path: Path, mode: Mode, make: Callable[[Path], object], words: str) -> None:
    make(path)
    refused(path, mode, NotAMemory, words)


@pytest.mark.parametrize("mode", ["r", "a"])
@pytest.mark.parametrize("wal", [False, True])
def test_a_database_of_another_program(path: Path, mode: Mode, wal: bool) -> None:
    db = sqlite3.connect(path)
    if wal:
        db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE record (id INTEGER PRIMARY KEY)")
    db.commit()
    db.close()
    refused(path, mode, NotAMemory, "of another program")


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder.mem"
    folder.mkdir()
    for mode in ("r", "a"):
        refused(folder, mode, StoreError, "a folder")
    refused(tmp_path / "none.mem", "r", StoreError, "no such file")
    with pytest.raises(StoreError, match="existing folder"):
        Store(tmp_path / "none" / "memory.mem")
    with pytest.raises(StoreError, match="mode"):
        Store(tmp_path / "x.mem", "w")  # type: ignore[arg-type]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.mem"]


def test_a_new_file_only(path: Path) -> None:
    Store(path, "x").close()
    refused(path, "x", StoreError, "it exists")


@pytest.mark.parametrize("mode", ["r", "a"])
def test_a_newer_version(path: Path, sound: Path, mode: Mode) -> None:
    shutil.copy(sound, path)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.commit()
    db.close()
    refused(path, mode, NewerMemory, f"schema {VERSION + 1}.*knows up to {VERSION}.*pip install --upgrade")


@pytest.mark.parametrize("mode", ["r", "a"])
@pytest.mark.parametrize("part", [0.999, 0.9, 0.5, 0.1, 0.02])
def test_cut_off(path: Path, sound: Path, mode: Mode, part: float) -> None:
    whole = sound.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    refused(path, mode, DamagedMemory, "is damaged")


@pytest.mark.parametrize("size", [1, 50, 100, 400])
def test_cut_off_within_the_header(path: Path, sound: Path, size: int) -> None:
    path.write_bytes(sound.read_bytes()[:size])
    before = on_disk(path.parent)
    with pytest.raises((NotAMemory, DamagedMemory)):
        Store(path)
    assert on_disk(path.parent) == before


def test_noise_over_any_page_is_found(path: Path, sound: Path) -> None:
    whole = sound.read_bytes()
    assert struct.unpack(">H", whole[16:18])[0] == PAGE
    pages = [n for n in range(1, len(whole) // PAGE) if whole[n * PAGE] in BTREE]
    assert len(pages) > 20
    rng = np.random.default_rng(2)
    for page in pages:
        damaged = bytearray(whole)
        damaged[page * PAGE : (page + 1) * PAGE] = rng.bytes(PAGE)
        path.write_bytes(bytes(damaged))
        refused(path, "r" if page % 2 else "a", DamagedMemory, "is damaged")


def test_noise_over_the_first_page(path: Path, sound: Path) -> None:
    damaged = bytearray(sound.read_bytes())
    damaged[100:PAGE] = np.random.default_rng(3).bytes(PAGE - 100)  # behind the header: the list of tables
    path.write_bytes(bytes(damaged))
    refused(path, "a", DamagedMemory, "is damaged")


def test_a_large_file_is_opened_without_the_check_and_damage_is_told_when_met(path: Path, sound: Path) -> None:
    whole = bytearray(sound.read_bytes())
    db = sqlite3.connect(sound)
    root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'fact'").fetchone()[0]
    db.close()
    whole[(root - 1) * PAGE : root * PAGE] = b"\xff" * PAGE
    path.write_bytes(bytes(whole))
    with pytest.raises(DamagedMemory):
        Store(path)
    store = Store(path, "r", check_below_mib=0)
    with pytest.raises(StoreError, match="could not be read"), store.read() as db:
        db.execute("SELECT * FROM fact").fetchall()
    assert store.newest_stamp("EpisodicMemory") == 79  # the rest can still be had
    store.close()


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_file_is_brought_forward(path: Path, version: int) -> None:
    path.touch()
    db = connect(path, writable=True)
    migrate(db, STEPS[:version])
    db.execute(
        "INSERT INTO record (kind, label, text, first_ns, last_ns, x0, y0, z0, x1, y1, z1) "
        "VALUES ('event', 'a', 'old row', 5, 5, 1, 1, 1, 2, 2, 2)"
    )
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'record_insert'").fetchone():
        db.execute("INSERT INTO record_words (rowid, label, text) SELECT id, label, text FROM record")
        db.execute("INSERT INTO record_area VALUES (0, 1, 2, 1, 2, 1, 2)")
    db.execute("INSERT INTO record_tag VALUES ('a', 1)")
    db.execute("INSERT INTO state VALUES ('name', '\"value\"')")
    db.execute("INSERT INTO stamp VALUES ('A', '', 5)")
    db.close()
    with pytest.raises(StoreError, match=f"its schema is {version}.*brought to {VERSION}.*open it once for writing"):
        Store(path, "r")
    store = Store(path)
    records = Records(store, None)
    query = Query(text="old", labels=("a",), within=np.array([[0, 0, 0], [3, 3, 3]]))
    assert [r.text for r in records.search(query, 5)] == ["old row"]
    assert (store.get_state("name"), store.newest_stamp("A")) == ("value", 5)
    fill(store, 3)
    store.close()
    fresh = Store(path.with_name("fresh.mem"))
    tables = "SELECT name, sql FROM sqlite_master ORDER BY name"
    with fresh.read() as new, Store(path, "r").read() as old:
        assert new.execute(tables).fetchall() == old.execute(tables).fetchall()
        assert old.execute("PRAGMA user_version").fetchone()[0] == VERSION
    fresh.close()
    check_file_indexes(path)


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    path.touch()
    db = connect(path, writable=True)
    migrate(db, STEPS[:1])
    with pytest.raises(sqlite3.Error):
        migrate(db, (*STEPS[:1], "CREATE TABLE fine (x); CREATE TABLE record (x);"))
    db.close()
    db = connect(path, writable=False)
    assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'fine'").fetchone()[0] == 0
    db.close()


def test_a_half_made_file_of_a_crash_is_replaced(path: Path) -> None:
    path.with_name(path.name + ".part").write_bytes(b"half")
    path.with_name(path.name + ".part-wal").write_bytes(b"half")
    store = Store(path)
    fill(store, 2)
    store.close()
    assert [name for name in on_disk(path.parent) if "part" in name] == []
    check_file_indexes(path)


def test_a_saved_copy_is_equal_and_one_file(path: Path, sound: Path) -> None:
    shutil.copy(sound, path)
    store = Store(path)
    copy = path.with_name("copy.mem")
    store.save(copy)
    with pytest.raises(StoreError, match="it exists"):
        store.save(copy)
    with pytest.raises(StoreError, match="could not save"):
        store.save(path.parent / "none" / "copy.mem")
    with store.read() as db:
        rows = content(db)
    store.close()
    assert sorted(on_disk(path.parent)) == ["copy.mem", "memory.mem"]
    other = Store(copy)
    with other.read() as db:
        assert content(db) == rows
    other.close()
    check_file_indexes(copy)


def test_save_moves_the_log_into_the_file(path: Path) -> None:
    store = Store(path)
    fill(store, 20)
    log = path.with_name(path.name + "-wal")
    assert log.stat().st_size > 0
    store.save()
    assert log.stat().st_size == 0
    store.close()


def test_dump_and_load(path: Path, sound: Path) -> None:
    shutil.copy(sound, path)
    source, target = Store(path), Store(path.with_name("target.mem"))
    records = fill(target, 3)
    reader = Store(target.path, "r")
    with source.read() as db:
        rows = content(db)
    records.search(Query(text="number2"), 3)  # fills the vectors, which have to follow
    content_bytes = source.dump()
    for bad, error in ((b"", NotAMemory), (b"no memory" * 999, NotAMemory), (content_bytes[:-9000], DamagedMemory)):
        with pytest.raises(error):
            target.load(bad)
        assert [r.text for r in records.search(Query(text="number2"), 1)] == ["sentence number2"]
    target.load(content_bytes)
    for store in (target, reader):
        with store.read() as db:
            assert content(db) == rows
    assert records.search(Query(text="number77"), 1)[0].text == "sentence number77"
    assert "meaning" in records.search(Query(text="number77"), 1)[0].why
    with target.transaction(), pytest.raises(StoreError, match="outside a transaction"):
        target.load(content_bytes)
    for store in (source, target, reader):
        store.close()
    check_file_indexes(target.path)
