"""The perceptual-cognitive bank of MemoryVLA: a short bank of what was seen and meant, in which like is merged."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from embodmem.errors import InvalidInput
from embodmem.spatial.octree.runtime import Launcher
from embodmem.spatial.octree.runtime import start as start_warp
from embodmem_policies.cell import MemoryCell, State, since_start
from embodmem_policies.hcam import sinusoid


class BankCell(MemoryCell):
    """Shi et al., MemoryVLA, 2025, section 3: retrieve, fuse by a gate, consolidate, in two banks.

    The input becomes `tokens` perceptual tokens and one cognitive token. Each kind reads its own bank and is fused with
    what it finds; y = W [fused tokens]. A bank that overflows averages the two neighbours in time that are most alike.
    What is stored has no gradient.

    Args:
        input_size: D of the inputs.
        output_size: D of the outputs.
        length: L, entries of each bank.
        tokens: Perceptual tokens of an entry.
        width: Of the cognitive token.
        token_width: Of a perceptual token.
    """

    detaches = True

    def __init__(
        self,
        input_size: int,
        output_size: int,
        length: int = 16,
        tokens: int = 4,
        width: int = 64,
        token_width: int = 16,
    ) -> None:
        super().__init__(input_size, output_size)
        if min(length, tokens, width, token_width) < 1:
            raise InvalidInput(f"bank: wanted sizes of 1 or more, got {length}, {tokens}, {width}, {token_width}")
        self.squeeze = _Squeeze(input_size, tokens, token_width)
        self.think = nn.Linear(input_size, width)
        self.perceptual = Bank(length, tokens, token_width)
        self.cognitive = Bank(length, 1, width)
        self.output = nn.Linear(tokens * token_width + width, output_size)

    def initial_state(self, batch: int) -> State:
        """The two banks and the number of inputs so far (B,)."""
        like = self.zeros(batch)
        return {
            "perceptual": self.perceptual.empty(like),
            "cognitive": self.cognitive.empty(like),
            "clock": self.zeros(batch, dtype=torch.int64),
        }

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`. What is stored has no gradient: the banks are written first, then all steps read."""
        flat = x.flatten(0, 1)
        seen, meant = self.squeeze(flat), self.think(flat)[:, None]
        clock = since_start(start, state["clock"])
        parts, after = [], {}
        for name, bank, now in (("perceptual", self.perceptual, seen), ("cognitive", self.cognitive, meant)):
            told, after[name] = bank.scan(now.unflatten(0, start.shape), clock[:-1], state[name], start)
            parts.append(told.flatten(2))
        y: Tensor = self.output(torch.cat(parts, -1))
        return y, {**after, "clock": clock[-1]}


class _Squeeze(nn.Module):
    """Tokens of an input, each channel scaled by what all tokens say of it (Hu et al., CVPR 2018, eq. 2-4)."""

    def __init__(self, input_size: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.split = nn.Linear(input_size, tokens * width)
        self.excite = nn.Sequential(
            nn.Linear(width, max(1, width // 4)), nn.ReLU(), nn.Linear(max(1, width // 4), width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to (B, tokens, width)."""
        tokens = self.split(x).unflatten(-1, (self.tokens, -1)).relu()
        scaled: Tensor = tokens * self.excite(tokens.mean(1, keepdim=True)).sigmoid()
        return scaled


class Bank(nn.Module):
    """One bank of at most L entries of P tokens, for all rows at once and without a look at any value by the host.

    Args:
        length: L.
        tokens: P.
        width: Of a token.
        layers: Of cross-attention, one after another.
    """

    def __init__(self, length: int, tokens: int, width: int, layers: int = 2) -> None:
        super().__init__()
        self.length, self.tokens, self.width = length, tokens, width
        self.layers = nn.ModuleList(_CrossAttention(width) for _ in range(layers))
        self.when = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.gate = nn.Linear(2 * width, width)

    def empty(self, like: Tensor) -> State:
        """Entries (B, L, P, W), their times (B, L) and their number (B,)."""
        batch = len(like)
        return {
            "entries": like.new_zeros(batch, self.length, self.tokens, self.width),
            "time": like.new_zeros(batch, self.length, dtype=torch.int64),
            "count": like.new_zeros(batch, dtype=torch.int64),
        }

    def forward(self, now: Tensor, state: State) -> Tensor:
        """What is now (B, P, W), fused with what it recalls; unchanged where the bank is empty."""
        entries = state["entries"]
        taken = torch.arange(self.length, device=now.device) < state["count"][:, None]
        # the time goes on the keys only, so that what is retrieved does not depend on when
        keys = entries + self.when(sinusoid(state["time"], self.width).to(now.dtype))[:, :, None]
        empty = ~taken[:, :1, None]
        mask = (taken.repeat_interleave(self.tokens, 1)[:, None] | empty).expand(-1, self.tokens, -1)
        found = now
        for layer in self.layers:
            found = layer(found, keys.flatten(1, 2), entries.flatten(1, 2), mask)
        g = self.gate(torch.cat((now, found), -1)).sigmoid()
        return torch.where(empty, now, g * now + (1.0 - g) * found)

    def scan(self, now: Tensor, clock: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """T steps at once: what is now (T, B, P, W), fused with what the bank of its step recalls, and the bank after.

        Each step adds its entry; in a full bank the two most alike among neighbours, the new one included, become one.
        One kernel does it for all steps, so that many steps and one at a time decide alike where two pairs are alike
        but for rounding.
        """
        steps, batch = start.shape
        flat = now.detach().flatten(2)
        before = self.empty(now.new_zeros(steps * batch))
        entries = torch.cat((state["entries"].flatten(2), flat.new_zeros(batch, 1, flat.shape[-1])), 1)
        time = torch.cat((state["time"], state["time"].new_zeros(batch, 1)), 1)
        count = state["count"].clone()
        seen = [before[name].view(steps, batch, *shape) for name, shape in self._shapes(flat.shape[-1])]
        run_kernel(batch, [flat, clock, start], self.tokens, [entries, time, count, *seen])
        told: Tensor = self(now.flatten(0, 1), before)
        return told.view(steps, batch, self.tokens, self.width), {
            "entries": entries[:, :-1].reshape(batch, self.length, self.tokens, self.width),
            "time": time[:, :-1].contiguous(),
            "count": count,
        }

    def _shapes(self, size: int) -> list[tuple[str, tuple[int, ...]]]:
        """The parts of the state as the kernel wants them, tokens side by side."""
        return [("entries", (self.length, size)), ("time", (self.length,)), ("count", ())]


def run_kernel(rows: int, inputs: list[Tensor], tokens: int, outputs: list[Tensor]) -> None:
    """`kernels_bank.consolidate`, on the device of the tensors and in its order of work."""
    warp = start_warp()
    from embodmem_policies.kernels_bank import consolidate

    device = warp.device_from_torch(outputs[0].device)
    given = [warp.from_torch(each.contiguous(), requires_grad=False) for each in inputs]
    made = [warp.from_torch(each, requires_grad=False) for each in outputs]
    stream = warp.stream_from_torch(outputs[0].device) if device.is_cuda else None
    with warp.ScopedStream(stream):
        Launcher(device, 1).run(consolidate, rows, [*given, tokens, *made])


class _CrossAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = 1.0 / math.sqrt(width)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """(B, P, W) queries over (B, N, W) keys and values, where (B, P, N) mask is True."""
        logits = self.query(query) @ self.key(keys).transpose(1, 2) * self.scale
        found = logits.masked_fill(~mask, -torch.inf).softmax(-1) @ self.value(values)
        x = self.first_norm(query + found)
        y: Tensor = self.second_norm(x + self.mlp(x))
        return y
