"""Building a memory from a real recording: frames per second with everything on, and where the time goes.

The claim: 640x480 frames with detections at 5 cm voxels, all memories and the store included, at 30 frames/s or more
on 2 cores. Beside it in the same run: the floor (decoding the images alone) and, where pyoctomap is installed, what
OctoMap takes for the map alone.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from embodmem.build import build
from embodmem.config import Config, config_from
from embodmem.datasets import Dataset, open_dataset, prefetch
from embodmem.embodied import EmbodiedMemory
from embodmem.episodic import EpisodicMemory
from embodmem.geometry import backproject, transform_points
from embodmem.index import Records
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.scene.memory import SceneMemory
from embodmem.store import Store
from embodmem.types import Percept

TARGET = 30.0
KITCHEN = Path(__file__).resolve().parents[2] / "shared" / "data" / "seven_scenes_kitchen"

STAGES: tuple[tuple[str, type, str], ...] = (
    ("scene: associate", SceneMemory, "observe"),
    ("scene: write objects", SceneMemory, "flush"),
    ("map: integrate (own thread)", SpatialMemory, "integrate"),
    ("map: compress and write bricks", SpatialMemory, "flush"),
    ("episodic: encode JPEG (own thread)", EpisodicMemory, "encode_image"),
    ("encode texts", Records, "encode"),
)


class Clock:
    """Sums the time spent in some methods, by wrapping them; `off` unwraps them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._undo: list[Callable[[], None]] = []
        self._mutex = threading.Lock()

    def watch(self, name: str, owner: type, method: str) -> None:
        """Sum the time of `owner.method` under a name."""
        plain = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return plain(*args, **kwargs)
            finally:
                with self._mutex:
                    self.seconds[name] += time.perf_counter() - begin

        setattr(owner, method, timed)
        self._undo.append(lambda: setattr(owner, method, plain))

    def off(self) -> None:
        """Put the plain methods back."""
        for undo in self._undo:
            undo()


def run_build(dataset: Dataset, config: Config, watched: bool) -> tuple[float, dict[str, float]]:
    """Seconds of one whole build into a new file, and of its stages."""
    clock = Clock()
    if watched:
        for stage in (*STAGES, ("decode (own threads)", type(dataset), "read")):
            clock.watch(*stage)
        clock.watch("commits to disk", Store, "commit")
    try:
        with tempfile.TemporaryDirectory() as folder, EmbodiedMemory(f"{folder}/bench.mem", config=config) as memory:
            _ = memory.spatial.octree, memory.records.encoder and memory.records.encode(["warm"])
            seconds = build(dataset, memory).seconds
    finally:
        clock.off()
    return seconds, clock.seconds


def decode_only(dataset: Dataset) -> float:
    """Seconds to decode all frames: the floor of any build."""
    begin = time.perf_counter()
    for _ in prefetch(dataset):
        pass
    return time.perf_counter() - begin


def octomap_seconds(dataset: Dataset, voxel_size_m: float, max_range_m: float, frames: int = 8) -> float | None:
    """Seconds a frame of OctoMap's insertPointCloud alone, on frames spread over the recording; None without it."""
    try:
        import pyoctomap
    except ImportError:
        return None
    import numpy as np

    tree, seconds = pyoctomap.OcTree(voxel_size_m), 0.0
    for i in np.linspace(0, len(dataset) - 1, frames).astype(int).tolist():
        percept: Percept = dataset.read(i)
        assert percept.depth is not None and percept.camera is not None
        rows, cols = np.nonzero(percept.depth)
        points = backproject(percept.camera, rows, cols, percept.depth[rows, cols])
        world = transform_points(percept.T_world_sensor, points).astype(np.float64)
        begin = time.perf_counter()
        tree.insertPointCloud(world, percept.T_world_sensor[:3, 3].copy(), max_range=max_range_m)
        seconds += time.perf_counter() - begin
    return seconds / frames


def main(
    dataset: Annotated[Path, typer.Argument(help="A recording with depth.")] = KITCHEN,
    voxel_size_m: Annotated[float, typer.Option(help="Edge of a voxel, metres.")] = 0.05,
    encoder: Annotated[str, typer.Option(help="hashing, minilm or auto.")] = "auto",
    repeats: Annotated[int, typer.Option(help="Builds; the best counts.")] = 3,
    as_json: Annotated[Path | None, typer.Option("--json", help="File for the claims.")] = None,
) -> None:
    """Race a whole build against the target, and show the split per stage."""
    recording = open_dataset(dataset)
    config = config_from({"spatial": {"voxel_size_m": voxel_size_m}, "encoder": encoder})
    run_build(recording, config, watched=False)  # compiles kernels and fills the file cache
    seconds = min(run_build(recording, config, watched=False)[0] for _ in range(repeats))
    _, stages = run_build(recording, config, watched=True)
    floor = decode_only(recording)
    peer = octomap_seconds(recording, voxel_size_m, config.spatial.max_range_m)
    n = len(recording)
    table = Table("stage", "ms a frame", title=f"{n} frames of {dataset.name}, {voxel_size_m * 100:g} cm, {encoder}")
    for name, spent in sorted(stages.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{1e3 * spent / n:.2f}")
    table.add_section()
    table.add_row("whole build, wall", f"{1e3 * seconds / n:.2f}  ({n / seconds:.1f} frames/s)")
    table.add_row("floor: decode alone, wall", f"{1e3 * floor / n:.2f}  ({n / floor:.1f} frames/s)")
    table.add_row("peer: OctoMap, map alone", "not installed" if peer is None else f"{1e3 * peer:.2f}")
    Console().print(table)
    if peer is not None:
        print(f"the whole build is {peer * n / seconds:.1f} times as fast as OctoMap's map alone")
    if as_json is not None:
        claim = {"value": n / seconds, "unit": "frames/s", "target": TARGET, "holds": n / seconds >= TARGET}
        claim["peer"] = {"octomap_map_only_frames_per_s": None if peer is None else 1 / peer}
        as_json.write_text(json.dumps({"kitchen build, everything on": claim}, indent=2))


if __name__ == "__main__":
    typer.run(main)
