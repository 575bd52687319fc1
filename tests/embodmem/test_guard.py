"""Sources, trust, quarantine, and an order of answers that no source can flood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodmem import Detection, EmbodiedMemory, Event, Percept, PinholeCamera, Query, Recall
from embodmem.config import Config, GuardConfig, SpatialConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import ConfigError, InvalidInput, StoreError
from embodmem.guard import guarded
from embodmem.procedural import Experience
from tests.embodmem.store.test_disk import files_with

QUESTION = "Please bring the red mug from the desk in the study to the kitchen"


def made(path: Path | None = None, **guard: object) -> EmbodiedMemory:
    config = Config(spatial=SpatialConfig(budget_mib=8), guard=GuardConfig(**guard))  # type: ignore[arg-type]
    return EmbodiedMemory(path, config=config, encoder=HashingEncoder(64))


@pytest.fixture
def memory() -> Iterator[EmbodiedMemory]:
    with made() as memory:
        yield memory


def told(stamp: int, text: str, source: str = "user", **more: object) -> Event:
    return Event(stamp_ns=stamp, kind="told", text=text, source=source, **more)  # type: ignore[arg-type]


def at(x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = x, y, z
    return T


def fill(memory: EmbodiedMemory) -> None:
    memory.write(told(1, "the red mug is my favourite and belongs to the kitchen shelf, never to the desk"))
    memory.write(told(2, "the study has a desk with papers that nobody may touch"))
    memory.write(told(3, "breakfast is at seven in the garden"))


def test_a_copy_of_the_question_does_not_come_first(memory: EmbodiedMemory) -> None:
    fill(memory)
    memory.write(told(4, QUESTION, source="visitor"))
    first, *rest = memory.recall(QUESTION)
    assert first.data["source"] == "user"
    assert "guard.echo" in next(item for item in rest if item.data.get("source") == "visitor").why
    with made(enabled=False) as bare:
        fill(bare)
        bare.write(told(4, QUESTION, source="visitor"))
        assert bare.recall(QUESTION)[0].data["source"] == "visitor"


def test_a_copy_under_a_trusted_name_is_an_echo_all_the_same(memory: EmbodiedMemory) -> None:
    fill(memory)
    shuffled = " ".join(np.random.default_rng(0).permutation(QUESTION.split()))
    memory.write(told(4, shuffled))
    assert memory.recall(QUESTION)[0].text != shuffled
    assert memory.recall(shuffled, 10)[1].text == shuffled  # kept, and never first


def test_who_looks_for_what_was_told_word_by_word_finds_it(memory: EmbodiedMemory) -> None:
    texts = [f"note {name} {i}" for i in range(5) for name in range(4)]
    for stamp, text in enumerate(texts):
        memory.write(told(stamp, text))
    for text in texts:
        found = [item.text for item in memory.recall(text, 5)]
        assert text in found[:4], found  # behind one that says something else, or the same words otherwise


def test_echoes_of_a_trusted_source_fill_few_places(memory: EmbodiedMemory) -> None:
    fill(memory)
    rng = np.random.default_rng(0)
    for stamp in range(4, 12):
        memory.write(told(stamp, " ".join(rng.permutation(QUESTION.split()))))
    found = memory.recall(QUESTION, 11)
    assert len(found) == 10  # breakfast has nothing to do with it
    assert ["guard.echo" in item.why for item in found[:5]].count(True) == 3
    assert all("guard.echo" in item.why for item in found[5:])


def test_an_echo_of_a_trusted_source_comes_before_what_a_stranger_says(memory: EmbodiedMemory) -> None:
    memory.write(told(1, QUESTION))
    memory.write(told(2, "the red mug from the desk in the study is for sale", source="visitor"))
    assert [item.data["source"] for item in memory.recall(QUESTION)] == ["user", "visitor"]


def test_what_was_seen_or_done_is_no_echo(memory: EmbodiedMemory) -> None:
    text = "picked the red mug from the desk in the study and put it in the kitchen"
    memory.write(Event(stamp_ns=1, kind="pick", text=text, source="robot"))
    memory.write(told(2, "mugs belong to the kitchen"))
    assert memory.recall(f"when was it that you {text}?")[0].text == text


@pytest.mark.parametrize("most", [1, 3])
def test_one_unproven_source_fills_few_places(most: int) -> None:
    with made(max_per_source=most) as memory:
        fill(memory)
        for stamp in range(4, 12):
            memory.write(told(stamp, f"a red mug number {stamp} of brand {stamp * 7} is on the desk", source="visitor"))
        found = memory.recall("red mug on the desk", 10)
        assert found[0].data["source"] == "user"
        assert sum(item.data.get("source") == "visitor" for item in found) == most


def test_a_list_by_filters_alone_leaves_nothing_out(memory: EmbodiedMemory) -> None:
    fill(memory)
    for stamp in range(4, 12):
        memory.write(told(stamp, f"visit {stamp} of the visitor", source="visitor"))
    assert len(memory.recall(Query(kinds=("told",)), 50)) == 11


def test_what_the_library_writes_itself_is_trusted(memory: EmbodiedMemory) -> None:
    """Sources of our own: a new one has to be named in `guard.trusted`, or in `derived` if it only repeats."""
    known = set(memory.config.guard.trusted) | set(memory.config.guard.derived)
    written = set()
    for file in (Path(__file__).parents[2] / "embodmem").rglob("*.py"):
        if file.name != "ros_transforms.py":  # a source of frames, not of claims
            written |= set(re.findall(r"""(?:source|SOURCE) ?= ?"([a-z]+)\"""", file.read_text()))
    assert {"mined", "loop", "scene", "spatial"} <= written <= known, written - known


def test_sources_are_counted_and_not_rows(memory: EmbodiedMemory) -> None:
    claim = "a parcel for the red house came and lies at the door"
    memory.write(told(1, "the door of the house is red"))
    for stamp in range(2, 7):
        memory.write(told(stamp, claim, source="post"))
    best = memory.recall("where does the parcel lie", 5)
    (item,) = [item for item in best if item.text == claim]
    assert "guard.unproven" in item.why and len(item.data["copies"]) == 4
    memory.write(told(7, claim, source="neighbour"))
    memory.write(told(8, claim + " now", source="cleaner"))
    first = memory.recall("where does the parcel lie", 5)[0]
    assert first.why["guard.quorum"] == 3.0 and len(first.data["copies"]) == 6


def test_where_nobody_is_proven_all_answer() -> None:
    with made() as memory:
        for stamp in range(5):
            memory.write(told(stamp, f"shelf {stamp} holds tools of kind {stamp * 11}", source="alice"))
        assert len(memory.recall("which tools do the shelves hold", 10)) == 5


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("xyz ", min_size=1, max_size=12)), max_size=12))
def test_order_invents_nothing(rows: list[tuple[str, str]]) -> None:
    config = GuardConfig(trusted=("a",))
    items = [
        Recall(
            kind="event",
            id=f"event:{i}",
            score=1.0 / (1 + i),
            position=None,
            first_seen_ns=i,
            last_seen_ns=i,
            label="",
            text=text,
            data={"kind": "told", "source": source},
        )
        for i, (source, text) in enumerate(rows)
    ]
    given_back = guarded(items, "x y z", config, lambda source: source in config.trusted)
    ids = [item.id for item in given_back]
    assert len(set(ids)) == len(ids) and set(ids) <= {item.id for item in items}
    scores = [item.score for item in given_back]
    assert scores == sorted(scores, reverse=True)
    assert {i.id for i in items if i.data["source"] == "a"} <= set(ids)  # a trusted source loses no answer
    assert guarded(items, "", replace(config, trusted=("a", "b", "c")), lambda _: True) == items


def test_trust_grows_and_falls(tmp_path: Path) -> None:
    path = tmp_path / "m.mem"
    with made(path) as memory:
        trust = memory.guard.trust
        assert trust.standing("visitor").trust == 0.5 and not trust.is_proven("visitor")
        assert trust.judge("visitor", good=3).trust == 0.8 and trust.is_proven("visitor")
        trust.judge("user", bad=20)
        assert not trust.is_proven("user") and trust.is_shut_out("user")
        with pytest.raises(InvalidInput, match="counts of 0 or more"):
            trust.judge("visitor", bad=-1)
    with made(path) as memory:
        assert [(s.source, s.good, s.bad) for s in memory.guard.trust.standings()] == [
            ("user", 0.0, 20.0),
            ("visitor", 3.0, 0.0),
        ]


def test_a_source_shut_out_is_kept_apart_and_can_be_released(memory: EmbodiedMemory) -> None:
    memory.guard.trust.judge("mallory", bad=9)
    memory.write(Event(stamp_ns=1, kind="pick", text="picked the key", objects=("key",), source="mallory", agent="m"))
    assert memory.recall("key") == [] and memory.semantic.facts() == [] and memory.working.items() == []
    (apart,) = memory.guard.quarantined()
    assert apart.item.text == "picked the key" and "mallory" in apart.reason and apart.since_ns == 1
    memory.guard.release(apart.item.id)
    assert memory.recall("key")[0].id == apart.item.id and memory.guard.quarantined() == []
    with pytest.raises(InvalidInput, match="in quarantine"):
        memory.guard.release(apart.item.id)


def test_strict_memories_take_nothing_from_strangers() -> None:
    with made(quarantine_unproven=True) as memory:
        memory.write(told(1, "the safe is behind the picture", source="stranger"))
        memory.write(told(2, "the safe is empty"))
        assert [item.text for item in memory.recall("safe")] == ["the safe is empty"]


def test_nobody_is_in_two_places() -> None:
    with made(max_speed_m_s=2.0) as memory:
        memory.write(told(0, "here", T_world_body=at(0.0), agent="r"))
        memory.write(told(10**9, "there", T_world_body=at(40.0), agent="r"))
        memory.write(told(2 * 10**9, "near", T_world_body=at(2.5), agent="r"))
        memory.write(told(2 * 10**9, "another one", T_world_body=at(90.0), agent="q"))
        (apart,) = memory.guard.quarantined()
        assert apart.item.text == "there" and "40.0 m in 1.00 s" in apart.reason
        assert {item.text for item in memory.episodic.timeline()} == {"here", "near", "another one"}


def test_a_view_from_nowhere_touches_no_map() -> None:
    camera = PinholeCamera(width=32, height=24, fx=30.0, fy=30.0, cx=16.0, cy=12.0)
    depth, rgb = np.full((24, 32), 1.0, np.float32), np.full((24, 32, 3), 90, np.uint8)
    with made(max_speed_m_s=2.0) as memory:
        memory.write(Percept(stamp_ns=0, T_world_sensor=at(0.0), camera=camera, depth=depth, rgb=rgb))
        known = memory.spatial.octree.occupied()[0]
        far = Percept(stamp_ns=10**9, T_world_sensor=at(50.0), camera=camera, depth=depth, rgb=rgb)
        memory.write(far)
        np.testing.assert_array_equal(memory.spatial.octree.occupied()[0], known)
        (apart,) = memory.guard.quarantined()
        assert apart.item.kind == "keyframe" and memory.episodic.get_keyframe(apart.item.id).image() is not None
        assert len(memory.episodic.timeline()) == 1


def test_nobody_stands_in_a_wall() -> None:
    camera = PinholeCamera(width=32, height=24, fx=30.0, fy=30.0, cx=16.0, cy=12.0)
    with made(check_map=True) as memory:
        depth = np.full((24, 32), 1.0, np.float32)
        for stamp in range(3):
            memory.write(Percept(stamp_ns=stamp, T_world_sensor=at(0.0), camera=camera, depth=depth))
        wall = memory.spatial.octree.occupied()[0][0]
        memory.write(told(5, "in the wall", T_world_body=at(*wall)))
        memory.write(told(6, "in the room", T_world_body=at(0.0, 0.0, 0.4)))
        (apart,) = memory.guard.quarantined()
        assert apart.item.text == "in the wall" and "occupied" in apart.reason


CAMERA = PinholeCamera(width=64, height=48, fx=60.0, fy=60.0, cx=31.5, cy=23.5)
BOX = np.array([26.0, 18.0, 38.0, 30.0])


def look(stamp: int, label: str = "", patch_m: float = 2.0) -> Percept:
    """At a wall 2 m away, with something in the middle at another depth."""
    depth = np.full(CAMERA.shape, 2.0, np.float32)
    depth[18:30, 26:38] = patch_m
    found = (Detection(label=label, box=BOX),) if label else ()
    rgb = np.full((*CAMERA.shape, 3), 90, np.uint8)
    return Percept(stamp_ns=stamp, T_world_sensor=at(0.0), camera=CAMERA, depth=depth, rgb=rgb, detections=found)


@pytest.mark.parametrize(("patch_m", "reason"), [(1.0, "knows to be free"), (3.5, "holds for occupied at")])
def test_what_cannot_be_where_it_is_detected_is_kept_apart(patch_m: float, reason: str) -> None:
    with made(check_detections=True) as memory:
        memory.write_batch(look(stamp) for stamp in range(5))
        memory.write_batch([look(5, "drone", patch_m), look(6)])  # the second look mends what the first did to the map
        memory.write(look(7, "drone", patch_m))
        (apart,) = memory.guard.quarantined()  # one, not one for each look
        assert reason in apart.reason and apart.item.text == "a detector saw a drone"
        assert memory.scene.graph.nodes(tentative=True) == [] and memory.semantic.facts() == []
        assert not any("drone" in item.text for item in (*memory.recall("drone"), *memory.episodic.timeline()))
        memory.guard.release(apart.item.id)
        assert memory.recall("drone")[0].id == apart.item.id
    with made() as memory:  # the setting is off from the start
        memory.write_batch(look(stamp) for stamp in range(5))
        memory.write(look(5, "drone", patch_m))
        assert len(memory.scene.graph.nodes(tentative=True)) == 1


def test_what_was_laid_into_free_space_is_believed_when_the_map_has_seen_it_too() -> None:
    with made(check_detections=True) as memory:
        memory.write_batch(look(stamp) for stamp in range(5))
        memory.write_batch(look(stamp, "box", 1.0) for stamp in range(5, 15))
        (item,) = memory.scene.objects()
        assert item.label == "box" and len(memory.guard.quarantined()) == 1


def test_what_is_far_larger_than_its_like_is_kept_apart() -> None:
    with made(check_detections=True) as memory:
        memory.write_batch(look(stamp, "mug", 1.0) for stamp in range(5))
        assert [item.label for item in memory.scene.objects()] == ["mug"]
        whole = replace(look(5), detections=(Detection(label="mug", box=np.array([2.0, 2.0, 62.0, 46.0])),))
        memory.write(replace(whole, depth=np.full(CAMERA.shape, 2.0, np.float32)))
        (apart,) = memory.guard.quarantined()
        assert "wanted at most" in apart.reason and len(memory.scene.graph.nodes(tentative=True)) == 1


def test_a_write_that_fails_forgets_what_it_doubted() -> None:
    with made(check_detections=True) as memory:
        memory.write_batch(look(stamp) for stamp in range(5))
        with pytest.raises(StoreError, match="stopped"), memory.store.transaction():
            memory.write(look(5, "drone", 1.0))
            raise StoreError("stopped")
        assert memory.guard.quarantined() == []
        memory.write(look(6, "drone", 1.0))
        assert len(memory.guard.quarantined()) == 1


def test_what_was_recalled_is_not_stored_again(memory: EmbodiedMemory) -> None:
    memory.write(told(1, "the spare key hangs behind the green door"))
    memory.write(told(2, "the spare key hangs behind the green door", source="llm"))
    memory.write(told(3, "the garden gate squeaks", source="llm"))
    texts = [item.text for item in memory.episodic.timeline()]
    assert texts == ["the spare key hangs behind the green door", "the garden gate squeaks"]
    memory.write(told(4, "the spare key hangs behind the green door"))  # told twice is told twice
    assert len(memory.episodic.timeline()) == 3


def test_purging_a_source_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "m.mem"
    memory = made(path)
    fill(memory)
    for stamp in range(10, 40):
        memory.write(told(stamp, f"xylophonist number {stamp} plays", source="mallory", objects=("xylophonist",)))
    memory.guard.trust.judge("mallory", bad=9)
    memory.write(told(50, "the xylophonist is hidden", source="mallory"))
    before = [i.text for i in memory.recall("desk study mug", 50) if i.data.get("source") != "mallory"]
    assert memory.purge("mallory") >= 31
    assert memory.recall(Query(sources=("mallory",)), 50) == [] and memory.guard.quarantined() == []
    assert not any("xylo" in item.text for item in memory.working.items())
    assert [item.text for item in memory.recall("desk study mug", 50)] == before
    assert files_with(tmp_path, b"xylophonist") == []
    memory.close()
    assert files_with(tmp_path, b"xylophonist") == []


def test_a_purge_takes_what_was_learnt_from_a_source(tmp_path: Path) -> None:
    path = tmp_path / "m.mem"
    memory = made(path)
    for i in range(4):
        plan = ("open the xylophone", "play the xylophone")
        task = Experience(stamp_ns=i, task="make music", success=True, plan=plan, source="mallory")
        memory.procedural.add(task)
    assert memory.procedural.distil(stamp_ns=10)
    assert memory.purge("mallory") == 5  # the skill with them
    assert memory.procedural.skills() == [] and memory.procedural.retrieve("make music") == []
    memory.close()
    assert files_with(tmp_path, b"xylophone") == []


def test_a_purge_that_fails_takes_nothing(memory: EmbodiedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.write(told(1, "the safe is behind the picture", source="mallory"))

    def fail() -> None:
        raise StoreError("stopped")

    memory.store.before_commit.append(lambda db: fail())
    with pytest.raises(StoreError, match="stopped"):
        memory.purge("mallory")
    memory.store.before_commit.pop()
    assert memory.recall("safe")[0].text == "the safe is behind the picture"


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="in 0..1"):
        GuardConfig(alike=1.5)
    with pytest.raises(ConfigError, match="quorum"):
        GuardConfig(quorum=0)
    assert Config().guard == GuardConfig() and SpatialConfig().voxel_size_m > 0
