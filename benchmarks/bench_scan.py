"""Memory cells against torch's own GRU: forward and backward over one long sequence, CPU time, one thread.

    python benchmarks/bench_scan.py [--steps 1024] [--batch 16] [--hidden 128] [--json]

Rounds go through all cells in turn, so that a busy machine slows all alike; the best of each is shown. The inputs
require no gradient, as with the observations of a policy; `--input-gradient` asks for it. In the sequences of the
cells an episode starts every 250 steps on average in each row; nn.GRU knows no starts and gets none.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from embodmem_policies import make_cell

TARGETS = {"mingru": 4.5, "lru": 2.0, "ffm": 1.8}


def cpu_ms(work: Callable[[], Tensor]) -> float:
    begin = time.process_time()
    work().sum().backward()
    return 1e3 * (time.process_time() - begin)


def runs(steps: int, batch: int, hidden: int, input_gradient: bool) -> dict[str, Callable[[], Tensor]]:
    x = torch.randn(steps, batch, hidden, requires_grad=input_gradient)
    start = torch.rand(steps, batch) < 1 / 250
    peer = nn.GRU(hidden, hidden)
    made: dict[str, Callable[[], Tensor]] = {"nn.GRU": lambda: peer(x)[0]}
    for name in ("mingru", "lru", "ffm", "series"):
        cell = make_cell(name, hidden, hidden)
        state = cell.initial_state(batch)
        made[name] = lambda cell=cell, state=state: cell.scan(x, state, start)[0]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("steps", 1024), ("batch", 16), ("hidden", 128), ("rounds", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--input-gradient", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = runs(args.steps, args.batch, args.hidden, args.input_gradient)
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(args.rounds):
        for name, run in work.items():
            times[name].append(cpu_ms(run))
    best = {name: min(values[1:]) for name, values in times.items()}
    rows = [
        {"cell": name, "ms": round(ms, 1), "faster": round(best["nn.GRU"] / ms, 2), "to_reach": TARGETS.get(name)}
        for name, ms in best.items()
    ]
    load = os.getloadavg()[0]
    if args.json:
        print(json.dumps({"load": load, "torch": torch.__version__, **vars(args), "rows": rows}, indent=2))
        return
    print(f"T={args.steps} B={args.batch} H={args.hidden}, torch {torch.__version__}, 1 thread, load {load:.1f}")
    print(f"{'cell':<8} {'ms':>7} {'x nn.GRU':>9} {'to reach':>9}")
    for row in rows:
        print(f"{row['cell']:<8} {row['ms']:>7} {row['faster']:>9} {row['to_reach'] or '':>9}")


if __name__ == "__main__":
    main()
