"""Semantic memory: facts on two time axes, and the claims that they are decided from."""

from embodmem.semantic.facts import Change, Claim, Decision, Fact
from embodmem.semantic.memory import SemanticMemory

__all__ = ["Change", "Claim", "Decision", "Fact", "SemanticMemory"]
