"""TensorBoard's event files, read back by TensorBoard itself."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from embodmem_policies.ppo import PPOSettings, train

reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def small(steps: int) -> PPOSettings:
    return PPOSettings(
        env="embodmem_envs:EmbodMem/RepeatPrevious-v0",
        num_envs=4,
        rollout=16,
        hidden=8,
        total_steps=steps,
        anneal=False,
    )


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    events = reading.EventAccumulator(str(folder))
    events.Reload()
    return {name: {e.step: e.value for e in events.Scalars(name)} for name in events.Tags()["scalars"]}


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def check(folder: Path) -> None:
    """Every number of log.csv stands in the event file at its step, in single precision, and nothing else does."""
    found, written = scalars(folder), rows(folder)
    assert set(found) == set(written[0])
    for name, values in found.items():
        # two runs of one second may be read in either order
        assert sorted(values) == [int(row["step"]) for row in written]
        for row in written:
            value = values[int(row["step"])]
            assert value == pytest.approx(row[name], rel=1e-6, nan_ok=True) or (
                math.isnan(value) and math.isnan(row[name])
            )


def test_event_file_holds_the_log(tmp_path: Path) -> None:
    train(small(64 * 16), tmp_path)
    assert len(rows(tmp_path)) == 16 and not math.isnan(rows(tmp_path)[-1]["return"])
    check(tmp_path)


def test_a_run_that_goes_on_goes_on_in_the_events_too(tmp_path: Path) -> None:
    train(small(64 * 3), tmp_path)
    train(small(64 * 6), tmp_path, resume=True)
    assert len(rows(tmp_path)) == 6
    check(tmp_path)
