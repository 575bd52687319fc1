"""Vectors in fewer bits: what is still found, by age, and how many bytes are free.

    python benchmarks/bench_ageing.py [--encoder minilm] [--json FILE]

MEMENTO's 201 household memories are told one an hour, the oldest first, and its 237 questions are asked twice: of all
vectors as the encoder made them, and after consolidation has left each as many bits as its age says (`lifecycle`'s
defaults; the half-life is an eighth of the time that all take, so that all steps occur). Recall is of what answers a
question, by the bits of its vector, by meaning alone and with the words, too. Then the same with all vectors in 8, 4,
and 2 bits. Last, 20,000 events with vectors of 384: the bytes in use before and after.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from embodmem import EmbodiedMemory, Event, Query
from embodmem.config import Config, GuardConfig, LifecycleConfig, SpatialConfig
from embodmem.encoders import HashingEncoder, find_encoder, make_encoder
from embodmem.lifecycle import Lifecycle

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "text" / "memento_retrieval.json"
HOUR = 3600 * 10**9
KEPT, FREED = 0.95, 0.7
"""To reach with vectors of 4 bits: this part of the recall by meaning is kept, and of the bytes in use is free."""


def filled(encoder: Any, data: dict[str, Any], life: LifecycleConfig) -> tuple[Lifecycle, dict[str, str]]:
    """A memory of all scenes, and MEMENTO's id of each record."""
    config = Config(spatial=SpatialConfig(budget_mib=1), guard=GuardConfig(enabled=False), lifecycle=life)
    memory = EmbodiedMemory(config=config, encoder=encoder)
    for i, item in enumerate(data["memories"]):
        memory.write(Event(stamp_ns=i * HOUR, kind="note", text=item["instruction"], source="user"))
    items = memory.episodic.timeline(limit=10**6)
    return Lifecycle(memory), {item.id: m["id"] for item, m in zip(items, data["memories"], strict=True)}


def hits(memory: EmbodiedMemory, names: dict[str, str], data: dict[str, Any], k: int) -> dict[str, dict[str, float]]:
    """Way of asking -> MEMENTO's id -> part of the questions it answers in which it is among the k best."""
    found: dict[str, dict[str, list[bool]]] = {"meaning": defaultdict(list), "fused": defaultdict(list)}
    vectors = memory.records.encode([question["query"] for question in data["queries"]])
    for question, vector in zip(data["queries"], vectors, strict=True):
        for way, query in (("meaning", Query(embedding=vector)), ("fused", Query(text=question["query"]))):
            best = {names[item.id] for item in memory.episodic.recall(query, k)}
            for gold in question["gold"]:
                found[way][gold].append(gold in best)
    return {way: {name: float(np.mean(right)) for name, right in each.items()} for way, each in found.items()}


def bits_of(memory: EmbodiedMemory, names: dict[str, str]) -> dict[str, int]:
    """MEMENTO's id -> bits of its vector."""
    dim = memory.records.encoder.dim  # type: ignore[union-attr]
    with memory.store.read() as db:
        sizes = dict(db.execute("SELECT id, length(embedding) FROM record_vector"))
    bits = {4 * dim: 32, **{1 + dim * b // 8: b for b in (8, 4, 2)}}
    return {name: bits[sizes[int(id.partition(":")[2])]] for id, name in names.items()}


def by_bits(found: dict[str, dict[str, float]], bits: dict[str, int], way: str) -> dict[int, float]:
    """Mean over the memories of so many bits."""
    return {
        b: float(np.mean([value for name, value in found[way].items() if bits[name] == b]))
        for b in sorted(set(bits.values()), reverse=True)
    }


def freed(bits: int) -> tuple[int, int]:
    """Bytes in use of 20,000 events with vectors of 384, before and after all have so many bits."""
    life = LifecycleConfig(vector_half_life_s=60.0, vector_bits=((1.0, bits),))
    with tempfile.TemporaryDirectory() as folder:
        config = Config(spatial=SpatialConfig(budget_mib=1), lifecycle=life)
        memory = EmbodiedMemory(Path(folder, "m.mem"), config=config, encoder=HashingEncoder(384))
        keeper = Lifecycle(memory)
        memory.write_batch(Event(stamp_ns=i, kind="note", text=f"note {i} of thing {i % 97}") for i in range(20_000))
        before = keeper.forgetting.used_bytes()
        keeper.run(10**15)
        after = keeper.forgetting.used_bytes()
        memory.close()
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="minilm", help="minilm or hashing")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the claims")
    args = parser.parse_args()
    data = json.loads(DATA.read_text())
    encoder = find_encoder(args.encoder) or make_encoder(args.encoder)
    span_s = len(data["memories"]) * HOUR * 1e-9
    life, names = filled(encoder, data, LifecycleConfig(vector_half_life_s=span_s / 8))
    before = hits(life.memory, names, data, args.k)
    life.run(len(names) * HOUR)
    after, bits = hits(life.memory, names, data, args.k), bits_of(life.memory, names)
    print(f"by age: recall@{args.k} of memories with so many bits, as made and after ageing")
    for way in before:
        old, new = by_bits(before, bits, way), by_bits(after, bits, way)
        count = {b: sum(value == b for value in bits.values()) for b in old}
        print(f"  {way:<8}" + "".join(f"{b:>4} bits ({count[b]:>3}): {old[b]:.3f} {new[b]:.3f}" for b in old))
    life.memory.close()
    claims: dict[str, dict[str, Any]] = {}
    whole = {way: float(np.mean(list(each.values()))) for way, each in before.items()}
    print(f"{'all':<10}{'recall, meaning':>18}{'fused':>8}{'MB in use':>12}{'before':>8}")
    print(f"{32:<10}{whole['meaning']:>18.3f}{whole['fused']:>8.3f}")
    for b in (8, 4, 2):
        life, names = filled(encoder, data, LifecycleConfig(vector_half_life_s=60.0, vector_bits=((1.0, b),)))
        life.run(10 * len(names) * HOUR)
        part = {way: float(np.mean(list(e.values()))) for way, e in hits(life.memory, names, data, args.k).items()}
        life.memory.close()
        was, now = freed(b)
        print(f"{b:<10}{part['meaning']:>18.3f}{part['fused']:>8.3f}{now / 1e6:>12.1f}{was / 1e6:>8.1f}")
        if b == 4:
            kept = part["meaning"] / whole["meaning"]
            free = (was - now) / was
            claims["recall by meaning kept, 4 bits"] = {"value": kept, "unit": "part", "target": KEPT}
            claims["bytes in use freed, 4 bits"] = {"value": free, "unit": "part", "target": FREED}
    for name, claim in claims.items():
        claim["holds"] = claim["value"] >= claim["target"]
        print(f"{name}: {claim['value']:.3f} {claim['unit']}, to reach {claim['target']}: {claim['holds']}")
    if args.json:
        args.json.write_text(json.dumps(claims, indent=2) + "\n")


if __name__ == "__main__":
    main()
