"""Two memories of one world become one: what both know is kept once. Merging again adds the map's evidence only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodmem.embodied import OWNER, EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.index import Record
from embodmem.procedural.adopt import adopt as adopt_skills
from embodmem.semantic import Claim
from embodmem.spatial.octree.files import merge_bricks
from embodmem.spatial.octree.fuse import fused
from embodmem.spatial.scene.adopt import adopt

_KINDS = ("event", "keyframe", "experience")
_SIDES = ("keyframe", "keyframe_surface", "keyframe_depth", "experience_term", "event_content", "given_vector")
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Merged:
    """What came in.

    Attributes:
        records: Events, keyframes and experiences that were new.
        known: Such records that were there already.
        objects: Objects of the other memory, those known here included.
        facts: Facts of the other memory that changed what is believed here.
        bricks: Bricks of its map.
        skills: Skills of it that were new.
    """

    records: int
    known: int
    objects: int
    facts: int
    bricks: int
    skills: int = 0


def merge(
    memory: EmbodiedMemory,
    other: EmbodiedMemory,
    *,
    rename: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Merged:
    """Take what another memory knows into this one, in one transaction.

    Both have to use one world frame. Events, keyframes and experiences keep their times, agents and sources; objects
    that are the same become one; facts come in as claims, which the rules of this memory decide, and count as learnt
    now; log-odds of the maps add up, as those of independent observations do (Hornung et al., Autonomous Robots 2013,
    eq. 2). Skills come with their versions and uses, cases with what they earned. The working memory and the trust in
    sources are each memory's own and stay out.

    Args:
        memory: Takes it in.
        other: Is read.
        rename: Its agents' names -> names here, where two robots bear one name.
        progress: Called with the number of records done, now and then.

    Raises:
        InvalidInput: The memories are one, or their maps have another voxel size.
        StoreError: It could not be written; nothing of it is kept.
    """
    if memory.store.path.resolve() == other.store.path.resolve():
        raise InvalidInput(f"merge: wanted two memories, got {memory.store.path} twice")
    sizes = [m.config.spatial.voxel_size_m for m in (memory, other)]
    if sizes[0] != sizes[1]:
        raise InvalidInput(f"merge: wanted maps of one voxel size, got {sizes[0]} and {sizes[1]} m")
    work = _Merge(memory, other, dict(rename or {}))
    with memory.store.transaction() as db, other.store.read() as source:
        work.names = adopt(memory.scene, other.scene)
        records = known = 0
        for chunk in work.chunks(source):
            new = work.copy(db, source, chunk)
            records, known = records + new, known + len(chunk) - new
            if progress is not None:
                progress(records + known)
        facts = sum(work.claim(row) for row in work.facts(source))
        skills = adopt_skills(memory.procedural, other.procedural, work.rows)
        bricks = work.map()
        for agent, ns in source.execute("SELECT agent, max(ns) FROM stamp GROUP BY agent").fetchall():
            name = work.rename.get(agent, agent)
            newest = memory.store.newest_stamp(OWNER, name)
            memory.store.advance(OWNER, name, max(ns, newest or 0))
    for part in (memory.episodic, memory.procedural):
        part.reload()
    return Merged(records, known, len(work.names), facts, bricks, skills)


class _Merge:
    """The steps of one merge."""

    def __init__(self, memory: EmbodiedMemory, other: EmbodiedMemory, rename: dict[str, str]) -> None:
        self.memory, self.other, self.rename = memory, other, rename
        self.names: dict[str, str] = {}  # ids of objects
        self.rows: dict[int, int] = {}  # row ids there -> here

    def chunks(self, source: sqlite3.Connection) -> Iterable[list[int]]:
        marks = ", ".join("?" * len(_KINDS))
        ids = source.execute(f"SELECT id FROM record WHERE live AND kind IN ({marks}) ORDER BY id", _KINDS).fetchall()
        return ([row[0] for row in ids[at : at + _CHUNK]] for at in range(0, len(ids), _CHUNK))

    def copy(self, db: sqlite3.Connection, source: sqlite3.Connection, chunk: list[int]) -> int:
        """Copy records that are not here yet; returns how many."""
        for old, new in self.names.items():
            self.rows.setdefault(int(old.partition(":")[2]), int(new.partition(":")[2]))
        numbers, records = list[int](), list[Record]()
        for number, record in self._records(source, chunk):
            here = self._find(db, record)
            if here is not None:
                self.rows[number] = here
                continue
            numbers.append(number)
            records.append(record)
        made = self.memory.records.add_many(records)
        pairs = dict(zip(numbers, map(int, made), strict=True))
        self.rows.update(pairs)
        links = source.execute(
            "SELECT id, ref FROM record_link WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(numbers),)
        )
        db.executemany(
            "INSERT OR IGNORE INTO record_link VALUES (?, ?)",
            [(pairs[a], self.rows[b]) for a, b in links if b in self.rows],
        )
        for table in _SIDES:
            self._copy_side(db, source, table, pairs)
        return len(pairs)

    def _records(self, source: sqlite3.Connection, chunk: list[int]) -> Iterable[tuple[int, Record]]:
        ids = (json.dumps(chunk),)
        rows = source.execute(
            "SELECT id, kind, subkind, agent, source, label, text, first_ns, last_ns, x, y, z, x0, y0, z0, x1, y1, z1, "
            "data FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            ids,
        ).fetchall()
        tags: dict[int, list[str]] = {}
        for tag, number in source.execute(
            "SELECT tag, id FROM record_tag WHERE id IN (SELECT value FROM json_each(?))", ids
        ):
            tags.setdefault(number, []).append(self.names.get(tag, tag))
        for number, kind, subkind, agent, said, label, text, first_ns, last_ns, *place, data in rows:
            extra = json.loads(data)
            if "objects" in extra:
                extra["objects"] = [self.names.get(name, name) for name in extra["objects"]]
            corners = None if place[3] is None else np.array(place[3:]).reshape(2, 3)
            yield (
                number,
                Record(
                    kind=kind,
                    subkind=subkind,
                    agent=self.rename.get(agent, agent),
                    source=said,
                    label=label,
                    text=text,
                    first_ns=first_ns,
                    last_ns=last_ns,
                    position=None if place[0] is None else np.array(place[:3]),
                    box=corners,
                    tags=tags.get(number, ()),
                    data=extra,
                ),
            )

    @staticmethod
    def _find(db: sqlite3.Connection, record: Record) -> int | None:
        row = db.execute(
            "SELECT id FROM record WHERE kind = ? AND first_ns = ? AND last_ns = ? AND subkind = ? AND agent = ? "
            "AND source = ? AND text = ? ORDER BY id LIMIT 1",
            (record.kind, record.first_ns, record.last_ns, record.subkind, record.agent, record.source, record.text),
        ).fetchone()
        return None if row is None else int(row[0])

    @staticmethod
    def _copy_side(db: sqlite3.Connection, source: sqlite3.Connection, table: str, pairs: Mapping[int, int]) -> None:
        cursor = source.execute(
            f"SELECT * FROM {table} WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(pairs)),)
        )
        names = [column[0] for column in cursor.description]
        at = names.index("id")
        rows = [(*row[:at], pairs[row[at]], *row[at + 1 :]) for row in cursor]
        db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows)

    @staticmethod
    def facts(source: sqlite3.Connection) -> list[tuple[Any, ...]]:
        """What the other memory believes now, and until when each is vouched for; as it was learnt."""
        return source.execute(
            "SELECT f.subject, f.relation, f.object, f.valid_from_ns, f.valid_until_ns, f.confidence, r.source, "
            "f.place, r.text, r.x, r.y, r.z, (SELECT max(c.last_ns) FROM fact_claim c WHERE c.subject = f.subject "
            "AND c.relation = f.relation AND c.object = f.object AND c.holds AND c.last_ns >= f.valid_from_ns) "
            "FROM fact f JOIN record r ON r.id = f.id WHERE f.known_until_ns IS NULL ORDER BY f.known_from_ns, f.id"
        ).fetchall()

    def claim(self, row: tuple[Any, ...]) -> bool:
        """Hand a fact of the other memory to the rules; whether it changed what is believed."""
        subject, relation, object_, begin, end, confidence, said, place, text, x, y, z, seen = row
        decision = self.memory.semantic.update(
            Claim(
                subject=self.names.get(subject, subject),
                relation=relation,
                object=self.names.get(object_, object_),
                valid_from_ns=begin,
                valid_until_ns=end,
                seen_ns=max(begin, seen or begin) if end is None else None,
                confidence=confidence,
                source=said,
                place=place,
                position=None if x is None else np.array([x, y, z]),
                text=text,
            )
        )
        return decision.operation not in ("NOOP", "REJECT")

    def map(self) -> int:
        """Add up the maps; returns how many bricks came in."""
        with self.other.store.read() as source:
            if not source.execute("SELECT 1 FROM brick LIMIT 1").fetchone():
                return 0
        ours, theirs = self.memory.spatial.octree, self.other.spatial.octree.bricks()
        merge_bricks(ours, fused(ours.bricks(), theirs, ours.config))
        self.memory.spatial.flush()
        return len(theirs.keys)
