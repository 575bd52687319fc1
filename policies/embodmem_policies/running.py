"""What runs need besides learning: environments, logs, checkpoints, signals and the command line."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import inspect
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar, get_type_hints

import gymnasium
import numpy as np
import torch
import yaml
from gymnasium.vector import VectorEnv
from torch import Tensor

from embodmem.config import config_from
from embodmem.errors import ConfigError

_T = TypeVar("_T")


def make_env(name: str, num_envs: int, settings: Mapping[str, Any]) -> VectorEnv[Any, Any, Any]:
    """`num_envs` copies of an environment of gymnasium's registry; "module:id" imports the module first.

    Raises:
        ConfigError: There is none of this id, or it does not take these settings.
    """
    try:
        return gymnasium.make_vec(name, num_envs=num_envs, **settings)
    except (gymnasium.error.Error, ModuleNotFoundError, TypeError) as error:
        raise ConfigError(f"env {name!r} with {dict(settings)}: {error}") from error


def env_bytes(env: VectorEnv[Any, Any, Any]) -> Tensor:
    """The environments as they are, pickled, as a uint8 tensor; empty where they cannot be."""
    try:
        return torch.from_numpy(np.frombuffer(pickle.dumps(env), dtype=np.uint8).copy())
    except Exception:  # whatever a foreign environment holds that cannot be pickled
        return torch.empty(0, dtype=torch.uint8)


def env_from_bytes(content: Tensor) -> VectorEnv[Any, Any, Any] | None:
    """What `env_bytes` was given, or None where it could not be kept. Unpickling runs code: for your own runs only."""
    if not len(content):
        return None
    env: VectorEnv[Any, Any, Any] = pickle.loads(content.numpy().tobytes())
    return env


def load_checkpoint(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """The content of a checkpoint, read without running any code that it may hold.

    Raises:
        ConfigError: It is missing, damaged, or of another kind.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["kind"]
    except Exception as error:
        raise ConfigError(f"{path}: wanted a checkpoint of a policy: {error}") from error
    if kind is not None and found != kind:
        raise ConfigError(f"{path}: wanted a checkpoint of {kind}, got one of {found}")
    checked: dict[str, Any] = content
    return checked


class Log:
    """`settings.yaml` and `log.csv` in a folder, and TensorBoard's events where it is installed.

    Args:
        folder: Made when missing.
        settings: Written once.
        after_step: Rows of an earlier run after this step are dropped: they will be made again.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], after_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
        path = folder / "log.csv"
        self._names: list[str] = []
        kept: list[dict[str, str]] = []
        if after_step and path.exists():
            with path.open(newline="", encoding="utf-8") as old:
                reader = csv.DictReader(old)
                kept = [row for row in reader if int(row["step"]) <= after_step]
                self._names = list(reader.fieldnames or [])
        self._file = path.open("w", newline="", encoding="utf-8")
        self._csv = csv.writer(self._file)
        if self._names:
            self._csv.writerow(self._names)
            self._csv.writerows([[row[name] for name in self._names] for row in kept])
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder), purge_step=after_step + 1 if after_step else None)

    def write(self, row: Mapping[str, float]) -> None:
        """One row; all rows have the names of the first."""
        if not self._names:
            self._names = list(row)
            self._csv.writerow(self._names)
        self._csv.writerow([row[name] for name in self._names])
        self._file.flush()
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, int(row["step"]))

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


class Interrupt:
    """While it is entered, Ctrl-C and SIGTERM set `wanted`; a second one ends the run at once."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()


def show(row: Mapping[str, float]) -> None:
    """One line of progress on standard error, over the last where that is a terminal."""
    line = "  ".join(
        f"{name} {value:,.0f}" if abs(value) >= 1000 else f"{name} {value:.3g}" for name, value in row.items()
    )
    sys.stderr.write(f"\r\x1b[K{line}" if sys.stderr.isatty() else f"{line}\n")
    sys.stderr.flush()


def parse(
    kind: type[_T], text: str, arguments: Sequence[str] | None = None
) -> tuple[_T, Path, bool, Callable[[Mapping[str, float]], None]]:
    """A dataclass of settings as a command line: settings, folder, whether to resume, and how progress is shown."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    documented = _documentation(kind)
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        required = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        default = "" if required or each.default is dataclasses.MISSING else f" [{each.default}]"
        option = f"--{each.name.replace('_', '-')}"
        parser.add_argument(option, dest=each.name, required=required, help=documented.get(each.name, "") + default)
    parser.add_argument("--out", type=Path, required=True, help="Folder for the checkpoint and the log.")
    parser.add_argument("--resume", action="store_true", help="Go on from the checkpoint in --out.")
    given = vars(parser.parse_args(arguments))
    out, resume = given.pop("out"), given.pop("resume")
    text_kinds = {name for name, hint in get_type_hints(kind).items() if hint is str}
    values = {
        name: value if name in text_kinds else yaml.safe_load(value)
        for name, value in given.items()
        if value is not None
    }
    return config_from(values, kind, where="command line"), out, resume, show


def _documentation(kind: type[Any]) -> dict[str, str]:
    """Field -> the text under it in the source."""
    lines = [line.strip() for line in inspect.getsource(kind).splitlines()]
    return {
        line.split(":")[0]: after.strip('"')
        for line, after in zip(lines, lines[1:], strict=False)
        if ":" in line and after.startswith('"""')
    }
