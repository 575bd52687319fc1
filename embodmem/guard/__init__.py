"""Whom the memory believes: trust in sources, quarantine, and an order of answers that no source can flood."""

from embodmem.guard.guard import Guard, Quarantined
from embodmem.guard.order import guarded
from embodmem.guard.trust import Standing

__all__ = ["Guard", "Quarantined", "Standing", "guarded"]
