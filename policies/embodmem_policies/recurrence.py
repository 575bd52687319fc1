"""Calls of `kernels_cells`: which tensors they take, and how."""

from __future__ import annotations

import threading
from functools import cache

import torch
from torch import Tensor

from embodmem.spatial.octree.runtime import Launcher, find_device

_DTYPES = (torch.float32, torch.complex64, torch.bool)


def is_plain(*tensors: Tensor) -> bool:
    """Whether the kernels take all of these: on the CPU, in single precision, each as it lies in memory."""
    return all(
        t.device.type == "cpu" and t.dtype in _DTYPES and t.is_contiguous() and not t.is_conj() and not t.is_neg()
        for t in tensors
    )


class _Local(threading.local):
    """A launcher for each thread, for what it has recorded is changed by a launch."""

    def __init__(self) -> None:
        self.launcher = Launcher(find_device("cpu"), 1)


@cache
def _local() -> _Local:
    return _Local()


def launch(name: str, like: Tensor, *tensors: Tensor) -> None:
    """Run a kernel over tensors that `is_plain` holds for, in the order of its arguments; `like` is (T, B, n)."""
    launcher = _local().launcher
    from embodmem_policies import kernels_cells

    addresses = [tensor.data_ptr() for tensor in tensors]
    launcher.run(getattr(kernels_cells, name), like.shape[1], [*addresses, *like.shape], recorded=True)
