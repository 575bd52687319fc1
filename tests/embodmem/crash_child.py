"""Processes that write into a memory and are killed: run as a script, it forks one writer for every line it reads.

A line is "<path> <seconds>". The writer goes on where the file stops and says each stamp after `write` returned; it is
killed with SIGKILL after so many seconds. The answer is one line of JSON: the stamps that it said.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable

import numpy as np

from embodmem.config import Config, EpisodicConfig, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.geometry import look_at
from embodmem.types import Detection, Event, Percept, PinholeCamera

CAMERA = PinholeCamera(width=64, height=48, fx=50.0, fy=50.0, cx=31.5, cy=23.5)
CONFIG = Config(
    spatial=SpatialConfig(voxel_size_m=0.1, budget_mib=3.426, threads=1),
    episodic=EpisodicConfig(keyframe_distance_m=0.05, keep_depth=True),  # every view becomes a keyframe
    encoder="hashing",
)


def experience(i: int) -> Percept | Event:
    """What happens at stamp i: an event every third time, else a look at a wall with a crate before it."""
    eye = np.array([0.1 * (i % 7), 0.2 * (i % 5), 1.0])
    T = look_at(eye, eye + (1.0, 0.0, 0.0))
    if i % 3 == 2:
        return Event(stamp_ns=i, kind="told", text=f"event number{i}", T_world_body=T, objects=("crate",))
    rows, cols = np.mgrid[:48, :64]
    near = 2.0 - eye[0]
    y, z = eye[1] - (cols - CAMERA.cx) / CAMERA.fx * near, 1.0 - (rows - CAMERA.cy) / CAMERA.fy * near
    crate = (np.abs(y - 0.4) < 0.3) & (np.abs(z - 1.0) < 0.3)
    return Percept(
        stamp_ns=i,
        T_world_sensor=T,
        camera=CAMERA,
        depth=np.where(crate, near, near + 0.5).astype(np.float32),
        rgb=picture(i),
        detections=(Detection(label="crate", score=0.9, mask=crate),),
        caption=f"view number{i}",
    )


def picture(i: int) -> np.ndarray:
    """(48, 64, 3) uint8 of one colour each."""
    return np.full((48, 64, 3), np.random.default_rng(i).integers(0, 256, 3), dtype=np.uint8)


def write_on(path: str, say: int) -> None:
    """Write from where the memory stops, for ever."""
    memory = EmbodiedMemory(path, config=CONFIG)
    newest = memory.newest_stamp()
    i = 0 if newest is None else newest + 1
    while True:
        memory.write(experience(i))
        os.write(say, f"{i}\n".encode())
        i += 1


def killed_after(path: str, seconds: float, write_on: Callable[[str, int], None]) -> list[int]:
    """Fork a writer, kill it, and return what it said. `write_on` writes to a path for ever, and says so to a pipe."""
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hear)
            write_on(path, say)
        finally:
            os._exit(1)  # only an error leads here
    os.close(say)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    with os.fdopen(hear) as lines:
        said = [int(line) for line in lines]
    _, status = os.waitpid(pid, 0)
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        raise RuntimeError(f"the writer ended by itself: {status}")
    return said


def warm() -> None:
    """Import all that a writer needs, and let Warp load its kernels: forks have that without waiting for it."""
    memory = EmbodiedMemory(config=CONFIG)
    memory.write_batch(experience(i) for i in range(6))
    memory.close()


if __name__ == "__main__":
    warm()
    for line in sys.stdin:
        path, seconds = line.split()
        print(json.dumps(killed_after(path, float(seconds), write_on)), flush=True)
