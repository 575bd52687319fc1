"""Facts and claims in the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.index import Record, Records
from embodmem.semantic.evidence import Evidence
from embodmem.semantic.facts import Fact

_COLUMNS = (
    "f.id, f.subject, f.relation, f.object, f.valid_from_ns, f.valid_until_ns, f.known_from_ns, f.known_until_ns, "
    "f.confidence, r.text, f.place, r.source"
)


@dataclass(frozen=True, slots=True)
class Words:
    """How a fact is said and found: label, text, tags, and where its subject is, (3,) metres."""

    label: str
    text: str
    tags: tuple[str, ...]
    position: NDArray[np.float64] | None


def worded(text: str, is_open: bool) -> str:
    """A statement in the present or in the past tense."""
    return text.replace(" was ", " is ", 1) if is_open else text.replace(" is ", " was ", 1)


class FactTable:
    """Reads and writes the tables `fact` and `fact_claim`.

    Args:
        records: Where the words of facts are kept.
    """

    def __init__(self, records: Records) -> None:
        self.records, self.store = records, records.store
        self._learnt_ns: int | None = None  # when anything was learnt last; None: read it from the file
        self.store.after_rollback.append(self.reload)

    def select(
        self, condition: str, values: Sequence[Any], order: str = "f.valid_from_ns, f.id", limit: int = -1
    ) -> list[Fact]:
        """Facts that fulfil a condition on `fact f` and `record r`."""
        source = "fact f JOIN record r ON r.id = f.id"
        sql = f"SELECT {_COLUMNS} FROM {source} WHERE {condition} ORDER BY {order} LIMIT ?"
        with self.store.read() as db:
            return [Fact(f"fact:{row[0]}", *row[1:]) for row in db.execute(sql, (*values, limit))]

    def believed(self, subject: str, relations: Sequence[str], since_ns: int, object: str | None = None) -> list[Fact]:
        """What is believed of a subject at some time from `since_ns` on, or just until then."""
        marks = ",".join("?" * len(relations))
        condition = (
            f"f.subject = ? AND f.relation IN ({marks}) AND f.known_until_ns IS NULL AND ifnull(?, f.object) = f.object"
        )
        values = (subject, *relations, object)
        # Two searches of the index; in one, an OR, SQLite walks through the whole history.
        ended = self.select(f"{condition} AND f.valid_until_ns >= ?", (*values, since_ns))
        found = ended + self.select(f"{condition} AND f.valid_until_ns IS NULL", values)
        return sorted(found, key=lambda fact: (fact.valid_from_ns, fact.number))

    def learnt_ns(self, known_ns: int) -> int:
        """When something counts as learnt: not before what was learnt last, so that no belief ends before it began."""
        if self._learnt_ns is None:
            with self.store.read() as db:
                newest = db.execute(
                    "SELECT max(known_from_ns), max(known_until_ns), "
                    "(SELECT known_ns FROM fact_claim ORDER BY id DESC LIMIT 1) FROM fact"
                ).fetchone()
            self._learnt_ns = max((ns for ns in newest if ns is not None), default=0)
        return max(self._learnt_ns, known_ns)

    def note_learnt(self, known_ns: int) -> None:
        """Something was learnt, as late as `learnt_ns` says."""
        self._learnt_ns = known_ns

    def reload(self) -> None:
        """Read again from the file when anything was learnt last."""
        self._learnt_ns = None

    def insert(self, fact: Fact, words: Words, evidence: Iterable[int]) -> str:
        """Keep a new fact; its id and text are made here."""
        record = Record(
            kind="fact",
            label=words.label,
            text=worded(words.text, fact.valid_until_ns is None),
            first_ns=fact.valid_from_ns,
            last_ns=fact.known_from_ns if fact.valid_until_ns is None else fact.valid_until_ns,
            source=fact.source,
            position=words.position,
            tags=(*words.tags, fact.place),
            evidence=self._existing(evidence),
            data={
                "subject": fact.subject,
                "relation": fact.relation,
                "object": fact.object,
                "valid_from_ns": fact.valid_from_ns,
                "valid_until_ns": fact.valid_until_ns,
                "known_from_ns": fact.known_from_ns,
            }
            | ({"place": fact.place} if fact.place else {}),
        )
        with self.store.transaction() as db:
            number = self.records.add(record)
            parts = (fact.subject, fact.relation, fact.object, fact.valid_from_ns, fact.valid_until_ns)
            more = (fact.known_from_ns, None, fact.confidence, fact.place)
            db.execute(f"INSERT INTO fact VALUES ({', '.join('?' * 10)})", (number, *parts, *more))
        return f"fact:{number}"

    def close(self, fact: Fact, known_ns: int) -> None:
        """The memory believes it no longer."""
        with self.store.transaction() as db:
            db.execute("UPDATE fact SET known_until_ns = ? WHERE id = ?", (known_ns, fact.number))
            db.execute("UPDATE record SET live = 0 WHERE id = ?", (fact.number,))

    def words(self, fact: Fact) -> Words:
        """How a fact that is kept is said."""
        with self.store.read() as db:
            label, text, *at = db.execute(
                "SELECT label, text, x, y, z FROM record WHERE id = ?", (fact.number,)
            ).fetchone()
            tags = tuple(tag for (tag,) in db.execute("SELECT tag FROM record_tag WHERE id = ?", (fact.number,)))
        position = None if at[0] is None else np.array(at)
        return Words(label, text, tuple(tag for tag in tags if tag != fact.place.lower()), position)

    def evidence_of(self, facts: Iterable[Fact]) -> list[int]:
        """Row ids that facts rest on."""
        sql = "SELECT DISTINCT ref FROM record_link WHERE id IN (SELECT value FROM json_each(?)) ORDER BY ref"
        with self.store.read() as db:
            return [ref for (ref,) in db.execute(sql, (json.dumps([fact.number for fact in facts]),))]

    def add_evidence(self, fact: Fact, evidence: Iterable[int]) -> None:
        """A fact rests on these rows, too."""
        with self.store.transaction() as db:
            links = [(fact.number, ref) for ref in self._existing(evidence)]
            db.executemany("INSERT OR IGNORE INTO record_link VALUES (?, ?)", links)

    def _existing(self, numbers: Iterable[int]) -> list[int]:
        """Those of the rows that are there (what was forgotten is no evidence any more)."""
        wanted = json.dumps([int(number) for number in numbers])
        with self.store.read() as db:
            sql = "SELECT id FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
            return [number for (number,) in db.execute(sql, (wanted,))]

    def last_claim_ns(self, subject: str, relations: Sequence[str], object: str | None) -> int:
        """The last moment that a claim of these relations speaks of, ns; -1 without any."""
        sql, newest = "SELECT max(last_ns) FROM fact_claim WHERE subject = ? AND relation = ?", -1
        objects = [()] if object is None else [(object,), ("",)]
        with self.store.read() as db:
            for relation in relations:
                for also in objects:
                    found = db.execute(sql + " AND object = ?" * len(also), (subject, relation, *also)).fetchone()[0]
                    newest = max(newest, -1 if found is None else found)
        return newest

    def claims(
        self, subject: str, relations: Sequence[str], object: str | None, weigh: Callable[[str, float, str], float]
    ) -> list[Evidence]:
        """All claims of these relations (of one object and of none, where one is given), in the order of telling.

        Args:
            subject: Of whom.
            relations: The relations.
            object: The object; None for all.
            weigh: What a claim counts, from its relation, confidence and source.
        """
        marks = ",".join("?" * len(relations))
        sql = (
            "SELECT id, ifnull(told, id), relation, object, holds, is_open, valid_from_ns, last_ns, confidence, "
            f"source, data FROM fact_claim WHERE subject = ? AND relation IN ({marks})"
        )
        if object is not None:
            sql += " AND object IN (?, '')"
        values = (subject, *relations) if object is None else (subject, *relations, object)
        with self.store.read() as db:
            rows = db.execute(f"{sql} ORDER BY 2, 1", values).fetchall()
        return [
            Evidence(
                id=row[0],
                told=row[1],
                relation=row[2],
                object=row[3],
                holds=bool(row[4]),
                is_open=bool(row[5]),
                from_ns=row[6],
                last_ns=row[7],
                weight=weigh(row[2], row[8], row[9]),
                confidence=row[8],
                source=row[9],
                content=row[10],
            )
            for row in rows
        ]

    def add_claim(self, subject: str, claim: Evidence, known_ns: int, told: int | None = None) -> None:
        """Keep a claim; `told` is its place in the order of telling, None for the last."""
        with self.store.transaction() as db:
            parts = (subject, claim.relation, claim.object, claim.holds, claim.is_open, claim.from_ns, claim.last_ns)
            more = (known_ns, claim.confidence, claim.source, claim.content)
            db.execute(
                "INSERT INTO fact_claim (told, subject, relation, object, holds, is_open, valid_from_ns, last_ns, "
                f"known_ns, confidence, source, data) VALUES ({', '.join('?' * 12)})",
                (told, *parts, *more),
            )

    def drop_claims(self, claims: Iterable[Evidence]) -> None:
        """Claims count no longer."""
        with self.store.transaction() as db:
            db.executemany("DELETE FROM fact_claim WHERE id = ?", [(claim.id,) for claim in claims])
