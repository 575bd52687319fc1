"""The command line. Answers go to standard output; progress, notes and errors go to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from embodmem.cli_care import consolidate, merge, purge
from embodmem.cli_maps import export_map, import_map
from embodmem.cli_serve import serve
from embodmem.config import Config, config_from, config_to_plain, config_to_yaml, load_config
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError, EmbodmemError, InvalidInput, MissingDependency, StoreError
from embodmem.types import Query, Recall

app = typer.Typer(
    help="One memory for agents with a body: fill it from a recording, ask it, look at it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
notes = Console(stderr=True, highlight=False)
_BAG = "bag."
INTERRUPTED = 130

Memory_ = Annotated[Path, typer.Argument(metavar="FILE", help="The memory's file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]


def main() -> None:
    """Run the command line; a mistake of the user or of the data is one line, not a traceback."""
    try:
        code = app(standalone_mode=False)  # typer turns Ctrl-C into the exit code 130; a command returns None
        if code == INTERRUPTED:
            notes.print("stopped")
        sys.exit(code)
    except EmbodmemError as error:
        line = " ".join(str(error).split())  # what YAML and JSON say of a mistake has several
        notes.print(f"error: {line}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        notes.print("stopped")
        sys.exit(INTERRUPTED)
    except Exception as error:
        # typer's own usage errors know how to show themselves
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(2)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def recall_to_plain(item: Recall) -> dict[str, Any]:
    """What `ask --json` says of one answer."""
    return {
        "kind": item.kind,
        "id": item.id,
        "label": item.label,
        "text": item.text,
        "position": None if item.position is None else [round(float(x), 4) for x in item.position],
        "score": item.score,
        "first_seen_ns": item.first_seen_ns,
        "last_seen_ns": item.last_seen_ns,
        "evidence": list(item.evidence),
        "why": dict(item.why),
    }


def object_to_plain(item: Recall) -> dict[str, Any]:
    """What `objects --json` says of one object."""
    assert item.position is not None
    return {
        "id": item.id,
        "label": item.label,
        "position": [round(float(x), 4) for x in item.position],
        "extent": [round(float(x), 4) for x in item.data["extent"]],
        "sightings": item.data["sightings"],
        "first_seen_ns": item.first_seen_ns,
        "last_seen_ns": item.last_seen_ns,
    }


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on standard error with frames per second; yields a function to call with (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:5.1f} frames/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes) as bar:
        task = bar.add_task("build", total=total, rate=0.0)
        begun: list[int] = []

        def update(done: int, total: int) -> None:
            begun.append(done)
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = (done - begun[0]) / elapsed if elapsed > 0 and done > begun[0] else 0.0
            bar.update(task, completed=done, total=total, rate=rate)

        yield update


def _value(path: str, text: str) -> Any:
    """What is written behind `--set path=`."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set: wanted a value in YAML for {path}, got {text!r}: {error}") from error


def _settings(config: Path | None, overrides: Sequence[str]) -> Config | None:
    """A file of overrides with single settings on top; None when neither is given."""
    if config is None and not overrides:
        return None
    values = config_to_plain(Config() if config is None else load_config(config))
    for item in overrides:
        path, equals, text = item.partition("=")
        *parents, last = path.strip().split(".")
        if not equals or not last:
            raise ConfigError(f"--set: wanted key=value such as spatial.voxel_size_m=0.1, got {item!r}")
        here = values
        for name in parents:
            here = here.setdefault(name, {})
            if not isinstance(here, dict):
                raise ConfigError(f"--set: {name!r} of {path!r} is a setting, not a section")
        here[last] = _value(path, text)
    return config_from(values, where="config")


def _bag_options(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of `--set bag.NAME=VALUE`."""
    parts = [item.removeprefix(_BAG).partition("=") for item in overrides if item.startswith(_BAG)]
    return {name.strip(): _value(_BAG + name, text) for name, _, text in parts}


@app.command()
def build(
    dataset: Annotated[Path, typer.Argument(help="A ROS 2 bag, or a folder: 7-Scenes, TUM RGB-D, docs/datasets.md.")],
    out: Annotated[Path, typer.Option("--out", help="The memory's file to make.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier build stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing memory.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out bad frames instead of stopping.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of settings to override.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="One setting: spatial.voxel_size_m=0.1")] = None,
    as_json: Json = False,
) -> None:
    """Fill a memory from a recording."""
    from embodmem.build import build as run
    from embodmem.datasets import open_dataset

    recording = open_dataset(dataset, options=_bag_options(settings or []))
    chosen = _settings(config, [item for item in settings or [] if not item.startswith(_BAG)])
    for note in getattr(recording, "notes", ()):
        notes.print(note, markup=False, soft_wrap=True)
    if out.exists() and not (resume or overwrite):
        raise StoreError(f"{out}: it exists; go on with --resume, replace it with --overwrite, or take another name")
    if overwrite and out.exists():
        EmbodiedMemory(out).close()  # refuses what is no memory, and one that is in use
        for suffix in ("", "-wal", "-shm"):
            Path(f"{out}{suffix}").unlink(missing_ok=True)
    with EmbodiedMemory(out, config=chosen) as memory, _progress(len(recording)) as update:
        report = run(recording, memory, resume=resume, skip_bad=skip_bad, progress=update)
        counts = memory.counts()
    for frame, why in report.skipped.items():
        notes.print(f"skipped frame {frame}: {why}", markup=False, soft_wrap=True)
    summary = {
        "path": str(out),
        "frames": report.frames,
        "total": report.total,
        "resumed_at": report.resumed_at,
        "skipped": len(report.skipped),
        "seconds": round(report.seconds, 3),
        "frames_per_s": round(report.frames_per_s, 2),
        "records": counts,
    }
    if as_json:
        _print_json(summary)
        return
    held = ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in counts.items())
    rate = f"{report.frames} frames in {report.seconds:.1f} s ({report.frames_per_s:.1f} frames/s)"
    finished = report.resumed_at == report.total
    print(f"{out}: {f'all {report.total} frames were in it already' if finished else rate}; {held}")


@app.command()
def ask(
    file: Memory_,
    question: Annotated[str, typer.Argument(help='"where is the mug?"')],
    k: Annotated[int, typer.Option("-k", help="At most so many answers.")] = 10,
    as_json: Json = False,
) -> None:
    """Ask a question in words."""
    from embodmem.ask import ask as answer_to

    with EmbodiedMemory(file, "r") as memory:
        answer = answer_to(memory, question, k=k)
    if as_json:
        _print_json([recall_to_plain(item) for item in answer.recalls])
        return
    print(answer.text)


@app.command()
def objects(
    file: Memory_,
    label: Annotated[str | None, typer.Option("--label", help="Only these.")] = None,
    as_json: Json = False,
) -> None:
    """List the objects that the memory holds."""
    with EmbodiedMemory(file, "r") as memory:
        found = memory.scene.objects(label)
    if as_json:
        _print_json([object_to_plain(item) for item in found])
        return
    table = Table("id", "label", "position (m)", "extent (m)", "sightings", "room", "text")
    for item in found:
        assert item.position is not None
        place, extent = (" ".join(f"{x:6.2f}" for x in v) for v in (item.position, item.data["extent"]))
        row = (item.id, item.label, place, extent, str(item.data["sightings"]), item.data["room"], item.text)
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@app.command()
def info(file: Memory_, as_json: Json = False) -> None:
    """Say what a memory holds."""
    with EmbodiedMemory(file, "r") as memory:
        facts = memory.info()
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        shown = ", ".join(f"{n}: {v}" for n, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:>14}  {shown}")


@app.command()
def report(
    file: Memory_,
    out: Annotated[Path, typer.Option("--out", help="The HTML file to make.")],
    question: Annotated[list[str] | None, typer.Option("--ask", help="A question to answer in it; repeatable.")] = None,
    recording: Annotated[Path | None, typer.Option("--rerun", help="Also make a rerun recording (extra viz).")] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about a memory."""
    from embodmem.report import write_report

    with EmbodiedMemory(file, "r") as memory:
        write_report(memory, out, questions=tuple(question or ()))
        if recording is not None:
            from embodmem.report.rerun import write_recording

            write_recording(memory, recording)
    made = {"report": str(out), "bytes": out.stat().st_size} | ({"rerun": str(recording)} if recording else {})
    _print_json(made) if as_json else print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


@app.command()
def forget(
    file: Memory_,
    label: Annotated[list[str] | None, typer.Option("--label", help="All that bears this label; repeatable.")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="One thing by its id; repeatable.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Remove what matches, from the memory and from the disk."""
    if not (label or ids or kind):
        raise InvalidInput("forget: wanted --label, --id or --kind, got none")
    query = Query(labels=tuple(label or ()), ids=tuple(ids or ()), kinds=tuple(kind or ()))
    if not file.exists():
        raise StoreError(f"{file}: wanted a memory file, got no such file")
    with EmbodiedMemory(file) as memory:
        before = memory.counts()
        gone = memory.forget(query)
        after = memory.counts()
    by_kind = {name: n - after.get(name, 0) for name, n in before.items() if n != after.get(name, 0)}
    if as_json:
        _print_json({"forgotten": gone, "by_kind": by_kind})
        return
    print("forgot " + (", ".join(f"{n} {name}{'s' * (n != 1)}" for name, n in by_kind.items()) or "nothing"))


@app.command()
def ros(
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of settings of the node.")] = None,
    memory: Annotated[
        Path | None, typer.Option("--memory", help="The memory's file; made where there is none.")
    ] = None,
) -> None:
    """Run the memory as a ROS 2 node, with no ROS installed (extra dds)."""
    from embodmem_ros.main import run

    run(config, memory, log=lambda text: notes.print(text, markup=False, soft_wrap=True))


def _pairs(overrides: Sequence[str]) -> dict[str, Any]:
    """What `--set name=value` says, as {name: value}."""
    for item in overrides:
        if "=" not in item:
            raise ConfigError(f"--set: wanted name=value, got {item!r}")
    parts = [item.partition("=") for item in overrides]
    return {name.strip(): _value(name, text) for name, _, text in parts}


def _need_torch(command: str) -> None:
    if find_spec("torch") is None:
        raise MissingDependency("torch", "policies", f"embodmem {command}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file of a trainer and its settings; see configs/train_*.yaml.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the checkpoint and the log.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="One setting: total_steps=50000")] = None,
    as_json: Json = False,
) -> None:
    """Train a policy with memory (extra policies). Ctrl-C saves it."""
    _need_torch("train")
    from embodmem_policies.commands import run_training
    from embodmem_policies.running import show

    last = run_training(config, out, overrides=_pairs(settings or []), resume=resume, progress=show)
    made = {"checkpoint": str(out / "checkpoint.pt"), **last}
    if as_json:
        _print_json({name: None if value != value else value for name, value in made.items()})
        return
    print(f"{out / 'checkpoint.pt'}: {int(last.get('step', 0)):,} steps")


@app.command("eval-policy")
def eval_policy(
    checkpoint: Annotated[Path, typer.Argument(help="What `embodmem train` saved.")],
    episodes: Annotated[int, typer.Option("--episodes", help="At least so many.")] = 100,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Of the environment: corridor=10000")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the environment and of drawn actions.")] = 0,
    draw: Annotated[bool, typer.Option("--draw", help="Draw actions instead of taking the likeliest.")] = False,
    as_json: Json = False,
) -> None:
    """Run a trained policy for whole episodes (extra policies)."""
    _need_torch("eval-policy")
    from embodmem_policies.evaluate import evaluate_checkpoint

    found = evaluate_checkpoint(
        checkpoint, episodes=episodes, env_settings=_pairs(settings or []), seed=seed, greedy=not draw
    ).summary()
    if as_json:
        _print_json(found)
        return
    print(", ".join(f"{name} {value:.4g}" for name, value in found.items()))


@app.command()
def config(
    file: Annotated[Path | None, typer.Argument(help="YAML file of overrides to show on top of the defaults.")] = None,
    as_json: Json = False,
) -> None:
    """Print all settings with their values."""
    settings = Config() if file is None else load_config(file)
    _print_json(config_to_plain(settings)) if as_json else print(config_to_yaml(settings), end="")


app.command("export")(export_map)
app.command("import")(import_map)
app.command()(serve)
app.command()(consolidate)
app.command()(merge)
app.command()(purge)


if __name__ == "__main__":
    main()
