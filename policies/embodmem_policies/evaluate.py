"""A trained policy at work: its returns over whole episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from embodmem.errors import ConfigError
from embodmem_policies.cell import to_arrays
from embodmem_policies.policy import Policy, policy_for
from embodmem_policies.running import load_checkpoint, make_env


@dataclass(frozen=True)
class Episodes:
    """What came of E episodes: returns (E,), lengths (E,), success (E,) with NaN where the environment says none."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    success: NDArray[np.float64]

    def summary(self) -> dict[str, float]:
        """Means; success is left out where the environment says none."""
        made = {
            "episodes": float(len(self.returns)),
            "return": float(self.returns.mean()),
            "return_std": float(self.returns.std()),
            "length": float(self.lengths.mean()),
        }
        return made if np.isnan(self.success).all() else made | {"success": float(np.nanmean(self.success))}


@torch.no_grad()
def evaluate(
    policy: Policy, env: VectorEnv[Any, Any, Any], episodes: int, *, seed: int = 0, greedy: bool = True
) -> Episodes:
    """Run a policy for whole episodes; every copy of the environment gives the same number of them.

    An equal share for each, since the first episodes to end are the short ones.

    Args:
        policy: The policy.
        env: A vector environment, of any mode of autoreset.
        episodes: At least so many.
        seed: Of the environment and of the actions.
        greedy: Take the likeliest action; otherwise draw.

    Raises:
        ConfigError: `episodes` is below 1.
    """
    if episodes < 1:
        raise ConfigError(f"evaluate: wanted 1 episode or more, got {episodes}")
    n = env.num_envs
    share = -(-episodes // n)
    mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
    generator = torch.Generator().manual_seed(seed)
    head, step, state = policy.head, policy.stepper(), to_arrays(policy.cell.initial_state(n))
    observation = env.reset(seed=seed)[0]
    start, ignored = np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    returns, lengths, counts = np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    ended: list[tuple[float, int, float]] = []
    while counts.min() < share:
        features, state = step(observation, state, start)
        told = policy.actor(torch.from_numpy(features))
        if not greedy:
            told = told + head.noise(policy, n, generator=generator)
        observation, reward, terminated, truncated, info = env.step(head.to_env(head.mode(told).numpy()))
        done = np.asarray(terminated | truncated)
        returns += np.where(ignored, 0.0, reward)
        lengths += ~ignored
        start, ignored = (ignored, done) if mode is AutoresetMode.NEXT_STEP else (done, ignored)
        if not done.any():
            continue
        success = np.asarray(info.get("success", np.full(n, np.nan)), dtype=np.float64)
        for i in np.flatnonzero(done & (counts < share)):
            ended.append((float(returns[i]), int(lengths[i]), float(success[i])))
        counts += done
        returns[done], lengths[done] = 0.0, 0
        if mode is AutoresetMode.DISABLED:
            observation = env.reset(options={"reset_mask": done})[0]
    columns = list(zip(*ended, strict=True))
    return Episodes(np.array(columns[0]), np.array(columns[1]), np.array(columns[2]))


def evaluate_checkpoint(
    path: str | Path,
    *,
    episodes: int = 100,
    env: str | None = None,
    env_settings: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    seed: int = 0,
    greedy: bool = True,
) -> Episodes:
    """Run the policy of a checkpoint in the environment that it was trained in, or in another of the same spaces.

    Args:
        path: What training saved.
        episodes: At least so many.
        env: Another environment's id.
        env_settings: Put over the settings that it was trained with.
        num_envs: Copies; as in training when None, but no more than episodes.
        seed: Of the environment and of the actions.
        greedy: Take the likeliest action; otherwise draw.

    Raises:
        ConfigError: The checkpoint or the environment cannot be used.
    """
    content = load_checkpoint(path)
    settings = content["settings"]
    if not (env or settings["env"]):
        raise ConfigError(f"{path}: was trained without an environment; wanted the id of one")
    copies = num_envs or min(settings["num_envs"], episodes)
    made = make_env(env or settings["env"], copies, {**settings["env_settings"], **(env_settings or {})})
    try:
        policy = policy_for(settings, made)
        try:
            policy.load_state_dict(content["policy"])
        except RuntimeError as error:
            raise ConfigError(f"{path}: does not fit {env or settings['env']!r}: {error}") from error
        return evaluate(policy, made, episodes, seed=seed, greedy=greedy)
    finally:
        made.close()
