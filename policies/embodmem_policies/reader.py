"""A reader of the explicit memory: attention over recalled items, for a policy that has `MemoryObservation`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodmem.errors import InvalidInput
from embodmem.geometry import Pose, inverse, transform_points
from embodmem.types import Encoder, Recall

PLAIN_FEATURES = 6
"""Numbers of an item before those of its text: place (3), has a place, age, rank."""


def recall_items(
    recalls: Sequence[Recall], k: int, *, now_ns: int, T_world_body: Pose, encoder: Encoder
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What was recalled as rows of numbers, best first.

    Args:
        recalls: As `recall` gave them; those after the first k are left out.
        k: Rows to make.
        now_ns: The present, ns.
        T_world_body: (4, 4) body frame to world; places are given in the body frame.
        encoder: Turns the text of an item into a vector (dim,).

    Returns:
        items (k, 6 + dim) float32: x, y, z in the body frame (metres; 0 where an item has no place), 1 where it has
        one, seconds since it was last seen as log(1 + s), 1 / rank, the vector of its text. mask (k,) True where a row
        is an item; other rows are zeros.

    Raises:
        InvalidInput: k is below 1.
    """
    if k < 1:
        raise InvalidInput(f"recall_items: wanted k of 1 or more, got {k}")
    chosen = list(recalls)[:k]
    items = np.zeros((k, PLAIN_FEATURES + encoder.dim), dtype=np.float32)
    mask = np.arange(k) < len(chosen)
    if not chosen:
        return items, mask
    n = len(chosen)
    placed = np.array([item.position is not None for item in chosen])
    places = np.array([np.zeros(3) if item.position is None else item.position for item in chosen])
    items[:n, :3] = transform_points(inverse(T_world_body), places) * placed[:, None]
    items[:n, 3] = placed
    items[:n, 4] = np.log1p([max(0, now_ns - item.last_seen_ns) * 1e-9 for item in chosen])
    items[:n, 5] = 1.0 / (1.0 + np.arange(n))
    items[:n, PLAIN_FEATURES:] = encoder.encode([item.text or item.label for item in chosen])
    return items, mask


class RecallReader(nn.Module):
    """Attention from what is now to what was recalled (Vaswani et al., NeurIPS 2017, eq. 1), with empty rows masked.

    Args:
        item_size: F, numbers of an item.
        query_size: Q, numbers of what is now.
        output_size: Of the answer.
        heads: Of the attention; they must divide `output_size`.
    """

    def __init__(self, item_size: int, query_size: int, output_size: int, heads: int = 4) -> None:
        super().__init__()
        if output_size % heads:
            raise InvalidInput(f"reader: wanted heads that divide {output_size}, got {heads}")
        self.heads = heads
        self.embed = nn.Sequential(nn.Linear(item_size, output_size), nn.ReLU())
        self.query = nn.Linear(query_size, output_size)
        self.key_value = nn.Linear(output_size, 2 * output_size)
        self.output = nn.Linear(output_size, output_size)

    def forward(self, query: Tensor, items: Tensor, mask: Tensor) -> Tensor:
        """What is told about (..., Q) by items (..., K, F) where mask (..., K); zeros where there are none."""
        lead, rows = query.shape[:-1], items.shape[-2]
        q = self.query(query).reshape(-1, self.heads, 1, self.output.in_features // self.heads)
        key, value = self.key_value(self.embed(items)).reshape(-1, rows, 2, self.heads, q.shape[-1]).unbind(2)
        logits = (q * key.transpose(1, 2)).sum(-1) / math.sqrt(q.shape[-1])
        held = mask.reshape(-1, 1, rows)
        weights = torch.where(held, logits, torch.finfo(logits.dtype).min).softmax(-1) * held
        told = (weights[..., None] * value.transpose(1, 2)).sum(2)
        answer: Tensor = self.output(told.flatten(1)) * held.any(-1)
        return answer.reshape(*lead, -1)
