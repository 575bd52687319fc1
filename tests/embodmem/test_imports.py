"""Who imports whom, read from the sources; and what `import embodmem` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "embodmem": ROOT / "embodmem",
    "embodmem_envs": ROOT / "envs" / "embodmem_envs",
    "embodmem_policies": ROOT / "policies" / "embodmem_policies",
    "embodmem_ros": ROOT / "ros" / "embodmem_ros",
}
# A room may import rooms of lower floors, and of its own floor where its name stands in `SHARED`.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"types", "query", "errors", "checks", "geometry"})
    | {"config", "config_agent", "config_episodic", "config_recall", "config_semantic"},
    frozenset({"store", "index", "encoders"}),
    frozenset({"spatial", "episodic", "semantic", "working", "procedural"}),
    frozenset({"noticed", "guard"}),
    frozenset({"recalling"}),
    frozenset({"embodied"}),
)
SHARED = {("index", "store")}
"""Of one floor above the ground, only the index may use another room: it lives in the store."""
DOORS = ("embodmem.cli",)
"""Modules whose functions may call another package, which is imported then: commands such as `embodmem ros`."""
HEAVY = (
    "torch",
    "gymnasium",
    "open3d",
    "cv2",
    "rerun",
    "warp",
    "PIL",
    "mujoco",
    "rclpy",
    "dateparser",
    "yaml",
    "jinja2",
    "mcp",
    "pydantic",
    "openai",
    "langchain_core",
)


def modules() -> dict[str, Path]:
    """Dotted name -> file, of all four packages."""
    found = {}
    for package, folder in PACKAGES.items():
        for file in folder.rglob("*.py"):
            parts = (package, *file.relative_to(folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(name: str, file: Path, lazy: bool) -> Iterator[str]:
    """Modules of our own that a file imports, those within functions on request; never those for type checkers."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    stack: list[ast.AST] = [tree]
    known = MODULES
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend(node.orelse)
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not lazy:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in PACKAGES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: wanted absolute imports"
            base = node.module or ""
            if base.split(".")[0] in PACKAGES:
                names = [f"{base}.{alias.name}" for alias in node.names]
                yield from {full if full in known else base for full in names}
        stack.extend(ast.iter_child_nodes(node))


MODULES = modules()


def room(module: str) -> str:
    """`embodmem.spatial.scene.node` -> `spatial`; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def floor(name: str) -> int:
    """The number of a room's floor; all that is not named is on the top floor, and the package itself above it."""
    if name == "":
        return len(FLOORS) + 1
    return next((i for i, rooms in enumerate(FLOORS) if name in rooms), len(FLOORS))


def test_the_reader_of_imports_reads(tmp_path: Path) -> None:
    source = (
        "from typing import TYPE_CHECKING\nimport os, embodmem.store\nfrom embodmem import types, EmbodiedMemory\n"
        "if TYPE_CHECKING:\n    import embodmem.ask\nelse:\n    import embodmem.config\n"
        "class A:\n    import embodmem.errors\n    def f(self):\n        from embodmem.index import Records\n"
    )
    file = tmp_path / "x.py"
    file.write_text(source)
    eager = {"embodmem.store", "embodmem.types", "embodmem", "embodmem.config", "embodmem.errors"}
    assert set(imported("x", file, lazy=False)) == eager
    assert set(imported("x", file, lazy=True)) == eager | {"embodmem.index"}
    assert {"embodmem", "embodmem.types", "embodmem.store.store", "embodmem_envs"} <= set(MODULES)
    assert [floor(n) for n in ("types", "index", "episodic", "noticed", "embodied", "ask", "build", "")] == [
        0,
        1,
        2,
        3,
        5,
        6,
        6,
        7,
    ]


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "embodmem"])
def test_the_direction_of_imports(module: str) -> None:
    here = room(module)
    eager = set(imported(module, MODULES[module], lazy=False))
    for other in imported(module, MODULES[module], lazy=True):
        there = room(other)
        if module in DOORS and other not in eager and other.split(".")[0] != "embodmem":
            continue
        assert other.split(".")[0] == "embodmem", f"{module} imports {other}, of another package"
        if here == there or (here, there) in SHARED:
            continue
        lower = floor(there) < floor(here)
        level = floor(there) == floor(here) in (0, len(FLOORS))  # the ground floor, and the top, are one room each
        assert lower or level, f"{module} imports {other}: wanted a lower floor than {here!r}, got {there!r}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] != "embodmem"])
def test_the_other_packages_never_import_one_another(module: str) -> None:
    own = module.split(".")[0]
    for other in imported(module, MODULES[module], lazy=True):
        assert other.split(".")[0] in (own, "embodmem"), f"{module} imports {other}"


def test_no_cycles() -> None:
    graph = {name: set(imported(name, file, lazy=False)) - {name} for name, file in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for other in sorted(graph.get(name, ())):
            visit(other, (*path, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())
    assert done >= set(MODULES)


PROBE = 'import sys, embodmem; print(*sorted({name.split(".")[0] for name in sys.modules}))'


def test_importing_pulls_in_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    loaded = set(done.stdout.split())
    assert "embodmem" in loaded and "numpy" in loaded
    assert not loaded & set(HEAVY), f"import embodmem brings {sorted(loaded & set(HEAVY))}"


def test_importing_writes_nothing(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import embodmem, embodmem.testing"
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
