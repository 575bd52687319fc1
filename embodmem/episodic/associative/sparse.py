"""Sparse codes in superposition: all patterns in one matrix of links, none by itself.

A pattern becomes a code of the k units that its random projection drives most: what is alike gets codes that intersect
(Sparsey, Rinkus, 2014), and one trial is enough. The links between the units of a code are those of Willshaw et al.,
Nature 1969 (clipped Hebb), which count, so that what was learnt can be unlearnt (as the CA3 memory of Casanueva-Morato
et al. learns, recalls from any fragment, and forgets).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.episodic.associative.store import AssociativeStore
from embodmem.errors import InvalidInput

_CHUNK = 16
_GAIN = 10.0
"""What a unit linked to all that are on counts, in standard deviations of the drive from outside."""


def willshaw_capacity(units: int, active: int, known: int) -> int:
    """How many random codes can be told from a cue of `known` of their units, with about one wrong unit in each.

    After M codes a link is there with p = 1 - (1 - (k / n)^2)^M; a wrong unit is linked to all of the cue with p^m. The
    answer is the M at which (n - k) p^m = 1 (Willshaw et al., 1969; Palm, Biological Cybernetics 1980).
    """
    p = (1.0 / max(units - active, 2)) ** (1.0 / known)
    return int(math.log1p(-p) / math.log1p(-((active / units) ** 2)))


class Superposition(AssociativeStore):
    """Codes of patterns in a matrix of fixed size; the ones written first are unlearnt when there are too many.

    Args:
        dim: Length of a pattern.
        units: Of the code, n. The matrix takes 2 n^2 bytes.
        active: Units of a code, k.
        capacity: Most codes; None takes what theory says for a cue of half a code.
        seed: Of the projection.

    Raises:
        InvalidInput: A size is out of range.
    """

    def __init__(
        self, dim: int, units: int = 4096, active: int = 48, capacity: int | None = None, seed: int = 0
    ) -> None:
        if not (dim >= 1 and 2 <= active <= units // 2 and units <= 16384):
            raise InvalidInput(
                f"superposition: wanted dim >= 1 and 2 <= active <= units / 2 <= 8192, got {dim}, {active}, {units}"
            )
        super().__init__()
        self.dim, self.units, self.active = dim, units, active
        self.capacity = willshaw_capacity(units, active, max(1, active // 2)) if capacity is None else capacity
        if self.capacity < 1:
            raise InvalidInput(f"superposition: wanted a capacity of 1 or more, got {self.capacity}")
        rng = np.random.default_rng(seed)
        self._projection = rng.standard_normal((dim, units)).astype(np.float32)
        self._links = np.zeros((units, units), np.uint16)
        self._codes = np.empty((0, active), np.uint16)

    @property
    def nbytes(self) -> int:
        """Bytes in use: links, projection, and the code of each id, by which it is named and unlearnt."""
        return self._links.nbytes + self._projection.nbytes + self._codes.nbytes + self._ids.nbytes

    def encode(self, patterns: NDArray[np.float32]) -> NDArray[np.uint16]:
        """(Q, active) units of patterns (Q, dim), ascending; what is not known (NaN) drives none.

        Raises:
            InvalidInput: They have another length.
        """
        return self._winners(self._drive(patterns))

    def _drive(self, patterns: NDArray[np.float32]) -> NDArray[np.float32]:
        """(Q, units) what patterns (Q, dim) drive each unit by, in standard deviations."""
        given = np.asarray(patterns, np.float32)
        if given.ndim != 2 or given.shape[1] != self.dim or np.isinf(given).any():
            raise InvalidInput(f"superposition: wanted patterns (Q, {self.dim}), NaN if unknown, got {given.shape}")
        drive: NDArray[np.float32] = np.nan_to_num(given) @ self._projection
        drive /= np.maximum(drive.std(axis=1, keepdims=True), 1e-12)
        return drive

    def _winners(self, drive: NDArray[np.float32]) -> NDArray[np.uint16]:
        """(Q, active) units of the largest drive (Q, units): k winners take all."""
        order = np.argpartition(-drive, self.active - 1, axis=1)[:, : self.active]
        return np.sort(order, axis=1).astype(np.uint16)

    def write(self, ids: NDArray[np.int64], patterns: NDArray[np.float32]) -> None:
        """Learn patterns (N, dim) under ids (N,), each in one trial; an id that is known gets the new one."""
        self.write_codes(ids, self.encode(patterns))

    def write_codes(self, ids: NDArray[np.int64], codes: NDArray[np.uint16]) -> None:
        """Learn codes (N, active) of one's own."""
        self.forget(ids)
        ids, codes = np.asarray(ids, np.int64)[-self.capacity :], codes[-self.capacity :]
        self.forget(self._ids[: max(0, len(self) + len(ids) - self.capacity)])
        np.add.at(self._links.reshape(-1), self._pairs(codes), np.uint16(1))
        self._codes, self._ids = np.concatenate([self._codes, codes]), np.concatenate([self._ids, ids])

    def forget(self, ids: NDArray[np.int64]) -> int:
        """Unlearn what was written under ids, to the last link; returns how many were there."""
        gone = np.isin(self._ids, ids)
        if gone.any():
            np.subtract.at(self._links.reshape(-1), self._pairs(self._codes[gone]), np.uint16(1))
            self._codes, self._ids = self._codes[~gone], self._ids[~gone]
        return int(gone.sum())

    def _pairs(self, codes: NDArray[np.uint16]) -> NDArray[np.int64]:
        units = codes.astype(np.int64)
        return (units[:, :, None] * self.units + units[:, None, :]).reshape(-1)

    def complete(self, fragments: NDArray[np.float32], steps: int = 4) -> NDArray[np.uint16]:
        """The codes (Q, active) that fragments (Q, dim) belong to; NaN is what is not known of a fragment.

        Each step, the units win that the fragment and those that are on drive most: what comes from outside and what
        is linked within add up, as in CA3.
        """
        drive = self._drive(fragments)
        on = self._winners(drive)
        for _ in range(steps):
            on = np.concatenate(
                [
                    self._winners(drive[at : at + _CHUNK] + _GAIN * self._linked(on[at : at + _CHUNK]))
                    for at in _chunks(on)
                ]
            )
        return on

    def complete_codes(self, cues: NDArray[np.uint16], steps: int = 1) -> NDArray[np.uint16]:
        """The codes (Q, active) that cues (Q, m) of single units belong to, by links alone (Willshaw et al., 1969)."""
        on = np.asarray(cues)
        for _ in range(steps):
            on = np.concatenate([self._winners(self._linked(on[at : at + _CHUNK])) for at in _chunks(on)])
        return on

    def _linked(self, on: NDArray[np.uint16]) -> NDArray[np.float32]:
        """(q, units) part of the units that are on (q, m) to which each unit is linked."""
        linked: NDArray[np.float32] = (self._links[on] > 0).mean(axis=1, dtype=np.float32)
        return linked

    def familiarity(self, patterns: NDArray[np.float32]) -> NDArray[np.float32]:
        """(Q,) part of the links within the code of each pattern (Q, dim) that are there: 1 for what was written."""
        codes = self.encode(patterns)
        links = self._links.reshape(-1)[self._pairs(codes)].reshape(len(codes), -1) > 0
        found: NDArray[np.float32] = links.mean(axis=1, dtype=np.float32)
        return found

    def recall(self, fragments: NDArray[np.float32], k: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids (Q, k) of what fragments (Q, dim) call up, and how much they drive its code, best first.

        An id is named by the mean drive over the units of its code, in standard deviations. (By the completed code it
        would be named worse: where much is missing, some fragments settle in a neighbour's code.)

        Raises:
            InvalidInput: A fragment has another length, or nothing is stored.
        """
        return self._called_up(
            self._drive(fragments), k, _CHUNK, lambda drive: drive[:, self._codes].mean(axis=2, dtype=np.float32)
        )


def _chunks(rows: NDArray[Any]) -> range:
    return range(0, len(rows), _CHUNK)
