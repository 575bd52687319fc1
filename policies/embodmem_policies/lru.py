"""LRU: the linear recurrent unit, a bank of damped oscillators."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from embodmem_policies.cell import Array, MemoryCell, State, Step, product, to_arrays
from embodmem_policies.scan import linear_scan


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

    def decay(self) -> tuple[Tensor, Tensor]:
        """Lambda (N,) complex and gamma (N,)."""
        nu = self.log_nu.exp()
        rotation = torch.polar(torch.exp(-nu), self.log_theta.exp())
        return rotation, torch.sqrt(-torch.expm1(-2.0 * nu))

    @torch.no_grad()
    def stepper(self) -> Step:
        """See `MemoryCell.stepper`."""
        factor, gamma = self.decay()
        weights = (self.read_in.weight * gamma.repeat_interleave(2)[:, None], self.read_out.weight, self.skip.weight)
        read_in, read_out, skip = to_arrays(tuple(weight.t().contiguous() for weight in weights))
        rotation, bias = to_arrays((factor, self.read_out.bias.clone()))

        def step(x: Array, state: State, start: Array) -> tuple[Array, State]:
            turned = rotation * np.ascontiguousarray(state).view(rotation.dtype)[..., 0]
            if start.any():
                turned[start] = 0.0
            s = product(x, read_in)
            both = s.view(rotation.dtype)
            both += turned
            y = product(s, read_out)
            y += product(x, skip)
            y += bias
            return y, s.reshape(-1, self.states, 2)

        return step

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`."""
        rotation, gamma = self.decay()
        # gamma scales the rows of B, which is cheaper than scaling every input
        weight = self.read_in.weight * gamma.repeat_interleave(2)[:, None]
        driven = torch.view_as_complex(nn.functional.linear(x, weight).view(*x.shape[:2], self.states, 2))
        s = torch.view_as_real(linear_scan(rotation, driven, torch.view_as_complex(state), start))
        return self.read_out(s.flatten(-2)) + self.skip(x), s[-1]
