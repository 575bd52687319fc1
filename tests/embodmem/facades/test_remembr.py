"""ReMEmbR's calls over an embodied memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta, timezone

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embodmem.config import Config, GuardConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput, StampError
from embodmem.facades import MemoryItem, RemembrMemory
from embodmem.types import Event
from tests.embodmem.small import look

NOON = 1_721_822_400.0  # 2024-07-24 12:00:00 UTC
WALK = [
    MemoryItem("a red fire extinguisher beside the lift", NOON, [0.0, 0.0, 0.0], 0.0),
    MemoryItem("two people at a coffee machine", NOON + 60, [5.0, 0.0, 0.0], 1.0),
    MemoryItem("a whiteboard with equations", NOON + 120, [5.0, 5.0, 0.0], -2.0),
    MemoryItem("a bicycle leaning at a wall", NOON + 180, [0.0, 5.0, 0.0], math.pi / 2),
]


@pytest.fixture
def walked() -> Iterator[RemembrMemory]:
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        remembr = RemembrMemory(memory, k=2)
        for item in WALK:
            remembr.insert(item)
        yield remembr


def test_an_item_that_cannot_be_is_said_to_be_kept_apart() -> None:
    with EmbodiedMemory(config=Config(encoder="hashing", guard=GuardConfig(max_speed_m_s=2.0))) as memory:
        remembr = RemembrMemory(memory)
        remembr.insert(WALK[0])
        with pytest.raises(InvalidInput, match="kept apart: moved 900"):
            remembr.insert(MemoryItem("a wall", NOON + 1, [900.0, 0.0, 0.0], 0.0))
        assert captions(remembr.items_by_position((0.0, 0.0, 0.0))) == [WALK[0].caption]


def captions(items: list[MemoryItem]) -> list[str]:
    return [item.caption for item in items]


def test_items_come_back_as_they_were_given(walked: RemembrMemory) -> None:
    for item in WALK:
        (found, *_) = walked.items_by_position(item.position)
        assert found.caption == item.caption and found.time == item.time and found.id.startswith("event:")
        np.testing.assert_allclose(found.position, item.position)
        assert found.theta == pytest.approx(item.theta)


def test_searches(walked: RemembrMemory) -> None:
    assert captions(walked.items_by_text("where can I get coffee?"))[0] == WALK[1].caption
    assert captions(walked.items_by_position((4.0, 4.5, 0.0))) == [WALK[2].caption, WALK[3].caption]
    assert captions(walked.items_by_time("12:01:40")) == [WALK[2].caption, WALK[1].caption]
    assert captions(walked.items_by_time("07/24/2024 12:00:00")) == [WALK[0].caption, WALK[1].caption]
    assert captions(walked.items_by_time("23:59:59")) == [WALK[3].caption, WALK[2].caption]


def test_texts_for_a_language_model(walked: RemembrMemory) -> None:
    said = walked.search_by_time("12:01:00")
    assert (
        said.splitlines()[0]
        == "At time=2024-07-24 12:01:00, at position [5.0, 0.0, 0.0]: two people at a coffee machine"
    )
    walked.search_by_text("bicycle")
    assert captions(walked.get_working_memory())[:2] == [WALK[1].caption, WALK[2].caption]
    assert WALK[3].caption in captions(walked.get_working_memory())[2:]
    there = RemembrMemory(walked.memory, zone=timezone(timedelta(hours=2)))
    assert "2024-07-24 14:01:00" in there.search_by_time("14:01:00").splitlines()[0]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.integers(0, 86_399))
def test_time_search_is_the_nearest_of_all(walked: RemembrMemory, seconds: int) -> None:
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    at = NOON - 12 * 3600 + seconds
    wanted = sorted(abs(item.time - at) for item in WALK)[:2]
    assert [abs(item.time - at) for item in walked.items_by_time(text)] == wanted


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(x=st.floats(-9, 9), y=st.floats(-9, 9))
def test_position_search_is_the_nearest_of_all(walked: RemembrMemory, x: float, y: float) -> None:
    def distance(item: MemoryItem) -> float:
        return float(np.hypot(item.position[0] - x, item.position[1] - y))

    found = [distance(item) for item in walked.items_by_position((x, y, 0.0))]
    np.testing.assert_allclose(found, sorted(map(distance, WALK))[:2], atol=1e-6)


def test_what_the_memory_holds_from_elsewhere_is_found_too() -> None:
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        memory.write(look(0))
        memory.write(Event(stamp_ns=10**9, kind="told", text="the mug belongs to Anna"))
        remembr = RemembrMemory(memory)
        (frame,) = [item for item in remembr.items_by_position((0.0, 0.0, 1.0)) if item.id.startswith("keyframe:")]
        T = memory.episodic.get_keyframe(frame.id).T_world_camera
        assert frame.theta == pytest.approx(math.atan2(T[1, 2], T[0, 2]))
        (told,) = [item for item in remembr.items_by_text("Anna") if item.caption.endswith("Anna")]
        assert told.position == [] and "at position unknown" in remembr.memory_to_string([told])


def test_cameras_have_clocks_of_their_own(walked: RemembrMemory) -> None:
    walked.insert(MemoryItem("a door", NOON + 30, [1.0, 1.0, 0.0], 0.0, camera_id="rear"))
    with pytest.raises(StampError):
        walked.insert(MemoryItem("late", NOON + 30, [0.0, 0.0, 0.0], 0.0))
    (found, *_) = walked.items_by_text("door")
    assert found.camera_id == "rear" and "camera rear" in walked.memory_to_string([found])


def test_remove_and_reset(walked: RemembrMemory) -> None:
    (found, *_) = walked.items_by_text("bicycle")
    assert walked.remove([found.id]) >= 1 and walked.remove([]) == 0
    assert WALK[3].caption not in captions(walked.items_by_position((0.0, 5.0, 0.0)))
    walked.search_by_text("coffee")
    walked.reset(drop_collection=False)
    assert walked.get_working_memory() == [] and walked.memory.counts()["event"] == 3
    walked.reset()
    assert walked.memory.counts() == {} and walked.search_by_text("coffee") == ""


@pytest.mark.parametrize(
    "item",
    [
        MemoryItem("", 1.0, [0.0, 0.0, 0.0]),
        MemoryItem("x", math.nan, [0.0, 0.0, 0.0]),
        MemoryItem("x", -1.0, [0.0, 0.0, 0.0]),
        MemoryItem("x", 1.0, [0.0, 0.0]),
        MemoryItem("x", 1.0, [0.0, 0.0, math.inf]),
        MemoryItem("x", 1.0, [0.0, 0.0, 0.0], math.nan),
    ],
)
def test_items_that_are_refused(walked: RemembrMemory, item: MemoryItem) -> None:
    before = walked.memory.counts()
    with pytest.raises(InvalidInput, match="wanted"):
        walked.insert(item)
    assert walked.memory.counts() == before


@pytest.mark.parametrize("text", ["", "noon", "25:00:00", "12:00", "13/45/2024 12:00:00"])
def test_times_that_are_refused(walked: RemembrMemory, text: str) -> None:
    with pytest.raises(InvalidInput, match="hms_time: wanted"):
        walked.search_by_time(text)


def test_other_vectors_are_refused(walked: RemembrMemory) -> None:
    with pytest.raises(InvalidInput, match="text_embedding: wanted None"):
        walked.insert(WALK[-1], text_embedding=[0.1, 0.2])
    with pytest.raises(InvalidInput, match="k: wanted 1 or more"):
        RemembrMemory(walked.memory, k=0)
