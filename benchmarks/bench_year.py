"""A year at one event a second: how large the memory gets, how fast it stays, and what it kept of what is asked.

    python benchmarks/bench_year.py [--days 365] [--json FILE]

A household of states (who is where, what the robot does) goes on for minutes each and is reported every second; things
are picked and placed now and then; a person tells something about four times a day. Every night the memory is
consolidated. Eight recalls a day are timed, and two single writes an hour. At the end it is asked for what was told,
by age, for where each thing was put last, and for what the state was at moments of the past, by age. The peer in the
same run keeps everything it is given: the same memory without filter, consolidation and forgetting, over as many of
the first days as `--peer-days` says.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from embodmem import EmbodiedMemory, Event, Query
from embodmem.config import Config, LifecycleConfig, SpatialConfig
from embodmem.encoders import HashingEncoder
from embodmem.lifecycle import Lifecycle

S, DAY = 10**9, 86_400
BYTES, P99_MS = 2e9, 10.0
ROOMS = ("kitchen", "study", "hall", "bedroom", "bathroom", "living room", "cellar", "garden")
PEOPLE = ("Ada", "Ben", "Chloe", "Dan")
THINGS = tuple(f"{c} {t}" for c in ("red", "blue", "green", "white") for t in ("mug", "book", "key", "lamp", "bag"))
DOINGS = ("waits at the dock", "sweeps the floor", "carries the laundry", "watches the door", "charges")
NOUNS = ("parcel", "invoice", "ladder", "violin", "passport", "umbrella", "drill", "ticket", "recipe", "medicine")
LIFE = LifecycleConfig(
    repeat_s=10.0, half_life_s=3.0 * DAY, forget_below=0.05, significance=64.0, undo_s=DAY, budget_mib=1900.0
)


class Household:
    """Events of one day after another, from a seed, and what is true."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.told: list[tuple[int, str, str]] = []  # day, question, text
        self.put: dict[str, str] = {}
        self.states: list[tuple[int, str]] = []  # first second, text

    def day(self, day: int) -> Iterator[Event]:
        """One event each second."""
        rng = self.rng
        begin, second = day * DAY, 0
        telling = dict.fromkeys(rng.integers(0, DAY, 4).tolist(), True)
        while second < DAY:
            if rng.random() < 0.5:
                text = f"{rng.choice(PEOPLE)} is in the {rng.choice(ROOMS)}"
            else:
                text = f"the robot {rng.choice(DOINGS)} in the {rng.choice(ROOMS)}"
            self.states.append((begin + second, text))
            until = min(DAY, second + int(rng.exponential(180.0)) + 5)
            for now in range(second, until):
                stamp = (begin + now) * S
                if now in telling:
                    yield self._tell(day, stamp)
                elif now % 1800 == 900:
                    yield self._put(stamp)
                else:
                    yield Event(stamp_ns=stamp, kind="state", text=text, source="robot")
            second = until

    def _tell(self, day: int, stamp: int) -> Event:
        number, noun = int(self.rng.integers(10**6)), self.rng.choice(NOUNS)
        who, room = self.rng.choice(PEOPLE), self.rng.choice(ROOMS)
        text = f"the {noun} of {who} with the number {number} is kept in the {room}"
        self.told.append((day, f"where is the {noun} with the number {number}?", text))
        return Event(stamp_ns=stamp, kind="told", text=text, source="user")

    def _put(self, stamp: int) -> Event:
        thing, room = self.rng.choice(THINGS), self.rng.choice(ROOMS)
        self.put[thing] = f"put the {thing} into the {room}"
        return Event(stamp_ns=stamp, kind="place", text=self.put[thing], objects=(thing,), source="robot")


def live(path: Path, days: int, config: LifecycleConfig, filtered: bool, progress: Progress) -> dict[str, Any]:
    """Let a memory live through so many days; what it holds and how long it takes."""
    settings = Config(spatial=SpatialConfig(budget_mib=1), lifecycle=config)
    memory = EmbodiedMemory(path, config=settings, encoder=HashingEncoder(128))
    life, home = Lifecycle(memory), Household(0)
    writes, recalls, largest = list[float](), list[float](), 0
    task = progress.add_task("with lifecycle" if filtered else "everything kept", total=days)
    begin = time.perf_counter()
    for day in range(days):
        events = list(home.day(day))
        for at in range(0, DAY, 3600):
            hour = events[at : at + 3600]
            for event in hour[:2]:
                start = time.perf_counter()
                life.write(event) if filtered else memory.write(event)
                writes.append(time.perf_counter() - start)
            life.write_batch(hour[2:]) if filtered else memory.write_batch(hour[2:])
        for _, question, _ in home.told[-8:]:
            start = time.perf_counter()
            life.recall(question, 5) if filtered else memory.recall(question, 5)
            recalls.append(time.perf_counter() - start)
        if filtered:
            life.run(now_ns=(day + 1) * DAY * S)
        largest = max(largest, path.stat().st_size)
        progress.advance(task)
    wall = time.perf_counter() - begin
    recalls = recalls[len(recalls) // 10 :]  # the first find an empty memory
    return {
        "memory": memory,
        "home": home,
        "events": days * DAY,
        "stored": memory.counts().get("event", 0),
        "bytes": largest,
        "events_per_s": days * DAY / wall,
        "write_p99_ms": 1e3 * float(np.quantile(writes, 0.99)),
        "recall_p99_ms": 1e3 * float(np.quantile(recalls, 0.99)),
    }


def kept(memory: EmbodiedMemory, home: Household, days: int) -> dict[str, float]:
    """Part of what is asked that is answered."""
    rng, found = np.random.default_rng(1), dict[str, float]()
    for name, first, last in (("last week", days - 7, days), ("last month", days - 30, days), ("all", 0, days)):
        asked = [t for t in home.told if first <= t[0] < last]
        asked = [asked[i] for i in rng.permutation(len(asked))[:300]]
        hits = [any(item.text == text for item in memory.recall(question, 5)) for _, question, text in asked]
        found[f"told, {name}"] = float(np.mean(hits)) if hits else float("nan")
        states = [s for s in home.states if first <= s[0] // DAY < last]
        right = []
        for i in rng.permutation(len(states))[:300]:
            at = (states[i][0] + 2) * S
            there = memory.episodic.timeline(Query(between_ns=(at, at), kinds=("state",)), limit=10)
            right.append(any(item.text == states[i][1] for item in there))
        found[f"state at a moment, {name}"] = float(np.mean(right))
    last_put = [memory.episodic.timeline(Query(labels=(t,)), newest_first=True, limit=1) for t in home.put]
    pairs = zip(last_put, home.put.values(), strict=True)
    found["where a thing was put last"] = float(np.mean([bool(p) and p[0].text == text for p, text in pairs]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--peer-days", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Progress(transient=True) as progress:
        ours = live(Path(folder, "year.mem"), args.days, LIFE, True, progress)
        answers = kept(ours["memory"], ours["home"], args.days)
        ours["memory"].close()
        peer = live(Path(folder, "all.mem"), args.peer_days, LifecycleConfig(), False, progress)
        peer["memory"].close()
    names = ("events", "stored", "bytes", "events_per_s", "write_p99_ms", "recall_p99_ms")
    print(f"{'':<28}{f'{args.days} days':>16}{f'all kept, {args.peer_days} d':>18}")
    for name in names:
        print(f"{name:<28}{ours[name]:>16,.1f}{peer[name]:>18,.1f}")
    for name, value in answers.items():
        print(f"kept: {name:<34}{value:>7.3f}")
    per_year = peer["bytes"] / args.peer_days * 365
    print(f"kept whole, a year would take {per_year / 1e9:.1f} GB")
    whole = args.days >= 365
    claims: dict[str, dict[str, Any]] = {
        "bytes after a year": {"value": ours["bytes"], "unit": "bytes", "target": BYTES, "peer": per_year},
        "recall p99": {"value": ours["recall_p99_ms"], "unit": "ms", "target": P99_MS, "peer": peer["recall_p99_ms"]},
        "write p99": {"value": ours["write_p99_ms"], "unit": "ms", "target": P99_MS, "peer": peer["write_p99_ms"]},
    }
    for name, claim in claims.items():
        claim["holds"] = whole and claim["value"] <= claim["target"]
        print(f"{name}: {claim['value']:,.1f} {claim['unit']}, to reach {claim['target']:,}: {claim['holds']}")
    if args.json:
        args.json.write_text(json.dumps(claims, indent=2) + "\n")


if __name__ == "__main__":
    main()
