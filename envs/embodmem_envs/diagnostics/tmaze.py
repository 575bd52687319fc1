"""The T-maze (Bakker, NIPS 2001): a sign at the start tells which way to turn at the far end of a corridor."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from embodmem.errors import ConfigError
from embodmem_envs.diagnostics.base import Bools, DiagnosticVec, Floats, Ints

FORWARD, UP, DOWN = 0, 1, 2
WASTE = 0.1
"""What a step that leads nowhere costs (Bakker, NIPS 2001)."""
_ONE_HOT = np.eye(4, dtype=np.float32)


class TMazeVec(DiagnosticVec):
    """Walk along a corridor, then turn to the side that the sign at its start named.

    Observations are one-hot (4,): the sign for up, the sign for down, the corridor, the junction. Actions: 0 forward,
    1 up, 2 down. The junction lies `corridor` steps forward of the sign, which shows only at the start. At the
    junction up and down end the episode with 1 for the right side and -1 for the other; whatever leads nowhere (into a
    wall, or forward at the junction) costs 0.1. After 5 corridor + 20 steps the episode is truncated.

    Args:
        num_envs: Copies.
        corridor: Its length in steps, or (shortest, longest), drawn anew for every episode.
        passive: The corridor is walked whatever the action is, at no cost; only the choice at the junction counts.
            The memory needed is the same, the walking need not be learned (Ni et al., NeurIPS 2023, keep both apart).
        autoreset_mode: See `DiagnosticVec`.

    Raises:
        ConfigError: Not 1 <= shortest <= longest.
    """

    def __init__(
        self,
        num_envs: int = 1,
        corridor: int | tuple[int, int] = 10,
        passive: bool = False,
        autoreset_mode: str | AutoresetMode = "NextStep",
    ) -> None:
        super().__init__(num_envs, 4, 3, autoreset_mode)
        low, high = (corridor, corridor) if isinstance(corridor, (int, np.integer)) else corridor
        if not 1 <= low <= high:
            raise ConfigError(f"diagnostics: wanted a corridor of 1 or more, or (shortest, longest), got {corridor!r}")
        self._range = (int(low), int(high))
        self._passive = passive
        self._length = np.full(num_envs, low, dtype=np.int64)
        self._place = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._sign = np.zeros(num_envs, dtype=np.int64)  # 0 up, 1 down

    def _begin(self, rows: Ints) -> None:
        low, high = self._range
        self._length[rows] = self.np_random.integers(low, high, len(rows), endpoint=True)
        self._sign[rows] = self.np_random.integers(0, 2, len(rows))
        self._place[rows] = 0
        self._steps[rows] = 0

    def _observe(self) -> Floats:
        seen = np.where(self._place == 0, self._sign, 2 + (self._place == self._length))
        return np.asarray(_ONE_HOT[seen])

    def _advance(self, actions: Ints, live: Bools) -> tuple[NDArray[np.float64], Bools, Bools, Bools]:
        at_junction = self._place == self._length
        forward = actions == FORWARD
        walks = ~at_junction if self._passive else forward & ~at_junction
        terminated = at_junction & ~forward & live
        success = terminated & (actions - UP == self._sign)
        self._place += walks & live
        self._steps += live
        truncated = (self._steps >= 5 * self._length + 20) & live & ~terminated
        reward = terminated * (2.0 * success - 1.0) - WASTE * (live & ~walks & ~terminated)
        return reward, terminated, truncated, success
