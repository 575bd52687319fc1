"""PPO on RepeatPreviousEasy with 16 environments: steps per CPU-second, and CPU-seconds to a mean return of 0.9.

    python benchmarks/bench_ppo.py [--seeds 3] [--cells series gru lru] [--json]

One thread; the process's own CPU time, from before the policy is made. The return is the mean over the last 100
episodes of training, with drawn actions. Series with gamma 0.99 is the default of everything.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import numpy as np
import torch

from embodmem_policies.ppo import PPO, PPOSettings

ENV = "embodmem_envs:EmbodMem/RepeatPrevious-v0"
TARGET = "to reach: 30,000 steps per CPU-second, 0.9 within 4 CPU-seconds, 3 of 3 seeds"


def run(cell: str, seed: int, steps: int, gamma: float) -> dict[str, Any]:
    begin, reached = time.process_time(), None
    ppo = PPO(PPOSettings(env=ENV, cell=cell, seed=seed, total_steps=steps, gamma=gamma))
    while ppo.steps < steps:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120_000)
    parser.add_argument("--gammas", type=float, nargs="+", default=[0.99, 0.5])
    parser.add_argument("--cells", nargs="+", default=["series", "lru", "gru"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    run("series", 99, 4096, 0.99)  # imports and first calls are not what is measured
    rows = [run(c, s, args.steps, g) for g in args.gammas for c in args.cells for s in range(args.seeds)]
    load = os.getloadavg()[0]
    if args.json:
        print(json.dumps({"load": load, "torch": torch.__version__, "rows": rows}, indent=2))
        return
    print(f"RepeatPreviousEasy, 16 environments, 1 thread, load {load:.1f}; {TARGET}")
    print(f"{'cell':<8}{'gamma':>6}{'seed':>5}{'steps/CPU-s':>13}{'return':>8}{'steps to 0.9':>14}{'CPU-s to 0.9':>14}")
    for r in rows:
        hit = (r["steps_to_0.9"] or "-", r["cpu_s_to_0.9"] or "-")
        print(
            f"{r['cell']:<8}{r['gamma']:>6}{r['seed']:>5}{r['steps_per_cpu_s']:>13,}{r['return']:>8}{hit[0]:>14}{hit[1]:>14}"
        )
    ours = [r for r in rows if r["cell"] == args.cells[0] and r["gamma"] == args.gammas[0]]
    print(f"median of {args.cells[0]}: {np.median([r['steps_per_cpu_s'] for r in ours]):,.0f} steps per CPU-second")


if __name__ == "__main__":
    main()
