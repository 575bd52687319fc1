"""The contract of a memory cell, as a test to run on your own."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from embodmem_policies.cell import MemoryCell, State, to_arrays, tree_leaves, tree_map

LENGTHS = (1, 2, 5, 13, 16, 37)
"""Sequence lengths that are tried: one, primes, a square."""


def check_cell(
    cell: MemoryCell, *, batch: int = 3, long_steps: int = 1_000_000, seed: int = 0, gradients: bool = True
) -> None:
    """Raise AssertionError where a cell breaks the contract of `MemoryCell`.

    Steps equal a scan of any length; a scan in two parts equals one (so that scans may be chained); a start equals a
    new sequence; rows do not see each other; gradients are right (torch.autograd.gradcheck in float64); the state is
    batch first, stays finite and bounded over `long_steps` steps and does not grow, and after them the cell still
    answers to its inputs and still forgets at a start; parameters survive state_dict.

    Args:
        cell: The cell; it is left as it was.
        batch: Rows to try with, 2 or more.
        long_steps: Steps of the trial of stability.
        seed: For the inputs.
        gradients: False leaves gradcheck out, where a gradient is not the slope on purpose (the minGRU's,
            where a gate is cut to 0 or 1).
    """
    generator = torch.Generator().manual_seed(seed)
    wide = copy.deepcopy(cell).double().cpu()
    for steps in LENGTHS:
        x = torch.randn(steps, batch, wide.input_size, generator=generator, dtype=torch.float64)
        start = torch.rand(steps, batch, generator=generator) < 0.2
        with torch.no_grad():
            state = _used_state(wide, batch, generator)
            _check_shapes(wide, x, state, start)
            _check_steps(wide, x, state, start)
            _check_parts(wide, x, state, start)
            _check_starts(wide, x, state)
            _check_rows(wide, x, state, start)
    if gradients:
        _check_gradients(wide, batch, generator)
    _check_state_dict(wide, batch, generator)
    _check_long(cell, long_steps, generator)


def _used_state(cell: MemoryCell, batch: int, generator: torch.Generator) -> State:
    """A state that has seen something."""
    x = torch.randn(23, batch, cell.input_size, generator=generator, dtype=torch.float64)
    return cell.scan(x, cell.initial_state(batch), torch.zeros(23, batch, dtype=torch.bool))[1]


def _same(a: State, b: State, what: str, tolerance: float = 1e-9) -> None:
    for one, other in zip(tree_leaves(a), tree_leaves(b), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, msg=lambda m: f"{what}: {m}")


def _tensors(tree: State) -> State:
    """A tree of arrays or tensors as one of tensors."""
    return tree_map(torch.as_tensor, tree)


def _check_shapes(cell: MemoryCell, x: Tensor, state: State, start: Tensor) -> None:
    y, after = cell.scan(x, state, start)
    assert y.shape == (*x.shape[:2], cell.output_size), f"wanted y (T, B, {cell.output_size}), got {tuple(y.shape)}"
    for fresh, old, new in zip(
        tree_leaves(cell.initial_state(x.shape[1])), tree_leaves(state), tree_leaves(after), strict=True
    ):
        assert fresh.shape == old.shape == new.shape and fresh.shape[0] == x.shape[1], "a state is batch first"
        assert fresh.dtype == old.dtype == new.dtype, f"a state keeps its dtype: {fresh.dtype} became {new.dtype}"


def _check_steps(cell: MemoryCell, x: Tensor, state: State, start: Tensor) -> None:
    y, after = cell.scan(x, state, start)
    arrays = to_arrays((x, state, start))
    for name, step, given in (("step", cell.step, (x, state, start)), ("stepper", cell.stepper(), arrays)):
        values, now, firsts = given
        outputs = []
        for value, first in zip(values, firsts, strict=True):
            before = tree_map(torch.clone, _tensors(now))
            out, new = step(value, now, first)
            _same(before, _tensors(now), f"{name} leaves the state that it is given as it is", 0.0)
            outputs.append(out)
            now = new
        _same(y, torch.stack(list(_tensors(tuple(outputs)))), f"calls of {name} equal a scan")
        _same(after, _tensors(now), f"the state after calls of {name} equals that after a scan")


def _check_parts(cell: MemoryCell, x: Tensor, state: State, start: Tensor) -> None:
    y, after = cell.scan(x, state, start)
    for cut in {1, len(x) // 2, len(x) - 1} & set(range(1, len(x))):
        first, between = cell.scan(x[:cut], state, start[:cut])
        second, end = cell.scan(x[cut:], between, start[cut:])
        _same(y, torch.cat((first, second)), f"a scan equals its parts, cut at {cut} of {len(x)}")
        _same(after, end, "the state after a scan equals that after its parts")


def _check_starts(cell: MemoryCell, x: Tensor, state: State) -> None:
    """A start in all rows equals a sequence that begins there with an empty memory, whatever came before."""
    never = torch.zeros(x.shape[:2], dtype=torch.bool)
    for at in {0, len(x) // 2, len(x) - 1}:
        start = never.clone()
        start[at] = True
        y, after = cell.scan(x, state, start)
        fresh, end = cell.scan(x[at:], cell.initial_state(x.shape[1]), never[at:])
        _same(y[at:], fresh, f"a start at {at} of {len(x)} equals a new sequence")
        _same(after, end, "the state after a start equals that of a new sequence")


def _check_rows(cell: MemoryCell, x: Tensor, state: State, start: Tensor) -> None:
    y, after = cell.scan(x, state, start)
    for row in range(x.shape[1]):
        part = tree_map(lambda leaf, row=row: leaf[row : row + 1], state)
        alone, end = cell.scan(x[:, row : row + 1], part, start[:, row : row + 1])
        _same(y[:, row : row + 1], alone, f"row {row} does not see the others")
        _same(tree_map(lambda leaf, row=row: leaf[row : row + 1], after), end, f"the state of row {row}")


def _check_gradients(cell: MemoryCell, batch: int, generator: torch.Generator) -> None:
    """By the inputs and the first state; by one step where the memory passes no gradients between steps."""
    steps = 1 if cell.detaches else 7
    with torch.no_grad():
        state = _used_state(cell, batch, generator)
    x = 0.3 * torch.randn(steps, batch, cell.input_size, generator=generator, dtype=torch.float64)
    start = torch.rand(steps, batch, generator=generator) < 0.2
    leaves = [leaf for leaf in tree_leaves(state) if leaf.is_floating_point() and not cell.detaches]
    inputs = [value.clone().requires_grad_() for value in (x, *leaves)]
    parameters = dict(cell.named_parameters())

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        given = iter(rest)
        begin = tree_map(lambda leaf: next(given) if leaves and leaf.is_floating_point() else leaf, state)
        y, after = cell.scan(x, begin, start)
        return y, *(leaf for leaf in tree_leaves(after) if leaf.requires_grad)

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True), "gradients by inputs and state"
    names = list(parameters)

    def by_parameters(*values: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(
            _Scan(cell), {f"cell.{n}": v for n, v in zip(names, values, strict=True)}, (x, state, start)
        )
        return y

    values = [parameters[name].detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(by_parameters, values, fast_mode=True), "gradients by parameters"


class _Scan(torch.nn.Module):
    """`functional_call` wants a module whose forward it can call."""

    def __init__(self, cell: MemoryCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, state: State, start: Tensor) -> Tensor:
        return self.cell.scan(x, state, start)[0]


def _check_state_dict(cell: MemoryCell, batch: int, generator: torch.Generator) -> None:
    other = copy.deepcopy(cell)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
        other.load_state_dict(cell.state_dict())
        x = torch.randn(5, batch, cell.input_size, generator=generator, dtype=torch.float64)
        never = torch.zeros(5, batch, dtype=torch.bool)
        y, again = (each.scan(x, each.initial_state(batch), never)[0] for each in (cell, other))
    assert torch.equal(y, again), "state_dict and load_state_dict give the same cell"


@torch.no_grad()
def _check_long(cell: MemoryCell, steps: int, generator: torch.Generator) -> None:
    """One episode of many steps in the cell's own precision: late it is no larger than early, and it still works."""
    device = next(cell.parameters()).device
    state, chunk, early = cell.initial_state(1), min(steps, 10_000), [0.0, 0.0]

    def inputs(count: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(count, 1, cell.input_size, generator=generator).to(device)
        return x, torch.zeros(count, 1, dtype=torch.bool, device=device)

    for done in range(0, steps, chunk):
        x, never = inputs(min(chunk, steps - done))
        y, state = cell.scan(x, state, never)
        floats = [leaf for leaf in tree_leaves(state) if leaf.is_floating_point()]
        for i, (what, values) in enumerate((("outputs", [y]), ("states", floats))):
            assert all(torch.isfinite(each).all() for each in values), f"{what} are finite: not after {done} steps"
            largest = max((float(each.abs().max()) for each in values), default=0.0)
            early[i] = early[i] or largest
            bound = 10.0 * early[i] + 1e-6
            assert largest <= bound, f"{what} stay bounded: {early[i]} at first, {largest} after {done} steps"
    for fresh, late in zip(tree_leaves(cell.initial_state(1)), tree_leaves(state), strict=True):
        assert fresh.shape == late.shape, f"a state does not grow: {tuple(fresh.shape)} became {tuple(late.shape)}"
    (one, never), (other, _) = inputs(100), inputs(100)
    told = [cell.scan(x, state, never)[0] for x in (one, other)]
    apart = (told[0] - told[1]).abs().amax((0, 1))
    assert (apart > 0).any(), f"after {steps} steps the outputs still depend on the inputs"
    begin = never.clone()
    begin[0] = True
    again, new = (cell.scan(one, each, begin)[0] for each in (state, cell.initial_state(1)))
    assert torch.equal(again, new), f"after {steps} steps a start still empties the memory"
