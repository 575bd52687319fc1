"""The guard of a memory: examines what is written, orders what is recalled, takes back what a source said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodmem.checks import check_stamp
from embodmem.config import GuardConfig
from embodmem.errors import InvalidInput
from embodmem.guard.order import Place, drop_held, guarded, is_alike, places, stems
from embodmem.guard.seen import Doubt, Sightings, without
from embodmem.guard.sensed import Plausibility
from embodmem.guard.trust import Trust
from embodmem.index import Record, Records
from embodmem.index.filters import row_id
from embodmem.index.hydrate import Said
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.scene.memory import SceneMemory
from embodmem.types import Event, Percept, Query, Recall

_ALIKE_LOOKED_AT = 8
_DOUBTS_HELD = 64


@dataclass(frozen=True, slots=True, eq=False)
class Quarantined:
    """Something that is kept apart: no recall, no fact and no map takes it up until it is released.

    Attributes:
        item: What it is.
        since_ns: Stamp of its writing, ns.
        reason: Why it is kept apart.
    """

    item: Recall
    since_ns: int
    reason: str


class Guard:
    """Source identity, trust, plausibility and quarantine.

    Args:
        records: Of the memory.
        spatial: Its map.
        scene: Its objects.
        config: The rules.

    Attributes:
        trust: The standing of each source.
    """

    def __init__(self, records: Records, spatial: SpatialMemory, scene: SceneMemory, config: GuardConfig) -> None:
        self.records, self.scene, self.config = records, scene, config
        self.trust = Trust(records.store, config)
        self._plausible = Plausibility(spatial, config)
        self._sightings = Sightings(spatial, scene.config, config)
        self._doubted: dict[str, list[NDArray[np.float64]]] = {}  # label -> where it was doubted already
        records.store.after_rollback.append(self._doubted.clear)
        records.store.on_erase.append(drop_held)

    def objection(self, experience: Percept | Event) -> str:
        """Why an experience is to be kept apart; "" when it may be taken up."""
        if not self.config.enabled:
            return ""
        if isinstance(experience, Event):
            if self.trust.is_shut_out(experience.source):
                return f"source {experience.source!r} is not trusted"
            pose = experience.T_world_body
        else:
            pose = experience.T_world_sensor
        return self._plausible.objection(experience.agent, experience.stamp_ns, pose)

    def examine(self, percept: Percept) -> Percept:
        """A percept without the detections that the map, or the size of their like, contradicts: these are kept apart.

        One of each label and place is kept, not each look at it. The map must not hold the percept yet.
        """
        if not (self.config.enabled and self.config.check_detections):
            return percept
        sizes_m: dict[str, float] = {}
        for node in self.scene.graph.nodes(absent=True):
            sizes_m[node.label] = max(node.size, sizes_m.get(node.label, 0.0))
        doubts = self._sightings.doubts(percept, sizes_m)
        for doubt in doubts:
            self._keep_doubt(doubt, percept)
        return without(percept, doubts)

    def _keep_doubt(self, doubt: Doubt, percept: Percept) -> None:
        seen, places = doubt.seen, self._doubted.setdefault(doubt.seen.label, [])
        if any(np.linalg.norm(place - seen.position) <= self.config.slack_m for place in places):
            return
        places.append(seen.position)
        del places[:-_DOUBTS_HELD]
        record = Record(
            kind="event",
            subkind="detection",
            agent=percept.agent,
            first_ns=percept.stamp_ns,
            last_ns=percept.stamp_ns,
            text=f"a detector saw a {seen.label}",
            position=seen.position,
            tags=(seen.label,),
            data={"score": seen.score, "objects": [seen.label], "camera": seen.camera.tolist()},
        )
        self.keep_apart(self.records.add(record), percept.stamp_ns, doubt.reason)

    def repeated(self, event: Event) -> int | None:
        """Row id of the record that a derived event says again: what was recalled is never stored as new.

        Only events of `derived` sources, such as a language model that reads this memory, are held against what is
        there; when a person tells something twice, it was told twice.
        """
        if not self.config.enabled or event.source not in self.config.derived:
            return None
        words = stems(event.text)
        for item in self.records.search(Query(text=event.text), _ALIKE_LOOKED_AT):
            if is_alike(words, stems(item.text), self.config.alike):
                return row_id(item.id)
        return None

    def order(self, items: Sequence[Recall], query: Query) -> list[Recall]:
        """Answers in the order in which they may be given, see `guarded`; a list by filters alone stays as it is."""
        if not self.orders(query):
            return list(items)
        return guarded(items, query.text or "", self.config, self.trust.is_proven)

    def orders(self, query: Query) -> bool:
        """Whether it has a say in the order of the answers to a query."""
        return self.config.enabled and (query.text is not None or query.embedding is not None)

    def places(self, said: Sequence[Said], query: Query) -> list[Place]:
        """The order of answers that are not made yet, see `order.places`, where it has a say."""
        return places(said, query.text or "", self.config, self.trust.is_proven)

    def keep_apart(self, number: int, stamp_ns: int, reason: str) -> None:
        """Put a record into quarantine."""
        with self.records.store.transaction() as db:
            db.execute("UPDATE record SET live = 0 WHERE id = ?", (number,))
            db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)", (number, check_stamp(stamp_ns), reason))

    def quarantined(self) -> list[Quarantined]:
        """All that is kept apart, oldest first."""
        with self.records.store.read() as db:
            rows = db.execute("SELECT id, since_ns, reason FROM quarantine ORDER BY since_ns, id").fetchall()
            items = self.records.get([row[0] for row in rows])
        return [Quarantined(item, since_ns, why) for item, (_, since_ns, why) in zip(items, rows, strict=True)]

    def release(self, record_id: str) -> None:
        """Let a record be recalled. Facts and maps do not follow: write it again for these.

        Raises:
            InvalidInput: It is not in quarantine.
        """
        number = row_id(record_id)
        with self.records.store.transaction() as db:
            if not db.execute("DELETE FROM quarantine WHERE id = ?", (number,)).rowcount:
                raise InvalidInput(f"release: wanted the id of something in quarantine, got {record_id!r}")
            db.execute("UPDATE record SET live = 1 WHERE id = ?", (number,))

    def said_by(self, source: str) -> list[int]:
        """Row ids of all that a source said, in quarantine or not, and of what rests on nothing else."""
        said = self.records.match(Query(sources=(source,)))
        rests = (
            "SELECT l.id FROM record_link l JOIN record r ON r.id = l.id WHERE r.kind IN ('fact', 'item') "
            "GROUP BY l.id HAVING min(l.ref IN (SELECT id FROM record WHERE source = ?))"
        )
        with self.records.store.read() as db:
            derived = [int(row[0]) for row in db.execute(rests, (source,))]
        return sorted({*said, *derived})
