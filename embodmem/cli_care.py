"""The commands that take care of a memory: consolidate it, merge another one into it, take back what a source said."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput

__all__ = ["consolidate", "merge", "purge"]

File = Annotated[Path, typer.Argument(metavar="FILE", help="The memory's file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]


def _say(facts: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(facts, indent=2) if as_json else ", ".join(f"{name} {value}" for name, value in facts.items()))


def _existing(file: Path) -> EmbodiedMemory:
    if not file.exists():
        raise InvalidInput(f"{file}: wanted a memory file, got no such file")
    return EmbodiedMemory(file)


def consolidate(
    file: File,
    now_ns: Annotated[
        int | None, typer.Option("--now", help="What time it is, ns; else that of the last event.")
    ] = None,
    half_life_s: Annotated[float | None, typer.Option("--half-life", help="Of what is never recalled, s.")] = None,
    budget_mib: Annotated[float | None, typer.Option("--budget", help="Bytes that the file may use, MiB.")] = None,
    as_json: Json = False,
) -> None:
    """Merge what is redundant, let fade what is old, keep to the budget; may be stopped and goes on where it was."""
    from dataclasses import replace

    from rich.console import Console

    from embodmem.lifecycle import Lifecycle

    with _existing(file) as memory:
        given: dict[str, Any] = {"half_life_s": half_life_s, "budget_mib": budget_mib}
        settings = {name: value for name, value in given.items() if value is not None}
        life = Lifecycle(memory, replace(memory.config.lifecycle, **settings))
        now = memory.newest_stamp() or 0 if now_ns is None else now_ns
        with Console(stderr=True).status("consolidating") as status:
            report = life.run(now, progress=lambda done: status.update(f"{done.merged} merged, {done.dropped} dropped"))
        memory.save()
        _say({"path": str(file), **life.plain(report)}, as_json)


def merge(
    file: File,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="Another memory of the same world; it is only read.")],
    rename: Annotated[list[str] | None, typer.Option("--rename", help="OLD=NEW, a name of an agent in OTHER.")] = None,
    as_json: Json = False,
) -> None:
    """Take what another memory knows into this one."""
    from embodmem.agents import merge as merge_memories

    names = dict[str, str]()
    for pair in rename or ():
        old, equals, new = pair.partition("=")
        if not equals:
            raise InvalidInput(f"--rename: wanted OLD=NEW, got {pair!r}")
        names[old] = new
    with _existing(file) as memory, EmbodiedMemory(other, "r") as source:
        done = merge_memories(memory, source, rename=names)
        memory.save()
        _say({"path": str(file), **asdict(done)}, as_json)


def purge(
    file: File,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Whose claims are to go.")],
    as_json: Json = False,
) -> None:
    """Remove all that a source said, and what rests on nothing else, from every index and from the disk."""
    with _existing(file) as memory:
        _say({"path": str(file), "source": source, "gone": memory.purge(source)}, as_json)
