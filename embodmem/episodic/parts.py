"""The parts of a summary, and the record that is made of them."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.config_episodic import SummaryConfig
from embodmem.encoders import HashingEncoder
from embodmem.episodic.extract import quoted
from embodmem.index import Record, Records
from embodmem.index.bits import unpack

_QUOTE = 160
_NAMED = 5
_COUNTED = 32

Summarise = Callable[[Sequence[str]], str]
"""The texts of the parts, by time, to one text: a language model, say."""


@dataclass(slots=True)
class Part:
    """A row that a summary rests on: an event, a keyframe, a shorter summary.

    Attributes:
        id: Its row id.
        kind: "event", "keyframe" or "summary".
        subkind: An event's own kind, a summary's scale.
        agent: Whose it is.
        source: Who says so.
        label: A keyframe's room.
        text: It in words.
        first_ns: When it began, ns.
        last_ns: When it ended, ns.
        box: (6,) lower and upper corner, metres; NaN without a place.
        data: What its kind adds.
        tags: By what label filters find it.
    """

    id: int
    kind: str
    subkind: str
    agent: str
    source: str
    label: str
    text: str
    first_ns: int
    last_ns: int
    box: NDArray[np.float64]
    data: dict[str, Any]
    tags: list[str] = field(default_factory=list)

    @property
    def quotes(self) -> list[str]:
        """What may be quoted of it: the text, or what a shorter summary quotes."""
        quotes = self.data.get("said") if self.kind == "summary" else None
        return [str(quote)[:_QUOTE] for quote in quotes or [self.text]]

    def counts(self, what: str) -> Mapping[str, int]:
        """How often its kinds, objects or places come up."""
        if self.kind == "summary":
            return dict(self.data.get(what, {}))
        times = int(self.data.get("count", 1))
        place = self.label if self.kind == "keyframe" else str(self.data.get("place", ""))
        if what == "kinds":
            names = [self.subkind or self.kind]
        elif what == "places":
            names = [place] if place else []
        else:
            names = [tag for tag in self.tags if ":" not in tag and tag != place.lower()]
        return dict.fromkeys(names, times)


_COLUMNS = "r.id, r.kind, r.subkind, r.agent, r.source, r.label, r.text, r.first_ns, r.last_ns, " + ", ".join(
    f"r.{name}" for name in ("x0", "y0", "z0", "x1", "y1", "z1", "data")
)


def read_parts(db: sqlite3.Connection, condition: str, values: Sequence[Any], limit: int = -1) -> list[Part]:
    """The first live records `r` that fulfil a condition, by time; `limit` below 0: all."""
    sql = f"SELECT {_COLUMNS} FROM record r WHERE r.live AND {condition} ORDER BY r.first_ns, r.id LIMIT {limit}"
    parts = []
    for row in db.execute(sql, values):
        number, kind, subkind, agent, source, label, text, first_ns, last_ns, *box, data = row
        corners = np.array(box, dtype=np.float64)
        parts.append(
            Part(number, kind, subkind, agent, source, label, text, first_ns, last_ns, corners, json.loads(data))
        )
    by_id = {part.id: part for part in parts}
    tags = "SELECT id, tag FROM record_tag WHERE id IN (SELECT value FROM json_each(?)) ORDER BY tag"
    for number, tag in db.execute(tags, (json.dumps(list(by_id)),)):
        by_id[number].tags.append(tag)
    return parts


@dataclass(frozen=True, slots=True)
class Quotes:
    """What a summary may quote.

    Attributes:
        texts: By time.
        part: Which part each is of.
        vectors: (N, D) of unit norm.
    """

    texts: list[str]
    part: list[int]
    vectors: NDArray[np.float32]


def quotes_of(db: sqlite3.Connection, records: Records, parts: Sequence[Part]) -> Quotes:
    """The quotes of parts, with the vectors of the records, or of their words where there is no encoder."""
    texts = [(quote, i) for i, part in enumerate(parts) for quote in part.quotes]
    rows: dict[int, bytes] = {}
    if records.encoder is not None:
        whole = [part.id for part in parts if part.kind != "summary"]
        sql = "SELECT id, embedding FROM record_vector WHERE id IN (SELECT value FROM json_each(?))"
        found = db.execute(sql, (json.dumps(whole),)).fetchall()
        has, read = unpack([blob for _, blob in found], records.encoder.dim)
        rows = {row[0]: vector.tobytes() for row, vector, there in zip(found, read, has, strict=True) if there}
    missing = list(dict.fromkeys(quote for quote, i in texts if parts[i].id not in rows))
    encode = HashingEncoder().encode if records.encoder is None else records.encode
    made = dict(zip(missing, encode(missing), strict=True)) if missing else {}
    blobs = [rows[parts[i].id] if parts[i].id in rows else made[quote].tobytes() for quote, i in texts]
    vectors = np.frombuffer(b"".join(blobs), np.float32).reshape(len(texts), -1)
    return Quotes([quote for quote, _ in texts], [i for _, i in texts], vectors)


def summarised(
    parts: Sequence[Part],
    quotes: Quotes,
    name: str,
    config: SummaryConfig,
    summarise: Summarise | None,
    base: Mapping[str, Any] | None = None,
) -> Record:
    """The record that stands for its parts, which are of one agent and one source.

    Args:
        parts: By time, at least one.
        quotes: What may be quoted of them.
        name: The scale: "minute", "segment".
        config: How much is quoted.
        summarise: Writes the text, if given.
        base: `data` of an older summary of the same, some parts of which are gone: what it counted counts on.
    """
    central, surprising = quoted(quotes.vectors, config.central, config.surprising)
    said = list(dict.fromkeys(quotes.texts[i] for i in [*central, *surprising]))
    totals = {what: _sum(what, parts, base) for what in ("kinds", "objects", "places")}
    count = sum(int(part.data.get("count", 1)) for part in parts) + int((base or {}).get("count", 0))
    if base:
        said = list(dict.fromkeys([*base.get("said", ()), *said]))[: config.central + config.surprising]
    data: dict[str, Any] = {
        "count": count,
        "parts": len(parts) + int((base or {}).get("parts", 0)),
        **{what: dict(total.most_common(_COUNTED)) for what, total in totals.items()},
        "said": said,
        "central": _ids(parts, quotes, central),
        "surprising": _ids(parts, quotes, surprising),
    }
    if summarise is None:
        in_time = [quotes.texts[i] for i in sorted([*central, *surprising])]
        text = _text(list(dict.fromkeys([*(base or {}).get("said", ()), *in_time])), totals, config.max_chars)
    else:
        text = summarise([part.text for part in parts])
    boxes = np.array([part.box for part in parts])
    boxes = boxes[~np.isnan(boxes[:, 0])]
    box = None if not len(boxes) else np.stack([boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)])
    return Record(
        kind="summary",
        subkind=name,
        agent=parts[0].agent,
        source=parts[0].source,
        text=text,
        first_ns=min(part.first_ns for part in parts),
        last_ns=max(part.last_ns for part in parts),
        position=None if not len(boxes) else (boxes[:, :3] + boxes[:, 3:]).mean(axis=0) / 2.0,
        box=box,
        tags=sorted({tag for part in parts for tag in part.tags}),
        evidence=[part.id for part in parts],
        data=data,
    )


def _ids(parts: Sequence[Part], quotes: Quotes, chosen: Sequence[int]) -> list[str]:
    """The parts that are quoted, each once."""
    quoted_parts = dict.fromkeys(quotes.part[i] for i in chosen)
    return [f"{parts[i].kind}:{parts[i].id}" for i in quoted_parts]


def _sum(what: str, parts: Sequence[Part], base: Mapping[str, Any] | None) -> Counter[str]:
    total = Counter(dict((base or {}).get(what, {})))
    for part in parts:
        total.update(part.counts(what))
    return total


def _text(quotes: Sequence[str], totals: Mapping[str, Counter[str]], most: int) -> str:
    """Quotes by time, then what was there most often that they do not name."""
    text = "; ".join(quotes)[:most]
    there = [n for n, _ in (totals["objects"] + totals["places"]).most_common() if n.lower() not in text.lower()]
    tail = f" ({', '.join(there[:_NAMED])})" if there else ""
    return text + tail
