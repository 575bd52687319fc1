"""EmbodiedMemory: owns the memories, writes to all of them, recalls across them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import Self

from embodmem.config import Config, config_from, config_to_plain
from embodmem.encoders import find_encoder, make_encoder
from embodmem.episodic import EpisodicMemory
from embodmem.errors import InvalidInput
from embodmem.geometry import check_pose
from embodmem.guard import Guard
from embodmem.index import Records
from embodmem.index.filters import is_open, row_id
from embodmem.index.rerank import Reranker
from embodmem.noticed import Noticed
from embodmem.procedural import ProceduralMemory
from embodmem.recalling import Recaller
from embodmem.semantic import SemanticMemory
from embodmem.semantic.spread import spread
from embodmem.spatial.closure import Closure, LoopClosure, Shown
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.payloads import Payloads
from embodmem.spatial.scene.memory import SceneMemory
from embodmem.spatial.views import ViewMemory
from embodmem.store import Store
from embodmem.store.about import about, counts
from embodmem.store.store import Mode
from embodmem.types import Encoder, Event, Percept, PinholeCamera, Query, Recall
from embodmem.working import WorkingMemory

OWNER = "EmbodiedMemory"


class EmbodiedMemory:
    """One memory for an agent with a body: spatial, scene, episodic, semantic, procedural and working, in one file.

    Args:
        path: The file; None keeps it in a temporary file that goes when the memory is closed.
        mode: "a" opens for writing and makes the file if there is none, "x" makes a new file and refuses an existing
            one, "r" opens an existing file for reading.
        config: Settings; None takes those that the file was made with, or the defaults.
        encoder: Texts to vectors; None takes the one that the settings name.

    Attributes:
        reranker: Any `index.rerank.Reranker`, such as a cross-encoder, that orders the first answers of `recall` anew.

    Raises:
        StoreError: The file cannot be used as asked; it is left as it was.

    Example:
        >>> from embodmem import EmbodiedMemory, Event
        >>> with EmbodiedMemory() as memory:
        ...     memory.write(Event(stamp_ns=1, kind="told", text="the keys are in the drawer"))
        ...     memory.recall("keys")[0].text
        'the keys are in the drawer'
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        mode: Mode = "a",
        *,
        config: Config | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        check_below_mib = (config or Config()).store.check_below_mib
        self.store = Store(path, mode, check_below_mib)
        try:
            kept = self.store.get_state("config")
            self.config = config or (Config() if kept is None else config_from(kept, where=f"{path}: config"))
            self.records = Records(self.store, self._choose_encoder(encoder), self.config.store.max_text_bytes)
            self.records.settings = self.config.recall
            self.records.mirror.approximate.above = self.config.index.approximate_above
            self.spatial = SpatialMemory(self.store, self.config.spatial)
            self.seen = ViewMemory(self.spatial)
            self.closure = LoopClosure(self.spatial, self.seen, self.config.episodic.keep_depth)
            self.payloads = Payloads(self.store, self.config.spatial.voxel_size_m, self.config.payloads)
            self.scene = SceneMemory(self.records, self.config.scene)
            self.episodic = EpisodicMemory(self.records, self.config.episodic, self.config.store.jpeg_quality)
            self.semantic = SemanticMemory(self.records, self.config.semantic)
            self.records.channels.spread = spread
            self.semantic.rules.rooms = self.scene.room_names
            self.working = WorkingMemory(self.records, self.config.working)
            self.procedural = ProceduralMemory(self.records, self.config.procedural)
            self.guard = Guard(self.records, self.spatial, self.scene, self.config.guard)
            memories = ("scene", "episodic", "semantic", "procedural", "working")
            asked = {name: getattr(self, name) for name in memories}
            self.reranker: Reranker | None = None
            self._recaller = Recaller(self.records, self.spatial, self.guard, asked)
            self._noticed = Noticed(self.scene, self.episodic, self.semantic, self.working)
            if mode != "r":
                self._note_settings()
            self.records.prepare([kind for memory in asked.values() for kind in memory.looked_at(Query())])
        except BaseException:
            self.store.close()
            raise
        # One thread fuses views into the map in their order, the other encodes images; both release the GIL.
        self._mapper = ThreadPoolExecutor(1, "embodmem-map")
        self._imager = ThreadPoolExecutor(1, "embodmem-image")

    @classmethod
    def open(cls, path: str | os.PathLike[str], mode: Mode = "a", **settings: Any) -> Self:
        """Open a memory file; see the class for the arguments."""
        return cls(path, mode, **settings)

    def _choose_encoder(self, encoder: Encoder | None) -> Encoder | None:
        """The encoder asked for, else the one that made the file's vectors; None where that one cannot be had.

        Vectors of two encoders never meet: another one is taken up only when it was asked for, by writing all vectors
        anew. Without an encoder, words still find things.
        """
        kept: str | None = self.store.get_state("encoder")
        if encoder is None and (kept is None or self.config.encoder != "auto"):
            encoder = make_encoder(self.config.encoder)
        elif encoder is None:
            encoder = find_encoder(str(kept))
        if encoder is not None and self.store.read_only and kept not in (None, encoder.name):
            return None
        return encoder

    def _note_settings(self) -> None:
        encoder = self.records.encoder
        plain = config_to_plain(self.config)
        with self.store.transaction():
            if self.store.get_state("config") != plain:
                self.store.set_state("config", plain)
            if encoder is not None:
                changed = self.store.get_state("encoder") != encoder.name
                self.store.set_state("encoder", encoder.name)
                self.records.encode_texts(missing_only=not changed)

    def write(self, experience: Percept | Event) -> None:
        """Remember it in every memory that it concerns; when this returns, it is on disk.

        Raises:
            StampError: Time went backwards for its agent; nothing is kept of it.
            StoreError: The file could not be written; nothing is kept of it.
        """
        self.write_batch((experience,))

    def write_batch(self, experiences: Iterable[Percept | Event]) -> None:
        """Remember several in one transaction, which costs one sync to disk; all of them or, on an error, none."""
        pending: list[Future[Any]] = []
        made: list[tuple[int, Future[Shown]]] = []
        with self.store.transaction() as db:
            try:
                for experience in experiences:
                    self.store.advance(OWNER, experience.agent, experience.stamp_ns)
                    objection = self.guard.objection(experience)
                    if objection:
                        self._keep_apart(experience, objection)
                    elif isinstance(experience, Percept):
                        if self.config.guard.check_detections:
                            for job in pending:  # what is examined is held against a map that holds all before it
                                job.result()
                            experience = self.guard.examine(experience)
                        pending.append(self._mapper.submit(self.spatial.integrate, experience))
                        made.extend(self._write_percept(experience))
                    else:
                        self._write_event(experience)
                for job in pending:
                    job.result()
                self.scene.flush()
                if pending:
                    self._noticed.cleared(self.spatial.take_cleared(experience.stamp_ns), experience.agent)
                    self.spatial.flush()
                shown = [(number, *job.result()) for number, job in made]
                db.executemany("UPDATE keyframe SET image = ? WHERE id = ?", [(jpeg, n) for n, jpeg, _, _ in shown])
                self.seen.add((number, surface) for number, _, surface, _ in shown)
                self.closure.depths.add((number, depth) for number, _, _, depth in shown)
            finally:
                wait(pending)  # none may still write into a map that a rollback has dropped

    def _keep_apart(self, experience: Percept | Event, reason: str) -> None:
        """In quarantine an event, or a view as a keyframe, touches no other memory."""
        if isinstance(experience, Event):
            number = self.episodic.add_event(experience)
        else:
            number = self.episodic.add_keyframe(experience, self.episodic.encode_image(experience))
            self.episodic.reload()  # the next view is not held against this one
        self.guard.keep_apart(number, experience.stamp_ns, reason)

    def _show(self, percept: Percept) -> Shown:
        return self.episodic.encode_image(percept), self.seen.surface(percept), self.closure.depths.encode(percept)

    def _write_percept(self, percept: Percept) -> list[tuple[int, Future[Shown]]]:
        update = self.scene.observe(percept)
        place = self.scene.room_of(percept.T_world_sensor[:3, 3]) or ""
        labels = sorted(update.labels)
        made = []
        keyframe: int | None = None
        # An object that no keyframe shows yet makes one, so that every object has a picture to rest on.
        if self.episodic.is_keyframe(percept) or self.scene.lacks_keyframe(update):
            keyframe = self.episodic.add_keyframe(percept, None, labels, place, update.seen)
            made.append((keyframe, self._imager.submit(self._show, percept)))
            self.scene.note_keyframe(update, keyframe)
        self._noticed.seen(update, percept, keyframe)
        self.working.note_view(percept, labels, place, keyframe)
        return made

    def _write_event(self, event: Event) -> None:
        known_already = self.guard.repeated(event)
        if known_already is not None:
            self.working.note(event.text, event.stamp_ns, agent=event.agent, ref=known_already)
            return
        where = None if event.T_world_body is None else event.T_world_body[:3, 3]
        place = "" if where is None else self.scene.room_of(where) or ""
        found = [self.scene.resolve_in(event, name) for name in event.objects]
        names = {item.id: item.label for item in found if item is not None}
        known = tuple(name if item is None else item.id for name, item in zip(event.objects, found, strict=True))
        tagged = replace(event, objects=tuple(dict.fromkeys((*event.objects, *known, *names.values()))))
        number = self.episodic.add_event(tagged, place, [row_id(i) for i in names])
        self.semantic.apply(replace(event, objects=known), names)
        self.scene.hold(replace(event, objects=known))
        self.procedural.apply(tagged)
        self.working.note(event.text, event.stamp_ns, agent=event.agent, tags=tagged.objects, ref=number)

    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        """The k best answers of all memories, best first; [] when nothing matches.

        Scores of different memories do not compare, so their rankings are fused by rank. A line of working memory that
        stands for a record adds to the reasons for that one, not to its rank: it would count twice. `why` says which
        channels of which memory chose an answer. The map takes part only when the query's kinds name "surface". Last,
        `guard` puts what only unproven sources say behind the best answer of a trusted one.
        """
        return self.recall_with_reason(query, k)[0]

    def recall_with_reason(self, query: Query | str, k: int = 10) -> tuple[list[Recall], str]:
        """What `recall` answers, and, where that is nothing, the reason: nothing matches, or nothing is near enough to
        be known (setting `recall.not_known_below`); "" where there are answers.
        """
        return self._recaller.recall(query, k, self.reranker)

    def make_ready(self) -> None:
        """Read and take apart at once what questions need, so that the first ones cost no more than others.

        It is done after opening anyhow, when nobody reads or writes.
        """
        self.records.finish_preparing()

    def views(self, T_world_camera: ArrayLike, camera: PinholeCamera, k: int = 8) -> list[Recall]:
        """The fewest keyframes, k at most, that show what is visible from a pose; the one that adds most first.

        `score` and `why["adds"]`: part of what is visible that it shows and none before it; `why["covers"]`: all of it.

        Args:
            T_world_camera: (4, 4), optical frame.
            camera: What the view is to be like; a small one (160x120) does.
            k: Most keyframes wanted; fewer come when no other adds anything, none when nothing mapped is visible.

        Raises:
            InvalidInput: The pose is none, or k is below 1.
        """
        with self.store.read():
            chosen = self.seen.choose(check_pose(T_world_camera, "T_world_camera"), camera, k)
            found = self.records.get([view.number for view in chosen])
        why = [{"adds": view.adds, "covers": view.covers} for view in chosen]
        return [replace(item, score=w["adds"], why=w) for item, w in zip(found, why, strict=True)]

    def correct_poses(self, poses: Mapping[str, ArrayLike]) -> Closure:
        """Give keyframes that kept their depth other poses, T_world_camera (4, 4) by id, as a loop closure finds them.

        In one transaction: the bricks that they saw from the old or the new pose are made again from the depth of all
        keyframes, their records and `views` follow; objects, rooms and facts stay (docs/spatial-memory.md).

        Raises:
            InvalidInput: A pose is none, or an id is none of a keyframe with depth (setting `episodic.keep_depth`).
        """
        done = self.closure.correct(poses)
        self.episodic.reload()
        return done

    def forget(self, query: Query) -> int:
        """Remove all that matches from every memory and from the disk; returns how many records and voxels went.

        What matches a label is all that bears it: objects, facts and events about it, keyframes that show it; labels
        alone go from the map's voxels, too. Facts about an object go with it. A region alone makes the map unknown.

        Raises:
            InvalidInput: The query is empty; `clear` removes everything.
        """
        if is_open(query):
            raise InvalidInput("query: wanted at least one filter, got an empty query; clear() removes everything")
        gone = 0
        with self.store.transaction() as db:
            objects = [f"object:{number}" for number in self.records.match(query, ("object",))]
            self.scene.drop_tentative(query)
            for memory in (self.scene, self.episodic, self.semantic, self.procedural, self.working):
                gone += memory.remove(self.records.match(query, memory.kinds))
            if objects:
                about = self.records.match(Query(labels=tuple(objects)), self.semantic.kinds)
                gone += self.semantic.remove(about)
                db.executemany("DELETE FROM record_tag WHERE tag = ?", [(name,) for name in objects])
            self.semantic.forget_claims((*query.labels, *objects))
            if query.labels and is_open(replace(query, labels=())):
                gone += self.closure.forget_labels(query.labels)
        others = (query.labels, query.kinds, query.ids, query.sources, query.text, query.agent, query.between_ns)
        if not any(others) and (query.within is not None or query.radius_m is not None):
            for part in (self.seen, self.closure.depths, self.payloads):
                part.forget(query)
            gone += self.spatial.forget(query)
        self.store.erase_traces()
        return gone

    def purge(self, source: str) -> int:
        """Remove all that a source said, and what rests on nothing else, in one transaction; returns how much went."""
        with self.store.transaction():
            self.semantic.forget_source(source)
            gone = self.procedural.remove(self.guard.said_by(source))  # skills that rest on it are made anew, or go
            for memory in (self.episodic, self.semantic, self.working):
                memory.reload()
        self.store.erase_traces()
        return gone

    def clear(self) -> None:
        """Remove everything."""
        with self.store.transaction() as db:
            records = (self.working, self.procedural, self.semantic, self.episodic, self.scene)
            for memory in (*records, self.payloads, self.spatial):
                memory.clear()
            db.execute("DELETE FROM stamp WHERE owner = ?", (OWNER,))
            db.execute("DELETE FROM state WHERE name = 'build'")
            db.execute("DELETE FROM codebook")
            for table in ("trust", "change"):
                db.execute(f"DELETE FROM {table}")

    def newest_stamp(self, agent: str | None = None) -> int | None:
        """The stamp of the last experience of an agent, or of all, ns; None while there is none."""
        return self.store.newest_stamp(OWNER, agent)

    def counts(self) -> dict[str, int]:
        """How many live records there are of each kind."""
        return counts(self.store)

    def info(self) -> dict[str, Any]:
        """What the memory holds, in plain values: file, records by kind, time span, map, settings."""
        rooms = [room.label for room in self.scene.rooms()]
        return {
            **about(self.store),
            "vector_bits": self.records.vector_bits(),
            "map": self.spatial.about(),
            "rooms": rooms,
        }

    def state_dict(self) -> dict[str, Any]:
        """{"file": (N,) uint8}: the whole memory as the bytes of its file."""
        return {"file": np.frombuffer(self.store.dump(), dtype=np.uint8)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace everything by what `state_dict` gave.

        Raises:
            StoreError: The bytes are no sound memory of a known version.
            ConfigError: Its map has another voxel size.
        """
        if "file" not in state:
            raise InvalidInput(f"state: wanted the key 'file', got {sorted(state)}")
        self.store.load(np.asarray(state["file"], dtype=np.uint8).tobytes(), self.spatial.check_voxel_size)
        self._note_settings()

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Move all into the one file, or write a compact copy to another path."""
        self.store.save(path)

    def close(self) -> None:
        """Finish and close the file; safe to call twice."""
        self._mapper.shutdown()
        self._imager.shutdown()
        if not self.store.closed:
            self.spatial.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
