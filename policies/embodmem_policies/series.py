"""Cells one after another. LRU, then minGRU: the first sorts out when things were, the second holds what matters."""

from __future__ import annotations

from torch import Tensor, nn

from embodmem_policies.cell import Array, MemoryCell, State, Step
from embodmem_policies.lru import LRUCell
from embodmem_policies.mingru import MinGRUCell


class SeriesCell(MemoryCell):
    """y = last(... first(x)); the state is the tuple of theirs.

    Args:
        cells: The cells in order, the output of each as wide as the input of the next.
    """

    def __init__(self, *cells: MemoryCell) -> None:
        super().__init__(cells[0].input_size, cells[-1].output_size)
        self.cells = nn.ModuleList(cells)

    def initial_state(self, batch: int) -> State:
        """A tuple of the cells' states."""
        return tuple(cell.initial_state(batch) for cell in self._cells())

    def stepper(self) -> Step:
        """See `MemoryCell.stepper`."""
        steps = [cell.stepper() for cell in self._cells()]

        def step(x: Array, state: State, start: Array) -> tuple[Array, State]:
            after = []
            for each, part in zip(steps, state, strict=True):
                x, new = each(x, part, start)
                after.append(new)
            return x, tuple(after)

        return step

    def scan(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """See `MemoryCell.scan`."""
        after = []
        for cell, part in zip(self._cells(), state, strict=True):
            x, new = cell.scan(x, part, start)
            after.append(new)
        return x, tuple(after)

    def _cells(self) -> list[MemoryCell]:
        return [cell for cell in self.cells if isinstance(cell, MemoryCell)]


def lru_mingru(
    input_size: int, output_size: int, states: int = 0, radius: tuple[float, float] = (0.0, 0.9)
) -> SeriesCell:
    """The default of the policies: an LRU of `states` complex numbers, |lambda| within `radius`, then a minGRU.

    The LRU is kept short, so that what the gates of the minGRU see settles within a few dozen steps: a gate that is
    shut then stays shut, and the minGRU holds what it holds for as long as it takes.
    """
    return SeriesCell(
        LRUCell(input_size, output_size, states, (radius[0], radius[1])), MinGRUCell(output_size, output_size)
    )
