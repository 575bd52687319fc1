"""The wheel: what is in it, what it says of itself, and that it runs on its own."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import embodmem

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "embodmem": ROOT / "embodmem",
    "embodmem_envs": ROOT / "envs" / "embodmem_envs",
    "embodmem_policies": ROOT / "policies" / "embodmem_policies",
    "embodmem_ros": ROOT / "ros" / "embodmem_ros",
}
EXTRAS = {
    "envs",
    "sim",
    "policies",
    "ros",
    "dds",
    "viz",
    "llm",
    "mcp",
    "server",
    "ray",
    "minilm",
    "graph",
    "ann",
    "dev",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from this checkout."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; the extra dev has it")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def read(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"embodmem-{embodmem.__version__}.dist-info/{name}").decode()


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    return email.message_from_string(read(wheel, "METADATA"))


def test_one_wheel_for_all_machines_with_all_packages(wheel, names):
    assert wheel.name == f"embodmem-{embodmem.__version__}-py3-none-any.whl"
    assert {name.split("/")[0] for name in names} == {*PACKAGES, f"embodmem-{embodmem.__version__}.dist-info"}


def test_every_file_of_the_packages_is_in_and_no_other(names):
    wanted = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert {f"{package}/py.typed" for package in PACKAGES} <= wanted
    assert "embodmem/report/templates/page.html" in wanted


def test_metadata(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("embodmem", embodmem.__version__)
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) <= EXTRAS
    readme = metadata.get_payload()
    assert isinstance(readme, str) and readme.strip() == (ROOT / "README.md").read_text().strip()


def test_every_extra_that_is_named_to_users_is_there(metadata):
    """A message of MissingDependency or a line of the docs must not name an extra that pip does not know."""
    provided = set(metadata.get_all("Provides-Extra", []))
    texts = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(p for d in PACKAGES.values() for p in d.rglob("*.py")),
    ]
    for path in texts:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r'(?:pip install "embodmem\[|MissingDependency\("[^"]+", ")([a-z0-9,]+)', text)
        assert {extra for group in named for extra in group.split(",")} <= provided, path


def test_the_core_needs_no_extra(metadata):
    core = {re.split(r"[ >=<;\[]", line)[0] for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert {"numpy", "warp-lang", "pyyaml"} <= core
    assert core.isdisjoint({"torch", "gymnasium", "mujoco", "opencv-python", "open3d", "rerun-sdk", "rclpy"})


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel, installed into a folder of its own without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--target", folder)
    done = subprocess.run([sys.executable, "-m", "pip", "install", *quiet, wheel], capture_output=True, text=True)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr
    return folder


def run(installed: Path, *words: object) -> str:
    env = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(list(map(str, words)), cwd=installed, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


USE = """
from importlib.util import find_spec
from pathlib import Path
from embodmem import EmbodiedMemory, Event, ask
from embodmem.report import write_report

with EmbodiedMemory("home.mem") as memory:
    memory.write(Event(stamp_ns=1, kind="told", text="the spare keys are in the blue box"))
    print(ask(memory, "what did I tell you about the keys?").text)
    write_report(memory, "home.html")
for name in ("embodmem", "embodmem_envs", "embodmem_policies", "embodmem_ros"):
    print(Path(find_spec(name).origin).parent.parent)
"""


def test_the_installed_wheel_works_away_from_the_checkout(installed):
    answer, *folders = run(installed, sys.executable, "-c", USE).splitlines()
    assert "blue box" in answer
    assert folders == [str(installed)] * 4
    assert "blue box" in (installed / "home.html").read_text()


def test_the_installed_console_script(installed):
    assert "voxel_size_m: 0.05" in run(installed, installed / "bin" / "embodmem", "config")
