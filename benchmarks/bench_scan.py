"""Memory cells against torch's own GRU: forward and backward over one long sequence, CPU time, one thread.

    python benchmarks/bench_scan.py [--steps 1024] [--batch 16] [--hidden 128] [--ffm FOLDER] [--json FILE]

Rounds go through all cells in turn, so that a busy machine slows all alike; the best of each is shown. There are two
readings: inputs that require no gradient, as with the observations of a policy, and inputs that do. Beside each stands
its floor: the matrix products alone that any way of computing this cell needs (torch.mm, 1,024 rows at a time, into
memory that is there). In the sequences of our cells an episode starts every 250 steps on average in each row; nn.GRU
knows no starts and gets none, nor does the FFM of its authors.

`--ffm` names a folder from which `import ffm` gives the authors' FFM (standalone/ of their repository); without it that
row is absent.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embodmem_policies import make_cell

TARGETS = {"mingru": 4.5, "lru": 2.0, "ffm": 1.8}
CELLS = ("mingru", "lru", "ffm", "series")


def products(name: str, d: int) -> list[tuple[int, int, bool]]:
    """(inputs, outputs, whether the inputs of the cell come in) of each matrix product of a cell of width d."""
    lru = [(d, 2 * d, True), (2 * d, d, False), (d, d, True)]
    return {
        "mingru": [(d, 2 * d, True)],
        "lru": lru,
        "ffm": [(d, 64 + 2 * d, True), (256, d, False)],  # 32 traces, 4 contexts
        "series": [*lru, (d, 2 * d, False)],
    }[name]


def floor(name: str, rows: int, d: int, input_gradient: bool) -> Callable[[], None]:
    """Each product forwards, backwards to its weights, and backwards to its inputs where those want a gradient."""
    jobs = [
        (torch.randn(rows, i), torch.randn(o, i), torch.randn(rows, o), torch.empty(rows, i), torch.empty(o, i), wanted)
        for i, o, first in products(name, d)
        for wanted in (input_gradient or not first,)
    ]

    def work() -> None:
        for x, w, y, dx, dw, wanted in jobs:
            for part in (slice(begin, begin + 1024) for begin in range(0, rows, 1024)):
                torch.mm(x[part], w.t(), out=y[part])
                torch.mm(y[part].t(), x[part], out=dw)
                if wanted:
                    torch.mm(y[part], w, out=dx[part])

    return work


def learn(run: Callable[[], Tensor]) -> Callable[[], None]:
    return lambda: run().sum().backward()


def works(args: argparse.Namespace, input_gradient: bool) -> dict[str, Callable[[], None]]:
    x = torch.randn(args.steps, args.batch, args.hidden, requires_grad=input_gradient)
    start = torch.rand(args.steps, args.batch) < 1 / 250
    peer = nn.GRU(args.hidden, args.hidden)
    made: dict[str, Callable[[], None]] = {"nn.GRU": learn(lambda: peer(x)[0])}
    if args.ffm:
        sys.path.insert(0, str(args.ffm))
        official = importlib.import_module("ffm").FFM(
            input_size=args.hidden, hidden_size=args.hidden, memory_size=32, context_size=4, output_size=args.hidden
        )
        by_row = x.detach().transpose(0, 1).contiguous().requires_grad_(input_gradient)  # it wants (B, T, D)
        made["ffm, authors'"] = learn(lambda: official(by_row, official.initial_state(args.batch))[0])
    for name in CELLS:
        cell = make_cell(name, args.hidden, args.hidden)
        state = cell.initial_state(args.batch)
        made[name] = learn(lambda cell=cell, state=state: cell.scan(x, state, start)[0])
        made[f"{name} floor"] = floor(name, args.steps * args.batch, args.hidden, input_gradient)
    return made


def measure(args: argparse.Namespace, input_gradient: bool) -> list[dict[str, Any]]:
    work = works(args, input_gradient)
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(args.rounds):
        for name, run in work.items():
            begin = time.process_time()
            run()
            times[name].append(1e3 * (time.process_time() - begin))
    best = {name: min(values[1:]) for name, values in times.items()}
    return [
        {
            "cell": name,
            "input_gradient": input_gradient,
            "ms": round(ms, 1),
            "floor_ms": round(best[f"{name} floor"], 1) if f"{name} floor" in best else None,
            "faster": round(best["nn.GRU"] / ms, 2),
            "to_reach": TARGETS.get(name),
        }
        for name, ms in best.items()
        if not name.endswith("floor")
    ]


def claims(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        f"scan: {r['cell']}{', gradient of the input too' if r['input_gradient'] else ''}": {
            "value": r["faster"],
            "unit": "times as fast as nn.GRU",
            "target": r["to_reach"],
            "holds": r["faster"] >= r["to_reach"],
        }
        for r in rows
        if r["to_reach"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("steps", 1024), ("batch", 16), ("hidden", 128), ("rounds", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ffm", type=Path, help="folder of the authors' FFM")
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = measure(args, False) + measure(args, True)
    load = os.getloadavg()[0]
    print(f"T={args.steps} B={args.batch} H={args.hidden}, torch {torch.__version__}, 1 thread, load {load:.1f}")
    print(f"{'cell':<14} {'input gradient':<14} {'ms':>7} {'floor ms':>9} {'x nn.GRU':>9} {'to reach':>9}")
    for r in rows:
        wanted, least, target = "yes" if r["input_gradient"] else "no", r["floor_ms"] or "", r["to_reach"] or ""
        print(f"{r['cell']:<14} {wanted:<14} {r['ms']:>7} {least:>9} {r['faster']:>9} {target:>9}")
    if not args.ffm:
        print("ffm, authors': absent (--ffm FOLDER)")
    if args.json:
        args.json.write_text(json.dumps(claims(rows), indent=2) + "\n")


if __name__ == "__main__":
    main()
