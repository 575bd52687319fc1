"""Retrieval without an LLM: MEMENTO's household memories and LoCoMo's dialogues, beside FTS5, MiniLM and their fusion.

    python benchmarks/bench_recall.py [--json FILE] [--set memento|locomo|all]

Data: ../shared/data/text. MEMENTO: 201 things that users told, 237 requests, one memory for all households. LoCoMo: ten
dialogues, each a memory of its own, a turn an event "speaker: text [shares caption of the photo]", half a minute apart
within a session; questions of categories 1 to 4 that have evidence. Figures are the mean over questions of the share
of the right records among the first 1, 5 and 10. The rows "second half" are MEMENTO's even ids and LoCoMo's
dialogues 6 to 10: many constants were chosen with the figures of both halves in view, so they are no blind test.

The columns: "words" is SQLite's FTS5 over all words of the question, "MiniLM" the cosine of sentence vectors, "fused"
both by reciprocal rank; "embodmem" is `memory.recall` as it comes, and "late off" the same with `recall.late: never`.
Texts are encoded once a case and held for all columns, which takes most of the time; the milliseconds of a question
are of the recall alone, its vector being there.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from embodmem import Config, EmbodiedMemory, Event, Query
from embodmem.config_recall import RecallConfig
from embodmem.encoders import MiniLmEncoder
from embodmem.index import fuse
from embodmem.index.late import Pieces
from embodmem.index.words import parts_of

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "text"
KS = (1, 5, 10)
DEPTH = 200
AT_ONCE = 64
DAY_NS, TURN_NS = 86_400_000_000_000, 30_000_000_000
Found = dict[str, list[int]]
"""Column -> numbers of the records found, best first."""


@dataclass
class Question:
    """What is asked, the numbers of the events that answer it, and the half it is in."""

    text: str
    gold: set[int]
    kind: str
    second_half: bool


@dataclass
class Case:
    """One memory, and what is asked of it."""

    name: str
    events: list[Event]
    questions: list[Question] = field(default_factory=list)


class HeldEncoder:
    """MiniLM, each text once; what it made is held.

    Attributes:
        name: The model's.
        dim: Its numbers a text.
        min_score: Its.
    """

    def __init__(self, encoder: MiniLmEncoder) -> None:
        self.name, self.dim, self.min_score = encoder.name, encoder.dim, encoder.min_score
        self._encoder = encoder
        self._held: dict[str, tuple[np.ndarray, Pieces]] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(N, dim) as the encoder does."""
        return self.encode_both(texts)[0]

    def encode_words(self, texts: Sequence[str]) -> list[Pieces]:
        """Pieces as the encoder makes them."""
        return self.encode_both(texts)[1]

    def word_shares(self, words: Sequence[str]) -> np.ndarray:
        """As the encoder says."""
        return self._encoder.word_shares(words)

    def encode_both(self, texts: Sequence[str]) -> tuple[np.ndarray, list[Pieces]]:
        """Both."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._held]
        vectors, pieces = self._encoder.encode_both(fresh)
        self._held.update(zip(fresh, zip(vectors, pieces, strict=True), strict=True))
        found = [self._held[text] for text in texts]
        return np.array([row[0] for row in found], np.float32).reshape(-1, self.dim), [row[1] for row in found]


def encode_all(case: Case, encoder: MiniLmEncoder) -> HeldEncoder:
    """Hold the vectors of what a case tells and asks, and of the sentences that a recall takes its questions into."""
    held = HeldEncoder(encoder)
    texts = [event.text for event in case.events] + [part for q in case.questions for part in parts_of(q.text)]
    some = [texts[i : i + AT_ONCE] for i in range(0, len(texts), AT_ONCE)]
    for part in track(some, f"{case.name}: {len(texts)} texts", console=Console(stderr=True), transient=True):
        held.encode_both(part)
    return held


def memento() -> list[Case]:
    data = json.loads((DATA / "memento_retrieval.json").read_text(encoding="utf-8"))
    place = {row["id"]: i for i, row in enumerate(data["memories"])}
    # Nobody knows when each was told: a day for each, so that none stands beside another.
    events = [
        Event(stamp_ns=i * DAY_NS, kind="told", text=row["instruction"]) for i, row in enumerate(data["memories"])
    ]
    questions = [
        Question(row["query"], {place[g] for g in row["gold"]}, row["type"], int(row["id"]) % 2 == 0)
        for row in data["queries"]
    ]
    return [Case("memento", events, questions)]


def locomo() -> list[Case]:
    cases = []
    for number, row in enumerate(json.loads((DATA / "locomo10.json").read_text(encoding="utf-8"))):
        case, place = Case(row["sample_id"], []), dict[str, int]()
        for stamp, turn in turns(row["conversation"]):
            place[turn["dia_id"]] = len(case.events)
            photo = f" [shares {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            case.events.append(Event(stamp_ns=stamp, kind="said", text=f"{turn['speaker']}: {turn['text']}{photo}"))
        for asked in row["qa"]:
            named = re.findall(r"D:?(\d+):(\d+)", " ".join(asked.get("evidence", [])))
            gold = {place[key] for a, b in named if (key := f"D{int(a)}:{int(b)}") in place}
            if asked["category"] != 5 and gold:
                case.questions.append(Question(asked["question"], gold, f"category {asked['category']}", number >= 5))
        cases.append(case)
    return cases


def turns(conversation: dict[str, object]) -> Iterator[tuple[int, dict[str, str]]]:
    """Stamp (ns) and turn, session by session."""
    n = 1
    while f"session_{n}" in conversation or f"session_{n}_date_time" in conversation:
        rows, date = conversation.get(f"session_{n}", []), str(conversation[f"session_{n}_date_time"])
        begin = datetime.strptime(date, "%I:%M %p on %d %B, %Y").replace(tzinfo=timezone.utc)
        for i, turn in enumerate(rows):  # type: ignore[arg-type, var-annotated]
            yield int(begin.timestamp()) * 1_000_000_000 + i * TURN_NS, turn
        n += 1


def peers(case: Case, encoder: HeldEncoder) -> list[Found]:
    """What FTS5, the encoder alone and the fusion of their ranks find."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5 (text, tokenize='porter unicode61')")
    db.executemany("INSERT INTO t (rowid, text) VALUES (?, ?)", [(i, e.text) for i, e in enumerate(case.events)])
    cosine = encoder.encode([q.text for q in case.questions]) @ encoder.encode([e.text for e in case.events]).T
    meant = np.argsort(-cosine, axis=1, kind="stable")[:, :DEPTH].tolist()
    found = []
    for question, like in zip(case.questions, meant, strict=True):
        expression = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question.text.lower()))
        sql = "SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank LIMIT ?"
        said = [row[0] for row in db.execute(sql, (expression, DEPTH))]
        found.append({"words": said, "MiniLM": like, "fused": list(fuse({"words": said, "meaning": like}))})
    return found


def recalled(case: Case, encoder: HeldEncoder, late: str, found: list[Found], column: str) -> float:
    """Ask a memory; returns the median milliseconds a question."""
    with EmbodiedMemory(config=Config(recall=RecallConfig(late=late)), encoder=encoder) as memory:
        memory.write_batch(sorted(case.events, key=lambda event: event.stamp_ns))
        stored = memory.episodic.timeline(limit=len(case.events))
        order = np.argsort([event.stamp_ns for event in case.events], kind="stable").tolist()
        number = dict(zip((item.id for item in stored), order, strict=True))
        taken = []
        for question, row in zip(case.questions, found, strict=True):
            begin = time.perf_counter()
            answers = memory.recall(Query(text=question.text, kinds=("event",)), max(KS))
            taken.append(1e3 * (time.perf_counter() - begin))
            row[column] = [number[item.id] for item in answers]
    return float(np.median(taken))


Row = tuple[Question, Found]


def recall_at(rows: Sequence[Row], column: str) -> list[float]:
    return [float(np.mean([len(q.gold & set(f[column][:k])) / len(q.gold) for q, f in rows])) for k in KS]


def print_table(name: str, rows: Sequence[Row]) -> None:
    columns = list(rows[0][1])
    kinds = sorted({q.kind for q, _ in rows})
    print(f"\n{name}: recall@{'/'.join(map(str, KS))}")
    print(f"{'questions':28}" + "".join(f"{column:>18}" for column in columns))
    groups = [("all", list(rows)), ("second half", [r for r in rows if r[0].second_half])]
    groups += [(kind, [r for r in rows if r[0].kind == kind]) for kind in kinds]
    for group, chosen in groups:
        cells = ("/".join(f"{x:.3f}".lstrip("0") for x in recall_at(chosen, c)) for c in columns)
        print(f"{group + f' ({len(chosen)})':28}" + "".join(f"{cell:>18}" for cell in cells))
    joint = [r for r in rows if r[0].kind == "combined"]
    if joint:
        cells = (f"{both_at_10(joint, c):.3f}".lstrip("0") for c in columns)
        print(f"{'both of a joint one in 10':28}" + "".join(f"{cell:>18}" for cell in cells))


def both_at_10(joint: Sequence[Row], column: str) -> float:
    return float(np.mean([q.gold <= set(f[column][:10]) for q, f in joint]))


TARGETS = {"memento": (0.78, 0.95, 0.98), "locomo": (0.33, 0.60, 0.70)}


def claims(name: str, rows: Sequence[Row], column: str) -> dict[str, object]:
    def claim(value: float, target: float) -> dict[str, object]:
        return {"value": round(value, 4), "unit": "recall", "target": target, "holds": value >= target}

    made = {f"{name}_at_{k}": claim(v, t) for k, v, t in zip(KS, recall_at(rows, column), TARGETS[name], strict=True)}
    if name == "memento":
        made["memento_joint_both_at_10"] = claim(both_at_10([r for r in rows if r[0].kind == "combined"], column), 0.92)
    return made


def measure(name: str, cases: Sequence[Case], encoder: MiniLmEncoder) -> list[Row]:
    rows: list[Row] = []
    for case in cases:
        begin = time.perf_counter()
        held = encode_all(case, encoder)
        encoded = time.perf_counter() - begin
        found = peers(case, held)
        took = [recalled(case, held, "never", found, "late off")]
        took.append(recalled(case, held, RecallConfig().late, found, "embodmem"))
        ms = ", ".join(f"{t:.1f} ms" for t in took)
        all_s = f"{encoded:.0f} s to encode, {time.perf_counter() - begin:.0f} s in all"
        asked = f"{len(case.events)} events, {len(case.questions)} questions, {ms} each"
        print(f"{case.name}: {asked}; {all_s}", file=sys.stderr, flush=True)
        rows.extend(zip(case.questions, found, strict=True))
    print_table(name, rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--set", choices=("memento", "locomo", "all"), default="all")
    args = parser.parse_args()
    encoder = MiniLmEncoder()
    results: dict[str, object] = {}
    for name, load in (("memento", memento), ("locomo", locomo)):
        if args.set in (name, "all"):
            rows = measure(name, load(), encoder)
            results |= claims(name, rows, "embodmem")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
