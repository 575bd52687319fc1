"""Apartments from a seed: rooms along a hall, walls with doors, furniture that leaves room for the robot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem_envs.catalogue import FURNITURE, WANTED, FurnitureKind, bounds, yaw_matrix
from embodmem_envs.grid import Grid, clearance, overlaps

HEIGHT_M = 2.5
WALL_M = 0.1
DOOR_HEIGHT_M = 2.05
ROBOT_RADIUS_M = 0.2
MARGIN_M = 0.05
"""What planning keeps free around the robot's radius, metres."""
REACH_M = 0.75
"""Objects are laid no farther than this from where the robot can stand, metres."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A room; `lower` and `upper` (3,) are the corners of its inside, metres in the world."""

    name: str
    lower: Array
    upper: Array


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """An opening between two rooms; `position` (3,) is its middle at the floor, metres."""

    rooms: tuple[str, str]
    position: Array
    width_m: float


@dataclass(frozen=True, slots=True, eq=False)
class Furniture:
    """A piece of furniture that never moves.

    Attributes:
        id: Its name, unique in the apartment ("chair_2").
        label: Its class ("chair").
        position: (3,) centre of its box, metres in the world.
        extent: (3,) full size of its box along the world's axes, metres.
        room: Name of its room.
        instance_id: Its number in the segmentation.
        kind: Its parts and tops.
        origin: (3,) where the origin of its local frame stands, metres.
        yaw_rad: Its turn about z: a multiple of a quarter.
    """

    id: str
    label: str
    position: Array
    extent: Array
    room: str
    instance_id: int
    kind: FurnitureKind
    origin: Array
    yaw_rad: float


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A level rectangle that carries things: of a piece of furniture, or a room's floor (then `owner` is "floor")."""

    owner: str
    label: str
    room: str
    rectangle: Array
    z: float
    clearance_m: float


@dataclass(frozen=True, eq=False)
class Layout:
    """All of an apartment that never moves. `start` is x, y in metres and yaw in radians."""

    seed: int
    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    walls: tuple[tuple[Array, Array], ...]
    furniture: tuple[Furniture, ...]
    start: Array

    @cached_property
    def lower(self) -> Array:
        """(2,) lower corner of all rooms, metres."""
        return np.asarray(np.min([room.lower[:2] for room in self.rooms], axis=0) - WALL_M)

    @cached_property
    def upper(self) -> Array:
        """(2,) upper corner of all rooms, metres."""
        return np.asarray(np.max([room.upper[:2] for room in self.rooms], axis=0) + WALL_M)

    @cached_property
    def obstacles(self) -> Array:
        """(R, 4) x0, y0, x1, y1 of what stops the robot: walls below a lintel, and the boxes of furniture."""
        walls = [[*low[:2], *high[:2]] for low, high in self.walls if low[2] < 1.0]
        things = [[*(f.position - f.extent / 2)[:2], *(f.position + f.extent / 2)[:2]] for f in self.furniture]
        return np.array(walls + things)

    @cached_property
    def surfaces(self) -> tuple[Surface, ...]:
        """Every surface that carries things, floors last."""
        made = []
        for piece in self.furniture:
            for top in piece.kind.tops:
                corners = np.array([top.lower, top.upper]) @ yaw_matrix(piece.yaw_rad).T + piece.origin[:2]
                rectangle = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
                made.append(Surface(piece.id, piece.label, piece.room, rectangle, top.z, top.clearance))
        floors = [Surface("floor", "floor", r.name, np.r_[r.lower[:2], r.upper[:2]], 0.0, 1.0) for r in self.rooms]
        return (*made, *floors)

    @cached_property
    def floor_plan(self) -> Array:
        """(R, 4) x0, y0, x1, y1 of the inside of each room, metres."""
        return np.array([np.r_[room.lower[:2], room.upper[:2]] for room in self.rooms])

    def rooms_at(self, points: Array) -> NDArray[np.intp]:
        """(N,) index of the room that holds each of points (N, 2), or of the nearest room."""
        away = [clearance(box[None], points) for box in self.floor_plan]
        return np.asarray(np.argmin(away, axis=0))

    def room_at(self, point: Any) -> str:
        """Name of the room that holds a point (2,) or (3,), or of the nearest room."""
        xy = np.asarray(point, dtype=np.float64)[None, :2]
        return self.rooms[int(self.rooms_at(xy)[0])].name

    def grid(self, extra: Array | None = None) -> Grid:
        """Grid of the apartment with further obstacles (R, 4)."""
        blocks = self.obstacles if extra is None else np.concatenate([self.obstacles, extra])
        return Grid.over(self.lower, self.upper, blocks)

    def standing_places(self, extra: Array | None = None) -> dict[str, Array]:
        """Room -> (N, 2) centres of cells that the robot can reach from its start, metres."""
        grid = self.grid(extra)
        places = grid.centres(np.isfinite(grid.flood(self.start[:2], ROBOT_RADIUS_M + MARGIN_M)))
        homes = self.rooms_at(places)
        return {room.name: places[homes == index] for index, room in enumerate(self.rooms)}

    def unreachable(self, extra: Array | None = None) -> list[str]:
        """Names of rooms, doors and furniture that the robot cannot get to; empty in every generated apartment."""
        places = np.concatenate(list(self.standing_places(extra).values()))
        if len(places) == 0:
            return ["start"]
        bad = []
        for room in self.rooms:
            inside = ((places > room.lower[:2] + 0.25) & (places < room.upper[:2] - 0.25)).all(axis=1)
            if np.count_nonzero(inside) < 60:  # 0.6 square metres to stand and turn on
                bad.append(room.name)
        for door in self.doors:
            if np.linalg.norm(places - door.position[:2], axis=1).min() > 0.15:
                bad.append(" - ".join(door.rooms))
        for piece in self.furniture:
            half, centre = piece.extent[:2] / 2, piece.position[:2]
            if clearance(np.r_[centre - half, centre + half][None], places).min() > 0.45:
                bad.append(piece.id)
        return bad


class _Misfit(Exception):
    """A piece of furniture found no place; the plan is drawn anew."""


def make_layout(seed: int, attempts: int = 400) -> Layout:
    """Draw an apartment in which the robot can get everywhere; the same seed gives the same one.

    Raises:
        InvalidInput: The seed is negative, or no plan that the robot can drive came up in `attempts` draws.
    """
    if seed < 0:
        raise InvalidInput(f"apartment: wanted a seed >= 0, got {seed}")
    for attempt in range(attempts):
        rng = np.random.default_rng([seed, attempt])
        rooms, doors, walls = _plan(rng)
        try:
            furniture = _furnish(rng, rooms, doors)
        except _Misfit:
            continue
        hall = next(room for room in rooms if room.name == "hall")
        start = np.array([*(hall.lower + hall.upper)[:2] / 2, int(rng.integers(-6, 6)) * np.pi / 6])
        layout = Layout(seed, rooms, doors, walls, furniture, start)
        if not layout.unreachable():
            return layout
    raise InvalidInput(f"apartment: seed {seed} gave no plan that the robot can drive in {attempts} draws")


def _wall(axis: int, at: float, begin: float, end: float, gaps: list[tuple[float, float]]) -> list[Array]:
    """(K) boxes (2, 3) of a wall along `axis` at `at` on the other axis, with a lintel over every gap."""

    def box(a: float, b: float, z0: float, z1: float) -> Array:
        low, high = np.empty(3), np.empty(3)
        low[axis], high[axis] = a, b
        low[1 - axis], high[1 - axis] = at - WALL_M / 2, at + WALL_M / 2
        low[2], high[2] = z0, z1
        return np.stack([low, high])

    edges = [begin - WALL_M / 2, *(value for gap in sorted(gaps) for value in gap), end + WALL_M / 2]
    solid = [box(a, b, 0.0, HEIGHT_M) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return solid + [box(a, b, DOOR_HEIGHT_M, HEIGHT_M) for a, b in gaps]


def _plan(rng: np.random.Generator) -> tuple[tuple[Room, ...], tuple[Door, ...], tuple[tuple[Array, Array], ...]]:
    """A hall with two rooms on one side and three on the other, mirrored and turned at random."""
    width, hall = rng.uniform(9.4, 10.4), rng.uniform(1.6, 1.9)
    south, north = rng.uniform(3.6, 4.1), rng.uniform(3.4, 3.8)
    cuts_south = [0.0, width * rng.uniform(0.44, 0.56), width]
    sizes = {"bathroom": rng.uniform(2.5, 2.8), "bedroom": rng.uniform(3.7, 4.0)}
    sizes["office"] = width - sum(sizes.values())
    names_south = [str(name) for name in rng.permutation(["kitchen", "living room"])]
    names_north = [str(name) for name in rng.permutation(["bedroom", "bathroom", "office"])]
    cuts_north = [0.0, *np.cumsum([sizes[name] for name in names_north])]
    low, high = south, south + hall
    depth = high + north

    cells = {"hall": (0.0, low, width, high)}
    cells |= {name: (cuts_south[i], 0.0, cuts_south[i + 1], low) for i, name in enumerate(names_south)}
    cells |= {name: (cuts_north[i], high, cuts_north[i + 1], depth) for i, name in enumerate(names_north)}
    gaps: dict[float, list[tuple[float, float]]] = {low: [], high: []}
    doors = []
    for name, (x0, y0, x1, _) in cells.items():
        if name == "hall":
            continue
        middle = rng.uniform(x0 + 0.7, x1 - 0.7)
        line = low if y0 == 0.0 else high
        gaps[line].append((middle - 0.475, middle + 0.475))
        doors.append((("hall", name), (middle, line), 0.95))
    arch = []
    if rng.random() < 0.6:
        middle = rng.uniform(1.0, low - 1.0)
        arch.append((middle - 0.55, middle + 0.55))
        doors.append(((names_south[0], names_south[1]), (cuts_south[1], middle), 1.1))

    walls = [box for at in (0.0, depth) for box in _wall(0, at, 0.0, width, [])]
    walls += [box for at in (0.0, width) for box in _wall(1, at, 0.0, depth, [])]
    walls += [box for at, openings in gaps.items() for box in _wall(0, at, 0.0, width, openings)]
    walls += _wall(1, cuts_south[1], 0.0, low, arch)
    walls += [box for cut in cuts_north[1:-1] for box in _wall(1, cut, high, depth, [])]
    return _turned(rng, (width, depth), cells, doors, walls)


def _turned(
    rng: np.random.Generator, size: tuple[float, float], cells: dict[str, Any], doors: list[Any], walls: list[Array]
) -> tuple[tuple[Room, ...], tuple[Door, ...], tuple[tuple[Array, Array], ...]]:
    """Mirror a plan along x, along y and along the diagonal, each by a coin, and make its rooms, doors and walls."""
    mirror, swap = rng.random(2) < 0.5, rng.random() < 0.5

    def turn(points: Any) -> Array:
        xy = np.array(points, dtype=np.float64)
        xy[..., :2] = np.where(mirror, np.array(size) - xy[..., :2], xy[..., :2])
        if swap:
            xy[..., :2] = xy[..., 1::-1]
        return xy

    half = WALL_M / 2
    rooms = []
    for name, (x0, y0, x1, y1) in cells.items():
        corners = turn([[x0 + half, y0 + half], [x1 - half, y1 - half]])
        rooms.append(Room(name, np.r_[corners.min(axis=0), 0.0], np.r_[corners.max(axis=0), HEIGHT_M]))
    openings = tuple(Door(names, np.r_[turn(middle), 0.0], width) for names, middle, width in doors)
    boxes = [turn(box) for box in walls]
    return tuple(rooms), openings, tuple((box.min(axis=0), box.max(axis=0)) for box in boxes)


def _furnish(rng: np.random.Generator, rooms: tuple[Room, ...], doors: tuple[Door, ...]) -> tuple[Furniture, ...]:
    placed: list[Furniture] = []
    counts: dict[str, int] = {}
    # Nothing stands within 0.75 m of a door's middle, so that every door can be driven through.
    keep_out = np.array([np.r_[door.position[:2] - 0.75, door.position[:2] + 0.75] for door in doors])
    for room in rooms:
        for label, where in WANTED[room.name]:
            kind = FURNITURE[label]
            taken = [_rectangle(piece) for piece in placed if piece.room == room.name]
            yaw, origin = _spot(rng, room, kind, where, placed, np.array([*keep_out, *taken]))
            box = bounds(kind.parts, yaw) + origin
            counts[label] = counts.get(label, 0) + 1
            name = f"{label.replace(' ', '_')}_{counts[label]}"
            size, middle = box[1] - box[0], box.mean(axis=0)
            placed.append(Furniture(name, label, middle, size, room.name, len(placed) + 1, kind, origin, yaw))
    return tuple(placed)


def _rectangle(piece: Furniture) -> Array:
    return np.concatenate([(piece.position - piece.extent / 2)[:2], (piece.position + piece.extent / 2)[:2]])


def _spot(
    rng: np.random.Generator, room: Room, kind: FurnitureKind, where: str, placed: list[Furniture], taken: Array
) -> tuple[float, Array]:
    """Yaw and origin (3,) of a piece that fits; the first of 60 draws that overlaps nothing."""
    anchor = next(
        (
            p
            for p in reversed(placed)
            if p.room == room.name and p.label == where.split(" of ")[-1].removeprefix("beside ")
        ),
        None,
    )
    for _ in range(60):
        if where == "wall" or anchor is None:
            yaw, origin, gap = _at_wall(rng, room, kind) if where == "wall" else _in_the_open(rng, room, kind)
        else:
            yaw, origin, gap = _near(rng, room, kind, where, anchor)
        box = bounds(kind.parts, yaw)[:, :2] + origin[:2]
        inside = (box[0] >= room.lower[:2] + 0.005).all() and (box[1] <= room.upper[:2] - 0.005).all()
        rectangle = np.r_[box[0] - gap, box[1] + gap][None]
        if inside and (len(taken) == 0 or not overlaps(rectangle, taken)[0]):
            return float(yaw), origin
    raise _Misfit(kind.label)


def _at_wall(rng: np.random.Generator, room: Room, kind: FurnitureKind) -> tuple[float, Array, float]:
    side = int(rng.integers(4))
    yaw = (0.0, np.pi / 2, np.pi, -np.pi / 2)[side]  # its back, local -y, then faces south, east, north, west
    box = bounds(kind.parts, yaw)[:, :2]
    origin = np.zeros(3)
    origin[:2] = rng.uniform(
        room.lower[:2] - box[0], np.maximum(room.upper[:2] - box[1], room.lower[:2] - box[0] + 1e-6)
    )
    axis = 1 if side in (0, 2) else 0
    at_low = side in (0, 3)
    origin[axis] = (room.lower[axis] - box[0, axis] + 0.01) if at_low else (room.upper[axis] - box[1, axis] - 0.01)
    return yaw, origin, 0.01


def _in_the_open(rng: np.random.Generator, room: Room, kind: FurnitureKind) -> tuple[float, Array, float]:
    yaw = float(rng.integers(2)) * np.pi / 2
    box = bounds(kind.parts, yaw)[:, :2]
    low, high = room.lower[:2] - box[0] + 0.6, room.upper[:2] - box[1] - 0.6
    return yaw, np.r_[rng.uniform(low, np.maximum(high, low + 1e-6)), 0.0], 0.3


def _near(
    rng: np.random.Generator, room: Room, kind: FurnitureKind, where: str, anchor: Furniture
) -> tuple[float, Array, float]:
    """In front of, beside, or (a chair) at one of the sides of the anchor."""
    own, other = bounds(kind.parts)[:, :2], bounds(anchor.kind.parts)[:, :2]
    if where.startswith("front"):
        facing = np.pi if "chair" in kind.label else 0.0
        back = own[1, 1] if facing else -own[0, 1]
        local = np.array([rng.uniform(-0.2, 0.2), other[1, 1] + back + (0.08 if facing else rng.uniform(0.35, 0.45))])
    elif where.startswith("beside"):
        facing, sign = 0.0, rng.choice([-1.0, 1.0])
        local = np.array([sign * (other[1, 0] + own[1, 0] + 0.04), other[0, 1] - own[0, 1]])
    else:
        side = int(rng.integers(4))
        facing = (np.pi, -np.pi / 2, 0.0, np.pi / 2)[side]  # its front looks at the table
        turned = bounds(kind.parts, facing)[:, :2]
        out = np.array([(0, 1), (-1, 0), (0, -1), (1, 0)][side], dtype=np.float64)
        along = np.abs(out[::-1]) * rng.uniform(-0.6, 0.6) * (other[1] - 0.2)
        local = out * (other[1] + np.abs(turned).max(axis=0) * np.abs(out) + 0.04) + along
    xy = anchor.origin[:2] + yaw_matrix(anchor.yaw_rad) @ local
    return anchor.yaw_rad + facing, np.r_[xy, 0.0], 0.01
