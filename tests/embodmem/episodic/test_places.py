"""What happened where."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.episodic import EpisodicMemory
from embodmem.errors import InvalidInput
from embodmem.geometry import pose_from_quat
from embodmem.index import Records
from embodmem.store import Store
from embodmem.types import Event, Query

S = 10**9


@pytest.fixture
def memory() -> Iterator[EpisodicMemory]:
    memory = EpisodicMemory(Records(Store(), None))
    yield memory
    memory.store.close()


def put(memory: EpisodicMemory, stamp: int, xyz: tuple[float, float, float] | None, room: str = "") -> None:
    T = None if xyz is None else pose_from_quat(xyz, (0, 0, 0, 1))
    with memory.store.transaction():
        memory.add_event(Event(stamp_ns=stamp * S, kind="act", text=f"at {stamp}", T_world_body=T), room)


def stamps(items: list) -> list[int]:
    return [item.first_seen_ns // S for item in items]


def test_nearest_first_and_by_time_where_equally_near(memory: EpisodicMemory) -> None:
    for stamp, x in ((5, 0.2), (1, 2.5), (3, 0.9), (2, -0.5), (9, 0.5), (4, 1.1)):
        put(memory, stamp, (x, 0.5, 0.5))
    put(memory, 7, None)
    found = memory.happened_at((0.4, 0.4, 0.4))
    assert stamps(found) == [3, 5, 9, 2, 4, 1]
    assert [item.why["cells away"] for item in found] == [0, 0, 0, 1, 1, 2]
    assert stamps(memory.happened_at((0.4, 0.4, 0.4), k=2)) == [3, 5]
    assert stamps(memory.happened_at((0.4, 0.4, 0.4), Query(between_ns=(4 * S, 9 * S)))) == [5, 9, 4]


def test_a_room_and_what_lies_around_it(memory: EpisodicMemory) -> None:
    put(memory, 4, (0.0, 0.0, 0.0), "Kitchen")
    put(memory, 1, (2.0, 2.0, 0.0), "Kitchen")
    put(memory, 2, (3.5, 1.0, 0.0), "hall")
    put(memory, 3, (2.5, 1.0, 0.0), "hall")
    put(memory, 0, None, "kitchen")
    found = memory.happened_at("kitchen")
    assert stamps(found) == [0, 1, 4, 3, 2] and [item.why["cells away"] for item in found] == [0, 0, 0, 1, 2]
    assert memory.happened_at("attic") == []
    rooms = memory.places(by="room")
    assert {(place.key, place.count) for place in rooms} == {("Kitchen", 2), ("hall", 2), ("kitchen", 1)}
    assert next(place.position for place in rooms if place.key == "kitchen") is None


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), *[st.floats(-4, 4, width=32)] * 3), max_size=25),
    st.floats(0.3, 3.0),
    st.tuples(*[st.floats(-4, 4)] * 3),
)
def test_cells_hold_all_that_has_a_place(
    steps: list[tuple[int, float, float, float]], cell_m: float, asked: tuple[float, float, float]
) -> None:
    memory = EpisodicMemory(Records(Store(), None))
    for stamp, *xyz in sorted(steps):
        put(memory, stamp, tuple(xyz))  # type: ignore[arg-type]
    cells = memory.places(cell_m=cell_m)
    by_id = {item.id: item for item in memory.timeline()}
    assert sorted(i for place in cells for i in place.ids) == sorted(by_id)
    assert [place.count for place in cells] == sorted((place.count for place in cells), reverse=True)
    for place in cells:
        corner = np.array([float(v) for v in place.key.removeprefix("cell:").split(",")])
        where = np.array([by_id[i].position for i in place.ids])
        assert np.array_equal(np.floor(where / cell_m), np.tile(corner, (len(where), 1)))
        assert np.allclose(place.position if place.position is not None else np.nan, where.mean(axis=0))
        times = [by_id[i].first_seen_ns for i in place.ids]
        assert times == sorted(times) and (place.first_ns, place.last_ns) == (times[0], times[-1])
    found = memory.happened_at(asked, cell_m=cell_m)
    memory.store.close()
    away = [np.abs(np.floor(i.position / cell_m) - np.floor(np.array(asked) / cell_m)).max() for i in found]
    assert [(a, i.first_seen_ns) for a, i in zip(away, found, strict=True)] == sorted(
        (a, i.first_seen_ns) for a, i in zip(away, found, strict=True)
    )
    assert len(found) == len(by_id)


def test_what_is_refused(memory: EpisodicMemory) -> None:
    assert memory.places() == [] and memory.happened_at((0, 0, 0)) == []
    for call in (
        lambda: memory.places(by="x"),
        lambda: memory.places(cell_m=0.0),
        lambda: memory.happened_at((0, 0)),
        lambda: memory.happened_at((0, 0, 0), cell_m=-1.0),
        lambda: memory.happened_at((0, 0, 0), k=0),
    ):
        with pytest.raises(InvalidInput):
            call()
