"""A recording of a memory for the rerun viewer (package rerun-sdk, extra `viz`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput, MissingDependency
from embodmem.report.page import checked_path
from embodmem.report.times import Times
from embodmem.types import Query, Recall

if TYPE_CHECKING:
    from embodmem.embodied import EmbodiedMemory

TIMELINE = "stamp"
_ALL = 1_000_000
_AXIS_M = 0.25
_LOW, _HIGH = np.array([[60, 90, 200], [250, 190, 70]], dtype=np.float64)


def write_recording(memory: EmbodiedMemory, path: str | os.PathLike[str], *, max_voxels: int = 1_000_000) -> None:
    """Write a recording (.rrd) that `rerun FILE` shows.

    Entities, in metres and the world frame: `world/map` (occupied voxels, coloured by height), `world/rooms`,
    `world/objects/N` (a box with its label, at its latest place, from its first sighting until it vanished),
    `world/way/AGENT`, `world/camera/AGENT` (the pose of each keyframe: an optical frame), `view/AGENT` (its image) and
    `events`. What has a time lies on the timeline "stamp": dates where stamps are Unix time, else durations.

    Args:
        memory: The memory; it is only read.
        path: The file; an existing one is replaced.
        max_voxels: A map of more occupied voxels is written coarser.

    Raises:
        MissingDependency: rerun-sdk is not installed.
        InvalidInput: The folder of `path` does not exist, or max_voxels is below 1.
    """
    target = checked_path(path)
    if max_voxels < 1:
        raise InvalidInput(f"recording: wanted max_voxels >= 1, got {max_voxels}")
    try:
        import rerun as rr
        import rerun.blueprint as rrb
    except ImportError as error:
        raise MissingDependency("rerun-sdk", "viz", "a rerun recording") from error
    views = rrb.Vertical(rrb.Spatial2DView(origin="view", name="view"), rrb.TextLogView(origin="events", name="events"))
    stream = rr.RecordingStream("embodmem")
    stream.save(target, rrb.Blueprint(rrb.Horizontal(rrb.Spatial3DView(origin="world", name="world"), views)))
    with memory.store.read():
        writer = _Writer(rr, stream, memory)
        writer.map(max_voxels)
        writer.rooms()
        writer.objects()
        writer.keyframes()
        writer.events()
    stream.disconnect()  # waits until all of it is in the file


class _Writer:
    """Logs the parts of a memory to a rerun stream."""

    def __init__(self, rr: Any, stream: Any, memory: EmbodiedMemory) -> None:
        self.rr, self.stream, self.memory = rr, stream, memory
        info = memory.info()
        self.times = Times(info["first_ns"] or 0, info["last_ns"] or 0)
        stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def at(self, stamp_ns: int) -> None:
        """What is logged next happened then."""
        if self.times.is_calendar:
            self.stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))
        else:
            self.stream.set_time(TIMELINE, duration=np.timedelta64(stamp_ns, "ns"))

    def map(self, max_voxels: int) -> None:
        if not self.memory.info()["map"]["bricks"]:
            return
        from embodmem.spatial.octree import MAX_DEPTH

        depth = MAX_DEPTH
        centres, edge_m = self.memory.spatial.octree.occupied(depth)
        while len(centres) > max_voxels:
            depth -= 1
            centres, edge_m = self.memory.spatial.octree.occupied(depth)
        if len(centres):
            colours = _by_height(centres[:, 2])
            self.stream.log("world/map", self.rr.Points3D(centres, radii=edge_m / 2, colors=colours), static=True)

    def rooms(self) -> None:
        rooms = self.memory.scene.rooms()
        if rooms:
            self.stream.log("world/rooms", self._boxes(rooms, (90, 140, 230)), static=True)

    def objects(self) -> None:
        for item in self.memory.scene.objects():
            path = f"world/objects/{item.id.rpartition(':')[2]}"
            self.at(item.first_seen_ns)
            self.stream.log(path, self._boxes([item], (40, 180, 130)))
            if item.data["vanished"]:
                self.at(item.last_seen_ns)
                self.stream.log(path, self.rr.Clear(recursive=False))

    def keyframes(self) -> None:
        rr, ways = self.rr, dict[str, list[NDArray[np.float64]]]()
        for item in self.memory.episodic.timeline(Query(kinds=("keyframe",)), limit=_ALL):
            if item.kind != "keyframe":
                continue
            agent = str(item.data.get("agent") or "agent")
            view = self.memory.episodic.get_keyframe(item.id)
            T = view.T_world_camera
            self.at(view.stamp_ns)
            camera = ["world", "camera", agent]
            self.stream.log(camera, rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3]))
            image = None if view.jpeg is None else rr.EncodedImage(contents=view.jpeg, media_type="image/jpeg")
            self.stream.log(["view", agent], rr.Clear(recursive=False) if image is None else image)
            if agent not in ways:
                axes = rr.Arrows3D(vectors=np.eye(3) * _AXIS_M, colors=np.eye(3, dtype=np.uint8) * 255)
                self.stream.log([*camera, "axes"], axes, static=True)
            ways.setdefault(agent, []).append(T[:3, 3])
        for agent, places in ways.items():
            self.stream.log(["world", "way", agent], rr.LineStrips3D([np.array(places)]), static=True)

    def events(self) -> None:
        for item in self.memory.episodic.timeline(Query(kinds=("event",)), limit=_ALL):
            if item.kind == "event":
                self.at(item.first_seen_ns)
                self.stream.log("events", self.rr.TextLog(f"{item.data.get('kind', 'event')}: {item.text}"))

    def _boxes(self, items: list[Recall], colour: tuple[int, int, int]) -> Any:
        lower, upper = (np.array([item.data[name] for item in items], dtype=np.float64) for name in ("lower", "upper"))
        return self.rr.Boxes3D(
            centers=(lower + upper) / 2,
            half_sizes=(upper - lower) / 2,
            labels=[item.label for item in items],
            colors=colour,
        )


def _by_height(z: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(M, 3) colours from low (blue) to high (yellow)."""
    part = (z - z.min()) / max(float(np.ptp(z)), 1e-6)
    colours: NDArray[np.uint8] = (_LOW + (_HIGH - _LOW) * part[:, None]).astype(np.uint8)
    return colours
