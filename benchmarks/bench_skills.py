"""Does experience help, and which way of using it: no memory, the most similar case, the case that earned most?

    python benchmarks/bench_skills.py [--seeds 3] [--tasks 300] [--json FILE]

The same planner, house and tasks for all (`skill_world.py`). Its drafts know neither which places are closed nor which
things need care. "similar" follows the success that fits task and state best, and remembers each attempt. "learned"
follows the one whose value, learned from rewards, is highest, if that is worth more than its drafts were; it remembers
attempts of its own and rewrites the values of the cases that it follows. Both try a draft in one task of ten. Then
drafts for new tasks are carried out as they are, and after a step-by-step revision by what "learned" remembers.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from skill_world import Task, World

from embodmem.encoders import HashingEncoder
from embodmem.index import Records
from embodmem.procedural import Case, Experience, ProceduralMemory, revise
from embodmem.store import Store

TRY = 0.1
"""How often a draft is tried although there is a case."""


def follow(memory: ProceduralMemory, arm: str, task: Task) -> Case | None:
    """The case that is followed; None where there is none."""
    if arm == "none":
        return None
    if arm == "similar":
        return next(iter(memory.retrieve(task.text, task.state, 1, success=True, objects=task.names)), None)
    return next(iter(memory.select(task.text, task.state, 1, objects=task.names)), None)


def mean(outcomes: list[bool]) -> float:
    """The part that worked; 0 of none."""
    return sum(outcomes) / len(outcomes) if outcomes else 0.0


def live(arm: str, seed: int, tasks: int) -> tuple[ProceduralMemory, World, list[bool]]:
    """Tasks one after another; each attempt is remembered."""
    world, rng = World(seed), np.random.default_rng(1000 + seed)
    memory = ProceduralMemory(Records(Store(), HashingEncoder()))
    outcomes: list[bool] = []
    drafts: list[bool] = []
    for i in range(tasks):
        task, trying = world.task(), rng.random() < TRY
        draft = world.draft(task, rng)
        case = None if trying else follow(memory, arm, task)
        if case is not None and arm == "learned" and case.value < mean(drafts):
            case = None
        plan = draft if case is None else case.plan
        done, error, step = world.run(task, plan)
        outcomes.append(done)
        if case is None:
            drafts.append(done)
        if case is not None and arm == "learned":
            memory.reward(case.id, task.text, task.state, float(done), objects=task.names)
        if arm == "similar" or (arm == "learned" and case is None):
            memory.add(
                Experience(
                    stamp_ns=i,
                    task=task.text,
                    state=task.state,
                    plan=plan,
                    success=done,
                    error=error,
                    failed_step=step,
                    objects=task.names,
                )  # fmt: skip
            )
    return memory, world, outcomes


def revised(memory: ProceduralMemory, world: World, seed: int, tasks: int) -> tuple[float, float]:
    """Success of drafts as they are, and of the same drafts after revision."""
    rng, plain, better = np.random.default_rng(2000 + seed), 0, 0
    for _ in range(tasks):
        task = world.task()
        draft = world.draft(task, rng)
        plain += world.run(task, draft)[0]
        better += world.run(task, revise(draft, task.text, task.state, memory, objects=task.names).steps)[0]
    return plain / tasks, better / tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    print(f"{'seed':>4}{'arm':>10}{'first 50':>10}{'last 100':>10}{'CPU-s':>8}")
    late: dict[str, list[float]] = {"none": [], "similar": [], "learned": []}
    early, drafts, revisions = [], [], []
    for seed in range(1, args.seeds + 1):  # settings were looked for with seed 0
        for arm in late:
            begin = time.process_time()
            memory, world, outcomes = live(arm, seed, args.tasks)
            late[arm].append(float(np.mean(outcomes[-100:])))
            first = float(np.mean(outcomes[:50]))
            print(
                f"{seed:>4}{arm:>10}{first:>10.2f}{late[arm][-1]:>10.2f}{time.process_time() - begin:>8.1f}", flush=True
            )
            if arm == "learned":
                early.append(first)
                plain, better = revised(memory, world, seed, 60)
                drafts.append(plain)
                revisions.append(better)
                print(f"{seed:>4}{'drafts':>10}{plain:>20.2f}\n{seed:>4}{'revised':>10}{better:>20.2f}", flush=True)
            memory.store.close()
    mean = {arm: float(np.mean(values)) for arm, values in late.items()}
    report(args.json, mean, late, float(np.mean(early)), (drafts, revisions), args.seeds)


def report(
    path: Path | None, mean: dict[str, float], late: dict[str, list[float]], early: float,
    plans: tuple[list[float], list[float]], seeds: int,
) -> None:  # fmt: skip
    """The claims, each against its baseline of the same run."""
    draft, revision = (float(np.mean(values)) for values in plans)

    def claim(value: float, target: float) -> dict[str, object]:
        return {"value": round(value, 3), "unit": "success", "target": round(target, 3), "holds": value > target}

    claims = {
        "success rises with experience: the last 100 tasks above the first 50": claim(mean["learned"], early),
        "selection by learned value above no memory": claim(mean["learned"], mean["none"]),
        "selection by learned value above similarity only": claim(mean["learned"], mean["similar"]),
        "revised plans above the drafts": claim(revision, draft),
    }
    wins = sum(a > b for a, b in zip(late["learned"], late["similar"], strict=True))
    print(f"\nmean of {seeds} seeds; learned above similar in {wins} of {seeds}")
    for name, said in claims.items():
        print(f"{'holds' if said['holds'] else 'FAILS':<6}{said['value']:>7} (baseline {said['target']}): {name}")
    if path is not None:
        path.write_text(json.dumps(claims, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
