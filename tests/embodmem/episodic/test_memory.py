"""Keyframes and events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import EpisodicConfig
from embodmem.encoders import HashingEncoder
from embodmem.episodic import EpisodicMemory
from embodmem.errors import InvalidInput, StampError
from embodmem.geometry import pose_from_quat
from embodmem.index import Records
from embodmem.store import Store
from embodmem.types import Detection, Event, Percept, PinholeCamera, Query

CAMERA = PinholeCamera(width=64, height=48, fx=60.0, fy=60.0, cx=32.0, cy=24.0)
S = 10**9
RULE = EpisodicConfig(keyframe_distance_m=0.5, keyframe_angle_rad=0.5, keyframe_interval_s=10.0)


def turned(x_m: float = 0.0, angle_rad: float = 0.0) -> np.ndarray:
    return pose_from_quat((x_m, 0.0, 1.0), (0.0, 0.0, np.sin(angle_rad / 2), np.cos(angle_rad / 2)))


def look(stamp_ns: int, x_m: float = 0.0, angle_rad: float = 0.0, **more: object) -> Percept:
    fields: dict = {"camera": CAMERA, "rgb": picture(), **more}
    return Percept(stamp_ns=stamp_ns, T_world_sensor=turned(x_m, angle_rad), **fields)


def picture() -> np.ndarray:
    """A smooth (48, 64, 3) uint8 image, which JPEG keeps well."""
    rows, cols = np.mgrid[:48, :64]
    return np.stack([rows * 5, cols * 4, 255 - rows - cols], axis=-1).astype(np.uint8)


@pytest.fixture
def memory(records: Records) -> EpisodicMemory:
    return EpisodicMemory(records, RULE)


@pytest.mark.parametrize(
    "stamp_s, x_m, angle_rad, keyframe",
    [
        (0.0, 0.0, 0.0, False),
        (1.0, 0.5, 0.0, False),
        (1.0, 0.501, 0.0, True),
        (1.0, -0.501, 0.0, True),
        (1.0, 0.0, 0.499, False),
        (1.0, 0.0, 0.501, True),
        (1.0, 0.0, -0.501, True),
        (1.0, 0.0, np.pi, True),
        (10.0, 0.0, 0.0, False),
        (10.001, 0.0, 0.0, True),
        (9.0, 0.4, 0.4, False),
    ],
)
def test_a_view_becomes_a_keyframe(
    memory: EpisodicMemory, stamp_s: float, x_m: float, angle_rad: float, keyframe: bool
) -> None:
    memory.write(look(0))
    memory.write(look(int(stamp_s * S), x_m, angle_rad))
    assert len(memory.timeline()) == 1 + keyframe


def test_the_rule_counts_from_the_last_keyframe_of_the_agent(memory: EpisodicMemory) -> None:
    for i in range(9):  # steps of 0.2 m: every third one is more than 0.5 m on
        memory.write(look(i * S, 0.2 * i))
    assert [r.first_seen_ns // S for r in memory.timeline()] == [0, 3, 6]
    memory.write(look(8 * S, 1.6, agent="other"))
    assert [r.data.get("agent") for r in memory.timeline()][-1] == "other"


def test_the_rule_goes_on_after_a_restart_a_rollback_and_forgetting(path: Path) -> None:
    store = Store(path)
    memory = EpisodicMemory(Records(store, HashingEncoder()), RULE)
    memory.write(look(0))
    store.close()
    store = Store(path)
    memory = EpisodicMemory(Records(store, HashingEncoder()), RULE)
    memory.write(look(1 * S, 0.3))
    assert len(memory.timeline()) == 1
    with pytest.raises(ZeroDivisionError), store.transaction():
        memory.write(look(2 * S, 5.0))
        raise ZeroDivisionError
    memory.write(look(3 * S, 0.3))
    assert len(memory.timeline()) == 1
    memory.forget(Query(kinds=("keyframe",)))
    memory.write(look(4 * S, 0.3))
    assert [r.first_seen_ns // S for r in memory.timeline()] == [4]
    store.close()


@settings(max_examples=40, deadline=None)
@given(quality=st.sampled_from([60, 85, 95]), height=st.integers(1, 40), width=st.integers(1, 40), flip=st.booleans())
def test_images_come_back_nearly_equal(quality: int, height: int, width: int, flip: bool) -> None:
    camera = PinholeCamera(width=width, height=height, fx=10, fy=10, cx=0, cy=0)
    image = picture()[:height, :width]
    image = image[::-1, ::-1] if flip else image  # views with any strides are fine
    memory = EpisodicMemory(Records(Store(), None), jpeg_quality=quality)
    memory.write(Percept(stamp_ns=7, T_world_sensor=turned(1.0), camera=camera, rgb=image))
    (item,) = memory.timeline()
    keyframe = memory.get_keyframe(item.id)
    memory.store.close()
    back = keyframe.image()
    assert back is not None and back.shape == image.shape and back.dtype == np.uint8
    assert np.abs(back.astype(int) - image).mean() < 6
    assert keyframe.jpeg is not None and keyframe.jpeg[:2] == b"\xff\xd8"
    assert (keyframe.id, keyframe.stamp_ns) == (item.id, 7)
    assert np.array_equal(keyframe.T_world_camera, turned(1.0))


def test_a_view_without_colour_is_a_keyframe_without_a_picture(memory: EpisodicMemory) -> None:
    memory.write(look(0, rgb=None))
    keyframe = memory.get_keyframe(memory.timeline()[0].id)
    assert keyframe.jpeg is None and keyframe.image() is None


def test_a_keyframe_says_what_it_shows(memory: EpisodicMemory) -> None:
    detections = (
        Detection(label="mug", box=np.array([1, 1, 9, 9])),
        Detection(label="book", box=np.array([1, 1, 9, 9])),
    )
    segmentation = np.zeros(CAMERA.shape, np.int32)
    segmentation[:4] = 3
    memory.write(
        look(0, detections=detections, caption="a shelf", segmentation=segmentation, labels={3: "lamp", 4: "cat"})
    )
    assert memory.timeline()[0].text == "a shelf saw book, lamp, mug"
    memory.write(look(S, 9.0, detections=()))
    assert memory.timeline()[1].text == "a view"
    assert [r.text for r in memory.recall(Query(labels=("LAMP",)))] == ["a shelf saw book, lamp, mug"]
    assert memory.recall(Query(labels=("cat",))) == []  # named by the source, but not in this image
    T = turned(9.0)
    found = memory.recall(Query(near=T[:3, 3], radius_m=0.1))
    assert [r.text for r in found] == ["a view"]


def test_an_event_comes_back_whole(memory: EpisodicMemory) -> None:
    event = Event(
        stamp_ns=5 * S,
        until_ns=8 * S,
        kind="pick",
        text="picked up the mug",
        T_world_body=turned(2.0, 0.3),
        objects=("mug", "tray"),
        outcome="done",
        reward=1.5,
        source="robot",
        agent="ann",
    )
    memory.write(event)
    (item,) = memory.recall("mug")
    assert (item.kind, item.text, item.first_seen_ns, item.last_seen_ns) == ("event", event.text, 5 * S, 8 * S)
    assert item.position is not None and np.allclose(item.position, (2.0, 0.0, 1.0))
    kept = dict(item.data)
    assert np.array_equal(kept.pop("T_world_body"), event.T_world_body)
    assert kept == {
        "kind": "pick",
        "agent": "ann",
        "objects": ["mug", "tray"],
        "outcome": "done",
        "source": "robot",
        "reward": 1.5,
        "content_hash": event.content_hash,
    }
    for query in (Query(kinds=("pick",)), Query(kinds=("event",)), Query(labels=("tray",)), Query(agent="ann")):
        assert [r.id for r in memory.recall(query)] == [item.id]
    assert memory.recall(Query(kinds=("place",))) == []
    assert memory.recall(Query(between_ns=(6 * S, 7 * S)))[0].id == item.id  # it was going on then


def test_events_in_order(memory: EpisodicMemory) -> None:
    for agent, stamps in (("ann", [1, 5, 5, 9]), ("ben", [0, 3, 7])):  # two clocks, written one after the other
        for stamp in stamps:
            memory.write(Event(stamp_ns=stamp, kind="told", text=f"{agent}{stamp}", agent=agent))
    order = ["ben0", "ann1", "ben3", "ann5", "ann5", "ben7", "ann9"]
    assert [r.text for r in memory.timeline()] == order
    assert [r.text for r in memory.timeline(newest_first=True, limit=3)] == ["ann9", "ben7", "ann5"]
    assert [r.text for r in memory.timeline(Query(between_ns=(3, 7), agent="ben"))] == ["ben3", "ben7"]
    ids = [int(r.id.split(":")[1]) for r in memory.timeline(Query(between_ns=(5, 5)))]
    assert ids == sorted(ids)


def test_what_is_refused(memory: EpisodicMemory) -> None:
    memory.write(Event(stamp_ns=5, kind="told", text="x"))
    with pytest.raises(StampError, match="wanted 5 or later"):
        memory.write(look(4))
    for bad in ("keyframe:1", "event:1", "keyframe:99"):  # 1 is an event
        with pytest.raises(InvalidInput):
            memory.get_keyframe(bad)
    with pytest.raises(InvalidInput, match="is missing"):
        memory.load_state_dict({"record": {}})
    assert len(memory.timeline()) == 1


def test_a_state_of_another_encoder_is_encoded_anew(records: Records) -> None:
    source = EpisodicMemory(Records(Store(), HashingEncoder(64)))
    source.write(Event(stamp_ns=1, kind="told", text="the keys are in the drawer"))
    target = EpisodicMemory(records)
    target.load_state_dict(source.state_dict())
    assert target.recall("keys")[0].why.keys() == {"words", "meaning"}
    source.store.close()


def test_a_state_must_not_overwrite_another_memory(records: Records) -> None:
    from embodmem.working import WorkingMemory

    episodic, working = EpisodicMemory(records), WorkingMemory(records)
    working.note("row 1 is taken", 1)
    source = EpisodicMemory(Records(Store(), None))
    source.write(Event(stamp_ns=1, kind="told", text="row 1 as well"))
    with pytest.raises(InvalidInput, match=r"\[1\] are in use"):
        episodic.load_state_dict(source.state_dict())
    assert [item.text for item in working.items()] == ["row 1 is taken"]
    source.store.close()
