"""A retriever as LangChain knows them: `invoke(query)` gives documents.

With langchain-core installed, `retriever` gives a `BaseRetriever`, which goes into chains; without it an object with
the same calls. Neither langchain-core nor anything of it is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.index.memory import as_query
from embodmem.types import Query, Recall

__all__ = ["Document", "MemoryRetriever", "retriever"]


@dataclass(slots=True)
class Document:
    """What LangChain's `Document` holds.

    Attributes:
        page_content: The text.
        metadata: What else is known of it, plain values.
        id: Its id in the memory.
    """

    page_content: str
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


def metadata_of(item: Recall) -> dict[str, Any]:
    """What a document says of a recall beside its text: plain values."""
    return {
        "id": item.id,
        "kind": item.kind,
        "label": item.label,
        "position": None if item.position is None else [float(x) for x in item.position],
        "first_seen_ns": item.first_seen_ns,
        "last_seen_ns": item.last_seen_ns,
        "score": item.score,
        "evidence": list(item.evidence),
        "why": dict(item.why),
    }


class MemoryRetriever:
    """Finds what fits a text, within filters that always hold.

    Args:
        memory: Where it looks.
        k: At most so many documents.
        within: A query whose filters (kinds, labels, time, place, agent) always hold; its text is replaced.
    """

    def __init__(self, memory: EmbodiedMemory, k: int = 5, within: Query | None = None) -> None:
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        self.memory, self.k, self.within = memory, k, within or Query()

    def recall(self, text: str) -> list[Recall]:
        """The recalls behind the documents, best first.

        Raises:
            InvalidInput: The text is none.
        """
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(f"query: wanted words, got {text!r}")
        filters = {name: getattr(self.within, name) for name in Query.__dataclass_fields__}
        return self.memory.recall(Query(**{**filters, "text": as_query(text).text, "embedding": None}), self.k)

    def invoke(self, input: str, config: Any = None, **kwargs: Any) -> list[Document]:
        """The k documents that fit best; `config` and what else LangChain passes play no part here."""
        return [Document(item.text or item.label, metadata_of(item), item.id) for item in self.recall(input)]

    async def ainvoke(self, input: str, config: Any = None, **kwargs: Any) -> list[Document]:
        """`invoke` in a thread."""
        return await asyncio.to_thread(self.invoke, input, config, **kwargs)

    def batch(self, inputs: Sequence[str], config: Any = None, **kwargs: Any) -> list[list[Document]]:
        """`invoke` for each text."""
        return [self.invoke(text, config, **kwargs) for text in inputs]


def retriever(memory: EmbodiedMemory, k: int = 5, within: Query | None = None) -> Any:
    """A LangChain `BaseRetriever` over a memory; where langchain-core is not installed, a `MemoryRetriever`.

    Args:
        memory: Where it looks.
        k: At most so many documents.
        within: A query whose filters always hold.

    Raises:
        InvalidInput: k is below 1.
    """
    plain = MemoryRetriever(memory, k, within)
    try:
        from embodmem.facades.langchain import LangChainRetriever
    except ImportError:
        return plain
    return LangChainRetriever(plain=plain)
