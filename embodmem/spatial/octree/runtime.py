"""Warp, started quietly and launched over worker threads.

Warp writes a banner, a line per compiled module and (from native code, without an NVIDIA driver) a warning to
stderr. A library prints nothing, so all of that is held back while Warp starts and while a module is compiled; the
settings of a program that uses Warp itself are put back afterwards.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

from embodmem.errors import ConfigError
from embodmem.spatial.octree.crew import Crew

_lock = threading.RLock()
_started = False
_launched: set[tuple[int, str]] = set()
_QUIET = {"log_level": 40, "quiet": True, "verbose": False}  # log_level: Warp 1.13 and later; quiet: before


@contextlib.contextmanager
def _quiet(config: Any) -> Iterator[None]:
    before = {name: getattr(config, name) for name in _QUIET if hasattr(config, name)}
    try:
        for name in before:
            setattr(config, name, _QUIET[name])
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere: the driver warning is written by native code, past `sys.stderr`."""
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def start() -> Any:
    """Import Warp, initialise it without output, and return the module."""
    global _started
    import warp

    with _lock:
        if not _started:
            with _quiet(warp.config), _without_stderr():
                warp.init()
            _started = True
    return warp


def find_device(name: str) -> Any:
    """The Warp device of this name.

    Raises:
        ConfigError: There is no such device here.
    """
    warp = start()
    known = [str(device) for device in warp.get_devices()]
    if name not in known and not (name == "cuda" and len(known) > 1):
        raise ConfigError(f"spatial.device: wanted one of {known}, got {name!r}")
    return warp.get_device(name)


def _launch(kernel: Any, dim: int, inputs: Sequence[Any], device: Any) -> None:
    """Launch a kernel; its first launch compiles its module (or takes it from Warp's cache on disk) without output."""
    import warp

    if (id(kernel), str(device)) in _launched:
        warp.launch(kernel, dim=dim, inputs=inputs, device=device, record_tape=False)
        return
    with _lock, _quiet(warp.config):
        warp.launch(kernel, dim=dim, inputs=inputs, device=device, record_tape=False)
        _launched.add((id(kernel), str(device)))


def _record(kernel: Any, dim: int, inputs: Sequence[Any], device: Any) -> Any:
    """A launch that can be repeated; compiles the kernel's module without output."""
    import warp

    with _lock, _quiet(warp.config):
        return warp.launch(kernel, dim=dim, inputs=inputs, device=device, record_tape=False, record_cmd=True)


def marching_cubes(field: Any, level: float, device: Any) -> tuple[Any, Any]:
    """Warp's marching cubes, without output: vertices (V, 3) float64 in cells, triangles (T, 3) int64.

    Args:
        field: (X, Y, Z) float32 values on the corners of the cells; no value is `level`.
        level: What the surface separates.
        device: Where to work.

    Returns:
        Triangles are counter-clockwise as seen from the lower values.
    """
    import numpy as np
    import warp

    kind = getattr(getattr(warp, "geometry", None), "IsoSurfaceMarchingCubes", None)
    with _lock, _quiet(warp.config):
        cubes = (kind or warp.MarchingCubes)(*field.shape)  # the older name is deprecated
        cubes.surface(warp.array(field, dtype=warp.float32, device=device), level)
        vertices, triangles = cubes.verts.numpy(), cubes.indices.numpy()
    return vertices.astype(np.float64).reshape(-1, 3), triangles.astype(np.int64).reshape(-1, 3)[:, ::-1]


class Launcher:
    """Runs kernels on one device; on a CPU a launch can be dealt out to worker threads.

    A CPU launch is single-threaded but releases the GIL. A kernel that can be dealt out takes ``first, stride`` as
    its last two arguments and works on the items first, first + stride, ...: neighbours differ little, so that every
    part gets about the same load. Kernels that use atomics are never dealt out: on a CPU Warp's are plain reads
    and writes.

    Launches that come again and again can be `recorded`: packing arguments takes Warp 70 us, and only those that are
    other objects than the last time are packed anew. Arrays and structs may change meanwhile, since Warp hands them on
    as they then are; vectors may not. The last arguments are kept alive until then.
    """

    def __init__(self, device: Any, threads: int) -> None:
        self.device = device
        self.workers = threads if device.is_cpu else 1
        self._crew = Crew(self.workers - 1) if self.workers > 1 else None
        self._recorded: dict[tuple[Any, int], tuple[Any, list[Any]]] = {}
        self._team: tuple[Any, Any] | None = None  # of the kernels that a team goes through, and its memory

    def apart(self) -> Launcher:
        """One with the same workers and its own recordings: a recording must not be launched by two threads at once."""
        other = copy(self)
        other._recorded, other._team = {}, None
        return other

    def run(self, kernel: Any, dim: int, inputs: Sequence[Any], recorded: bool = False, worker: int = 0) -> None:
        """Launch `dim` threads of a kernel; each worker has recordings of its own."""
        if dim <= 0:
            return
        if not recorded:
            _launch(kernel, dim, inputs, self.device)
            return
        known = self._recorded.get((kernel, worker))
        if known is None:
            command = _record(kernel, dim, inputs, self.device)
            self._recorded[kernel, worker] = command, list(inputs)
        else:
            command, before = known
            if dim != command.bounds.size:
                command.set_dim(dim)
            for i, value in enumerate(inputs):
                if value is not before[i]:
                    command.set_param_at_index(i, value)
                    before[i] = value
        command.launch()

    def share(
        self,
        kernel: Any,
        items: int,
        threads_per_item: int,
        inputs: Sequence[Any],
        worth: int = 64,
        recorded: bool = False,
        parts: int = 1,
    ) -> None:
        """Launch `threads_per_item` threads for each item, dealt out where there are at least `worth` items.

        `parts` is how many pieces a worker takes one after the other: more of them even out what one worker loses to
        other programs.
        """
        if self._crew is None or items < worth:
            self.run(kernel, items * threads_per_item, [*inputs, 0, 1], recorded)
            return
        parts *= self.workers

        def work(part: int, worker: int) -> None:
            count = (items - part + parts - 1) // parts
            self.run(kernel, count * threads_per_item, [*inputs, part, parts], recorded, worker)

        self._crew.work(work, parts)

    def together(self, kernel: Any, inputs: Sequence[Any], alone: bool = False) -> None:
        """Run a kernel that a team goes through (`kernels_team`) on all workers, or on one.

        It takes the team before its inputs, and the number of a worker after them.
        """
        if self._team is None:
            import warp

            from embodmem.spatial.octree.kernels_team import ROOM

            array = warp.zeros(ROOM, dtype=warp.int32, device=self.device)
            self._team = array, array.numpy()
        team, memory = self._team
        memory[:] = 0

        def work(part: int, worker: int) -> None:
            self.run(kernel, 1, [team, *inputs, part], recorded=True, worker=worker)

        if self._crew is None or alone:
            work(0, 0)
        else:
            self._crew.work(work, self.workers)
