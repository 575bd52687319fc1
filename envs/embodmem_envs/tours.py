"""Tours for `EmbodMem/ObjectRecall-v0`: real looks at objects in the house, and what a memory then holds of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from embodmem.config import Config, SceneConfig, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError, InvalidInput
from embodmem.types import Percept
from embodmem_envs.observation import FEATURES, nearest_objects
from embodmem_envs.render import RayRenderer, camera_of
from embodmem_envs.world import World

ROOMS = ("bathroom", "bedroom", "hall", "kitchen", "living room", "office")
LABELS = ("book", "bottle", "bowl", "clock", "kettle", "laptop", "teddy bear", "toaster")
ROW = FEATURES + len(ROOMS) + len(LABELS)
"""Numbers a row of memory: those of `nearest_objects`, its room one-hot, its label one-hot."""

_CAMERA = camera_of(96, 72, 75.0)
_MAST_M, _N_OBJECTS = 1.25, 17  # one of each of the first 17 classes, which hold those of LABELS
_MIN_PIXELS = 30
_LOOKS = 6  # tries to look at an object
_STEP_NS = 500_000_000


@dataclass(frozen=True, kw_only=True)
class RecallConfig:
    """Settings of `EmbodMem/ObjectRecall-v0`; each is a keyword of `gymnasium.make` and `make_vec`."""

    n_objects: int = 4
    """Objects shown in an episode, each in another room: 2 to 6."""
    delay: int = 0
    """Empty steps between the last look and the question."""
    memory: bool = True
    """Whether the rows of memory are shown; False leaves them zero, for the same policy without a memory."""
    view_px: int = 16
    """Columns of the small picture of every look; 3/4 as many rows; 0 leaves it out. A multiple of 4 up to 96."""
    rows: int = 8
    """Rows of memory."""
    order: str = "asked"
    """Which rows come first at the question: "asked", those of the label asked for, as a query by label answers, or
    "nearest", those nearest to the last look's camera, so that the policy has to compare labels itself (a network
    that sees the rows side by side hardly learns that; one that attends to rows does)."""
    n_tours: int = 128
    """Tours that are driven once, at the start; each gives `n_objects` questions."""
    n_houses: int = 8
    """Apartments that the tours are in."""
    tours_seed: int = 0
    """Which tours; another seed gives other apartments and places, to test on what was not trained on."""

    def __post_init__(self) -> None:
        wanted = {
            "n_objects": (2 <= self.n_objects <= len(ROOMS), f"2 to {len(ROOMS)}"),
            "delay": (0 <= self.delay <= 100_000, "0 to 100000 steps"),
            "view_px": (0 <= self.view_px <= 96 and self.view_px % 4 == 0, "a multiple of 4 up to 96 px"),
            "rows": (1 <= self.rows <= len(LABELS), f"1 to {len(LABELS)}"),
            "order": (self.order in ("asked", "nearest"), "'asked' or 'nearest'"),
            "n_tours": (self.n_tours >= 1, "1 or more"),
            "n_houses": (1 <= self.n_houses <= self.n_tours, "1 to n_tours"),
            "tours_seed": (self.tours_seed >= 0, "0 or more"),
        }
        for name, (good, text) in wanted.items():
            if not good:
                raise ConfigError(f"object recall: wanted {name} {text}, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Tours:
    """E tours of n looks, one at each object.

    Attributes:
        rgb: (E, n, 72, 96, 3) uint8 the pictures.
        memory: (E, n, rows, ROW) float32 what the memory holds after each look.
        label: (E, n) which of LABELS was looked at.
        room: (E, n) which of ROOMS it lies in, by the simulator's truth; never two in one room.
    """

    rgb: NDArray[np.uint8]
    memory: NDArray[np.float32]
    label: NDArray[np.int64]
    room: NDArray[np.int64]


def remembered(memory: EmbodiedMemory, percept: Percept, k: int) -> NDArray[np.float32]:
    """(k, ROW) float32: as `nearest_objects`, of those of LABELS alone, with room and label one-hot."""
    rows = np.zeros((k, ROW), dtype=np.float32)
    found = nearest_objects(memory, percept, 256)
    items = memory.scene.objects(near=percept.T_world_sensor[:3, 3], k=256)
    chosen = [number for number, item in enumerate(items) if item.label in LABELS][:k]
    rows[: len(chosen), :FEATURES] = found[chosen]
    for row, number in enumerate(chosen):
        room = items[number].data["room"]
        if room in ROOMS:
            rows[row, FEATURES + ROOMS.index(room)] = 1.0
        rows[row, FEATURES + len(ROOMS) + LABELS.index(items[number].label)] = 1.0
    return rows


@lru_cache(maxsize=8)
def make_tours(n_objects: int, rows: int, n_tours: int, n_houses: int, seed: int) -> Tours:
    """Drive the tours, each with a memory that is empty at its start; the same arguments give the same tours."""
    rng = np.random.default_rng([seed, 7])
    houses = [int(rng.integers(2**31)) for _ in range(n_houses)]
    coarse = SpatialConfig(voxel_size_m=0.2, budget_mib=13.704)
    config = Config(spatial=coarse, scene=SceneConfig(min_sightings=1), encoder="hashing")
    made: list[tuple[NDArray[np.uint8], NDArray[np.float32], list[int], list[int]]] = []
    with EmbodiedMemory(config=config) as memory:
        for number, house in enumerate(houses):
            guide = _Tourist(house)
            for _ in range(number, n_tours, n_houses):
                made.append(_tour(guide, rng, memory, n_objects, rows))
    rgb, held, label, room = zip(*made, strict=True)
    return Tours(np.stack(rgb), np.stack(held), np.array(label), np.array(room))


def _tour(
    guide: _Tourist, rng: np.random.Generator, memory: EmbodiedMemory, n_objects: int, rows: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], list[int], list[int]]:
    looks: list[tuple[Percept, int, int]] = []
    for tries in count():
        if tries == 50:
            raise InvalidInput(f"object recall: no tour of {n_objects} objects to be had in apartment {guide.house}")
        looks = guide.tour(rng, n_objects)
        if looks:
            break
    memory.clear()
    for name, lower, upper in ((room.name, room.lower, room.upper) for room in guide.world.layout.rooms):
        memory.scene.add_room(name, lower, upper)
    held = []
    for percept, _, _ in looks:
        memory.write(percept)
        held.append(remembered(memory, percept, rows))
    rgb = np.stack([percept.rgb for percept, *_ in looks if percept.rgb is not None])
    return rgb, np.stack(held), [label for _, label, _ in looks], [room for *_, room in looks]


class _Tourist:
    """Lays objects about one apartment and looks at them."""

    def __init__(self, house: int) -> None:
        self.house = house
        fov_y = float(np.rad2deg(2 * np.arctan(_CAMERA.height / 2 / _CAMERA.fy)))
        self.world = World(house, _N_OBJECTS, fov_y, _MAST_M, 0.0)
        world = self.world
        self._renderer = RayRenderer(world.mujoco, world.model, world.data, _CAMERA, world.instance_ids())

    def tour(self, rng: np.random.Generator, n_objects: int) -> list[tuple[Percept, int, int]]:
        """A look at each of some objects, each laid in another room: percept, label, room; [] where one fails."""
        labels = rng.permutation(len(LABELS))[:n_objects]
        rooms = rng.permutation(len(ROOMS))[:n_objects]
        looks = []
        for label, room in zip(labels.tolist(), rooms.tolist(), strict=True):
            name = next(item.id for item in self.world.items.values() if item.kind.label == LABELS[label])
            if not self._lay(rng, name, ROOMS[room]):
                return []
        for number, (label, room) in enumerate(zip(labels.tolist(), rooms.tolist(), strict=True)):
            percept = self._look(rng, LABELS[label], ROOMS[room], number * _STEP_NS)
            if percept is None:
                return []
            looks.append((percept, label, room))
        return looks

    def _lay(self, rng: np.random.Generator, name: str, room: str) -> bool:
        owners = [s.owner for s in self.world.layout.surfaces if s.room == room and s.owner != "floor"]
        for index in rng.permutation(len(owners)):
            try:
                self.world.move_object(rng, name, owners[index])
            except InvalidInput:  # full
                continue
            return True
        return False

    def _look(self, rng: np.random.Generator, label: str, room: str, stamp_ns: int) -> Percept | None:
        """A look at an object from 0.6 to 2 m, with at least `_MIN_PIXELS` of it in view."""
        world = self.world
        item = next(item for item in world.items.values() if item.kind.label == label)
        centre = item.box.mean(axis=0)
        places = world.layout.standing_places()[room]
        away = np.linalg.norm(places - centre[:2], axis=1)
        near = places[(away > 0.6) & (away < 2.0)]
        for x, y in near[rng.permutation(len(near))[:_LOOKS]]:
            offset = centre - [x, y, _MAST_M]
            yaw, pitch = np.arctan2(offset[1], offset[0]), np.arctan2(offset[2], np.hypot(*offset[:2]))
            world.pose = np.array([x, y, yaw + rng.uniform(-0.3, 0.3)])
            world.pitch_rad = float(pitch + rng.uniform(-0.15, 0.15))
            world.update()
            frame = self._renderer.render(world.T_world_camera)
            if np.count_nonzero(frame.segmentation == item.instance_id) >= _MIN_PIXELS:
                return Percept(
                    stamp_ns=stamp_ns,
                    T_world_sensor=world.T_world_camera,
                    camera=_CAMERA,
                    depth=frame.depth,
                    rgb=frame.rgb,
                    segmentation=frame.segmentation,
                    labels=world.labels,
                )
        return None
