"""Events as a robot in a home writes them, with vectors: the data of `bench_store.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.index import Record

DIM = 384
SECOND = 10**9
CENTRES = 2000
"""Clusters of vectors: what happens in a home repeats itself."""

ROOMS = ("kitchen", "hall", "bedroom", "study", "bathroom", "living room")
THINGS = ("mug", "book", "lamp", "remote", "plate", "jacket", "phone", "towel", "bottle", "key", "bag", "chair")
VERBS = ("picked up", "put down", "saw", "moved", "looked for", "handed over", "cleaned", "was asked about")


class Given:
    """An encoder whose vectors always come with the records."""

    name, dim, min_score = "given", DIM, -1.0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Nothing is left to encode."""
        raise RuntimeError(f"wanted embeddings with the records, got {len(texts)} texts to encode")


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


class World:
    """One event a second, with nights of eight hours; the robot walks through six rooms of 4 x 4 m.

    Vectors: one of 2,000 random centres of unit norm plus noise of norm 0.7, made unit. Two events of a cluster have a
    cosine of about 0.67, two of different ones 0 with a deviation of 0.05.

    Args:
        n: How many events.
        seed: Of everything.
    """

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n = n
        self._made: dict[int, Record] = {}
        self.rng = rng = np.random.default_rng(seed)
        self.stamps = (np.arange(n, dtype=np.int64) + np.arange(n) // 57_600 * 28_800) * SECOND
        self.rooms = np.repeat(rng.integers(0, len(ROOMS), n // 120 + 1), 120)[:n]
        corner = np.stack([self.rooms % 3, self.rooms // 3, np.zeros(n)], axis=1) * 4.0
        self.places = corner + rng.uniform((0.0, 0.0, 0.0), (4.0, 4.0, 1.5), (n, 3))
        self.things, self.verbs = rng.integers(0, len(THINGS), n), rng.integers(0, len(VERBS), n)
        self.centres = unit(rng.standard_normal((CENTRES, DIM), dtype=np.float32))
        self.vectors = np.empty((n, DIM), np.float32)
        for begin in range(0, n, 20_000):
            end = min(n, begin + 20_000)
            self.vectors[begin:end] = self.near(self.centres[rng.integers(0, CENTRES, end - begin)], 0.7)

    def near(self, vectors: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
        """Each vector with noise of so large a norm, made unit."""
        shifts = self.rng.standard_normal(vectors.shape, dtype=np.float32)
        return unit(vectors + np.float32(noise / DIM**0.5) * shifts)

    def prepare(self, begin: int, end: int) -> None:
        """Make the records of some events ahead."""
        self._made = {i: self._make(i) for i in range(begin, end)}

    def record(self, i: int) -> Record:
        """Event number i."""
        return self._made.get(i) or self._make(i)

    def _make(self, i: int) -> Record:
        thing, room, verb = THINGS[self.things[i]], ROOMS[self.rooms[i]], VERBS[self.verbs[i]]
        return Record(
            kind="event",
            subkind="did",
            text=f"the robot {verb} the {thing} in the {room} on round {i // 120}",
            first_ns=int(self.stamps[i]),
            last_ns=int(self.stamps[i]),
            position=self.places[i],
            tags=(thing, room),
            data={"objects": [thing], "place": room},
        )

    def queries(self, count: int) -> NDArray[np.float32]:
        """(count, DIM) events seen again, with noise of norm 0.5."""
        return self.near(self.vectors[self.rng.integers(0, self.n, count)], 0.5)

    def span(self, share: float) -> tuple[int, int]:
        """Stamps between which so many of all events lie, at random."""
        rows = max(1, round(share * self.n))
        begin = int(self.rng.integers(0, self.n - rows + 1))
        return int(self.stamps[begin]), int(self.stamps[begin + rows - 1])
