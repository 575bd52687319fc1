"""Episodic memory: keyframes of what was seen and events of what was done, told or decided."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import EpisodicConfig
from embodmem.episodic.event import digest_number, record_of
from embodmem.episodic.fragments import Fragments
from embodmem.episodic.notes import Note, Notes
from embodmem.episodic.places import Place, happened_at, places
from embodmem.episodic.reads import EpisodicReads
from embodmem.episodic.segments import Segment, Segments
from embodmem.episodic.summaries import HAPPENED, SEGMENT, Summaries
from embodmem.episodic.zoom import Chunk, zoom
from embodmem.errors import InvalidInput
from embodmem.geometry import Pose
from embodmem.index import Record, Records
from embodmem.index.filters import row_id
from embodmem.index.memory import as_query
from embodmem.types import Event, Percept, Query, Recall


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """A stored view.

    Attributes:
        id: Its id in the memory, "keyframe:7".
        stamp_ns: When it was seen, ns.
        T_world_camera: (4, 4) pose of the optical frame.
        jpeg: The colour image as JPEG bytes, or None where the sensor gave no colour.
    """

    id: str
    stamp_ns: int
    T_world_camera: Pose
    jpeg: bytes | None

    def image(self) -> NDArray[np.uint8] | None:
        """The colour image (H, W, 3) uint8, or None."""
        from PIL import Image

        return None if self.jpeg is None else np.asarray(Image.open(io.BytesIO(self.jpeg)).convert("RGB"))


class EpisodicMemory(EpisodicReads):
    """Keyframes and events with time, pose, text and embedding, and summaries of them.

    A view becomes a keyframe when it is far enough, turned enough or late enough from the last one of its agent.

    Args:
        records: Where they are kept.
        config: When a view becomes a keyframe.
        jpeg_quality: Of keyframe images, 1..95.
    """

    kinds: ClassVar[tuple[str, ...]] = (*HAPPENED, "summary")
    tables: ClassVar[tuple[str, ...]] = ("event_content", "given_vector", "summary", "note_link")

    def __init__(self, records: Records, config: EpisodicConfig | None = None, jpeg_quality: int = 85) -> None:
        super().__init__(records)
        self.config = config or EpisodicConfig()
        self.summaries = Summaries(records, self.config.summaries)
        self._segments = Segments(records, self.summaries, self.config)
        self._notes = Notes(records, self.config.notes, self.config.summaries.settle_s)
        self._fragments = Fragments(records, self.config.fragments)
        self._jpeg_quality = jpeg_quality
        self._last: dict[str, tuple[int, Pose]] = {}
        self.store.after_rollback.append(self.reload)
        self.reload()

    def reload(self) -> None:
        """Read the last keyframe of each agent again."""
        sql = (
            "SELECT r.agent, r.first_ns, k.T_world_camera FROM record r JOIN keyframe k ON k.id = r.id "
            "WHERE r.id IN (SELECT max(id) FROM record WHERE kind = 'keyframe' GROUP BY agent)"
        )
        with self.store.read() as db:
            rows = db.execute(sql).fetchall()
        self._last = {agent: (stamp, np.frombuffer(T).reshape(4, 4)) for agent, stamp, T in rows}

    def is_keyframe(self, percept: Percept) -> bool:
        """Whether this view differs enough from the last keyframe of its agent."""
        if percept.agent not in self._last:
            return True
        stamp_ns, T_world_last = self._last[percept.agent]
        T = percept.T_world_sensor
        cosine = (np.trace(T[:3, :3].T @ T_world_last[:3, :3]) - 1.0) / 2.0
        return bool(
            np.linalg.norm(T[:3, 3] - T_world_last[:3, 3]) > self.config.keyframe_distance_m
            or np.arccos(np.clip(cosine, -1.0, 1.0)) > self.config.keyframe_angle_rad
            or percept.stamp_ns - stamp_ns > self.config.keyframe_interval_s * 1e9
        )

    def encode_image(self, percept: Percept) -> bytes | None:
        """The percept's colour as JPEG bytes; the slow part of a keyframe, safe in any thread."""
        from PIL import Image

        if percept.rgb is None:
            return None
        buffer = io.BytesIO()
        Image.fromarray(percept.rgb).save(buffer, "JPEG", quality=self._jpeg_quality)
        return buffer.getvalue()

    def apply(self, experience: Percept | Event) -> int | None:
        """Write an event, or a percept that is a keyframe; returns its row id."""
        if isinstance(experience, Event):
            return self.add_event(experience)
        if not self.is_keyframe(experience):
            return None
        seen = {d.label: d.label for d in experience.detections}
        if experience.segmentation is not None:
            present = set(np.unique(experience.segmentation).tolist())
            seen.update({label: label for i, label in experience.labels.items() if i in present})
        return self.add_keyframe(experience, self.encode_image(experience), list(seen))

    def add_keyframe(
        self,
        percept: Percept,
        jpeg: bytes | None,
        labels: Sequence[str] = (),
        place: str = "",
        ids: Sequence[str] = (),
    ) -> int:
        """Keep a view.

        Args:
            percept: The view.
            jpeg: Its colour, from `encode_image`.
            labels: What was seen in it.
            place: The room it was taken in.
            ids: Ids of the objects seen in it.

        Returns:
            Its row id.
        """
        seen = ", ".join(sorted(set(labels)))
        parts = [percept.caption, f"saw {seen}" if seen else "", f"in the {place}" if place else ""]
        record = Record(
            kind="keyframe",
            first_ns=percept.stamp_ns,
            last_ns=percept.stamp_ns,
            text=" ".join(part for part in parts if part) or "a view",
            label=place,
            agent=percept.agent,
            position=percept.T_world_sensor[:3, 3],
            tags=(*labels, *ids, place),
            evidence=[row_id(record_id) for record_id in ids],
        )
        with self.store.transaction() as db:
            number = self._add(db, record, percept.embedding, percept.embedding_model)
            pose = np.ascontiguousarray(percept.T_world_sensor).tobytes()
            db.execute("INSERT INTO keyframe VALUES (?, ?, ?)", (number, pose, jpeg))
        self._last[percept.agent] = (percept.stamp_ns, percept.T_world_sensor)
        return number

    def add_event(
        self,
        event: Event,
        place: str = "",
        evidence: Sequence[int] = (),
        position: NDArray[np.float64] | None = None,
    ) -> int:
        """Keep an event.

        Args:
            event: The event.
            place: The room it happened in.
            evidence: Row ids that it rests on.
            position: (3,) metres in the world; None takes the place of the body.

        Returns:
            Its row id.
        """
        record = record_of(event, place, evidence, position)
        with self.store.transaction() as db:
            number = self._add(db, record, event.embedding, event.embedding_model)
            row = (number, digest_number(event.content_hash), event.action.lower(), event.modality.lower())
            db.execute("INSERT INTO event_content VALUES (?, ?, ?, ?)", row)
        return number

    def _add(self, db: sqlite3.Connection, record: Record, vector: NDArray[np.float32] | None, model: str) -> int:
        """Keep a record and, if there is one, the vector (D,) that it came with."""
        if vector is None:
            return self.records.add(record)
        model = self.records.given.check(db, vector, model, record.kind)
        record.data = {**record.data, "embedding_model": model, "embedding_dim": len(vector)}
        number = self.records.add(record)
        self.records.given.put(db, number, model, vector)
        return number

    def embedding_of(self, record_id: str) -> tuple[str, NDArray[np.float32]] | None:
        """Model and vector (D,) that an event or a view was written with; None when it came without.

        Raises:
            InvalidInput: There is no such record.
        """
        number = row_id(self.records.get_id(record_id).id)
        with self.store.read() as db:
            return self.records.given.of(db, number)

    def same_content(self, content_hash: str) -> list[Recall]:
        """Events that say the same (`Event.content_hash`), earliest first.

        Raises:
            InvalidInput: It is no content hash.
        """
        try:
            digest = digest_number(content_hash)
        except ValueError:
            raise InvalidInput(f"content_hash: wanted one of an event, in hex, got {content_hash!r}") from None
        sql = (
            "SELECT r.id FROM event_content c JOIN record r ON r.id = c.id WHERE c.digest = ? AND r.live "
            "ORDER BY r.first_ns, r.id"
        )
        with self.store.read() as db:
            found = self.records.get([row[0] for row in db.execute(sql, (digest,))])
        return [item for item in found if item.data.get("content_hash") == content_hash]

    def linked(self, record_id: str, k: int = 10, *, steps: int = 1) -> list[Recall]:
        """The events that one is linked to, or that are linked to it, as far as `consolidate` came; closest first.

        Args:
            record_id: Of an event.
            k: At most so many.
            steps: Links walked, either way; the score is the product of the cosines on the way.

        Raises:
            InvalidInput: There is no such record, or `k` or `steps` is below 1.
        """
        return self._notes.linked(record_id, k, steps)

    def note(self, record_id: str) -> Note:
        """An event with its links, and a context that takes in the words of all that are linked to it.

        Raises:
            InvalidInput: There is no such record.
        """
        return self._notes.note(record_id)

    def places(self, query: Query | None = None, *, by: str = "cell", cell_m: float = 1.0) -> list[Place]:
        """Where something happened, what happened most first.

        Args:
            query: Filters; None takes all.
            by: "room", or "cell" of a grid.
            cell_m: Edge of a cell, metres.

        Raises:
            InvalidInput: `by` or `cell_m` is none of that.
        """
        return places(self.records, query or Query(), HAPPENED, by, cell_m)

    def happened_at(
        self, place: str | ArrayLike, query: Query | None = None, *, cell_m: float = 1.0, k: int = 100
    ) -> list[Recall]:
        """What happened at a place and around it: nearest first, counted in cells, and by time where equally near.

        Args:
            place: The name of a room, or (3,) metres in the world.
            query: Filters; None takes all.
            cell_m: Edge of a cell, metres.
            k: At most so many.

        Returns:
            Records; `why["cells away"]` is 0 for the cell or room itself. What has no place is left out.

        Raises:
            InvalidInput: The point, `cell_m` or `k` is none.
        """
        return happened_at(self.records, place, query or Query(), HAPPENED, cell_m, k)

    def get_keyframe(self, record_id: str) -> Keyframe:
        """The stored view of an id such as "keyframe:7".

        Raises:
            InvalidInput: There is none.
        """
        sql = (
            "SELECT r.first_ns, k.T_world_camera, k.image FROM record r JOIN keyframe k ON k.id = r.id "
            "WHERE r.id = ? AND r.kind || ':' || r.id = ?"
        )
        with self.store.read() as db:
            row = db.execute(sql, (row_id(record_id), record_id)).fetchone()
        if row is None:
            raise InvalidInput(f"keyframe: wanted an id that is in the memory, got {record_id!r}")
        return Keyframe(record_id, row[0], np.frombuffer(row[1]).reshape(4, 4), row[2])

    def timeline(self, query: Query | None = None, *, newest_first: bool = False, limit: int = 1000) -> list[Recall]:
        """Keyframes and events that pass the filters of a query, in order of time.

        Args:
            query: Filters; its text and embedding play no part here. None takes all.
            newest_first: Begin with the latest.
            limit: At most this many.
        """
        return self._in_order(query or Query(), newest_first=newest_first, limit=limit)

    def zoom(self, query: Query | str, k_chunks: int = 3, k: int = 10, *, scale: str = "") -> list[Chunk]:
        """Summaries first, then the details inside the chosen ones (`embodmem.episodic.zoom`).

        Args:
            query: What is looked for; its filters apply to summaries and details.
            k_chunks: At most so many stretches of time.
            k: At most so many details of each.
            scale: Only summaries of this scale ("segment", "hour"); "" takes what answers best, none within another.

        Returns:
            Chunks, best first; one of which no detail is left has none.

        Raises:
            InvalidInput: `k_chunks` or `k` is below 1, or there is no such scale.
        """
        return zoom(self.records, self.summaries.names, as_query(query), k_chunks, k, scale)

    def remove(self, numbers: list[int]) -> int:
        """Remove records by row id, and what summaries say of them; the disk is not yet cleaned."""
        return super().remove(self.summaries.take_back(numbers))

    def consolidate(self, now_ns: int, limit: int = 1000) -> tuple[int, bool]:
        """One bounded piece of work for when the agent rests: cut into segments, summarise, link what is
        alike, let go of old summaries.

        Args:
            now_ns: What time it is, ns.
            limit: Of records that each of these looks at.

        Returns:
            How many summaries and segments were made, and whether nothing is left to do now.

        Raises:
            InvalidInput: `limit` is below 1.
        """
        made, done = self.summaries.step(now_ns, limit)
        closed, all_cut = self._segments.step(now_ns, limit)
        _, all_linked = self._notes.step(now_ns, limit)
        thinned = self.summaries.thin(now_ns, limit)
        return made + closed, done and all_cut and all_linked and thinned < limit

    def from_fragment(self, fragment: ArrayLike, k: int = 5, *, model: str = "") -> list[Recall]:
        """What a part of a vector calls up among the newest events and views (`embodmem.episodic.associative`).

        Args:
            fragment: (D,), NaN where it is not known.
            k: At most so many.
            model: Whose vectors; "" for the memory's encoder, else a model with whose vectors events were written.

        Returns:
            Records, best first; `score` and `why["fragment"]` are the store's own measure.

        Raises:
            InvalidInput: The fragment is none, or not as long as that model's vectors.
        """
        return self._fragments.call_up(fragment, k, model, HAPPENED)

    def segments(self, query: Query | None = None, *, limit: int = 1000) -> list[Segment]:
        """Stretches of events that hang together, in order of time, as far as `consolidate` came.

        Args:
            query: Filters (time, place, agent, labels, sources); None takes all.
            limit: At most so many summaries of segments are looked at.
        """
        asked = replace(query or Query(), kinds=(SEGMENT,))
        return Segments.of(self.records.in_order(asked, ("summary",), newest_first=False, limit=limit))

    def clear(self) -> None:
        """Remove everything, stamps included."""
        with self.store.transaction() as db:
            self.summaries.clear(db)
            super().clear()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace its content by what `state_dict` gave; what it holds is looked at for summaries again.

        Raises:
            InvalidInput: The state lacks a table, or holds ids that another memory of this file uses.
        """
        with self.store.transaction() as db:
            self.summaries.clear(db)
            super().load_state_dict(state)
