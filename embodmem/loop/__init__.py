"""A closed planner loop over a memory: propose, check, act, observe, write, and break out of loops (docs/loop.md)."""

from embodmem.loop.breaker import Breaker
from embodmem.loop.critic import FETCH_RULES, Critic, Verb
from embodmem.loop.fetch import Fetch, FetchPlanner
from embodmem.loop.loop import LoopConfig, LoopResult, Turn, run_loop
from embodmem.loop.situation import Situation, Thing, read_situation
from embodmem.loop.types import Body, GiveUp, HasSubgoals, Outcome, Planner, Step

__all__ = [
    "FETCH_RULES",
    "Body",
    "Breaker",
    "Critic",
    "Fetch",
    "FetchPlanner",
    "GiveUp",
    "HasSubgoals",
    "LoopConfig",
    "LoopResult",
    "Outcome",
    "Planner",
    "Situation",
    "Step",
    "Thing",
    "Turn",
    "Verb",
    "read_situation",
    "run_loop",
]
