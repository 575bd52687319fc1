"""The scene as objects and rooms, built from posed detections."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import SceneConfig
from embodmem.errors import InvalidInput
from embodmem.spatial.scene.associate import assign, costs, displacement, find_same
from embodmem.spatial.scene.lift import Observation, lift
from embodmem.spatial.scene.node import ObjectNode
from embodmem.spatial.scene.relations import support_relations
from embodmem.spatial.scene.visibility import SEEN_THROUGH, UNKNOWN, look_at_places
from embodmem.types import Percept

__all__ = ["ObjectNode", "SceneChanges", "SceneGraph"]

Floats = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class SceneChanges:
    """What one look changed. Only objects seen often enough to be reported occur here.

    Attributes:
        added: Ids of objects that are reported from now on.
        updated: Ids of objects seen again.
        moved: (id, old position (3,), new position (3,)), metres, world.
        merged: (id that stays, id that is gone): the two were one.
        vanished: Ids of objects that are no longer where they were.
    """

    added: list[int] = field(default_factory=list)
    updated: list[int] = field(default_factory=list)
    moved: list[tuple[int, Floats, Floats]] = field(default_factory=list)
    merged: list[tuple[int, int]] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)


class SceneGraph:
    """Objects and rooms in memory. Its content depends on the percepts alone: no clock, no chance.

    Detections become objects as in ConceptGraphs (Gu et al., ICRA 2024): lifted by depth, associated, fused. An
    instance id seen more than `moved_distance_m` away is a moved object, as in KARMA (Wang et al., 2024).
    """

    def __init__(self, config: SceneConfig | None = None) -> None:
        self.config = config or SceneConfig()
        self._nodes: dict[int, ObjectNode] = {}
        self._rooms: dict[str, tuple[Floats, Floats]] = {}
        self._next_id = 1

    def observe(self, percept: Percept) -> SceneChanges:
        """Take in one look at the world.

        Args:
            percept: A look; without depth, or without detections and labelled instances, it adds nothing.

        Returns:
            What it changed.
        """
        changes = SceneChanges()
        seen = lift(percept, self.config)
        touched = self._match(seen, percept, changes)
        self._miss(touched, percept, changes)
        touched = self._confirm(self._merge(touched, changes), changes)
        self._bound()
        added = set(changes.added)
        changes.updated = [i for i in touched if i not in added and i in self._nodes and self._nodes[i].confirmed]
        return changes

    def _match(self, seen: list[Observation], percept: Percept, changes: SceneChanges) -> list[int]:
        """Update the nodes that were seen, make new ones; returns the ids of both."""
        nodes = list(self._nodes.values())
        cost = costs(seen, nodes, self.config)
        node_of = {row: nodes[col] for row, col in assign(cost)}
        touched: list[ObjectNode] = []
        for row, observation in enumerate(seen):
            node = node_of.get(row)
            if node is None:
                node = ObjectNode.from_observation(self._next_id, observation, percept.stamp_ns)
                self._nodes[node.id] = node
                self._next_id += 1
            else:
                self._update(node, observation, percept, changes)
            touched.append(node)
        for a, b in itertools.combinations(touched, 2):
            if a.label == b.label:
                a.seen_with(b.id)
                b.seen_with(a.id)
        return [node.id for node in touched]

    def _update(self, node: ObjectNode, seen: Observation, percept: Percept, changes: SceneChanges) -> None:
        old = node.position
        known = seen.instance_id is not None and seen.instance_id == node.instance_id
        away = displacement(seen, node) if known else 0.0
        # Of something large, two views may show parts that lie apart: it has moved when its old place is seen empty.
        if away > 0 and max(node.size, float((seen.upper - seen.lower).max())) > self.config.large_m:
            away *= float(look_at_places([node], percept, self.config)[0] == SEEN_THROUGH)
        # Being certain which object it is, even a small move needs no second look, where its edges are known.
        if away > self.config.moved_distance_m or (seen.masked and away > 2 * self.config.position_sigma_m):
            node.forget_place()
        node.add(seen, percept.stamp_ns, self.config.max_views)
        if known:
            node.label = seen.label
        if away > self.config.moved_distance_m and node.confirmed:
            changes.moved.append((node.id, old, node.position))

    def _miss(self, touched: list[int], percept: Percept, changes: SceneChanges) -> None:
        """Count looks in vain: a tentative node is dropped, a reported one is gone when its place is seen through."""
        seen = set(touched)
        missed = [node for node in self._nodes.values() if node.id not in seen and node.present]
        # A look without any detection may be one at which no detector looked: it proves nothing against a new node.
        detected = bool(percept.detections) or percept.segmentation is not None
        for node, state in zip(missed, look_at_places(missed, percept, self.config).tolist(), strict=True):
            if state == UNKNOWN or not (node.confirmed or detected):
                continue
            if not node.confirmed:
                node.misses += 1
                if node.misses >= self.config.tentative_misses:
                    del self._nodes[node.id]
                continue
            node.misses = node.misses + 1 if state == SEEN_THROUGH else 0
            if node.misses >= self.config.vanish_misses:
                node.present = False
                changes.vanished.append(node.id)

    def _merge(self, touched: list[int], changes: SceneChanges) -> list[int]:
        """Make one of the nodes that turned out to be one object; returns the ids that the touched ones have now."""
        left: list[int] = []
        for id in touched:
            while (node := self._nodes.get(id)) is not None:
                others = [n for n in self._nodes.values() if n.label == node.label and n.present]
                other = find_same(node, others, self.config)
                if other is None:
                    left.append(id)
                    break
                keep, gone = sorted((node, other), key=lambda n: (not n.confirmed, n.id))
                if gone.confirmed:
                    changes.merged.append((keep.id, gone.id))
                keep.absorb(gone, self.config.max_views)
                del self._nodes[gone.id]
                id = keep.id
        return [id for id in dict.fromkeys(left) if id in self._nodes]

    def _confirm(self, touched: list[int], changes: SceneChanges) -> list[int]:
        """Report what was seen often enough, as a new object or as a vanished one that turned up elsewhere."""
        left: list[int] = []
        for id in touched:
            node = self._nodes[id]
            left.append(id)
            if node.confirmed or node.sightings < self.config.min_sightings:
                continue
            node.confirmed = True
            gone = self._find_vanished(node)
            if gone is None:
                changes.added.append(id)
                continue
            old = gone.position
            gone.move_to(node)
            del self._nodes[id]
            left[-1] = gone.id
            changes.moved.append((gone.id, old, gone.position))
        return left

    def _find_vanished(self, new: ObjectNode) -> ObjectNode | None:
        """The vanished object which a new one most likely is: of its label and like size, lost last."""
        ratio = self.config.size_ratio
        fit = [
            node
            for node in self._nodes.values()
            if not node.present
            and node.label == new.label
            and node.last_seen_ns < new.first_seen_ns
            and (node.instance_id is None or new.instance_id is None)
            and 1 / ratio <= (node.size + 1e-3) / (new.size + 1e-3) <= ratio
        ]
        return max(fit, key=lambda n: (n.last_seen_ns, -n.id), default=None)

    def _bound(self) -> None:
        tentative = [node for node in self._nodes.values() if not node.confirmed]
        excess = len(tentative) - self.config.max_tentative
        if excess > 0:
            for node in sorted(tentative, key=lambda n: (n.last_seen_ns, n.id))[:excess]:
                del self._nodes[node.id]

    def nodes(self, absent: bool = False, tentative: bool = False) -> list[ObjectNode]:
        """The objects by id; on request also those that vanished, and those seen too seldom to be reported."""
        chosen = (n for n in self._nodes.values() if (n.confirmed or tentative) and (n.present or absent))
        return sorted(chosen, key=lambda n: n.id)

    def find_node(self, id: int) -> ObjectNode | None:
        """The object of this id (vanished and tentative ones too), or None."""
        return self._nodes.get(id)

    def with_label(self, label: str) -> list[ObjectNode]:
        """The objects of a label, by id."""
        return [node for node in self.nodes() if node.label == label]

    def in_region(self, lower: ArrayLike, upper: ArrayLike) -> list[ObjectNode]:
        """The objects whose extent touches the box from `lower` (3,) to `upper` (3,), metres, world."""
        low, high = _corners(lower, upper, "region")
        return [n for n in self.nodes() if bool((n.upper >= low).all() and (n.lower <= high).all())]

    def nearest(self, point: ArrayLike, k: int = 1, label: str | None = None) -> list[ObjectNode]:
        """The k objects (of a label) nearest to a point (3,) in metres, world; nearest first."""
        at = _point(point, "point")
        nodes = self.nodes() if label is None else self.with_label(label)
        return sorted(nodes, key=lambda n: (float(np.linalg.norm(n.position - at)), n.id))[: max(k, 0)]

    def relations(self) -> list[tuple[int, str, int]]:
        """(id, "on", id) of the objects."""
        return support_relations(self.nodes())

    def add_room(self, name: str, lower: ArrayLike, upper: ArrayLike) -> None:
        """Name a box of space from `lower` (3,) to `upper` (3,), metres, world; a known name is replaced.

        Raises:
            InvalidInput: The name is empty, or the corners are no box.
        """
        if not name.strip():
            raise InvalidInput("room: wanted a name, got an empty one")
        self._rooms[name] = _corners(lower, upper, f"room {name!r}")

    def rooms(self) -> dict[str, tuple[Floats, Floats]]:
        """Name -> lower (3,) and upper (3,) corner, metres, world."""
        return dict(self._rooms)

    def room_of(self, point: ArrayLike) -> str | None:
        """The room that holds a point (3,), metres, world; the smallest of several, None of none."""
        at = _point(point, "point")
        holds = [(float((u - lo).prod()), name) for name, (lo, u) in self._rooms.items() if _within(at, lo, u)]
        return min(holds)[1] if holds else None

    def put(self, nodes: Iterable[ObjectNode]) -> None:
        """Put nodes in, each in the place of the one with its id if there is one: how a stored scene is loaded."""
        for node in nodes:
            self._nodes[node.id] = node
            self._next_id = max(self._next_id, node.id + 1)

    def remove(self, id: int) -> bool:
        """Forget an object; False if there was none of this id."""
        return self._nodes.pop(id, None) is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, fit for JSON; `load_dict` restores exactly this state."""
        return {
            "next_id": self._next_id,
            "nodes": [node.to_dict() for node in self._nodes.values()],
            "rooms": [[name, low.tolist(), high.tolist()] for name, (low, high) in self._rooms.items()],
        }

    def load_dict(self, values: Mapping[str, Any]) -> None:
        """Replace the content by what `to_dict` gave."""
        self._nodes = {node.id: node for node in map(ObjectNode.from_dict, values["nodes"])}
        self._rooms = {name: (np.array(low), np.array(high)) for name, low, high in values["rooms"]}
        self._next_id = int(values["next_id"])


def _point(value: ArrayLike, name: str) -> Floats:
    point = np.asarray(value, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise InvalidInput(f"{name}: wanted a finite point (3,) in metres, got {value!r}")
    return point


def _corners(lower: ArrayLike, upper: ArrayLike, name: str) -> tuple[Floats, Floats]:
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    if low.shape != (3,) or high.shape != (3,) or not (low <= high).all():
        raise InvalidInput(f"{name}: wanted corners (3,) with lower <= upper in metres, got {lower!r} and {upper!r}")
    return low, high


def _within(point: Floats, lower: Floats, upper: Floats) -> bool:
    return bool((point >= lower).all() and (point <= upper).all())
