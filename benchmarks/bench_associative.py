"""From a fragment to the whole: associative stores against a brute-force search for the nearest, and against theory.

    python benchmarks/bench_associative.py [--patterns 8000] [--dim 384] [--json FILE]

Patterns of unit norm, at random or in groups of ten that are alike (cosine 0.67). "erased": half of the entries are not
known; "flipped": a fifth of them have the other sign. The peer is numpy: the largest cosine over all patterns, over the
known entries where some are not. Then the capacity of sparse codes in superposition, from half of the units of a code,
beside the figure of theory (Willshaw et al., 1969): the part of codes that come back without a fault.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodmem.episodic.associative import Hopfield, Superposition, willshaw_capacity

Rows = NDArray[np.float32]
ASKED = 400


def unit(rows: NDArray[np.float64]) -> Rows:
    """Rows of unit norm."""
    made: Rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


def patterns(rng: np.random.Generator, count: int, dim: int, alike: bool) -> Rows:
    """(count, dim) patterns."""
    rows = unit(rng.standard_normal((count, dim))).astype(np.float64)
    if alike:
        centres = unit(rng.standard_normal((-(-count // 10), dim)))
        rows = np.repeat(centres, 10, axis=0)[:count] + 0.7 * rows
    return unit(rows)


def damaged(rng: np.random.Generator, rows: Rows, how: str) -> Rows:
    """NaN for half of the entries, or the other sign for a fifth."""
    order = np.argsort(rng.random(rows.shape), axis=1)
    if how == "erased":
        return np.where(order < rows.shape[1] // 2, np.nan, rows).astype(np.float32)
    return np.where(order < rows.shape[1] // 5, -rows, rows).astype(np.float32)


def nearest(stored: Rows, asked: Rows) -> NDArray[np.int64]:
    """The peer."""
    known = ~np.isnan(asked)
    filled = np.where(known, asked, np.float32(0.0))
    norms = np.sqrt(known.astype(np.float32) @ (stored**2).T)
    return np.argmax(filled @ stored.T / np.maximum(norms, 1e-12), axis=1)


def timed(call: Callable[[], NDArray[np.int64]]) -> tuple[NDArray[np.int64], float]:
    """The answer, and the CPU time of the best of three, ms."""
    best = np.inf
    for _ in range(3):
        begin = time.process_time()
        found = call()
        best = min(best, time.process_time() - begin)
    return found, best * 1e3


def recall(count: int, dim: int) -> dict[str, dict[str, float]]:
    """Share of right answers of each way, for each kind of patterns and of damage."""
    rng = np.random.default_rng(0)
    made: dict[str, dict[str, float]] = {}
    print(f"{count} patterns of {dim}, {ASKED} fragments: share that is named right, CPU ms for all, MiB")
    print(f"{'patterns':>10}{'damage':>9}{'nearest, numpy':>24}{'hopfield':>24}{'superposition':>24}")
    for alike in (False, True):
        rows = patterns(rng, count, dim, alike)
        hopfield, superposition = Hopfield(dim, 1 << 30), Superposition(dim)
        for store in (hopfield, superposition):
            store.write(np.arange(count), rows)
        held = {"nearest": rows.nbytes, "hopfield": hopfield.nbytes, "superposition": superposition.nbytes}
        at = np.sort(rng.permutation(superposition.ids)[:ASKED])
        for how in ("erased", "flipped"):
            asked = damaged(rng, rows[at], how)
            cells, name = [], f"{'alike' if alike else 'random'}, {how}"
            ways: dict[str, Callable[[], NDArray[np.int64]]] = {
                "nearest": lambda asked=asked, rows=rows: nearest(rows, asked),  # type: ignore[misc]
                "hopfield": lambda asked=asked, s=hopfield: s.recall(asked)[0][:, 0],  # type: ignore[misc]
                "superposition": lambda asked=asked, s=superposition: s.recall(asked)[0][:, 0],  # type: ignore[misc]
            }
            made[name] = {}
            for way, call in ways.items():
                found, ms = timed(call)
                made[name][way] = float((found == at).mean())
                cells.append(f"{made[name][way]:.3f} {ms:7.0f} ms {held[way] / 2**20:5.1f}")
            print(f"{'alike' if alike else 'random':>10}{how:>9}" + "".join(f"{cell:>24}" for cell in cells))
        if len(superposition) < count:
            print(f"{'':>10}(superposition holds the last {len(superposition)} of them)")
    return made


def capacity() -> float:
    """How many codes come back at the load of theory; prints loads around it."""
    rng = np.random.default_rng(1)
    print("\ncodes in superposition, half of the units as the cue: share that comes back without a fault")
    print(f"{'units':>6}{'active':>8}{'theory':>8}" + "".join(f"{f'{load} x':>9}" for load in (0.25, 0.5, 1, 2, 4)))
    reached = []
    for units, active in ((1024, 16), (2048, 24), (4096, 48)):
        limit, cells = willshaw_capacity(units, active, active // 2), []
        for load in (0.25, 0.5, 1, 2, 4):
            count = int(load * limit)
            store = Superposition(4, units, active, capacity=10**6)
            codes = np.array([rng.choice(units, active, replace=False) for _ in range(count)])
            codes = np.sort(codes, axis=1).astype(np.uint16)
            store.write_codes(np.arange(count), codes)
            asked = codes[:ASKED]
            cue = np.take_along_axis(asked, np.argsort(rng.random(asked.shape), axis=1)[:, : active // 2], 1)
            cells.append(float((store.complete_codes(cue) == asked).all(axis=1).mean()))
        reached.append(cells[1])
        print(f"{units:>6}{active:>8}{limit:>8}" + "".join(f"{cell:>9.3f}" for cell in cells))
    return min(reached)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patterns", type=int, default=8000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    shares = recall(args.patterns, args.dim)
    half = capacity()
    claims = {
        f"{way} names a fragment ({what}) as well as the nearest neighbour": {
            "value": round(share[way], 3),
            "unit": "share",
            "target": round(share["nearest"], 3),
            "holds": share[way] >= share["nearest"],
        }
        for what, share in shares.items()
        for way in ("hopfield", "superposition")
    }
    claims["codes that come back at half the load of theory"] = {
        "value": round(half, 3), "unit": "share", "target": 0.9, "holds": half >= 0.9
    }  # fmt: skip
    if args.json is not None:
        args.json.write_text(json.dumps(claims, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
