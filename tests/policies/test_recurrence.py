"""The kernels of minGRU and LRU against plain torch, which computes in double precision."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem_policies import make_cell, scan
from embodmem_policies.cell import MemoryCell, tree_leaves, tree_map
from embodmem_policies.recurrence import is_plain


def passed(
    cell: MemoryCell, x: torch.Tensor, state: Any, start: torch.Tensor, told: torch.Tensor
) -> list[torch.Tensor]:
    """Outputs, states and all gradients of a cell in the precision of `x`."""
    cell = deepcopy(cell).to(x.dtype)
    x = x.clone().requires_grad_()
    state = tree_map(lambda leaf: leaf.to(x.dtype, copy=True).requires_grad_(), state)
    y, after = cell.scan(x, state, start)
    ends = sum(leaf.square().sum() for leaf in tree_leaves(after))
    ((y * told.to(x.dtype)).sum() + ends).backward()
    made = [y, *tree_leaves(after), x.grad, *(leaf.grad for leaf in tree_leaves(state))]
    return [each.detach() for each in (*made, *(p.grad for p in cell.parameters()))]


@pytest.mark.parametrize("name", ["mingru", "lru", "series"])
@settings(max_examples=25, deadline=None)
@given(
    steps=st.integers(1, 40),
    batch=st.integers(1, 5),
    inputs=st.integers(1, 9),
    hidden=st.integers(1, 17),
    starts=st.sampled_from([0.0, 0.1, 1.0]),
    cache=st.sampled_from([64, 1000, 1 << 20]),
    seed=st.integers(0, 1000),
)
def test_kernels_equal_plain_torch(
    name: str, steps: int, batch: int, inputs: int, hidden: int, starts: float, cache: int, seed: int
) -> None:
    """Whole and in chunks; with starts nowhere, here and there, everywhere."""
    torch.manual_seed(seed)
    cell = make_cell(name, inputs, hidden)
    x, told = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)
    state = tree_map(lambda leaf: torch.randn_like(leaf), cell.initial_state(batch))
    start = torch.rand(steps, batch) < starts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_CACHE_BYTES", cache)
        single = passed(cell, x, state, start, told)
    double = passed(cell, x.double(), state, start, told)
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4 * max(1.0, float(b.abs().max())))


@pytest.mark.parametrize("name", ["mingru", "lru"])
def test_starts_with_gaps_are_taken_too(name: str) -> None:
    """A part of a rollout, as minibatches are, has other strides; plain torch takes it."""
    torch.manual_seed(0)
    cell = make_cell(name, 4, 8)
    x, told, start = torch.randn(30, 3, 4), torch.randn(30, 3, 8), (torch.rand(30, 6) < 0.2)[:, ::2]
    state = cell.initial_state(3)
    for a, b in zip(passed(cell, x, state, start, told), passed(cell, x, state, start.contiguous(), told), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_what_the_kernels_take() -> None:
    plain = torch.zeros(4, 3, 2)
    assert is_plain(plain, plain > 0, torch.view_as_complex(plain))
    others = (plain.double(), plain.long(), plain[:, 1:], torch.view_as_complex(plain).conj(), plain.to("meta"))
    assert not any(is_plain(plain, other) for other in others)
