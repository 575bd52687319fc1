"""Payloads: vectors that octree nodes and landmarks carry, a token a write, pooled upwards.

Mem4Nav keeps memory tokens at octree leaves and at the nodes of a graph of landmarks. A token of a fixed size cannot
hold an unbounded history without loss, so every write is a token of its own here and older ones come back exactly; a
reversible transform over them is the business of a policy.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.config import PayloadConfig
from embodmem.errors import InvalidInput
from embodmem.index.filters import row_id
from embodmem.spatial.octree.keys import unpack_keys
from embodmem.spatial.pooling import NodeBatch, NodeSums, check_depth, node_centres, node_keys, touching
from embodmem.spatial.views import region_of
from embodmem.store import Store
from embodmem.types import Query, check_stamp

_STATE = "payloads"


class Tokens(NamedTuple):
    """What was written to one node or landmark, in the order of writing.

    Attributes:
        vectors: (M, D) as kept, float16 or float32.
        stamps_ns: (M,) int64.
    """

    vectors: NDArray[Any]
    stamps_ns: NDArray[np.int64]


class NodeMatches(NamedTuple):
    """Nodes of one depth, most alike first.

    Attributes:
        keys: (M,) int64 (`embodmem.spatial.pooling`).
        centres: (M, 3) world, metres.
        cosines: (M,) of their pooled vector and the one that was asked for.
        counts: (M,) tokens pooled in each.
    """

    keys: NDArray[np.int64]
    centres: NDArray[np.float64]
    cosines: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class PayloadStats:
    """How much is kept. `bytes` are those of the vectors, which the budget bounds; `dropped` went to stay within it."""

    tokens: int
    bytes: int
    max_bytes: int
    dropped: int


class Payloads:
    """Vectors of one length D, written to octree nodes of any depth and to landmarks (objects, rooms: records).

    All of it stands in the memory's file, written in one transaction a call. Pooled vectors are held in RAM for each
    depth that was asked for and follow what is written, so that a read costs what its depth costs. The file keeps the
    length and the kind of numbers of the first write. A landmark's tokens go with its record.

    Args:
        store: The memory's file.
        voxel_size_m: Edge of a voxel, metres.
        config: Kind of numbers and byte budget.
    """

    def __init__(self, store: Store, voxel_size_m: float, config: PayloadConfig | None = None) -> None:
        self.store = store
        self.voxel_size_m = voxel_size_m
        self.config = config or PayloadConfig()
        self._lock = threading.RLock()
        self._changes = 0
        self._writing = 0  # the thread whose changes are pending
        self.reload()
        store.after_rollback.append(self.reload)
        store.after_commit.append(self._take_in)

    def reload(self) -> None:
        """Pool again from the file at the next use."""
        with self._lock:
            self._sums: dict[int, NodeSums] = {}
            self._pending: list[tuple[NodeBatch, int]] = []  # of the running transaction, and whether added or gone
            self._form: dict[str, Any] | None = None
            self._version = -1
            self._changes += 1

    def _note(self, batch: NodeBatch, sign: int) -> None:
        self._pending.append((batch, sign))
        self._writing = threading.get_ident()

    def _take_in(self) -> None:
        """After a commit: bring what is pooled up to date."""
        if self._pending:
            with self._lock:
                for depth, sums in self._sums.items():
                    for batch, sign in self._pending:
                        batch.above(depth, sums, sign)
                self._pending = []
                self._changes += 1

    def keys_at(self, positions: ArrayLike, depth: int) -> NDArray[np.int64]:
        """Keys (N,) of the nodes of a depth that hold positions (N, 3) in the world, metres.

        Raises:
            InvalidInput: A shape is another, a number is not finite, or a node is too far from the origin for a key.
        """
        return node_keys(_finite(positions, "positions", 3), check_depth(depth), self.voxel_size_m)

    def write(self, depth: int, keys: ArrayLike, vectors: ArrayLike, stamp_ns: int) -> int:
        """Append a token to each of some nodes; a node may come more than once.

        Args:
            depth: Of the nodes, 0 (root) .. 24 (voxel).
            keys: (N,) int64, from `keys_at`.
            vectors: (N, D).
            stamp_ns: When, ns.

        Returns:
            How many of the oldest tokens went to stay within the byte budget.

        Raises:
            InvalidInput: A shape is another, a number is not finite or beyond what the kind of numbers holds, or the
                call alone is over the budget.
        """
        nodes, level = np.asarray(keys, dtype=np.int64), check_depth(depth)
        unpack_keys(nodes)  # checks them
        with self.store.transaction() as db, self._lock:
            tokens = self._as_kept(vectors, len(nodes))
            stamp = check_stamp(stamp_ns)
            rows = [
                (level, key, None, stamp, token.tobytes()) for key, token in zip(nodes.tolist(), tokens, strict=True)
            ]
            self._note(NodeBatch(np.full(len(nodes), level), nodes.copy(), tokens), 1)
            return self._append(db, rows)

    def write_landmarks(self, ids: Sequence[str], vectors: ArrayLike, stamp_ns: int) -> int:
        """Append a token to each of some records ("object:12"); it goes when the record is forgotten.

        Returns:
            How many of the oldest tokens went to stay within the byte budget.

        Raises:
            InvalidInput: There is no such record, or the vectors are as `write` refuses them.
        """
        numbers = [row_id(record_id) for record_id in ids]
        with self.store.transaction() as db, self._lock:
            sql = "SELECT kind || ':' || id FROM record WHERE id IN (SELECT value FROM json_each(?))"
            known = {row[0] for row in db.execute(sql, (json.dumps(numbers),))}
            if set(ids) - known:
                raise InvalidInput(f"landmarks: wanted ids in the memory, got {sorted(set(ids) - known)[:3]}")
            tokens = self._as_kept(vectors, len(numbers))
            stamp = check_stamp(stamp_ns)
            rows = [(None, None, number, stamp, token.tobytes()) for number, token in zip(numbers, tokens, strict=True)]
            return self._append(db, rows)

    def _as_kept(self, vectors: ArrayLike, count: int) -> NDArray[Any]:
        """The vectors in the file's kind of numbers, checked; the first ones decide its length."""
        form = self._get_form()
        array = _finite(vectors, "vectors", None if form is None else form["dim"])
        if len(array) != count or array.shape[1] < 1:
            raise InvalidInput(f"vectors: wanted ({count}, D), got {array.shape}")
        if form is None:
            form = {"dim": array.shape[1], "dtype": self.config.dtype, "dropped": 0}
            self.store.set_state(_STATE, form)
            self._form = form
        with np.errstate(over="ignore"):
            kept = array.astype(form["dtype"])
        if not np.isfinite(kept).all():
            raise InvalidInput(f"vectors: wanted numbers that {form['dtype']} holds, got {np.abs(array).max():.4g}")
        if kept.nbytes > self.config.max_bytes:
            raise InvalidInput(
                f"vectors: wanted at most payloads.max_bytes = {self.config.max_bytes} bytes, got {kept.nbytes}"
            )
        return kept

    def _append(self, db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> int:
        form = self._get_form()
        assert form is not None
        db.executemany("INSERT INTO payload (depth, key, record, stamp_ns, vector) VALUES (?, ?, ?, ?, ?)", rows)
        most: int = self.config.max_bytes // (int(form["dim"]) * np.dtype(form["dtype"]).itemsize)
        excess: int = int(db.execute("SELECT count(*) FROM payload").fetchone()[0]) - most
        if excess <= 0:
            return 0
        oldest = "number IN (SELECT number FROM payload ORDER BY number LIMIT ?)"
        self._note(self._batch(db, oldest, (excess,)), -1)
        db.execute(f"DELETE FROM payload WHERE {oldest}", (excess,))
        self._form = {**form, "dropped": form["dropped"] + excess}
        self.store.set_state(_STATE, self._form)
        return excess

    def _batch(self, db: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> NodeBatch:
        """The tokens of nodes that a condition chooses."""
        sql = f"SELECT depth, key, vector FROM payload WHERE key IS NOT NULL AND {where} ORDER BY number"
        rows = db.execute(sql, values).fetchall()
        depths, keys = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2).T
        return NodeBatch(depths, keys, self._vectors([row[2] for row in rows]))

    def _vectors(self, blobs: list[bytes]) -> NDArray[Any]:
        form = self._get_form() or {"dim": 0, "dtype": "float32"}
        return np.frombuffer(b"".join(blobs), dtype=form["dtype"]).reshape(len(blobs), form["dim"])

    def _get_form(self) -> dict[str, Any] | None:
        """Length, kind of numbers and number of dropped tokens of the file; None before the first write."""
        version = self.store.foreign_version()
        if version != self._version:  # another process has written
            self.reload()
            self._version = version
        if self._form is None:
            self._form = self.store.get_state(_STATE)
        return self._form

    @contextmanager
    def _pooled(self, depth: int) -> Iterator[NodeSums | None]:
        """The sums of a depth, pooled from the file where they are not held yet; None before the first write.

        What another thread commits meanwhile makes sums of an older snapshot stale, so those are not held; nor are
        those that this thread reads amid its own transaction.
        """
        changes = self._changes
        with self.store.read() as db, self._lock:
            form = self._get_form()
            mine = bool(self._pending) and self._writing == threading.get_ident()
            sums = None if mine else self._sums.get(depth)
            if form is not None and sums is None:
                sums = NodeSums(form["dim"])
                self._batch(db, "depth >= ?", (depth,)).above(depth, sums)
                if changes == self._changes and not self._pending:
                    self._sums[depth] = sums
            yield sums

    def tokens(self, depth: int, key: int) -> Tokens:
        """All tokens of one node in the order of writing; empty where there are none."""
        where = "depth = ? AND key = ?"
        return self._tokens(where, (check_depth(depth), int(key)))

    def landmark_tokens(self, record_id: str) -> Tokens:
        """All tokens of one landmark in the order of writing; empty where there are none."""
        return self._tokens("record = ?", (row_id(record_id),))

    def _tokens(self, where: str, values: tuple[int, ...]) -> Tokens:
        with self.store.read() as db, self._lock:
            rows = db.execute(f"SELECT stamp_ns, vector FROM payload WHERE {where} ORDER BY number", values).fetchall()
            return Tokens(self._vectors([row[1] for row in rows]), np.array([row[0] for row in rows], dtype=np.int64))

    def pooled(self, depth: int, keys: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Mean (N, D) of all tokens of nodes (N,) and of the nodes below them, and how many each mean is of.

        A node without any has zeros and the number 0. Before the first write D is 0.
        """
        nodes = np.asarray(keys, dtype=np.int64)
        with self._pooled(check_depth(depth)) as sums:
            if sums is None:
                return np.zeros((len(nodes), 0), np.float32), np.zeros(len(nodes), np.int64)
            return sums.means(nodes)

    def nodes(self, depth: int) -> NDArray[np.int64]:
        """Keys (M,) of all nodes of a depth that carry something, themselves or below them."""
        with self._pooled(check_depth(depth)) as sums:
            return np.empty(0, np.int64) if sums is None else sums.nodes()

    def nearest(
        self, vector: ArrayLike, k: int = 10, *, depth: int = 21, within: ArrayLike | None = None
    ) -> NodeMatches:
        """The k nodes of a depth whose pooled vector is most alike.

        Args:
            vector: (D,).
            k: Most nodes wanted.
            depth: Of the nodes; 21 is a brick.
            within: (2, 3) lower and upper corner in the world, metres: only nodes that touch this box.

        Raises:
            InvalidInput: k is below 1, or a shape is another.
        """
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        with self._pooled(check_depth(depth)) as sums:
            keys = np.empty(0, np.int64) if sums is None else sums.nodes()
            if within is not None:
                lower, upper = region_of(Query(within=np.asarray(within, dtype=np.float64)))
                keys = keys[touching(keys, depth, self.voxel_size_m, lower, upper)]
            cosines, counts = np.empty(0), np.empty(0, np.int64)
            if sums is not None and len(keys):
                cosines, counts = sums.cosines(keys, _finite([vector], "vector", sums.dim)[0])
        best = np.argsort(-cosines, kind="stable")[:k]
        return NodeMatches(keys[best], node_centres(keys[best], depth, self.voxel_size_m), cosines[best], counts[best])

    def nearest_landmarks(self, vector: ArrayLike, k: int = 10) -> list[tuple[str, float]]:
        """Ids of the k landmarks whose mean token is most alike, and their cosines, best first."""
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        sql = (
            "SELECT r.kind || ':' || r.id, p.record, p.vector FROM payload p JOIN record r ON r.id = p.record "
            "WHERE p.record IS NOT NULL"
        )
        with self.store.read() as db, self._lock:
            rows = db.execute(sql).fetchall()
            if not rows:
                return []
            names = {number: name for name, number, _ in rows}
            vectors = self._vectors([row[2] for row in rows])
            sums = NodeSums(vectors.shape[1])
        sums.add(np.array([row[1] for row in rows], dtype=np.int64), vectors)
        numbers = sums.nodes()
        cosines, _ = sums.cosines(numbers, _finite([vector], "vector", sums.dim)[0])
        best = np.argsort(-cosines, kind="stable")[:k]
        return [(names[numbers[i]], float(cosines[i])) for i in best.tolist()]

    def forget(self, query: Query) -> int:
        """Remove the tokens of every node that a region touches, from the file as well; returns how many.

        The region is that of `SpatialMemory.forget`. Landmarks are forgotten as records are.

        Raises:
            InvalidInput: The query names no region.
        """
        lower, upper = region_of(query)
        gone = 0
        with self.store.transaction() as db, self._lock:
            places = db.execute("SELECT DISTINCT depth, key FROM payload WHERE key IS NOT NULL").fetchall()
            depths, keys = np.array(places, dtype=np.int64).reshape(-1, 2).T
            for depth in np.unique(depths).tolist():
                here = np.ascontiguousarray(keys[depths == depth])
                touched = here[touching(here, depth, self.voxel_size_m, lower, upper)].tolist()
                where = "depth = ? AND key IN (SELECT value FROM json_each(?))"
                values = (depth, json.dumps(touched))
                self._note(self._batch(db, where, values), -1)
                gone += int(db.execute(f"DELETE FROM payload WHERE {where}", values).rowcount)
        self.store.save()
        return gone

    def clear(self) -> None:
        """Remove everything; the next write may be of another length."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM payload")
            db.execute("DELETE FROM state WHERE name = ?", (_STATE,))
        self.reload()
        self.store.save()

    def stats(self) -> PayloadStats:
        """How much is kept."""
        with self.store.read() as db, self._lock:
            tokens = int(db.execute("SELECT count(*) FROM payload").fetchone()[0])
            form = self._get_form() or {"dim": 0, "dtype": "float32", "dropped": 0}
        size = tokens * form["dim"] * np.dtype(form["dtype"]).itemsize
        return PayloadStats(tokens, size, self.config.max_bytes, form["dropped"])


def _finite(values: Any, name: str, width: int | None) -> NDArray[np.float64]:
    """Finite numbers (N, width)."""
    try:
        array: NDArray[np.float64] = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name}: wanted numbers (N, {width or 'D'}), got {values!r}") from error
    if array.ndim != 2 or (width is not None and array.shape[1] != width) or not np.isfinite(array).all():
        raise InvalidInput(f"{name}: wanted finite numbers (N, {width or 'D'}), got shape {array.shape}")
    return array
