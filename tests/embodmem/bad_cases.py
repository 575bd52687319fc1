"""Bad input of every kind, and the error that each has to give."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from embodmem import EmbodiedMemory
from embodmem.config import SpatialConfig
from embodmem.datasets import open_dataset
from embodmem.errors import (
    CapacityError,
    ConfigError,
    DamagedMemory,
    DatasetError,
    DepthError,
    EmbodmemError,
    InvalidInput,
    MemoryInUse,
    NewerMemory,
    NotAMemory,
    PoseError,
    ReadOnlyMemory,
    StampError,
    StoreError,
)
from embodmem.planning import DistanceField
from embodmem.spatial.octree import Octree
from embodmem.types import Detection, Event, Percept, Query
from tests.embodmem.datasets.recordings import write_seven_scenes, write_tum
from tests.embodmem.small import STEP_NS, look

FRAMES = 8
BAD = 5
"""The frame that is made bad."""
BUILD = ("build", "room", "--out", "home.mem", "--resume")
FAR = np.array([[1.0, 0, 0, 100], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


class Case(NamedTuple):
    """What is done, and what has to come of it.

    Attributes:
        act: Words of a command, or a call on the open memory "home.mem".
        error: The class, exactly.
        message: A pattern of what it says.
        damage: Done before, to the folder of "home.mem" and the recording "room".
        kept: Frames that the memory keeps of a build; None where nothing may change.
    """

    act: tuple[str, ...] | Callable[[EmbodiedMemory], Any]
    error: type[EmbodmemError]
    message: str
    damage: Callable[[Path], Any] | None = None
    kept: int | None = None


def index(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the record of the bad frame in the recording's index."""

    def damage(folder: Path) -> None:
        path = folder / "room" / "index.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change([line["percept"] for line in lines if "percept" in line][BAD])
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return damage


def frame(change: Callable[[Path], Any], kind: str = "depth") -> Callable[[Path], Any]:
    """Change an image of the bad frame."""
    return lambda folder: change(folder / "room" / kind / f"{BAD:06d}.png")


def beside(name: str, text: str) -> Callable[[Path], Any]:
    """Put a file beside the frames."""
    return lambda folder: (folder / "room" / name).write_text(text)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap_stamps(folder: Path) -> None:
    index(lambda fields: fields.update(stamp_ns=0))(folder)


def lidar_with_nan(folder: Path) -> None:
    np.save(folder / "room" / "points.npy", np.full((4, 3), np.nan, dtype=np.float32))
    index(lambda fields: fields.update(points="points.npy"))(folder)


def instead(make: Callable[[Path], Path], change: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Another recording in the place of "room"."""

    def damage(folder: Path) -> None:
        shutil.rmtree(folder / "room")
        change(make(folder / "room"))

    return damage


def other(change: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A copy of the memory as "other.mem", changed."""
    return lambda folder: change(Path(shutil.copy(folder / "home.mem", folder / "other.mem")))


def execute(sql: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(sql)

    return run


def scramble(path: Path) -> None:
    """Overwrite pages in the middle, as a failing disk does."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(b"\xa5" * (size // 2))


def empty(folder: Path) -> None:
    shutil.rmtree(folder / "room")
    (folder / "room").mkdir()


def set_to(text: str) -> tuple[str, ...]:
    return ("build", "room", "--out", "new.mem", "--set", text)


def with_file(text: str) -> dict[str, Any]:
    """A command with a file of settings."""
    words = ("build", "room", "--out", "new.mem", "--config", "settings.yaml")
    return {"act": words, "damage": lambda folder: (folder / "settings.yaml").write_text(text)}


def view(**changes: Any) -> Percept:
    return replace(look(0), stamp_ns=STEP_NS, segmentation=None, labels={}, **changes)


def depth_with(value: float) -> np.ndarray:
    depth = np.full((120, 160), 2.0, dtype=np.float32)
    depth[7, 9] = value
    return depth


ask_other = ("ask", "other.mem", "where is the mug?")
turned = np.diag([1.0, 1.1, 1.0, 1.0])
F1 = "frame-000001"


def mapped(percept: Percept) -> Octree:
    """A map of its own of one view."""
    octree = Octree(SpatialConfig(voxel_size_m=0.1, budget_mib=2.0))
    octree.integrate(percept.depth, percept.camera, percept.T_world_sensor, percept.stamp_ns)
    return octree


CASES: dict[str, Case] = {
    # a recording
    "missing pose": Case(
        BUILD,
        DatasetError,
        "index.jsonl:9: wanted percept with .*T_world_sensor",
        index(lambda f: f.pop("T_world_sensor")),
    ),
    "missing pose file": Case(
        BUILD,
        DatasetError,
        f"{F1}.pose.txt: missing",
        instead(write_seven_scenes, lambda room: (room / f"{F1}.pose.txt").unlink()),
    ),
    "missing poses of TUM": Case(
        BUILD,
        DatasetError,
        "groundtruth.txt: the file is missing",
        instead(write_tum, lambda room: (room / "groundtruth.txt").unlink()),
    ),
    "pose that is no rotation": Case(
        BUILD,
        PoseError,
        "index.jsonl:9: T_world_sensor: wanted a rotation",
        index(lambda f: f.update(T_world_sensor=turned.ravel().tolist())),
        BAD,
    ),
    "pose of 12 numbers": Case(
        BUILD,
        DatasetError,
        "wanted T_world_sensor as 16 numbers",
        index(lambda f: f.update(T_world_sensor=[0] * 12)),
        BAD,
    ),
    "wrong size": Case(
        BUILD,
        DatasetError,
        "depth/000005.png: wanted the camera's size 160x120 px, got 32x24",
        frame(lambda path: Image.fromarray(np.ones((24, 32), np.uint16)).save(path)),
        BAD,
    ),
    "truncated PNG": Case(BUILD, DatasetError, "depth/000005.png: the image is .*truncated", frame(truncate), BAD),
    "truncated colour": Case(
        BUILD, DatasetError, "rgb/000005.png: the image is .*truncated", frame(truncate, "rgb"), BAD
    ),
    "no image": Case(
        BUILD, DatasetError, "depth/000005.png: wanted an image", frame(lambda path: path.write_text("no image")), BAD
    ),
    "missing image": Case(BUILD, DatasetError, "depth/000005.png: missing, but .*names it", frame(Path.unlink)),
    "NaN points": Case(BUILD, InvalidInput, "points: wanted finite", lidar_with_nan, BAD),
    "time going backwards": Case(BUILD, DatasetError, "index.jsonl:9: time goes backwards", swap_stamps),
    "empty folder": Case(BUILD, DatasetError, "room: wanted a recording, got an empty folder", empty),
    "no folder": Case(("build", "nowhere", "--out", "home.mem", "--resume"), DatasetError, "nowhere: .*got nothing"),
    "unknown form": Case(
        BUILD,
        DatasetError,
        "no known format: folder wants index.jsonl .*; seven_scenes wants .*; tum wants",
        lambda folder: (folder / "room" / "index.jsonl").rename(folder / "room" / "notes.txt"),
    ),
    "unknown format": Case(
        lambda _: open_dataset("room", format="bag"), DatasetError, "wanted 'auto' or one of folder, .*got 'bag'"
    ),
    "broken index": Case(BUILD, DatasetError, "index.jsonl:1: wanted", beside("index.jsonl", "frames\n{}\n")),
    "missing camera": Case(BUILD, DatasetError, "camera", lambda folder: (folder / "room" / "camera.json").unlink()),
    "broken detections": Case(BUILD, DatasetError, "detections.json: wanted JSON", beside("detections.json", '{"0')),
    "detection without a label": Case(
        BUILD,
        DatasetError,
        "detections.json: frame '000005', detection 0: wanted an object with a label",
        beside("detections.json", '{"000005": [{"box": [1, 2, 3, 4]}]}'),
    ),
    "broken rooms": Case(BUILD, DatasetError, "rooms.json: room 'hall'", beside("rooms.json", '{"hall": [[0, 0, 0]]}')),
    # settings
    "unknown config key": Case(
        **with_file("spatial: {voxel_sise_m: 0.1}"),
        error=ConfigError,
        message="settings.yaml.spatial: unknown key 'voxel_sise_m'; did you mean 'voxel_size_m'?",
    ),
    "config of another type": Case(
        **with_file("scene: {min_sightings: many}"), error=ConfigError, message="min_sightings: wanted int, got 'many'"
    ),
    "config that is no YAML": Case(
        **with_file("{a: [b"), error=ConfigError, message="settings.yaml: wanted a YAML file"
    ),
    "config that is no mapping": Case(**with_file("[1, 2]"), error=ConfigError, message="wanted a mapping of settings"),
    "missing config": Case(("config", "none.yaml"), ConfigError, "none.yaml: wanted a YAML file"),
    "--set of an unknown key": Case(set_to("spatial.voxl_size_m=1"), ConfigError, "did you mean 'voxel_size_m'?"),
    "--set of an unknown section": Case(set_to("spacial.voxel_size_m=1"), ConfigError, "did you mean 'spatial'?"),
    "--set without a value": Case(
        set_to("spatial.voxel_size_m"), ConfigError, "wanted key=value such as .*, got 'spatial"
    ),
    "--set of another type": Case(set_to("spatial.threads=two"), ConfigError, "threads: wanted int, got 'two'"),
    "--set of broken YAML": Case(
        set_to("spatial.threads=["), ConfigError, "wanted a value in YAML for spatial.threads"
    ),
    "--set of broken YAML for a bag": Case(set_to("bag.topic=["), ConfigError, "wanted a value in YAML for bag.topic"),
    "--set below a setting": Case(
        set_to("encoder.name=hashing"), ConfigError, "'encoder' of 'encoder.name' is a setting"
    ),
    "voxels of another size": Case(
        (*BUILD, "--set", "spatial.voxel_size_m=0.1"), ConfigError, "this file's map has 0.05 m, got 0.1 m"
    ),
    # the memory's file
    "missing memory": Case(
        ("ask", "none.mem", "where?"), StoreError, "none.mem: wanted a memory file, got no such file"
    ),
    "missing memory to forget in": Case(("forget", "none.mem", "--label", "mug"), StoreError, "got no such file"),
    "a folder as a memory": Case(("info", "room"), StoreError, "room: wanted a memory file, got a folder"),
    "no folder to put it in": Case(("build", "room", "--out", "no/x.mem"), StoreError, "wanted an existing folder"),
    "existing memory": Case(
        ("build", "room", "--out", "home.mem"), StoreError, "home.mem: it exists; go on with --resume"
    ),
    "text as a memory": Case(
        ask_other,
        NotAMemory,
        "other.mem: wanted an embodmem memory, got a file of another kind",
        lambda folder: (folder / "other.mem").write_text("shopping: milk, bread" * 99),
    ),
    "empty file as a memory": Case(
        ("build", "room", "--out", "other.mem", "--resume"),
        NotAMemory,
        "got an empty file",
        lambda folder: (folder / "other.mem").touch(),
    ),
    "another database": Case(
        ("forget", "other.mem", "--label", "mug"),
        NotAMemory,
        "other.mem: wanted an embodmem memory, got an SQLite database of another program",
        lambda folder: execute("CREATE TABLE record (id)")(folder / "other.mem"),
    ),
    "overwriting what is no memory": Case(
        ("build", "room", "--out", "room/camera.json", "--overwrite"),
        NotAMemory,
        "camera.json: wanted an embodmem memory",
    ),
    "damaged memory": Case(ask_other, DamagedMemory, "other.mem: the memory is damaged: ", other(scramble)),
    "damaged memory to write to": Case(
        ("build", "room", "--out", "other.mem", "--resume"),
        DamagedMemory,
        "other.mem: the memory is damaged",
        other(scramble),
    ),
    "truncated memory": Case(ask_other, DamagedMemory, "other.mem: the memory is damaged: ", other(truncate)),
    "newer memory": Case(
        ask_other,
        NewerMemory,
        "written by a newer embodmem .schema 99; .*pip install --upgrade",
        other(execute("PRAGMA user_version = 99")),
    ),
    "memory in use": Case(
        lambda memory: EmbodiedMemory(memory.store.path),
        MemoryInUse,
        "home.mem: another process has it open for writing",
    ),
    "making anew what exists": Case(
        lambda memory: EmbodiedMemory(memory.store.path, "x"), StoreError, "wanted a new file, but it exists"
    ),
    "writing to what is open for reading": Case(
        lambda memory: EmbodiedMemory(memory.store.path, "r").write(Event(stamp_ns=9, kind="told", text="hello")),
        ReadOnlyMemory,
        "open for reading; open it with mode 'a'",
    ),
    # what is asked
    "empty question": Case(("ask", "home.mem", " "), InvalidInput, "ask: wanted a question, got ' '"),
    "no answers wanted": Case(
        ("ask", "home.mem", "where is the mug?", "-k", "0"), InvalidInput, "k: wanted 1 or more, got 0"
    ),
    "forget of nothing": Case(("forget", "home.mem"), InvalidInput, "wanted --label, --id or --kind"),
    "forget of everything": Case(lambda memory: memory.forget(Query()), InvalidInput, r"clear\(\) removes everything"),
    "report to nowhere": Case(
        ("report", "home.mem", "--out", "no/x.html"), InvalidInput, "wanted the path of a file in a folder that exists"
    ),
    "radius without a centre": Case(
        lambda memory: memory.recall(Query(radius_m=1.0)), InvalidInput, "radius_m wants a point"
    ),
    # what is written
    "NaN depth": Case(
        lambda memory: memory.write(view(depth=depth_with(np.nan))),
        DepthError,
        "got 1 values that are NaN, infinite or neg",
    ),
    "negative depth": Case(
        lambda memory: memory.write(view(depth=depth_with(-1.0))),
        DepthError,
        "wanted finite metres >= 0 with 0 for no return",
    ),
    "depth of another size": Case(
        lambda memory: memory.write(view(depth=np.ones((24, 32), np.float32))),
        DepthError,
        r"depth: wanted the camera's size \(120, 160\) \(H, W\), got \(24, 32\)",
    ),
    "colour of another size": Case(
        lambda memory: memory.write(view(rgb=np.ones((24, 32, 3), np.uint8))),
        InvalidInput,
        r"rgb: wanted \(120, 160, 3\)",
    ),
    "images without a camera": Case(
        lambda memory: memory.write(view(camera=None)), InvalidInput, "images came without a camera"
    ),
    "a distance field that is too small": Case(
        lambda memory: DistanceField(mapped(view()), 0.5, capacity_bricks=1),
        CapacityError,
        r"distance field: wanted at most 1 bricks \(capacity_bricks\)",
    ),
    "view without a rotation": Case(
        lambda memory: memory.write(view(T_world_sensor=turned)), PoseError, "T_world_sensor: wanted a rotation"
    ),
    "view back in time": Case(
        lambda memory: memory.write(replace(view(), stamp_ns=0, agent="scout")),
        StampError,
        "stamp_ns: wanted 7 or later for agent 'scout', got 0: time went backwards",
    ),
    "one bad of many": Case(
        lambda memory: memory.write_batch(
            [view(), Event(stamp_ns=STEP_NS, kind="told", text="well"), replace(view(), stamp_ns=5)]
        ),
        StampError,
        "wanted 100000000 or later for this agent, got 5",
    ),
    "box without an area": Case(
        lambda memory: memory.write(view(detections=(Detection(label="mug", box=np.array([5.0, 5, 5, 9])),))),
        InvalidInput,
        "detection 'mug': wanted a box x0, y0, x1, y1",
    ),
    "event without words": Case(
        lambda memory: memory.write(Event(stamp_ns=STEP_NS, kind="told", text="")),
        InvalidInput,
        "wanted a kind and a text",
    ),
}
