"""The scan against the plain recurrence, in all its forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import InvalidInput
from embodmem_policies import scan
from embodmem_policies.scan import linear_scan


def plain(a, b, initial, start):
    """The recurrence as it is written; autograd does the rest."""
    y, rows = initial, []
    for t in range(len(b)):
        keep = (~start[t]).reshape(-1, *(1,) * (b.dim() - 2)).to(b.dtype)
        y = (a[t] if a.dim() == b.dim() else a) * keep * y + b[t]
        rows.append(y)
    return torch.stack(rows)


@given(
    steps=st.integers(1, 70),
    batch=st.integers(1, 3),
    is_complex=st.booleans(),
    constant=st.booleans(),
    wide=st.booleans(),
    starts=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_recurrence(steps, batch, is_complex, constant, wide, starts, seed) -> None:
    """Values and gradients, in blocks and step by step."""
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if is_complex else torch.float64
    shape = (steps, batch, 3, 2)

    def random(*size):
        return torch.randn(*size, dtype=dtype, generator=generator)

    a = 0.8 * random(*(shape[2:] if constant else shape))
    a = a / a.abs().clamp_min(1.0)
    given_ = [a, random(*shape), random(*shape[1:])]
    start = torch.rand(steps, batch, generator=generator) < starts
    weight = random(*shape)
    results = []
    row, cache = scan._LONG_ROW, scan._CACHE_BYTES
    try:
        if wide:
            scan._LONG_ROW = scan._CACHE_BYTES = 0
        for run in (linear_scan, plain):
            inputs = [value.clone().requires_grad_() for value in given_]
            y = run(*inputs, start)
            (y * weight).sum().abs().backward()
            results.append([y.detach(), *(value.grad for value in inputs)])
    finally:
        scan._LONG_ROW, scan._CACHE_BYTES = row, cache
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("decay", [0.0, 1e-30, 1e-8, 0.5, 1.0])
def test_small_decays_lose_nothing(decay: float) -> None:
    """A scan by cumulative products divides 0 by 0 here."""
    steps = 2000
    b = torch.ones(steps, 1, 1)
    y = linear_scan(torch.full((steps, 1, 1), decay), b, torch.zeros(1, 1))
    expected = steps if decay == 1.0 else 1.0 / (1.0 - decay)
    assert float(y[-1]) == pytest.approx(expected, rel=1e-5)


def test_segments_join_associatively() -> None:
    """(a1, b1) then (a2, b2) is (a1 a2, a2 b1 + b2), however it is bracketed; the scan's blocks rest on that."""
    a, b = torch.rand(3, 1, 4, dtype=torch.float64), torch.randn(3, 1, 4, dtype=torch.float64)

    def join(one, other):
        return one[0] * other[0], other[0] * one[1] + other[1]

    first, second, third = zip(a, b, strict=True)
    left, right = join(join(first, second), third), join(first, join(second, third))
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(linear_scan(a, b, torch.zeros(1, 4, dtype=torch.float64))[-1], left[1])


def test_refuses_what_does_not_fit() -> None:
    b, initial = torch.zeros(4, 2, 3), torch.zeros(2, 3)
    with pytest.raises(InvalidInput, match="got b"):
        linear_scan(torch.zeros(4, 1, 3), b, initial)
    with pytest.raises(InvalidInput, match="T > 0"):
        linear_scan(torch.zeros(3), b[:0], initial)
    with pytest.raises(InvalidInput, match="one dtype"):
        linear_scan(torch.zeros(3, dtype=torch.complex64), b, initial)
    with pytest.raises(InvalidInput, match="start"):
        linear_scan(torch.zeros(3), b, initial, torch.zeros(2, 4, dtype=torch.bool))
