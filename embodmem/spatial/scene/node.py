"""One object of the scene, and the bounded statistics that place it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.index.words import content_words
from embodmem.spatial.scene.lift import Observation
from embodmem.types import Query

__all__ = ["ObjectNode", "node_passes"]

Floats = NDArray[np.float64]

# One row per kept view. The information (inverse covariance) is stored as its upper triangle.
_POSITION, _LOWER, _UPPER = slice(0, 3), slice(3, 6), slice(6, 9)
_INFORMATION, _CAMERA, _WEIGHT, _MASKED = slice(9, 15), slice(15, 18), 18, 19
_COLUMNS = 20
_TRIANGLE = np.triu_indices(3)
_FULL = np.array([0, 1, 2, 1, 3, 4, 2, 4, 5])

_NEW_VIEW_M = 0.05
"""A view from nearer than this to the last one replaces it: a camera that stands still must not crowd others out."""
_APART_KEPT = 16
"""How many other nodes a node remembers to have been seen together with."""
_ARRAYS = {"position": np.float64, "lower": np.float64, "upper": np.float64, "embedding": np.float32}


@dataclass(slots=True, kw_only=True, eq=False)
class ObjectNode:
    """An object in the world.

    Attributes:
        id: Its number in the graph; never used twice.
        label: What it is.
        position: (3,) metres, world.
        lower: (3,) lower corner, metres, world.
        upper: (3,) upper corner, metres, world.
        sightings: How many detections went into it.
        first_seen_ns: Stamp of the first, ns.
        last_seen_ns: Stamp of the last, ns.
        best_view_ns: Stamp of the view that shows it best, ns.
        best_view_score: How well, in 0..1.
        embedding: (D,) float32 of unit norm, mean over views; or None.
        instance_id: Number of the source for it, or None.
        confirmed: Seen often enough to be reported.
        present: False when its place was seen without it; it is kept, since it may turn up again.
        score: Mean confidence of its detections.
        misses: How often in a row it was looked for in vain.
        views: (n, 20) float32 statistics of the views it is placed by; n is bounded.
        apart: Node id -> in how many images both were seen, so that the two are not one.
    """

    id: int
    label: str
    position: Floats
    lower: Floats
    upper: Floats
    sightings: int
    first_seen_ns: int
    last_seen_ns: int
    best_view_ns: int
    best_view_score: float
    embedding: NDArray[np.float32] | None = None
    instance_id: int | None = None
    confirmed: bool = False
    present: bool = True
    score: float = 0.0
    misses: int = 0
    views: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, _COLUMNS), dtype=np.float32))
    apart: dict[int, int] = field(default_factory=dict)
    _covariance: Floats | None = field(default=None, init=False, repr=False)

    @classmethod
    def from_observation(cls, id: int, seen: Observation, stamp_ns: int) -> ObjectNode:
        """A node that rests on a single view."""
        node = cls(
            id=id,
            label=seen.label,
            position=seen.position,
            lower=seen.lower,
            upper=seen.upper,
            sightings=0,
            first_seen_ns=stamp_ns,
            last_seen_ns=stamp_ns,
            best_view_ns=stamp_ns,
            best_view_score=-1.0,
            instance_id=seen.instance_id,
        )
        node.add(seen, stamp_ns, max_views=1)
        return node

    @property
    def size(self) -> float:
        """Longest edge, metres."""
        return float((self.upper - self.lower).max())

    def add(self, seen: Observation, stamp_ns: int, max_views: int) -> None:
        """Take in one more view."""
        self.sightings += 1
        self.score += (seen.score - self.score) / self.sightings
        self.last_seen_ns = max(self.last_seen_ns, stamp_ns)
        self.misses = 0
        self.present = True
        if seen.quality > self.best_view_score:
            self.best_view_ns, self.best_view_score = stamp_ns, seen.quality
        if self.instance_id is None:
            self.instance_id = seen.instance_id
        self._mix_embedding(seen.embedding, 1.0 / self.sightings)
        row = _row(seen)
        if len(self.views) and np.linalg.norm(self.views[-1, _CAMERA] - row[_CAMERA]) < _NEW_VIEW_M:
            self.views = np.vstack([self.views[:-1], row])
        else:
            self.views = np.vstack([self.views, row])[-max_views:]
        self._place()

    def forget_place(self) -> None:
        """Let the next view alone say where it is and show it best. Its identity and history stay."""
        self.views = self.views[:0]
        self.best_view_score = -1.0
        self.apart.clear()

    def absorb(self, other: ObjectNode, max_views: int) -> None:
        """Take in all that is known of another node which is the same object."""
        total = self.sightings + other.sightings
        self.score = (self.score * self.sightings + other.score * other.sightings) / total
        self._mix_embedding(other.embedding, other.sightings / total)
        self.sightings = total
        self.first_seen_ns = min(self.first_seen_ns, other.first_seen_ns)
        self.last_seen_ns = max(self.last_seen_ns, other.last_seen_ns)
        if other.best_view_score > self.best_view_score:
            self.best_view_ns, self.best_view_score = other.best_view_ns, other.best_view_score
        if self.instance_id is None:
            self.instance_id = other.instance_id
        self.confirmed |= other.confirmed
        self.present |= other.present
        self.misses = min(self.misses, other.misses)
        self.views = np.vstack([other.views, self.views])[-max_views:]
        self._place()

    def move_to(self, other: ObjectNode) -> None:
        """It turned up where `other` stands, which was taken for a new object until now."""
        views = other.views
        self.absorb(other, len(views))
        self.views = views
        self.best_view_ns, self.best_view_score = other.best_view_ns, other.best_view_score
        self.present, self.misses = True, 0
        self._place()

    def seen_with(self, other_id: int) -> None:
        """Note that both were detected in one image, so that they are two."""
        self.apart[other_id] = self.apart.get(other_id, 0) + 1
        if len(self.apart) > _APART_KEPT:
            del self.apart[min(self.apart, key=lambda key: (self.apart[key], key))]

    def covariance(self) -> Floats:
        """(3, 3) of a single typical view, square metres: what a new view may differ by from this node."""
        if self._covariance is None:
            typical = np.median(self.views[:, _INFORMATION].astype(np.float64), axis=0)[_FULL].reshape(3, 3)
            self._covariance = np.asarray(np.linalg.inv(typical))
        return self._covariance

    def _mix_embedding(self, embedding: NDArray[np.float32] | None, share: float) -> None:
        if embedding is None:
            return
        if self.embedding is None or self.embedding.shape != embedding.shape:  # the first, or of another encoder
            self.embedding = embedding
            return
        mixed = (1.0 - share) * self.embedding + share * embedding
        norm = float(np.linalg.norm(mixed))
        self.embedding = (mixed / norm).astype(np.float32) if norm > 0 else embedding

    def _place(self) -> None:
        """Set position and extent from the kept views."""
        self._covariance = None
        views = self.views.astype(np.float64)
        weight = views[:, _WEIGHT]
        masked = views[:, _MASKED] > 0
        if masked.any():
            # A mask shows true edges, but mostly only a part of them: the outermost count, save for a tenth.
            self.lower = np.quantile(views[masked, _LOWER], 0.1, axis=0)
            self.upper = np.quantile(views[masked, _UPPER], 0.9, axis=0)
            self.position = (self.lower + self.upper) / 2
            return
        self.lower = _weighted_median(views[:, _LOWER], weight)
        self.upper = _weighted_median(views[:, _UPPER], weight)
        self.position = _meet(views)
        # The extent comes from the pixels, the position from the rays: the one has to hold the other.
        self.lower = np.minimum(self.lower, self.position)
        self.upper = np.maximum(self.upper, self.position)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, fit for JSON; `from_dict` gives back the very same node."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        for name in _ARRAYS:
            values[name] = None if values[name] is None else values[name].tolist()
        # Hundreds of numbers that nobody reads: as text they would be four times as long, and slow.
        values["views"] = base64.b64encode(self.views.astype("<f4").tobytes()).decode("ascii")
        values["apart"] = [[key, count] for key, count in self.apart.items()]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ObjectNode:
        """The inverse of `to_dict`.

        Raises:
            InvalidInput: A field is missing or unknown.
        """
        names = {f.name for f in fields(cls) if f.init}
        if set(values) != names:
            raise InvalidInput(
                f"object node: wanted the fields of to_dict, missing {sorted(names - set(values))}, "
                f"unknown {sorted(set(values) - names)}"
            )
        made = dict(values)
        for name, dtype in _ARRAYS.items():
            made[name] = None if made[name] is None else np.array(made[name], dtype=dtype)
        views = np.frombuffer(base64.b64decode(made["views"]), dtype="<f4")
        made["views"] = views.astype(np.float32).reshape(-1, _COLUMNS)
        made["apart"] = {int(key): int(count) for key, count in made["apart"]}
        return cls(**made)


def _row(seen: Observation) -> NDArray[np.float32]:
    row = np.empty(_COLUMNS, dtype=np.float32)
    row[_POSITION], row[_LOWER], row[_UPPER] = seen.position, seen.lower, seen.upper
    row[_INFORMATION] = np.linalg.inv(seen.covariance)[_TRIANGLE]
    row[_CAMERA], row[_WEIGHT], row[_MASKED] = seen.camera, max(seen.quality, 1e-6), seen.masked
    return row


def _weighted_median(values: Floats, weight: Floats) -> Floats:
    """Column-wise median of (n, 3) by weights (n,)."""
    order = np.argsort(values, axis=0, kind="stable")
    along = np.cumsum(weight[order], axis=0)
    at = (along < along[-1] / 2).sum(axis=0)
    return np.asarray(np.take_along_axis(values, np.take_along_axis(order, at[None], 0), 0)[0])


def _meet(views: Floats) -> Floats:
    """Where the views place it together.

    Views are narrow across their ray and wide along it, so that several from apart triangulate. Outliers are
    weighed down by iterated re-weighting with Cauchy weights (Holland and Welsch, Communications in Statistics 1977).
    """
    places, weight = views[:, _POSITION], views[:, _WEIGHT]
    if len(views) == 1:
        return np.array(places[0])
    information = views[:, _INFORMATION][:, _FULL].reshape(-1, 3, 3)
    pull = np.einsum("nij,nj->ni", information, places)
    at: Floats = _weighted_median(places, weight)
    for _ in range(5):
        away = places - at
        squared = np.einsum("ni,nij,nj->n", away, information, away)
        w = weight / (1.0 + squared)
        at[:] = np.linalg.solve(np.tensordot(w, information, 1), w @ pull)
    return at


def node_passes(node: ObjectNode, query: Query) -> bool:
    """Whether a node passes the filters of a query, as a record of it would."""
    begin, end = query.between_ns or (None, None)
    near, within = query.near, query.within
    if query.agent is not None or query.ids or query.sources or (query.kinds and "object" not in query.kinds):
        return False
    if query.labels and node.label.lower() not in {label.lower() for label in query.labels}:
        return False
    if query.text is not None and not set(content_words(query.text)) & set(content_words(node.label)):
        return False
    if (begin is not None and node.last_seen_ns < begin) or (end is not None and node.first_seen_ns > end):
        return False
    if within is not None and ((node.upper < within[0]).any() or (node.lower > within[1]).any()):
        return False
    if near is None or query.radius_m is None:
        return True
    gap = np.maximum(np.maximum(node.lower - near, near - node.upper), 0.0)
    return bool(np.linalg.norm(gap) <= query.radius_m)
