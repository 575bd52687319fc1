"""The one function that chooses a cell by its name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from embodmem.errors import ConfigError
from embodmem_policies.bank import BankCell
from embodmem_policies.cell import MemoryCell
from embodmem_policies.ffm import FFMCell
from embodmem_policies.gru import GRUCell
from embodmem_policies.hcam import HCAMCell
from embodmem_policies.lru import LRUCell
from embodmem_policies.lstm import LSTMCell
from embodmem_policies.mingru import MinGRUCell
from embodmem_policies.series import lru_mingru

CELLS: dict[str, Callable[..., MemoryCell]] = {
    "series": lru_mingru,
    "mingru": MinGRUCell,
    "lru": LRUCell,
    "ffm": FFMCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "hcam": HCAMCell,
    "bank": BankCell,
}


def make_cell(name: str, input_size: int, output_size: int, **settings: Any) -> MemoryCell:
    """Make the cell of a name.

    Args:
        name: One of `CELLS`.
        input_size: D of the inputs.
        output_size: D of the outputs.
        **settings: What this cell takes besides.

    Raises:
        ConfigError: The name or a setting is not known.
    """
    if name not in CELLS:
        near = difflib.get_close_matches(name, CELLS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"cell: wanted one of {', '.join(CELLS)}, got {name!r}{hint}")
    known = list(inspect.signature(CELLS[name]).parameters)[2:]
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigError(f"cell {name!r}: wanted settings of {known}, got {unknown}")
    return CELLS[name](input_size, output_size, **settings)
