"""Event boundaries by surprise: the cut, the online segmenter, and the segments of a memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import Config, EpisodicConfig, SegmentConfig, SpatialConfig, SummaryConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.encoders import HashingEncoder
from embodmem.episodic.boundaries import best_cut, conductance, likeness, modularity
from embodmem.episodic.segmenter import Segmenter
from embodmem.errors import ConfigError
from embodmem.types import Event, Query

S, DAY = 10**9, 86_400 * 10**9


def unit_rows(rng: np.random.Generator, n: int, dim: int = 8) -> np.ndarray:
    rows = rng.standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def stream(seed: int, segments: int = 30, noise: float = 1.0, dim: int = 64) -> tuple[np.ndarray, list[int]]:
    """Vectors around one centre after the other, and where a new centre begins."""
    rng = np.random.default_rng(seed)
    centres = unit_rows(rng, segments, dim)
    lengths = rng.integers(4, 30, segments)
    rows = np.repeat(centres, lengths, axis=0)
    rows = rows + noise * rng.standard_normal(rows.shape) / np.sqrt(dim)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.cumsum(lengths)[:-1].tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 14), st.integers(0, 10**6))
def test_the_measures_are_those_of_the_formulas(n: int, seed: int) -> None:
    weights = likeness(unit_rows(np.random.default_rng(seed), n, 3))
    q, phi = modularity(weights), conductance(weights)
    degree, whole = weights.sum(axis=1), weights.sum()
    for cut in range(1, n):
        side = np.arange(n) < cut
        if whole > 0:
            same = side[:, None] == side[None]
            expected = ((weights - np.outer(degree, degree) / whole) * same).sum() / whole  # Newman 2006, eq. 1
            assert q[cut - 1] == pytest.approx(expected, abs=1e-9)
        volume = min(degree[side].sum(), degree[~side].sum())
        across = weights[side][:, ~side].sum()
        assert phi[cut - 1] == pytest.approx(across / volume if volume > 0 else 1.0, abs=1e-9)


@pytest.mark.parametrize("measure", ["modularity", "conductance"])
def test_the_cut_is_where_the_kind_changes(measure: str) -> None:
    rows = np.eye(4, dtype=np.float32)[[0] * 5 + [1] * 9]
    assert best_cut(rows, 1, measure)[0] == 5
    assert best_cut(rows, 6, measure)[0] == 6  # a part has so many at least


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_known_boundaries_are_found(seed: int) -> None:
    rows, true = stream(seed)
    found = [b.index for b in Segmenter(SegmentConfig()).add(rows, np.arange(len(rows)) * S)]
    hits = len(set(found) & set(true))
    assert 2 * hits / (len(found) + len(true)) > 0.9
    every = len(rows) // len(true)  # as many, at even distances
    assert 2 * len(set(range(every, len(rows), every)) & set(true)) / (2 * len(true)) < 0.3


def test_one_thing_that_does_not_belong_is_no_boundary() -> None:
    rows = np.repeat(unit_rows(np.random.default_rng(0), 1, 32), 60, axis=0)
    rows = rows + 0.3 * unit_rows(np.random.default_rng(1), 60, 32)
    rows[30] = unit_rows(np.random.default_rng(2), 1, 32)[0]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = Segmenter(SegmentConfig(max_events=64)).add(rows.astype(np.float32), np.arange(60) * S)
    assert found == []


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.lists(st.integers(0, 300), max_size=4),
    st.integers(4, 20),
)
def test_in_parts_or_at_once_and_within_bounds(seed: int, sizes: list[int], pauses: list[int], most: int) -> None:
    config = SegmentConfig(max_events=most, pause_s=5.0)
    rows, _ = stream(seed, segments=12)
    stamps = np.arange(len(rows)) * S
    for at in pauses:
        stamps[at:] += 100 * S
    whole = Segmenter(config)
    expected = whole.add(rows, stamps)
    part, found, begin, kept = Segmenter(config), [], 0, np.empty((0, rows.shape[1]), np.float32)
    while begin < len(rows):
        for size in sizes:
            after = Segmenter(config)  # as after a restart
            after.restore(json.loads(json.dumps(part.state())), kept)
            part = after
            found += part.add(rows[begin : begin + size], stamps[begin : begin + size])
            begin = min(begin + size, len(rows))
            assert part.held <= 2 * most
            kept = rows[begin - part.held : begin]
    assert found == expected
    at = [0, *(b.index for b in found)]
    assert at == sorted(set(at)) and max(np.diff(at), default=0) <= 2 * most
    ends = {int(i) for i in np.flatnonzero(np.diff(stamps) > 5 * S) + 1}
    assert ends == {b.index for b in found if b.why == "pause"}


def opened(path: Path | None = None) -> EmbodiedMemory:
    episodic = EpisodicConfig(summaries=SummaryConfig(settle_s=0.0), segments=SegmentConfig(pause_s=300.0))
    return EmbodiedMemory(
        path, config=Config(spatial=SpatialConfig(budget_mib=1), episodic=episodic), encoder=HashingEncoder(128)
    )


@pytest.fixture
def memory() -> Iterator[EmbodiedMemory]:
    with opened() as memory:
        yield memory


def a_morning(memory: EmbodiedMemory) -> None:
    tasks = ("washes the blue plate", "peels a large potato", "waters the garden roses", "folds some linen towels")
    for i in range(48):
        for agent in ("ann", "ben"):
            shift = 0 if agent == "ann" else 6
            task = tasks[(i + shift) // 12 % 4]
            memory.write(Event(stamp_ns=i * 10 * S, kind="act", text=f"{task} {i % 3}", agent=agent, source="robot"))
    memory.write(Event(stamp_ns=2000 * S, kind="act", text="sleeps", agent="ann"))
    memory.write(Event(stamp_ns=9000 * S, kind="act", text="wakes", agent="ann"))


def consolidated(memory: EmbodiedMemory, limit: int = 1000) -> None:
    while not memory.episodic.consolidate(DAY, limit)[1]:
        pass


@pytest.mark.parametrize("limit", [7, 1000])
def test_a_memory_is_cut_where_the_task_changes(memory: EmbodiedMemory, limit: int) -> None:
    a_morning(memory)
    consolidated(memory, limit)
    ann = memory.episodic.segments(Query(agent="ann"))
    assert [s.from_ns // S for s in ann] == [0, 120, 240, 360] and [len(s.ids) for s in ann] == [12] * 4
    assert [s.why for s in ann] == ["start", "surprise", "surprise", "surprise"]
    found = memory.recall(Query(text="who waters the roses?", kinds=("segment",), agent="ben"), k=1)[0]
    assert found.data["count"] == 12 and found.first_seen_ns == 180 * S
    (chunk,) = memory.episodic.zoom(Query(text="potato 2", agent="ann"), k_chunks=1, k=4, scale="segment")
    assert {item.id for item in chunk.details} <= set(ann[1].ids) and chunk.details[0].text == "peels a large potato 2"
    assert consolidated(memory) is None and len(memory.episodic.segments(Query(agent="ann"))) == 4


def test_what_is_forgotten_leaves_its_segment(tmp_path: Path) -> None:
    with opened(tmp_path / "m.mem") as memory:
        a_morning(memory)
        memory.write(Event(stamp_ns=9500 * S, kind="act", text="the xylophonist plays", agent="ann", source="robot"))
        for i in range(5):
            memory.write(Event(stamp_ns=(9501 + i) * S, kind="act", text=f"listens {i}", agent="ann", source="robot"))
        memory.write(Event(stamp_ns=20_000 * S, kind="act", text="sleeps", agent="ann"))
        consolidated(memory)
        last = memory.episodic.segments(Query(agent="ann"))[-1]
        assert len(last.ids) == 6 and last.why == "pause"
        memory.forget(Query(text="xylophonist"))
        assert len(memory.episodic.segments(Query(agent="ann"))[-1].ids) == 5
        assert not any(b"xylophon" in file.read_bytes() for file in tmp_path.iterdir())
        memory.forget(Query(kinds=("segment",), agent="ben"))
        assert memory.episodic.segments(Query(agent="ben")) == []


def test_old_summaries_make_way_and_what_rests_on_them_keeps_its_parts(memory: EmbodiedMemory) -> None:
    a_morning(memory)
    consolidated(memory)
    said = memory.episodic.timeline(Query(kinds=("hour",)))[0].data["said"][0]
    before = memory.episodic.zoom(said, k_chunks=1, k=3, scale="hour")[0]
    while not memory.episodic.consolidate(30 * DAY, 5)[1]:  # a minute's are kept for a week
        pass
    kinds = {item.data["kind"] for item in memory.episodic.timeline(Query(kinds=("summary",)))}
    assert kinds == {"hour"}
    after = memory.episodic.zoom(said, k_chunks=1, k=3, scale="hour")[0]
    assert [item.id for item in after.details] == [item.id for item in before.details] != []


@pytest.mark.parametrize("wrong", [{"refine": "x"}, {"rate": 0.0}, {"min_events": 0}, {"max_events": 3}, {"window": 2}])
def test_settings_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SegmentConfig(**wrong)
