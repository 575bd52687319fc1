"""What `bench_store.py` races: embedded stores of vectors, each asked for the same, where they are installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.store_data import DIM, World

Span = tuple[int, int]


class Peer(Protocol):
    """One embedded store.

    Attributes:
        name: As the table says it.
        durable: Whether `add` syncs to disk before it returns.
    """

    name: str
    durable: bool

    def open(self, folder: Path) -> None:
        """Make it, empty, in a folder."""

    def add(self, world: World, begin: int, end: int) -> None:
        """Keep events of the world, on disk when it returns."""

    def search(self, query: NDArray[np.float32], span: Span | None) -> list[int]:
        """The numbers of the 10 nearest events, of a span of time or of all."""

    def close(self) -> None:
        """Close it."""


class SqliteVec:
    """sqlite-vec: a vec0 table with the stamp as metadata, exact search; WAL and synchronous=FULL as ours.

    Over apsw, since the sqlite3 module of many Pythons cannot load extensions.
    """

    name, durable = "sqlite-vec", True

    def open(self, folder: Path) -> None:
        """Make it, empty, in a folder."""
        import apsw
        import sqlite_vec

        self.db = apsw.Connection(str(folder / "vec.db"))
        self.db.enable_load_extension(True)
        self.db.load_extension(sqlite_vec.loadable_path())
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536"):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS v USING vec0(id INTEGER PRIMARY KEY, embedding FLOAT[{DIM}] "
            "distance_metric=cosine, stamp INTEGER, +text TEXT)"
        )

    def add(self, world: World, begin: int, end: int) -> None:
        """Keep events of the world, on disk when it returns."""
        rows = ((i, world.vectors[i].tobytes(), int(world.stamps[i]), world.record(i).text) for i in range(begin, end))
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO v (id, embedding, stamp, text) VALUES (?, ?, ?, ?)", rows)
        self.db.execute("COMMIT")

    def search(self, query: NDArray[np.float32], span: Span | None) -> list[int]:
        """The numbers of the 10 nearest events, of a span of time or of all."""
        within = "" if span is None else "AND stamp >= ? AND stamp <= ?"
        sql = f"SELECT id, text FROM v WHERE embedding MATCH ? AND k = 10 {within}"
        return [row[0] for row in self.db.execute(sql, (query.tobytes(), *(span or ())))]

    def close(self) -> None:
        """Close it."""
        self.db.close()


class Lance:
    """LanceDB: a table without a vector index, which is exact; the filter before the search, a scalar index on it."""

    name, durable = "LanceDB", True

    def open(self, folder: Path) -> None:
        """Make it, empty, in a folder."""
        import lancedb

        self.db = lancedb.connect(str(folder / "lance"))
        self.table: Any = None
        self.indexed = False

    def add(self, world: World, begin: int, end: int) -> None:
        """Keep events of the world, on disk when it returns."""
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(world.vectors[begin:end].reshape(-1)), DIM)
        texts = [world.record(i).text for i in range(begin, end)]
        columns = [pa.array(range(begin, end), pa.int64()), vectors, pa.array(world.stamps[begin:end]), pa.array(texts)]
        rows = pa.table(columns, names=["id", "vector", "stamp", "text"])
        if self.table is None:
            self.table = self.db.create_table("v", rows)
        else:
            self.table.add(rows)

    def search(self, query: NDArray[np.float32], span: Span | None) -> list[int]:
        """The numbers of the 10 nearest events, of a span of time or of all."""
        if not self.indexed:
            self.table.create_scalar_index("stamp")
            self.indexed = True
        search = self.table.search(query).metric("cosine").limit(10).select(["id", "text", "_distance"])
        if span is not None:
            search = search.where(f"stamp >= {span[0]} AND stamp <= {span[1]}", prefilter=True)
        return [row["id"] for row in search.to_list()]

    def close(self) -> None:
        """Close it."""
        self.table = None


class QdrantEdge:
    """qdrant-edge: one shard, an index on the stamp, exact search; `flush` after each write makes it durable."""

    name, durable = "qdrant-edge", True

    def open(self, folder: Path) -> None:
        """Make it, empty, in a folder."""
        import qdrant_edge as q

        self.q, path = q, folder / "qdrant"
        if path.exists():
            self.shard = q.EdgeShard.load(str(path))
            return
        vectors = q.EdgeVectorParams(size=DIM, distance=q.Distance.Cosine)
        self.shard = q.EdgeShard.create(str(path), q.EdgeConfig(vectors=vectors))
        self.shard.update(q.UpdateOperation.create_field_index("stamp", q.PayloadSchemaType.Integer))

    def add(self, world: World, begin: int, end: int) -> None:
        """Keep events of the world, on disk when it returns."""
        q = self.q
        points = [
            q.Point(i, world.vectors[i].tolist(), {"stamp": int(world.stamps[i]), "text": world.record(i).text})
            for i in range(begin, end)
        ]
        self.shard.update(q.UpdateOperation.upsert_points(points))
        self.shard.flush()

    def search(self, query: NDArray[np.float32], span: Span | None) -> list[int]:
        """The numbers of the 10 nearest events, of a span of time or of all."""
        q = self.q
        within = None
        if span is not None:
            within = q.Filter(must=[q.FieldCondition("stamp", range=q.RangeFloat(gte=span[0], lte=span[1]))])
        request = q.SearchRequest(
            q.Query.Nearest(query.tolist()), 10, filter=within, params=q.SearchParams(exact=True), with_payload=True
        )
        return [point.id for point in self.shard.search(request)]

    def close(self) -> None:
        """Close it."""
        self.shard.close()


_MODULES = {"sqlite_vec": SqliteVec, "lancedb": Lance, "qdrant_edge": QdrantEdge}


def installed() -> list[Peer]:
    """The peers that can be imported here."""
    return [make() for module, make in _MODULES.items() if importlib.util.find_spec(module)]


def missing() -> str:
    """The modules of the others, for a person to read."""
    return json.dumps([module for module in _MODULES if not importlib.util.find_spec(module)])
