"""The short-term cache: what was noticed around the body lately, in the body's own coordinates, bounded.

Mem4Nav's short-term memory: entries lie where they are as seen from the body, and are re-expressed when it moves, so
that local planning needs no map and no world frame, only how the body moved. When it is full, the entry goes whose
lambda * frequency - (1 - lambda) * age is lowest; a read keeps what lies in a radius and ranks it by cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput, StampError
from embodmem.geometry import Pose, check_pose, inverse, transform_points
from embodmem.types import check_stamp

_ARRAYS = ("positions", "embeddings", "stamps_ns", "frequencies")


@dataclass(frozen=True)
class NearbyEntry:
    """One entry, as a read gives it.

    Attributes:
        name: What it is, as written; "" where it has no name.
        position: (3,) metres in the frame that the body has now.
        embedding: (D,) float32, as written.
        stamp_ns: When it was written last, ns.
        frequency: How often it was written or read.
        distance_m: From the point that was asked about, metres.
        cosine: To the embedding that was asked for; NaN where none was.
    """

    name: str
    position: NDArray[np.float64]
    embedding: NDArray[np.float32]
    stamp_ns: int
    frequency: int
    distance_m: float
    cosine: float


class NearbyCache:
    """At most `capacity` entries around the body. Every operation costs O(capacity), vectorised.

    It is held in RAM (`state_dict` saves it): what is to last belongs into the other memories.

    Args:
        dim: Length of an embedding; 0 for entries without.
        capacity: Most entries; K of Mem4Nav.
        frequency_weight: lambda of the score, 0..1: at 1 the least used goes first, at 0 the oldest.
        tick_s: What counts as one unit of age in the score, seconds; a step of the agent, say.

    Raises:
        InvalidInput: A number is out of its range.
    """

    def __init__(self, dim: int, capacity: int = 128, frequency_weight: float = 0.5, tick_s: float = 1.0) -> None:
        if dim < 0 or capacity < 1 or not 0.0 <= frequency_weight <= 1.0 or not tick_s > 0:
            raise InvalidInput(
                "nearby: wanted dim >= 0, capacity >= 1, frequency_weight in 0..1 and tick_s > 0, got "
                f"{dim}, {capacity}, {frequency_weight} and {tick_s}"
            )
        self.dim, self.capacity = dim, capacity
        self.frequency_weight, self.tick_s = frequency_weight, tick_s
        self.evicted = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything, the newest stamp and the body's pose included."""
        self._names: list[str] = []
        self._positions = np.empty((0, 3))
        self._embeddings = np.empty((0, self.dim), np.float32)
        self._stamps_ns = np.empty(0, np.int64)
        self._frequencies = np.empty(0, np.int64)
        self._newest_ns: int | None = None
        self._T_world_body: Pose | None = None

    def __len__(self) -> int:
        return len(self._names)

    def write(
        self,
        positions: ArrayLike,
        stamp_ns: int,
        embeddings: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> int:
        """Add entries, or see named ones again: those take the new place, embedding and stamp, and count as used.

        Where there is no room, the entries of the lowest score go, never one of those being written.

        Args:
            positions: (N, 3) metres in the frame that the body has now.
            stamp_ns: When they were seen, ns; must not decrease.
            embeddings: (N, dim) numbers.
            names: N names; "" for an entry that is never the same as another. None for all "".

        Returns:
            How many entries went to make room.

        Raises:
            StampError: Time went backwards.
            InvalidInput: A shape is another, a number is not finite, a name comes twice, or there are more than
                `capacity`.
        """
        stamp = check_stamp(stamp_ns)
        if self._newest_ns is not None and stamp < self._newest_ns:
            raise StampError(f"stamp_ns: wanted {self._newest_ns} or later, got {stamp}: time went backwards")
        places = _numbers(positions, "positions", 3, np.float64)
        vectors = _numbers(np.zeros((len(places), 0)) if embeddings is None else embeddings, "embeddings", self.dim)
        called = [""] * len(places) if names is None else list(names)
        if not len(places) == len(vectors) == len(called) <= self.capacity:
            raise InvalidInput(
                f"nearby: wanted as many positions, embeddings and names, at most {self.capacity}, got {len(places)}, "
                f"{len(vectors)} and {len(called)}"
            )
        given = [name for name in called if name]
        if len(set(given)) < len(given):
            raise InvalidInput(f"nearby: wanted each name once, got {sorted(given)}")
        self._newest_ns = stamp
        where = {name: i for i, name in enumerate(self._names) if name}
        old = np.array([where.get(name, -1) for name in called], dtype=np.intp)
        frequencies = np.ones(len(places), np.int64)
        frequencies[old >= 0] += self._frequencies[old[old >= 0]]
        self._keep(np.setdiff1d(np.arange(len(self)), old))
        gone = max(0, len(self) + len(places) - self.capacity)
        self._keep(np.sort(np.argsort(self.scores(stamp), kind="stable")[gone:]))
        self.evicted += gone
        self._names += called
        self._positions = np.concatenate([self._positions, places])
        self._embeddings = np.concatenate([self._embeddings, vectors])
        self._stamps_ns = np.concatenate([self._stamps_ns, np.full(len(places), stamp)])
        self._frequencies = np.concatenate([self._frequencies, frequencies])
        return gone

    def _keep(self, rows: NDArray[np.intp]) -> None:
        self._names = [self._names[row] for row in rows.tolist()]
        for name in _ARRAYS:
            setattr(self, f"_{name}", getattr(self, f"_{name}")[rows])

    def scores(self, now_ns: int) -> NDArray[np.float64]:
        """Score (M,) in the order of writing, lambda * frequency - (1 - lambda) * age; the lowest goes first.

        Mem4Nav, its short-term memory's replacement score; of equal ones the one written first goes first.
        """
        age = (now_ns - self._stamps_ns) / (self.tick_s * 1e9)
        score: NDArray[np.float64] = self.frequency_weight * self._frequencies - (1.0 - self.frequency_weight) * age
        return score

    def move(self, T_before_after: ArrayLike) -> None:
        """Re-express all entries after the body moved.

        Args:
            T_before_after: (4, 4) pose of the body's frame now in its frame before (odometry between the two).

        Raises:
            PoseError: It is no pose.
        """
        T = check_pose(T_before_after, "T_before_after")
        self._positions = transform_points(inverse(T), self._positions)
        if self._T_world_body is not None:
            self._T_world_body = self._T_world_body @ T

    def follow(self, T_world_body: ArrayLike) -> None:
        """Re-express all entries for the body's new pose in any fixed frame; the first call only notes the pose.

        Args:
            T_world_body: (4, 4).

        Raises:
            PoseError: It is no pose.
        """
        T = check_pose(T_world_body, "T_world_body")
        if self._T_world_body is not None:
            self._positions = transform_points(inverse(T) @ self._T_world_body, self._positions)
        self._T_world_body = T

    def read(
        self,
        radius_m: float,
        k: int = 10,
        *,
        embedding: ArrayLike | None = None,
        near: ArrayLike = (0.0, 0.0, 0.0),
    ) -> list[NearbyEntry]:
        """The k best entries within a radius, and count them as used.

        Args:
            radius_m: How far they may lie from `near`, metres.
            k: Most entries wanted.
            embedding: (dim,) to rank by cosine; None ranks by nearness.
            near: (3,) point in the frame that the body has now; its origin by default.

        Raises:
            InvalidInput: k is below 1, the radius below 0, or a shape is another.
        """
        if k < 1 or not radius_m >= 0:
            raise InvalidInput(f"nearby: wanted k of 1 or more and a radius of 0 m or more, got {k} and {radius_m}")
        point = _numbers([near], "near", 3, np.float64)[0]
        distance = np.linalg.norm(self._positions - point, axis=1)
        cosine = np.full(len(self), np.nan)
        if embedding is not None:
            query = _numbers([embedding], "embedding", self.dim)[0].astype(np.float64)
            norms = np.linalg.norm(self._embeddings, axis=1) * np.linalg.norm(query)
            cosine = (self._embeddings @ query) / np.maximum(norms, 1e-12)
        inside = np.flatnonzero(distance <= radius_m)
        rank = distance if embedding is None else -cosine
        best = inside[np.lexsort((distance[inside], rank[inside]))[:k]]
        self._frequencies[best] += 1
        return [self._entry(row, float(distance[row]), float(cosine[row])) for row in best.tolist()]

    def _entry(self, row: int, distance_m: float = 0.0, cosine: float = float("nan")) -> NearbyEntry:
        return NearbyEntry(
            name=self._names[row],
            position=self._positions[row].copy(),
            embedding=self._embeddings[row].copy(),
            stamp_ns=int(self._stamps_ns[row]),
            frequency=int(self._frequencies[row]),
            distance_m=distance_m,
            cosine=cosine,
        )

    def entries(self) -> list[NearbyEntry]:
        """All entries in the order of writing, with their distance from the body; nothing counts as used."""
        distance = np.linalg.norm(self._positions, axis=1).tolist()
        return [self._entry(row, distance[row]) for row in range(len(self))]

    def state_dict(self) -> dict[str, Any]:
        """All of its content as plain values and arrays."""
        return {
            "names": list(self._names),
            **{name: getattr(self, f"_{name}").copy() for name in _ARRAYS},
            "newest_ns": self._newest_ns,
            "T_world_body": None if self._T_world_body is None else self._T_world_body.copy(),
            "evicted": self.evicted,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace its content by what `state_dict` gave.

        Raises:
            InvalidInput: The state lacks something, or is of another dim or a larger capacity.
        """
        missing = {"names", "newest_ns", "T_world_body", "evicted", *_ARRAYS} - set(state)
        if missing:
            raise InvalidInput(f"state: wanted what state_dict gives; {', '.join(sorted(missing))} is missing")
        shape = np.shape(state["embeddings"])
        if len(shape) != 2 or shape[1] != self.dim or shape[0] > self.capacity:
            raise InvalidInput(f"state: wanted embeddings (<= {self.capacity}, {self.dim}), got {shape}")
        self._names = list(state["names"])
        for name in _ARRAYS:
            setattr(self, f"_{name}", np.array(state[name], dtype=getattr(self, f"_{name}").dtype))
        self._newest_ns, self.evicted = state["newest_ns"], int(state["evicted"])
        pose = state["T_world_body"]
        self._T_world_body = None if pose is None else check_pose(pose, "T_world_body")


def _numbers(values: Any, name: str, width: int, dtype: type = np.float32) -> NDArray[Any]:
    """Finite numbers (N, width)."""
    try:
        array: NDArray[Any] = np.array(values, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name}: wanted numbers (N, {width}), got {values!r}") from error
    if array.ndim != 2 or array.shape[1] != width or not np.isfinite(array).all():
        raise InvalidInput(f"{name}: wanted finite numbers (N, {width}), got shape {array.shape}")
    return array
