"""One linear recurrence with resets, for all cells that are one: y_t = a_t * (1 - start_t) * y_{t-1} + b_t.

No logarithms and no division by products of decays: a decay of exactly 0, or a thousand small ones, loses nothing.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from embodmem.errors import InvalidInput

_CACHE_BYTES = 1 << 20
_LONG_ROW = 1024


def linear_scan(a: Tensor, b: Tensor, initial: Tensor, start: Tensor | None = None) -> Tensor:
    """y_t = a_t * (1 - start_t) * y_{t-1} + b_t over the first axis, with y_{-1} = initial; differentiable once.

    Args:
        a: (T, B, ...) factors, or (...) when they are the same at all times and in all rows. Real or complex.
        b: (T, B, ...) inputs of the same dtype.
        initial: (B, ...) the value before the first.
        start: (T, B) bool, True where a row forgets what came before; None for nowhere.

    Returns:
        (T, B, ...) all of y.

    Raises:
        InvalidInput: Shapes or dtypes do not fit, or T is 0.
    """
    if b.dim() < 2 or b.shape[0] == 0 or initial.shape != b.shape[1:] or a.shape not in (b.shape, b.shape[2:]):
        raise InvalidInput(
            "linear_scan: wanted b (T, B, ...) with T > 0, initial (B, ...) and a like b or (...), "
            f"got b {tuple(b.shape)}, initial {tuple(initial.shape)}, a {tuple(a.shape)}"
        )
    if not a.dtype == b.dtype == initial.dtype:
        raise InvalidInput(f"linear_scan: wanted one dtype, got a {a.dtype}, b {b.dtype}, initial {initial.dtype}")
    if start is not None and start.shape != b.shape[:2]:
        raise InvalidInput(f"linear_scan: wanted start {tuple(b.shape[:2])}, got {tuple(start.shape)}")
    y: Tensor = _Scan.apply(a, b, initial, start)  # type: ignore[no-untyped-call]
    return y


class _Scan(torch.autograd.Function):
    """The gradient of a linear recurrence is the same recurrence backwards: g_t = dy_t + conj(a_{t+1}) g_{t+1}."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, initial: Tensor, start: Tensor | None) -> Tensor:
        y = run_scan(a, b, initial, start)
        ctx.save_for_backward(a, initial, y, *(() if start is None else (start,)))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        a, initial, y, *rest = ctx.saved_tensors
        start = rest[0] if rest else None
        g = run_scan_backward(a, dy, start)
        da = d_initial = None
        if ctx.needs_input_grad[0]:
            da = _factor_gradient(a, g, y, initial, start)
        if ctx.needs_input_grad[2]:
            first = a[0] if a.shape == y.shape else a
            d_initial = first.conj() * (g[0] if start is None else g[0].masked_fill(_like(start[0], g[0]), 0))
        return da, g, d_initial, None


def _like(start: Tensor, value: Tensor) -> Tensor:
    """`start` with axes of 1 added, to be broadcast over `value`."""
    return start.reshape(*start.shape, *(1,) * (value.dim() - start.dim()))


def _factor_gradient(a: Tensor, g: Tensor, y: Tensor, initial: Tensor, start: Tensor | None) -> Tensor:
    """da_t = g_t * conj(y_{t-1}) * (1 - start_t), summed over time and rows when `a` is the same for all."""
    whole = a.shape == y.shape
    da = torch.empty_like(y) if whole else torch.zeros_like(a)
    for at in chunks(y):
        first = at.start == 0
        part = da[at] if whole else y.new_empty(y[at].shape)
        torch.mul(initial.conj() if first else y[at.start - 1].conj(), g[at.start], out=part[0])
        torch.mul(y[at.start : at.stop - 1].conj(), g[at.start + 1 : at.stop], out=part[1:])
        if start is not None:
            part.masked_fill_(_like(start[at], part), 0)
        if not whole:
            da += part.sum((0, 1))
    return da


def chunks(y: Tensor) -> list[slice]:
    """The time of y (T, B, ...) cut so that a part fits a CPU's cache; elsewhere one part, for there launches count."""
    length = len(y) if y.is_cuda else max(1, _CACHE_BYTES // max(1, y[0].numel() * y.element_size()))
    return [slice(begin, min(len(y), begin + length)) for begin in range(0, len(y), length)]


def run_scan_backward(a: Tensor, dy: Tensor, start: Tensor | None, *, out: Tensor | None = None) -> Tensor:
    """g_t = dy_t + conj(a_{t+1}) * (1 - start_{t+1}) * g_{t+1}; no gradients of its own."""
    a = a.conj().resolve_conj() if a.is_complex() else a
    g = torch.empty_like(dy, memory_format=torch.contiguous_format) if out is None else out
    g[-1] = dy[-1]
    if len(dy) > 1:
        later = a[1:] if a.dim() == dy.dim() else a
        run_scan(later, dy[:-1], dy[-1], None if start is None else start[1:], reverse=True, out=g[:-1])
    return g


def run_scan(
    a: Tensor, b: Tensor, initial: Tensor, start: Tensor | None, *, reverse: bool = False, out: Tensor | None = None
) -> Tensor:
    """The recurrence, without gradients: by blocks of about sqrt(T) that run side by side. `out` may be `b`.

    On a CPU with wide rows that do not all fit in its cache, it runs step by step, which reads each value once.
    """
    steps, row = len(b), initial.numel()
    y = torch.empty_like(b, memory_format=torch.contiguous_format) if out is None else out
    large = row >= _LONG_ROW and steps * row * b.element_size() > _CACHE_BYTES
    if steps < 4 or (large and not b.is_cuda):
        _steps(a, b, initial, start, y, reverse)
        return y
    factors = a.expand(b.shape) if start is None else a * _like(~start, b)
    length = isqrt(steps)
    main = steps // length * length
    if reverse:  # what is left over after whole blocks comes last in time, so first here
        before = _steps(factors[main:], b[main:], initial, None, y[main:], reverse)
        _blocks(factors[:main], b[:main], before, y[:main], length, reverse)
    else:
        before = _blocks(factors[:main], b[:main], initial, y[:main], length, reverse)
        _steps(factors[main:], b[main:], before, None, y[main:], reverse)
    return y


def _steps(a: Tensor, b: Tensor, carry: Tensor, start: Tensor | None, y: Tensor, reverse: bool) -> Tensor:
    """One step after another; returns the last value."""
    factors = a.unbind(0) if a.dim() == b.dim() else (a.expand(carry.shape).contiguous(),) * len(b)
    values, outs = b.unbind(0), y.unbind(0)
    resets = [False] * len(b) if start is None else start.any(1).tolist()
    for t in range(len(b) - 1, -1, -1) if reverse else range(len(b)):
        if resets[t] and start is not None:
            carry = carry.masked_fill(_like(start[t], carry), 0)
        carry = torch.addcmul(values[t], factors[t], carry, out=outs[t])
    return carry


def _blocks(a: Tensor, b: Tensor, carry: Tensor, y: Tensor, length: int, reverse: bool) -> Tensor:
    """All blocks at once as if each began with 0, then what each is handed by the one before it."""
    split = (len(b) // length, length)
    product = y.new_empty(y.shape)
    order = range(length - 1, -1, -1) if reverse else range(length)
    factors, values = _split(a, split).unbind(1), _split(b, split).unbind(1)
    outs, products = _split(y, split).unbind(1), _split(product, split).unbind(1)
    last = order[0]
    outs[last].copy_(values[last])
    products[last].copy_(factors[last])
    for i in order[1:]:
        torch.addcmul(values[i], factors[i], outs[last], out=outs[i])
        torch.mul(factors[i], products[last], out=products[i])
        last = i
    carries = outs[last].new_empty(outs[last].shape)
    blocks = range(split[0] - 1, -1, -1) if reverse else range(split[0])
    for j in blocks:
        carries[j] = carry
        carry = torch.addcmul(outs[last][j], products[last][j], carry)
    _split(y, split).addcmul_(_split(product, split), carries[:, None])
    return carry


def _split(value: Tensor, split: tuple[int, int]) -> Tensor:
    return value.view(*split, *value.shape[1:])
