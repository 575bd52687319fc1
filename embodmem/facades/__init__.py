"""A memory behind the interfaces of others, for those who come from them."""

from embodmem.facades.remembr import MemoryItem, RemembrMemory
from embodmem.facades.retriever import Document, MemoryRetriever, retriever

__all__ = ["Document", "MemoryItem", "MemoryRetriever", "RemembrMemory", "retriever"]
