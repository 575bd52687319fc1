"""Many new records at once, column by column: a call for each value of each record would cost more than its row."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.index.rows import Batch, Group

if TYPE_CHECKING:
    from embodmem.index.records import Record


class Columns:
    """What records say, by column.

    Args:
        records: (N,) new records.
        begin: The id of the first; the others follow.
    """

    def __init__(self, records: Sequence[Record], begin: int) -> None:
        self._records, self._begin, self._count = records, begin, len(records)
        self._plain: list[list[str]] = [[getattr(r, name) for r in records] for name in _PLAIN]
        self._first = [int(r.first_ns) for r in records]
        self._last = [int(r.last_ns) for r in records]
        self._places = _places(records)
        self._all_points = all(r.box is None for r in records)

    @property
    def _ids(self) -> range:
        return range(self._begin, self._begin + self._count)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the table `record`, as `Record.values` makes them, with their ids."""
        place = self._places[:3].tolist()  # NaN is NULL for SQLite
        corners = place + place if self._all_points else self._places[3:].tolist()
        data = _as_json([r.data for r in self._records])
        return zip(self._ids, *self._plain, self._first, self._last, *place, *corners, data, strict=True)

    def tags(self) -> Iterator[tuple[str, int]]:
        """Each tag with the ids of the records that bear it, in their order."""
        labels = self._plain[_PLAIN.index("label")]
        alike: dict[tuple[str, ...], list[int]] = {}  # what is tagged alike, as most of what happens is
        for number, label, record in zip(self._ids, labels, self._records, strict=True):
            alike.setdefault((label, *record.tags), []).append(number)
        bearers: dict[str, list[int]] = {}
        for given, numbers in alike.items():
            for tag in tags_of(given):
                bearers.setdefault(tag, []).extend(numbers)
        return chain.from_iterable(zip(repeat(tag), sorted(ids)) for tag, ids in sorted(bearers.items()))

    def links(self) -> list[tuple[int, int]]:
        """Each id with what its record rests on."""
        return [(number, ref) for number, r in zip(self._ids, self._records, strict=True) for ref in r.evidence]

    def batch(self, vectors: NDArray[np.float32]) -> tuple[Batch, list[Group]]:
        """What a search holds in RAM of them with vectors (N, dim), and the groups that its numbers mean."""
        groups: dict[Group, int] = {}
        numbers = [groups.setdefault((*key, True), len(groups)) for key in zip(*self._plain[:4], strict=True)]
        batch = Batch(
            ids=np.arange(self._begin, self._begin + self._count, dtype=np.int64),
            first=np.array(self._first, dtype=np.int64),
            last=np.array(self._last, dtype=np.int64),
            box=self._places[3:].T,
            group=np.array(numbers, dtype=np.int32),
            has=np.ones(self._count, np.bool_),
            exact=vectors,
        )
        return batch, list(groups)


_PLAIN = ("kind", "subkind", "agent", "source", "label", "text")


def tags_of(given: Iterable[str]) -> list[str]:
    """Labels and tags in lower case, each once."""
    return sorted({tag.lower() for tag in given if tag})


def _places(records: Sequence[Record]) -> NDArray[np.float64]:
    """(9, N) position, lower and upper corner, metres in the world; NaN where there is none."""
    places = np.full((9, len(records)), np.nan)
    at = [i for i, record in enumerate(records) if record.position is not None]
    if at:
        given = np.concatenate([p for r in records if (p := r.position) is not None], dtype=np.float64)
        places[:, at] = np.tile(given.reshape(-1, 3).T, (3, 1))
    at = [i for i, record in enumerate(records) if record.box is not None]
    if at:
        given = np.concatenate([b for r in records if (b := r.box) is not None], dtype=np.float64)
        places[3:, at] = given.reshape(-1, 6).T
    return places


def _as_json(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each as JSON: written as one list and taken apart at a text that nobody can guess."""
    if not any(values):
        return ["{}"] * len(values)
    mark = secrets.token_hex(16)
    joined = json.dumps([part for value in values for part in (value if type(value) is dict else dict(value), mark)])
    return joined[1:-1].removesuffix(f', "{mark}"').split(f', "{mark}", ')
