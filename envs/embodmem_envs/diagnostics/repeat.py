"""RepeatPrevious and RepeatFirst (Morad et al., POPGym, ICLR 2023): say which suit was shown some steps ago."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from embodmem.errors import ConfigError
from embodmem_envs.diagnostics.base import Bools, DiagnosticVec, Floats, Ints

SUITS = 4
_ONE_HOT = np.eye(SUITS, dtype=np.float32)


class _Cards(DiagnosticVec):
    """Shuffled decks, one card shown at a time as its suit, one-hot (4,); an episode shows all n cards."""

    def __init__(self, num_envs: int, decks: int, autoreset_mode: str | AutoresetMode) -> None:
        super().__init__(num_envs, SUITS, SUITS, autoreset_mode)
        if decks < 1:
            raise ConfigError(f"diagnostics: wanted 1 deck or more, got {decks}")
        self.n_cards = 52 * decks
        self._sorted = np.arange(self.n_cards, dtype=np.int8) % SUITS
        self._cards = np.zeros((num_envs, self.n_cards), dtype=np.int8)
        self._shown = np.zeros(num_envs, dtype=np.int64)  # index of the card that is shown
        self._first = self._rows * self.n_cards  # index of a copy's first card among those of all

    def _begin(self, rows: Ints) -> None:
        self._cards[rows] = self.np_random.permuted(np.tile(self._sorted, (len(rows), 1)), axis=1)
        self._shown[rows] = 0
        self._note(rows)

    def _note(self, rows: Ints) -> None:
        """Hook for what a task keeps of an episode."""

    def _observe(self) -> Floats:
        return _ONE_HOT.take(self._card(self._shown), 0)

    def _card(self, index: Ints) -> NDArray[np.int8]:
        """(N,) the cards of these indexes (N,), each from its copy's own; below 0, another copy's."""
        return self._cards.reshape(-1).take(self._first + index)

    def _turn(self, live: Bools) -> Bools:
        """Show the next card; returns (N,) whether it is the last."""
        self._shown += live
        return np.asarray((self._shown == self.n_cards - 1) & live)


class RepeatPreviousVec(_Cards):
    """The action names the suit of the card shown k - 1 steps before the one that is shown: k = 1 names that one.

    As in POPGym an episode has n - 1 steps for n = 52 decks cards; each of the n - k steps at which k cards have been
    shown earns 1 / (n - k) for the right suit and loses as much for a wrong one, so that returns lie in -1..1. The
    levels of POPGym are (k, decks) = (4, 1) Easy, (32, 2) Medium, (64, 3) Hard. POPGym shows the number of the suit,
    here it is one-hot. An episode counts as a success when no answer was wrong.

    Raises:
        ConfigError: Not 1 <= k < n.
    """

    def __init__(
        self, num_envs: int = 1, k: int = 4, decks: int = 1, autoreset_mode: str | AutoresetMode = "NextStep"
    ) -> None:
        super().__init__(num_envs, decks, autoreset_mode)
        if not 1 <= k < self.n_cards:
            raise ConfigError(f"diagnostics: wanted 1 <= k < {self.n_cards} cards, got {k}")
        self.k = k
        self._perfect = np.ones(num_envs, dtype=np.bool_)

    def _note(self, rows: Ints) -> None:
        self._perfect[rows] = True

    def _advance(self, actions: Ints, live: Bools) -> tuple[NDArray[np.float64], Bools, Bools, Bools]:
        asked = self._shown - (self.k - 1)
        counts = (asked >= 0) & live
        # A negative index reads a card that does not count.
        right = self._card(asked) == actions
        self._perfect &= counts <= right
        share = 1.0 / (self.n_cards - self.k)
        reward = np.where(right, share, -share) * counts
        return reward, self._turn(live), np.zeros(self.num_envs, np.bool_), self._perfect


class RepeatFirstVec(_Cards):
    """Every action names the suit of the first card of the episode; n - 1 steps, 1 / (n - 1) each, lost when wrong.

    The levels of POPGym are decks = 1 Easy, 8 Medium, 16 Hard.
    """

    def __init__(self, num_envs: int = 1, decks: int = 1, autoreset_mode: str | AutoresetMode = "NextStep") -> None:
        super().__init__(num_envs, decks, autoreset_mode)
        self._perfect = np.ones(num_envs, dtype=np.bool_)

    def _note(self, rows: Ints) -> None:
        self._perfect[rows] = True

    def _advance(self, actions: Ints, live: Bools) -> tuple[NDArray[np.float64], Bools, Bools, Bools]:
        right = self._cards[:, 0] == actions
        self._perfect &= live <= right
        share = 1.0 / (self.n_cards - 1)
        reward = np.where(right, share, -share) * live
        return reward, self._turn(live), np.zeros(self.num_envs, np.bool_), self._perfect
