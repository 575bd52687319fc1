"""A memory that has lived through a morning, as a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embodmem.config import Config
from embodmem.embodied import EmbodiedMemory
from tests.embodmem.ask.home import START_NS, S, live

NOW_NS = START_NS + 20 * 60 * S
"""10:20 of the day that `live` lives through."""


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file; not to be written to."""
    path = tmp_path_factory.mktemp("home") / "home.mem"
    with EmbodiedMemory(path, config=Config(encoder="hashing")) as memory:
        live(memory)
    return path


@pytest.fixture
def home(lived: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    return Path(shutil.copy(lived, tmp_path / "home.mem"))
