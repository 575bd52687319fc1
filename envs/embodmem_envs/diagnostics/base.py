"""What the diagnostic tasks share: spaces, seeding, autoreset, checks of actions."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import ConfigError, InvalidInput

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class DiagnosticVec(VectorEnv[Floats, Any, NDArray[Any]]):
    """N copies of one small task, stepped by numpy operations over all of them.

    Observations are (N, D) float32 of zeros and ones, rewards (N,) float64. In `info`, "success" (N,) bool says
    whether the episodes marked in "_success" (N,), those that ended in this step, ended as they should.

    Modes of autoreset, in `metadata["autoreset_mode"]`, are those of gymnasium's vector environments:

    * NEXT_STEP: the step after an end begins the next episode; its action is ignored and its reward is 0.
    * SAME_STEP: the step that ends an episode gives the first observation of the next one; the last of the old one
      stands in `info["final_obs"]`, an object array with `info["_final_obs"]` as its mask.
    * DISABLED: the caller resets with `reset(options={"reset_mask": (N,) bool})` before the next step.

    A task gives `_begin`, `_observe` and `_advance`.

    Args:
        num_envs: N.
        obs_size: D.
        n_actions: How many discrete actions there are.
        autoreset_mode: See above; the enum or its value ("NextStep", "SameStep", "Disabled").

    Raises:
        ConfigError: `num_envs` is below 1, or the mode is unknown.
    """

    def __init__(self, num_envs: int, obs_size: int, n_actions: int, autoreset_mode: str | AutoresetMode) -> None:
        if num_envs < 1:
            raise ConfigError(f"diagnostics: wanted num_envs of 1 or more, got {num_envs}")
        try:
            self._mode = AutoresetMode(autoreset_mode)
        except ValueError:
            known = ", ".join(repr(mode.value) for mode in AutoresetMode)
            raise ConfigError(f"diagnostics: wanted autoreset_mode of {known}, got {autoreset_mode!r}") from None
        self.metadata = {"render_modes": [], "autoreset_mode": self._mode}
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(0.0, 1.0, (obs_size,), np.float32)
        self.single_action_space = spaces.Discrete(n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._n_actions = n_actions
        self._rows = np.arange(num_envs)
        self._ended: Bools = np.zeros(num_envs, dtype=np.bool_)
        self._is_begun = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode in every copy, or in those of `options["reset_mask"]` (N,) bool.

        Raises:
            InvalidInput: An option is unknown, or the mask is none.
        """
        super().reset(seed=seed)
        mask = np.ones(self.num_envs, dtype=np.bool_)
        if options:
            unknown = sorted(set(options) - {"reset_mask"})
            if unknown:
                raise InvalidInput(f"diagnostics: wanted options of {{'reset_mask': (N,) bool}}, got {unknown}")
            mask = np.asarray(options["reset_mask"])
            if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
                raise InvalidInput(
                    f"diagnostics: wanted reset_mask ({self.num_envs},) bool, got {mask.shape} {mask.dtype}"
                )
        if not (self._is_begun or mask.all()):
            raise InvalidInput("diagnostics: wanted a first reset of all copies, got one with a reset_mask")
        self._begin(np.flatnonzero(mask))
        self._ended = self._ended & ~mask
        self._is_begun = True
        return self._observe(), {}

    def step(self, actions: ArrayLike) -> tuple[Floats, NDArray[Any], Bools, Bools, dict[str, Any]]:
        """One action (N,) in every copy.

        Raises:
            InvalidInput: There was no reset, the actions are not (N,) whole numbers of the action space, or an
                episode has ended and autoreset is disabled.
        """
        chosen = self._checked(actions)
        fresh = self._ended
        if self._mode is AutoresetMode.DISABLED and fresh.any():
            raise InvalidInput(
                f"diagnostics: wanted reset(options={{'reset_mask': ...}}) of the copies {np.flatnonzero(fresh)}, "
                f"whose episodes have ended; got a step"
            )
        is_next = self._mode is AutoresetMode.NEXT_STEP and np.count_nonzero(fresh) > 0
        reward, terminated, truncated, success = self._advance(chosen, ~fresh)
        if is_next:
            self._begin(np.flatnonzero(fresh))
            reward[fresh] = 0.0
        ended = terminated | truncated
        info: dict[str, Any] = {}
        obs = self._observe()
        if np.count_nonzero(ended):
            info = {"success": success & ended, "_success": ended}
            if self._mode is AutoresetMode.SAME_STEP:
                final = np.full(self.num_envs, None, dtype=object)
                rows = np.flatnonzero(ended)
                for row in rows:  # few, and numpy would take the rows apart
                    final[row] = obs[row]
                info |= {"final_obs": final, "_final_obs": ended}
                self._begin(rows)
                obs = self._observe()
        self._ended = np.zeros_like(ended) if self._mode is AutoresetMode.SAME_STEP else ended
        return obs, reward, terminated, truncated, info

    def _checked(self, actions: ArrayLike) -> Ints:
        if not self._is_begun:
            raise InvalidInput("diagnostics: wanted reset() before the first step")
        chosen = np.asarray(actions)
        if chosen.shape != (self.num_envs,) or chosen.dtype.kind not in "iu":
            raise InvalidInput(
                f"diagnostics: wanted actions ({self.num_envs},) of whole numbers, got {chosen.shape} {chosen.dtype}"
            )
        whole = chosen.astype(np.int64, copy=False)
        if np.count_nonzero(whole.view(np.uint64) >= self._n_actions):  # below 0 is large without a sign
            raise InvalidInput(f"diagnostics: wanted actions of 0 to {self._n_actions - 1}, got {chosen}")
        return whole

    def _begin(self, rows: Ints) -> None:
        """Draw new episodes for the copies `rows` (M,)."""
        raise NotImplementedError

    def _observe(self) -> Floats:
        """(N, D) what every copy shows now, as a new array."""
        raise NotImplementedError

    def _advance(self, actions: Ints, live: Bools) -> tuple[NDArray[np.float64], Bools, Bools, Bools]:
        """Act in the copies that are `live` (N,), and leave the others as they are.

        Returns:
            (N,) each: reward, terminated, truncated, success; the middle two False where not live.
        """
        raise NotImplementedError
