"""Several agents and one memory: two memories become one, tiers of what was learnt, views for a role."""

from embodmem.agents.merge import Merged, merge
from embodmem.agents.roles import Role, RoleView
from embodmem.agents.tiers import Tier, Tiers

__all__ = ["Merged", "Role", "RoleView", "Tier", "Tiers", "merge"]
