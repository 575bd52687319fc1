"""Settings of how answers are ranked."""

from __future__ import annotations

from dataclasses import dataclass

from embodmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """The indexes of records (`embodmem.index`)."""

    approximate_above: int = 0
    """From more records than this on, a search by meaning may ask an approximate index, which is held in RAM (the extra
    `ann`); filters stay exact, and so do narrow searches. 0: never, every answer is exact."""

    def __post_init__(self) -> None:
        if self.approximate_above < 0:
            raise ConfigError(f"index.approximate_above: wanted 0 or more, got {self.approximate_above}")


@dataclass(frozen=True, kw_only=True)
class RecallConfig:
    """How records are ranked (`embodmem.index`)."""

    neighbour: float = 0.1
    """Part of its neighbours' scores that an event gets for standing beside them in time."""
    episode: float = 0.2
    """What the words of the whole stretch of events count, beside words and meaning, which together count 1."""
    episode_gap_s: float = 1800.0
    """Events with more than this between them belong to different stretches, seconds."""
    links: float = 0.1
    """What bearing the names of the query counts, or resting on a first answer, beside words and meaning."""
    spread: float = 0.1
    """What activation counts that spreads from the names of the query over facts and what they rest on."""
    moment: float = 0.5
    """What it counts to be there at the moment that a query is around; less by `moment_scale_s`."""
    moment_scale_s: float = 3600.0
    """So many seconds from that moment, half of it is left."""
    late: str = "always"
    """When the first answers are ranked again word by word: "never", "unsure" (the first is not ahead of the second by
    `sure_margin`) or "always". It takes an encoder with vectors of words (MiniLM). What was written with "never", or
    by an older version, is encoded anew when it is among the first, until `records.encode_texts()`."""
    late_depth: int = 30
    """How many of the first answers are ranked again."""
    sure_margin: float = 0.1
    """An answer is sure when it is ahead of the next by this part of its score."""

    max_hops: int = 0
    """How often recall asks again with what the first answers name, when they are not enough: none of them holds a word
    of the question, or none is ahead by `sure_margin`. Each hop costs a recall."""
    hop_weight: float = 0.5
    """What the answers of a hop count beside those of the one before."""
    not_known_below: float = 0.0
    """0..1: recall by words answers [] when no answer has more for it than this, its cosine, the part of the
    question's words that it holds (rare ones count more), or of the names that it bears."""
    rerank_depth: int = 20
    """How many of the first answers a reranker sees, where one is set."""

    def __post_init__(self) -> None:
        if self.late not in ("never", "unsure", "always"):
            raise ConfigError(f"recall.late: wanted 'never', 'unsure' or 'always', got {self.late!r}")
        numbers = (
            self.neighbour,
            self.episode,
            self.episode_gap_s,
            self.sure_margin,
            self.links,
            self.spread,
            self.moment,
        )
        if not all(0 <= value < float("inf") for value in numbers) or self.late_depth < 2:
            raise ConfigError(f"recall: wanted numbers >= 0 and late_depth >= 2, got {self}")
        if not 0 < self.moment_scale_s < float("inf"):
            raise ConfigError(f"recall.moment_scale_s: wanted seconds above 0, got {self.moment_scale_s}")
        if self.max_hops < 0 or self.rerank_depth < 1:
            raise ConfigError(f"recall: wanted max_hops >= 0 and rerank_depth >= 1, got {self}")
        if not (0 <= self.hop_weight <= 1 and 0 <= self.not_known_below <= 1):
            raise ConfigError(f"recall: wanted hop_weight and not_known_below in 0..1, got {self}")
