"""A long episode in a bounded context: subgoals that fold, against a sliding window of the same budget.

    python benchmarks/bench_working.py [--subgoals 40] [--tokens 1500] [--json FILE]

An episode of subgoals with five actions and observations each, of the length that household text environments give;
every subgoal finds one thing at one place. Both contexts
hold at most so many tokens. At the end each is asked where each thing was found: "in context" if a line of the text
says so, "on demand" if the pairs of its subgoal can be had from what is in the context (`unfold`; a window has no way
to what slid out of it). Every tenth of the episode the tokens in context are counted.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from embodmem.config import WorkingConfig
from embodmem.index import Records
from embodmem.store import Store
from embodmem.working import WorkingMemory, count_tokens

KINDS = ("book", "cup", "pen", "plate", "candle", "towel", "key", "phone", "bowl", "spoon")


def episode(subgoals: int, seed: int) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Subgoal, its (action, observation) pairs, and where the thing was: the thing is in the fourth place looked at."""
    rng, made = np.random.default_rng(seed), []
    for i in range(subgoals):
        places = [
            f"{kind} {rng.integers(1000)}" for kind in rng.permutation(["shelf", "drawer", "box", "chest", "bag"])
        ]
        seen = [", ".join(f"a {kind} {rng.integers(100)}" for kind in rng.choice(KINDS, 6)) for _ in places]
        seen[3] += f", thing {i}"
        pairs = [(f"look into {p}", f"in {p} you see {s}") for p, s in zip(places, seen, strict=True)]
        made.append((f"find thing {i}", pairs, f"thing {i} was in {places[3]}"))
    return made


def live(memory: WorkingMemory, lived: list[tuple[str, list[tuple[str, str]], str]], fold: bool) -> list[int]:
    """Note the episode; returns the tokens in context after each tenth of it."""
    stamp, tokens = 0, []
    for i, (goal, pairs, found) in enumerate(lived):
        if fold:
            memory.begin_subgoal(goal, stamp)
        for action, observation in pairs:
            memory.note_action(action, stamp + 1)
            memory.note_observation(observation, stamp + 2)
            stamp += 10**9
        if fold:
            memory.end_subgoal(found, stamp)
        if (i + 1) % max(1, len(lived) // 10) == 0:
            tokens.append(memory.usage().tokens)
    return tokens


def answered(
    memory: WorkingMemory, lived: list[tuple[str, list[tuple[str, str]], str]], budget: int
) -> tuple[float, float]:
    """Part of the questions that the text answers, and part of the subgoals whose pairs can be had verbatim."""
    text, items = memory.render(budget), memory.items()
    told = sum(found in text or pairs[3][1] in text for _, pairs, found in lived)
    verbatim = 0
    lines = {item.text for item in items}
    unfolded = [{part.text for part in memory.unfold(item.id)} for item in items if "folds" in item.data]
    for _, pairs, _ in lived:
        wanted = {text for pair in pairs for text in pair}
        verbatim += wanted <= lines or any(wanted <= parts for parts in unfolded)
    return told / len(lived), verbatim / len(lived)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subgoals", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    lived = episode(args.subgoals, 0)
    whole = count_tokens("\n".join(text for _, pairs, _ in lived for pair in pairs for text in pair))
    config = WorkingConfig(max_items=100_000, max_bytes=10**9, max_tokens=args.tokens, summary_actions=1)
    print(f"{args.subgoals} subgoals, {whole} tokens in all, {args.tokens} at a time")
    print(f"{'context':>10}{'tokens, by tenths of the episode':>64}{'in context':>12}{'on demand':>11}")
    result = {}
    for name, fold in (("folding", True), ("window", False)):
        memory = WorkingMemory(Records(Store(), None), config)
        tokens = live(memory, lived, fold)
        told, verbatim = result[name] = answered(memory, lived, args.tokens)
        print(f"{name:>10}{' '.join(f'{t:>5}' for t in tokens):>64}{told:>12.2f}{verbatim:>11.2f}")
        assert max(tokens) <= args.tokens
        memory.store.close()
    claims = {
        f"{what} with folding, above a sliding window of {args.tokens} tokens": {
            "value": round(result["folding"][i], 3), "unit": "part of subgoals",
            "target": round(result["window"][i], 3),
            "holds": result["folding"][i] > result["window"][i],
        }
        for i, what in enumerate(("answered from the context", "pairs to be had verbatim"))
    }  # fmt: skip
    if args.json is not None:
        args.json.write_text(json.dumps(claims, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
