"""Messages that belong together, against a plain search, and the bounds of the queues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodmem.errors import InvalidInput
from embodmem_ros import Synchroniser

stamps = st.lists(st.integers(0, 400), min_size=1, max_size=25, unique=True).map(sorted)


@given(stamps, stamps, stamps, st.integers(0, 30), st.randoms(use_true_random=False))
def test_each_pivot_gets_the_nearest_of_every_stream(
    depth: list[int], rgb: list[int], boxes: list[int], slop: int, random: object
) -> None:
    streams = {"depth": depth, "rgb": rgb, "boxes": boxes}
    arrivals = [name for name, values in streams.items() for _ in values]
    random.shuffle(arrivals)  # type: ignore[attr-defined]
    waiting = {name: iter(values) for name, values in streams.items()}
    sync = Synchroniser(list(streams), slop_ns=slop, queue=100)
    found = []
    for name in arrivals:
        stamp = next(waiting[name])
        found += sync.add(name, stamp, (name, stamp))
    decided = [s for s in depth if s <= min(rgb[-1], boxes[-1])]
    wanted = []
    for stamp in decided:
        distances = [min(abs(other - stamp) for other in values) for values in (rgb, boxes)]
        if max(distances) <= slop:
            wanted.append((stamp, *distances))
    got = [(m.stamp_ns, *(abs(m.messages[n][1] - m.stamp_ns) for n in ("rgb", "boxes"))) for m in found]
    assert got == wanted
    assert sync.unmatched == len(decided) - len(wanted)
    assert sync.waiting() == len(depth) - len(decided)


def test_queues_are_bounded_and_the_oldest_goes() -> None:
    sync = Synchroniser(["depth", "rgb"], slop_ns=0, queue=3)
    for stamp in range(10):
        assert sync.add("depth", stamp, None) == []
    assert sync.dropped == {"depth": 7, "rgb": 0}
    assert [m.stamp_ns for stamp in range(10) for m in sync.add("rgb", stamp, None)] == [7, 8, 9]


def test_late_pivots_are_counted_and_left_out() -> None:
    sync = Synchroniser(["depth"], slop_ns=0, queue=3)
    assert [m.stamp_ns for m in sync.add("depth", 5, "a")] == [5]
    assert sync.add("depth", 5, "b") == [] and sync.add("depth", 4, "c") == []
    assert sync.late == 2


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="different streams"):
        Synchroniser([], slop_ns=0, queue=1)
    with pytest.raises(InvalidInput, match="wanted a stream of"):
        Synchroniser(["a"], slop_ns=0, queue=1).add("b", 0, None)
