"""A reversible token transform: what was written into a memory token can be read out of it again, without loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from embodmem.errors import InvalidInput


class ReversibleToken(nn.Module):
    """Embeddings into tokens and back: a small transformer of additive couplings (Gomez et al., NeurIPS 2017, eq. 3-4).

    A token is two halves, (state, detail). A write takes the state of the token before it and the embedding through
    `blocks` couplings: state += F(detail), detail += G(state), F attention and G a feed-forward layer. The way back
    subtracts the same in reverse order, so it needs no training. This is the long-term token of Mem4Nav (2025),
    theta_t = R(theta_{t-1} || v_t).

    A token of fixed size cannot hold any number of embeddings: it gives back the last one and the state before. So one
    token is kept a write. A token alone gives its embedding; or keep the last state and only the details of all, and
    `decode_chain` gives back everything.

    The way back magnifies rounding by at most what the couplings do. Their weights are held at a Frobenius norm of 1 or
    less, and attention sees values within -1..1, so that training cannot make that large.

    Args:
        input_size: D of the embeddings.
        state_size: S of the state; D when 0.
        blocks: Couplings, each an F and a G.
        width: Of the hidden layers; a multiple of `parts`.
        parts: Tokens that attention sees of a half.

    Raises:
        InvalidInput: A size is below 1 or `parts` does not divide `width`.
    """

    def __init__(
        self, input_size: int, state_size: int = 0, *, blocks: int = 2, width: int = 64, parts: int = 4
    ) -> None:
        super().__init__()
        if min(input_size, state_size + 1, blocks, width, parts) < 1 or width % parts:
            raise InvalidInput(
                "reversible token: wanted sizes of 1 or more and parts that divide width, got "
                f"input {input_size}, state {state_size}, blocks {blocks}, width {width}, parts {parts}"
            )
        self.input_size = input_size
        self.state_size = state_size or input_size
        self.attend = nn.ModuleList(_Attend(input_size, self.state_size, width, parts) for _ in range(blocks))
        self.feed = nn.ModuleList(_Feed(self.state_size, input_size, width) for _ in range(blocks))

    def empty(self, batch: int) -> Tensor:
        """(B, S + D) the token before the first write: zeros."""
        like = next(self.parameters())
        return like.new_zeros(batch, self.state_size + self.input_size)

    def encode(self, x: Tensor, previous: Tensor | None = None) -> Tensor:
        """Write an embedding.

        Args:
            x: (B, D).
            previous: (B, S + D) the token before, or (B, S) only its state; the empty one when None.

        Returns:
            (B, S + D) the new token: its state, then its detail.

        Raises:
            InvalidInput: The shapes do not fit.
        """
        if previous is None:
            previous = self.empty(len(x))
        sizes = (self.state_size, self.state_size + self.input_size)
        if x.shape[1:] != (self.input_size,) or previous.dim() != 2 or previous.shape[1] not in sizes:
            raise InvalidInput(
                f"reversible token: wanted x (B, {self.input_size}) and a token (B, {sizes[1]}) or state "
                f"(B, {sizes[0]}), got {tuple(x.shape)} and {tuple(previous.shape)}"
            )
        state, detail = previous[:, : self.state_size], x
        for attend, feed in zip(self.attend, self.feed, strict=True):
            state = state + attend(detail)
            detail = detail + feed(state)
        return torch.cat((state, detail), 1)

    def decode(self, token: Tensor) -> tuple[Tensor, Tensor]:
        """Read a token: the embedding x (B, D) that was written, and the state (B, S) of the token before.

        Raises:
            InvalidInput: It is not (B, S + D).
        """
        size = self.state_size + self.input_size
        if token.dim() != 2 or token.shape[1] != size:
            raise InvalidInput(f"reversible token: wanted a token (B, {size}), got {tuple(token.shape)}")
        state, detail = token[:, : self.state_size], token[:, self.state_size :]
        for attend, feed in zip(reversed(self.attend), reversed(self.feed), strict=True):
            detail = detail - feed(state)
            state = state - attend(detail)
        return detail, state

    def encode_chain(self, x: Tensor, previous: Tensor | None = None) -> Tensor:
        """Write N embeddings (N, B, D), one after another: all their tokens (N, B, S + D)."""
        tokens = []
        for each in x.unbind(0):
            previous = self.encode(each, previous)
            tokens.append(previous)
        return torch.stack(tokens) if tokens else x.new_empty(0, x.shape[1], self.state_size + self.input_size)

    def decode_chain(self, state: Tensor, details: Tensor) -> tuple[Tensor, Tensor]:
        """All that was written, from the state after the last write and the details of all.

        Rounding adds up on the way back, from step to step; tokens that are kept whole do not have that.

        Args:
            state: (B, S) of the last token.
            details: (N, B, D) of all tokens, oldest first.

        Returns:
            x (N, B, D), oldest first, and the state (B, S) before the first.
        """
        found = []
        for detail in reversed(details.unbind(0)):
            x, state = self.decode(torch.cat((state, detail), 1))
            found.append(x)
        return (torch.stack(found[::-1]) if found else details), state


def _bounded(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer, its weight scaled down to a Frobenius norm of 1: it makes no difference between inputs larger."""
    return nn.functional.linear(x, layer.weight / layer.weight.norm().clamp_min(1.0), layer.bias)


class _Attend(nn.Module):
    """Self-attention over the parts of a half (Vaswani et al., NeurIPS 2017, eq. 1), with one head."""

    def __init__(self, inputs: int, outputs: int, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.split = nn.Linear(inputs, width)
        self.query_key_value = nn.ModuleList(nn.Linear(width // parts, width // parts) for _ in range(3))
        self.merge = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        split = _bounded(self.split, x).tanh()
        tokens = split.view(len(x), self.parts, split.shape[1] // self.parts)
        query, key, value = (_bounded(layer, tokens) for layer in self.query_key_value)  # type: ignore[arg-type]
        weights = (query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])).softmax(-1)
        return _bounded(self.merge, (tokens + weights @ value).flatten(1))


class _Feed(nn.Module):
    """A feed-forward layer."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(inputs, width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        return _bounded(self.narrow, _bounded(self.widen, x).tanh())
