"""The filters of a query against a plain Python filter over random records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import InvalidInput
from embodmem.index import Record, Records, filters
from embodmem.index.rows import Rows
from embodmem.store import Store
from embodmem.types import Query

LABELS = ("mug", "Table", "büro", "o'brien", "a,b", "")
KINDS = ("object", "event", "fact")
AGENTS = ("", "ann", "ben")


@dataclass(repr=False)
class Row:  # its repr stays short, since hypothesis prints what fails
    """A record as a plain model."""

    number: int
    record: Record
    box: np.ndarray | None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Records, list[Row]]]:
    """400 random records; some at coordinates where float32 is coarse, some without a place."""
    store = Store(tmp_path_factory.mktemp("filters") / "memory.mem")
    records, rng, rows = Records(store, None), np.random.default_rng(5), []
    with store.transaction():
        for i in range(400):
            far = (0.0, 1e5 + 0.001, -1e5 - 0.001)[rng.integers(3)]
            lower = far + rng.integers(-4, 5, 3) * 0.25 + rng.choice([0.0, 1e-9, 0.1])
            box = np.stack([lower, lower + rng.integers(0, 3, 3) * 0.5]) if rng.random() < 0.8 else None
            begin = int(rng.integers(0, 50))
            record = Record(
                kind=str(rng.choice(KINDS)),
                subkind=str(rng.choice(["", "pick"])),
                label=str(rng.choice(LABELS)),
                text=f"text{i % 7}",
                agent=str(rng.choice(AGENTS)),
                first_ns=begin,
                last_ns=begin + int(rng.integers(0, 10)),
                position=None if box is None else box.mean(axis=0),
                box=box,
                tags=tuple(rng.choice(["red", "Blue", "object:7"], int(rng.integers(0, 3)))),
            )
            rows.append(Row(records.add(record), record, box))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rows, "SPAN", 16)
        yield records, rows
    store.close()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    store = Store(tmp_path_factory.mktemp("rounding") / "memory.mem")
    yield Records(store, None)
    store.close()


def passes(row: Row, query: Query) -> bool:
    r = row.record
    if query.kinds and not {r.kind, r.subkind} & set(query.kinds):
        return False
    if query.labels and not {t.lower() for t in (r.label, *r.tags) if t} & {t.lower() for t in query.labels}:
        return False
    if query.agent is not None and r.agent != query.agent:
        return False
    if query.ids and f"{r.kind}:{row.number}" not in query.ids:
        return False
    begin, end = query.between_ns or (None, None)
    if (begin is not None and r.last_ns < begin) or (end is not None and r.first_ns > end):
        return False
    if query.within is not None and (
        row.box is None or (row.box[1] < query.within[0]).any() or (row.box[0] > query.within[1]).any()
    ):
        return False
    if query.near is not None and query.radius_m is not None:
        if row.box is None:
            return False
        gap = np.maximum(np.maximum(row.box[0] - query.near, query.near - row.box[1]), 0.0)
        return bool(np.linalg.norm(gap) <= query.radius_m)
    return True


grid = st.integers(-6, 6).map(lambda n: n * 0.25)
offset = st.sampled_from([0.0, 1e5 + 0.001, -1e5 - 0.001, 1e5, 0.1])
points = st.builds(lambda o, p: np.array(p) + o, offset, st.tuples(grid, grid, grid))
stamps = st.none() | st.integers(-5, 65)
queries = st.fixed_dictionaries(
    {},
    optional={
        "kinds": st.lists(st.sampled_from((*KINDS, "pick", "other")), max_size=2).map(tuple),
        "labels": st.lists(st.sampled_from((*LABELS, "RED", "blue", "object:7", "none")), max_size=3).map(tuple),
        "agent": st.sampled_from((*AGENTS, "nobody")),
        "between_ns": st.tuples(stamps, stamps).filter(lambda t: None in t or t[0] <= t[1]),
        "ids": st.lists(st.builds("{}:{}".format, st.sampled_from(KINDS), st.integers(0, 402)), max_size=4).map(tuple),
        "within": st.builds(lambda a, b: np.stack([np.minimum(a, b), np.maximum(a, b)]), points, points)
        | st.just(np.array([[-np.inf] * 3, [np.inf] * 3])),
        "near": points,
        "radius_m": st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0, 1e6, float("inf")]),
    },
).map(lambda q: q if "near" in q else {k: v for k, v in q.items() if k != "radius_m"})


@settings(max_examples=200, deadline=None)
@given(fields=queries)
def test_filters_are_exactly_those_of_the_model(world: tuple[Records, list[Row]], fields: dict) -> None:
    records, rows = world
    query = Query(**fields)
    wanted = {f"{row.record.kind}:{row.number}" for row in rows if passes(row, query)}
    listed = [r.id for r in records.in_order(query, (), newest_first=False, limit=1000)]
    assert len(listed) == len(set(listed))
    assert set(listed) == wanted
    found = records.search(query, 1000)
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)
    if query.near is None:
        assert {r.id for r in found} == wanted
    else:  # ranked by nearness: what has no place has no rank
        assert {r.id for r in found} == {r for r in wanted if rows[int(r.split(":")[1]) - 1].box is not None}
    few = records.search(query, 3)
    assert [r.id for r in few] == [r.id for r in found[:3]]
    text = records.search(Query(**fields, text="text3"), 1000)
    assert {r.id for r in text} == {r for r in wanted if rows[int(r.split(":")[1]) - 1].record.text == "text3"}
    with records.store.read() as db:
        by_rows, by_sql = (filters.matching(db, query, (), mirror=mirror) for mirror in (records.mirror, None))
    for one, other in zip(by_rows, by_sql, strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    chosen = [r for r in rows if r.record.kind == "event" and passes(r, query)]
    assert {r.id for r in records.search(query, 1000, ("event",))} <= {f"event:{row.number}" for row in chosen}


@settings(max_examples=200, deadline=None)
@given(
    base=st.sampled_from([0.1, 0.3, 1e3, 1e5 + 0.001, -1e5 - 0.001, 123456.789]),
    steps=st.tuples(st.integers(-3, 3), st.integers(-3, 3)),
    radius=st.sampled_from([0.0, 1e-12, 0.1, 0.2, 0.3, 1.0, 7.7]),
)
def test_rounding_loses_no_hit(scratch: Records, base: float, steps: tuple[int, int], radius: float) -> None:
    records, store, x = scratch, scratch.store, base
    for _ in range(abs(steps[0])):
        x = float(np.nextafter(x, np.inf if steps[0] > 0 else -np.inf))
    at = x + radius
    for _ in range(abs(steps[1])):
        at = float(np.nextafter(at, np.inf if steps[1] > 0 else -np.inf))
    with pytest.raises(ZeroDivisionError), store.transaction():
        records.add(Record(kind="object", first_ns=0, last_ns=0, position=np.array([x, x, 0.0])))
        exact = records.search(Query(within=np.array([[x, x, 0.0], [x, x, 0.0]])), 5)
        past = float(np.nextafter(x, np.inf))
        beside = records.search(Query(within=np.array([[past, past, 0.0], [past, past, 0.0]])), 5)
        near = records.search(Query(near=np.array([at, x, 0.0]), radius_m=radius), 5)
        assert len(exact) == 1
        assert beside == []
        assert len(near) == (abs(at - x) <= radius)
        raise ZeroDivisionError  # leave the store empty for the next example


def test_time_is_cut_at_its_ends(records: Records) -> None:
    records.add(Record(kind="event", text="x", first_ns=10, last_ns=20))
    for between, there in (
        ((20, 30), True),
        ((21, 30), False),
        ((0, 10), True),
        ((0, 9), False),
        ((12, 13), True),
        ((None, 9), False),
        ((21, None), False),
        ((-100, None), True),
    ):
        assert bool(records.search(Query(between_ns=between), 5)) is there, between


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"near": np.zeros(3)},
        {"embedding": np.ones(512)},
        {"between_ns": (None, None)},
        {"near": np.zeros(3), "embedding": np.ones(512)},
    ],
)
def test_a_query_without_a_filter_removes_nothing(records: Records, fields: dict) -> None:
    records.add(Record(kind="event", text="kept", first_ns=1, last_ns=1, position=np.zeros(3)))
    with pytest.raises(InvalidInput, match="at least one filter"):
        records.match(Query(**fields))
    assert len(records.search(Query(), 5)) == 1


def test_thousands_of_labels_and_ids(records: Records) -> None:
    number = records.add(Record(kind="event", text="x", label="label39999", first_ns=1, last_ns=1))
    labels = tuple(f"label{i}" for i in range(40_000))
    assert len(records.search(Query(labels=labels), 5)) == 1
    assert records.match(Query(ids=tuple(f"event:{i}" for i in range(40_000)))) == [number]


def test_bad_queries(records: Records) -> None:
    records.add(Record(kind="event", text="x", first_ns=1, last_ns=1))
    for k in (0, -1):
        with pytest.raises(InvalidInput, match="k: wanted 1 or more"):
            records.search(Query(text="x"), k)
    for bad in ("event", "event:", ":3", "event:x", "event:-1", "12", "event:" + "9" * 30):
        with pytest.raises(InvalidInput, match="wanted kind:number"):
            records.search(Query(ids=(bad,)), 1)
    with pytest.raises(InvalidInput, match="in the memory"):
        records.get_id("event:99")
    with pytest.raises(InvalidInput, match="in the memory"):
        records.get_id("fact:1")
    with pytest.raises(InvalidInput, match=r"embedding \(512,\)"):
        records.search(Query(embedding=np.ones(3)), 1)
