"""Bad input of every kind: an error of its own class that says what was wrong, and nothing is lost."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from embodmem import EmbodiedMemory, cli, errors
from embodmem.config import Config
from embodmem.types import Event
from tests.embodmem.bad_cases import CASES, FAR, FRAMES, Case
from tests.embodmem.small import STEP_NS, content, frames_kept, look, write_recording


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A folder with the recording "room" and with "home.mem", in which something is known already."""
    folder = tmp_path_factory.mktemp("template")
    write_recording(folder / "room", FRAMES)
    with EmbodiedMemory(folder / "home.mem", config=Config(encoder="hashing")) as memory:
        memory.write(Event(stamp_ns=0, kind="told", text="the keys are in the blue box", objects=("keys",)))
        memory.write(replace(look(0), T_world_sensor=FAR @ look(0).T_world_sensor, agent="scout", stamp_ns=7))
        memory.semantic.assert_fact("keys", "in", "blue box", valid_from_ns=0)
    return folder


def files(folder: Path) -> dict[str, str]:
    """Every file but "home.mem", and what SQLite puts beside a memory that is read."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("home.mem")]
    kept = [path for path in paths if not path.name.endswith(("-wal", "-shm", ".lock"))]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def check_command(case: Case, monkeypatch, capsys) -> None:
    """The error's class and words, and as a user meets it: one line on stderr and the exit code 1."""
    assert isinstance(case.act, tuple)
    with pytest.raises(case.error, match=case.message) as caught:
        cli.app(case.act, standalone_mode=False)
    assert type(caught.value) is case.error
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["embodmem", *case.act])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith("build ")]
    assert (stop.value.code, out) == (1, "")
    assert lines == ["error: " + " ".join(str(caught.value).split())]


@pytest.mark.parametrize("name", CASES)
def test_bad_input(template, tmp_path, monkeypatch, capsys, name):
    case, folder = CASES[name], tmp_path / "here"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    if case.damage is not None:
        case.damage(folder)
    before, there = content(Path("home.mem")), files(folder)
    if isinstance(case.act, tuple):
        check_command(case, monkeypatch, capsys)
    else:
        with EmbodiedMemory("home.mem") as memory, pytest.raises(case.error, match=case.message) as caught:
            case.act(memory)
        assert type(caught.value) is case.error
    after = content(Path("home.mem"))
    if case.kept is None:
        assert after == before
    else:
        assert frames_kept(Path("home.mem")) == case.kept
        for table in ("record", "brick", "keyframe", "fact", "record_tag"):
            assert set(before[table]) <= set(after[table]), table
        stamps = [row[6] for row in after["record"] if row[1] == "keyframe"]
        assert len(stamps) > 1 and max(stamps) <= (case.kept - 1) * STEP_NS
    assert files(folder) == there


def test_every_class_of_error_is_met():
    """The table above covers the whole of errors.py, but for what an installation lacks, and for endpoints of language
    models, whose errors `tests/embodmem/llm` meets over HTTP."""
    known = {kind for kind in vars(errors).values() if isinstance(kind, type) and not issubclass(kind, errors.LlmError)}
    assert known - {case.error for case in CASES.values()} == {errors.EmbodmemError, errors.MissingDependency}
