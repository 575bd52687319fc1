"""A year at one event a second: how large the memory gets, how fast it stays, and what it kept of what is asked.

    python benchmarks/bench_year.py [--days 365] [--folder DIR] [--minutes M] [--half-life-days 3] [--json FILE]

A household of states (who is where, what the robot does) goes on for minutes each and is reported every second; things
are picked and placed now and then; a person tells something about four times a day. Every night the memory is
consolidated. Eight recalls a day are timed, and two single writes an hour, in CPU time of the process and by the clock.
At the end it is asked for what was told, by age, for where each thing was put last, and for what the state was at
moments of the past, by age. The peer in the same run keeps everything it is given: the same memory without filter,
consolidation and forgetting, over as many of the first days as `--peer-days` says.

With `--folder` a run that was stopped, even by `kill -9`, goes on where it was; `--minutes` ends it after a day's end.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
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

    def state(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return {"rng": self.rng.bit_generator.state, "told": self.told, "put": self.put, "states": self.states}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.rng.bit_generator.state = state["rng"]
        self.told, self.put = [tuple(t) for t in state["told"]], state["put"]
        self.states = [tuple(s) for s in state["states"]]

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


@dataclasses.dataclass
class Measured:
    """What a run has measured so far, one entry a write, a recall or a night: (seconds by the clock, of CPU)."""

    days: int = 0
    seconds: float = 0.0
    writes: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    recalls: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    nights: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    stored: list[int] = dataclasses.field(default_factory=list)
    largest: int = 0


def timed(into: list[tuple[float, float]], call: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    into.append((time.perf_counter() - wall, time.process_time() - cpu))


class Run:
    """A memory that lives through days; what it has measured lies beside its file, so that it can go on."""

    def __init__(self, path: Path, config: LifecycleConfig, filtered: bool) -> None:
        self.path, self.notes, self.filtered = path, path.with_suffix(".json"), filtered
        self.home, self.measured = Household(0), Measured()
        if self.notes.exists():
            held = json.loads(self.notes.read_text())
            self.measured = Measured(**held["measured"])
            self.home.load(held["home"])
        settings = Config(spatial=SpatialConfig(budget_mib=1), lifecycle=config)
        self.memory = EmbodiedMemory(path, config=settings, encoder=HashingEncoder(128))
        self.memory.make_ready()
        self.life = Lifecycle(self.memory)

    def day(self) -> None:
        """The next day and its night. What a run that was killed has written of it already is not written again."""
        begin, m, memory = time.perf_counter(), self.measured, self.memory
        newest = memory.newest_stamp() or -1
        events = [event for event in self.home.day(m.days) if event.stamp_ns > newest]
        write, write_batch, recall = memory.write, memory.write_batch, memory.recall
        if self.filtered:
            write, write_batch, recall = self.life.write, self.life.write_batch, self.life.recall  # type: ignore[assignment]
        for at in range(0, len(events), 3600):
            hour = events[at : at + 3600]
            for event in hour[:2]:
                timed(m.writes, lambda event=event: write(event))  # type: ignore[misc]
            write_batch(hour[2:])
        for _, question, _ in self.home.told[-8:]:
            timed(m.recalls, lambda question=question: recall(question, 5))  # type: ignore[misc]
        if self.filtered:
            timed(m.nights, lambda: self.life.run(now_ns=(m.days + 1) * DAY * S))
        m.days, m.largest = m.days + 1, max(m.largest, self.path.stat().st_size)
        m.stored.append(memory.counts().get("event", 0))
        m.seconds += time.perf_counter() - begin
        part = self.notes.with_suffix(".part")
        part.write_text(json.dumps({"measured": dataclasses.asdict(m), "home": self.home.state()}))
        os.replace(part, self.notes)

    def live(self, days: int, until: float, progress: Progress) -> None:
        """Days until there are so many, or until a time of `time.monotonic`."""
        name = "with lifecycle" if self.filtered else "everything kept"
        task = progress.add_task(name, total=days, completed=self.measured.days)
        while self.measured.days < days and time.monotonic() < until:
            self.day()
            progress.advance(task)

    def row(self) -> dict[str, float]:
        """The figures of the table."""
        m = self.measured
        recalls = m.recalls[len(m.recalls) // 10 :]  # the first find an empty memory
        made = {
            "events": float(m.days * DAY),
            "events stored": float(m.stored[-1]),
            "bytes, largest": float(m.largest),
            "events/s": m.days * DAY / m.seconds,
        }
        for name, pairs in (("write", m.writes), ("recall", recalls)):
            for column, how in ((0, "clock"), (1, "CPU")):
                for q in (0.5, 0.99):
                    made[f"{name} p{100 * q:.0f}, {how}, ms"] = 1e3 * float(np.quantile([p[column] for p in pairs], q))
        if m.nights:
            cpu = [night[1] for night in m.nights]
            made["night, first 30, CPU s"] = float(np.mean(cpu[:30]))
            made["night, last 30, CPU s"] = float(np.mean(cpu[-30:]))
        return made


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
    parser.add_argument("--half-life-days", type=float, default=LIFE.half_life_s / DAY)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end after the day in which these are over")
    parser.add_argument("--folder", type=Path, help="keep the memory here, and go on with one that is here")
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    if args.days < 1 or args.peer_days < 1:
        parser.error(f"wanted --days and --peer-days of 1 or more, got {args.days} and {args.peer_days}")
    until = time.monotonic() + 60 * args.minutes
    config = dataclasses.replace(LIFE, half_life_s=args.half_life_days * DAY)
    with tempfile.TemporaryDirectory() as spare, Progress(transient=True) as progress:
        folder = args.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        ours = Run(folder / "year.mem", config, True)
        ours.live(args.days, until, progress)
        days = ours.measured.days
        answers = kept(ours.memory, ours.home, days)
        ours.memory.close()
        peer = Run(Path(spare, "all.mem"), LifecycleConfig(), False)
        peer.live(args.peer_days, float("inf"), progress)
        peer.memory.close()
    report(ours, peer, answers, days >= 365, args.json)


def report(ours: Run, peer: Run, answers: dict[str, float], whole: bool, path: Path | None) -> None:
    """The table and the claims, which hold for a whole year only."""
    mine, theirs = ours.row(), peer.row()
    print(f"{'':<28}{f'{ours.measured.days} days':>16}{f'all kept, {peer.measured.days} d':>18}")
    for name, value in mine.items():
        print(f"{name:<28}{value:>16,.2f}" + (f"{theirs[name]:>18,.2f}" if name in theirs else ""))
    for name, value in answers.items():
        print(f"kept: {name:<34}{value:>7.3f}")
    per_year = theirs["bytes, largest"] / peer.measured.days * 365
    print(f"kept whole, a year would take {per_year / 1e9:.1f} GB")
    claims: dict[str, dict[str, Any]] = {
        "bytes after a year": {"value": mine["bytes, largest"], "unit": "bytes", "target": BYTES, "peer": per_year}
    }
    for name in ("recall p99, CPU, ms", "recall p99, clock, ms", "write p99, CPU, ms", "write p99, clock, ms"):
        claims[name] = {"value": mine[name], "unit": "ms", "target": P99_MS, "peer": theirs[name]}
    for name, claim in claims.items():
        claim["holds"] = whole and claim["value"] <= claim["target"]
        print(f"{name}: {claim['value']:,.1f} {claim['unit']}, to reach {claim['target']:,}: {claim['holds']}")
    if path:
        path.write_text(json.dumps(claims, indent=2) + "\n")


if __name__ == "__main__":
    main()
