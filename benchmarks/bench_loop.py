"""Fetch tasks in the house by the closed loop: with memory, without it, and without critic and loop breaker.

A robot tours an apartment; then somebody moves things, and the robot is told to bring things to places. Three robots
get the same tasks in the same apartments, with the same planner by rules:

- memory: it remembers the tour, and all that it sees and does;
- no memory: before each step it knows the plan of the rooms and what the last step showed, nothing else;
- no critic: it remembers, but nothing checks its steps against the memory or breaks its loops.

Success is judged by the simulator's truth. A move is one action of the robot (25 cm, 30 degrees, pick, place).

    PYTHONPATH=.:envs python benchmarks/bench_loop.py [--seeds 5] [--tasks 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from embodmem import Config, EmbodiedMemory
from embodmem.loop import Fetch, FetchPlanner, LoopConfig, run_loop
from embodmem_envs.fetch import ForgetfulBody, HouseBody
from embodmem_envs.house import HouseEnv

MOVED = 10
"""Things that somebody moves after the tour."""
MAX_STEPS = 15
TARGETS = ("desk", "table", "bed", "sofa", "counter", "dresser", "coffee table")
CONDITIONS = {
    "memory": LoopConfig(max_steps=MAX_STEPS),
    # It forgets what it found, so that everything is new to it: its patience must not be what ends it.
    "no memory": LoopConfig(max_steps=MAX_STEPS, patience=MAX_STEPS, learn=False),
    "no critic": LoopConfig(max_steps=MAX_STEPS, critic=False, breaker=False),
}


@dataclass
class Score:
    """How one task went: true success, what the robot believed, moves, steps, refusals, and why it ended."""

    success: bool
    believed: bool
    moves: int
    steps: int
    refused: int
    reason: str


def house() -> HouseEnv:
    return HouseEnv(width=96, height=72, max_steps=10**9)


def toured(seed: int) -> dict[str, object]:
    """What a robot remembers after a tour of an apartment."""
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        body = HouseBody(house(), memory)
        body.begin(seed=seed)
        body.tour()
        return memory.state_dict()


def tasks(env: HouseEnv, known: set[str], moved: set[str], count: int, seed: int) -> list[Fetch]:
    """Half of them about things that were moved; none is done already, and all are about what the tour saw."""
    rng = np.random.default_rng([seed, 7])
    pieces = {piece.label for piece in env.furniture}
    lies = {(item.label, item.support) for item in env.objects}
    labels = sorted({item.label for item in env.objects} & known)
    stale = [label for label in labels if label in moved]
    fresh = [label for label in labels if label not in moved]
    rng.shuffle(stale)
    rng.shuffle(fresh)
    chosen = []
    for label in [*stale[: (count + 1) // 2], *fresh][:count]:
        free = [t for t in TARGETS if t in pieces and t in known and (label, t) not in lies]
        if free:
            chosen.append(Fetch(label, str(rng.choice(free))))
    return chosen


def run(seed: int, condition: str, kept: dict[str, object], count: int) -> list[Score]:
    """The tasks of one apartment under one condition."""
    env = house()
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        memory.load_state_dict(kept)
        known = {item.label for item in memory.scene.objects()}
        start_ns = (memory.newest_stamp() or 0) + 1_000_000_000
        body = HouseBody(env, memory, start_ns=start_ns)
        body.begin(seed=seed)
        before = {item.id: item.position for item in env.objects}
        now_ns = body.begin(move=MOVED)
        moved = {item.label for item in env.objects if np.linalg.norm(item.position - before[item.id]) > 0.3}
        scores = []
        for i, task in enumerate(tasks(env, known, moved, count, seed)):
            rng = np.random.default_rng([seed, i])
            actor = ForgetfulBody(body) if condition == "no memory" else body
            if condition == "no memory":
                memory.clear()
                body.add_rooms()
            already = {item.id for item in env.objects if (item.label, item.support) == (task.thing, task.target)}
            at = body.moves
            done = run_loop(
                memory,
                actor,
                FetchPlanner(task, rng),
                str(task),
                task.is_done,
                now_ns=now_ns,
                config=CONDITIONS[condition],
            )
            now_ns = done.ended_ns
            there = {item.id for item in env.objects if (item.label, item.support) == (task.thing, task.target)}
            true = bool(there - already)
            scores.append(Score(true, done.success, body.moves - at, len(done.steps), len(done.refusals), done.reason))
            print(f"seed {seed}, {condition}: {task}: {scores[-1]}", flush=True)
    env.close()
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scores: dict[str, list[Score]] = {name: [] for name in CONDITIONS}
    for seed in range(options.seeds):
        kept = toured(seed)
        for condition in CONDITIONS:
            scores[condition] += run(seed, condition, kept, options.tasks)
    table = Table("robot", "tasks", "success", "believed it", "moves a task", "moves a success", "steps", "refused")
    rate, moves = {}, {}
    for name, given in scores.items():
        good = [score for score in given if score.success]
        rate[name] = len(good) / len(given)
        moves[name] = sum(score.moves for score in given) / max(len(good), 1)
        means = (
            np.mean([s.moves for s in given]),
            np.mean([s.steps for s in given]),
            np.mean([s.refused for s in given]),
        )
        table.add_row(
            name,
            str(len(given)),
            f"{rate[name]:.2f}",
            f"{np.mean([s.believed for s in given]):.2f}",
            f"{means[0]:.0f}",
            f"{moves[name]:.0f}",
            f"{means[1]:.1f}",
            f"{means[2]:.1f}",
        )
    Console(width=140).print(table)
    if options.json is not None:
        claims = {
            f"success with memory, times that {other.replace('no ', 'without ')}": {
                "value": round(rate["memory"] / max(rate[other], 1e-9), 3),
                "unit": "x",
                "target": 1.0,
                "holds": rate["memory"] > rate[other],
            }
            for other in ("no memory", "no critic")
        } | {
            f"moves a success {other.replace('no ', 'without ')}, times those with memory": {
                "value": round(moves[other] / moves["memory"], 3),
                "unit": "x",
                "target": 1.0,
                "holds": moves["memory"] < moves[other],
            }
            for other in ("no memory", "no critic")
        }
        options.json.write_text(json.dumps(claims, indent=2) + "\n")


if __name__ == "__main__":
    main()
