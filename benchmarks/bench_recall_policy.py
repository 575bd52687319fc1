"""Object recall in the house: one policy with the rows of an `EmbodiedMemory`, and the same with the rows left zero.

    python benchmarks/bench_recall_policy.py [--seeds 3] [--steps 150000] [--json FILE]

Both are the default policy with the same budget and tours. Trained on 192 tours of 12 apartments, tried on 64 tours of
other apartments. Of 4 objects shown, one is asked for; who knows the rooms but not what lay where is right in 0.25.
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

ENV = "embodmem_envs:EmbodMem/ObjectRecall-v0"


def run(memory: bool, seed: int, steps: int) -> dict[str, Any]:
    shown = {"memory": memory, "n_tours": 192, "n_houses": 12}
    ppo = PPO(PPOSettings(env=ENV, env_settings=shown, seed=seed, total_steps=steps))
    begin = time.process_time()
    while ppo.steps < steps:
        ppo.update(ppo.collect())
    spent = time.process_time() - begin
    success = {}
    for name, settings in (("same tours", shown), ("other apartments", {**shown, "tours_seed": 1234, "n_tours": 64})):
        success[name] = evaluate(ppo.policy, make_env(ENV, 32, settings), 512, seed=1000 + seed).summary()["success"]
    return {"memory": memory, "seed": seed, "train_cpu_s": round(spent, 1), "success": success}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"object recall, {args.steps:,} steps, 512 episodes, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'memory':<8}{'seed':>5}{'CPU-s':>7}{'same tours':>12}{'other apartments':>18}")
    rows = []
    for memory in (True, False):
        for seed in range(args.seeds):
            r = run(memory, seed, args.steps)
            same, other = r["success"].values()
            print(
                f"{'yes' if memory else 'no':<8}{seed:>5}{r['train_cpu_s']:>7}{same:>12.3f}{other:>18.3f}", flush=True
            )
            rows.append(r)
    worst = min(r["success"]["other apartments"] for r in rows if r["memory"])
    best = max(r["success"]["other apartments"] for r in rows if not r["memory"])
    print(f"worst seed with memory {worst:.3f}, to reach 0.8; best without {best:.3f}, to stay at or below 0.4")
    if args.json:
        claims = {
            "object recall with memory": {"value": worst, "unit": "success", "target": 0.8, "holds": worst >= 0.8},
            "object recall without": {"value": best, "unit": "success", "target": 0.4, "holds": best <= 0.4},
        }
        args.json.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
