"""MemoryCell: what every memory inside a policy is. A cell knows no trainer, no episode and no environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodmem.errors import InvalidInput

State = Any
"""A tree (tuples and dicts) of tensors, batch first."""

Array = NDArray[Any]

Step = Callable[[Array, State, Array], tuple[Array, State]]
"""As `MemoryCell.step`, with arrays for tensors, in the state too."""

_ONE_THREAD = 1 << 18


def tree_map(function: Callable[..., Any], tree: State, *others: State) -> State:
    """Apply a function to each tensor of a tree (and to the tensors at its place in others)."""
    if isinstance(tree, tuple):
        return tuple(tree_map(function, *parts) for parts in zip(tree, *others, strict=True))
    if isinstance(tree, dict):
        return {key: tree_map(function, part, *(other[key] for other in others)) for key, part in tree.items()}
    return function(tree, *others)


def tree_leaves(tree: State) -> list[Tensor]:
    """The tensors of a tree, in order."""
    leaves: list[Tensor] = []
    tree_map(leaves.append, tree)
    return leaves


def detach(state: State) -> State:
    """The same state without its history of gradients."""
    return tree_map(lambda leaf: leaf.detach(), state)


def to_arrays(tree: State) -> State:
    """The same tree of arrays, which share the memory of tensors on the CPU."""
    return tree_map(lambda leaf: leaf.detach().cpu().numpy(), tree)


def product(x: Array, weight: Array) -> Array:
    """Rows (B, D) times a weight (D, E).

    Small products are faster in numpy, whose BLAS shares out only larger ones among threads of its own; those go to
    torch, which keeps to the threads that it is allowed.
    """
    if len(x) * weight.size <= _ONE_THREAD:
        return np.asarray(x @ weight)
    return np.asarray(torch.mm(torch.from_numpy(x), torch.from_numpy(weight)).numpy())


def affine(weight: Tensor, bias: Tensor) -> Callable[[Array], Array]:
    """Rows (B, D) to `x @ weight.T + bias` (B, E), with both as they are now; weight (E, D), bias (E,)."""
    by, rows = to_arrays((weight.t().contiguous(), bias[None].clone()))

    def apply(x: Array) -> Array:
        nonlocal rows
        if len(rows) != len(x):  # spread out once: to add one row to many takes numpy three times as long
            rows = np.repeat(rows[:1], len(x), 0)
        y = product(x, by)
        y += rows
        return y

    return apply


def where_start(start: Tensor, fresh: State, state: State) -> State:
    """`fresh` in the rows where an episode starts, `state` elsewhere; `start` is (B,) bool."""

    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(start.reshape(-1, *(1,) * (old.dim() - 1)), new, old)

    return tree_map(choose, fresh, state)


def since_start(start: Tensor, before: Tensor) -> Tensor:
    """(T + 1, B): inputs of the episode before each of T steps, and after the last.

    Args:
        start: (T, B) bool.
        before: (B,) inputs of the episode before the first step.
    """
    time = torch.arange(len(start) + 1, device=start.device)[:, None]
    begun = torch.where(start, time[:-1], -1).cummax(0).values
    begun = torch.cat((begun, begun[-1:]))
    return torch.where(begun < 0, before + time, time - begun)


class MemoryCell(nn.Module):
    """A memory from a sequence of inputs to a sequence of outputs.

    Only the starts of episodes are passed, never their ends: a start empties the memory of that row before the input
    is taken in. A subclass gives `initial_state` and at least one of `step` and `scan`; the other follows from it.

    Args:
        input_size: D of the inputs.
        output_size: D of the outputs.

    Attributes:
        detaches: True when gradients do not pass from step to step through the memory (HCAM, the bank).
    """

    detaches = False

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        if input_size < 1 or output_size < 1:
            raise InvalidInput(f"cell: wanted sizes of 1 or more, got input {input_size}, output {output_size}")
        self.input_size = input_size
        self.output_size = output_size

    def initial_state(self, batch: int) -> State:
        """The empty memory of `batch` rows, on the device and in the precision of the parameters."""
        raise NotImplementedError

    def step(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """One step.

        Args:
            x: (B, D) inputs.
            state: As `initial_state` or an earlier call gave it.
            start: (B,) bool, True where x is the first of an episode.

        Returns:
            y (B, output_size) and the new state.
        """
        y, state = self.scan(x[None], state, start[None])
        return y[0], state

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """T steps at once; equal to T calls of `step`.

        Args:
            x: (T, B, D) inputs.
            state: The memory before the first of them.
            start: (T, B) bool.

        Returns:
            y (T, B, output_size) and the state after the last.
        """
        if type(self).step is MemoryCell.step:
            raise NotImplementedError(f"{type(self).__name__}: wanted a step or a scan of its own, got neither")
        outputs = []
        for now, first in zip(x.unbind(0), start.unbind(0), strict=True):
            y, state = self.step(now, state, first)
            outputs.append(y)
        return torch.stack(outputs), state

    def stepper(self) -> Step:
        """`step` for acting: arrays on the CPU, no gradients, what depends on the parameters alone computed once, now.

        What it returns is new, and what it was given stays as it is.
        """
        device = next(self.parameters()).device

        @torch.no_grad()
        def step(x: Array, state: State, start: Array) -> tuple[Array, State]:
            given = tree_map(lambda leaf: torch.from_numpy(leaf).to(device), (x, state, start))
            y, after = to_arrays(self.step(*given))
            return y, after

        return step

    def zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Zeros on the device of the parameters and, unless told, in their precision."""
        like = next(self.parameters())
        return torch.zeros(shape, dtype=dtype or like.dtype, device=like.device)
