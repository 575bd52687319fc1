"""Steps per second of the diagnostic tasks on one core, beside gymnasium's vector of single environments.

    python benchmarks/bench_diagnostics.py [--json FILE] [--envs N] [--rounds N]

The peers are the published tasks, where installed: POPGym's RepeatPrevious and RepeatFirst and MiniGrid's Memory, in
`gymnasium.vector.SyncVectorEnv`. Both sides take random actions drawn beforehand, turn by turn; the best of all turns
counts, in steps per second of CPU time, which other jobs on the machine disturb least.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import embodmem_envs  # noqa: F401  (registers the environments)

TASKS = {
    "TMaze": {"corridor": (1, 30)},
    "RepeatPrevious": {"k": 4},
    "RepeatFirst": {},
    "MemoryMaze": {"size": 13},
    "ObjectRecall": {"n_tours": 8, "n_houses": 2},
}
PEERS = {
    "RepeatPrevious": ("popgym.envs.repeat_previous", "RepeatPrevious", {}),
    "RepeatFirst": ("popgym.envs.repeat_first", "RepeatFirst", {}),
    "MemoryMaze": ("minigrid.envs.memory", "MemoryEnv", {"size": 13}),
}
TARGET = 100_000


class Runner:
    """One vector of environments, stepped in turns."""

    def __init__(self, envs: Any) -> None:
        self.envs, self.best = envs, 0.0
        self._actions = np.random.default_rng(0).integers(0, envs.single_action_space.n, (512, envs.num_envs))
        envs.reset(seed=0)

    def turn(self, seconds: float) -> None:
        """Step for some seconds of CPU time; keeps the best rate, environment steps per second."""
        count, begin, spent = 0, time.process_time(), 0.0
        while spent < seconds:
            for row in self._actions[count % 512 : count % 512 + 16]:
                self.envs.step(row)
            count += 16
            spent = time.process_time() - begin
        self.best = max(self.best, count * self.envs.num_envs / spent)


def peer(task: str, count: int) -> Callable[[], Any] | None:
    """Makes the published task in gymnasium's vector, or None where its package is not installed."""
    if task not in PEERS:
        return None
    module, name, settings = PEERS[task]
    try:
        kind = getattr(importlib.import_module(module), name)
    except ImportError:
        return None
    return lambda: gymnasium.vector.SyncVectorEnv([lambda: kind(**settings)] * count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8, help="turns of 0.2 s of CPU time")
    given = parser.parse_args()
    claims = {}
    print(f"{'task':16}{'embodmem':>14}{'peer':>14}{'times':>8}   environment steps per second, {given.envs} at once")
    for task, settings in TASKS.items():
        ours = Runner(gymnasium.make_vec(f"EmbodMem/{task}-v0", num_envs=given.envs, **settings))
        make = peer(task, given.envs)
        theirs = Runner(make()) if make else None
        for _ in range(given.rounds):
            for runner in filter(None, (ours, theirs)):
                runner.turn(0.2)
        holds = ours.best >= TARGET
        claims[f"diagnostics_{task}_{given.envs}_envs"] = {
            "value": round(ours.best), "unit": "steps/s of one core", "target": TARGET, "holds": holds
        }  # fmt: skip
        beside = f"{theirs.best:14,.0f}{ours.best / theirs.best:8.0f}" if theirs else f"{'-':>14}{'-':>8}"
        print(f"{task:16}{ours.best:14,.0f}{beside}   {'met' if holds else 'MISSED'}: {TARGET:,}")
        for runner in filter(None, (ours, theirs)):
            runner.envs.close()
    if given.json:
        given.json.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
