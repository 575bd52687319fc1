"""PPO for policies with memory, in one file (Schulman et al., Proximal Policy Optimization, 2017).

    python -m embodmem_policies.ppo --env embodmem_envs:EmbodMem/RepeatPrevious-v0 --total-steps 120000 --out runs/rp

The memory is stored as it was when a rollout began; minibatches are whole environments, so that each is one scan.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from embodmem.errors import ConfigError
from embodmem_policies.cell import Array, State, product, to_arrays, tree_map
from embodmem_policies.policy import Observation, as_one, final_observation, index, policy_for, put, room, to_tensors
from embodmem_policies.running import Interrupt, Log, env_bytes, env_from_bytes, load_checkpoint, make_env, parse
from embodmem_policies.scan import run_scan

Env = VectorEnv[Any, Any, Any]

SPREAD_FLOOR = 0.1
"""Advantages are never scaled up by more than if their spread were this part of the largest seen."""


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Everything that a run depends on; also its command line (`--total-steps 100000`)."""

    env: str
    """Id of the environment, for gymnasium.make_vec; "module:id" imports the module first."""
    env_settings: dict[str, Any] = field(default_factory=dict)
    """What the environment is made with."""
    num_envs: int = 16
    """Environments side by side."""
    total_steps: int = 120_000
    """Steps of single environments to train for."""
    rollout: int = 128
    """Steps of every environment between two updates."""
    cell: str = "series"
    """Memory cell, see `make_cell`."""
    cell_settings: dict[str, Any] = field(default_factory=dict)
    """What the cell takes besides."""
    hidden: int = 64
    """Width of encoder and cell."""
    epochs: int = 1
    """Passes over a rollout."""
    minibatches: int = 4
    """Parts of a rollout, by environments."""
    learning_rate: float = 6e-3
    """Of Adam, at the beginning."""
    anneal: bool = True
    """Let the learning rate fall to 0 at the end."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """Of the advantages (Schulman et al., ICLR 2016, eq. 16)."""
    clip: float = 0.2
    """Of the probability ratio."""
    entropy: float = 0.01
    """Weight of the entropy."""
    value: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    seed: int = 0
    """Of everything."""
    threads: int = 1
    """Of torch; small nets are fastest with one."""
    checkpoint_every: int = 50
    """Updates between two checkpoints; one more comes at the end."""

    def __post_init__(self) -> None:
        counts = "num_envs total_steps rollout hidden epochs minibatches threads checkpoint_every"
        for name in counts.split():
            if getattr(self, name) < 1:
                raise ConfigError(f"ppo: wanted {name} of 1 or more, got {getattr(self, name)}")
        if self.minibatches > self.num_envs:
            raise ConfigError(
                f"ppo: wanted at most as many minibatches as environments ({self.num_envs}), got {self.minibatches}"
            )


@dataclass
class Rollout:
    """T steps of N environments; tensors (T, N, ...)."""

    observation: Observation
    start: Tensor
    state: State
    """The memory before the first step."""
    action: Tensor
    log_p: Tensor
    """Of the actions, when they were chosen."""
    value: Tensor
    """Of what was seen, as it was thought then."""
    reward: Tensor
    terminated: Tensor
    done: Tensor
    valid: Tensor
    """False where the environment ignored the action, to begin a new episode instead."""
    final_value: Tensor
    """The value of the last observation of an episode that was cut off, where the environment then began another."""
    last_value: Tensor
    """(N,) the value of what is seen after the rollout."""


class PPO:
    """A policy, its optimizer and its environments; `collect` and `update` in turn train it.

    Args:
        settings: See `PPOSettings`.
        env: A gymnasium vector environment to use instead of making one; `settings.env` is then only a name.

    Raises:
        ConfigError: The environment cannot be made, or has another number of copies.
        InvalidInput: Its spaces do not suit a policy.
    """

    def __init__(self, settings: PPOSettings, env: Env | None = None) -> None:
        self.settings = settings
        self.env = make_env(settings.env, settings.num_envs, settings.env_settings) if env is None else env
        if self.env.num_envs != settings.num_envs:
            raise ConfigError(f"ppo: wanted {settings.num_envs} environments, got {self.env.num_envs}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.policy = policy_for(asdict(settings), self.env)
        self._parameters, self._gradient = as_one(self.policy)
        self.optimizer = torch.optim.Adam([self._parameters], lr=settings.learning_rate, eps=1e-5, fused=True)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.steps = self.updates = self.episodes = 0
        self._spread = 0.0  # the largest of advantages so far
        self.recent: deque[tuple[float, int, float]] = deque(maxlen=100)
        self._mode = AutoresetMode(self.env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._is_next = self._mode is AutoresetMode.NEXT_STEP
        self._observation = self.env.reset(seed=settings.seed)[0]
        self._state = to_arrays(self.policy.cell.initial_state(settings.num_envs))
        self._start = np.ones(settings.num_envs, dtype=np.bool_)
        self._ignored = np.zeros(settings.num_envs, dtype=np.bool_)
        self._return = np.zeros(settings.num_envs)
        self._length = np.zeros(settings.num_envs, dtype=np.int64)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Act for a rollout."""
        s, head, policy = self.settings, self.policy.head, self.policy
        shape = (s.rollout, s.num_envs)
        start, ignored, terminated, truncated, done = (np.zeros(shape, dtype=np.bool_) for _ in range(5))
        reward, final_value = np.zeros(shape, dtype=np.float32), torch.zeros(shape)
        success = np.full(shape, np.nan)
        action = torch.zeros(*shape, *head.shape, dtype=head.dtype)
        seen, features = room(self._observation, s.rollout), np.empty((*shape, s.hidden), dtype=np.float32)
        noise = head.noise(policy, *shape, generator=self.generator).add_(policy.actor.bias).numpy()
        state, begin = self._state, self._state
        step, actor, actions = policy.stepper(), to_arrays(policy.actor.weight.t().contiguous()), action.numpy()
        for t in range(s.rollout):
            start[t], ignored[t] = self._start, self._ignored
            put(seen, t, self._observation)
            features[t], state = step(self._observation, state, self._start)
            actions[t] = head.mode(product(features[t], actor) + noise[t])
            observation, reward[t], terminated[t], truncated[t], info = self.env.step(head.to_env(actions[t]))
            ended = np.logical_or(terminated[t], truncated[t], out=done[t])
            self._start, self._ignored = (self._ignored, ended) if self._is_next else (ended, self._ignored)
            if np.count_nonzero(ended):
                success[t] = info.get("success", np.nan)
                if not self._is_next and truncated[t].any():
                    last, _ = step(final_observation(observation, info), state, np.zeros_like(ended))
                    final_value[t] = policy.critic(torch.from_numpy(last))[:, 0]
                if self._mode is AutoresetMode.DISABLED:
                    observation = self.env.reset(options={"reset_mask": ended.copy()})[0]
            self._observation = observation
        self._state = state
        final, _ = step(self._observation, state, self._start)
        self.steps += s.rollout * s.num_envs
        valid = ~ignored
        self._tally(reward, valid, done, success)
        thought = torch.from_numpy(features)
        return Rollout(
            observation=to_tensors(seen),
            start=torch.from_numpy(start),
            state=to_tensors(begin),
            action=action,
            log_p=head.log_prob(policy.actor(thought), action, policy)[0],
            value=policy.critic(thought)[..., 0],
            reward=torch.from_numpy(reward),
            terminated=torch.from_numpy(terminated),
            done=torch.from_numpy(done),
            valid=torch.from_numpy(valid),
            final_value=final_value,
            last_value=policy.critic(torch.from_numpy(final))[:, 0],
        )

    def _tally(self, reward: Array, valid: Array, done: Array, success: Array) -> None:
        """Note the return, the length and the success of each episode that ended in a rollout (T, N)."""
        total = self._return + reward.cumsum(0, dtype=np.float64)
        length = self._length + valid.cumsum(0, dtype=np.int64)
        gone, passed = np.zeros_like(self._return), np.zeros_like(self._length)  # of the episodes before
        for t, i in np.argwhere(done).tolist():
            self.recent.append((float(total[t, i] - gone[i]), int(length[t, i] - passed[i]), float(success[t, i])))
            gone[i], passed[i] = total[t, i], length[t, i]
        self.episodes += int(np.count_nonzero(done))
        self._return, self._length = total[-1] - gone, length[-1] - passed

    def advantages(self, rollout: Rollout, value: Tensor) -> Tensor:
        """(T, N): sums of discounted errors of the values (T, N), Schulman et al., ICLR 2016, eq. 16.

        An episode that terminated is worth nothing after its end. One that was cut off is worth what the value of its
        last observation says; with NEXT_STEP that observation stands in the next, ignored step.
        """
        s = self.settings
        following = torch.cat((value[1:], rollout.last_value[None]))
        if not self._is_next:
            following = torch.where(rollout.done, rollout.final_value, following)
        delta = rollout.reward + s.gamma * following.masked_fill(rollout.terminated, 0.0) - value
        decay = s.gamma * s.gae_lambda * (~rollout.done).to(value.dtype)
        return run_scan(decay, delta, torch.zeros_like(delta[0]), None, reverse=True)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout; returns the means of its losses."""
        s, gradient, advantage = self.settings, self._gradient, self.advantages(rollout, rollout.value)
        left = max(0.01, 1.0 - self.steps / s.total_steps) if s.anneal else 1.0
        self.optimizer.param_groups[0]["lr"] = s.learning_rate * left
        losses = []
        for _ in range(s.epochs):
            for part in torch.randperm(s.num_envs, generator=self.generator).chunk(s.minibatches):
                gradient.zero_()
                losses.append(self._descend(rollout, part, advantage))
                gradient *= min(1.0, s.max_grad_norm / (float(gradient.norm()) + 1e-6))
                self.optimizer.step()
        self.updates += 1
        return {name: float(np.mean([each[name] for each in losses])) for name in losses[0]}

    def _descend(self, rollout: Rollout, part: Tensor, advantage: Tensor) -> dict[str, float]:
        """Add up the gradients over the environments `part`; returns the losses. Ignored steps do not count."""
        policy = self.policy
        state = tree_map(lambda leaf: leaf[part], rollout.state)
        told, value = policy.scan(index(rollout.observation, (slice(None), part)), state, rollout.start[:, part])
        log_p, entropy = policy.head.log_prob(told, rollout.action[:, part], policy)
        then = (rollout.log_p, rollout.valid, advantage, rollout.value)
        losses, by = self._losses(
            *to_arrays((log_p, entropy, value)), *to_arrays(tuple(leaf[:, part] for leaf in then))
        )
        torch.autograd.backward((log_p, entropy, value), to_tensors(by))
        return losses

    def _losses(
        self, log_p: Array, entropy: Array, value: Array, before: Array, valid: Array, advantage: Array, thought: Array
    ) -> tuple[dict[str, float], tuple[Array, Array, Array]]:
        """Schulman et al., 2017, eq. 7 and 9, and its gradients by the first three: all (T, B).

        Written out for arrays: of so few numbers, torch would take longer to note what was done to them than to do it.
        """
        s = self.settings
        weight = valid.astype(value.dtype)  # means are sums with weights
        weight /= max(weight.sum(), 1.0)
        a = advantage - (weight * advantage).sum()
        spread = float(np.sqrt((weight * np.square(a)).sum()))
        # Where the task is solved, advantages are the noise of the values: blown up to a spread of 1 they undo it.
        self._spread = max(self._spread, spread)
        a /= max(spread, SPREAD_FLOOR * self._spread) + 1e-8
        log_ratio = log_p - before
        ratio = np.exp(log_ratio)
        free, held = ratio * a, np.clip(ratio, 1.0 - s.clip, 1.0 + s.clip) * a
        error = value - (advantage + thought)
        losses = {
            "policy_loss": -(weight * np.minimum(free, held)).sum(),
            "value_loss": 0.5 * (weight * np.square(error)).sum(),
            "entropy": (weight * entropy).sum(),
            "kl": (weight * (ratio - 1.0 - log_ratio)).sum(),
        }
        by = (-weight * free * (free <= held), -s.entropy * weight, s.value * weight * error)
        return {name: float(each) for name, each in losses.items()}, by

    def statistics(self) -> dict[str, float]:
        """Means over the last 100 episodes; NaN before the first has ended."""
        means = np.mean(self.recent or [[np.nan] * 3], axis=0)
        return dict(zip(("return", "length", "success"), means.tolist(), strict=True))

    def save(self, path: str | Path) -> None:
        """Write a checkpoint; what stood there is replaced only when the new one is whole."""
        content = {
            "kind": "ppo",
            "settings": asdict(self.settings),
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "counts": [self.steps, self.updates, self.episodes, self._spread],
            "recent": [list(each) for each in self.recent],
            "state": to_tensors(self._state),
            "observation": tree_map(lambda part: torch.as_tensor(part).clone(), to_tensors(self._observation)),
            "rows": {name: torch.from_numpy(np.array(getattr(self, name))) for name in _ROWS},
            "env": env_bytes(self.env),
        }
        whole = Path(path)
        part = whole.with_suffix(".part")
        torch.save(content, part)
        part.replace(whole)

    def load(self, path: str | Path) -> bool:
        """Go on from a checkpoint of the same settings; total_steps may differ.

        Returns:
            True when the environments go on where they were, so that the run is the same bit for bit. Environments
            that cannot be pickled begin new episodes instead.

        Raises:
            ConfigError: The file is no checkpoint of PPO with these settings.
        """
        content = load_checkpoint(path, "ppo")
        ours, theirs = asdict(self.settings), content["settings"]
        for name in sorted(set(ours) - {"total_steps", "checkpoint_every", "threads"}):
            if ours[name] != theirs.get(name):
                raise ConfigError(f"{path}: was trained with {name} {theirs.get(name)!r}, wanted {ours[name]!r}")
        try:
            self.optimizer.load_state_dict(content["optimizer"])
        except ValueError as error:  # of a version that had a state for each parameter
            raise ConfigError(f"{path}: wanted an optimizer of one parameter, got one of an older version") from error
        self.policy.load_state_dict(content["policy"])
        self.generator.set_state(content["generator"])
        self.steps, self.updates, self.episodes, self._spread = (*content["counts"], 0.0)[:4]
        self.recent = deque((tuple(each) for each in content["recent"]), maxlen=100)
        env = env_from_bytes(content["env"])
        if env is None:
            self._observation = self.env.reset(seed=self.settings.seed + self.steps)[0]
            return False
        self.env.close()
        self.env, self._state = env, to_arrays(content["state"])
        self._observation = to_arrays(content["observation"])
        for name in _ROWS:
            setattr(self, name, content["rows"][name].numpy())
        return True


_ROWS = ("_start", "_ignored", "_return", "_length")


def train(
    settings: PPOSettings,
    out: str | Path,
    *,
    env: Env | None = None,
    resume: bool = False,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> PPO:
    """Train to `total_steps`, with `checkpoint.pt` and `log.csv` (and TensorBoard's, where it is installed) in `out`.

    Ctrl-C, or SIGTERM, ends the run after the update in hand and saves it; `resume=True` goes on from there.

    Args:
        settings: See `PPOSettings`.
        out: Folder; made when missing.
        env: A vector environment to use instead of making one.
        resume: Go on from the checkpoint in `out`.
        progress: Called after each update with what is logged.

    Raises:
        ConfigError: `out` holds a run already and `resume` is False, or its checkpoint is of other settings.
    """
    folder = Path(out)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists() != resume:
        wanted = "resume=True, or another folder: it holds a run" if not resume else "a run to resume: it holds none"
        raise ConfigError(f"{folder}: wanted {wanted}")
    torch.set_num_threads(settings.threads)
    ppo = PPO(settings, env)
    if resume:
        ppo.load(checkpoint)
    begin, steps = time.process_time(), ppo.steps
    with Log(folder, asdict(settings), after_step=ppo.steps) as log, Interrupt() as interrupt:
        while ppo.steps < settings.total_steps and not interrupt.wanted:
            losses = ppo.update(ppo.collect())
            rate = (ppo.steps - steps) / max(1e-9, time.process_time() - begin)
            row = {"step": ppo.steps, "episodes": ppo.episodes, **ppo.statistics(), **losses, "steps_per_cpu_s": rate}
            log.write(row)
            if progress is not None:
                progress(row)
            if ppo.updates % settings.checkpoint_every == 0:
                ppo.save(checkpoint)
        ppo.save(checkpoint)
    return ppo


def main() -> None:
    """The command line: one option for each setting."""
    settings, out, resume, progress = parse(PPOSettings, __doc__ or "")
    done = train(settings, out, resume=resume, progress=progress)
    print(f"{out / 'checkpoint.pt'}: {done.steps:,} steps")


if __name__ == "__main__":
    main()
