"""The settings of the semantic memory: the rules that decide about claims, and what is mined from repetition."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from embodmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RelationRule:
    """What is known of one relation, beside how many objects it has at a time (`SemanticConfig.relations`)."""

    min_confidence: float = 0.0
    """Claims below this confidence are rejected."""
    keeps: str = "newest"
    """Which of two claims that contradict each other is believed: "newest" the one told last, "strongest" the one of
    more weight (confidence times trust in its source), and of equal weight the one told last."""
    inverse_of: str = ""
    """The relation that says the same the other way round: "holds" is the inverse of "held by". Kept as that one."""
    symmetric: bool = False
    """Whether it holds both ways ("next to"). It is kept once."""
    transitive: bool = False
    """Whether it reaches on: what is in the box that is in the kitchen is in the kitchen (`reach`)."""

    def __post_init__(self) -> None:
        if self.keeps not in ("newest", "strongest"):
            near = difflib.get_close_matches(str(self.keeps), ("newest", "strongest"), n=1, cutoff=0.0)
            raise ConfigError(
                f"relation: wanted keeps 'newest' or 'strongest', got {self.keeps!r}; perhaps {near[0]!r}"
            )
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ConfigError(f"semantic.relations: wanted min_confidence in 0..1, got {self.min_confidence}")
        if self.inverse_of and self.symmetric:
            raise ConfigError("semantic.relations: wanted inverse_of or symmetric, got both")


@dataclass(frozen=True, kw_only=True)
class RoutineConfig:
    """What is mined from repetition (`embodmem.semantic.routines`, `embodmem.semantic.preferences`)."""

    utc_offset_s: int = 0
    """Local time minus UTC, seconds; stamps are ns of UTC."""
    window_days: int = 56
    """Only what was so many days ago, or less, counts."""
    min_days: int = 5
    """A routine was there on at least so many days."""
    min_share: float = 0.6
    """And on at least this part of the days that could have shown it."""
    alpha: float = 0.01
    """Largest probability, after Holm's correction, that chance alone gives what was seen."""
    choices: tuple[str, ...] = ("chose",)
    """Relations whose objects are choices, from which preferences are mined."""
    long_share: float = 0.05
    """Step of the long-term average of a preference (exponential moving average)."""
    window: int = 8
    """Choices in the short-term average of a preference (sliding window)."""
    parted: float = 0.4
    """A preference has changed when its two averages are this far apart."""

    def __post_init__(self) -> None:
        if abs(self.utc_offset_s) > 86400 or not 2 <= self.min_days <= self.window_days <= 3660 or self.window < 1:
            raise ConfigError(
                "semantic.routines: wanted utc_offset_s within a day, 2 <= min_days <= window_days <= 3660 and "
                f"window >= 1, got {self.utc_offset_s}, {self.min_days}, {self.window_days} and {self.window}"
            )
        shares = (self.min_share, self.alpha, self.long_share, self.parted)
        if not all(0.0 < share <= 1.0 for share in shares):
            names = "min_share, alpha, long_share and parted"
            raise ConfigError(f"semantic.routines: wanted {names} in 0..1, got {shares}")


@dataclass(frozen=True, kw_only=True)
class SemanticConfig:
    """Facts (`embodmem.semantic`)."""

    single_valued: tuple[str, ...] = ("on", "in", "at", "held by")
    """Relations of which a subject has one at a time: a new object supersedes the old one."""
    exclusive: tuple[tuple[str, ...], ...] = (("on", "in", "held by"),)
    """Groups of relations of which only one can hold at a time: what is in the drawer is on the desk no more."""
    regions: tuple[str, ...] = (
        "kitchen", "bedroom", "bathroom", "living room", "dining room", "hall", "hallway", "corridor", "office",
        "study", "cellar", "basement", "attic", "garage", "garden", "balcony", "room", "house", "home", "building",
    )  # fmt: skip
    """Objects that are regions, beside the rooms of the scene: what is in one of them may also be on or held by
    something there."""
    relations: dict[str, RelationRule] = field(default_factory=dict)
    """What else is known of relations, by name."""
    trust: dict[str, float] = field(default_factory=dict)
    """Trust in sources by name, 0..1; one that is not named has 1."""
    routines: RoutineConfig = field(default_factory=RoutineConfig)

    def __post_init__(self) -> None:
        for name, trust in self.trust.items():
            if not 0.0 <= trust <= 1.0:
                raise ConfigError(f"semantic.trust: wanted 0..1, got {trust} for {name!r}")
        for name, rule in self.relations.items():
            if rule.symmetric and (name in self.single_valued or any(name in group for group in self.exclusive)):
                raise ConfigError(
                    f"semantic.relations: {name!r} is symmetric; wanted it neither single-valued nor exclusive"
                )
            if self.relations.get(rule.inverse_of, RelationRule()).inverse_of:
                raise ConfigError(
                    f"semantic.relations: {name!r} is the inverse of {rule.inverse_of!r}, which is an inverse itself"
                )
