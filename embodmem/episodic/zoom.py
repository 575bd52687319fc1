"""Summaries first, then the details inside the chosen ones (HCAM, Lampinen et al., NeurIPS 2021, section 2.1)."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace

from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.index.choose import depth, spread
from embodmem.index.filters import row_id
from embodmem.query import Query
from embodmem.types import Recall

_WIDER = 4
"""How many times more summaries are ranked than chunks are wanted: some lie within others."""

_KINDS = "SELECT id, kind FROM record WHERE id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A stretch of time that was chosen by its summary.

    Attributes:
        summary: Its summary.
        details: The best events and keyframes within it, best first.
    """

    summary: Recall
    details: tuple[Recall, ...]


def zoom(records: Records, names: tuple[str, ...], query: Query, k_chunks: int, k: int, scale: str) -> list[Chunk]:
    """See `EpisodicMemory.zoom`; `names` are the scales that there are."""
    if min(k_chunks, k) < 1:
        raise InvalidInput(f"zoom: wanted k_chunks and k of 1 or more, got {k_chunks} and {k}")
    if scale and scale not in names:
        raise InvalidInput(f"zoom: wanted a scale of {', '.join(names)}, got {scale!r}")
    coarse = replace(query, kinds=(scale or "summary",), ids=(), min_gap_s=0.0, diversity=0.0)
    coarse = replace(coarse, action=None, modality=None)  # these are of events alone
    chunks: list[Chunk] = []
    taken: set[int] = set()
    with records.store.read() as db:
        for summary in records.search(coarse, _WIDER * k_chunks, ("summary",)):
            leaves = _leaves(db, row_id(summary.id))
            if leaves & taken:
                continue
            taken |= leaves
            asked = sorted(leaves & {row_id(i) for i in query.ids}) if query.ids else sorted(leaves)
            kinds = dict(db.execute(_KINDS, (json.dumps(asked),)).fetchall())
            fine = replace(query, ids=tuple(f"{kinds[n]}:{n}" for n in asked))
            found = records.search(fine, depth(query, k)) if asked else []
            chunks.append(Chunk(summary, tuple(spread(found, query, k))))
            if len(chunks) == k_chunks:
                break
    return chunks


def _leaves(db: sqlite3.Connection, number: int) -> set[int]:
    """Row ids of the events and keyframes that a summary rests on, over the summaries between."""
    sql = (
        "WITH RECURSIVE below (id) AS (SELECT ?1 UNION SELECT l.ref FROM record_link l JOIN below b ON l.id = b.id "
        "JOIN record r ON r.id = b.id WHERE r.kind = 'summary') "
        "SELECT b.id FROM below b JOIN record r ON r.id = b.id WHERE r.kind != 'summary'"
    )
    return {int(row[0]) for row in db.execute(sql, (number,))}
