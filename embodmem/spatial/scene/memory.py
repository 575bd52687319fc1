"""Scene memory: the scene graph's objects and rooms as records in the memory's file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import SceneConfig
from embodmem.errors import InvalidInput
from embodmem.index import Record, RecordMemory, Records
from embodmem.index.filters import is_open, row_id
from embodmem.spatial.scene.graph import SceneChanges, SceneGraph
from embodmem.spatial.scene.node import ObjectNode, node_passes
from embodmem.spatial.scene.record import record_of, signature_of
from embodmem.spatial.scene.update import Move, Relation, SceneUpdate
from embodmem.types import Event, Percept, Query, Recall

_STATE = "scene"
_STEADY = 2
"""Looks in a row that must agree before a new support is believed: estimates flicker at edges."""


class SceneMemory(RecordMemory):
    """Objects and rooms: where things are, how big they are, when and how often they were seen.

    Args:
        records: Where they are kept.
        config: How detections become objects.
    """

    kinds: ClassVar[tuple[str, ...]] = ("object", "room")

    def __init__(self, records: Records, config: SceneConfig | None = None) -> None:
        super().__init__(records)
        self.config = config or SceneConfig()
        self.store.after_rollback.append(self.reload)
        self.reload()

    def _follow(self) -> None:
        """Open for reading: take in what another process has written since."""
        if self.store.foreign_version() != self._version:
            self.reload()

    def reload(self) -> None:
        """Read the graph from the file again."""
        self._version = self.store.foreign_version()
        self.graph = SceneGraph(self.config)
        self._row: dict[int, int] = {}  # node -> row of its record
        self._saved: dict[int, tuple[Any, ...]] = {}  # node -> what of it is on disk
        self._keyframe: dict[int, int] = {}  # node -> row of its best keyframe
        self._support: dict[int, tuple[int | None, int]] = {}  # node -> what it stood on last, looks in a row
        self._stands: dict[int, int | None] = {}  # node -> what it is believed to stand on
        self._left: dict[int, int | None] = {}  # node that vanished -> what it stood on
        self._held: dict[int, list[float]] = {}  # node in a hand -> where it was picked up
        self._laid: dict[int, list[float]] = {}  # node laid down and not yet seen again -> where it was picked up
        with self.store.read() as db:
            rows = db.execute("SELECT id, content FROM object").fetchall()
            rooms = db.execute("SELECT label, x0, y0, z0, x1, y1, z1 FROM record WHERE kind = 'room'").fetchall()
            links = db.execute(
                "SELECT l.id, l.ref FROM record_link l JOIN record k ON k.id = l.ref WHERE k.kind = 'keyframe'"
            ).fetchall()
        self.graph.put(self._restored(rows, dict(links)))
        for label, *corners in rooms:
            self.graph.add_room(label, corners[:3], corners[3:])
        kept = self.store.get_state(_STATE, {"tentative": [], "held": [], "laid": []})
        self.graph.put(ObjectNode.from_dict(values) for values in kept["tentative"])
        self._held, self._laid = dict(kept["held"]), dict(kept["laid"])
        self._left = dict(kept.get("left", []))
        self._support = {node: (below, looks) for node, below, looks in kept.get("support", [])}

    def _restored(self, rows: list[tuple[int, str]], keyframes: Mapping[int, int]) -> list[ObjectNode]:
        nodes = []
        for number, content in rows:
            kept = json.loads(content)
            node = ObjectNode.from_dict(kept["node"])
            self._row[node.id] = number
            self._stands[node.id] = kept["stands"]
            if number in keyframes:
                self._keyframe[node.id] = keyframes[number]
            self._saved[node.id] = (signature_of(node), self._stands[node.id], self._keyframe.get(node.id))
            nodes.append(node)
        return nodes

    def apply(self, experience: Percept | Event) -> SceneUpdate:
        """Take in a percept, or an event that says that a thing was picked or placed, and write what changed."""
        if isinstance(experience, Event):
            self.hold(experience)
            update = SceneUpdate(experience.stamp_ns)
        else:
            update = self.observe(experience)
        self.flush()
        return update

    def observe(self, percept: Percept) -> SceneUpdate:
        """Take in a percept within the caller's transaction; `flush` writes what changed of known objects."""
        update = SceneUpdate(percept.stamp_ns)
        update.labels.update(d.label for d in percept.detections if d.score >= self.config.min_score)
        before = dict(self._row)
        changes = self.graph.observe(percept)
        for keep, gone in changes.merged:
            if keep in before and gone in before:
                update.merged.append((f"object:{before[keep]}", f"object:{before[gone]}"))
        self._drop_gone()
        for i in changes.added:
            self._row[i] = self.records.add(self._record(self._node(i)))
        seen = [self._node(i) for i in (*changes.added, *changes.updated) if i in self._row]
        update.seen = [self._id(node) for node in seen]
        update.labels.update(node.label for node in seen)
        for i in changes.vanished:
            gone_node = self._node(i)
            how, where = self._place_text(gone_node.position, self._stands.get(i))
            text = f"{gone_node.label} is no longer {how} {where}"
            update.vanished.append((self._id(gone_node), gone_node.label, text))
            self._left[i] = self._stands.get(i)
            self._stands[i] = None
        self._note_moves(changes, seen, update)
        self._note_relations(seen, update)
        return update

    def _drop_gone(self) -> None:
        gone = [node for node in self._row if self.graph.find_node(node) is None]
        self.records.remove([self._row.pop(node) for node in gone])
        for node in gone:
            tables: tuple[dict[int, Any], ...] = (self._saved, self._keyframe, self._support, self._stands, self._left)
            for table in (*tables, self._held, self._laid):
                table.pop(node, None)

    def _note_moves(self, changes: SceneChanges, seen: list[ObjectNode], update: SceneUpdate) -> None:
        moved = {i: old for i, old, _ in changes.moved if i not in self._held and i not in self._laid}
        was_on = {**self._left, **{i: below for i, below in self._stands.items() if below is not None}}
        for node in seen:
            if node.id in self._laid:  # seen again after it was laid down: it has moved from where it was picked up
                origin = np.array(self._laid.pop(node.id))
                if np.linalg.norm(node.position - origin) > self.config.moved_distance_m:
                    moved[node.id] = origin
        supports = {a: b for a, _, b in self.graph.relations()} if moved else {}
        for i, origin in moved.items():
            node = self._node(i)
            self._keyframe.pop(i, None)  # the picture it had shows where it was
            self._stands[i] = None
            self._support.pop(i, None)
            start, end = (
                self._place_text(*at)[1] for at in ((origin, was_on.get(i)), (node.position, supports.get(i)))
            )
            text = f"{node.label} moved from {start} to {end}"
            update.moves.append(Move(self._id(node), node.label, origin, node.position.copy(), text))

    def _note_relations(self, seen: list[ObjectNode], update: SceneUpdate) -> None:
        if not seen:
            return
        supports = {a: b for a, _, b in self.graph.relations()}
        for node in seen:
            below = supports.get(node.id)
            last, looks = self._support.get(node.id, (None, 0))
            looks = looks + 1 if below == last else 1
            self._support[node.id] = (below, looks)
            carried = node.id in self._held or node.id in self._laid
            if below is None or looks < _STEADY or carried or self._stands.get(node.id) == below:
                continue
            self._stands[node.id] = below
            other = self._node(below)
            names = (self._id(node), node.label, "on", self._id(other), other.label)
            update.relations.append(Relation(*names, node.position.copy()))

    def hold(self, event: Event) -> None:
        """A thing in a hand moves with it: what is seen of it until it is laid down says nothing about the room."""
        for name in event.objects:
            item = self.resolve_in(event, name)
            node = None if item is None else self._node_of(item.id)
            if node is None:
                continue
            if event.kind == "pick":
                self._held[node] = self._node(node).position.tolist()
            elif event.kind in ("place", "drop") and node in self._held:
                self._laid[node] = self._held.pop(node)

    def _place_text(self, position: NDArray[np.float64], support: int | None) -> tuple[str, str]:
        """A place in words, with the preposition that goes before it."""
        below = None if support is None else self.graph.find_node(support)
        room = self.graph.room_of(position)
        inside = f" in the {room}" if room else ""
        if below is not None:
            return "on", f"the {below.label}{inside}"
        return "at", f"({', '.join(f'{x:.2f}' for x in position)}) m{inside}"

    def _node(self, node: int) -> ObjectNode:
        found = self.graph.find_node(node)
        assert found is not None
        return found

    def _node_of(self, record_id: str) -> int | None:
        row = row_id(record_id)
        return next((node for node, number in self._row.items() if number == row), None)

    def _id(self, node: ObjectNode) -> str:
        return f"object:{self._row[node.id]}"

    def _record(self, node: ObjectNode) -> Record:
        below = self._stands.get(node.id)
        support = None if below is None else self.graph.find_node(below)
        room = self.graph.room_of(node.position) or ""
        return record_of(node, room, "" if support is None else support.label, self._keyframe.get(node.id))

    def flush(self) -> int:
        """Write the objects that changed since the last time, within the caller's transaction; returns how many."""
        changed = 0
        with self.store.transaction() as db:
            for i, row in self._row.items():
                node = self._node(i)
                signature = (signature_of(node), self._stands.get(i), self._keyframe.get(i))
                if self._saved.get(i) == signature:
                    continue
                self.records.replace(row, self._record(node))
                content = json.dumps({"node": node.to_dict(), "stands": self._stands.get(i)})
                db.execute("INSERT OR REPLACE INTO object VALUES (?, ?)", (row, content))
                self._saved[i] = signature
                changed += 1
            tentative = [node.to_dict() for node in self.graph.nodes(absent=True, tentative=True) if not node.confirmed]
            state = {name: list(getattr(self, f"_{name}").items()) for name in ("held", "laid", "left")}
            support = [(node, below, looks) for node, (below, looks) in self._support.items()]
            self.store.set_state(_STATE, {"tentative": tentative, "support": support, **state})
        return changed

    def lacks_keyframe(self, update: SceneUpdate) -> bool:
        """Whether a percept shows an object that no keyframe shows yet."""
        return any(self._node_of(record_id) not in self._keyframe for record_id in update.seen)

    def note_keyframe(self, update: SceneUpdate, keyframe: int) -> None:
        """Link the objects seen in a percept to the row of its keyframe, where it shows them best so far."""
        for record_id in update.seen:
            i = self._node_of(record_id)
            if i is not None and (i not in self._keyframe or self._node(i).best_view_ns == update.stamp_ns):
                self._keyframe[i] = keyframe

    def add_room(self, name: str, lower: ArrayLike, upper: ArrayLike) -> str:
        """Name a box of space, from `lower` (3,) to `upper` (3,) in metres, world; a known name is replaced.

        Returns:
            Its id.

        Raises:
            InvalidInput: The name is empty, or the corners are no box.
        """
        self.graph.add_room(name, lower, upper)
        box = np.stack([np.asarray(lower, np.float64), np.asarray(upper, np.float64)])
        newest = self.store.newest_stamp("EmbodiedMemory") or self.store.newest_stamp(self.name) or 0
        record = Record(kind="room", label=name, text=name, first_ns=newest, last_ns=newest, box=box)
        record.position, record.data = box.mean(axis=0), {"lower": box[0].tolist(), "upper": box[1].tolist()}
        with self.store.transaction() as db:
            old = db.execute("SELECT id FROM record WHERE kind = 'room' AND label = ?", (name,)).fetchone()
            if old is not None:
                self.records.replace(old[0], record)
            number = self.records.add(record) if old is None else int(old[0])
            self._saved.clear()  # objects name the room they are in
            self.flush()
        return f"room:{number}"

    def room_names(self) -> Collection[str]:
        """The names of all rooms."""
        self._follow()
        return self.graph.rooms().keys()

    def rooms(self) -> list[Recall]:
        """All rooms, by name; data: lower and upper corner (3,)."""
        found = self.records.in_order(Query(), ("room",), newest_first=False, limit=10_000)
        return sorted(found, key=lambda room: room.label)

    def room_of(self, point: ArrayLike) -> str | None:
        """The name of the room that holds a point (3,), metres, world; None outside of all rooms."""
        self._follow()
        return self.graph.room_of(point)

    def objects(
        self,
        label: str | None = None,
        within: NDArray[np.float64] | None = None,
        near: ArrayLike | None = None,
        k: int | None = None,
    ) -> list[Recall]:
        """Objects, those still in their place first.

        Args:
            label: Only these.
            within: (2, 3) lower and upper corner in the world, metres; only what touches it.
            near: (3,) metres; nearest first. Otherwise by label, then by id.
            k: At most so many.

        Returns:
            Recalls of kind "object"; data: extent, lower, upper (3,) metres, sightings, room, on, vanished.
        """
        labels = () if label is None else (label,)
        query = Query(labels=labels, within=within, near=None if near is None else np.asarray(near, np.float64))
        found = self.records.in_order(query, ("object",), newest_first=False, limit=1_000_000)
        if label is not None:
            found = [item for item in found if item.label.lower() == label.lower()]

        def order(item: Recall) -> tuple[Any, ...]:
            if query.near is None or item.position is None:
                return (item.data["vanished"], item.label, row_id(item.id))
            return (item.data["vanished"], float(np.linalg.norm(item.position - query.near)), row_id(item.id))

        return sorted(found, key=order)[:k]

    def objects_on(self, record_id: str) -> list[Recall]:
        """The objects that stand on the object of this id."""
        self._follow()
        below = self._node_of(record_id)
        if below is None:
            raise InvalidInput(f"object: wanted an id that is in the memory, got {record_id!r}")
        return self.records.get([self._row[i] for i, on in sorted(self._stands.items()) if on == below])

    def resolve(self, name: str, near: NDArray[np.float64] | None = None) -> Recall | None:
        """The object that a name means: its id, or the object of that label nearest to `near`, else seen last."""
        self._follow()
        if name.startswith("object:"):
            return next(iter(self.records.get([self._row[i] for i in [self._node_of(name)] if i is not None])), None)
        fit = [n for n in self.graph.nodes(absent=True) if n.label.lower() == name.lower()]
        if not fit:
            return None
        if near is None:
            best = max(fit, key=lambda n: (n.last_seen_ns, -n.id))
        else:
            best = min(fit, key=lambda n: (not n.present, float(np.linalg.norm(n.position - near)), n.id))
        return self.records.get([self._row[best.id]])[0]

    def resolve_in(self, event: Event, name: str) -> Recall | None:
        """The object that an event means by a name: what is laid down was in the hand before."""
        if event.kind in ("place", "drop"):
            held = [i for i in self._held if self._node(i).label.lower() == name.lower()]
            if held:
                return self.records.get([self._row[held[-1]]])[0]
        return self.resolve(name, None if event.T_world_body is None else event.T_world_body[:3, 3])

    def forget(self, query: Query) -> int:
        """Remove all that matches, objects not yet reported included; returns how many records went."""
        with self.store.transaction():
            self.drop_tentative(query)
            return super().forget(query)

    def drop_tentative(self, query: Query) -> None:
        """Drop the objects not yet reported that match; they have no record that `remove` could remove."""
        if is_open(query):
            return
        for node in self.graph.nodes(absent=True, tentative=True):
            if not node.confirmed and node_passes(node, query):
                self.graph.remove(node.id)
        self.flush()

    def remove(self, numbers: list[int]) -> int:
        """Remove records; what stood on a removed object stands on nothing known."""
        with self.store.transaction():
            gone = super().remove(numbers)
            for on in (self._stands, self._left):
                on.update({node: None for node, below in on.items() if below is not None and below not in self._row})
            here = {node: place for node, place in self._support.items() if node in self._row}
            self._support = {node: place for node, place in here.items() if place[0] is None or place[0] in self._row}
            self.flush()
        return gone

    def clear(self) -> None:
        """Remove everything, stamps included."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM state WHERE name = ?", (_STATE,))
            super().clear()

    def state_dict(self) -> dict[str, Any]:
        """Its rows, and the objects that are not yet reported."""
        return {**super().state_dict(), "graph": self.store.get_state(_STATE)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace its content by what `state_dict` gave."""
        with self.store.transaction():
            if state.get("graph") is not None:
                self.store.set_state(_STATE, state["graph"])
            super().load_state_dict(state)
