"""Associative stores: from any fragment of a pattern to the whole of it, and to what it was written with."""

from embodmem.episodic.associative.hopfield import Hopfield
from embodmem.episodic.associative.sparse import Superposition, willshaw_capacity

__all__ = ["Hopfield", "Superposition", "willshaw_capacity"]
