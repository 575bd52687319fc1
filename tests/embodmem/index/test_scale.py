"""Many records: written in bulk, held as bytes, sealed in blocks; each against the plain way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import InvalidInput
from embodmem.index import Record, Records
from embodmem.index.codes import Estimate, contenders, quantise
from embodmem.index.passed import Passed
from embodmem.index.rows import Rows
from embodmem.store import Store
from embodmem.types import Query
from tests.embodmem.store.filled import check_file_indexes, check_indexes, content

DIM = 48
N = 5000


class Encoder:
    """Vectors from the hash of a text; nothing is alike."""

    name, dim, min_score = "random", DIM, -1.0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = [np.random.default_rng(list(text.encode())).standard_normal(DIM) for text in texts]
        return unit(np.array(vectors).reshape(-1, DIM))


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(rng: np.random.Generator, n: int, dim: int = DIM) -> np.ndarray:
    """(n, dim) around 20 centres, some equal to one another."""
    vectors = rng.standard_normal((20, dim))[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, dim))
    vectors[: n // 50] = vectors[0]
    return unit(vectors)


def event(i: int) -> Record:
    place = None if i % 9 == 0 else np.array([i % 50, i // 50 % 50, 0.0])
    return Record(
        kind="event",
        subkind="told" if i % 3 else "pick",
        text=f"event number{i}",
        first_ns=i,
        last_ns=i + i % 4,
        position=place,
        tags=(f"thing{i % 11}",),
        agent="ann" if i % 2 else "",
    )


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that large memories do, from 500 records on."""
    monkeypatch.setattr("embodmem.index.rows.EXACT_NUMBERS", 500 * Encoder.dim)
    monkeypatch.setattr(Rows, "SPAN", 16)
    for module in ("codes", "vectors"):
        monkeypatch.setattr(f"embodmem.index.{module}.FEW", 100)


@pytest.fixture
def large(path: Path, small_limits: None) -> Iterator[tuple[Records, np.ndarray]]:
    records, vectors = Records(Store(path), Encoder()), clustered(np.random.default_rng(1), N)
    for begin in range(0, N, 700):
        part = range(begin, min(N, begin + 700))
        records.add_many([event(i) for i in part], vectors[part.start : part.stop])
    yield records, vectors
    records.store.close()


QUERIES = (
    {},
    {"kinds": ("pick",)},
    {"agent": "ann"},
    {"between_ns": (1000, 1100)},
    {"between_ns": (None, 4000)},
    {"labels": ("thing3",)},
    {"within": np.array([[3.0, 0, 0], [9.0, 30, 1]])},
    {"within": np.array([[3.0, 0, 0], [4.0, 99, 1]]), "between_ns": (500, 3000)},
    {"near": np.array([10.0, 10, 0]), "radius_m": 0.5},
)


def check_exact(records: Records, kept: dict[int, np.ndarray], seed: int = 0) -> None:
    """What is found is what a product with every single vector finds, at every filter."""
    rng = np.random.default_rng(seed)
    for fields in QUERIES:
        allowed = records.in_order(Query(**fields), (), newest_first=False, limit=10**6)
        ids = np.array(sorted(int(r.id.split(":")[1]) for r in allowed))
        assert set(ids.tolist()) <= set(kept)
        table = np.array([kept[i] for i in ids.tolist()]).reshape(-1, DIM)
        for query in (unit(rng.standard_normal((1, DIM)))[0], kept[next(reversed(kept))]):
            plain = {k: v for k, v in fields.items() if k not in ("near", "radius_m")}
            plain |= {"within": np.array([[9.5, 9.5, -1], [10.5, 10.5, 1]])} if "near" in fields else {}
            found = records.search(Query(embedding=query, **plain), 10)
            scores = table @ query
            order = np.lexsort((ids, -scores))[: len(found)]
            assert len(found) == min(10, len(ids))
            assert [r.why["meaning"] for r in found] == pytest.approx(scores[order].tolist(), abs=1e-5)
            gap = np.diff(scores[order]) < -1e-5  # equals may change places
            if gap.all():
                assert [r.id for r in found] == [f"event:{i}" for i in ids[order]]


@pytest.mark.parametrize("exact_rows", [100, 1200])
def test_the_most_alike_of_each_part(path: Path, monkeypatch: pytest.MonkeyPatch, exact_rows: int) -> None:
    monkeypatch.setattr("embodmem.index.rows.EXACT_NUMBERS", exact_rows * Encoder.dim)
    for module in ("codes", "vectors"):
        monkeypatch.setattr(f"embodmem.index.{module}.FEW", 60)
    rng, count = np.random.default_rng(3), 900
    records, vectors = Records(Store(path), Encoder()), clustered(np.random.default_rng(2), count)
    records.add_many([event(i) for i in range(count)], vectors)
    for turn in range(3):
        vectors[7 + turn] = vectors[500]
        with records.store.transaction() as db:  # one record changes, one loses its vector
            blob = vectors[7 + turn].tobytes()
            db.execute("UPDATE record_vector SET embedding = ? WHERE id = ?", (blob, 8 + turn))
            db.execute("DELETE FROM record_vector WHERE id = ?", (20 + turn,))
        bare = {19 + i for i in range(turn + 1)}
        for ids in (np.arange(1, count + 1), np.sort(rng.choice(count, 300, replace=False)) + 1):
            owner = rng.integers(0, 3, len(ids))
            owner[: len(ids) // 2] = 0
            names = ("a",) if turn == 0 else ("a", "b", "c")
            passed = Passed.of(ids, None, names, None if turn == 0 else owner.astype(np.int8))
            queries = np.concatenate([vectors[[500]], unit(rng.standard_normal((1, DIM)))])
            with records.store.read() as db:
                found = records.channels.vectors.likes(db, passed, queries, 20, 0.1)
            for query, of_query in zip(queries, found, strict=True):
                for part, likes in zip(passed.parts, of_query, strict=True):
                    place = [i for i in np.arange(len(ids))[part].tolist() if ids[i] - 1 not in bare]
                    cosine = {i: float(vectors[ids[i] - 1] @ query) for i in place}
                    rank = sorted((i for i in place if cosine[i] >= 0.1), key=lambda i: (-round(cosine[i], 5), i))[:20]
                    assert likes.cosines.tolist() == pytest.approx([cosine[i] for i in rank], abs=1e-5)
                    assert [round(cosine[i], 5) for i in likes.at.tolist()] == [round(cosine[i], 5) for i in rank]
                    same = likes.at[likes.cosines == likes.cosines.max(initial=0.0)]  # of equals the first
                    assert same.tolist() == sorted(same.tolist())
    with records.store.read() as db, records.mirror.at(db) as rows:
        assert rows is not None and rows.is_exact == (exact_rows > count)
    records.store.close()


def test_bytes_first_is_exact(large: tuple[Records, np.ndarray]) -> None:
    records, vectors = large
    kept = {i + 1: vectors[i] for i in range(N)}
    check_exact(records, kept)
    with records.store.read() as db, records.mirror.at(db) as rows:
        assert rows is not None and not rows.is_exact and rows.n == N


def test_it_follows_changes(large: tuple[Records, np.ndarray]) -> None:
    records, vectors = large
    kept = {i + 1: vectors[i] for i in range(N)}
    check_exact(records, kept)
    records.remove(range(100, 160))
    for number in range(100, 160):
        del kept[number]
    records.replace(7, event(9999))
    kept[7] = records.encode(["event number9999"])[0]
    number = records.add(event(10_000))
    kept[number] = records.encode(["event number10000"])[0]
    check_exact(records, kept, 1)
    with pytest.raises(ZeroDivisionError), records.store.transaction():
        records.remove(range(1, 4000))
        raise ZeroDivisionError
    check_exact(records, kept, 2)
    records.remove(range(200, 4900))  # most of them: the columns are packed anew
    for number in range(200, 4900):
        del kept[number]
    check_exact(records, kept, 3)


def test_blocks_are_sealed_used_and_dropped(large: tuple[Records, np.ndarray], path: Path) -> None:
    records, vectors = large
    kept = {i + 1: vectors[i] for i in range(N)}

    def blocks() -> list[int]:
        with records.store.read() as db:
            return [row[0] for row in db.execute("SELECT number FROM record_block ORDER BY number")]

    assert blocks() == [0, 1, 2, 3]
    records.replace(2000, event(2000))
    assert blocks() == [0, 2, 3]
    kept[2000] = records.encode(["event number2000"])[0]
    for _ in range(2):  # with a gap among the blocks, and sealed at the close
        records.store.close()
        records = Records(Store(path), Encoder())
        check_exact(records, kept)
        assert blocks() == [0, 1, 2, 3]
        records.remove([3000])
        kept.pop(3000, None)
    records.store.close()
    reader = Records(Store(path, "r"), Encoder())
    check_exact(reader, kept)
    reader.store.close()
    check_file_indexes(path)


def test_a_memory_closes_where_no_block_can_be_sealed(large: tuple[Records, np.ndarray], path: Path) -> None:
    records, vectors = large
    records.remove([2000])
    db = records.store._writer
    assert db is not None
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    with records.store.transaction() as db:  # takes the pages that the removed block gave back
        free = db.execute("PRAGMA freelist_count").fetchone()[0]
        db.execute("INSERT INTO codebook VALUES ('filler', zeroblob(?))", (4080 * (free - 3),))
    records.store.close()
    records = Records(Store(path), Encoder())
    check_exact(records, {i + 1: vectors[i] for i in range(N) if i != 1999})
    records.store.close()


def test_what_is_forgotten_leaves_the_blocks(large: tuple[Records, np.ndarray], path: Path) -> None:
    records, vectors = large
    code = quantise(vectors[2500:2501])[0].tobytes()
    records.store.save()

    def held() -> bool:
        return any(code in p.read_bytes() or vectors[2500].tobytes() in p.read_bytes() for p in path.parent.iterdir())

    assert held()
    records.remove([2501])
    records.store.erase_traces()
    assert not held()
    records.store.close()
    assert not held()


def test_a_block_of_other_vectors_is_not_used(large: tuple[Records, np.ndarray], path: Path) -> None:
    records, vectors = large
    records.store.close()

    class Longer(Encoder):
        name, dim = "longer", 2 * DIM

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return unit(np.concatenate([super().encode(texts)] * 2, axis=1))

    records = Records(Store(path), Longer())
    records.encode_texts()
    wanted = records.encode(["event number4321"])[0]
    best = records.search(Query(embedding=wanted), 1)[0]
    assert (best.id, best.why["meaning"]) == ("event:4322", pytest.approx(1.0))
    records.store.close()


def test_in_bulk_as_one_by_one(path: Path) -> None:
    stores = [Store(path), Store(path.with_name("other.mem"))]
    bulk, single = (Records(store, Encoder()) for store in stores)
    made = [event(i) for i in range(60)]
    made[40].evidence = (3, 5)
    vectors = bulk.encode([r.text for r in made])
    assert bulk.add_many(made[:3], vectors[:3]).tolist() == [1, 2, 3]
    assert bulk.add_many(made[3:], vectors[3:]).tolist() == list(range(4, 61))
    assert bulk.add_many([]).tolist() == []
    for record in made:
        single.add(record)
    rows = []
    for store in stores:
        with store.read() as db:
            rows.append(content(db) | {"vectors": db.execute("SELECT * FROM record_vector").fetchall()})
        with store.transaction() as db:
            check_indexes(db)
    assert rows[0] == rows[1]
    assert bulk.add_many([event(1)] * 20).tolist() == list(range(61, 81))  # their texts are encoded
    assert len(bulk.search(Query(text="number1"), 100)) >= 20
    for store in stores:
        store.close()


def test_what_one_rests_on_once(records: Records) -> None:
    first = records.add(event(1))
    second = records.add(Record(kind="event", text="it rests", first_ns=2, last_ns=2, evidence=(first,)))
    found = records.get([second, first, second, 999])
    assert [item.id for item in found] == [f"event:{second}", f"event:{first}", f"event:{second}"]
    assert [item.evidence for item in found] == [(f"event:{first}",), (), (f"event:{first}",)]
    many = records.get([second] * 100)
    assert len(many) == 100 and many[99].evidence == (f"event:{first}",)
    assert found[0].position is None and found[1].position.tolist() == [1.0, 0.0, 0.0]  # type: ignore[union-attr]
    found[0].data["kind"] = "changed"  # type: ignore[index]  # each answer is its own
    assert "kind" not in found[2].data


def test_bad_embeddings_keep_nothing(records: Records) -> None:
    dim = records.encoder.dim  # type: ignore[union-attr]
    good = np.eye(dim, dtype=np.float32)[:12]
    bad = good.copy()
    bad[3, 0] = np.nan
    for vectors in (good[:5], good[:, :-1], 2 * good, bad, np.zeros_like(good)):
        with pytest.raises(InvalidInput, match="embeddings: wanted"):
            records.add_many([event(i) for i in range(12)], vectors)
    with pytest.raises(InvalidInput, match="embeddings"):
        Records(records.store, None).add_many([event(1)], good[:1])
    assert records.search(Query(), 5) == []
    assert records.add_many([event(i) for i in range(12)], good)[-1] == 12


def test_an_older_snapshot_is_answered_as_it_was(large: tuple[Records, np.ndarray]) -> None:
    """A search that reads what was there before, while another thread has read what came later."""
    records, vectors = large
    query, got = Query(embedding=vectors[4000]), []
    before = [r.id for r in records.search(query, 5)]
    taken, go_on = threading.Event(), threading.Event()

    def slow_reader() -> None:
        with records.store.read():
            taken.set()
            go_on.wait()
            got.append([r.id for r in records.search(query, 5)])

    thread = threading.Thread(target=slow_reader)
    thread.start()
    taken.wait()
    records.remove([4001])
    after = [r.id for r in records.search(query, 5)]
    go_on.set()
    thread.join()
    assert "event:4001" in before and "event:4001" not in after
    assert got == [before]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 3000),
    dim=st.sampled_from([1, 3, 64, 384, 768]),
    depth=st.integers(1, 300),
    floor=st.sampled_from([-1.0, 0.0, 0.3]),
)
def test_contenders_hold_the_best(seed: int, n: int, dim: int, depth: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = clustered(rng, n, dim)
    query = unit(rng.standard_normal((1, dim)))[0]
    exact = vectors.astype(np.float64) @ query.astype(np.float64)
    best = np.flatnonzero(exact >= floor)
    best = best[np.argsort(-exact[best], kind="stable")[:depth]]
    coded, estimate = quantise(vectors), Estimate(query)
    for pass_ in (estimate.rough, estimate.fine):
        cosines, bounds = pass_(*coded)
        assert (np.abs(cosines - exact) <= bounds).all()
        chosen = contenders(cosines, bounds, depth, floor)
        # Of equals at the end of the list any may be left out.
        assert all(i in set(chosen.tolist()) for i in best if len(best) < depth or exact[i] > exact[best[-1]] + 1e-6)
