"""All memories in one file: written together, asked together, forgotten together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embodmem.config import Config, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError, InvalidInput, MemoryInUse, NotAMemory, ReadOnlyMemory, StampError, StoreError
from embodmem.types import Detection, Event, Percept, Query
from tests.embodmem.spatial.scene_room import CAMERA, Box, eyes, percept, room
from tests.embodmem.store.filled import check_file_indexes
from tests.embodmem.store.test_disk import files_with

CONFIG = Config(spatial=SpatialConfig(voxel_size_m=0.1, budget_mib=6.852), encoder="hashing")
WORD = "xylophone"


def looks(n: int = 6) -> list[Percept]:
    """A room with a table, a xylophone on it and a crate beside it, seen from several places; with colour."""
    boxes = room()
    boxes[5] = Box(WORD, (0.3, 1.0, 0.85), (0.3, 0.3, 0.2))
    boxes[6] = Box("crate", (-0.4, 1.0, 0.9), (0.3, 0.3, 0.3))
    boxes[7] = Box("book", (0.3, 1.0, 0.98), (0.2, 0.2, 0.06))
    seen = []
    for step, eye in enumerate(eyes(n)):
        look = percept(boxes, step, "mask", eye=eye)
        rgb = np.random.default_rng(step).integers(0, 256, (*CAMERA.shape, 3), dtype=np.uint8)
        fields = {name: getattr(look, name) for name in ("stamp_ns", "T_world_sensor", "camera", "depth", "detections")}
        seen.append(Percept(**fields, rgb=rgb))
    return seen


def after(stamp_s: float, kind: str, text: str, *objects: str) -> Event:
    return Event(stamp_ns=int(stamp_s * 1e9), kind=kind, text=text, objects=objects)


@pytest.fixture
def memory(path: Path) -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory(path, config=CONFIG) as made:
        yield made


def everything(memory: EmbodiedMemory) -> dict[str, object]:
    """All there is to compare of a memory."""
    with memory.store.read() as db:
        rows = {
            table: db.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("record", "record_tag", "record_link", "keyframe", "object", "fact", "stamp")
        }
    bricks = memory.spatial.octree.bricks()
    order = np.argsort(bricks.keys)
    rows["bricks"] = [a[order].tobytes() for a in (bricks.keys, bricks.log_odds)]
    return rows


def test_a_look_reaches_every_memory(memory: EmbodiedMemory) -> None:
    memory.write_batch(looks())
    memory.write(after(1, "told", "the meeting is at noon"))
    assert {item.label for item in memory.scene.objects()} == {"table", WORD, "crate", "book"}
    on_table = {item.label for item in memory.scene.objects_on(memory.scene.objects("table")[0].id)}
    assert on_table == {WORD, "crate"}
    assert {f.object for f in memory.semantic.facts(relation="on")} == {
        memory.scene.objects(label)[0].id for label in ("table", WORD)
    }
    assert memory.counts()["keyframe"] >= 2 and memory.counts()["event"] == 1
    assert memory.spatial.octree.occupancy(np.array([[0.0, 1.0, 0.74]])).tolist() == [1]
    assert "the meeting is at noon" in memory.working.render(200)
    best = next(item for item in memory.recall(WORD, 5) if item.kind == "object")
    assert best.label == WORD
    assert any(name.startswith("scene.") for name in best.why)
    assert memory.episodic.get_keyframe(best.evidence[0]).image() is not None
    surface = memory.recall(Query(kinds=("surface",), near=np.array([0.0, 1.0, 0.75])), 1)[0]
    assert surface.position is not None and np.linalg.norm(surface.position - (0, 1, 0.75)) < 0.5
    info = memory.info()
    assert info["records"] == memory.counts() and info["first_ns"] == 0 and info["last_ns"] == 10**9


def test_batched_equals_looped(memory: EmbodiedMemory) -> None:
    experiences = [*looks(), after(1, "told", "noon", "crate"), after(2, "pick", "picked it up", "crate")]
    memory.write_batch(experiences)
    with EmbodiedMemory(config=CONFIG) as looped:
        for experience in experiences:
            looped.write(experience)
        assert everything(looped) == everything(memory)


def test_a_restart_goes_on_as_if_nothing_had_happened(path: Path) -> None:
    experiences = [*looks(8), after(1, "pick", "picked it up", "crate"), after(2, "place", "put it down", "crate")]
    for experience in experiences:
        with EmbodiedMemory(path, config=CONFIG) as memory:
            memory.write(experience)
    with EmbodiedMemory(path) as memory, EmbodiedMemory(config=CONFIG) as at_once:
        at_once.write_batch(experiences)
        one, other = everything(memory), everything(at_once)
        assert one["bricks"] == other["bricks"]
        assert memory.counts() == at_once.counts()
        assert [r.text for r in memory.episodic.timeline()] == [r.text for r in at_once.episodic.timeline()]
        assert memory.config == CONFIG  # the file keeps its settings
    check_file_indexes(path)


def test_all_or_nothing(memory: EmbodiedMemory) -> None:
    memory.write_batch(looks(3))
    before = everything(memory)
    late = looks(1)[0]
    with pytest.raises(StampError):
        memory.write_batch([after(5, "told", "never kept"), late])
    far = Percept(
        stamp_ns=10**10,
        T_world_sensor=np.array([[1, 0, 0, 1e9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        camera=CAMERA,
        depth=np.ones(CAMERA.shape, np.float32),
        detections=(Detection(label="nowhere", box=np.array([1.0, 1, 50, 50])),),
    )
    with pytest.raises(InvalidInput, match="within"):  # the map refuses it after the others took it
        memory.write_batch([after(6, "told", "never kept"), far])
    assert everything(memory) == before
    assert memory.newest_stamp() == 200_000_000
    memory.write_batch(looks(6)[3:])
    with EmbodiedMemory(config=CONFIG) as unharmed:
        unharmed.write_batch([*looks(3), *looks(6)[3:]])
        assert everything(unharmed)["bricks"] == everything(memory)["bricks"]


def test_readers_beside_the_writer(memory: EmbodiedMemory) -> None:
    """Reads from other threads all the while: none fails, none sees an object without its facts' evidence."""
    errors: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                for item in memory.recall(Query(text="xylophone on the table", near=np.array([0.0, 1.0, 1.0]))):
                    assert item.text
                memory.spatial.octree.stats()
                memory.working.render(50)
                memory.scene.objects(near=np.zeros(3))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for look in looks(8):
        memory.write(look)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    with EmbodiedMemory(config=CONFIG) as alone:
        alone.write_batch(looks(8))
        assert everything(alone)["bricks"] == everything(memory)["bricks"]


def test_the_map_is_made_once(memory: EmbodiedMemory) -> None:
    """Threads that ask for the map at once must get one: what one of them writes into another would be lost."""
    memory.write_batch(looks(2))
    for _ in range(10):
        memory.spatial.reload()
        barrier, got = threading.Barrier(4), []

        def ask(barrier: threading.Barrier = barrier, got: list = got) -> None:
            barrier.wait()
            got.append(memory.spatial.octree)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(octree) for octree in got}) == 1


def test_forgetting_a_thing_takes_all_that_bears_it(memory: EmbodiedMemory, path: Path) -> None:
    memory.write_batch(looks())
    memory.write_batch(
        [
            after(1, "told", f"the {WORD} belongs to ann", WORD),
            after(2, "told", "the book belongs to ben", "book"),
            after(3, "pick", f"picked up the {WORD}", WORD),
        ]
    )
    memory.save()
    assert files_with(path.parent, WORD.encode()) == [path.name]
    assert memory.forget(Query(labels=(WORD,))) > 5
    assert [item.id for item in memory.recall(WORD, 100) if WORD in f"{item.text} {item.label} {item.data}"] == []
    assert WORD not in memory.working.render(10_000)
    assert files_with(path.parent, WORD.encode()) == []
    assert {item.label for item in memory.scene.objects()} == {"table", "crate", "book"}
    assert [r.text for r in memory.episodic.timeline(Query(kinds=("told",)))] == ["the book belongs to ben"]
    memory.close()
    assert files_with(path.parent, WORD.encode()) == []
    check_file_indexes(path)
    with EmbodiedMemory(path) as again:
        assert {item.label for item in again.scene.objects()} == {"table", "crate", "book"}
        for look in looks():  # it can be learnt anew
            again.write(Percept(**{**_fields(look), "stamp_ns": look.stamp_ns + 10**10}))
        assert again.scene.objects(WORD) != []


def _fields(look: Percept) -> dict:
    return {
        name: getattr(look, name) for name in ("stamp_ns", "T_world_sensor", "camera", "depth", "rgb", "detections")
    }


def test_forgetting_what_was_seen_too_seldom_to_be_reported(memory: EmbodiedMemory, path: Path) -> None:
    memory.write_batch(looks(2))  # three sightings make an object
    assert memory.scene.objects() == []
    memory.save()
    assert files_with(path.parent, WORD.encode()) == [path.name]
    memory.forget(Query(labels=(WORD.upper(),)))
    assert files_with(path.parent, WORD.encode()) == []
    memory.write_batch(looks(4)[2:])
    assert memory.scene.objects(WORD) == []  # only two sightings again
    assert memory.scene.objects("crate") != []


def test_forgetting_a_region_makes_it_unknown(memory: EmbodiedMemory) -> None:
    memory.write_batch(looks())
    table = np.array([[-1.0, 0.5, 0.6], [1.0, 1.5, 1.3]])
    middle = np.array([[0.0, 1.0, 0.74]])
    assert memory.spatial.octree.occupancy(middle).tolist() == [1]
    assert memory.forget(Query(within=table)) > 4
    assert memory.scene.objects(within=table) == []
    assert memory.spatial.octree.occupancy(middle).tolist() == [-1]
    assert memory.recall(Query(within=table, kinds=("surface",))) == []
    assert memory.spatial.octree.stats().bricks > 0
    before = everything(memory)["bricks"]
    memory.forget(Query(within=np.array([[-9.0] * 3, [9.0] * 3]), labels=("crate",)))
    assert everything(memory)["bricks"] == before  # a label is no matter of the map


def test_a_query_without_a_filter_forgets_nothing(memory: EmbodiedMemory) -> None:
    memory.write_batch(looks(3))
    before = everything(memory)
    for query in (Query(), Query(near=np.zeros(3)), Query(embedding=np.ones(512)), Query(between_ns=(None, None))):
        with pytest.raises(InvalidInput, match="at least one filter"):
            memory.forget(query)
    assert everything(memory) == before


def test_clear(memory: EmbodiedMemory, path: Path) -> None:
    memory.write_batch([*looks(), after(1, "told", "noon")])
    memory.store.set_state("build", {"name": "x", "frames": 6, "first_ns": 0, "next": 6})
    memory.clear()
    assert memory.counts() == {} and memory.newest_stamp() is None and memory.info()["build"] is None
    assert memory.recall(WORD) == [] and memory.spatial.octree.stats().bricks == 0
    assert files_with(path.parent, WORD.encode()) == []
    memory.write_batch(looks())
    assert memory.scene.objects(WORD) != []


def test_forgetting_within_a_transaction_of_the_caller(memory: EmbodiedMemory, path: Path) -> None:
    memory.write_batch(looks())
    before = everything(memory)
    with pytest.raises(ZeroDivisionError), memory.store.transaction():
        memory.forget(Query(labels=(WORD,)))
        memory.clear()
        raise ZeroDivisionError
    assert everything(memory) == before
    assert memory.scene.objects(WORD) != []
    with memory.store.transaction():
        memory.forget(Query(labels=(WORD,)))
    assert files_with(path.parent, WORD.encode()) == []


def test_state(memory: EmbodiedMemory, path: Path) -> None:
    memory.write_batch([*looks(), after(1, "told", "noon")])
    state = memory.state_dict()
    with EmbodiedMemory(config=CONFIG) as other:
        other.write(after(9, "told", "replaced"))
        other.load_state_dict(state)
        assert everything(other) == everything(memory)
        assert other.newest_stamp() == 10**9
        other.write(after(2, "told", "goes on"))
        with pytest.raises(InvalidInput, match="'file'"):
            other.load_state_dict({})
        before = everything(other)
        with pytest.raises(NotAMemory):
            other.load_state_dict({"file": np.zeros(100, np.uint8)})
        assert everything(other) == before
    coarse = Config(spatial=SpatialConfig(voxel_size_m=0.2, budget_mib=6.852), encoder="hashing")
    with EmbodiedMemory(config=coarse) as other:
        other.write(after(9, "told", "kept"))
        with pytest.raises(ConfigError, match=r"voxel_size_m.*0\.1 m, got 0\.2 m"):
            other.load_state_dict(state)
        assert [r.text for r in other.episodic.timeline()] == ["kept"]
    with pytest.raises(ConfigError, match="voxel_size_m"):
        memory.close()
        EmbodiedMemory(path, config=coarse)
    EmbodiedMemory(path).close()  # the refusal left it closed and whole


def test_a_saved_copy(memory: EmbodiedMemory, path: Path) -> None:
    memory.write_batch([*looks(), after(1, "told", "noon")])
    copy = path.with_name("copy.mem")
    memory.save(copy)
    with EmbodiedMemory(copy, "r") as other:
        assert everything(other) == everything(memory)


def test_modes(memory: EmbodiedMemory, path: Path) -> None:
    memory.write_batch(looks())
    with pytest.raises(MemoryInUse):
        EmbodiedMemory(path)
    with pytest.raises(StoreError, match="it exists"):
        EmbodiedMemory(path, "x")
    with EmbodiedMemory.open(path, "r") as reader:
        assert everything(reader) == everything(memory)
        memory.write(after(1, "told", "written while it is open"))
        assert reader.recall("written while open", 1)[0].text == "written while it is open"
        changes = [
            lambda: reader.write(after(2, "told", "x")),
            lambda: reader.forget(Query(labels=(WORD,))),
            lambda: reader.spatial.forget(Query(near=np.array([0.0, 1.0, 0.7]), radius_m=1.0)),
            reader.clear,
            lambda: reader.load_state_dict(memory.state_dict()),
        ]
        for change in changes:
            with pytest.raises(StoreError):
                change()
        with pytest.raises(ReadOnlyMemory):
            changes[0]()
        assert everything(reader)["bricks"] == everything(memory)["bricks"]
        assert reader.scene.objects(WORD) != []
    memory.close()
    memory.close()
    with pytest.raises(StoreError, match="closed"):
        memory.recall("x")


def test_bad_k(memory: EmbodiedMemory) -> None:
    for k in (0, -3):
        with pytest.raises(InvalidInput, match="k: wanted 1 or more"):
            memory.recall("mug", k)


def test_a_reader_follows_another_writer(path: Path) -> None:
    """Open for reading, the graph, the map and the words take in what is written meanwhile."""
    first, *rest = looks()
    with EmbodiedMemory(path, config=CONFIG) as writer:
        writer.write(first)
        with EmbodiedMemory(path, "r") as reader:
            bricks = reader.spatial.octree.stats().bricks
            assert reader.scene.resolve(WORD) is None and reader.scene.room_of((0.0, 0.0, 0.5)) is None
            writer.write_batch(rest)
            writer.scene.add_room("kitchen", (-2.0, -2.0, 0.0), (2.0, 2.0, 2.5))
            assert reader.scene.resolve(WORD) is not None
            assert reader.scene.room_of((0.0, 0.0, 0.5)) == "kitchen"
            assert reader.spatial.octree.stats().bricks == writer.spatial.octree.stats().bricks >= bricks
            assert reader.recall(WORD)[0].label == WORD


def test_an_exact_match_outranks_what_only_mentions_it(memory: EmbodiedMemory) -> None:
    memory.write_batch(looks())
    best = memory.recall(WORD)[0]
    assert (best.kind, best.label) == ("object", WORD)


def test_a_fact_that_still_holds_is_recalled_for_any_later_time(memory: EmbodiedMemory) -> None:
    memory.semantic.assert_fact("cup", "on", "shelf", valid_from_ns=10)
    memory.semantic.assert_fact("jar", "on", "shelf", valid_from_ns=10)
    memory.semantic.retract("jar", "on", until_ns=20)
    found = memory.recall(Query(labels=("shelf",), kinds=("fact",), between_ns=(500, 600)))
    assert [item.label for item in found] == ["cup"]
    assert memory.recall(Query(labels=("cup",), kinds=("fact",), between_ns=(0, 5))) == []
