"""Records: the one form in which objects, keyframes, events, facts and notes are kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.index.bits import SQL_BITS
from embodmem.index.bulk import Columns, tags_of
from embodmem.index.hydrate import among
from embodmem.index.search import Search
from embodmem.store import Store
from embodmem.store.changes import TOUCH, note_new
from embodmem.types import Encoder


@dataclass(slots=True, kw_only=True)
class Record:
    """One thing to keep.

    Attributes:
        kind: "object", "room", "keyframe", "event", "fact" or "item".
        first_ns: When it was first seen or began, ns.
        last_ns: When it was last seen or ended, ns.
        label: What it is.
        text: It in words; goes to the word index and the encoder.
        subkind: An event's own kind.
        agent: Whose it is.
        source: Who says so; "" for what was perceived.
        position: (3,) metres in the world, or None.
        box: (2, 3) lower and upper corner; None takes the position as a point.
        tags: Labels and ids by which label filters find it, its label always included.
        evidence: Row ids that it rests on.
        data: What its kind adds; plain values.
    """

    kind: str
    first_ns: int
    last_ns: int
    label: str = ""
    text: str = ""
    subkind: str = ""
    agent: str = ""
    source: str = ""
    position: NDArray[np.float64] | None = None
    box: NDArray[np.float64] | None = None
    tags: Iterable[str] = ()
    evidence: Sequence[int] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> tuple[Any, ...]:
        """Its row of the table `record`, as `COLUMNS` names it."""
        place: list[float | None] = _NOWHERE if self.position is None else _floats(self.position)
        corners = place + place if self.box is None else _floats(self.box)
        return (
            self.kind,
            self.subkind,
            self.agent,
            self.source,
            self.label,
            self.text,
            int(self.first_ns),
            int(self.last_ns),
            *place,
            *corners,
            json.dumps(dict(self.data)) if self.data else "{}",
        )

    def all_tags(self) -> list[str]:
        """By what label filters find it, in lower case, each once."""
        return tags_of((self.label, *self.tags))


_PLACES = ("x", "y", "z", "x0", "y0", "z0", "x1", "y1", "z1")
COLUMNS = ("kind", "subkind", "agent", "source", "label", "text", "first_ns", "last_ns", *_PLACES, "data")
_NOWHERE: list[float | None] = [None] * 3


def _floats(values: NDArray[np.float64]) -> list[float | None]:
    floats: list[float | None] = np.asarray(values, np.float64).reshape(-1).tolist()
    return floats


_INSERT = f"INSERT INTO record (id, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"
_UPDATE = f"UPDATE record SET {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE id = ?"
_TAG = "INSERT INTO record_tag VALUES (?, ?)"
_LINK = "INSERT OR IGNORE INTO record_link VALUES (?, ?)"
_VECTOR = "INSERT INTO record_vector VALUES (?, ?)"
_PUT_VECTOR = "INSERT INTO record_vector VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET embedding = excluded.embedding"

_BULK_FROM = 8
"""From so many records on, blocks are made of what is at hand."""

_UNIT = 1e-3
"""How far the square of a norm may be off 1."""


def _blobs(vectors: NDArray[np.float32]) -> list[memoryview]:
    """Each row (N, dim) as it stands in the file; nothing is copied."""
    content, size = vectors.data.cast("B"), vectors.strides[0]
    return [content[at : at + size] for at in range(0, len(content), size)]


class Records(Search):
    """Adds, changes, removes and finds records; all indexes follow within the same transaction.

    Texts are encoded in one batch just before the transaction commits.

    Args:
        store: The memory's file.
        encoder: Texts to vectors; None leaves the channel "meaning" out.
        max_text_bytes: A longer label or text is refused.
    """

    def __init__(self, store: Store, encoder: Encoder | None, max_text_bytes: int = 2**20) -> None:
        super().__init__(store, encoder)
        self._max_text_bytes = max_text_bytes
        self._to_encode: dict[int, str] = {}
        store.before_commit.append(self._encode_pending)
        store.after_rollback.append(self._to_encode.clear)

    def add(self, record: Record, number: int | None = None) -> int:
        """Keep a record; returns its row id, which is `number` for one that comes back after it was removed."""
        return int(self._add((record,), None, number)[0])

    def add_many(self, records: Iterable[Record], embeddings: NDArray[np.float32] | None = None) -> NDArray[np.int64]:
        """Keep records, all of them or, on an error, none.

        Args:
            records: (N,) records.
            embeddings: (N, dim) float32 of unit norm, of this memory's encoder; None encodes their texts.

        Returns:
            (N,) their row ids, ascending.

        Raises:
            InvalidInput: A text is too long, or the embeddings are of another number, length or norm.
        """
        records = tuple(records)
        return self._add(records, None if embeddings is None else self._checked(embeddings, len(records)))

    def _add(
        self, records: tuple[Record, ...], vectors: NDArray[np.float32] | None, begin: int | None = None
    ) -> NDArray[np.int64]:
        self._check_texts(records)
        with self.store.transaction() as db:
            if begin is None:
                newest = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchone()
                begin = 1 + (0 if newest is None else int(newest[0]))
            columns = Columns(records, begin)
            db.executemany(_INSERT, columns.rows())
            db.executemany(_TAG, columns.tags())
            db.executemany(_LINK, columns.links())
            if vectors is None:
                self._to_encode.update(
                    (number, record.text) for number, record in enumerate(records, begin) if record.text
                )
            else:
                db.executemany(_VECTOR, enumerate(_blobs(vectors), begin))
            if records:
                note_new(db, begin, begin + len(records) - 1)
            if vectors is not None and len(records) >= _BULK_FROM:
                self.mirror.note(db, *columns.batch(vectors))
        return np.arange(begin, begin + len(records), dtype=np.int64)

    def _check_texts(self, records: Sequence[Record]) -> None:
        if 4 * max((len(text) for r in records for text in (r.label, r.text)), default=0) <= self._max_text_bytes:
            return
        for record in records:
            for name, text in (("label", record.label), ("text", record.text)):
                if 4 * len(text) > self._max_text_bytes and len(text.encode()) > self._max_text_bytes:
                    raise InvalidInput(
                        f"{record.kind}: wanted a {name} of at most {self._max_text_bytes} bytes (the setting "
                        f"store.max_text_bytes), got {len(text.encode())}: {text[:40]!r}..."
                    )

    def _checked(self, embeddings: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """(count, dim) float32 of unit norm."""
        vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
        dim = 0 if self.encoder is None else self.encoder.dim
        if vectors.shape != (count, dim) or dim == 0:
            raise InvalidInput(f"embeddings: wanted {(count, dim)}, as the encoder makes them, got {vectors.shape}")
        off = np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1.0)
        if not (off < _UNIT).all():  # NaN fails, too
            norms = np.linalg.norm(vectors[~(off < _UNIT)][:3], axis=1)
            raise InvalidInput(f"embeddings: wanted finite vectors of unit norm, got norms such as {norms}")
        return np.frombuffer(vectors.tobytes(), np.float32).reshape(vectors.shape)  # a copy that nobody changes

    def replace(self, number: int, record: Record) -> None:
        """Change a record in place; its text is encoded again only when it differs.

        Raises:
            InvalidInput: There is none, or the text is too long.
        """
        self._check_texts((record,))
        with self.store.transaction() as db:
            old = db.execute("SELECT text FROM record WHERE id = ?", (number,)).fetchone()
            if old is None:
                raise InvalidInput(f"record: wanted one that exists, got row {number}")
            db.execute(_UPDATE, (*record.values(), number))
            db.execute("DELETE FROM record_tag WHERE id = ?", (number,))
            db.executemany(_TAG, [(tag, number) for tag in record.all_tags()])
            db.execute("DELETE FROM record_link WHERE id = ?", (number,))
            db.executemany(_LINK, [(number, ref) for ref in record.evidence])
            if record.text != old[0]:
                self._to_encode[number] = record.text

    def remove(self, numbers: Iterable[int]) -> int:
        """Remove records from every index; returns how many were there. `Store.erase_traces` cleans the disk."""
        rows = [int(number) for number in numbers]
        with self.store.transaction() as db:
            sql = "DELETE FROM record WHERE id IN (SELECT value FROM json_each(?))"
            gone = int(db.execute(sql, (json.dumps(rows),)).rowcount)
            for number in rows:
                self._to_encode.pop(number, None)
        return gone

    def _encode_pending(self, db: sqlite3.Connection) -> None:
        if not self._to_encode:
            return
        if db.execute("SELECT 1 FROM record_pieces LIMIT 1").fetchone():  # of another encoder, or another text
            db.executemany("DELETE FROM record_pieces WHERE id = ?", [(number,) for number in self._to_encode])
        given = self.given.own(db, list(self._to_encode))
        db.executemany(_PUT_VECTOR, given.items())
        numbers = [number for number in self._to_encode if number not in given]
        if self.encoder is None:  # an encoder fills in what is missing when it is there again
            db.executemany("DELETE FROM record_vector WHERE id = ?", [(number,) for number in numbers])
        elif numbers:
            texts = [self._to_encode[number] for number in numbers]
            vectors = self.encode(texts)
            db.executemany(_PUT_VECTOR, zip(numbers, (vector.tobytes() for vector in vectors), strict=True))
            if self._late is not None and self.settings.late != "never":
                pieces = (codes.tobytes() for codes in self._late.codes(texts))
                db.executemany("INSERT INTO record_pieces VALUES (?, ?)", zip(numbers, pieces, strict=True))
        self._to_encode.clear()

    def encode_again(self, numbers: Iterable[int]) -> None:
        """Make the vectors of these records anew, whole, from what they were made of."""
        with self.store.transaction() as db:
            given, values = among([int(number) for number in numbers])
            self._encode_later(db, f"SELECT id, text FROM record WHERE text != '' AND id {given}", values)

    def vector_bits(self) -> dict[int, int]:
        """How many vectors have so many bits a component: {32: ...} but for what `embodmem.lifecycle` made smaller."""
        bits = SQL_BITS.format("embedding")
        with self.store.read() as db:
            return dict(db.execute(f"SELECT {bits}, count(*) FROM record_vector GROUP BY 1 ORDER BY 1 DESC").fetchall())

    def encode_texts(self, missing_only: bool = False) -> None:
        """Encode the texts of all records again, or of those alone that have no vector."""
        with self.store.transaction() as db:
            if missing_only:
                sql = "SELECT id, text FROM record WHERE text != '' AND id NOT IN (SELECT id FROM record_vector)"
            else:
                sql = "SELECT id, text FROM record WHERE text != '' OR id IN (SELECT id FROM record_vector)"
            self._encode_later(db, sql)

    def _encode_later(self, db: sqlite3.Connection, sql: str, values: Sequence[Any] = ()) -> None:
        found = db.execute(sql, values).fetchall()
        self._to_encode.update(found)
        for statement in TOUCH:
            db.executemany(statement, [(number, number) for number, _ in found])
