"""Memory cells and trainers in torch: a memory inside a policy, or a policy that reads the memory beside it."""

from __future__ import annotations

from importlib.util import find_spec

from embodmem.errors import MissingDependency

if find_spec("torch") is None:
    raise MissingDependency("torch", "policies", "embodmem_policies")

from embodmem_policies.cell import MemoryCell, State
from embodmem_policies.make import CELLS, make_cell
from embodmem_policies.scan import linear_scan

__all__ = ["CELLS", "MemoryCell", "State", "linear_scan", "make_cell"]
