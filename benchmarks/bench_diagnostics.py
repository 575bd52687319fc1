"""Steps per second of the diagnostic tasks on one core, beside gymnasium's vector of single environments.

    python benchmarks/bench_diagnostics.py [--json FILE] [--envs N] [--seconds S]

The peers are the published tasks, where installed: POPGym's RepeatPrevious and RepeatFirst and MiniGrid's Memory, in
`gymnasium.vector.SyncVectorEnv`. Every row is the median of five runs with random actions drawn beforehand.
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
}
PEERS = {
    "RepeatPrevious": ("popgym.envs.repeat_previous", "RepeatPrevious", {}),
    "RepeatFirst": ("popgym.envs.repeat_first", "RepeatFirst", {}),
    "MemoryMaze": ("minigrid.envs.memory", "MemoryEnv", {"size": 13}),
}
TARGET = 100_000


def rate(envs: Any, seconds: float) -> float:
    """Environment steps per second, the median of five runs."""
    rng = np.random.default_rng(0)
    actions = rng.integers(0, envs.single_action_space.n, (512, envs.num_envs))
    envs.reset(seed=0)
    rates = []
    for _ in range(5):
        count, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds / 5:
            for row in actions[count % 512 : count % 512 + 16]:
                envs.step(row)
            count += 16
        rates.append(count * envs.num_envs / spent)
    envs.close()
    return float(np.median(rates))


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
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    rows = []
    print(f"{'task':16}{'embodmem':>14}{'peer':>14}{'times':>8}   environment steps per second, {given.envs} at once")
    for task, settings in TASKS.items():
        ours = rate(gymnasium.make_vec(f"EmbodMem/{task}-v0", num_envs=given.envs, **settings), given.seconds)
        other = peer(task, given.envs)
        theirs = rate(other(), given.seconds) if other else None
        rows.append({"task": task, "ours": ours, "peer": theirs, "target": TARGET, "met": ours >= TARGET})
        beside = f"{theirs:14,.0f}{ours / theirs:8.0f}" if theirs else f"{'-':>14}{'-':>8}"
        print(f"{task:16}{ours:14,.0f}{beside}   {'met' if ours >= TARGET else 'MISSED'}: {TARGET:,}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
