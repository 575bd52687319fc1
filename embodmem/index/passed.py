"""What passes the filters of a query, of several groups of kinds at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embodmem.index.rows import At, Rows, taken


@dataclass(slots=True)
class Passed:
    """What passes the filters, of groups of kinds that share none.

    Attributes:
        ids: (N,) row ids, ascending, of all groups.
        distance: (N,) metres from the point of the query, NaN without a place; None where it has no point.
        names: Of the groups.
        parts: Where in `ids` those of each group stand.
        group: (N,) which group each is of; None where there is only one.
    """

    ids: NDArray[np.int64]
    distance: NDArray[np.float64] | None
    names: tuple[str, ...]
    parts: tuple[At, ...]
    group: NDArray[np.int8] | None
    _lying: tuple[Rows, tuple[At, ...]] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        ids: NDArray[np.int64],
        distance: NDArray[np.float64] | None,
        names: tuple[str, ...],
        group: NDArray[np.int8] | None,
    ) -> Passed:
        """Of ids and their groups."""
        if group is None:
            return cls(ids, distance, names, (slice(None),), None)
        parts = tuple(np.flatnonzero(group == number) for number in range(len(names)))
        return cls(ids, distance, names, parts, group)

    def each(self) -> list[tuple[str, NDArray[np.int64]]]:
        """The ids of each group."""
        if self.group is None:
            return [(self.names[0], self.ids)]  # the very array, whose rows are known
        return [(name, self.ids[part]) for name, part in zip(self.names, self.parts, strict=True)]

    def split(self, at: NDArray[np.int64]) -> list[tuple[str, NDArray[np.int64]]]:
        """Group that has any of some records (M,), which stand at `at` in `ids` -> where in `at` its own are."""
        if self.group is None or not len(at):
            return [(self.names[0], np.arange(len(at)))] if len(at) else []
        group = self.group[at]
        count = np.bincount(group).tolist()
        return [(self.names[number], (group == number).nonzero()[0]) for number, some in enumerate(count) if some]

    def lying_in(self, rows: Rows) -> tuple[At, ...]:
        """The rows of each group's records that have a vector; only while the rows are as when these passed."""
        if self._lying is None or self._lying[0] is not rows:
            at = rows.rows_of(self.ids)
            parts = (at if self.group is None else taken(at, part) for part in self.parts)
            self._lying = rows, tuple(rows.with_vector(part) for part in parts)
        return self._lying[1]
