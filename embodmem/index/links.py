"""Channels of what belongs together: records that bear a name of the query, that rest on one another, that are near in
a graph of facts, or near in time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.index.hydrate import among
from embodmem.index.mirror import Mirror
from embodmem.index.postings import presence
from embodmem.index.words import STOP_WORDS, words

LONGEST_NAME = 3
"""Words of the longest name that is looked for in a text."""

Spread = Callable[[sqlite3.Connection, Mapping[str, float], Sequence[int], int | None], Mapping[int, float]]
"""Names with what each counts, the records that bear them, a time or None -> row id -> activation."""


def names_in(text: str) -> list[str]:
    """What may be a name in a text: up to three words in a row, in lower case, that neither begin nor end with a word
    such as "the"; each also without a plural's s.
    """
    found = words(text)
    spans = [found[i : i + n] for n in range(1, LONGEST_NAME + 1) for i in range(len(found) - n + 1)]
    names = [" ".join(span) for span in spans if span[0] not in STOP_WORDS and span[-1] not in STOP_WORDS]
    return list(dict.fromkeys([*names, *(name[:-1] for name in names if len(name) > 3 and name.endswith("s"))]))


def bearers(db: sqlite3.Connection, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Name -> row ids (N,), ascending, of the records that are tagged with it; only names that are a tag."""
    if not names:
        return {}
    given, values = among(names)
    sql = f"SELECT tag, group_concat(id) FROM record_tag WHERE tag {given} GROUP BY tag"
    found = db.execute(sql, values).fetchall()
    return {tag: np.unique(np.fromstring(ids, dtype=np.int64, sep=",")) for tag, ids in found}


def linked(db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, list[int]]:
    """Row id -> the records that it rests on and those that rest on it."""
    if not ids:
        return {}
    given, values = among(ids)
    sql = (
        f"SELECT id, ref FROM record_link WHERE id {given} UNION SELECT ref, id FROM record_link WHERE ref {given} "
        "ORDER BY 1, 2"
    )
    found: dict[int, list[int]] = {}
    for one, other in db.execute(sql, [*values, *values]):
        found.setdefault(one, []).append(other)
    return found


def seconds_from(db: sqlite3.Connection, ids: NDArray[np.int64], moment_ns: int, mirror: Mirror) -> NDArray[np.float64]:
    """(N,) seconds between a moment and each of the records `ids` (N,), ascending; 0 for what was there then."""
    with mirror.at(db) as rows:
        if rows is not None and len(ids):
            at = rows.find(ids)
            return _apart(rows.column("first")[at], rows.column("last")[at], moment_ns)
    given, values = among(ids.tolist())
    sql = f"SELECT first_ns, last_ns FROM record WHERE id {given} ORDER BY id"
    spans = np.array(db.execute(sql, values).fetchall() if len(ids) else [], np.int64).reshape(-1, 2)
    return _apart(spans[:, 0], spans[:, 1], moment_ns)


def _apart(first: NDArray[np.int64], last: NDArray[np.int64], moment_ns: int) -> NDArray[np.float64]:
    # As floats: a difference of two stamps may be beyond what 64 bits hold.
    before, after = first.astype(np.float64) - moment_ns, moment_ns - last.astype(np.float64)
    return np.asarray(np.maximum(np.maximum(before, after), 0.0) * 1e-9)


def over(ids: NDArray[np.int64], values: Mapping[int, float]) -> NDArray[np.float64]:
    """(N,) value of each of the records `ids` (N,), ascending; 0 where there is none."""
    made = np.zeros(len(ids))
    if not values or not len(ids):
        return made
    keys = np.fromiter(values, np.int64, len(values))
    at = np.minimum(np.searchsorted(ids, keys), len(ids) - 1)
    there = ids[at] == keys
    made[at[there]] = np.fromiter(values.values(), np.float64, len(values))[there]
    return made


class Linked:
    """What the names of a query and its first answers lead to.

    Attributes:
        names: Name -> row ids that bear it, ascending.
        links: Row id -> strength, of what rests on a first answer, or is what one rests on.
        active: Row id -> activation that spreads from the names.
    """

    def __init__(self) -> None:
        self.names: dict[str, NDArray[np.int64]] = {}
        self.links: dict[int, float] = {}
        self.active: Mapping[int, float] = {}

    def ids(self) -> NDArray[np.int64]:
        """(N,) the records, ascending, that bear a name or are linked: no other has any strength."""
        return np.unique(np.concatenate([*self.names.values(), np.fromiter(self.links, np.int64, len(self.links))]))

    def strength(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,) of each of the records `ids` (N,), ascending: its part of the names, a rare one counts more, or its
        links, whichever is more.
        """
        bears = np.zeros(len(ids))
        if self.names:
            held = np.array([[len(bearing) for bearing in self.names.values()]], np.float64)
            worth = 1.0 / (1.0 + np.log(held))
            bears = presence(ids, list(self.names.values()), worth)[0] / worth.sum()
        return np.asarray(np.maximum(bears, over(ids, self.links)))
