"""GRU: the gated recurrent unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embodmem_policies.cell import MemoryCell, State, where_start


class _Segments(MemoryCell):
    """A torch recurrent layer that is run from start to start, since it knows no resets itself."""

    rnn: nn.RNNBase

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`; one pass of the layer for each stretch in which no row starts."""
        bounds = [0, *(start[1:].any(1).nonzero().flatten() + 1).tolist(), len(x)]
        fresh = self.initial_state(x.shape[1])
        outputs = []
        for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
            y, state = self._run(x[begin:end], where_start(start[begin], fresh, state))
            outputs.append(y)
        return (torch.cat(outputs) if len(outputs) > 1 else outputs[0]), state


class GRUCell(_Segments):
    """Cho et al., EMNLP 2014, eq. 5-8, in torch's arrangement (the reset gate acts after the product).

    r = sigmoid(W_r x + U_r h), z = sigmoid(W_z x + U_z h), n = tanh(W_n x + r * (U_n h)), h = (1 - z) * n + z * h
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__(input_size, output_size)
        self.rnn = nn.GRU(input_size, output_size)

    def initial_state(self, batch: int) -> State:
        """The hidden h (B, output_size)."""
        return self.zeros(batch, self.output_size)

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, h = self.rnn(x, state[None])
        return y, h[0]
