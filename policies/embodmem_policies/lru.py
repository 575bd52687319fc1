"""LRU: the linear recurrent unit, a bank of damped oscillators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embodmem_policies.cell import Array, MemoryCell, State, Step, affine, product, to_arrays
from embodmem_policies.recurrence import is_plain, launch
from embodmem_policies.scan import chunks, run_scan


class LRUCell(MemoryCell):
    """Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, ICML 2023, eq. 4-7.

    s_t = lambda * s_{t-1} + gamma * (B x_t), y_t = Re(C s_t) + D x_t, with lambda = exp(-exp(nu) + i exp(theta)) and
    gamma = sqrt(1 - |lambda|^2)

    Args:
        input_size: D of the inputs.
        output_size: D of the outputs.
        states: N, complex numbers of state; `output_size` when 0.
        radius: Range of |lambda| at the beginning.
        max_phase: Largest angle of lambda at the beginning, rad.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        states: int = 0,
        radius: tuple[float, float] = (0.5, 0.99),
        max_phase: float = 2.0 * math.pi,
    ) -> None:
        super().__init__(input_size, output_size)
        self.states = n = states or output_size
        low, high = radius
        # uniform over the ring between the radii (Orvieto et al., lemma 3.2)
        squared = torch.rand(n) * (high**2 - low**2) + low**2
        self.log_nu = nn.Parameter(torch.log(-0.5 * torch.log(squared)))
        self.log_theta = nn.Parameter(torch.log(max_phase * torch.rand(n).clamp_min(1e-4)))
        self.read_in = nn.Linear(input_size, 2 * n, bias=False)  # B, real and imaginary parts side by side
        self.read_out = nn.Linear(2 * n, output_size)  # C, likewise
        self.skip = nn.Linear(input_size, output_size, bias=False)  # D

    def initial_state(self, batch: int) -> State:
        """The real and the imaginary part of s, (B, N, 2)."""
        return self.zeros(batch, self.states, 2)

    @torch.no_grad()
    def stepper(self) -> Step:
        """See `MemoryCell.stepper`."""
        factor, gamma, _ = _decay(self.log_nu, self.log_theta)
        weights = (_by_number(self.read_in.weight, gamma).t().contiguous(), self.skip.weight.t().contiguous(), factor)
        (read_in, skip, rotation), read_out = to_arrays(weights), affine(self.read_out.weight, self.read_out.bias)

        def step(x: Array, state: State, start: Array) -> tuple[Array, State]:
            turned = rotation * np.ascontiguousarray(state).view(rotation.dtype)[..., 0]
            if np.count_nonzero(start):
                turned[start] = 0.0
            s = product(x, read_in)
            s += turned.view(s.dtype)
            y = read_out(s)
            y += product(x, skip)
            return y, s.reshape(-1, self.states, 2)

        return step

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`."""
        out, read_in, skip = self.read_out, self.read_in.weight, self.skip.weight
        y, last = _Oscillators.apply(  # type: ignore[no-untyped-call]
            x, read_in, self.log_nu, self.log_theta, out.weight, out.bias, skip, state, start
        )
        return y, last


def _decay(log_nu: Tensor, log_theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lambda (N,) complex, gamma (N,), and nu."""
    nu = log_nu.exp()
    return torch.polar(torch.exp(-nu), log_theta.exp()), torch.expm1(-2.0 * nu).neg_().sqrt_(), nu


def _by_number(weight: Tensor, factor: Tensor) -> Tensor:
    """Scale the two rows of every number in `weight` (2 N, D) by its factor (N,)."""
    return (weight.view(len(factor), -1) * factor[:, None]).view_as(weight)


class _Oscillators(torch.autograd.Function):
    """Products and recurrence in one, a chunk of time at once, so that all between two products stays in cache.

    The way back runs on conjugates, g_t = conj(ds_t) + lambda g_{t+1}: then nothing long is conjugated, for the signs
    of imaginary parts are turned in the weights.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        read_in: Tensor,
        log_nu: Tensor,
        log_theta: Tensor,
        read_out: Tensor,
        bias: Tensor,
        skip: Tensor,
        initial: Tensor,
        start: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (steps, batch, _), n = x.shape, len(log_nu)
        rotation, gamma, nu = _decay(log_nu, log_theta)
        into = _by_number(read_in, gamma)  # gamma scales the rows of B, which is cheaper than scaling every input
        s, y = x.new_empty(steps, batch, n, 2), x.new_empty(steps, batch, len(bias))
        numbers = torch.view_as_complex(s)
        carry = torch.view_as_complex(initial.contiguous())
        for at in chunks(s):
            inputs, parts = x[at].flatten(0, 1), s[at].view(-1, 2 * n)
            torch.mm(inputs, into.t(), out=parts)
            if is_plain(numbers, rotation, carry, start):
                launch("turn", numbers[at], numbers[at], rotation, carry, start[at])
            else:
                run_scan(rotation, numbers[at], carry, start[at], out=numbers[at])
            carry = numbers[at.stop - 1]
            torch.addmm(bias, parts, read_out.t(), out=y[at].view(-1, len(bias))).addmm_(inputs, skip.t())
        ctx.save_for_backward(x, read_in, log_theta, read_out, skip, initial, start, s, rotation, gamma, nu)
        return y, s[-1].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        x, read_in, log_theta, read_out, skip, initial, start, s, rotation, gamma, nu = ctx.saved_tensors
        sign = x.new_ones(2 * len(rotation))
        sign[1::2] = -1.0
        into, out = _by_number(read_in * sign[:, None], gamma), read_out * sign
        d_in, d_out, d_skip, d_bias = (torch.zeros_like(w) for w in (read_in, read_out, skip, read_out[:, 0]))
        d_rotation = torch.zeros_like(rotation)
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        carry = torch.view_as_complex(d_last.contiguous()).conj().resolve_conj()
        for at in reversed(chunks(s)):
            inputs, parts, dy_at = x[at].flatten(0, 1), s[at].view(-1, len(sign)), dy[at].flatten(0, 1)
            flat = torch.mm(dy_at, out)
            g = torch.view_as_complex(flat.view(*s[at].shape))
            before = s[at.start - 1] if at.start else initial
            numbers = torch.view_as_complex(s[at]), torch.view_as_complex(before)
            carry = _chunk_backward(g, *numbers, rotation, start[at], carry, d_rotation)
            d_in.addmm_(flat.t(), inputs)
            d_out.addmm_(dy_at.t(), parts)
            d_skip.addmm_(dy_at.t(), inputs)
            d_bias.add_(dy_at.sum(0))
            if d_x is not None:
                torch.mm(flat, into, out=d_x[at].view(len(flat), -1)).addmm_(dy_at, skip)
        d_initial = torch.view_as_real(carry.conj().resolve_conj())
        # lambda = exp(-nu + i theta) with nu = exp(log_nu), theta = exp(log_theta)
        turned = torch.view_as_real(d_rotation * rotation)
        d_log_theta = turned[:, 1] * log_theta.exp().neg_()
        d_in *= sign[:, None]
        d_gamma = (d_in * read_in).view(len(nu), -1).sum(1)
        # d gamma / d log_nu = nu (1 - gamma^2) / gamma
        d_log_nu = nu * (d_gamma * (gamma.reciprocal() - gamma) - turned[:, 0])
        return d_x, _by_number(d_in, gamma), d_log_nu, d_log_theta, d_out, d_bias, d_skip, d_initial, None


def _chunk_backward(
    g: Tensor, s: Tensor, before: Tensor, rotation: Tensor, start: Tensor, carry: Tensor, d_rotation: Tensor
) -> Tensor:
    """The way back through a chunk of C steps, on conjugates.

    Args:
        g: (C, B, n) the gradient by s from its readers; becomes the whole of it.
        s: (C, B, n) the results of the chunk.
        before: (B, n) s before the chunk.
        rotation: (n,).
        start: (C, B).
        carry: (B, n) the gradient by the last s of the chunk from what comes after it.
        d_rotation: (n,); this chunk's part is added.

    Returns:
        The gradient by `before` (B, n).
    """
    if is_plain(g, s, before, rotation, start, carry):
        carry, sums = carry.clone(), torch.zeros_like(before)
        launch("turn_back", g, g, s, rotation, before, start, carry, sums)
        d_rotation += sums.sum(0)
        return carry
    g[-1] += carry
    if len(g) > 1:
        run_scan(rotation, g[:-1], g[-1], start[1:], reverse=True, out=g[:-1])
    return _hand_back(g, s, before, start, d_rotation) * rotation


def _hand_back(g: Tensor, s: Tensor, before: Tensor, start: Tensor, d_rotation: Tensor) -> Tensor:
    """Add g_t s_{t-1} of a chunk (C, B, n) to `d_rotation`, but not at starts; returns g_0 (B, n), 0 at starts."""
    product = torch.empty_like(s)
    torch.mul(g[0], before, out=product[0])
    torch.mul(g[1:], s[:-1], out=product[1:])
    kept = (~start).to(d_rotation.real.dtype).flatten()
    summed = torch.mv(torch.view_as_real(product).view(len(kept), -1).t(), kept)
    d_rotation += torch.view_as_complex(summed.view(-1, 2))
    return g[0].masked_fill(start[0, :, None], 0.0)
