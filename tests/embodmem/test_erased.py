"""What is forgotten leaves the caches in RAM, too: no string of this process says it any more."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from embodmem import EmbodiedMemory, Event, Query
from embodmem.config import Config, LifecycleConfig
from embodmem.encoders import HashingEncoder
from embodmem.guard.order import is_alike, stems
from embodmem.lifecycle import Lifecycle

S = 10**9
FIRST, SECOND = "quo", "xalotl"
"""Only put together at run time: the whole word stands nowhere but in what the memory was told."""


def secret() -> str:
    return "".join((FIRST, SECOND))


class Words(HashingEncoder):
    """A vector for each word by itself."""

    def encode_words(self, texts: list[str]) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        made = []
        for text in texts:
            ends = np.cumsum([len(word) + 1 for word in text.split()])
            places = np.stack([ends - [len(word) + 1 for word in text.split()], ends - 1], axis=1)
            made.append((places, self.encode(text.split()).reshape(-1, self.dim)))
        return made


def said() -> list[str]:
    """Strings of this process that hold the word."""
    gc.collect()
    seen, found = set[int](), list[str]()
    for holder in gc.get_objects():
        for one in gc.get_referents(holder):
            if isinstance(one, str) and id(one) not in seen and FIRST in one and SECOND in one:
                seen.add(id(one))
                if one.find(FIRST) + len(FIRST) == one.find(SECOND):
                    found.append(one)
    return found


def live(memory: EmbodiedMemory, life: Lifecycle) -> None:
    """Tell it something that holds the word, and ask it in ways that hold texts."""
    texts = [f"the key of the {secret()} is in the drawer", f"{secret()} sits here", "the lamp is on the table"]
    for second, text in enumerate([*texts, texts[1]]):
        life.write(Event(stamp_ns=second * S, kind="told", text=text, source="user"))
    for question in ("where is the key in the drawer?", "what sits here?", "the lamp on a table"):
        assert memory.recall(question, 5)
    assert said()


def forget(memory: EmbodiedMemory) -> int:
    return memory.forget(Query(text=secret()))


def purge(memory: EmbodiedMemory) -> int:
    return memory.purge("user")


def clear(memory: EmbodiedMemory) -> int:
    memory.clear()
    return 2


@pytest.mark.parametrize("how", [forget, purge, clear])
def test_no_cache_holds_what_was_forgotten(how: Callable[[EmbodiedMemory], int]) -> None:
    with EmbodiedMemory(config=Config(lifecycle=LifecycleConfig(repeat_s=10.0)), encoder=Words(64)) as memory:
        life = Lifecycle(memory)
        live(memory, life)
        assert how(memory) >= 2
        assert said() == []
        if how is forget:
            assert memory.recall("the lamp on a table", 5)[0].text == "the lamp is on the table"


def test_what_went_on_is_new_after_it_was_forgotten() -> None:
    with EmbodiedMemory(config=Config(lifecycle=LifecycleConfig(repeat_s=10.0))) as memory:
        life = Lifecycle(memory)
        event = Event(stamp_ns=S, kind="state", text="the door is open")
        assert life.write(event)
        assert not life.write(Event(stamp_ns=2 * S, kind="state", text="the door is open"))
        memory.forget(Query(text="door"))
        assert life.write(Event(stamp_ns=3 * S, kind="state", text="the door is open"))
        assert [item.text for item in memory.recall("door")] == ["the door is open"]


def test_what_is_left_is_counted_on_through_a_forgetting() -> None:
    with EmbodiedMemory(config=Config(lifecycle=LifecycleConfig(repeat_s=10.0))) as memory:
        life = Lifecycle(memory)
        for second in range(5):
            life.write(Event(stamp_ns=second * S, kind="state", text="the lamp burns"))
        life.write(Event(stamp_ns=5 * S, kind="told", text="the key is in the drawer"))
        memory.forget(Query(text="drawer"))
        (left,) = memory.episodic.timeline()
        assert (left.data["count"], left.last_seen_ns) == (5, 4 * S)


def test_stems_are_the_same_after_they_were_let_go() -> None:
    with EmbodiedMemory() as memory:
        memory.write(Event(stamp_ns=1, kind="told", text="two mugs were washed"))
        before = stems("two mugs were washed")
        memory.forget(Query(text="mugs"))
        assert is_alike(before, stems("two mugs were washed"), 1.0)
