"""HCAM: attention over summaries of chunks of the past, then inside the chunks that matter."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from embodmem.errors import InvalidInput
from embodmem_policies.cell import MemoryCell, State, since_start, where_start


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

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`. What is stored has no gradient, so that all reads of all steps are made at once."""
        steps, batch = start.shape
        past = _Past(x.detach(), state, start)
        slots = torch.arange(self.chunks, device=x.device)
        inside = torch.arange(self.chunk, device=x.device)
        first = past.chunk_in(slots) * self.chunk  # (T + 1, B, M) where in its episode the chunk of a slot begins
        means = x.new_empty(steps, batch, self.chunks, self.input_size)
        for part in _parts(steps, batch * self.chunks * self.chunk * self.input_size):
            torch.mean(past.items(first[part, ..., None] + inside, part), 3, out=means[part])
        empty = first[:steps] < 0
        best, which = self._relevant(x, means, empty)
        chosen = first[:steps].gather(2, which)[..., None] + inside
        y = self.output(torch.cat((x, self._look(x, past.items(chosen, slice(0, steps)), best, empty)), -1))
        last = slice(steps, steps + 1)
        count = past.count[steps]
        # of the chunk being filled, what has not come yet still holds the chunk before
        place = (count // self.chunk * self.chunk)[:, None] + inside
        place = torch.where(inside < (count % self.chunk)[:, None], place, place - self.chunk)
        return y, {
            "contents": past.items(first[last, ..., None] + inside, last)[0],
            "filling": past.items(place[None], last)[0],
            "count": count,
        }

    def _read(self, x: Tensor, state: State) -> Tensor:
        """(B, width), zeros where the memory is empty."""
        contents = state["contents"]
        empty = torch.arange(self.chunks, device=x.device) >= (state["count"] // self.chunk)[:, None]
        best, which = self._relevant(x, contents.mean(2), empty)
        chosen = contents[torch.arange(len(x), device=x.device)[:, None], which]
        return self._look(x, chosen, best, empty)

    def _relevant(self, x: Tensor, means: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and slots (..., k) of the chunks that matter most to x (..., D), by their means (..., M, D)."""
        scores = torch.einsum("...w,...mw->...m", self.query_summary(x), self.key_summary(means))
        best, which = (scores / math.sqrt(self.width)).masked_fill(empty, -torch.inf).topk(self.top_k, -1)
        return best, which

    def _look(self, x: Tensor, chosen: Tensor, best: Tensor, empty: Tensor) -> Tensor:
        """Attention of x (..., D) inside the chosen chunks (..., k, C, D); zeros where all slots are empty (..., M)."""
        nothing = empty.all(-1, keepdim=True)
        # where all is empty, any finite score will do: the answer is set to zero below
        relevance = best.masked_fill(nothing, 0.0).softmax(-1)
        chosen = chosen + sinusoid(torch.arange(self.chunk, device=x.device), self.input_size).to(x.dtype)
        key, value = self.key_value(chosen).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        query = self.query(x).unflatten(-1, (self.heads, -1))
        logits = torch.einsum("...hd,...kchd->...khc", query, key) / math.sqrt(self.width // self.heads)
        told = torch.einsum("...khc,...kchd->...khd", logits.softmax(-1), value)
        answer: Tensor = (self.merge(told.flatten(-2)) * relevance[..., None]).sum(-2)
        return answer.masked_fill(nothing, 0.0)

    def _write(self, x: Tensor, state: State) -> State:
        count = state["count"]
        place = torch.arange(self.chunk, device=x.device) == (count % self.chunk)[:, None]
        filling = torch.where(place[..., None], x[:, None], state["filling"])
        count = count + 1
        full = (count % self.chunk == 0)[:, None]
        slot = torch.arange(self.chunks, device=x.device) == ((count // self.chunk - 1) % self.chunks)[:, None]
        contents = torch.where((full & slot)[..., None, None], filling[:, None], state["contents"])
        return {"contents": contents, "filling": filling, "count": count}


class _Past:
    """All inputs that the memory holds before each of T steps, or after the last, as places in one tensor.

    Args:
        x: (T, B, D) inputs.
        state: The memory before the first.
        start: (T, B).

    Attributes:
        count: (T + 1, B) inputs of the episode before each step, and after the last.
    """

    def __init__(self, x: Tensor, state: State, start: Tensor) -> None:
        (steps, batch, _), device = x.shape, x.device
        contents, filling, before = state["contents"], state["filling"], state["count"]
        self.chunks, self.chunk = contents.shape[1:3]
        self.before = before
        self.count = since_start(start, before)
        self._origin = (
            torch.arange(steps + 1, device=device)[:, None] - self.count
        )  # when the episode began; below 0 in what the state holds
        self._held = torch.cat((contents.flatten(1, 2), filling, x.transpose(0, 1)), 1)
        self._rows = torch.arange(batch, device=device)

    def chunk_in(self, slots: Tensor) -> Tensor:
        """(T + 1, B, M): the number in its episode of the chunk that a slot holds; below 0 where it is empty."""
        last: Tensor = (self.count // self.chunk - 1)[..., None]
        return last - torch.remainder(last - slots, self.chunks)

    def items(self, place: Tensor, at: slice) -> Tensor:
        """(t, B, ..., D): inputs by their place in the episode (t, B, ...) at the steps `at`; zeros below place 0."""
        lead = (*place.shape[:2], *(1,) * (place.dim() - 2))
        when = self._origin[at].view(lead) + place
        before = self.before.view(lead[1:])
        chunk, inside = place // self.chunk, torch.remainder(place, self.chunk)
        size = self.chunks * self.chunk
        held = (
            torch.where(chunk == before // self.chunk, size, torch.remainder(chunk, self.chunks) * self.chunk) + inside
        )
        index = torch.where(when >= 0, when + size + self.chunk, held)
        found: Tensor = self._held[self._rows.view(-1, *lead[2:]), index]
        return found.masked_fill_((place < 0)[..., None], 0.0)


def _parts(steps: int, numbers: int) -> list[slice]:
    """Steps in parts of at most about 4 million numbers, of which each step has so many."""
    length = max(1, (1 << 22) // numbers)
    return [slice(begin, min(steps, begin + length)) for begin in range(0, steps, length)]
