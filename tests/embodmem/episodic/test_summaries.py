"""Summaries by the minute, the hour, the day, and what is found through them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import Config, EpisodicConfig, LifecycleConfig, SpatialConfig, SummaryConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.encoders import HashingEncoder
from embodmem.episodic import EpisodicMemory
from embodmem.episodic.extract import MOST, quoted, representative, surprise
from embodmem.errors import ConfigError, InvalidInput
from embodmem.geometry import pose_from_quat
from embodmem.index import Records
from embodmem.lifecycle import Lifecycle
from embodmem.store import Store
from embodmem.types import Event, Query, Recall

S = 10**9
HOUR, DAY = 3600 * S, 86_400 * S


def opened(path: Path | None = None, **life: object) -> EmbodiedMemory:
    config = Config(spatial=SpatialConfig(budget_mib=1), lifecycle=LifecycleConfig(**life))  # type: ignore[arg-type]
    return EmbodiedMemory(path, config=config, encoder=HashingEncoder(64))


@pytest.fixture
def memory() -> Iterator[EmbodiedMemory]:
    with opened() as memory:
        yield memory


def told(stamp_s: float, text: str, **more: object) -> Event:
    return Event(stamp_ns=int(stamp_s * S), kind=more.pop("kind", "told"), text=text, **more)  # type: ignore[arg-type]


def finished(memory: EmbodiedMemory, now_ns: int = 3 * DAY, limit: int = 1000) -> int:
    total, done = 0, False
    while not done:
        made, done = memory.episodic.summaries.step(now_ns, limit)
        total += made
    return total


def summaries(memory: EmbodiedMemory, scale: str = "summary") -> list[Recall]:
    return memory.episodic.timeline(Query(kinds=(scale,)), limit=10_000)


def a_day(memory: EmbodiedMemory) -> None:
    """Two hours in the kitchen, one of them with a visitor, and an hour in the garden."""
    T = pose_from_quat((1.0, 2.0, 0.0), (0, 0, 0, 1))
    for hour, what in ((8, "washes a plate"), (9, "peels potatoes"), (15, "waters the roses")):
        for minute in range(10):
            for second in range(0, 60, 15):
                text = f"the robot {what}" if (minute, second) != (4, 30) else f"the doorbell rings at {hour}"
                stamp = hour * 3600 + minute * 60 + second
                memory.write(told(stamp, text, kind="act", objects=(what.split()[-1],), T_world_body=T, source="robot"))


def test_a_day_by_the_minute_the_hour_and_the_day(memory: EmbodiedMemory) -> None:
    a_day(memory)
    assert finished(memory) == 30 + 3 + 1
    assert [len(summaries(memory, scale)) for scale in ("minute", "hour", "day")] == [30, 3, 1]
    (day,) = summaries(memory, "day")
    assert (day.first_seen_ns, day.last_seen_ns) == (8 * HOUR, 15 * HOUR + 585 * S)
    assert day.data["count"] == 120 and day.data["kinds"] == {"act": 120}
    assert day.data["objects"] == {"plate": 40, "potatoes": 40, "roses": 40}
    assert day.evidence == tuple(item.id for item in summaries(memory, "hour"))
    assert np.allclose(day.position if day.position is not None else 0, (1.0, 2.0, 0.0))
    hour = summaries(memory, "hour")[0]
    assert len(hour.evidence) == 10 and set(hour.evidence) <= {item.id for item in summaries(memory, "minute")}
    fifth = summaries(memory, "minute")[4]
    within = Query(between_ns=(fifth.first_seen_ns, fifth.last_seen_ns))
    assert fifth.evidence == tuple(item.id for item in memory.episodic.timeline(within))
    assert "washes a plate" in fifth.text and "the doorbell rings at 8" in fifth.text  # the usual, and the surprise
    assert len(day.text) < 500 and finished(memory) == 0


def test_summaries_are_there_for_who_asks_for_them(memory: EmbodiedMemory) -> None:
    a_day(memory)
    before = memory.recall("who waters the roses?", k=50)
    finished(memory)
    assert [item.id for item in memory.recall("who waters the roses?", k=50)] == [item.id for item in before]
    assert len(memory.episodic.timeline()) == 120 and memory.episodic.how_often(Query(kinds=("act",))) == 120
    found = memory.recall(Query(text="roses", kinds=("hour",)), k=1)[0]
    assert found.kind == "summary" and found.data["kind"] == "hour" and found.first_seen_ns == 15 * HOUR
    assert memory.recall(Query(kinds=("hour", "minute"), labels=("roses",), between_ns=(0, 12 * HOUR))) == []


def test_zoom_takes_the_chunk_first_and_then_its_details(memory: EmbodiedMemory) -> None:
    a_day(memory)
    finished(memory)
    (chunk,) = memory.episodic.zoom("peels potatoes, and the doorbell rings", k_chunks=1, k=3, scale="hour")
    assert chunk.summary.first_seen_ns == 9 * HOUR
    assert "the doorbell rings at 9" in [item.text for item in chunk.details]  # not the one at 8, which says as much
    assert all(9 * HOUR <= item.first_seen_ns < 10 * HOUR and item.kind == "event" for item in chunk.details)
    chunks = memory.episodic.zoom("roses", k_chunks=3, k=2)
    leaves = [item.id for c in chunks for item in c.details]
    assert len(leaves) == len(set(leaves))  # no chunk lies within another
    only = memory.episodic.zoom(Query(text="doorbell", between_ns=(9 * HOUR, 10 * HOUR)), k_chunks=2, k=1, scale="hour")
    assert [item.text for c in only for item in c.details] == ["the doorbell rings at 9"]
    with pytest.raises(InvalidInput, match="scale of segment, minute, hour, day"):
        memory.episodic.zoom("x", scale="year")
    with pytest.raises(InvalidInput, match="k_chunks"):
        memory.episodic.zoom("x", k_chunks=0)
    assert EpisodicMemory(Records(Store(), None)).zoom("x") == []


def test_what_one_source_says_is_summarised_by_itself(tmp_path: Path) -> None:
    with opened(tmp_path / "m.mem") as memory:
        for s in range(5):
            memory.write(told(s, f"the robot sees door {s}", source="robot"))
            memory.write(told(s, f"the xylophonist wants {s} coins", source="stranger"))
        finished(memory)
        assert sorted(item.data["source"] for item in summaries(memory, "minute")) == ["robot", "stranger"]
        assert not any("xylophonist" in item.text for item in summaries(memory) if item.data["source"] == "robot")
        memory.purge("stranger")
        assert [item.data["source"] for item in summaries(memory)] == ["robot"]
        assert not any(b"xylophonist" in file.read_bytes() for file in tmp_path.iterdir())


def test_what_is_forgotten_is_gone_from_the_summaries(tmp_path: Path) -> None:
    with opened(tmp_path / "m.mem") as memory:
        a_day(memory)
        memory.write(told(16 * 3600, "the xylophonist plays", objects=("xylophone",), source="robot"))
        for s in range(1, 4):
            memory.write(told(16 * 3600 + s, f"the robot listens {s}", source="robot"))
        finished(memory)
        assert any("xylophonist" in item.text for item in summaries(memory, "minute"))
        assert memory.forget(Query(labels=("xylophone",))) > 0
        assert not any(b"xylophon" in file.read_bytes() for file in tmp_path.iterdir())
        assert [len(summaries(memory, scale)) for scale in ("minute", "hour", "day")] == [30, 3, 0]
        finished(memory)
        (day,) = summaries(memory, "day")
        assert day.data["count"] == 123 and len(summaries(memory, "minute")) == 31
        memory.forget(Query(between_ns=(9 * HOUR, 10 * HOUR - 1)))
        finished(memory)
        assert summaries(memory, "day")[0].data["count"] == 83
        assert [item.first_seen_ns // HOUR for item in summaries(memory, "hour")] == [8, 15]


def test_a_summary_outlasts_what_it_stands_for(memory: EmbodiedMemory) -> None:
    a_day(memory)
    finished(memory)
    with memory.store.transaction():  # as forgetting by a budget of bytes does
        memory.records.remove([int(item.id.split(":")[1]) for item in memory.episodic.timeline(limit=1000)])
    memory.write(told(15 * 3600 + 599, "the robot shuts the tap", source="robot", agent="late"))
    finished(memory)
    assert summaries(memory, "day")[0].data["count"] == 120
    assert summaries(memory, "minute")[4].evidence == () and "doorbell" in summaries(memory, "minute")[4].text


def test_what_comes_late_is_taken_up(memory: EmbodiedMemory) -> None:
    for s in (0, 10, 20):
        memory.write(told(s, f"thing {s}"))
    finished(memory)
    assert summaries(memory, "minute")[0].data["count"] == 3
    with memory.store.transaction():
        memory.episodic.add_event(told(30, "another memory knew this"))
    finished(memory)
    (minute,) = summaries(memory, "minute")
    assert minute.data["count"] == 4 and len(minute.evidence) == 4
    with memory.store.transaction():  # two fade, and one more comes: what was counted stays counted
        memory.records.remove([int(i.split(":")[1]) for i in minute.evidence[:2]])
        memory.episodic.add_event(told(40, "and this"))
    finished(memory)
    (minute,) = summaries(memory, "minute")
    assert minute.data["count"] == 5 and len(minute.evidence) == 3


def test_a_language_model_may_write_them(memory: EmbodiedMemory) -> None:
    a_day(memory)

    def fail(texts: object) -> str:
        raise RuntimeError("no answer")

    memory.episodic.summaries.summarise = fail
    with pytest.raises(RuntimeError):
        finished(memory)
    assert summaries(memory) == []
    memory.episodic.summaries.summarise = lambda texts: f"{len(texts)} things, the first: {texts[0]}"
    finished(memory)
    assert summaries(memory, "minute")[0].text == "4 things, the first: the robot washes a plate"
    assert summaries(memory, "hour")[0].text.startswith("10 things, the first: 4 things")


def test_the_lifecycle_makes_them_and_merging_is_not_counted_twice(tmp_path: Path) -> None:
    with opened(tmp_path / "m.mem", repeat_s=0.0, undo_s=0.0) as memory:
        life = Lifecycle(memory)
        for i in range(30):
            life.write(told(i * 10, f"the robot waits at door {i // 10}"))
        report = life.run(now_ns=DAY)
        assert report.summarised > 0 and report.done
        life.run(now_ns=2 * DAY)
        longest = max(summaries(memory), key=lambda item: int(item.data["count"]))
        assert longest.data["count"] == 30


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.sampled_from(["", "ann"]), st.sampled_from("abc")), max_size=40),
    st.integers(1, 50),
    st.integers(1, 4),
)
def test_every_event_is_counted_once_a_day(steps: list[tuple[int, str, str]], limit: int, least: int) -> None:
    config = EpisodicConfig(summaries=SummaryConfig(min_parts=least, settle_s=0.0))
    memory = EpisodicMemory(Records(Store(), None), config)
    counts: dict[tuple[int, str], int] = {}
    for stamp, agent, text in sorted(steps):
        memory.write(told(stamp * 10, text, agent=agent))
        counts[(stamp * 10 // 86_400, agent)] = counts.get((stamp * 10 // 86_400, agent), 0) + 1
    done = False
    while not done:
        _, done = memory.summaries.step(10**6 * S, limit)
    days = memory.timeline(Query(kinds=("day",)), limit=1000)
    for day in days:
        assert day.data["count"] == counts[(day.first_seen_ns // DAY, day.data.get("agent", ""))]
    if least == 1:
        assert len(days) == len(counts)
    # Going in steps of another size makes the same.
    texts = [(item.data["kind"], item.text, item.data["count"]) for item in memory.timeline(Query(kinds=("summary",)))]
    again = EpisodicMemory(Records(Store(), None), config)
    for stamp, agent, text in sorted(steps):
        again.write(told(stamp * 10, text, agent=agent))
    while not again.summaries.step(10**6 * S, 1000)[1]:
        pass
    other = [(item.data["kind"], item.text, item.data["count"]) for item in again.timeline(Query(kinds=("summary",)))]
    assert sorted(texts) == sorted(other)
    memory.store.close()
    again.store.close()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 10**6))
def test_quotes_are_representative(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = representative(vectors, k)
    assert len(set(chosen)) == len(chosen) <= min(n, k) and chosen
    likeness = np.maximum(vectors @ vectors.T, 0.0)
    assert chosen[0] == int(np.argmax(likeness.sum(axis=0)))
    unlike = surprise(vectors)
    means = [vectors[:i].mean(axis=0) for i in range(1, n)]
    wanted = [1.0 - float(vectors[i] @ m) / np.linalg.norm(m) for i, m in enumerate(means, 1)]
    assert np.allclose(unlike[1:], wanted, atol=1e-4) and unlike[0] == 0.0
    central, surprising = quoted(vectors, k, 2)
    assert not set(central) & set(surprising)


def test_a_flood_is_thinned_out() -> None:
    vectors = np.eye(4, dtype=np.float32)[np.repeat([0, 1, 2, 3], MOST)]
    central, _ = quoted(vectors, 4, 0)
    assert sorted(int(np.argmax(vectors[i])) for i in central) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "wrong", [{"scales_s": (60.0, 90.0)}, {"scales_s": (0.5,)}, {"min_parts": 0}, {"max_chars": 3}, {"settle_s": -1.0}]
)
def test_settings_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)) if "scales_s" not in wrong else "multiple"):
        SummaryConfig(**wrong)


def test_nothing_is_summarised_when_it_is_not_wanted() -> None:
    memory = EpisodicMemory(Records(Store(), None), EpisodicConfig(summaries=SummaryConfig(scales_s=())))
    for s in range(9):
        memory.write(told(s, "x"))
    assert memory.summaries.step(DAY) == (0, True)
    with pytest.raises(InvalidInput, match="limit"):
        memory.summaries.step(DAY, 0)
    memory.store.close()
