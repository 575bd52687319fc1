"""Settings of what an agent has in mind, can do and keeps: working and procedural memory, lifecycle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embodmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class WorkingConfig:
    """Recent context (`embodmem.working`)."""

    max_items: int = 64
    """Items kept, pins included."""
    max_bytes: int = 65536
    """Bytes of UTF-8 that all items may take, a newline between two."""
    max_tokens: int = 16384
    """Tokens that all items may take, as one text."""
    half_life_s: float = 300.0
    """An item that is older by so much than another, seconds, has to be twice as salient to stay in its place."""
    sinks: int = 0
    """So many first items of the task at hand (of the whole context, where there is no task) go last but pins."""
    summary_actions: int = 6
    """Actions that the summary of a subgoal names, the first and the last ones."""

    def __post_init__(self) -> None:
        for name in ("max_items", "max_bytes", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"working: wanted {name} of 1 or more, got {getattr(self, name)}")
        if not 0 < self.half_life_s < math.inf or self.sinks < 0 or self.summary_actions < 1:
            raise ConfigError(
                "working: wanted half_life_s > 0, sinks >= 0 and summary_actions >= 1, got "
                f"{self.half_life_s}, {self.sinks} and {self.summary_actions}"
            )


@dataclass(frozen=True, kw_only=True)
class LifecycleConfig:
    """How a memory stays small and true (`embodmem.lifecycle`)."""

    repeat_s: float = 10.0
    """An event that says the same as one of so long before goes on with it and is not stored, seconds. 0: all are."""
    max_runs: int = 4096
    """Events that are followed at once to see whether they go on."""
    settle_s: float = 3600.0
    """Only what is older is consolidated, seconds."""
    merge_alike: float = 0.9
    """Events that follow each other and share this part of their words become one."""
    merge_pause_s: float = 600.0
    """And are not farther apart than this, seconds."""
    merge_distance_m: float = 1.0
    """Nor this, metres."""
    half_life_s: float = 0.0
    """Retention of what was never recalled halves in this time, seconds. 0: nothing fades."""
    forget_below: float = 0.05
    """What is retained less than this is forgotten."""
    significant: tuple[str, ...] = ("told", "task")
    """Kinds of events that are remembered for longer, as is what earned a reward."""
    significance: float = 8.0
    """How many times longer."""
    trial_s: float = 0.0
    """After this time, seconds, an event is weighed by what the last questions lose without it. 0: all are admitted."""
    admit_from: float = 0.02
    """The weight from which on it is admitted, in 0..1; of what is lighter only the trial is kept."""
    novelty_weight: float = 0.05
    """Weight of what says something new though nobody asked."""
    questions: int = 32
    """So many last questions are asked again."""
    min_questions: int = 4
    """Nothing is weighed before so many were asked."""
    vector_half_life_s: float = 0.0
    """The same for vectors, which lose bits with it, seconds. 0: they stay as they are."""
    vector_bits: tuple[tuple[float, int], ...] = ((0.5, 8), (0.25, 4), (0.1, 2))
    """Below this retention, so many bits (8, 4 or 2) are left of each component's 32."""
    budget_mib: float = 0.0
    """Bytes of the file that may be in use, MiB; what is retained least goes first. 0: any."""
    undo_s: float = 604800.0
    """For how long a change can be taken back, seconds; until then it frees no bytes."""

    def __post_init__(self) -> None:
        spans = (self.repeat_s, self.settle_s, self.merge_pause_s, self.merge_distance_m, self.half_life_s, self.undo_s)
        if not all(0.0 <= span < 1e10 for span in (*spans, self.budget_mib)):
            raise ConfigError(f"lifecycle: wanted spans and budget_mib from 0 to 1e10, got {self}")
        weights = (self.admit_from, self.novelty_weight)
        if not all(0.0 <= weight <= 1.0 for weight in weights) or not 1 <= self.min_questions <= self.questions:
            raise ConfigError(
                "lifecycle: wanted admit_from and novelty_weight in 0..1 and 1 <= min_questions <= questions, got "
                f"{weights}, {self.min_questions} and {self.questions}"
            )
        if not 0.0 <= self.trial_s < 1e10:
            raise ConfigError(f"lifecycle: wanted trial_s from 0 to 1e10, got {self.trial_s}")
        if not self.vector_half_life_s < 1e10 or self.vector_half_life_s < 0:
            raise ConfigError(f"lifecycle: wanted vector_half_life_s from 0 to 1e10, got {self.vector_half_life_s}")
        steps = sorted(self.vector_bits, reverse=True)
        if [bits for _, bits in steps] != sorted({bits for _, bits in steps}, reverse=True) or not all(
            0.0 <= below <= 1.0 and bits in (8, 4, 2) for below, bits in steps
        ):
            raise ConfigError(
                f"lifecycle: wanted vector_bits as pairs of a retention in 0..1 and 8, 4 or 2 bits, fewer bits for "
                f"less, got {self.vector_bits}"
            )
        shares = (self.merge_alike, self.forget_below)
        if not all(0.0 <= share <= 1.0 for share in shares) or self.max_runs < 1 or not self.significance > 0:
            raise ConfigError(
                "lifecycle: wanted merge_alike and forget_below in 0..1, max_runs >= 1 and significance > 0, got "
                f"{self.merge_alike}, {self.forget_below}, {self.max_runs} and {self.significance}"
            )


@dataclass(frozen=True, kw_only=True)
class ProceduralConfig:
    """Experiences and skills (`embodmem.procedural`)."""

    events: tuple[str, ...] = ("task",)
    """Kinds of events that are attempts at a task: their text is the task, their outcome says how it went."""
    failure_words: tuple[str, ...] = ("fail", "failed", "failure", "dropped", "aborted", "stuck", "lost", "no")
    """An outcome with one of these words is a failure, unless a reward says otherwise."""
    perception_words: tuple[str, ...] = (
        "seen", "see", "visible", "found", "find", "recognised", "recognized", "mistook", "mistaken", "confused",
        "detected", "occluded", "hidden", "dark", "blurred", "there",
    )  # fmt: skip
    """An error with one of these words is one of perception, else one of logic."""
    min_successes: int = 3
    """Successes that a skill is distilled from, at least."""
    min_overlap: float = 0.6
    """Part of the longest plan that plans have to share to make one skill of their common steps, 0..1."""
    credible: float = 0.9
    """Probability that a skill's rate of success lies between its bounds, 0..1."""
    prior: float = 0.5
    """Both parameters of the Beta prior of a rate of success; 0.5 is Jeffreys', 1 is flat."""
    use_discount: float = 0.95
    """Each later use of a skill makes the earlier ones count by this factor; 1: all count alike."""
    deprecate_below: float = 0.5
    """A skill is deprecated when the upper bound of its rate of success falls below this, 0..1."""
    kernel_width: float = 0.12
    """Width h of the kernel between states: smaller lets rewards speak for more alike states only."""
    prior_value: float = 0.0
    """What a case is expected to earn where nothing is known."""
    prior_weight: float = 0.02
    """How many uses in the very same state that expectation is worth, > 0: small, since no state comes twice."""
    same_state: float = 0.95
    """States with a kernel of at least this are one state, whose value is rewritten, 0..1."""
    value_memory: int = 10
    """Uses in one state after which a value forgets the first ones."""
    temperature: float = 0.1
    """Of the choice among cases: probabilities go as exp(value / temperature)."""
    min_support: float = 0.5
    """Part of the weight of the retrieved cases that a change of a plan needs, 0..1."""

    def __post_init__(self) -> None:
        shares = ("min_overlap", "credible", "use_discount", "deprecate_below", "same_state", "min_support")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"procedural.{name}: wanted a number in 0..1, got {getattr(self, name)}")
        if not 0 < self.credible < 1 or not self.use_discount > 0:
            raise ConfigError(
                f"procedural: wanted 0 < credible < 1 and use_discount > 0, got {self.credible} and {self.use_discount}"
            )
        for name in ("prior", "kernel_width", "prior_weight", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"procedural.{name}: wanted a number > 0, got {getattr(self, name)}")
        if self.min_successes < 1 or self.value_memory < 1:
            raise ConfigError(
                "procedural: wanted min_successes and value_memory of 1 or more, got "
                f"{self.min_successes} and {self.value_memory}"
            )
