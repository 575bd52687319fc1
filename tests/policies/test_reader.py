"""The reader of recalled items: masked rows do not count, order does not matter, and what is asked for is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embodmem.encoders import HashingEncoder
from embodmem.errors import InvalidInput
from embodmem.geometry import look_at
from embodmem.types import Recall
from embodmem_policies.reader import PLAIN_FEATURES, RecallReader, recall_items


def recall(number: int, label: str, position: tuple[float, float, float] | None, seen_ns: int = 0) -> Recall:
    return Recall(
        kind="object",
        id=f"object:{number}",
        score=1.0,
        position=None if position is None else np.array(position),
        first_seen_ns=0,
        last_seen_ns=seen_ns,
        label=label,
        text=f"{label} on the table",
    )


def test_items_are_in_the_body_frame() -> None:
    pose = look_at(np.array([1.0, 2.0, 0.5]), np.array([5.0, 2.0, 0.5]))
    encoder = HashingEncoder()
    found = [recall(1, "mug", (4.0, 2.0, 0.5), 2_000_000_000), recall(2, "lamp", None)]
    items, mask = recall_items(found, 3, now_ns=5_000_000_000, T_world_body=pose, encoder=encoder)
    assert items.shape == (3, PLAIN_FEATURES + encoder.dim) and mask.tolist() == [True, True, False]
    np.testing.assert_allclose(items[0, :3], [0.0, 0.0, 3.0], atol=1e-6)  # 3 m ahead in an optical frame
    np.testing.assert_allclose(items[0, 3:6], [1.0, np.log1p(3.0), 1.0], rtol=1e-6)
    assert not items[1, :4].any() and not items[2].any()
    np.testing.assert_array_equal(items[0, PLAIN_FEATURES:], encoder.encode(["mug on the table"])[0])
    empty, none = recall_items([], 2, now_ns=0, T_world_body=pose, encoder=encoder)
    assert not empty.any() and not none.any()
    with pytest.raises(InvalidInput, match="got 0"):
        recall_items([], 0, now_ns=0, T_world_body=pose, encoder=encoder)


def test_masked_rows_do_not_count_and_order_does_not_matter() -> None:
    torch.manual_seed(0)
    reader = RecallReader(5, 3, 8)
    query, items = torch.randn(4, 2, 3), torch.randn(4, 2, 6, 5)
    mask = torch.rand(4, 2, 6) < 0.5
    answer = reader(query, items, mask)
    other = torch.where(mask[..., None], items, torch.full_like(items, 1e6))
    torch.testing.assert_close(reader(query, other, mask), answer)
    order = torch.randperm(6)
    torch.testing.assert_close(reader(query, items[:, :, order], mask[:, :, order]), answer)
    none = reader(query, items, torch.zeros_like(mask))
    assert torch.equal(none, torch.zeros_like(none))
    reader(query, items, torch.zeros_like(mask)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in reader.parameters() if p.grad is not None)


def test_learns_to_find_what_is_asked_for() -> None:
    """Six items, each a label and a value; the answer is the value at the label that is asked for."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    reader = RecallReader(7, 6, 32)
    head = torch.nn.Linear(32, 1)
    optimizer = torch.optim.Adam([*reader.parameters(), *head.parameters()], lr=3e-3)
    errors = []
    for _ in range(600):
        labels = torch.rand(64, 6).argsort(-1)
        value = torch.rand(64, 6) * 2 - 1
        items = torch.cat((torch.nn.functional.one_hot(labels, 6), value[..., None]), -1)
        asked = torch.randint(0, 6, (64,))
        wanted = value[labels == asked[:, None]]
        told = head(reader(torch.nn.functional.one_hot(asked, 6).float(), items, torch.ones(64, 6) > 0))[:, 0]
        loss = (told - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert np.mean(errors[-20:]) < 0.05 < 0.25 < np.mean(errors[:20])
