"""What lies between two stamps, by halving and by spans, against the plain way, while rows change."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.index.filters import select
from embodmem.index.rows import Batch, Rows
from embodmem.index.spans import InOrder, touching
from embodmem.types import Query

STAMP = 1_700_000_000_000_000_000
"""float64 holds stamps of today to 256 ns only, and these differ by less."""


def batch(ids: list[int], first: list[int], last: list[int], places: list[float]) -> Batch:
    n = len(ids)
    x = np.array(places, np.float64)
    return Batch(
        ids=np.array(ids, np.int64),
        first=STAMP + np.array(first, np.int64),
        last=STAMP + np.array(last, np.int64),
        box=np.stack([x, np.zeros(n), np.zeros(n), x + 1.0, np.ones(n), np.ones(n)], axis=1),
        group=np.zeros(n, np.int32),
        has=np.zeros(n, np.bool_),
        exact=np.empty((n, 0), np.float32),
    )


def plain(rows: Rows, begin: int | None, end: int | None, within: np.ndarray | None) -> list[int]:
    keep = rows.column("group") >= 0
    if begin is not None:
        keep &= rows.column("last") >= begin
    if end is not None:
        keep &= rows.column("first") <= end
    if within is not None:
        box = rows.column("box")
        keep &= ((box[:, 3:] >= within[0]) & (box[:, :3] <= within[1])).all(axis=1)
    return np.flatnonzero(keep).tolist()


class Small(Rows):
    """Several spans in few rows."""

    SPAN = 16


stamps = st.none() | st.integers(-5, 700)


@settings(max_examples=150, deadline=None)
@given(
    jumps=st.lists(st.integers(0, 3), min_size=1, max_size=90) | st.lists(st.integers(0, 3), min_size=60, max_size=90),
    back=st.integers(0, 3),
    changes=st.lists(st.tuples(st.sampled_from(["late", "early", "remove", "append"]), st.integers(0, 89)), max_size=4),
    asked=st.lists(st.tuples(stamps, stamps, st.booleans()), min_size=1, max_size=4),
)
def test_what_lies_between_two_stamps(
    jumps: list[int], back: int, changes: list[tuple[str, int]], asked: list[tuple[int | None, int | None, bool]]
) -> None:
    rows = Small(0, exact=True)
    rows.group_number(("event", "", "", "", True))
    first = np.cumsum(jumps)
    first[len(first) // 2 :] -= back  # where that is nothing, none goes back
    n = len(first)
    places = np.arange(n) // 16 % 3 * 20.0 + np.arange(n) % 16  # from room to room, a span in each
    ends = (first + np.arange(n) % 2 * back).tolist()
    rows.put(batch(list(range(1, n + 1)), first.tolist(), ends, places.tolist()))
    for what, which in [("nothing", 0), *changes]:
        number = which % n + 1
        if what == "remove":
            rows.remove(np.array([number]))
        elif what == "append":
            newest = int(rows.column("ids")[-1]) + 1
            rows.put(batch([newest], [200 + which], [200 + which], [float(which)]))
        elif what != "nothing" and number in rows.column("ids"):
            stamp = 400 + which if what == "late" else -which
            rows.put(batch([number], [stamp], [stamp], [3.0]))
        for begin, end, with_box in asked:
            times = tuple(None if t is None else STAMP + t for t in (begin, end))
            within = np.array([[2.0, -1, -1], [9.5, 2, 2]]) if with_box else None
            if times[0] is not None and times[1] is not None and times[1] < times[0]:
                continue
            query = Query(between_ns=None if times == (None, None) else times, within=within)
            found = select(None, rows, query, (), live=True)  # type: ignore[arg-type]  # no label: the file is not asked
            assert found is not None
            assert np.arange(rows.n)[found].tolist() == plain(rows, *times, within)


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=40),
    changes=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 60)), max_size=6),
)
def test_order_follows_changes(steps: list[tuple[int, int]], changes: list[tuple[int, int]]) -> None:
    first, last = (np.cumsum(column) for column in zip(*steps, strict=True))
    order = InOrder()
    for at, value in [(0, int(first[0])), *changes]:
        first[at % len(first)] = value
        order.touch(at % len(first))
        wanted = bool((np.diff(first) >= 0).all() and (np.diff(last) >= 0).all())
        assert order.holds(first, last) == order.holds(first, last) == wanted
    more = np.concatenate([first, first[-1:] + 1]), np.concatenate([last, last[-1:]])
    assert order.holds(*more) == wanted


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 12), size=st.sampled_from([1, 4, 64]), data=st.data())
def test_boxes_of_whole_spans(seed: int, count: int, size: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    lower = rng.integers(0, 6, (count * size, 3)).astype(np.float64)
    lower[rng.random(len(lower)) < 0.1] = np.nan  # no place
    box = np.asfortranarray(np.hstack([lower, lower + rng.integers(0, 2, lower.shape)]))
    spans = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1)))), dtype=np.int64)
    other = np.array([[1.0, 2.0, 0.0], [3.0, 4.0, 3.0]])
    touches = ((box[:, 3:] >= other[0]) & (box[:, :3] <= other[1])).all(axis=1)
    wanted = [row for row in np.flatnonzero(touches).tolist() if row // size in spans.tolist()]
    assert touching(box, size, spans, *other).tolist() == wanted
