"""Every memory keeps the contract that is shipped as `embodmem.testing.check_memory`, and the contract finds faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from embodmem.config import Config, ProceduralConfig, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.encoders import HashingEncoder
from embodmem.episodic import EpisodicMemory
from embodmem.index import RecordMemory, Records
from embodmem.procedural import ProceduralMemory
from embodmem.semantic import SemanticMemory
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.scene.memory import SceneMemory
from embodmem.store import Store
from embodmem.testing import check_memory
from embodmem.types import Event, Memory, Percept, Query, Recall
from embodmem.working import WorkingMemory

SMALL = SpatialConfig(voxel_size_m=0.1, budget_mib=6.852)


class Memories:
    """Makes memories, each over a fresh temporary file, and closes the files."""

    def __init__(self) -> None:
        self.stores: list[Store] = []

    def records(self) -> Records:
        self.stores.append(Store())
        return Records(self.stores[-1], HashingEncoder())

    def embodied(self) -> EmbodiedMemory:
        memory = EmbodiedMemory(config=Config(spatial=SMALL, encoder="hashing"))
        self.stores.append(memory.store)
        return memory


IMPLEMENTATIONS: dict[str, Callable[[Memories], Memory]] = {
    "spatial": lambda made: SpatialMemory(made.records().store, SMALL),
    "scene": lambda made: SceneMemory(made.records()),
    "episodic": lambda made: EpisodicMemory(made.records()),
    "semantic": lambda made: SemanticMemory(made.records()),
    "procedural": lambda made: ProceduralMemory(made.records(), ProceduralConfig(events=("told", "pick"))),
    "working": lambda made: WorkingMemory(made.records()),
    "embodied": Memories.embodied,
}


@pytest.fixture
def made() -> Iterator[Memories]:
    memories = Memories()
    yield memories
    for store in memories.stores:
        store.close()


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_contract(name: str, made: Memories) -> None:
    check_memory(lambda: IMPLEMENTATIONS[name](made))


class Wrapped:
    """An episodic memory, to be broken in one place."""

    def __init__(self, inner: EpisodicMemory) -> None:
        self.inner = inner

    def write(self, experience: Percept | Event) -> None:
        self.inner.write(experience)

    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        return self.inner.recall(query, k)

    def forget(self, query: Query) -> int:
        return self.inner.forget(query)

    def clear(self) -> None:
        self.inner.clear()

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)


class AnyOrder(Wrapped):
    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        return self.inner.recall(query, k)[::-1]


class TooMany(Wrapped):
    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        return self.inner.recall(query, k + 1 if k > 0 else k)


class FiltersAfterwards(Wrapped):
    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        if isinstance(query, Query) and query.between_ns:
            query = replace(query, between_ns=None)
        return self.inner.recall(query, k)


class TakesOldStamps(Wrapped):
    def write(self, experience: Percept | Event) -> None:
        with self.inner.store.transaction() as db:
            self.inner.apply(experience)
            db.execute("DELETE FROM stamp")


class HalfRefuses(Wrapped):
    def write(self, experience: Percept | Event) -> None:
        if isinstance(experience, Event):
            self.inner.apply(experience)
            self.inner.store.advance(self.inner.name, experience.agent, experience.stamp_ns)
        else:
            self.inner.write(experience)


class ForgetsTooLittle(Wrapped):
    def forget(self, query: Query) -> int:
        numbers = self.inner.records.match(query, self.inner.kinds)
        self.inner.remove(numbers[:-1])
        return len(numbers)


class ForgetsTooMuch(Wrapped):
    def forget(self, query: Query) -> int:
        gone = self.inner.forget(query)
        if query.agent == "cleo":
            return gone
        return gone + self.inner.forget(Query(kinds=("event",)))


class KeepsOnClear(Wrapped):
    def clear(self) -> None:
        self.inner.forget(Query(kinds=("keyframe",)))


class LosesStamps(Wrapped):
    def state_dict(self) -> dict[str, Any]:
        return {**self.inner.state_dict(), "stamps": {}}


class ChangesWhenAsked(Wrapped):
    asked = 0

    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        self.asked += 1
        return [replace(item, score=item.score + self.asked) for item in self.inner.recall(query, k)]


@pytest.mark.parametrize("broken", Wrapped.__subclasses__(), ids=lambda kind: kind.__name__)
def test_the_contract_finds_what_is_broken(broken: type[Wrapped], made: Memories) -> None:
    with pytest.raises(AssertionError):
        check_memory(lambda: broken(EpisodicMemory(made.records())))


def test_the_contract_passes_what_is_whole(made: Memories) -> None:
    check_memory(lambda: Wrapped(EpisodicMemory(made.records())))


def test_a_record_memory_says_how_it_writes(made: Memories) -> None:
    class Silent(RecordMemory):
        kinds = ("silent",)

    with pytest.raises(TypeError, match="Silent does not say"):
        Silent(made.records()).write(Event(stamp_ns=1, kind="told", text="x"))
