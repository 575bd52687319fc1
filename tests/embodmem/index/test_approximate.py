"""The approximate index beside the exact search: the same answers, filters kept, changes followed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embodmem.config import config_from
from embodmem.errors import ConfigError
from embodmem.index import Records
from embodmem.index.approximate import Approximate
from embodmem.index.rows import Batch, Rows
from embodmem.index.vectors import _Pass as Pass
from embodmem.store import Store
from embodmem.types import Query
from tests.embodmem.index.test_scale import QUERIES, Encoder, clustered, event, unit

pytest.importorskip("usearch")

N = 3000


@pytest.fixture
def both(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Records, np.ndarray]]:
    """Records that are searched by an index, and their vectors; `exact` searches them without it."""
    monkeypatch.setattr("embodmem.index.rows.EXACT_NUMBERS", 500 * Encoder.dim)
    records, vectors = Records(Store(path), Encoder()), clustered(np.random.default_rng(1), N)
    records.add_many([event(i) for i in range(N)], vectors)
    records.mirror.approximate.above = 1000
    yield records, vectors
    records.store.close()


def ready(records: Records) -> None:
    """Search once, so that the index is made, and wait for it."""
    records.search(Query(embedding=np.eye(1, Encoder.dim, dtype=np.float32)[0]), 1)
    records.mirror.approximate.wait()


def exact(records: Records, query: Query, k: int = 10) -> list[str]:
    approximate = records.mirror.approximate
    above, approximate._above = approximate._above, 0
    found = [r.id for r in records.search(query, k)]
    approximate._above = above
    return found


def asked(records: Records, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by whether the index had an answer, each time that it is asked."""
    answers: list[bool] = []
    near = Approximate.near

    def counted(self: Approximate, *given: object) -> object:
        found = near(self, *given)  # type: ignore[arg-type]
        answers.append(found is not None)
        return found

    monkeypatch.setattr(Approximate, "near", counted)
    return answers


def test_it_finds_what_the_exact_search_finds(
    both: tuple[Records, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    records, vectors = both
    ready(records)
    answers, rng, hits, total = asked(records, monkeypatch), np.random.default_rng(2), 0, 0
    for i in range(60):
        query = Query(embedding=unit(vectors[[i * 40]] + 0.05 * rng.standard_normal((1, vectors.shape[1])))[0])
        found, wanted = [r.id for r in records.search(query, 10)], exact(records, query)
        hits, total = hits + len(set(found) & set(wanted)), total + len(wanted)
        assert len(found) == len(wanted) == 10
    assert all(answers) and len(answers) == 60
    assert hits / total >= 0.95


@pytest.mark.parametrize("fields", QUERIES[1:], ids=str)
def test_filters_stay_exact(
    both: tuple[Records, np.ndarray], fields: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    records, vectors = both
    ready(records)
    plain = {name: value for name, value in fields.items() if name not in ("near", "radius_m")}
    allowed = {r.id for r in records.in_order(Query(**plain), (), newest_first=False, limit=N)}
    for i in (0, 700, 2999):
        query = Query(embedding=vectors[i], **plain)
        found = [r.id for r in records.search(query, 10)]
        wanted = exact(records, query)
        assert set(found) <= allowed and len(found) == len(wanted)
        if 4 * len(allowed) < N:  # narrow: never approximate
            assert found == wanted


def test_it_follows_changes(both: tuple[Records, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    records, vectors = both
    ready(records)
    answers = asked(records, monkeypatch)
    gone = Query(embedding=vectors[1234])
    best = records.search(gone, 1)[0].id
    records.remove([int(best.split(":")[1])])
    assert best not in [r.id for r in records.search(gone, 10)]
    fresh = unit(np.random.default_rng(5).standard_normal((1, vectors.shape[1])))
    number = int(records.add_many([event(N)], fresh)[0])
    assert records.search(Query(embedding=fresh[0]), 1)[0].id == f"event:{number}"
    records.replace(7, event(9999))
    moved = records.encode(["event number9999"])[0]
    assert records.search(Query(embedding=moved), 1)[0].id == "event:7"
    assert all(answers) and len(answers) == 4
    with pytest.raises(ZeroDivisionError), records.store.transaction():
        records.remove([number])
        raise ZeroDivisionError
    assert records.search(Query(embedding=fresh[0]), 1)[0].id == f"event:{number}"


def test_many_changes_make_it_anew(both: tuple[Records, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    records, vectors = both
    ready(records)
    first = records.mirror.approximate._made or records.mirror.approximate._next
    more = clustered(np.random.default_rng(9), 6000)
    records.add_many([event(i) for i in range(6000)], more)
    for _ in range(2):  # the first search begins to make it, the second takes it
        ready(records)
    assert records.mirror.approximate._made is not first
    answers = asked(records, monkeypatch)
    hits = 0
    for i in range(0, 6000, 200):
        query = Query(embedding=more[i])
        hits += len({r.id for r in records.search(query, 10)} & set(exact(records, query)))
    assert all(answers) and len(answers) == 30
    assert hits >= 0.95 * 300


def test_the_setting(path: Path) -> None:
    assert config_from({"index": {"approximate_above": 5}}).index.approximate_above == 5
    assert config_from({}).index.approximate_above == 0
    with pytest.raises(ConfigError, match="approximate_above: wanted 0 or more, got -1"):
        config_from({"index": {"approximate_above": -1}})


def test_of_neighbours_few_are_read_and_nearly_all_of_the_best() -> None:
    """Against every exact product, at several lengths; and never more than the bound for the worst would have read."""
    rng, missed, read, bound = np.random.default_rng(3), 0, 0, 0
    for dim in (48, 384):
        vectors = clustered(rng, 400, dim)
        rows = Rows(dim, exact=False)
        rows.group_number(("event", "", "", "", True))
        rows.put(as_batch(vectors))
        for query in unit(vectors[::8] + 0.5 / dim**0.5 * rng.standard_normal((50, dim))):
            near = np.sort(rng.choice(400, 64, replace=False))
            one = Pass(rows, query)
            chosen, sure = (way(near, 10, -1.0) for way in (one.likely, one.contenders))
            assert set(chosen) <= set(sure)
            exact = vectors[near].astype(np.float64) @ query
            missed += len(set(near[np.argsort(-exact)[:10]]) - set(chosen))
            read, bound = read + len(chosen), bound + len(sure)
    wanted = 2 * 50 * 10
    assert missed <= 2 and 3 * (read - wanted) < bound - wanted


def as_batch(vectors: np.ndarray) -> Batch:
    """Records with these vectors (N, dim) and nothing else."""
    n, zeros = len(vectors), np.zeros(len(vectors), np.int64)
    box, group = np.full((n, 6), np.nan), np.zeros(n, np.int32)
    has = np.ones(n, np.bool_)
    return Batch(ids=np.arange(n), first=zeros, last=zeros, box=box, group=group, has=has, exact=vectors)
