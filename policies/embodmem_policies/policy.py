"""A policy with memory: observation -> encoder -> cell -> action and value. Trainers and evaluation share it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from embodmem.errors import InvalidInput
from embodmem_policies.cell import Array, State, affine, to_arrays, tree_map
from embodmem_policies.make import make_cell
from embodmem_policies.reader import RecallReader

Observation = Any
"""A tensor, or a dict of tensors, with the axes of the batch first."""

_Told = TypeVar("_Told", Tensor, Array)


class Policy(nn.Module):
    """Observations of a gymnasium space to actions of another, with a memory cell between.

    A dict's key "memory" of shape (K, F), as `MemoryObservation` gives it, goes to a reader that attends over its rows;
    rows of zeros are taken for empty. All else is flattened into one vector; what is discrete becomes one-hot.

    Args:
        observation_space: Of one environment: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these.
        action_space: Of one environment: Discrete or Box.
        cell: Name of the cell, see `make_cell`.
        hidden: Width of the encoder and of the cell.
        cell_settings: What the cell takes besides.

    Raises:
        InvalidInput: A space is not of these.
        ConfigError: The cell or a setting of it is not known.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        cell: str = "series",
        hidden: int = 64,
        cell_settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        parts = dict(observation_space.spaces) if isinstance(observation_space, spaces.Dict) else {}
        self._memory = parts.pop("memory", None)
        self._parts = {name: _flat_size(part, name) for name, part in (parts or {"": observation_space}).items()}
        if not parts and self._memory is not None:
            raise InvalidInput("policy: wanted an observation with more in it than 'memory', got only that")
        size = sum(self._parts.values())
        self._spaces = parts or {"": observation_space}
        self.reader: RecallReader | None = None
        if self._memory is not None:
            if self._memory.shape is None or len(self._memory.shape) != 2:
                raise InvalidInput(f"policy: wanted a 'memory' (K, F), got {self._memory}")
            self.reader = RecallReader(self._memory.shape[1], size, hidden)
        self.encoder = nn.Linear(size + (hidden if self.reader else 0), hidden)
        self.cell = make_cell(cell, hidden, hidden, **dict(cell_settings or {}))
        self.head: Discrete | Gaussian = _head(action_space)
        self.actor = _linear(hidden, self.head.size, 0.01)
        self.critic = _linear(hidden, 1, 1.0)
        if isinstance(self.head, Gaussian):
            self.log_std = nn.Parameter(torch.zeros(self.head.size))

    def encode(self, observation: Observation) -> Tensor:
        """(..., hidden)."""
        flat = self.flat(observation)
        if self.reader is not None:
            items = observation["memory"]
            flat = torch.cat((flat, self.reader(flat, items, (items != 0).any(-1))), -1)
        encoded: Tensor = self.encoder(flat).relu()
        return encoded

    def step(self, observation: Observation, state: State, start: Tensor) -> tuple[Tensor, State]:
        """One step: features (B, hidden) for `actor` and `critic`, and the new state; `start` is (B,) bool."""
        return self.cell.step(self.encode(observation), state, start)

    @torch.no_grad()
    def stepper(self) -> Callable[[Any, State, Array], tuple[Array, State]]:
        """`step` for acting, on arrays, with the parameters as they are now; see `MemoryCell.stepper`."""
        cell = self.cell.stepper()
        encode = affine(self.encoder.weight, self.encoder.bias)
        space = self._spaces.get("")
        is_vector = isinstance(space, spaces.Box) and len(space.shape) == 1

        def step(observation: Any, state: State, start: Array) -> tuple[Array, State]:
            if self.reader is not None:
                with torch.no_grad():
                    return cell(to_arrays(self.encode(to_tensors(observation))), state, start)
            flat = np.asarray(observation, np.float32) if is_vector else self.flat(to_tensors(observation)).numpy()
            x = encode(flat)
            np.maximum(x, 0.0, out=x)
            return cell(x, state, start)

        return step

    def scan(self, observation: Observation, state: State, start: Tensor) -> tuple[Tensor, Tensor]:
        """T steps: what the actor says (T, B, n) and values (T, B); `start` is (T, B) bool."""
        features, _ = self.cell.scan(self.encode(observation), state, start)
        actor, critic = self.actor, self.critic  # one product in place of two
        weight, bias = torch.cat((actor.weight, critic.weight)), torch.cat((actor.bias, critic.bias))
        both = nn.functional.linear(features, weight, bias)
        return both[..., :-1], both[..., -1]

    def flat(self, observation: Observation) -> Tensor:
        """All but the memory's items as one vector (..., size)."""
        if isinstance(observation, dict):
            return torch.cat([self._flat(observation[name], name) for name in self._parts], -1)
        return self._flat(observation, "")

    def _flat(self, value: Tensor, name: str) -> Tensor:
        space = self._spaces[name]
        if isinstance(space, spaces.Box) and len(space.shape) == 1:
            return value.float()
        if isinstance(space, spaces.Discrete):
            return nn.functional.one_hot(value.long() - int(space.start), int(space.n)).float()
        if isinstance(space, spaces.MultiDiscrete):
            hot = [nn.functional.one_hot(v.long(), int(n)) for v, n in zip(value.unbind(-1), space.nvec, strict=True)]
            return torch.cat(hot, -1).float()
        lead = value.dim() - len(space.shape or ())
        return value.reshape(*value.shape[:lead], -1).float()


class Discrete:
    """Actions that are one of n; `told` are logits (..., n)."""

    dtype = torch.int64

    def __init__(self, n: int, first: int) -> None:
        self.size, self.first, self.shape = n, first, ()

    def noise(self, policy: Policy, *batch: int, generator: torch.Generator) -> Tensor:
        """Gumbel (*batch, n): `mode` of it and the logits together is a draw from their softmax."""
        uniform = torch.rand(*batch, self.size, generator=generator).clamp_(1e-20, 1.0 - 2.0**-24)
        return uniform.log_().neg_().log_().neg_()

    def mode(self, told: _Told) -> _Told:
        """The index of the likeliest (...,)."""
        likeliest: _Told = told.argmax(-1)
        return likeliest

    def log_prob(self, told: Tensor, action: Tensor, policy: Policy) -> tuple[Tensor, Tensor]:
        """Log probability of the action and entropy, both (...,)."""
        log_p = told.log_softmax(-1)
        return log_p.gather(-1, action[..., None])[..., 0], -(log_p.exp() * log_p).sum(-1)

    def to_env(self, action: Array) -> Array:
        """For `env.step`."""
        return action + self.first if self.first else action


class Gaussian:
    """Actions of a box; `told` are means (..., n); the spread is the same everywhere."""

    dtype = torch.float32

    def __init__(self, space: spaces.Box) -> None:
        self.size = math.prod(space.shape)
        self.space, self.shape = space, (self.size,)

    def noise(self, policy: Policy, *batch: int, generator: torch.Generator) -> Tensor:
        """Normal (*batch, n), as wide as the policy's spread: it and the mean together are a draw."""
        return policy.log_std.exp() * torch.randn(*batch, self.size, generator=generator)

    def mode(self, told: _Told) -> _Told:
        """The mean."""
        return told

    def log_prob(self, told: Tensor, action: Tensor, policy: Policy) -> tuple[Tensor, Tensor]:
        """Log density of the action and entropy, both (...,)."""
        log_std = policy.log_std
        log_p = -0.5 * ((action - told) * torch.exp(-log_std)).square() - log_std - 0.5 * math.log(2.0 * math.pi)
        entropy = (log_std + 0.5 + 0.5 * math.log(2.0 * math.pi)).sum()
        return log_p.sum(-1), entropy.expand(told.shape[:-1])

    def to_env(self, action: Array) -> Array:
        """For `env.step`: cut at the bounds of the box."""
        shaped = action.reshape(-1, *self.space.shape)
        return np.clip(shaped, self.space.low, self.space.high).astype(self.space.dtype)


def _head(space: spaces.Space[Any]) -> Discrete | Gaussian:
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n), int(space.start))
    if isinstance(space, spaces.Box):
        return Gaussian(space)
    raise InvalidInput(f"policy: wanted an action space Discrete or Box, got {space}")


def _flat_size(space: spaces.Space[Any], name: str) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return int(space.nvec.sum())
    if isinstance(space, (spaces.Box, spaces.MultiBinary)) and len(space.shape) <= 2:
        return math.prod(space.shape)
    where = f" at {name!r}" if name else ""
    raise InvalidInput(
        f"policy: wanted vectors or discrete values to observe{where}, got {space}; images need an encoder"
    )


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """Orthogonal weights and no bias, as PPO wants its last layers (Andrychowicz et al., ICLR 2021, section 3.2)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def to_tensors(observation: Any) -> Observation:
    """Arrays, or dicts and tuples of them, as tensors that share their memory."""
    if isinstance(observation, Mapping):
        return {name: to_tensors(value) for name, value in observation.items()}
    if isinstance(observation, tuple):
        return tuple(to_tensors(value) for value in observation)
    return torch.from_numpy(np.asarray(observation))


def index(observation: Observation, at: Any) -> Observation:
    """`observation[at]` in every part."""
    return tree_map(lambda part: part[at], observation)


def room(observation: Any, steps: int) -> Any:
    """Arrays (T, ...) for T observations like this one."""
    return tree_map(lambda part: np.empty((steps, *np.shape(part)), np.asarray(part).dtype), observation)


def put(rows: Any, at: int, observation: Any) -> None:
    """Copy an observation to its place in `room`."""
    if isinstance(rows, np.ndarray):  # in haste: this is called at every step
        rows[at] = observation
        return
    tree_map(lambda part, value: part.__setitem__(at, value), rows, observation)


def final_observation(observation: Any, info: Mapping[str, Any]) -> Observation:
    """What was seen last where an episode ended in this step, and what is seen now elsewhere."""
    seen = tree_map(torch.clone, to_tensors(observation))
    for i in np.flatnonzero(info.get("_final_obs", ())):
        last = to_tensors(info["final_obs"][i])
        tree_map(lambda part, row, i=i: part[i].copy_(row), seen, last)
    return seen


def as_one(module: nn.Module) -> tuple[nn.Parameter, Tensor]:
    """All parameters one after another, and all gradients; those of the module become parts of them.

    An optimizer then has one parameter: with a small net, most of its time goes to getting from one to the next.
    """
    parts = list(module.parameters())
    whole = nn.Parameter(nn.utils.parameters_to_vector(parts).detach())
    whole.grad = gradient = torch.zeros_like(whole)
    end = 0
    for part in parts:
        at = slice(end, end := end + part.numel())
        part.data, part.grad = whole.detach()[at].view_as(part), gradient[at].view_as(part)
    return whole, gradient


def policy_for(settings: Mapping[str, Any], env: VectorEnv[Any, Any, Any]) -> Policy:
    """A new policy for the spaces of an environment, by the settings of its trainer."""
    return Policy(
        env.single_observation_space,
        env.single_action_space,
        cell=settings["cell"],
        hidden=settings["hidden"],
        cell_settings=settings["cell_settings"],
    )
