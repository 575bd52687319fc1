"""minGRU with a gate that reaches exactly 0 and 1, so that it can hold a value for ever."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embodmem_policies.cell import Array, MemoryCell, State, Step, affine
from embodmem_policies.recurrence import is_plain, launch
from embodmem_policies.scan import chunks, run_scan

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
        (of_gate, of_candidate), (bias_z, bias_h) = self.project.weight.chunk(2), self.project.bias.chunk(2)
        # 1.2 sigmoid(a) - 0.1 = 0.6 tanh(a / 2) + 0.5
        half_gate, candidate = affine(0.5 * of_gate, 0.5 * bias_z), affine(of_candidate, bias_h)

        def step(x: Array, state: State, start: Array) -> tuple[Array, State]:
            z = half_gate(x)
            np.tanh(z, out=z)
            z *= 0.6
            z += 0.5
            np.maximum(z, 0.0, out=z)
            np.minimum(z, 1.0, out=z)
            h = candidate(x)
            h *= z
            kept = np.subtract(1.0, z, out=z)
            kept *= state
            if np.count_nonzero(start):
                kept[start] = 0.0
            h += kept
            return h, h

        return step

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`."""
        h: Tensor = _GatedScan.apply(  # type: ignore[no-untyped-call]
            x, self.project.weight, self.project.bias, state, start
        )
        return h, h[-1]


class _GatedScan(torch.autograd.Function):
    """Products, gate and recurrence in one, a chunk of time at once, so that all between two products stays in cache.

    What is kept for the way back is the sigmoid s of the gate, the candidate and h; the gate itself is made again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, initial: Tensor, start: Tensor) -> Tensor:
        (steps, batch, _), n = x.shape, len(bias) // 2
        kept = x.new_empty(2, steps, batch, n)
        h = x.new_empty(steps, batch, n)
        carry = initial
        for at in chunks(h):
            s, candidate, out = kept[0, at], kept[1, at], h[at]
            rows = x[at].flatten(0, 1)
            torch.addmm(bias[:n], rows, weight[:n].t(), out=s.flatten(0, 1)).sigmoid_()
            torch.addmm(bias[n:], rows, weight[n:].t(), out=candidate.flatten(0, 1))
            _hold(s, candidate, carry, start[at], out)
            carry = out[-1]
        ctx.save_for_backward(x, weight, kept, h, initial, start)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, None]:
        x, weight, kept, h, initial, start = ctx.saved_tensors
        d_weight, d_bias = torch.zeros_like(weight), weight.new_zeros(len(weight))
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        carry = torch.zeros_like(initial)
        for at in reversed(chunks(h)):
            before = h[at.start - 1] if at.start else initial
            d_projected, carry = _chunk_backward(dh[at], kept[:, at], h[at], before, start[at], carry)
            d_weight.addmm_(d_projected.t(), x[at].flatten(0, 1))
            d_bias.add_(d_projected.sum(0))
            if d_x is not None:
                torch.mm(d_projected, weight, out=d_x[at].flatten(0, 1))
        return d_x, d_weight, d_bias, carry, None


def _hold(s: Tensor, candidate: Tensor, before: Tensor, start: Tensor, h: Tensor) -> None:
    """Fill h (C, B, n) from the gate's sigmoid and the candidate (C, B, n), h before (B, n) and starts (C, B)."""
    if is_plain(s, candidate, before, start, h):
        launch("hold", h, s, candidate, before, start, h)
        return
    keep = _keep(s)
    torch.addcmul(candidate, candidate, keep, value=-1.0, out=h)  # z * candidate
    run_scan(keep, h, before, start, out=h)


def _keep(s: Tensor) -> Tensor:
    """1 - z: exactly 0 and 1 where z is 1 and 0."""
    return torch.rsub(s, 1.1, alpha=1.2).clamp_(0.0, 1.0)


def _chunk_backward(
    dh: Tensor, kept: Tensor, h: Tensor, before: Tensor, start: Tensor, carry: Tensor
) -> tuple[Tensor, Tensor]:
    """The way back through a chunk of C steps.

    Args:
        dh: (C, B, n) the gradient by h from outside.
        kept: (2, C, B, n) s and the candidate.
        h: (C, B, n) the results of the chunk.
        before: (B, n) h before the chunk.
        start: (C, B).
        carry: (B, n) the gradient by the last h of the chunk from what comes after it.

    Returns:
        The gradient by the projected inputs (C * B, 2 n), the gate's first, and by `before` (B, n).
    """
    (s, candidate), n = kept, h.shape[-1]
    if is_plain(dh, s, candidate, h, before, start, carry):
        d_projected, carry = h.new_empty(*h.shape[:-1], 2 * n), carry.clone()
        launch("hold_back", h, dh, s, candidate, h, before, start, carry, d_projected)
        return d_projected.flatten(0, 1), carry
    keep, g = _keep(s), torch.empty_like(h)
    torch.add(dh[-1], carry, out=g[-1])
    if len(g) > 1:
        run_scan(keep[1:], dh[:-1], g[-1], start[1:], reverse=True, out=g[:-1])
    d_projected = h.new_empty(*h.shape[:-1], 2 * n)
    d_gate, d_candidate = d_projected.chunk(2, -1)
    torch.addcmul(g, g, keep, value=-1.0, out=d_candidate)  # dh/dcandidate = z
    # dh/dz = candidate - h_{t-1}, where h_{t-1} is 0 at a start
    torch.sub(candidate[0], before, out=d_gate[0])
    torch.sub(candidate[1:], h[:-1], out=d_gate[1:])
    d_gate[start] = candidate[start]
    slope = torch.addcmul(s, s, s, value=-1.0)  # dz/da = 1.2 s (1 - s)
    d_gate.mul_(slope.mul_(g)).mul_(1.2)
    return d_projected.flatten(0, 1), (keep[0] * g[0]).masked_fill_(start[0, :, None], 0.0)
