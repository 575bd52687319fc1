"""LSTM: long short-term memory."""

from __future__ import annotations

from torch import Tensor, nn

from embodmem_policies.cell import State
from embodmem_policies.gru import _Segments


class LSTMCell(_Segments):
    """Hochreiter and Schmidhuber, Neural Computation 1997, with the forget gate of Gers et al., 2000.

    i, f, o = sigmoid(W x + U h), g = tanh(W_g x + U_g h), c = f * c + i * g, h = o * tanh(c)
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__(input_size, output_size)
        self.rnn = nn.LSTM(input_size, output_size)

    def initial_state(self, batch: int) -> State:
        """(h, c), each (B, output_size)."""
        return self.zeros(batch, self.output_size), self.zeros(batch, self.output_size)

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, (h, c) = self.rnn(x, (state[0][None], state[1][None]))
        return y, (h[0], c[0])
