"""Facts from streams of claims with a known truth: are they complete, right now, right then, and nothing else?

    python -m benchmarks.bench_facts [--json FILE] [--seeds N] [--subjects N] [--changes N]

HaluMem (2025) asks of a memory that its operations be judged one by one, not its answers alone: what was taken in,
what was updated, what was made up. Here a world with a known past is reported by four agents whose reports arrive up
to many changes late, in any order; some twice, some only afterwards for a whole time, some wrong and denied later, and
some by a source that is not to be trusted. At the end the facts must be the past of the world, row by row. What was
believed at random times meanwhile must be what follows from the claims that had arrived by then, worked out moment by
moment by `facts_oracle.py`, which keeps no state.

The peers, in the same run, take the same stream: "last write wins", a table of current values that keeps what it
overwrites; and the rule of Graphiti (Rasmussen et al., 2025) for facts that contradict each other: what began earlier
ends where the later one begins, also when it arrives later. Both know the relations, neither knows sources.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.facts_oracle import Oracle
from benchmarks.facts_world import Row, World
from embodmem.config import RelationRule, SemanticConfig
from embodmem.index import Records
from embodmem.semantic import Claim, SemanticMemory
from embodmem.store import Store

RULES = SemanticConfig(
    single_valued=("on", "held by", "owner"),
    exclusive=(("on", "in", "held by"),),
    relations={"owner": RelationRule(keeps="strongest", min_confidence=0.1)},
    trust={"radio": 0.5},
)
BATCH, MOMENTS, BELIEFS = 200, 2000, 150


class Ours:
    """The semantic memory, on disk."""

    name = "embodmem"

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "facts.mem")
        self.memory = SemanticMemory(Records(self.store, None), RULES)
        self.did: Counter[str] = Counter()

    def take(self, claims: list[Claim]) -> None:
        """Take in claims, in one transaction."""
        with self.store.transaction():
            for claim in claims:
                self.did[self.memory.update(claim).operation] += 1

    def rows(self) -> list[Row]:
        """What is believed, past and present."""
        with self.store.read() as db:
            return db.execute(
                "SELECT subject, relation, object, valid_from_ns, valid_until_ns FROM fact WHERE known_until_ns IS NULL"
            ).fetchall()

    def at(self, subject: str, at_ns: int) -> set[tuple[str, str]]:
        """What held of a subject at a time."""
        return {(fact.relation, fact.object) for fact in self.memory.facts_at(at_ns, subject=subject)}


class Table:
    """What both peers have in common: rows in a list for each subject."""

    def __init__(self) -> None:
        self.kept: dict[str, list[list[object]]] = {}

    def take(self, claims: list[Claim]) -> None:
        """Take in claims."""
        for claim in claims:
            self.take_one(claim, self.kept.setdefault(claim.subject, []))

    def take_one(self, claim: Claim, rows: list[list[object]]) -> None:
        """Take in one claim, given the rows of its subject."""
        raise NotImplementedError

    @staticmethod
    def against(claim: Claim, row: list[object]) -> bool:
        """Whether a claim has to do with a row."""
        if claim.says != "holds":
            return row[1] == claim.relation and claim.object in ("", row[2])
        if row[1] == claim.relation:
            return row[2] == claim.object or claim.relation in RULES.single_valued
        return any(claim.relation in group and row[1] in group for group in RULES.exclusive)

    def rows(self) -> list[Row]:
        """What is kept, past and present."""
        return [tuple(row) for rows in self.kept.values() for row in rows]  # type: ignore[misc]

    def at(self, subject: str, at_ns: int) -> set[tuple[str, str]]:
        """What held of a subject at a time."""
        held = [row for row in self.kept.get(subject, []) if row[3] <= at_ns and (row[4] is None or at_ns < row[4])]  # type: ignore[operator]
        return {(row[1], row[2]) for row in held}  # type: ignore[misc]


class LastWriteWins(Table):
    """What arrives last is so; what it overwrites ended then."""

    name = "last write wins"

    def take_one(self, claim: Claim, rows: list[list[object]]) -> None:
        """Close what holds, and add."""
        at = claim.begin_ns
        for row in rows:
            if row[4] is None and self.against(claim, row):
                row[4] = max(at, row[3])  # type: ignore[call-overload]
        if claim.says == "holds":
            rows.append([claim.subject, claim.relation, claim.object, at, claim.valid_until_ns])


class EarlierEnds(Table):
    """Of two that contradict each other, the one that began earlier ends where the later one begins."""

    name = "Graphiti's rule"

    def take_one(self, claim: Claim, rows: list[list[object]]) -> None:
        """Cut by the times at which they began."""
        at, until = claim.begin_ns, claim.valid_until_ns
        against = [row for row in rows if self.against(claim, row)]
        if claim.says == "holds":
            same = [row for row in against if row[1:3] == [claim.relation, claim.object]]
            if any(row[3] <= at and (row[4] is None or at < row[4]) for row in same):  # type: ignore[operator]
                return
            later = [row[3] for row in against if row[3] > at]  # type: ignore[operator]
            until = min([*later, *([] if until is None else [until])], default=None)  # type: ignore[type-var]
        for row in against:
            if row[3] <= at and (row[4] is None or row[4] > at):  # type: ignore[operator]
                row[4] = at
        if claim.says == "never":
            rows[:] = [row for row in rows if row not in against]
        if claim.says == "holds":
            rows.append([claim.subject, claim.relation, claim.object, at, until])


def true_at(truth: list[Row], at_ns: int) -> set[tuple[str, str]]:
    return {(row[1], row[2]) for row in truth if row[3] <= at_ns and (row[4] is None or at_ns < row[4])}


def judge(system: Ours | Table, world: World, rng: np.random.Generator) -> dict[str, float]:
    """Every row and random moments against the truth."""
    rows, truth = Counter(system.rows()), Counter(world.truth)
    of: dict[str, list[Row]] = {}
    for row in world.truth:
        of.setdefault(row[0], []).append(row)
    names = list(of)
    now = [system.at(name, world.end_ns) == true_at(of[name], world.end_ns) for name in names]
    asked = [(names[rng.integers(len(names))], int(rng.integers(world.end_ns))) for _ in range(MOMENTS)]
    then = [system.at(name, at) == true_at(of[name], at) for name, at in asked]
    return {
        "completeness": sum((rows & truth).values()) / truth.total(),
        "current right": float(np.mean(now)),
        "past right": float(np.mean(then)),
        "lost": float((truth - rows).total()),
        "fabricated": float((rows - truth).total()),
        "duplicates": float(sum(n - 1 for n in rows.values())),
    }


def beliefs_right(ours: Ours, world: World, rng: np.random.Generator) -> float:
    """What was believed at random times of random times, against the definition."""
    oracle = Oracle(RULES.single_valued, RULES.exclusive, ("owner",), dict(RULES.trust))
    for claim in world.stream:
        if claim.relation != "owner" or claim.confidence >= 0.1:
            oracle.tell(claim, check=False)
    names, right = sorted(oracle.told), 0
    for _ in range(BELIEFS):
        name, known = names[rng.integers(len(names))], int(rng.integers(world.end_ns))
        at = int(rng.integers(known + 1))
        found = {(fact.relation, fact.object) for fact in ours.memory.facts_at(at, known, name)}
        right += found == oracle.at(name, at, known)
    return right / BELIEFS


def measure(seed: int, subjects: int, changes: int) -> dict[str, dict[str, float]]:
    world, found = World(seed, subjects, changes), {}
    late = sum(a.begin_ns > b.begin_ns for a, b in zip(world.stream, world.stream[1:], strict=False))
    print(f"seed {seed}: {len(world.stream)} operations ({late} go back in time), {len(world.truth)} true rows")
    with tempfile.TemporaryDirectory() as folder:
        for system in (Ours(Path(folder)), LastWriteWins(), EarlierEnds()):
            begin = time.process_time()
            for i in range(0, len(world.stream), BATCH):
                system.take(world.stream[i : i + BATCH])
            spent = time.process_time() - begin
            scores = judge(system, world, np.random.default_rng(seed))
            scores["operations/s"] = len(world.stream) / spent
            if isinstance(system, Ours):
                scores["beliefs right"] = beliefs_right(system, world, np.random.default_rng(seed))
                print("  " + ", ".join(f"{n} {name}" for name, n in system.did.most_common()))
                system.store.close()
            found[system.name] = scores
            print(f"  {system.name:16s}" + "  ".join(f"{name} {value:.6g}" for name, value in scores.items()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--changes", type=int, default=30)
    args = parser.parse_args()
    runs = [measure(seed, args.subjects, args.changes)[Ours.name] for seed in range(args.seeds)]
    claims = {}
    for name in ("completeness", "current right", "past right", "beliefs right"):
        value = min(run[name] for run in runs)
        claims[f"facts: {name}"] = {"value": value, "unit": "share", "target": 1.0, "holds": value == 1.0}
    for name in ("lost", "fabricated", "duplicates"):
        value = max(run[name] for run in runs)
        claims[f"facts: {name}"] = {"value": value, "unit": "rows", "target": 0, "holds": value == 0}
    for name, claim in claims.items():
        print(f"{name:24s} {claim['value']:g} {claim['unit']}, wanted {claim['target']}: {claim['holds']}")
    if args.json is not None:
        args.json.write_text(json.dumps(claims, indent=1) + "\n")


if __name__ == "__main__":
    main()
