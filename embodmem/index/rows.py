"""What filters and vectors need of every record, as columns in RAM."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embodmem.index.codes import quantise
from embodmem.index.spans import InOrder, Spans, touching

EXACT_NUMBERS = 16_384 * 384
"""Up to so many numbers (25 MB), vectors are held as they are beside their bytes; beyond, as bytes alone."""


def exact_rows(dim: int) -> int:
    """Up to how many records their vectors (dim,) are held as they are."""
    return EXACT_NUMBERS // max(dim, 1)


_CODED_AT_ONCE = 1024
"""Vectors that are coded in one go: what is made on the way stays near the processor."""

Group = tuple[str, str, str, str, bool]
"""Kind, subkind, agent, source, live: what many records have in common."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """Columns of some records, by ascending id.

    Attributes:
        ids: (N,) int64.
        first: (N,) int64, ns.
        last: (N,) int64, ns.
        box: (N, 6) float64, lower and upper corner in the world, metres; NaN where there is no place.
        group: (N,) int32, index into the groups; -1 for a record that is gone.
        has: (N,) bool, whether there is a vector.
        exact: (N, dim) float32 vectors of unit norm, or None where there are codes alone.
        codes: (N, dim) int8, or None where there are vectors alone.
        scale: (N,) float32, see `quantise`.
        error: (N,) float32.
    """

    ids: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    box: NDArray[np.float64]
    group: NDArray[np.int32]
    has: NDArray[np.bool_]
    exact: NDArray[np.float32] | None = None
    codes: NDArray[np.int8] | None = None
    scale: NDArray[np.float32] | None = None
    error: NDArray[np.float32] | None = None

    def as_codes(self) -> None:
        """Turn vectors into codes."""
        if self.exact is None:
            return
        count, dim = self.exact.shape
        codes, scale, error = np.empty((count, dim), np.int8), np.empty(count, np.float32), np.empty(count, np.float32)
        for begin in range(0, count, _CODED_AT_ONCE):
            part = slice(begin, begin + _CODED_AT_ONCE)
            codes[part], scale[part], error[part] = quantise(self.exact[part])
        self.codes, self.scale, self.error, self.exact = codes, scale, error, None

    def part(self, rows: slice) -> Batch:
        """Some of the rows; columns are not copied."""
        columns = {name: None if (c := getattr(self, name)) is None else c[rows] for name in self.__slots__}
        return Batch(**columns)  # type: ignore[arg-type]  # each is what it was

    @classmethod
    def joined(cls, first: Batch, then: Batch) -> Batch:
        """One after the other; both hold the same columns."""
        columns = {name: (getattr(first, name), getattr(then, name)) for name in cls.__slots__}
        return cls(**{name: None if a is None else np.concatenate([a, b]) for name, (a, b) in columns.items()})  # type: ignore[arg-type]


At = slice | NDArray[np.int64]
"""Rows, ascending: a slice where none between them is missing, so that no copy is made of what it takes."""


def dense(at: NDArray[np.int64]) -> At:
    """Ascending rows as a slice where none between them is missing."""
    if len(at) and at[-1] - at[0] + 1 == len(at):
        return slice(int(at[0]), int(at[-1]) + 1)
    return at


def taken(at: At, part: At) -> At:
    """Those of some rows (N,) that stand at `part` of them."""
    return dense(np.arange(at.start, at.stop)[part] if isinstance(at, slice) else at[part])


def kept(at: At, keep: NDArray[np.bool_]) -> At:
    """Those of some rows (N,) that are kept."""
    count = int(np.count_nonzero(keep))
    if count == len(keep):
        return at
    if not isinstance(at, slice):
        return at[keep]
    if count:
        begin = int(keep.argmax())
        if begin + count <= len(keep) and keep[begin : begin + count].all():
            return slice(at.start + begin, at.start + begin + count)
    scattered: NDArray[np.int64] = keep.nonzero()[0] + at.start
    return scattered


def picked(column: NDArray[Any], at: At) -> NDArray[Any]:
    """What a column holds of some rows; by `take`, which reads scattered rows in half the time of an index."""
    return column[at] if isinstance(at, slice) else column.take(at, axis=0, mode="clip")


class OutOfOrder(Exception):
    """A record came in below ids that are held: everything has to be read again."""


_MOST_PLACES = 4
"""Of so many arrays of ids the rows are held."""

_MOST_CHOICES = 64
"""Choices among the groups that are held."""

_PLAIN = ("ids", "first", "last", "box", "group", "has")
_CODED = ("codes", "scale", "error")


class Choice:
    """Some of the groups.

    Attributes:
        groups: (G + 1,) whether it is one of them; the last, for records that are gone, is not.
        every: Whether all are.
        facts: Whether one of them is of facts.
    """

    __slots__ = ("every", "facts", "groups")

    def __init__(self, groups: list[Group], choose: Callable[[Group], bool]) -> None:
        chosen = [choose(group) for group in groups]
        self.groups: NDArray[np.bool_] = np.array([*chosen, False])
        self.every = all(chosen)
        self.facts = any(group[0] == "fact" for group, is_one in zip(groups, chosen, strict=True) if is_one)


class Rows:
    """Columns of all records, ascending by id, that follow changes.

    Args:
        dim: Length of a vector; 0 without an encoder.
        exact: Hold the vectors as they are beside their codes, until there are more than `exact_rows` records.
    """

    SPAN: ClassVar[int] = 64
    """Rows whose times and places are summed up together, so that a filter passes over most of them at once."""

    def __init__(self, dim: int, exact: bool) -> None:
        self.dim, self.n, self.gone = dim, 0, 0
        self.groups: list[Group] = []
        self._group_of: dict[Group, int] = {}
        self._names = (*_PLAIN, *_CODED, *(("exact",) if exact else ()))
        self._held: dict[str, NDArray[Any]] = {
            "ids": np.empty(0, np.int64),
            "first": np.empty(0, np.int64),
            "last": np.empty(0, np.int64),
            "box": np.empty((0, 6), np.float64, order="F"),  # each of the six by itself: a filter reads one at a time
            "group": np.empty(0, np.int32),
            "has": np.empty(0, np.bool_),
            "codes": np.empty((0, dim), np.int8),
            "scale": np.empty(0, np.float32),
            "error": np.empty(0, np.float32),
        }
        if exact:
            self._held["exact"] = np.empty((0, dim), np.float32)
        self._places: dict[int, tuple[NDArray[np.int64], At]] = {}
        self._all_have: bool | None = None
        self.made: dict[Hashable, Any] = {}
        """What was made of the rows, until something changes; whoever puts something here limits how much."""
        self._spans, self._in_order = Spans(self.SPAN), InOrder()
        self._logs: list[list[NDArray[np.int64]]] = []
        self._choices: dict[Hashable, Choice] = {}

    def watched_by(self, log: list[NDArray[np.int64]]) -> None:
        """Append the ids of every change to this list, and to the one that was given before."""
        self._logs = [*self._logs[-1:], log]

    def _changed(self, ids: NDArray[np.int64]) -> None:
        self._places.clear()
        self.made.clear()
        self._all_have = None
        for log in self._logs:
            log.append(ids)

    @property
    def is_exact(self) -> bool:
        """Whether the vectors are held as they are."""
        return "exact" in self._held

    def column(self, name: str) -> NDArray[Any]:
        """One column of all rows, as `Batch` names it."""
        return self._held[name][: self.n]

    def group_number(self, group: Group) -> int:
        """Its index in `groups`."""
        number = self._group_of.get(group)
        if number is None:
            number = self._group_of[group] = len(self.groups)
            self.groups.append(group)
        return number

    def chosen(self, key: Hashable, choose: Callable[[Group], bool]) -> Choice:
        """Which groups are chosen.

        Args:
            key: What the choice depends on, beside the group.
            choose: Whether a group is.
        """
        found = self._choices.get(key)
        if found is None or len(found.groups) != len(self.groups) + 1:
            if len(self._choices) >= _MOST_CHOICES:
                self._choices.clear()
            found = self._choices[key] = Choice(self.groups, choose)
        return found

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row (N,) of each id, -1 where there is none."""
        known = self._places.get(id(ids))
        if known is not None:
            return np.arange(known[1].start, known[1].stop) if isinstance(known[1], slice) else known[1]
        held = self.column("ids")
        if not self.n or not len(ids):
            return np.full(len(ids), -1, np.int64)
        if held[-1] - held[0] + 1 == self.n:  # none is missing between them
            at = np.minimum(np.maximum(ids - held[0], 0), self.n - 1)
        else:
            at = np.minimum(np.searchsorted(held, ids), self.n - 1)
        return np.where((held[at] == ids) & (self.column("group")[at] >= 0), at, -1)

    def rows_of(self, ids: NDArray[np.int64]) -> At:
        """The rows of ids, ascending, of those that are held."""
        known = self._places.get(id(ids))
        if known is not None:
            return known[1]
        at = self.find(ids)
        return dense(at[at >= 0])

    def with_vector(self, at: At) -> At:
        """Those of some rows that have a vector."""
        if self._all_have is None:
            self._all_have = bool(self.column("has").all())
        return at if self._all_have else kept(at, picked(self.column("has"), at))

    def ids_of(self, at: At) -> NDArray[np.int64]:
        """The ids (N,) of rows, ascending, not to be written to; `rows_of` these very ids, while they are among the
        last ones, is free until something changes.
        """
        ids = self.column("ids")[at]  # of a slice no copy: the id of a row never changes where it stands
        ids.flags.writeable = False
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        self._places[id(ids)] = (ids, at)  # held, so that no other array has its id
        return ids

    def reserve(self, rows: int) -> None:
        """Make room for so many rows in all."""
        capacity = len(self._held["ids"])
        if rows <= capacity:
            return
        rows = -(-max(rows, 256) // self.SPAN) * self.SPAN  # whole spans: `touching` reads them so
        for name in self._names:
            old = self._held[name]
            grown = np.empty((rows, *old.shape[1:]), old.dtype, order="F" if name == "box" else "C")
            grown[: self.n] = old[: self.n]
            self._held[name] = grown

    def put(self, batch: Batch) -> None:
        """Add records, or write them anew.

        Raises:
            OutOfOrder: A new one has a lower id than one that is held.
        """
        if not len(batch.ids):
            return
        if not self.is_exact:
            batch.as_codes()
        elif batch.codes is None and batch.exact is not None:
            batch.codes, batch.scale, batch.error = quantise(batch.exact)
        self._changed(batch.ids)
        held = self.column("ids")
        if not self.n or batch.ids[0] > held[-1]:
            self._append(batch)
            return
        at = np.searchsorted(held, batch.ids)
        known = at < self.n
        known[known] = held[at[known]] == batch.ids[known]
        fresh = np.flatnonzero(~known)
        if len(fresh) and self.n and batch.ids[fresh[0]] <= held[-1]:
            raise OutOfOrder
        self.gone -= int((self._held["group"][at[known]] < 0).sum())
        begin, end = self.n, self.n + len(fresh)
        if end > len(self._held["ids"]):
            self.reserve(max(end, 2 * self.n))
        at[fresh] = np.arange(begin, end)
        for name in self._names:
            self._held[name][at] = getattr(batch, name)
        self.n = end
        self._spans.touch(at)
        self._in_order.touch(int(at.min()))
        self._limit_exact()

    def _append(self, batch: Batch) -> None:
        begin, end = self.n, self.n + len(batch.ids)
        if end > len(self._held["ids"]):
            self.reserve(max(end, 2 * self.n))
        for name in self._names:
            self._held[name][begin:end] = getattr(batch, name)
        self.n = end
        self._spans.touch_from(begin, end)
        self._limit_exact()

    def _limit_exact(self) -> None:
        if self.is_exact and self.n > exact_rows(self.dim):
            del self._held["exact"]
            self._names = (*_PLAIN, *_CODED)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Forget records; ids that are not held are left out."""
        at = self.find(ids)
        at = at[at >= 0]
        if not len(at):
            return
        self._changed(self.column("ids")[at].copy())
        self._held["group"][at] = -1
        self._held["has"][at] = False
        self._held["box"][at] = np.nan
        for name in ("exact", "codes") if self.is_exact else ("codes",):
            self._held[name][at] = 0
        self._spans.touch(at)
        self.gone += len(at)
        if self.gone > max(64, self.n // 2):
            left = np.flatnonzero(self.column("group") >= 0)
            for name in self._names:
                self._held[name] = self._held[name][left]
            self.n, self.gone = len(left), 0
            self.reserve(self.n + 1)
            self._spans.begin_anew(self.n)
            self._in_order.touch(0)

    def spans(self) -> NDArray[np.float64]:
        """(8, S): of each `SPAN` rows the earliest begin, the latest end (ns), the lower and the upper corner (m); see
        `Spans`.
        """
        return self._spans.of(self._held, self.n)

    def spans_in(self, begin: float, end: float) -> slice | None:
        """Which of the `spans` have something between two stamps; None where they do not follow one another in time."""
        spans = self.spans()
        if not self._spans.by_time:
            return None
        return slice(int(spans[1].searchsorted(begin)), int(spans[0].searchsorted(end, "right")))

    def in_spans(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of some spans (S,), ascending; some may lie behind the last row."""
        return (spans[:, None] * self.SPAN + np.arange(self.SPAN)).reshape(-1)

    def touching(
        self, spans: NDArray[np.int64], lower: NDArray[np.float64], upper: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Those of `in_spans` whose box touches another one."""
        return touching(self._held["box"], self.SPAN, spans, lower, upper)

    def in_time(self, begin: int | None, end: int | None) -> slice | None:
        """The rows that have something between two stamps, ns; None where rows do not follow one another in time."""
        first, last = self.column("first"), self.column("last")
        if not self._in_order.holds(first, last):
            return None
        start = 0 if begin is None else int(last.searchsorted(begin))
        return slice(start, max(start, self.n if end is None else int(first.searchsorted(end, "right"))))
