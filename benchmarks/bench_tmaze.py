"""The T-maze: trained on corridors of 1 to 30 steps, tried on longer ones; success of 32 episodes each.

    python benchmarks/bench_tmaze.py [--cells series mingru lru gru] [--seeds 3] [--json FILE]

One thread. Actions are the likeliest. A guess succeeds in half of the episodes. Longer corridors are left out once a
policy has fallen to 0.75.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from embodmem_policies.evaluate import evaluate
from embodmem_policies.ppo import PPO, PPOSettings
from embodmem_policies.running import make_env

ENV = "embodmem_envs:EmbodMem/TMaze-v0"


def run(cell: str, seed: int, steps: int, lengths: list[int]) -> dict[str, Any]:
    begin = time.process_time()
    ppo = PPO(PPOSettings(env=ENV, env_settings={"corridor": (1, 30)}, cell=cell, seed=seed, total_steps=steps))
    while ppo.steps < steps:
        ppo.update(ppo.collect())
    spent = time.process_time() - begin
    success: dict[int, float] = {}
    for length in lengths:
        env = make_env(ENV, 32, {"corridor": length})
        success[length] = evaluate(ppo.policy, env, 32, seed=1000 + seed).summary()["success"]
        if success[length] <= 0.75:
            break
    return {"cell": cell, "seed": seed, "train_cpu_s": round(spent, 1), "success": success}


def claims(rows: list[dict[str, Any]], lengths: list[int]) -> dict[str, dict[str, Any]]:
    """Of the default policy: success at 10,000 of its worst seed."""
    worst = [r["success"].get(10_000, 0.0) for r in rows if r["cell"] == "series"]
    if not worst or 10_000 not in lengths:
        return {}
    return {
        f"T-maze: success at 10,000, worst of {len(worst)} seeds": {
            "value": min(worst),
            "unit": "share of 32 episodes",
            "target": 1.0,
            "holds": min(worst) >= 1.0,
        }
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--cells", nargs="+", default=["series", "mingru", "lru", "gru"])
    parser.add_argument("--lengths", type=int, nargs="+", default=[30, 100, 300, 1000, 10_000])
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    print(f"T-maze, trained on 1..30 for {args.steps:,} steps, 1 thread, torch {torch.__version__}, load {load:.1f}")
    print(f"{'cell':<8}{'seed':>5}{'CPU-s':>7}" + "".join(f"{length:>8}" for length in args.lengths))
    rows = []
    for cell, seed in ((cell, seed) for cell in args.cells for seed in range(args.seeds)):
        rows.append(r := run(cell, seed, args.steps, args.lengths))
        shown = "".join(f"{100 * r['success'][n]:>7.0f}%" if n in r["success"] else f"{'-':>8}" for n in args.lengths)
        print(f"{r['cell']:<8}{r['seed']:>5}{r['train_cpu_s']:>7}{shown}", flush=True)
    for name, claim in claims(rows, args.lengths).items():
        print(f"{name}: {claim['value']:.0%}, to reach {claim['target']:.0%}: {claim['holds']}")
    if args.json:
        args.json.write_text(json.dumps(claims(rows, args.lengths), indent=2) + "\n")


if __name__ == "__main__":
    main()
