"""What one memory notices, told to the others: events and facts that follow from views."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from embodmem.episodic import EpisodicMemory
from embodmem.index.filters import row_id
from embodmem.semantic import SemanticMemory
from embodmem.spatial.layers import Cleared
from embodmem.spatial.scene.memory import SceneMemory
from embodmem.spatial.scene.update import SceneUpdate
from embodmem.types import Event, Percept, Query
from embodmem.working import WorkingMemory


class Noticed:
    """Writes what was noticed, within the caller's transaction.

    Args:
        scene: Where objects and rooms are known.
        episodic: Takes the events.
        semantic: Takes the facts.
        working: Takes a note of what happened to objects.
    """

    def __init__(
        self, scene: SceneMemory, episodic: EpisodicMemory, semantic: SemanticMemory, working: WorkingMemory
    ) -> None:
        self.scene, self.episodic, self.semantic, self.working = scene, episodic, semantic, working
        self.records = scene.records

    def seen(self, update: SceneUpdate, percept: Percept, keyframe: int | None) -> None:
        """Events and facts that follow from what the scene noticed."""
        evidence = [] if keyframe is None else [keyframe]
        for move in update.moves:
            self._notice("moved", move.id, move.label, move.text, move.to, percept, evidence)
        for record_id, label, text in update.vanished:
            there = self.records.get_id(record_id).position
            self._notice("vanished", record_id, label, text, there, percept, evidence)
        for _, gone in update.merged:  # what was believed of a part of an object was never a fact of its own
            self.semantic.remove(self.records.match(Query(labels=(gone,)), self.semantic.kinds))
        for relation in update.relations:
            self.semantic.assert_fact(
                relation.subject,
                relation.relation,
                relation.object,
                valid_from_ns=percept.stamp_ns,
                names=(relation.subject_name, relation.object_name),
                position=relation.position,
                evidence=[row_id(relation.subject), row_id(relation.object), *evidence],
            )

    def cleared(self, things: Iterable[Cleared], agent: str) -> None:
        """Events about what the map saw to be gone."""
        for gone in things:
            event = Event(stamp_ns=gone.stamp_ns, kind="cleared", text=gone.text, source="spatial", agent=agent)
            self.episodic.add_event(event, self.scene.room_of(gone.position) or "", [], position=gone.position)

    def _notice(
        self,
        kind: str,
        record_id: str,
        label: str,
        text: str,
        position: NDArray[np.float64] | None,
        percept: Percept,
        evidence: list[int],
    ) -> None:
        """An event about an object that is no longer where it was: what it stood on, it stands on no more."""
        stamp_ns, agent, objects = percept.stamp_ns, percept.agent, (label, record_id)
        event = Event(stamp_ns=stamp_ns, kind=kind, text=text, objects=objects, source="scene", agent=agent)
        place = "" if position is None else self.scene.room_of(position) or ""
        number = self.episodic.add_event(event, place, [row_id(record_id), *evidence], position=position)
        self.semantic.retract(record_id, "on", until_ns=stamp_ns)
        self.working.note(text, stamp_ns, agent=agent, tags=objects, ref=number)
