"""sb3-contrib's RecurrentPPO on a vector environment of ours, for bench_ppo.py; not a script of its own."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from embodmem_policies.running import make_env


class Shared(VecEnv):
    """The very environment that ours trains in, with its resets in the same step, as sb3 wants them."""

    def __init__(self, name: str, num_envs: int, seed: int) -> None:
        self._env = make_env(name, num_envs, {"autoreset_mode": "SameStep"})
        self._begin = seed
        super().__init__(num_envs, self._env.single_observation_space, self._env.single_action_space)

    def reset(self) -> Any:
        """All copies begin."""
        return np.array(self._env.reset(seed=self._begin)[0])

    def step_async(self, actions: Any) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """One step of all copies."""
        seen, reward, terminated, truncated, info = self._env.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            infos[i] = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": bool(truncated[i])}
        return np.array(seen), reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """What the environment says, for each copy."""
        return [getattr(self._env, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not wanted by the trainer."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Not wanted by the trainer."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No copy is wrapped."""
        return [False] * self.num_envs


class Watch(BaseCallback):
    """Notes when the mean return of the last 100 episodes reaches 0.9, and ends the run when its CPU time is spent."""

    def __init__(self, begin: float, cpu_s: float) -> None:
        super().__init__()
        self.begin, self.cpu_s = begin, cpu_s
        self.reached: tuple[int, float] | None = None

    def _on_step(self) -> bool:
        return time.process_time() - self.begin < self.cpu_s

    def _on_rollout_end(self) -> None:
        buffer = self.model.ep_info_buffer
        mean = np.mean([each["r"] for each in buffer]) if buffer else -1.0
        if self.reached is None and mean >= 0.9:
            self.reached = (self.num_timesteps, time.process_time() - self.begin)


def run(env: str, seed: int, cpu_s: float, settings: dict[str, Any]) -> dict[str, Any]:
    """Train for so much CPU time."""
    torch.set_num_threads(1)
    begin = time.process_time()
    vector = VecMonitor(Shared(env, 16, seed))
    model = RecurrentPPO("MlpLstmPolicy", vector, seed=seed, device="cpu", **settings)
    watch = Watch(begin, cpu_s)
    model.learn(10**9, callback=watch)
    spent = time.process_time() - begin
    return {
        "steps_per_cpu_s": round(model.num_timesteps / spent),
        "return": round(float(np.mean([each["r"] for each in model.ep_info_buffer])), 3),
        "steps_to_0.9": watch.reached and watch.reached[0],
        "cpu_s_to_0.9": watch.reached and round(watch.reached[1], 2),
    }
