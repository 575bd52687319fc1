"""The retriever, with the real langchain-core and without it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator

import pytest

from embodmem.config import Config
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.facades import MemoryRetriever, retriever
from embodmem.types import Event, Query

KEYS = "the spare keys are in the blue box"


@pytest.fixture
def memory() -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory(config=Config(encoder="hashing")) as made:
        made.write(Event(stamp_ns=1, kind="told", text=KEYS, source="user"))
        made.write(Event(stamp_ns=2, kind="go", text="went to the kitchen to look for the keys"))
        made.write(Event(stamp_ns=3, kind="told", text="Anna likes tea"))
        yield made


def test_without_langchain(memory: EmbodiedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    for name in [n for n in sys.modules if n.startswith("langchain_core.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "embodmem.facades.langchain", raising=False)
    made = retriever(memory, k=2)
    assert type(made) is MemoryRetriever
    found = made.invoke("spare keys")
    assert found[0].page_content == KEYS and found[0].id == found[0].metadata["id"]
    assert json.loads(json.dumps(found[0].metadata)) == found[0].metadata
    assert asyncio.run(made.ainvoke("spare keys")) == found
    assert made.batch(["spare keys", "tea"])[0] == found


def test_with_langchain(memory: EmbodiedMemory) -> None:
    pytest.importorskip("langchain_core", reason="langchain-core is what this is tested against; the extra dev has it")
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableLambda

    made = retriever(memory, k=2)
    assert isinstance(made, BaseRetriever)
    found = made.invoke("spare keys")
    assert all(isinstance(item, Document) for item in found) and len(found) <= 2
    assert found[0].page_content == KEYS and found[0].id == found[0].metadata["id"]
    plain = MemoryRetriever(memory, k=2).invoke("spare keys")
    assert [(d.page_content, d.metadata, d.id) for d in found] == [(d.page_content, d.metadata, d.id) for d in plain]
    assert asyncio.run(made.ainvoke("spare keys")) == found
    assert made.batch(["spare keys", "tea"])[1][0].page_content == "Anna likes tea"
    chain = made | RunnableLambda(lambda documents: documents[0].page_content)
    assert chain.invoke("spare keys") == KEYS
    with pytest.raises(InvalidInput, match="query: wanted words"):
        made.invoke(" ")


def test_filters_always_hold(memory: EmbodiedMemory) -> None:
    told = MemoryRetriever(memory, within=Query(kinds=("told",), between_ns=(None, 2)))
    assert [document.page_content for document in told.invoke("keys tea kitchen")] == [KEYS]
    assert MemoryRetriever(memory, within=Query(labels=("piano",))).invoke("keys") == []


@pytest.mark.parametrize("text", ["", "  ", None, 3])
def test_texts_that_are_refused(memory: EmbodiedMemory, text: object) -> None:
    with pytest.raises(InvalidInput, match="query: wanted words"):
        MemoryRetriever(memory).invoke(text)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="k: wanted 1 or more"):
        retriever(memory, k=0)
