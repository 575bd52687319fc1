"""What somebody prefers, of choices that drift: PAMU's short and long averages, and when they part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodmem.config import RoutineConfig


@dataclass(frozen=True, slots=True)
class Preference:
    """How often each option is chosen.

    Attributes:
        short: Option -> share of the last `window` choices (sliding window).
        long: Option -> share by an exponential moving average over all choices.
        fused: The mean of both.
        parted: How far the two are apart: total variation, 0..1.
        changed: Whether that is as far as `RoutineConfig.parted`: short-term habit has left the long-term one.
    """

    short: dict[str, float]
    long: dict[str, float]
    fused: dict[str, float]
    parted: float
    changed: bool

    @property
    def best(self) -> str:
        """What is preferred: by the short average where it has left the long one, else by both."""
        shares = self.short if self.changed else self.fused
        return max(shares, key=lambda option: (shares[option], option))


def preference(choices: Sequence[str], config: RoutineConfig) -> Preference:
    """The preference that a sequence of choices shows (PAMU, Preference-Aware Memory Update).

    The paper averages vectors that a language model draws from the dialogue; here a choice is its own vector, one for
    the option that was taken.

    Args:
        choices: What was chosen, oldest first; at least one.
        config: `window` (choices in the short average), `long_share` (step of the long one) and `parted`.
    """
    options = sorted(set(choices))
    column = {option: i for i, option in enumerate(options)}
    taken = np.array([column[choice] for choice in choices])
    short = np.bincount(taken[-config.window :], minlength=len(options)) / min(config.window, len(taken))
    # EMA_t = (1 - a) EMA_{t-1} + a x_t, begun as a plain mean so that the first choice does not weigh for ever.
    age = np.arange(len(taken))[::-1]
    weight = (1.0 - config.long_share) ** age
    long = np.bincount(taken, weight, len(options)) / weight.sum()
    parted = float(np.abs(short - long).sum() / 2.0)

    def named(shares: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(options, shares.tolist(), strict=True))

    changed = len(taken) > config.window and parted >= config.parted
    return Preference(named(short), named(long), named((short + long) / 2.0), parted, changed)
