"""A view of a shared memory for a role (Intrinsic Memory Agents, Yuen et al., 2025): what it may see, who writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.index.memory import as_query
from embodmem.types import Event, Percept, Query, Recall


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Role:
    """What a role is about; a field left empty is open.

    Attributes:
        name: The agent under whose name it writes.
        kinds: Kinds of records, and of events, that it sees.
        labels: Labels that it is about.
        sources: Sources that it listens to.
        within: (2, 3) lower and upper corner of its part of the world, metres.
    """

    name: str
    kinds: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    within: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InvalidInput("role: wanted a name, got an empty one")


class RoleView:
    """Reads a shared memory as far as a role goes, and writes to it in the role's name.

    Args:
        memory: Shared by all roles.
        role: Of whoever holds this view.
    """

    def __init__(self, memory: EmbodiedMemory, role: Role) -> None:
        self.memory, self.role = memory, role

    def write(self, experience: Percept | Event) -> None:
        """Write it as this agent's.

        Raises:
            InvalidInput: It bears another agent's name.
        """
        if experience.agent not in ("", self.role.name):
            raise InvalidInput(f"role {self.role.name!r}: wanted its own name or none, got {experience.agent!r}")
        self.memory.write(replace(experience, agent=self.role.name))

    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        """What passes the filters of the query and of the role."""
        narrowed = self.narrow(as_query(query))
        return [] if narrowed is None else self.memory.recall(narrowed, k)

    def narrow(self, query: Query) -> Query | None:
        """The query with the filters of the role; None when nothing can pass both."""
        role, made = self.role, dict[str, Any]()
        for name in ("kinds", "labels", "sources"):
            wanted, allowed = getattr(query, name), getattr(role, name)
            fold = {value.lower() for value in allowed} if name == "labels" else set(allowed)
            made[name] = (
                tuple(v for v in wanted if (v.lower() if name == "labels" else v) in fold) if wanted else allowed
            )
            if not allowed:
                made[name] = wanted
            elif not made[name]:
                return None
        within = query.within if role.within is None else role.within
        if role.within is not None and query.within is not None:
            within = np.array(
                [np.maximum(role.within[0], query.within[0]), np.minimum(role.within[1], query.within[1])]
            )
            if (within[1] < within[0]).any():
                return None
        return replace(query, within=within, **made)
