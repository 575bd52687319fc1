"""Fixtures that many tests share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embodmem.encoders import HashingEncoder
from embodmem.index import Records
from embodmem.store import Store

# Before usearch: in a process where that was loaded first, OctoMap (1.0, x86-64) reads and writes no file.
with contextlib.suppress(ImportError):
    import pyoctomap  # noqa: F401


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The recordings beside the checkout. A test that wants them skips where they are absent, and fails in CI."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "wanted the recordings in ../shared/data, got no such folder"
        )
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a memory may be put; nothing is there yet."""
    return tmp_path / "memory.mem"


@pytest.fixture
def make_records(tmp_path: Path) -> Iterator[Callable[[], Records]]:
    """Makes records over a fresh store each time, with the offline encoder."""
    stores: list[Store] = []

    def make() -> Records:
        stores.append(Store(tmp_path / f"records-{len(stores)}.mem"))
        return Records(stores[-1], HashingEncoder())

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def records(make_records: Callable[[], Records]) -> Records:
    """Records over a fresh store."""
    return make_records()
