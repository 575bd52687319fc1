"""Event boundaries by surprise against windows of one length, and each step of the way to them.

    python benchmarks/bench_segments.py [--segments 60] [--seeds 3] [--json FILE]

A stream of vectors around one centre after the other; each stretch has 4 to 29 of them, which nobody is told.
The noise is given as its length beside that of a centre. F1 counts a boundary as found where it is exactly, and, in
brackets, where it is at most one item off. "windows" are as many boundaries as there are, at even distances, which is
the peer: it is told how many.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SegmentConfig
from embodmem.episodic.segmenter import Segmenter

WAYS = ("windows", "surprise alone", "conductance", "modularity")


def stream(seed: int, segments: int, noise: float, dim: int = 64) -> tuple[NDArray[np.float32], list[int]]:
    """(N, dim) float32 of unit norm, and where a stretch begins."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((segments, dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    lengths = rng.integers(4, 30, segments)
    rows = np.repeat(centres, lengths, axis=0)
    rows += noise * rng.standard_normal(rows.shape) / np.sqrt(dim)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), [int(i) for i in np.cumsum(lengths)[:-1]]


def f1(found: list[int], true: list[int], slack: int) -> float:
    """Harmonic mean of precision and recall; each true boundary is found once at most."""
    left, hits = set(true), 0
    for boundary in found:
        near = [t for t in left if abs(t - boundary) <= slack]
        if near:
            left.discard(min(near, key=lambda t: abs(t - boundary)))
            hits += 1
    return 2.0 * hits / (len(found) + len(true))


def boundaries(way: str, rows: NDArray[np.float32], count: int) -> list[int]:
    """Where one way of cutting puts them; one past the end stands for what an online segmenter has not yet told."""
    if way == "windows":
        return [round(len(rows) * (i + 1) / (count + 1)) for i in range(count)]
    config = SegmentConfig(refine="none" if way == "surprise alone" else way)
    stamps = np.arange(len(rows) + 1) * 10**9
    stamps[-1] += 10**15  # a pause: the last one is told
    found = Segmenter(config).add(np.concatenate([rows, rows[-1:]]), stamps)
    return [b.index for b in found if b.index < len(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    claims = {}
    print(f"F1 of boundaries, mean of {args.seeds} seeds of {args.segments} stretches; in brackets: one off is found")
    print(f"{'noise':>6}" + "".join(f"{way:>18}" for way in WAYS))
    for noise in (0.5, 1.0, 1.5, 2.0):
        scores = {way: np.zeros((args.seeds, 2)) for way in WAYS}
        for seed in range(args.seeds):
            rows, true = stream(seed, args.segments, noise)
            for way in WAYS:
                found = boundaries(way, rows, len(true))
                scores[way][seed] = f1(found, true, 0), f1(found, true, 1)
        means = {way: score.mean(axis=0) for way, score in scores.items()}
        print(f"{noise:>6}" + "".join(f"{f'{a:.3f} ({b:.3f})':>18}" for a, b in means.values()))
        claims[f"F1 of boundaries at noise {noise}, above windows of one length"] = {
            "value": round(float(means["modularity"][0]), 3),
            "unit": "F1",
            "target": round(float(means["windows"][0]), 3),
            "holds": bool((scores["modularity"][:, 0] > scores["windows"][:, 0]).all()),
        }
    rows, _ = stream(0, 200, 1.0, 384)
    begin = time.process_time()
    Segmenter(SegmentConfig()).add(rows, np.arange(len(rows)) * 10**9)
    each_us = (time.process_time() - begin) / len(rows) * 1e6
    print(f"{each_us:.0f} us of CPU time an item of 384 numbers, {len(rows)} items")
    if args.json is not None:
        args.json.write_text(json.dumps(claims, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
