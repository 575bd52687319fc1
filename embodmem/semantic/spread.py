"""Spreading activation around the names of a question, as a channel of recall."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from embodmem.index.hydrate import among
from embodmem.semantic.graph import FactGraph
from embodmem.semantic.reads import held

RINGS = 2
"""So many facts away from a name of the question, records are still brought to mind."""

MOST_FACTS = 256
"""Facts of a ring that are looked at, the newest first: a name that is in very many says little about each of them (the
fan effect, Anderson, J. Verbal Learning and Verbal Behavior 1983, eq. 3)."""

_COLUMNS = "f.id, f.subject, f.object, f.confidence, r.label"


def spread(
    db: sqlite3.Connection, seeds: Mapping[str, float], bearers: Sequence[int], as_of_ns: int | None = None
) -> dict[int, float]:
    """How strongly records are brought to mind by names: facts, the things that they are about, what they rest on.

    The activation of `FactGraph.activation` over the facts near the names alone, so that its cost does not grow with
    the graph; a fact hands what flows through it to its evidence, in equal parts.

    Args:
        db: From `Store.read`.
        seeds: Name in lower case -> how much it counts, above 0.
        bearers: Row ids of the records that are tagged with a name.
        as_of_ns: When, ns; None: now.

    Returns:
        Row id -> activation.
    """
    if not seeds or not bearers:
        return {}
    condition, values = held(as_of_ns, as_of_ns)
    graph = FactGraph(_around(db, condition, values, bearers))
    at: dict[int, float] = {}
    for i, name in enumerate(graph.names):
        if name.lower() in seeds:
            at[i] = seeds[name.lower()]
    for name, weight in seeds.items():
        nodes = [node for node in graph.nodes(name) if node not in at]
        at.update((node, weight / len(nodes)) for node in nodes)
    if not at:
        return {}
    nodes_on, facts_on = graph.activation(at, 2 * RINGS)
    active = {int(n): float(x) for n, x in zip(graph.facts, facts_on, strict=True) if x > 0.0}
    found = dict(active)
    for name, x in zip(graph.names, nodes_on.tolist(), strict=True):
        kind, _, number = name.rpartition(":")
        if kind and number.isdecimal() and x > 0.0:
            found[int(number)] = x
    for fact, refs in _evidence(db, list(active)).items():
        for ref in refs:
            found[ref] = found.get(ref, 0.0) + active[fact] / len(refs)
    return found


def _around(
    db: sqlite3.Connection, condition: str, values: Sequence[Any], bearers: Sequence[int]
) -> list[tuple[int, str, str, float, str]]:
    given, ids = among(bearers)
    tables = f"FROM fact f JOIN record r ON r.id = f.id WHERE {condition}"
    newest = f"ORDER BY f.id DESC LIMIT {MOST_FACTS}"
    rows = {row[0]: row for row in db.execute(f"SELECT {_COLUMNS} {tables} AND f.id {given} {newest}", [*values, *ids])}
    fresh = list(rows.values())
    for _ in range(RINGS - 1):
        names = list(dict.fromkeys(name for row in fresh for name in (row[1], row[2])))
        if not names:
            break
        given, some = among(names)
        sql = (
            f"SELECT {_COLUMNS} {tables} AND f.subject {given} UNION SELECT {_COLUMNS} {tables} AND f.object {given} "
            f"ORDER BY 1 DESC LIMIT {MOST_FACTS}"
        )
        found = db.execute(sql, [*values, *some, *values, *some]).fetchall()
        fresh = [row for row in found if row[0] not in rows]
        rows.update((row[0], row) for row in fresh)
    return [rows[number] for number in sorted(rows)]


def _evidence(db: sqlite3.Connection, facts: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    if facts:
        given, values = among(facts)
        for number, ref in db.execute(f"SELECT id, ref FROM record_link WHERE id {given} ORDER BY id, ref", values):
            found.setdefault(number, []).append(ref)
    return found
