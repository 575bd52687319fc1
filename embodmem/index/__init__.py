"""Records with their time, place, word and vector indexes, and the fusion of ranks."""

from embodmem.index.memory import RecordMemory
from embodmem.index.ranking import fuse
from embodmem.index.records import Record, Records

__all__ = ["Record", "RecordMemory", "Records", "fuse"]
