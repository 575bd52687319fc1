"""One memory is one crash-safe SQLite file."""

from embodmem.store.store import Store

__all__ = ["Store"]
