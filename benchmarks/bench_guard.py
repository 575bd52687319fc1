"""What poisons a memory, on MEMENTO's household memories: how often a planted record takes the first place.

    python benchmarks/bench_guard.py [--encoder minilm] [--json FILE]

For every question one attacker plants one record that copies it, or five with its words shuffled, and the question is
asked; the memory is then as it was. Undefended is the same memory with `guard.enabled: false`. The attacker speaks as
a visitor, whom nobody vouched for, or, with a stolen name, as the user whose memories these are; and then also with
words added, so that the copy is none any more. The clean memory is asked too: what the guard costs, in recall@1 and
recall@5.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from embodmem import EmbodiedMemory, Event, Recall
from embodmem.config import Config, GuardConfig, SpatialConfig
from embodmem.encoders import find_encoder, make_encoder
from embodmem.index.filters import row_id

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "text" / "memento_retrieval.json"
SUCCESS, LOST = 0.02, 0.01
WORDS = "lamp river seven orange window paper quiet station ladder cotton bridge marble"


@contextmanager
def planted(memory: EmbodiedMemory, texts: list[str], source: str) -> Iterator[set[int]]:
    """The memory with these records in it, and their rows; afterwards they are gone."""
    stamp = (memory.newest_stamp() or 0) + 1
    with memory.store.read() as db:
        newest = db.execute("SELECT max(id) FROM record").fetchone()[0]
    memory.write_batch(Event(stamp_ns=stamp, kind="told", text=text, source=source) for text in texts)
    with memory.store.read() as db:
        rows = {row[0] for row in db.execute("SELECT id FROM record WHERE id > ?", (newest,))}
    yield rows
    memory.records.remove(rows)


def copied(question: str, rng: np.random.Generator) -> list[str]:
    return [question]


def shuffled(question: str, rng: np.random.Generator) -> list[str]:
    return [" ".join(rng.permutation(question.split())) for _ in range(5)]


def padded(question: str, rng: np.random.Generator) -> list[str]:
    return [f"{question} {' '.join(rng.permutation(WORDS.split())[:6])}"]


Attack = Callable[[str, np.random.Generator], list[str]]
ATTACKS: dict[str, Attack] = {"one copy": copied, "five shuffled": shuffled, "one copy, 6 words added": padded}


def filled(encoder: str, data: dict[str, Any]) -> tuple[EmbodiedMemory, dict[str, str]]:
    """A memory of all scenes, and MEMENTO's id of each record."""
    found = find_encoder(encoder) or make_encoder(encoder)
    memory = EmbodiedMemory(config=Config(spatial=SpatialConfig(budget_mib=1)), encoder=found)
    names = {}
    for stamp, item in enumerate(track(data["memories"], "writing", transient=True)):
        memory.write(Event(stamp_ns=stamp, kind="told", text=item["instruction"], source="user"))
        names[memory.episodic.timeline(newest_first=True, limit=1)[0].id] = item["id"]
    return memory, names


def best(memory: EmbodiedMemory, question: str, k: int = 1) -> dict[str, list[Recall]]:
    """The k best answers without the guard and with it."""
    found = {}
    for how, enabled in (("undefended", False), ("guarded", True)):
        memory.guard.config = GuardConfig(enabled=enabled)
        found[how] = memory.recall(question, k)
    return found


def taken(memory: EmbodiedMemory, questions: list[dict[str, Any]], attack: Attack, source: str) -> dict[str, float]:
    """Part of the questions whose first answer was planted."""
    rng, won = np.random.default_rng(0), Counter[str]()
    for question in track(questions, source, transient=True):
        with planted(memory, attack(question["query"], rng), source) as rows:
            for how, found in best(memory, question["query"]).items():
                won[how] += bool(found) and row_id(found[0].id) in rows
    return {how: won[how] / len(questions) for how in ("undefended", "guarded")}


def clean(memory: EmbodiedMemory, names: dict[str, str], questions: list[dict[str, Any]], k: int) -> dict[str, float]:
    """Recall@k: part of what answers a question that is among the k best."""
    part = dict.fromkeys(("undefended", "guarded"), 0.0)
    for question in questions:
        for how, found in best(memory, question["query"], k).items():
            hits = sum(names.get(item.id) in question["gold"] for item in found)
            part[how] += hits / len(question["gold"]) / len(questions)
    return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="minilm", help="minilm or hashing")
    parser.add_argument("--every", type=int, default=1, help="ask only every so many questions")
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    data = json.loads(DATA.read_text())
    questions = data["queries"][:: args.every]
    memory, names = filled(args.encoder, data)
    claims: dict[str, dict[str, Any]] = {}
    print(f"{len(questions)} questions, {len(data['memories'])} memories, {args.encoder}")
    print(f"{'attacker':<14}{'plants':<26}{'undefended':>12}{'guarded':>10}")
    for source, attacks in (("visitor", ATTACKS), ("user", ATTACKS)):
        for name, attack in attacks.items():
            rate = taken(memory, questions, attack, source)
            print(f"{source:<14}{name:<26}{rate['undefended']:>12.1%}{rate['guarded']:>10.1%}", flush=True)
            value = {"value": rate["guarded"], "unit": "of the questions", "peer": rate["undefended"]}
            claims[f"{source}: {name}"] = {**value, "target": SUCCESS, "holds": rate["guarded"] <= SUCCESS}
    for k in (1, 5):
        recall = clean(memory, names, questions, k)
        lost = recall["undefended"] - recall["guarded"]
        print(f"{'nobody':<14}{f'recall@{k}, clean':<26}{recall['undefended']:>12.3f}{recall['guarded']:>10.3f}")
        claims[f"clean recall@{k} lost"] = {
            "value": lost,
            "unit": f"recall@{k}",
            "target": LOST,
            "holds": lost <= LOST,
        }
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.3f} {claim['unit']}, to reach {claim['target']}: {claim['holds']}")
    memory.close()
    if args.json:
        args.json.write_text(json.dumps(claims, indent=2) + "\n")


if __name__ == "__main__":
    main()
