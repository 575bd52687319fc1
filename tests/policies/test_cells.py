"""Every cell keeps the contract, and does what its paper says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embodmem.errors import ConfigError, InvalidInput
from embodmem_policies import CELLS, make_cell
from embodmem_policies.bank import Bank
from embodmem_policies.cell import MemoryCell, product, tree_leaves
from embodmem_policies.testing import check_cell

SMALL = {
    "hcam": {"chunk": 3, "chunks": 4, "top_k": 2, "width": 8},
    "bank": {"length": 4, "tokens": 2, "width": 8, "token_width": 4},
    "ffm": {"traces": 5, "contexts": 2},
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.mark.parametrize("rows", [1, 16, 300])
def test_product_is_the_product(rows: int) -> None:
    """By numpy for few rows, by torch for many; of a part of a wider array too."""
    x, weight = np.random.default_rng(rows).normal(size=(2, rows, 40)), np.random.default_rng(0).normal(size=(20, 64))
    np.testing.assert_allclose(product(x[0, :, ::2], weight), np.einsum("bd,de->be", x[0, :, ::2], weight))


@pytest.mark.parametrize("name", CELLS)
def test_contract(name: str) -> None:
    """Over a million steps, the default; small, so that each takes seconds."""
    check_cell(make_cell(name, 5, 6, **SMALL.get(name, {})), gradients=name not in ("mingru", "series"))


@pytest.mark.parametrize("name", ["mingru", "series"])
def test_gradients_of_gates_that_are_not_cut(name: str) -> None:
    """Where a gate is cut its gradient is not the slope, on purpose; so the gates are put where none is."""
    cell = make_cell(name, 5, 6)
    gated = cell if name == "mingru" else cell.cells[1]
    with torch.no_grad():
        gated.project.bias.zero_()
        gated.project.weight.mul_(0.3)
    check_cell(cell, long_steps=5_000)


class Broken(MemoryCell):
    """Forgets nothing at a start, or grows, or lets rows see each other."""

    def __init__(self, fault: str) -> None:
        super().__init__(3, 3)
        self.fault = fault
        self.weight = torch.nn.Parameter(torch.eye(3))

    def initial_state(self, batch):
        return self.zeros(batch, 3)

    def step(self, x, state, start):
        if self.fault != "start":
            state = state.masked_fill(start[:, None], 0)
        state = state * (1.01 if self.fault == "grows" else 0.5) + x @ self.weight
        if self.fault == "rows":
            state = state - state.mean(0)
        return (state.detach() if self.fault == "gradient" else state), state


@pytest.mark.parametrize("fault", ["start", "grows", "rows", "gradient"])
def test_contract_finds_faults(fault: str) -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        check_cell(Broken(fault), long_steps=20_000)
    if fault == "start":
        check_cell(Broken(""), long_steps=20_000)


class Late(MemoryCell):
    """Right at first; after 3,000 steps its answers stand still, its state runs off, or it forgets no more."""

    def __init__(self, fault: str) -> None:
        super().__init__(3, 3)
        self.fault = fault
        self.weight = torch.nn.Parameter(torch.eye(3))

    def initial_state(self, batch):
        return self.zeros(batch, 3), self.zeros(batch)

    def scan(self, x, state, start):
        y, (held, count) = [], state
        for now, first in zip(x, start, strict=True):
            late = count > 3000
            forgets = first & ~(late & (self.fault == "forgets"))
            held, count = held.masked_fill(forgets[:, None], 0), count.masked_fill(forgets, 0)
            held, count = 0.5 * held + now @ self.weight, (count + 1).clamp(max=4000)
            shown = torch.where((late & (self.fault == "sleeps"))[:, None], 0.0, held)
            held = torch.where((late & (self.fault == "runs off"))[:, None], held * 3.0, held)
            y.append(shown)
        return torch.stack(y), (held, count)


@pytest.mark.parametrize("fault", ["sleeps", "runs off", "forgets"])
def test_contract_finds_faults_that_come_late(fault: str) -> None:
    with pytest.raises(
        AssertionError, match={"sleeps": "depend on", "runs off": "finite|bounded", "forgets": "empties"}[fault]
    ):
        check_cell(Late(fault), long_steps=5_000)


def test_mingru_holds_a_value_exactly() -> None:
    """A shut gate is exactly 0: what was taken in once stands bit for bit after 10,000 other inputs."""
    cell = make_cell("mingru", 2, 1)
    with torch.no_grad():
        cell.project.weight.copy_(torch.tensor([[0.0, 12.0], [1.0, 0.0]]))
        cell.project.bias.copy_(torch.tensor([-6.0, 0.0]))
        x = torch.randn(10_001, 1, 2)
        x[:, :, 1] = 0.0
        x[0, 0] = torch.tensor([0.7, 1.0])
        y, _ = cell.scan(x, cell.initial_state(1), torch.zeros(10_001, 1, dtype=torch.bool))
    assert torch.equal(y, y[:1].expand_as(y)) and abs(float(y[0]) - 0.7) < 1e-6


def test_shut_gate_still_learns() -> None:
    cell = make_cell("mingru", 1, 1)
    with torch.no_grad():
        cell.project.bias[0] = -3.0  # u = 1.2 * 0.047 - 0.1 < 0, so the gate is 0
        cell.project.weight[0] = 0.0
    y, _ = cell.scan(torch.ones(1, 1, 1), cell.initial_state(1), torch.ones(1, 1, dtype=torch.bool))
    assert y.item() == 0.0
    y.sum().backward()
    assert float(cell.project.bias.grad[0]) != 0.0


def test_ffm_slowest_trace_is_at_one_percent_after_its_period() -> None:
    cell = make_cell("ffm", 2, 2, max_period=100)
    magnitude = cell.decay().abs() ** 100
    assert magnitude.max().item() == pytest.approx(0.01, rel=1e-3)


def test_hcam_reads_an_old_chunk_whatever_lies_between() -> None:
    """What differs only in a chunk long past differs in the answer, and not once that chunk has been overwritten."""
    cell = make_cell("hcam", 4, 4, **{**SMALL["hcam"], "top_k": 4}).double()
    x = torch.randn(3 * 4 + 1, 1, 4, dtype=torch.float64)
    changed = x.clone()
    changed[1] += 1.0
    never = torch.zeros(40, 1, dtype=torch.bool)
    state = cell.initial_state(1)
    assert not torch.allclose(cell.scan(x, state, never[:13])[0][-1], cell.scan(changed, state, never[:13])[0][-1])
    more = torch.randn(6, 1, 4, dtype=torch.float64)
    ends = [cell.scan(torch.cat((each, more)), state, never[:19])[0][-1] for each in (x, changed)]
    assert torch.equal(*ends)


def reference_write(entries: list, now, length: int) -> list:
    """MemoryVLA's consolidation, one row at a time: [(time, entry)]."""
    entries = [*entries, now]
    if len(entries) > length:
        alike = [
            torch.nn.functional.cosine_similarity(a[1], b[1], dim=-1).mean()
            for a, b in zip(entries[:-1], entries[1:], strict=True)
        ]
        i = int(torch.stack(alike).argmax())
        entries[i : i + 2] = [(entries[i][0], 0.5 * (entries[i][1] + entries[i + 1][1]))]
    return entries


def test_bank_equals_plain_lists() -> None:
    bank = Bank(length=4, tokens=2, width=3)
    state = bank.empty(torch.zeros(5))
    plain: list[list] = [[] for _ in range(5)]
    for time in range(30):
        now = torch.randn(5, 2, 3)
        clock = torch.full((1, 5), time)
        _, state = bank.scan(now[None], clock, state, torch.zeros(1, 5, dtype=torch.bool))
        plain = [reference_write(rows, (time, now[i]), 4) for i, rows in enumerate(plain)]
        for i, rows in enumerate(plain):
            assert int(state["count"][i]) == len(rows) <= 4
            assert state["time"][i, : len(rows)].tolist() == [t for t, _ in rows]
            torch.testing.assert_close(state["entries"][i, : len(rows)], torch.stack([e for _, e in rows]))


def test_bank_keeps_what_is_distinct() -> None:
    """Many near copies and three others, far apart: merging takes the copies and leaves the others as they were."""
    bank = Bank(length=8, tokens=1, width=8)
    state = bank.empty(torch.zeros(1))
    distinct = torch.eye(8)[:3]
    for time in range(60):
        now = distinct[time // 20] if time % 20 == 10 else torch.eye(8)[7] + 0.01 * torch.randn(8)
        never = torch.zeros(1, 1, dtype=torch.bool)
        _, state = bank.scan(now[None, None, None], torch.tensor([[time]]), state, never)
    entries = state["entries"][0, :, 0]
    for each in distinct:
        assert float((entries - each).norm(dim=-1).min()) < 1e-6


def test_gru_and_lstm_are_torchs() -> None:
    for name, peer in (("gru", torch.nn.GRU(3, 4)), ("lstm", torch.nn.LSTM(3, 4))):
        cell = make_cell(name, 3, 4)
        cell.rnn.load_state_dict(peer.state_dict())
        x = torch.randn(9, 2, 3)
        y, _ = cell.scan(x, cell.initial_state(2), torch.zeros(9, 2, dtype=torch.bool))
        torch.testing.assert_close(y, peer(x)[0])


def test_make_cell_refuses() -> None:
    with pytest.raises(ConfigError, match="mingru"):
        make_cell("mingruu", 3, 3)
    with pytest.raises(ConfigError, match="states"):
        make_cell("lru", 3, 3, state=4)
    with pytest.raises(InvalidInput, match="1 or more"):
        make_cell("gru", 0, 3)
    with pytest.raises(InvalidInput, match="top_k"):
        make_cell("hcam", 3, 3, chunks=2, top_k=3)


def test_state_is_a_tree_of_tensors() -> None:
    for name in CELLS:
        leaves = tree_leaves(make_cell(name, 3, 4, **SMALL.get(name, {})).initial_state(2))
        assert leaves and all(isinstance(leaf, torch.Tensor) and leaf.shape[0] == 2 for leaf in leaves)


@pytest.mark.parametrize("name", ["lru", "mingru"])
def test_a_scan_in_many_chunks_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and all gradients, by the state too, where a chunk of time holds a few steps or the last only one."""
    cell = make_cell(name, 5, 6).double()
    x, start = torch.randn(22, 3, 5, dtype=torch.float64), torch.rand(22, 3) < 0.2
    state = cell.scan(x, cell.initial_state(3), start)[1].detach()
    found = []
    for size in (1 << 20, 3 * 3 * 6 * 8, 7 * 3 * 6 * 8 * 2):
        monkeypatch.setattr("embodmem_policies.scan._CACHE_BYTES", size)
        inputs = [x.clone().requires_grad_(), state.clone().requires_grad_()]
        y, last = cell.scan(*inputs, start)
        weights = torch.linspace(-1.0, 1.0, y.numel(), dtype=y.dtype).reshape(y.shape)
        gradients = torch.autograd.grad((y * weights).sum() + last.square().sum(), [*inputs, *cell.parameters()])
        found.append((y.detach(), last.detach(), *gradients))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two)
