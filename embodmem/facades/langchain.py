"""The retriever as a subclass of LangChain's own; importing this module needs langchain-core."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from embodmem.facades.retriever import MemoryRetriever, metadata_of

__all__ = ["LangChainRetriever"]


class LangChainRetriever(BaseRetriever):
    """A LangChain retriever over a memory; `embodmem.facades.retriever` makes one.

    Attributes:
        plain: What looks things up.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    plain: MemoryRetriever

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return [
            Document(page_content=item.text or item.label, metadata=metadata_of(item), id=item.id)
            for item in self.plain.recall(query)
        ]
