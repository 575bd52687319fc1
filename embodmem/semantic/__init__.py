"""Semantic memory: facts on two time axes, and the claims that they are decided from."""

from embodmem.semantic.facts import Change, Claim, Decision, Fact
from embodmem.semantic.memory import SemanticMemory
from embodmem.semantic.mining import Mined
from embodmem.semantic.preferences import Preference, preference
from embodmem.semantic.routines import Pattern, find_patterns

__all__ = [
    "Change",
    "Claim",
    "Decision",
    "Fact",
    "Mined",
    "Pattern",
    "Preference",
    "SemanticMemory",
    "find_patterns",
    "preference",
]
