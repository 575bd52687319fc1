"""Object recall in the house: one policy with the rows of an `EmbodiedMemory`, and the same with the rows left zero.

    python benchmarks/bench_recall_policy.py [--seeds 3] [--steps 150000] [--json]

Both are the default policy with the same budget and tours. Trained on 192 tours of 12 apartments, tried on 64 tours of
other apartments. Of 4 objects shown, one is asked for; who knows the rooms but not what lay where is right in 0.25.
"""

from __future__ import annotations

import argparse
import json
import os
import time
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
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [run(memory, seed, args.steps) for memory in (True, False) for seed in range(args.seeds)]
    if args.json:
        print(json.dumps({"load": os.getloadavg()[0], "torch": torch.__version__, "rows": rows}, indent=2))
        return
    print(f"object recall, {args.steps:,} steps, 512 episodes; to reach: 0.8 with memory, at most 0.4 without")
    print(f"{'memory':<8}{'seed':>5}{'CPU-s':>7}{'same tours':>12}{'other apartments':>18}")
    for r in rows:
        same, other = r["success"].values()
        print(f"{'yes' if r['memory'] else 'no':<8}{r['seed']:>5}{r['train_cpu_s']:>7}{same:>12.3f}{other:>18.3f}")


if __name__ == "__main__":
    main()
