"""FFM: fast and forgetful memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from embodmem_policies.cell import MemoryCell, State
from embodmem_policies.scan import linear_scan


class FFMCell(MemoryCell):
    """Morad et al., Reinforcement Learning with Fast and Forgetful Memory, NeurIPS 2023, eq. 5-13.

    S_t = gamma * S_{t-1} + x~_t 1^T with gamma_jk = exp(a_j + i b_k), a < 0 a decay and b an oscillation;
    x~ = (W_1 x) * sigmoid(W_2 x), z = W_3 [Re S; Im S], g = sigmoid(W_4 x), y = LN(z) * g + (W_5 x) * (1 - g)

    Args:
        input_size: D of the inputs.
        output_size: D of the outputs.
        traces: m, decays.
        contexts: c, oscillations; the state holds m * c complex numbers.
        max_period: Steps after which the slowest trace is at 1 %, and the longest period.
    """

    def __init__(
        self, input_size: int, output_size: int, traces: int = 32, contexts: int = 4, max_period: int = 1024
    ) -> None:
        super().__init__(input_size, output_size)
        self.traces, self.contexts = traces, contexts
        slowest = math.log(0.01) / max_period
        self.a = nn.Parameter(torch.linspace(-math.e, slowest, traces))
        self.b = nn.Parameter(2.0 * math.pi / torch.linspace(1.0, max_period, contexts))
        self.project = nn.Linear(input_size, 2 * traces + 2 * output_size)  # W_1, W_2, W_4 and W_5, one above another
        self.mix = nn.Linear(2 * traces * contexts, output_size)  # W_3
        self.norm = nn.LayerNorm(output_size, elementwise_affine=False)

    def initial_state(self, batch: int) -> State:
        """The real and the imaginary part of S, (B, m, c, 2)."""
        return self.zeros(batch, self.traces, self.contexts, 2)

    def decay(self) -> Tensor:
        """Gamma (m, c) complex. A decay that has become a growth is held just below 1: nothing may blow up."""
        a = self.a.clamp(max=-1e-6)[:, None]
        return torch.polar(a.exp().expand(-1, self.contexts), self.b[None].expand(self.traces, -1))

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`."""
        m, n = self.traces, self.output_size
        value, value_gate, gate, skip = self.project(x).split((m, m, n, n), -1)
        decay = self.decay()
        driven = (value * value_gate.sigmoid())[..., None].expand(-1, -1, -1, self.contexts).to(decay.dtype)
        s = torch.view_as_real(linear_scan(decay, driven, torch.view_as_complex(state), start))
        recalled = self.norm(self.mix(s.flatten(2)))
        return torch.lerp(skip, recalled, gate.sigmoid()), s[-1]
