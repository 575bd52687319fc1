"""Calls of `kernels_cells`: which tensors they take, and how."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodmem.spatial.octree.runtime import Launcher, find_device

_DTYPES = (torch.float32, torch.complex64, torch.bool)
_ROOM = 16  # arguments of a kernel, at most


def is_plain(*tensors: Tensor) -> bool:
    """Whether the kernels take all of these: on the CPU, in single precision, each as it lies in memory."""
    return all(
        t.is_cpu and t.dtype in _DTYPES and t.is_contiguous() and not t.is_conj() and not t.is_neg() for t in tensors
    )


class _Local(threading.local):
    """A launcher for each thread, for what it has recorded is changed by a launch.

    And where each kernel's arguments lie: to hand Warp a new address for each tensor would take longer than most scans.
    """

    def __init__(self) -> None:
        self.launcher = Launcher(find_device("cpu"), 1)
        self.arguments: dict[str, tuple[NDArray[np.int64], int]] = {}

    def place(self, name: str) -> tuple[NDArray[np.int64], int]:
        """Where the arguments of a kernel lie, and the address of that."""
        known = self.arguments.get(name)
        if known is None:
            room = np.zeros(_ROOM, dtype=np.int64)
            known = self.arguments[name] = room, room.ctypes.data
        return known


@cache
def _local() -> _Local:
    return _Local()


def launch(name: str, like: Tensor, *tensors: Tensor) -> None:
    """Run a kernel over tensors that `is_plain` holds for, in the order that it takes them; `like` is (T, B, n)."""
    from embodmem_policies import kernels_cells

    local, shape = _local(), like.shape
    room, address = local.place(name)
    room[: 3 + len(tensors)] = [*shape, *(tensor.data_ptr() for tensor in tensors)]
    local.launcher.run(getattr(kernels_cells, name), shape[1], [address], recorded=True)
