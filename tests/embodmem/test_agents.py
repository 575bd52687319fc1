"""Several agents: merging two memories, tiers, views for a role."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodmem import EmbodiedMemory, Event, Query
from embodmem.agents import Role, RoleView, Tiers, merge
from embodmem.config import Config, SpatialConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import InvalidInput
from embodmem.procedural import Experience
from embodmem.spatial.octree.brick_map import Bricks
from embodmem.spatial.octree.fuse import fused
from embodmem.spatial.octree.keys import TICK_NS
from tests.embodmem.small import look

SPATIAL = SpatialConfig(budget_mib=16, max_range_m=6.0)


def made(path: Path | None = None, spatial: SpatialConfig = SPATIAL) -> EmbodiedMemory:
    return EmbodiedMemory(path, config=Config(spatial=spatial), encoder=HashingEncoder(64))


def seen(memory: EmbodiedMemory, frames: range, agent: str) -> None:
    for i in frames:
        memory.write(replace(look(i), agent=agent))


def content(memory: EmbodiedMemory) -> dict[str, list[object]]:
    facts = memory.semantic.facts_at(2**62)
    by_id = {item.id: (item.label, tuple(np.round(item.position, 6))) for item in memory.scene.objects()}
    return {
        "events": [(i.text, i.first_seen_ns, i.data.get("agent")) for i in memory.episodic.timeline(limit=10_000)],
        "objects": sorted(by_id.values()),
        "facts": sorted(
            (str(by_id.get(f.subject, f.subject)), f.relation, str(by_id.get(f.object, f.object))) for f in facts
        ),
    }


def test_what_both_saw_is_known_once() -> None:
    one, two = made(), made()
    seen(one, range(0, 24), "a")
    seen(two, range(8, 32), "b")
    two.write(Event(stamp_ns=10**12, kind="told", text="the book is mine", objects=("book",), source="user", agent="b"))
    before = {item.label for item in one.scene.objects()} | {item.label for item in two.scene.objects()}
    count = len(one.episodic.timeline(limit=1000)) + len(two.episodic.timeline(limit=1000))
    done = merge(one, two)
    assert done.records == len(two.episodic.timeline(limit=1000)) and done.known == 0 and done.bricks > 0
    assert len(one.episodic.timeline(limit=1000)) == count
    labels = [item.label for item in one.scene.objects()]
    assert sorted(labels) == sorted(set(labels)) and set(labels) == before
    told = one.recall(Query(text="whose is the book", kinds=("told",)))[0]
    (book,) = one.scene.objects("book")
    assert book.id in told.evidence
    keyframe = next(i for i in one.episodic.timeline(limit=1000) if i.kind == "keyframe" and i.data["agent"] == "b")
    assert one.episodic.get_keyframe(keyframe.id).image() is not None
    assert one.newest_stamp("b") == 10**12
    first = content(one)
    again = merge(one, two)
    assert again.records == 0 and again.facts == 0 and content(one) == first
    one.write(Event(stamp_ns=10**12 + 1, kind="told", text="goes on", agent="b"))
    for memory in (one, two):
        memory.close()


def test_the_merged_memory_is_on_disk(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one.mem"), made(tmp_path / "two.mem")
    seen(one, range(0, 12), "a")
    seen(two, range(20, 32), "b")
    merge(one, two)
    expected, occupied = content(one), one.spatial.octree.occupied()[0]
    one.close()
    two.close()
    with EmbodiedMemory(tmp_path / "one.mem", "r") as one:
        assert content(one) == expected
        theirs = one.spatial.octree.occupied()[0]
        np.testing.assert_array_equal(np.sort(theirs, axis=0), np.sort(occupied, axis=0))


def test_names_and_facts_follow_the_rules_here() -> None:
    one, two = made(), made()
    one.semantic.assert_fact("key", "on", "hook", valid_from_ns=10, known_from_ns=10)
    one.semantic.assert_fact("key", "on", "desk", valid_from_ns=50, known_from_ns=50)
    two.semantic.assert_fact("key", "on", "shelf", valid_from_ns=30, known_from_ns=30)
    two.semantic.assert_fact("cup", "on", "tray", valid_from_ns=5, known_from_ns=5)
    two.write(Event(stamp_ns=7, kind="told", text="hello"))
    done = merge(one, two, rename={"": "second"})
    assert done.facts == 2
    assert [f.object for f in one.semantic.facts("key")] == ["desk"]
    assert [f.object for f in one.semantic.facts_at(40, subject="key")] == ["shelf"]
    assert [f.object for f in one.semantic.facts_at(20, subject="key")] == ["hook"]
    assert [f.object for f in one.semantic.facts("cup")] == ["tray"]
    assert one.recall(Query(text="hello", agent="second"))[0].text == "hello"
    one.close()
    two.close()


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one.mem"), made(spatial=SpatialConfig(voxel_size_m=0.1, budget_mib=1))
    one.write(Event(stamp_ns=1, kind="told", text="stays"))
    with pytest.raises(InvalidInput, match="two memories"):
        merge(one, one)
    with pytest.raises(InvalidInput, match="voxel size"):
        merge(one, other)
    assert [i.text for i in one.episodic.timeline()] == ["stays"]
    one.close()
    other.close()


def test_a_merge_that_fails_takes_nothing_in() -> None:
    one, two = made(), made()
    one.write(Event(stamp_ns=1, kind="told", text="stays"))
    for i in range(5):
        two.write(Event(stamp_ns=i, kind="told", text=f"number {i}"))
    one.store.before_commit.append(lambda db: (_ for _ in ()).throw(OSError("stopped")))
    with pytest.raises(OSError, match="stopped"):
        merge(one, two)
    one.store.before_commit.pop()
    assert [i.text for i in one.episodic.timeline()] == ["stays"] and one.recall("number") == []
    assert merge(one, two).records == 5
    one.close()
    two.close()


def test_maps_add_up() -> None:
    rng = np.random.default_rng(0)

    def bricks(keys: list[int], newest: int) -> Bricks:
        n = len(keys)
        log_odds = rng.normal(size=(n, 512)).astype(np.float32)
        log_odds[rng.random((n, 512)) < 0.4] = np.nan
        ages = np.where(np.isnan(log_odds), 0, rng.integers(0, 9, (n, 512))).astype(np.uint16)
        none = np.zeros((n, 0), np.uint32)
        return Bricks(np.array(keys, np.int64), log_odds, np.full(n, newest, np.int64), ages, none, none)

    ours, theirs = bricks([5, 2, 9], 10**12), bricks([9, 7, 2], 2 * 10**12)
    together = fused(ours, theirs, SPATIAL)
    for i, key in enumerate(theirs.keys):
        (j,) = np.flatnonzero(ours.keys == key) if key in ours.keys else (None,)
        for v in range(512):
            b = theirs.log_odds[i, v]
            a = np.nan if j is None else ours.log_odds[j, v]
            known = [x for x in (a, b) if not np.isnan(x)]
            total = np.clip(sum(known), -2.0, 3.5) if len(known) == 2 else known[0] if known else np.nan
            np.testing.assert_allclose(together.log_odds[i, v], total, rtol=1e-6)
            if known:
                seen_b = -1 if np.isnan(b) else theirs.last_seen_ns[i] - int(theirs.ages[i, v]) * TICK_NS
                seen_a = -1 if j is None or np.isnan(a) else ours.last_seen_ns[j] - int(ours.ages[j, v]) * TICK_NS
                at = together.last_seen_ns[i] - int(together.ages[i, v]) * TICK_NS
                assert 0 <= at - max(seen_a, seen_b) < TICK_NS
    empty = Bricks(*(part[:0] for part in ours))
    assert fused(empty, theirs, SPATIAL) is theirs


def test_tiers_are_walked_both_ways() -> None:
    memory = made()
    ids = []
    for i in range(4):
        memory.write(Event(stamp_ns=10 * i, kind="pick", text=f"picked the mug in try {i}", objects=("mug",)))
        (event,) = memory.episodic.timeline(newest_first=True, limit=1)
        experience = Experience(
            stamp_ns=10 * i + 1,
            task="bring the mug",
            success=True,
            state=("mug on desk",),
            plan=("go to the desk", "pick the mug", "go to the user", "hand over the mug"),
            objects=("mug",),
            evidence=(event.id,),
        )
        ids.append(memory.procedural.add(experience))
    (skill, *_) = memory.procedural.distil(stamp_ns=100)
    tiers = Tiers(memory)
    assert {item.id for item in tiers.down([skill], "task")} == set(ids)
    assert len(tiers.down([skill], "interaction")) == 4
    assert [item.id for item in tiers.up([ids[0]], "insight")] == [skill]
    found = tiers.recall("bring the mug")
    assert [item.id for item in found.insights] == [skill] and found.tasks and len(found.interactions) == 4
    assert tiers.up([], "insight") == []
    memory.close()


def test_a_role_sees_its_part() -> None:
    memory = made()
    cook = RoleView(memory, Role(name="cook", labels=("pan", "pot"), kinds=("told",)))
    guard = RoleView(memory, Role(name="guard", within=np.array([[0.0, 0, 0], [5, 5, 3]])))
    cook.write(Event(stamp_ns=1, kind="told", text="the pan is hot", objects=("pan",)))
    T = np.eye(4)
    T[:3, 3] = 1.0
    guard.write(Event(stamp_ns=2, kind="patrol", text="passed the pan shelf", objects=("pan",), T_world_body=T))
    assert [i.text for i in cook.recall("pan")] == ["the pan is hot"]
    assert [i.text for i in guard.recall("pan")] == ["passed the pan shelf"]
    assert cook.recall(Query(text="pan", labels=("door",))) == [] and cook.recall(Query(kinds=("patrol",))) == []
    assert guard.recall(Query(text="pan", within=np.array([[6.0, 6, 0], [9, 9, 3]]))) == []
    assert {i.data["agent"] for i in memory.recall("pan") if i.kind == "event"} == {"cook", "guard"}
    with pytest.raises(InvalidInput, match="its own name"):
        cook.write(Event(stamp_ns=3, kind="told", text="x", agent="guard"))
    with pytest.raises(InvalidInput, match="a name"):
        Role(name=" ")
    memory.close()


def practised(agent: str, count: int, start: int, path: Path | None = None) -> EmbodiedMemory:
    """A memory of somebody who made tea so often, in a kitchen that was warm each time."""
    memory = made(path)
    plan = ("go kitchen", "heat water", "pour tea")
    for i in range(start, start + count):
        memory.procedural.add(
            Experience(stamp_ns=i, task="make tea", state=("kettle is full",), plan=plan, success=True, agent=agent)
        )
    return memory


def test_skills_and_what_cases_earned_come_along(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one.mem"), practised("b", 4, 1)
    (skill,) = two.procedural.distil(10)
    two.procedural.record_use(skill, False, stamp_ns=20)
    (case, *_) = [case.id for case in two.procedural.retrieve("make tea", ("kettle is full",))]
    two.procedural.reward(case, "make tea", ("kettle is full",), 3.0)
    done = merge(one, two)
    assert done.skills == 1 and done.records == 4
    (mine,), (theirs,) = one.procedural.skills(), two.procedural.skills()
    assert (mine.task, mine.steps, mine.version) == (theirs.task, theirs.steps, theirs.version)
    assert (mine.successes, mine.failures, mine.lower) == (theirs.successes, theirs.failures, theirs.lower)
    assert len(mine.evidence) == 4
    assert [c.what for c in one.procedural.history(mine.id)] == [c.what for c in two.procedural.history(theirs.id)]
    state = ("kettle is full",)
    values = [
        sorted(m.procedural.value(c.id, "make tea", state) for c in m.procedural.retrieve("make tea"))
        for m in (one, two)
    ]
    assert values[0] == values[1] and values[0][-1] > 1.5
    again = merge(one, two)
    assert again.skills == 0 and again.records == 0 and one.procedural.skills() == [mine]
    one.close()
    with EmbodiedMemory(tmp_path / "one.mem", "r", encoder=HashingEncoder(64)) as one:
        assert one.procedural.skills() == [mine]
    two.close()


def test_a_skill_that_both_know_is_one_skill_with_the_uses_of_both() -> None:
    one, two = practised("a", 3, 1), practised("b", 5, 100)
    one.procedural.distil(10)
    two.procedural.distil(200)
    (before,) = one.procedural.skills()
    assert merge(one, two).skills == 0
    (skill,) = one.procedural.skills()
    assert skill.id == before.id and skill.successes > before.successes and skill.lower > before.lower
    assert one.procedural.distil(300) in ([], [skill.id]) and len(one.procedural.skills()) == 1
    for memory in (one, two):
        memory.close()
