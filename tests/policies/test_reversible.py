"""The reversible token: what was written comes back, with any weights, sizes and scales, and over long chains."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import InvalidInput
from embodmem_policies.reversible import ReversibleToken


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@given(
    size=st.integers(1, 40),
    state=st.integers(0, 40),
    blocks=st.integers(1, 4),
    parts=st.sampled_from([1, 2, 8]),
    batch=st.integers(0, 5),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 1e3]),
    gain=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
@torch.no_grad()
def test_decode_is_the_inverse_of_encode(size, state, blocks, parts, batch, scale, gain, seed) -> None:
    """With weights from small to far larger than any at the beginning; within 1e-5 of the size of what is there."""
    torch.manual_seed(seed)
    transform = ReversibleToken(size, state, blocks=blocks, width=16, parts=parts)
    for parameter in transform.parameters():
        parameter.mul_(gain)
    x, before = scale * torch.randn(batch, size), scale * torch.randn(batch, transform.state_size)
    token = transform.encode(x, before)
    again, previous = transform.decode(token)
    largest = max(1.0, float(token.abs().max()) if batch else 0.0, scale)
    torch.testing.assert_close(again, x, rtol=0, atol=1e-5 * largest)
    torch.testing.assert_close(previous, before, rtol=0, atol=1e-5 * largest)


def train(transform: ReversibleToken, steps: int) -> list[float]:
    """Teach the state of a token to tell the mean of four embeddings that were written before it."""
    head = torch.nn.Linear(transform.state_size, transform.input_size)
    optimizer = torch.optim.Adam([*transform.parameters(), *head.parameters()], lr=3e-3)
    losses = []
    for _ in range(steps):
        x = torch.randn(4, 32, transform.input_size)
        tokens = transform.encode_chain(x)
        loss = (head(tokens[-1][:, : transform.state_size]) - x.mean(0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_gradients_flow_and_training_leaves_it_reversible() -> None:
    transform = ReversibleToken(16)
    losses = train(transform, 300)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in transform.parameters())
    moved = [float(p.grad.abs().max()) > 0 for n, p in transform.named_parameters() if n.startswith("attend")]
    assert any(moved)
    x, before = torch.randn(64, 16), torch.randn(64, 32)
    with torch.no_grad():
        again, previous = transform.decode(transform.encode(x, before))
    torch.testing.assert_close(again, x, rtol=0, atol=1e-5)
    torch.testing.assert_close(previous, before[:, :16], rtol=0, atol=1e-5)


@torch.no_grad()
def test_every_token_of_a_long_chain_gives_its_embedding_back() -> None:
    """One token a write: the embedding of 1,000 writes ago comes out as exactly as the last."""
    transform = ReversibleToken(16)
    x = torch.randn(1000, 3, 16)
    tokens = transform.encode_chain(x)
    again, states = transform.decode(tokens.flatten(0, 1))
    torch.testing.assert_close(again.view_as(x), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        states.view(1000, 3, 16)[1:], tokens[:-1, :, :16], rtol=0, atol=1e-5 * float(tokens.abs().max())
    )


@torch.no_grad()
def test_a_chain_comes_back_from_its_last_state_and_the_details() -> None:
    """Going back step by step adds up rounding: bounded here in single, and gone in double precision."""
    for dtype, limit in ((torch.float32, 1e-3), (torch.float64, 1e-12)):
        transform = ReversibleToken(16).to(dtype)
        x = torch.randn(200, 3, 16, dtype=dtype)
        tokens = transform.encode_chain(x)
        again, first = transform.decode_chain(tokens[-1, :, :16], tokens[:, :, 16:])
        errors = (again - x).abs().amax((1, 2))
        assert float(errors.max()) < limit, f"largest error by age: {errors.flip(0)[::20].tolist()}"
        assert float(first.abs().max()) < limit


@torch.no_grad()
def test_rows_are_apart_and_the_past_matters() -> None:
    transform = ReversibleToken(5, 7)
    x = torch.randn(4, 5)
    token = transform.encode(x)
    assert token.shape == (4, 12) and transform.empty(4).shape == (4, 12)
    torch.testing.assert_close(transform.encode(x[2:3]), token[2:3])
    other = transform.encode(x, transform.encode(torch.randn(4, 5)))
    assert not torch.allclose(other, token)
    assert transform.encode_chain(x[:0, None].expand(0, 4, 5)).shape == (0, 4, 12)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(InvalidInput, match="parts"):
        ReversibleToken(4, width=10, parts=4)
    with pytest.raises(InvalidInput, match=r"\(2, 3\)"):
        ReversibleToken(4).encode(torch.zeros(2, 3))
    with pytest.raises(InvalidInput, match=r"wanted a token \(B, 8\)"):
        ReversibleToken(4).decode(torch.zeros(2, 4))
