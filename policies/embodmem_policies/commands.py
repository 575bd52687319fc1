"""What `embodmem train` and `embodmem eval-policy` do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from embodmem.config import config_from
from embodmem.errors import ConfigError
from embodmem_policies import bc, ppo

Trainer = tuple[type[Any], Callable[..., Any]]
TRAINERS: dict[str, Trainer] = {"ppo": (ppo.PPOSettings, ppo.train), "bc": (bc.BCSettings, bc.train)}


def load_settings(path: str | Path, overrides: Mapping[str, Any] | None = None) -> tuple[str, Any]:
    """The trainer's name and its settings from a YAML file: `trainer: ppo` (the default) or `bc`, and what it takes.

    Args:
        path: The file.
        overrides: Put over what it says; "env_settings.corridor" reaches into a section.

    Raises:
        ConfigError: The file cannot be read, or names an unknown trainer, key or value.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: wanted a YAML file of settings: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: wanted a mapping of settings, got {values!r}")
    for name, value in (overrides or {}).items():
        *parents, last = name.split(".")
        here = values
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = value
    trainer = values.pop("trainer", "ppo")
    if trainer not in TRAINERS:
        raise ConfigError(f"{path}: wanted a trainer of {', '.join(TRAINERS)}, got {trainer!r}")
    kind = TRAINERS[trainer][0]
    try:
        return trainer, config_from(values, kind, where=str(path))
    except TypeError as error:  # a setting without a default is missing
        raise ConfigError(f"{path}: {error}") from error


def run_training(
    config: str | Path,
    out: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Train by a file of settings; returns the last row of the log.

    Raises:
        ConfigError: The settings or the folder cannot be used.
    """
    trainer, settings = load_settings(config, overrides)
    last: dict[str, float] = {}

    def note(row: dict[str, float]) -> None:
        last.clear()
        last.update(row)
        if progress is not None:
            progress(row)

    TRAINERS[trainer][1](settings, out, resume=resume, progress=note)
    return last
