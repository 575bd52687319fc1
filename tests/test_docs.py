"""README, docs and configs do what they say: blocks of code and commands run, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from embodmem import Config, EmbodiedMemory, Percept, cli, load_config
from tests.embodmem.small import environment, look

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.yaml") if not path.stem.startswith(("ros_", "train_")))
DEMO = "python -m embodmem_envs.demo --out demo --record"
_BLOCK = re.compile(
    r"^(?P<mark><!-- not run: (?P<why>.*?) -->\n)?(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)


class Block(NamedTuple):
    """A fenced block: its kind, its text, its line in the file, and why it is not run ("" where it is)."""

    kind: str
    text: str
    line: int
    why: str


def blocks(page: Path, *kinds: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(m["kind"], textwrap.dedent(m["text"]), text[: m.start("text")].count("\n") + 1, m["why"] or "")
        for m in _BLOCK.finditer(text)
    ]
    return [block for block in found if block.kind in kinds]


def pages(*kinds: str) -> Any:
    """A parameter `page` for each page that has such blocks."""
    return pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, *kinds)], ids=lambda p: p.name)


def lines(block: Block) -> list[str]:
    return [line for line in block.text.splitlines() if line.strip() and not line.startswith("#")]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of a console block as a process."""
    program, *words = shlex.split(line, comments=True)
    assert program in ("embodmem", "python"), f"a console block may start embodmem or python, not {program}"
    module = ["-m", "embodmem.cli"] if program == "embodmem" else []
    return subprocess.run(
        [sys.executable, *module, *words], cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, str]:
    """The folder in which the demonstration ran, and what it printed."""
    pytest.importorskip("gymnasium")
    pytest.importorskip("mujoco")
    folder = tmp_path_factory.mktemp("demo")
    done = run(DEMO + " --seed 0", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def demo_folder(demo, tmp_path) -> Path:
    """A folder of its own with what the demonstration left."""
    shutil.copytree(demo[0] / "demo", tmp_path / "demo")
    return tmp_path


@pytest.fixture(scope="module")
def after_readme(demo, tmp_path_factory) -> Path:
    """The folder of somebody who ran every command of the README."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(demo[0] / "demo", folder / "demo")
    run_console_blocks(ROOT / "README.md", folder)
    return folder


def test_there_is_something_to_run():
    assert len(blocks(ROOT / "README.md", "python")) >= 2
    assert len(blocks(ROOT / "README.md", "console")) >= 2
    assert blocks(ROOT / "docs" / "cli.md", "console")


@pages("python")
def test_python_blocks(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        if block.why:
            continue
        if "embodmem_envs" in block.text:
            pytest.importorskip("mujoco")
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)


@pages("python", "console")
def test_blocks_that_do_not_run_say_why(page):
    for block in blocks(page, "python", "console"):
        assert not block.why or len(block.why.split()) >= 3, f"{page.name}:{block.line}"
    assert page.read_text(encoding="utf-8").count("<!-- not run") == sum(
        bool(block.why) for block in blocks(page, "python", "console")
    )


def run_console_blocks(page: Path, folder: Path) -> None:
    """In order, in one folder; a JSON block after a command shows a document of the same keys."""
    said: list[Any] = []
    for block in blocks(page, "console", "json"):
        if block.kind == "json":
            assert len(said) == 1, f"{page.name}:{block.line}: wanted one --json command before it"
            assert_same_keys(json.loads(block.text), said[0], f"{page.name}:{block.line}")
            continue
        said = []
        for line in lines(block):
            if line == DEMO:
                continue  # it ran already, and left what is here
            done = run(line, folder)
            assert done.returncode == 0, f"{page.name}: {line}\n{done.stderr}"
            assert done.stdout.strip(), line
            if "--json" in line:
                said.append(json.loads(done.stdout))


@pages("console")
def test_console_blocks(page, request):
    if page.name == "README.md":
        request.getfixturevalue("after_readme")
    else:
        run_console_blocks(page, request.getfixturevalue("demo_folder"))


def assert_same_keys(shown: Any, got: Any, where: str) -> None:
    if isinstance(shown, list):
        assert isinstance(got, list) and got, where
        shown, got = shown[0], got[0]
    assert set(shown) == set(got), where
    for key, value in shown.items():
        kinds = {int: (int, float), float: (int, float)}.get(type(value), (type(value),))
        assert isinstance(got[key], kinds), f"{where}: {key}"


def test_every_command_and_option_is_explained():
    import typer

    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    commands = typer.main.get_command(cli.app).commands
    assert sections.keys() == commands.keys()
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
        missing = {option for option in options if option not in sections[name]} - {"--json"}
        assert not missing, name


@pages("json")
def test_json_blocks(page):
    for block in blocks(page, "json"):
        json.loads(block.text)


def test_the_readme_shows_the_demonstration_that_ran():
    assert DEMO in [line for block in blocks(ROOT / "README.md", "console") for line in lines(block)]


def test_the_demonstration_answers_its_questions(demo):
    from embodmem_envs.demo import QUESTIONS

    folder, out = demo
    said = [line.strip() for line in out.splitlines()]
    answers = {question: said[said.index(question) + 1] for question in QUESTIONS}
    assert all(answers.values()) and not set(answers.values()) & set(QUESTIONS)
    assert [question for question, answer in answers.items() if answer.startswith("not known")] == [
        "where is the piano?"
    ]
    page = (folder / "demo" / "report.html").read_text(encoding="utf-8")
    assert all(question in page for question in QUESTIONS)


def test_the_commands_that_the_demonstration_ends_with_run(demo, demo_folder):
    after = demo[1].split("To try next:")[1].strip().splitlines()
    assert len(after) == 4
    for line in after:
        program, words = line.split(maxsplit=1)
        assert Path(program).name == "embodmem"
        done = run(f"embodmem {words}", demo_folder)
        assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_a_memory_built_from_the_demonstrations_recording_knows_the_same(demo, after_readme):
    paths = (demo[0] / "demo" / "house.mem", after_readme / "again.mem")
    with EmbodiedMemory(paths[0], "r") as first, EmbodiedMemory(paths[1], "r") as again:
        assert again.counts() == first.counts()
        assert sorted(room.label for room in again.scene.rooms()) == sorted(room.label for room in first.scene.rooms())
        places = [{(o.id, o.label): o.position for o in memory.scene.objects()} for memory in (first, again)]
    assert places[0].keys() == places[1].keys()
    for key, place in places[0].items():
        np.testing.assert_allclose(places[1][key], place, atol=0.01)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_are_named_are_there(page):
    named = re.findall(r"`((?:embodmem|envs|policies|ros|tests|benchmarks|docs|configs)/[\w./-]+)`", page.read_text())
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_configs(path):
    """Each loads, changes something, and makes a memory that takes a view."""
    config = load_config(path)
    assert config != Config()
    with EmbodiedMemory(config=replace(config, encoder="hashing")) as memory:
        memory.write(look(0))
        assert memory.info()["map"]["bricks"] > 0
        assert memory.info()["map"]["voxel_size_m"] == config.spatial.voxel_size_m


@pytest.mark.parametrize(
    ("name", "far_m", "mapped"), [("lidar", 55.0, True), ("lidar", 65.0, False), ("fine_map", 3.0, False)]
)
def test_configs_map_what_they_promise(name, far_m, mapped):
    wall = np.stack(np.meshgrid([far_m], np.linspace(-0.3, 0.3, 9), np.linspace(-0.3, 0.3, 9)), axis=-1).reshape(-1, 3)
    with EmbodiedMemory(config=replace(load_config(ROOT / "configs" / f"{name}.yaml"), encoder="hashing")) as memory:
        memory.write(Percept(stamp_ns=0, T_world_sensor=np.eye(4), points=wall.astype(np.float32)))
        assert bool(len(memory.spatial.octree.occupied()[0])) == mapped


def test_there_are_configs():
    assert {path.stem for path in CONFIGS} >= {"fine_map", "lidar", "robot_cpu"}
