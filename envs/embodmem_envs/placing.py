"""Objects: which there are, where they lie, and the rules of picking up and putting down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem_envs.catalogue import OBJECTS, RGB, ObjectKind, bounds
from embodmem_envs.grid import clearance, overlaps
from embodmem_envs.layout import REACH_M, Layout, Surface

Array = NDArray[np.float64]

GRIPPER_M = 0.55
"""The gripper's point lies this far in front of the robot's centre, metres."""
GRASP_M = 0.4
"""Picking and placing reach this far from the gripper's point, horizontally, metres."""
GAP_M = 0.03
"""Kept free between objects, metres."""
MAX_OBJECTS = sum(kind.count for kind in OBJECTS)
HELD = "robot"
"""What `Item.support` says of an object that the robot carries."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One object and where it lies now.

    Attributes:
        id: Its name, unique in the apartment ("mug_2").
        kind: Its class and parts.
        rgb: Its colour, 0..1.
        instance_id: Its number in the segmentation.
        yaw_rad: Its turn about z.
        origin: (3,) its bottom centre, metres in the world.
        support: Id of the furniture it lies on, "floor", or "robot" while it is carried.
        room: Name of the room it is in.
    """

    id: str
    kind: ObjectKind
    rgb: RGB
    instance_id: int
    yaw_rad: float
    origin: Array
    support: str
    room: str

    @property
    def box(self) -> Array:
        """(2, 3) lower and upper corner of its box along the world's axes, metres."""
        return bounds(self.kind.parts, self.yaw_rad) + self.origin


Items = Mapping[str, Item]


def rectangles(items: Iterable[Item]) -> Array:
    """(N, 4) x0, y0, x1, y1 of items, metres."""
    boxes = [item.box[:, :2].reshape(4) for item in items]
    return np.array(boxes).reshape(-1, 4)


def floor_blocks(items: Items) -> Array:
    """(N, 4) rectangles of what lies on the floor and so stops the robot."""
    return rectangles(item for item in items.values() if item.support == "floor")


def gripper_point(pose: Array) -> Array:
    """(2,) the point in front of a robot at `pose` (x, y, yaw) about which it picks and places."""
    return np.asarray(pose[:2] + GRIPPER_M * np.array([np.cos(pose[2]), np.sin(pose[2])]))


def free_spots(layout: Layout, items: Items, item: Item, surface: Surface, points: Array) -> NDArray[np.bool_]:
    """(N,) at which of `points` (N, 2) the item, turned as it is, would lie on a surface and touch nothing."""
    box = bounds(item.kind.parts, item.yaw_rad)
    spots = np.concatenate([points + box[0, :2], points + box[1, :2]], axis=1)
    frame = surface.rectangle
    fits = (spots[:, :2] >= frame[:2]).all(axis=1) & (spots[:, 2:] <= frame[2:]).all(axis=1)
    if box[1, 2] > surface.clearance_m:
        return np.zeros(len(points), dtype=bool)
    same = [o for o in items.values() if o.support == surface.owner and o.room == surface.room and o.id != item.id]
    level = [other for other in same if abs(other.origin[2] - surface.z) < 1e-6]
    grown = spots + np.array([-GAP_M, -GAP_M, GAP_M, GAP_M])
    if level:
        fits &= ~overlaps(grown, rectangles(level))
    if surface.owner == "floor":
        fits &= ~overlaps(grown, layout.obstacles)
        gates = np.array([door.position[:2] for door in layout.doors])
        fits &= np.linalg.norm(points[:, None] - gates[None], axis=2).min(axis=1) > 0.9
        half = float((box[1] - box[0])[:2].max()) / 2
        fits &= np.linalg.norm(points - layout.start[:2], axis=1) > 0.5 + half
    return np.asarray(fits)


def free_grid(layout: Layout, items: Items, item: Item, surface: Surface, yaws: Array) -> Array:
    """(N, 2) points every 5 cm at which the item, turned by one of `yaws`, would lie on a surface and touch nothing."""
    axes = [np.arange(surface.rectangle[i], surface.rectangle[i + 2], 0.05) for i in range(2)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    good = [free_spots(layout, items, replace(item, yaw_rad=float(yaw)), surface, points) for yaw in yaws]
    return np.asarray(points[np.any(good, axis=0)])


def lie_down(item: Item, surface: Surface, point: Array, yaw_rad: float | None = None) -> Item:
    """The item with its bottom centre at a point (2,) of a surface."""
    yaw = item.yaw_rad if yaw_rad is None else yaw_rad
    return replace(item, yaw_rad=yaw, origin=np.r_[point, surface.z], support=surface.owner, room=surface.room)


def draw_spot(
    rng: np.random.Generator,
    layout: Layout,
    items: Items,
    item: Item,
    surfaces: list[Surface],
    places: Mapping[str, Array],
) -> Item | None:
    """Lay an item on one of some surfaces, where the robot can reach it from its standing `places`; None: no room."""
    load = Counter((other.support, other.room) for other in items.values())
    shuffled = [surfaces[index] for index in rng.permutation(len(surfaces))]
    # The emptiest first, so that every piece of furniture carries something.
    for surface in sorted(shuffled, key=lambda s: load[s.owner, s.room]):
        # It stands square to the furniture, give or take, and faces any side.
        turned = replace(item, yaw_rad=float(rng.integers(4)) * np.pi / 2 + float(rng.uniform(-0.35, 0.35)))
        points = rng.uniform(surface.rectangle[:2], surface.rectangle[2:], (100, 2))
        points = points[free_spots(layout, items, turned, surface, points)]
        near = places[surface.room]
        if len(points) == 0 or len(near) == 0:
            continue
        points = points[np.linalg.norm(points[:, None] - near[None], axis=2).min(axis=1) <= REACH_M]
        for point in points[:5]:
            laid = lie_down(turned, surface, point)
            if surface.owner != "floor" or not blocks_the_way(layout, items, laid):
                return laid
    return None


def blocks_the_way(layout: Layout, items: Items, item: Item) -> bool:
    """Whether an item on the floor would cut the robot off from a room, a door or a piece of furniture."""
    others = {key: value for key, value in items.items() if key != item.id}
    return bool(layout.unreachable(floor_blocks({**others, item.id: item})))


def make_items(rng: np.random.Generator, layout: Layout, count: int) -> dict[str, Item]:
    """Draw `count` objects and lay them about: first one of every class, then the second ones, and so on.

    Raises:
        InvalidInput: There are not so many objects, or one fits nowhere.
    """
    if not 0 <= count <= MAX_OBJECTS:
        raise InvalidInput(f"objects: wanted 0 <= n_objects <= {MAX_OBJECTS}, got {count}")
    most = max(kind.count for kind in OBJECTS)
    wanted = [(kind, copy) for copy in range(most) for kind in OBJECTS if copy < kind.count][:count]
    first_id = 1 + len(layout.furniture)
    items: dict[str, Item] = {}
    places = layout.standing_places()
    for number, (kind, copy) in enumerate(wanted):
        name = f"{kind.label.replace(' ', '_')}_{copy + 1}"
        rgb = kind.colours[copy % len(kind.colours)]
        blank = Item(name, kind, rgb, first_id + number, 0.0, np.zeros(3), "", "")
        laid = draw_spot(rng, layout, items, blank, surfaces_for(layout, kind), places)
        if laid is None:  # what it belongs on is full
            laid = draw_spot(rng, layout, items, blank, list(layout.surfaces), places)
        if laid is None:
            raise InvalidInput(f"objects: {name} fits nowhere in apartment {layout.seed}; ask for fewer n_objects")
        items[name] = laid
        if laid.support == "floor":
            places = layout.standing_places(floor_blocks(items))
    return items


def surfaces_for(layout: Layout, kind: ObjectKind) -> list[Surface]:
    """The surfaces that carry this class of objects."""
    return [surface for surface in layout.surfaces if surface.label in kind.supports]


def item_in_reach(layout: Layout, items: Items, pose: Array) -> Item | None:
    """What a robot at `pose` (x, y, yaw) would pick: the object of its room that is nearest to the gripper's point."""
    room = layout.room_at(pose)
    here = [item for item in items.values() if item.room == room and item.support != HELD]
    if not here:
        return None
    away = np.linalg.norm(np.array([item.origin[:2] for item in here]) - gripper_point(pose), axis=1)
    best = int(np.argmin(away))
    return here[best] if away[best] <= GRASP_M else None


def place_in_reach(layout: Layout, items: Items, item: Item, pose: Array) -> Item | None:
    """Where a robot at `pose` would put the item down: the free spot nearest to the gripper's point.

    Furniture goes before the floor. None when there is no free spot within reach.
    """
    room = layout.room_at(pose)
    side = np.arange(-GRASP_M, GRASP_M + 1e-9, 0.05)
    offsets = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    away = np.linalg.norm(offsets, axis=1)
    order = np.argsort(away, kind="stable")[: np.count_nonzero(away <= GRASP_M)]
    points, away = gripper_point(pose) + offsets[order], away[order]
    turned = replace(item, yaw_rad=float(pose[2]) - np.pi / 2)
    best: tuple[float, Item] | None = None
    for surface in (s for s in layout.surfaces if s.room == room):
        if surface.owner == "floor" and best is not None:
            break
        good = free_spots(layout, items, turned, surface, points)
        if surface.owner == "floor":
            half = bounds(turned.kind.parts, turned.yaw_rad)
            spots = np.concatenate([points + half[0, :2], points + half[1, :2]], axis=1)
            good &= np.array([clearance(spot[None], pose[None, :2])[0] for spot in spots]) > 0.25
        found = np.flatnonzero(good)
        if len(found) and (best is None or away[found[0]] < best[0]):
            laid = lie_down(turned, surface, points[found[0]])
            if surface.owner != "floor" or not blocks_the_way(layout, items, laid):
                best = (float(away[found[0]]), laid)
    return None if best is None else best[1]
