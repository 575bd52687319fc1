"""minGRU with a gate that reaches exactly 0 and 1, so that it can hold a value for ever."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from embodmem_policies.cell import MemoryCell, State, Step
from embodmem_policies.scan import run_scan, run_scan_backward

GATE_SPREAD = 4.0
"""Gates begin with biases from minus to plus this; beyond 2.4 on either side a gate of no input is exactly 0 or 1."""


class MinGRUCell(MemoryCell):
    """Feng et al., Were RNNs All We Needed?, 2024, section 3.1; gate and candidate see the input only.

    h_t = (1 - z_t) * h_{t-1} + z_t * (W_h x_t), where z_t = clamp(u_t, 0, 1) and u_t = 1.2 sigmoid(W_z x_t) - 0.1: a
    sigmoid stretched beyond 0..1 and cut there. Its gradient is that of the stretched sigmoid everywhere, as in
    z = u + (clamp(u, 0, 1) - u).detach(): a plain cut would stop the gradient of a gate once it is shut, and it would
    never open again.
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__(input_size, output_size)
        self.project = nn.Linear(input_size, 2 * output_size)  # W_z above W_h
        # Some gates begin shut and some open, as Tallec and Ollivier, ICLR 2018, want of time scales.
        with torch.no_grad():
            self.project.bias[:output_size] = torch.linspace(-GATE_SPREAD, GATE_SPREAD, output_size)

    def initial_state(self, batch: int) -> State:
        """The hidden h (B, output_size)."""
        return self.zeros(batch, self.output_size)

    @torch.no_grad()
    def stepper(self) -> Step:
        """See `MemoryCell.stepper`."""
        weight, bias, n = self.project.weight.t().contiguous(), self.project.bias.clone(), self.output_size

        def step(x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
            projected = torch.addmm(bias, x, weight)
            z = projected[:, :n].sigmoid().mul_(1.2).sub_(0.1).clamp_(0.0, 1.0)
            h = torch.lerp(state * ~start[:, None], projected[:, n:], z)
            return h, h

        return step

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`."""
        h: Tensor = _GatedScan.apply(self.project(x), state, start)  # type: ignore[no-untyped-call]
        return h, h[-1]


class _GatedScan(torch.autograd.Function):
    """Gate and recurrence in one, since its elementwise steps cost more than the recurrence when torch keeps them."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, initial: Tensor, start: Tensor) -> Tensor:
        gate, candidate = projected.chunk(2, -1)
        s = gate.sigmoid()
        z = s.mul(1.2).sub_(0.1).clamp_(0.0, 1.0)
        driven = z * candidate
        keep = torch.sub(1.0, z, out=z)
        h = run_scan(keep, driven, initial, start, out=driven)
        slope = s.addcmul_(s, s, value=-1.0).mul_(1.2)  # du/da = 1.2 s (1 - s)
        ctx.save_for_backward(slope, keep, candidate, h, initial, start)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor, None]:
        slope, keep, candidate, h, initial, start = ctx.saved_tensors
        d_projected = dh.new_empty(*dh.shape[:-1], 2 * dh.shape[-1])
        d_gate, g = d_projected.chunk(2, -1)
        run_scan_backward(keep, dh, start, out=g)
        # dh/dz = candidate - h_{t-1}, where h_{t-1} is 0 at a start
        torch.sub(candidate[0], initial, out=d_gate[0])
        torch.sub(candidate[1:], h[:-1], out=d_gate[1:])
        d_gate[start] = candidate[start]
        d_gate.mul_(g).mul_(slope)
        d_initial = (keep[0] * g[0]).masked_fill_(start[0, :, None], 0.0)
        g.addcmul_(g, keep, value=-1.0)  # dh/dcandidate = z
        return d_projected, d_initial, None
