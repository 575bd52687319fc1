"""PPO on RepeatPreviousEasy with 16 environments: steps per CPU-second, and CPU-seconds to a mean return of 0.9.

    python benchmarks/bench_ppo.py [--seeds 3] [--cells series gru lru] [--peer-cpu-s 60] [--json FILE]

One thread; the process's own CPU time, from before the policy is made. The return is the mean over the last 100
episodes of training, with drawn actions. Series with gamma 0.99 is the default of everything.

Where sb3-contrib is installed, its RecurrentPPO trains in the same run, in the same environment, for `--peer-cpu-s`
CPU-seconds each: once with all its own settings, and once with the sizes, learning rate and passes of ours. The last
row gives our own PPO with a GRU the same CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodmem_policies.ppo import PPO, PPOSettings

ENV = "embodmem_envs:EmbodMem/RepeatPrevious-v0"
RATE, CPU_S = 30_000, 4.0
SB3 = {
    "sb3 default": {},
    "sb3 as ours": {
        "batch_size": 1024,
        "n_epochs": 2,
        "learning_rate": 4e-3,
        "ent_coef": 0.01,
        "policy_kwargs": {"lstm_hidden_size": 64, "net_arch": []},
    },
}


def run(cell: str, seed: int, steps: int, gamma: float, cpu_s: float = float("inf")) -> dict[str, Any]:
    begin, reached = time.process_time(), None
    ppo = PPO(PPOSettings(env=ENV, cell=cell, seed=seed, total_steps=steps, gamma=gamma))
    while ppo.steps < steps and time.process_time() - begin < cpu_s:
        ppo.update(ppo.collect())
        if reached is None and ppo.statistics()["return"] >= 0.9:
            reached = (ppo.steps, time.process_time() - begin)
    spent = time.process_time() - begin
    return {
        "cell": cell,
        "gamma": gamma,
        "seed": seed,
        "steps_per_cpu_s": round(ppo.steps / spent),
        "return": round(ppo.statistics()["return"], 3),
        "steps_to_0.9": reached and reached[0],
        "cpu_s_to_0.9": reached and round(reached[1], 2),
    }


def peers(seeds: int, cpu_s: float) -> Iterator[dict[str, Any]]:
    """RecurrentPPO, where it is installed, and our own PPO with a GRU, each for so much CPU time."""
    if find_spec("sb3_contrib") is not None:
        import peer_sb3

        for name, settings in SB3.items():
            for seed in range(seeds):
                yield {"cell": name, "gamma": 0.99, "seed": seed, **peer_sb3.run(ENV, seed, cpu_s, settings)}
    steps = int(cpu_s * 16_000)  # what a GRU gets through; the learning rate falls to 0 at its end
    for seed in range(seeds):
        yield {**run("gru", seed, steps, 0.99, cpu_s), "cell": "gru, long"}


def claims(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the default policy."""
    ours = [r for r in rows if r["cell"] == "series" and r["gamma"] == 0.99]
    if not ours:
        return {}
    rate = float(np.median([r["steps_per_cpu_s"] for r in ours]))
    late = max(float("inf") if r["cpu_s_to_0.9"] is None else r["cpu_s_to_0.9"] for r in ours)
    return {
        "PPO: speed": {"value": rate, "unit": "steps per CPU-second", "target": RATE, "holds": rate >= RATE},
        f"PPO: 0.9 on {len(ours)} of {len(ours)} seeds": {
            "value": late if np.isfinite(late) else None,
            "unit": "CPU-seconds, the slowest seed",
            "target": CPU_S,
            "holds": late <= CPU_S,
        },
    }


def show(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print each row when it is there; all of them."""
    print(f"RepeatPreviousEasy, 16 environments, 1 thread, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    head = ("seed", "steps/CPU-s", "return", "steps to 0.9", "CPU-s to 0.9")
    print(f"{'cell':<13}{'gamma':>6}{head[0]:>5}{head[1]:>13}{head[2]:>8}{head[3]:>14}{head[4]:>14}")
    made = []
    for r in rows:
        steps, seconds = r["steps_to_0.9"] or "-", r["cpu_s_to_0.9"] or "-"
        first = f"{r['cell']:<13}{r['gamma']:>6}{r['seed']:>5}{r['steps_per_cpu_s']:>13,}"
        print(f"{first}{r['return']:>8}{steps:>14}{seconds:>14}", flush=True)
        made.append(r)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120_000)
    parser.add_argument("--gammas", type=float, nargs="+", default=[0.99, 0.5])
    parser.add_argument("--cells", nargs="+", default=["series", "lru", "gru"])
    parser.add_argument("--peer-seeds", type=int, default=1)
    parser.add_argument("--peer-cpu-s", type=float, default=60.0, help="CPU time of each peer, s; 0 leaves them out")
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    torch.set_num_threads(1)
    run("series", 99, 4096, 0.99)  # imports and first calls are not what is measured
    ours = (run(c, s, args.steps, g) for g in args.gammas for c in args.cells for s in range(args.seeds))
    others = peers(args.peer_seeds, args.peer_cpu_s) if args.peer_cpu_s > 0 else ()
    rows = show(chain(ours, others))
    if find_spec("sb3_contrib") is None:
        print("sb3-contrib's RecurrentPPO: absent (pip install sb3-contrib)")
    for name, claim in claims(rows).items():
        print(f"{name}: {claim['value']} {claim['unit']}, to reach {claim['target']}: {claim['holds']}")
    if args.json:
        args.json.write_text(json.dumps(claims(rows), indent=2) + "\n")


if __name__ == "__main__":
    main()
