"""HCAM: attention over summaries of chunks of the past, then inside the chunks that matter."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from embodmem.errors import InvalidInput
from embodmem_policies.cell import MemoryCell, State, where_start


def sinusoid(position: Tensor, size: int) -> Tensor:
    """Vaswani et al., NeurIPS 2017, section 3.5: positions of any shape to (..., size), sines beside cosines."""
    half = (size + 1) // 2
    rate = torch.exp(torch.arange(half, device=position.device) * (-math.log(10_000.0) / half))
    angle = position[..., None] * rate
    return torch.cat((angle.sin(), angle.cos()), -1)[..., :size]


class HCAMCell(MemoryCell):
    """Lampinen et al., Towards mental time travel, NeurIPS 2021, section 2.

    Inputs gather in a chunk; a full chunk goes to the memory with the mean of its contents as its summary, over the
    oldest chunk. A read scores the summaries by the query, keeps the `top_k` best, attends inside each of these, and
    adds the answers weighted by the softmax of their scores: y = W [x; sum_i softmax(q . k_i) MHA(x, chunk_i)]. What is
    stored has no gradient; of the chunk that is being filled nothing is read.

    Args:
        input_size: D of the inputs.
        output_size: D of the outputs.
        chunk: Inputs of a chunk.
        chunks: How many chunks are kept.
        top_k: How many are looked into.
        heads: Heads of the attention inside a chunk; they must divide `width`.
        width: Of queries, keys and values.
    """

    detaches = True

    def __init__(
        self,
        input_size: int,
        output_size: int,
        chunk: int = 16,
        chunks: int = 16,
        top_k: int = 4,
        heads: int = 2,
        width: int = 64,
    ) -> None:
        super().__init__(input_size, output_size)
        if min(chunk, chunks, top_k, heads) < 1 or top_k > chunks or width % heads:
            raise InvalidInput(
                f"hcam: wanted 1 <= top_k <= chunks and heads that divide width, got chunk {chunk}, chunks {chunks}, "
                f"top_k {top_k}, heads {heads}, width {width}"
            )
        self.chunk, self.chunks, self.top_k, self.heads, self.width = chunk, chunks, top_k, heads, width
        self.query_summary = nn.Linear(input_size, width)
        self.key_summary = nn.Linear(input_size, width)
        self.query = nn.Linear(input_size, width)
        self.key_value = nn.Linear(input_size, 2 * width)
        self.merge = nn.Linear(width, width)
        self.output = nn.Linear(input_size + width, output_size)

    def initial_state(self, batch: int) -> State:
        """Contents (B, M, C, D), the chunk being filled (B, C, D), and how many inputs there were (B,)."""
        size = self.input_size
        return {
            "contents": self.zeros(batch, self.chunks, self.chunk, size),
            "filling": self.zeros(batch, self.chunk, size),
            "count": self.zeros(batch, dtype=torch.int64),
        }

    def step(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.step`."""
        state = where_start(start, self.initial_state(len(x)), state)
        y: Tensor = self.output(torch.cat((x, self._read(x, state)), -1))
        return y, self._write(x.detach(), state)

    def _read(self, x: Tensor, state: State) -> Tensor:
        """(B, width), zeros where the memory is empty."""
        batch, contents = len(x), state["contents"]
        slots = torch.arange(self.chunks, device=x.device)
        empty = slots >= (state["count"] // self.chunk)[:, None]
        scores = torch.einsum("bw,bmw->bm", self.query_summary(x), self.key_summary(contents.mean(2)))
        scores = (scores / math.sqrt(self.width)).masked_fill(empty, -torch.inf)
        best, which = scores.topk(self.top_k, 1)
        # where all is empty, any finite score will do: the answer is set to zero below
        relevance = best.masked_fill(empty[:, :1], 0.0).softmax(1)
        chosen = contents[torch.arange(batch, device=x.device)[:, None], which]
        chosen = chosen + sinusoid(torch.arange(self.chunk, device=x.device), self.input_size).to(x.dtype)
        key, value = self.key_value(chosen).unflatten(-1, (2, self.heads, -1)).unbind(3)
        query = self.query(x).unflatten(-1, (self.heads, -1))
        logits = torch.einsum("bhd,bkchd->bkhc", query, key) / math.sqrt(self.width // self.heads)
        told = torch.einsum("bkhc,bkchd->bkhd", logits.softmax(-1), value)
        answer: Tensor = (self.merge(told.flatten(2)) * relevance[..., None]).sum(1)
        return answer.masked_fill(empty[:, :1], 0.0)

    def _write(self, x: Tensor, state: State) -> State:
        count = state["count"]
        place = torch.arange(self.chunk, device=x.device) == (count % self.chunk)[:, None]
        filling = torch.where(place[..., None], x[:, None], state["filling"])
        count = count + 1
        full = (count % self.chunk == 0)[:, None]
        slot = torch.arange(self.chunks, device=x.device) == ((count // self.chunk - 1) % self.chunks)[:, None]
        contents = torch.where((full & slot)[..., None, None], filling[:, None], state["contents"])
        return {"contents": contents, "filling": filling, "count": count}
