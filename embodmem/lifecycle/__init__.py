"""How a memory stays small and true for years: filter, consolidation off the hot path, forgetting, and undo."""

from embodmem.lifecycle.changes import Change, Changes
from embodmem.lifecycle.filter import SensoryFilter
from embodmem.lifecycle.lifecycle import Lifecycle, Report

__all__ = ["Change", "Changes", "Lifecycle", "Report", "SensoryFilter"]
