"""What stands and lies in an apartment: furniture and objects as a few boxes, cylinders and ellipsoids each.

Local frame of a thing: x to its right, y to its front (its back is at -y), z up from its bottom. Metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RGB = tuple[float, float, float]

WOOD: RGB = (0.62, 0.43, 0.25)
DARK_WOOD: RGB = (0.40, 0.26, 0.15)
WHITE: RGB = (0.93, 0.93, 0.91)
STEEL: RGB = (0.66, 0.68, 0.70)
BLACK: RGB = (0.10, 0.10, 0.11)
GREEN: RGB = (0.16, 0.50, 0.20)


@dataclass(frozen=True, slots=True)
class Part:
    """One primitive of a thing.

    Attributes:
        kind: "box", "cylinder" (upright) or "ellipsoid".
        half: Half of its size along x, y, z in the local frame, metres.
        offset: Its centre in the local frame, metres.
        rgb: Its colour in 0..1, or None for the colour of the instance.
    """

    kind: str
    half: tuple[float, float, float]
    offset: tuple[float, float, float]
    rgb: RGB | None = None


@dataclass(frozen=True, slots=True)
class Top:
    """A level rectangle in the local frame that things can lie on, metres; `clearance` is the height free above it."""

    lower: tuple[float, float]
    upper: tuple[float, float]
    z: float
    clearance: float = 1.0


@dataclass(frozen=True, slots=True)
class FurnitureKind:
    """A piece of furniture: its parts, and the tops that carry things."""

    label: str
    parts: tuple[Part, ...]
    tops: tuple[Top, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """A class of objects: its parts, colours to choose from, and the labels of what it may lie on ("floor" too)."""

    label: str
    parts: tuple[Part, ...]
    colours: tuple[RGB, ...]
    supports: tuple[str, ...]
    count: int = 1


def yaw_matrix(yaw_rad: float) -> NDArray[np.float64]:
    """(2, 2) rotation about z."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s], [s, c]])


def bounds(parts: tuple[Part, ...], yaw_rad: float = 0.0) -> NDArray[np.float64]:
    """(2, 3) lower and upper corner of the axis-aligned box about parts turned by `yaw_rad` about their origin."""
    turn = yaw_matrix(yaw_rad)
    boxes = []
    for part in parts:
        centre = np.array([*(turn @ part.offset[:2]), part.offset[2]])
        half = np.array(part.half)
        if part.kind == "box":
            half[:2] = np.abs(turn) @ half[:2]
        else:  # the extent of an ellipse along an axis is the norm of its half axes' components there
            half[:2] = np.sqrt((turn**2) @ half[:2] ** 2)
        boxes.append([centre - half, centre + half])
    array = np.array(boxes)
    return np.stack([array[:, 0].min(axis=0), array[:, 1].max(axis=0)])


def _box(size: RGB, at: RGB = (0.0, 0.0, 0.0), rgb: RGB | None = None) -> Part:
    """Box of full `size` whose bottom centre is `at`."""
    return Part("box", (size[0] / 2, size[1] / 2, size[2] / 2), (at[0], at[1], at[2] + size[2] / 2), rgb)


def _can(radius: float, height: float, at: RGB = (0.0, 0.0, 0.0), rgb: RGB | None = None) -> Part:
    """Upright cylinder whose bottom centre is `at`."""
    return Part("cylinder", (radius, radius, height / 2), (at[0], at[1], at[2] + height / 2), rgb)


def _egg(size: RGB, at: RGB = (0.0, 0.0, 0.0), rgb: RGB | None = None) -> Part:
    """Ellipsoid of full `size` whose lowest point is `at`."""
    return Part("ellipsoid", (size[0] / 2, size[1] / 2, size[2] / 2), (at[0], at[1], at[2] + size[2] / 2), rgb)


def _top(w: float, d: float, z: float, clearance: float = 1.0) -> Top:
    return Top((-w / 2, -d / 2), (w / 2, d / 2), z, clearance)


def _table(label: str, w: float, d: float, h: float, rgb: RGB) -> FurnitureKind:
    leg = 0.05
    legs = tuple(
        _box((leg, leg, h - 0.04), (sx * (w - leg) / 2, sy * (d - leg) / 2, 0.0), rgb)
        for sx in (-1, 1)
        for sy in (-1, 1)
    )
    return FurnitureKind(label, (_box((w, d, 0.04), (0.0, 0.0, h - 0.04), rgb), *legs), (_top(w, d, h),))


def _block(label: str, w: float, d: float, h: float, rgb: RGB, top: RGB | None = None) -> FurnitureKind:
    """A closed cabinet; only one below eye height carries things."""
    plate = _box((w, d, 0.04), (0.0, 0.0, h - 0.04), top or rgb)
    return FurnitureKind(label, (_box((w, d - 0.02, h - 0.04), (0.0, -0.01, 0.0), rgb), plate), (_top(w, d, h),))


def _tall(label: str, w: float, d: float, h: float, rgb: RGB, split: RGB) -> FurnitureKind:
    """A cabinet higher than the robot's camera: a body and two handles."""
    body = _box((w, d - 0.03, h), (0.0, -0.015, 0.0), rgb)
    handles = tuple(_box((0.03, 0.03, 0.4), (x, d / 2 - 0.015, 0.8), split) for x in (-0.06, 0.06))
    return FurnitureKind(label, (body, *handles))


def _shelf(label: str, w: float, d: float, h: float, levels: int, rgb: RGB) -> FurnitureKind:
    gap = (h - 0.03) / levels
    sides = tuple(_box((0.03, d, h), (sx * (w - 0.03) / 2, 0.0, 0.0), rgb) for sx in (-1, 1))
    boards = tuple(_box((w - 0.06, d, 0.03), (0.0, 0.0, i * gap), rgb) for i in range(levels + 1))
    back = _box((w, 0.02, h), (0.0, -d / 2 + 0.01, 0.0), rgb)
    tops = tuple(
        _top(w - 0.08, d - 0.04, i * gap + 0.03, gap - 0.03 if i < levels else 1.0) for i in range(1, levels + 1)
    )
    return FurnitureKind(label, (*sides, *boards, back), tops)


def _chair(label: str, rgb: RGB) -> FurnitureKind:
    legs = tuple(_box((0.04, 0.04, 0.43), (sx * 0.18, sy * 0.18, 0.0), rgb) for sx in (-1, 1) for sy in (-1, 1))
    seat, back = _box((0.42, 0.42, 0.04), (0.0, 0.0, 0.43), rgb), _box((0.42, 0.04, 0.42), (0.0, -0.19, 0.47), rgb)
    return FurnitureKind(label, (*legs, seat, back), (Top((-0.2, -0.16), (0.2, 0.2), 0.47),))


def _sofa(label: str, w: float, rgb: RGB) -> FurnitureKind:
    seat, back = _box((w, 0.85, 0.42), (0.0, 0.0, 0.0), rgb), _box((w, 0.22, 0.40), (0.0, -0.315, 0.42), rgb)
    arms = tuple(_box((0.16, 0.85, 0.18), (sx * (w - 0.16) / 2, 0.0, 0.42), rgb) for sx in (-1, 1))
    return FurnitureKind(label, (seat, back, *arms), (Top((-w / 2 + 0.17, -0.2), (w / 2 - 0.17, 0.42), 0.42),))


def _bed() -> FurnitureKind:
    parts = (
        _box((1.5, 2.0, 0.28), (0.0, 0.0, 0.0), DARK_WOOD),
        _box((1.46, 1.9, 0.2), (0.0, 0.03, 0.28), (0.55, 0.66, 0.80)),
        _box((1.5, 0.05, 0.9), (0.0, -0.975, 0.0), DARK_WOOD),
        _box((0.6, 0.35, 0.08), (-0.36, -0.74, 0.48), WHITE),
        _box((0.6, 0.35, 0.08), (0.36, -0.74, 0.48), WHITE),
    )
    return FurnitureKind("bed", parts, (Top((-0.72, -0.5), (0.72, 0.96), 0.48),))


def _toilet() -> FurnitureKind:
    parts = (
        _box((0.38, 0.18, 0.8), (0.0, -0.25, 0.0), WHITE),
        _can(0.12, 0.32, (0.0, 0.08, 0.0), WHITE),
        Part("ellipsoid", (0.19, 0.25, 0.08), (0.0, 0.09, 0.36), WHITE),
    )
    return FurnitureKind("toilet", parts)


def _bathtub() -> FurnitureKind:
    sides = tuple(_box((1.6, 0.08, 0.55), (0.0, sy * 0.31, 0.0), WHITE) for sy in (-1, 1))
    ends = tuple(_box((0.08, 0.54, 0.55), (sx * 0.76, 0.0, 0.0), WHITE) for sx in (-1, 1))
    return FurnitureKind("bathtub", (*sides, *ends, _box((1.44, 0.54, 0.25), (0.0, 0.0, 0.0), (0.72, 0.85, 0.90))))


def _tv_stand() -> FurnitureKind:
    parts = (
        _box((1.5, 0.4, 0.45), (0.0, 0.0, 0.0), DARK_WOOD),
        _box((0.95, 0.05, 0.58), (0.0, -0.13, 0.50), BLACK),
        _box((0.3, 0.12, 0.05), (0.0, -0.13, 0.45), BLACK),
    )
    return FurnitureKind("tv stand", parts, (Top((-0.75, -0.05), (0.75, 0.2), 0.45),))


def _stove() -> FurnitureKind:
    rings = tuple(_can(0.09, 0.01, (x, y, 0.89), BLACK) for x in (-0.14, 0.14) for y in (-0.13, 0.13))
    parts = (_box((0.6, 0.6, 0.89), rgb=STEEL), _box((0.46, 0.02, 0.4), (0.0, 0.31, 0.3), BLACK), *rings)
    return FurnitureKind("stove", parts, (_top(0.6, 0.6, 0.9),))


def _basin() -> FurnitureKind:
    parts = (_box((0.7, 0.46, 0.82), rgb=WHITE), _can(0.02, 0.16, (0.0, -0.18, 0.82), STEEL))
    return FurnitureKind("washbasin", parts, (Top((-0.35, -0.1), (0.35, 0.23), 0.82),))


FURNITURE: dict[str, FurnitureKind] = {
    kind.label: kind
    for kind in (
        _block("counter", 1.9, 0.6, 0.9, (0.80, 0.78, 0.72), (0.32, 0.33, 0.35)),
        _tall("fridge", 0.65, 0.66, 1.8, (0.82, 0.84, 0.86), STEEL),
        _stove(),
        _table("table", 1.3, 0.8, 0.74, WOOD),
        _chair("chair", (0.72, 0.55, 0.34)),
        _chair("office chair", (0.16, 0.17, 0.20)),
        _sofa("sofa", 2.0, (0.34, 0.45, 0.42)),
        _sofa("armchair", 0.95, (0.70, 0.36, 0.22)),
        _table("coffee table", 1.0, 0.55, 0.42, DARK_WOOD),
        _tv_stand(),
        _shelf("bookshelf", 0.9, 0.32, 1.15, 3, (0.55, 0.36, 0.20)),
        _shelf("shelf", 0.8, 0.34, 0.95, 2, (0.78, 0.74, 0.66)),
        _bed(),
        _block("nightstand", 0.45, 0.42, 0.5, (0.52, 0.34, 0.20)),
        _tall("wardrobe", 1.3, 0.6, 2.0, (0.71, 0.60, 0.46), BLACK),
        _block("dresser", 1.0, 0.45, 0.8, (0.68, 0.52, 0.36)),
        _toilet(),
        _bathtub(),
        _basin(),
        _block("washing machine", 0.6, 0.6, 0.85, WHITE, STEEL),
        _table("desk", 1.4, 0.7, 0.74, (0.74, 0.60, 0.42)),
        _block("console", 0.8, 0.3, 0.8, DARK_WOOD),
    )
}

_TOPS = ("table", "counter", "coffee table", "desk", "nightstand", "dresser")
_KITCHEN = ("table", "counter")
_SEATS = ("sofa", "armchair", "bed")
_SHELVES = ("bookshelf", "shelf")
_RED: RGB = (0.80, 0.13, 0.12)
_BLUE: RGB = (0.13, 0.30, 0.75)
_YELLOW: RGB = (0.93, 0.76, 0.12)
_TEAL: RGB = (0.08, 0.58, 0.58)
_PURPLE: RGB = (0.50, 0.22, 0.62)
_ORANGE: RGB = (0.94, 0.46, 0.10)
_PINK: RGB = (0.90, 0.45, 0.62)


def _object(
    label: str, parts: tuple[Part, ...], colours: tuple[RGB, ...], supports: tuple[str, ...], count: int = 1
) -> ObjectKind:
    return ObjectKind(label, parts, colours, supports, count)


def _mug_parts() -> tuple[Part, ...]:
    return (_can(0.045, 0.1), _box((0.035, 0.014, 0.06), (0.058, 0.0, 0.02)))


def _laptop_parts() -> tuple[Part, ...]:
    return (
        _box((0.33, 0.23, 0.02)),
        _box((0.33, 0.015, 0.21), (0.0, -0.108, 0.02)),
        _box((0.30, 0.004, 0.18), (0.0, -0.099, 0.03), (0.35, 0.62, 0.86)),
    )


def _lamp_parts() -> tuple[Part, ...]:
    return (
        _can(0.08, 0.025, rgb=BLACK),
        _can(0.015, 0.2, (0.0, 0.0, 0.025), BLACK),
        _can(0.11, 0.17, (0.0, 0.0, 0.22)),
    )


def _plant_parts() -> tuple[Part, ...]:
    return (_can(0.09, 0.15), _egg((0.26, 0.26, 0.3), (0.0, 0.0, 0.13), GREEN))


def _bear_parts() -> tuple[Part, ...]:
    ears = tuple(_egg((0.05, 0.03, 0.05), (x, 0.0, 0.28)) for x in (-0.055, 0.055))
    return (_egg((0.2, 0.16, 0.2)), _egg((0.15, 0.14, 0.14), (0.0, 0.0, 0.17)), *ears)


def _clock_parts() -> tuple[Part, ...]:
    return (_box((0.18, 0.07, 0.16)), _box((0.14, 0.004, 0.12), (0.0, 0.037, 0.02), WHITE))


def _phone_parts() -> tuple[Part, ...]:
    return (_box((0.09, 0.17, 0.016)), _box((0.075, 0.15, 0.002), (0.0, 0.0, 0.016), (0.25, 0.80, 0.95)))


OBJECTS: tuple[ObjectKind, ...] = (
    _object("mug", _mug_parts(), (_RED, _BLUE, _YELLOW), (*_TOPS, "console"), 3),
    _object("plate", (_can(0.13, 0.022),), (WHITE, _TEAL), _KITCHEN, 2),
    _object("bowl", (_can(0.055, 0.03), _can(0.09, 0.05, (0.0, 0.0, 0.03))), (_ORANGE, _TEAL), _KITCHEN, 2),
    _object("bottle", (_can(0.042, 0.2), _can(0.018, 0.08, (0.0, 0.0, 0.2))), (GREEN, _BLUE), (*_TOPS, "shelf"), 2),
    _object("apple", (_egg((0.09, 0.09, 0.085)),), (_RED, (0.55, 0.78, 0.20)), _KITCHEN, 2),
    _object(
        "kettle", (_can(0.09, 0.19), _box((0.03, 0.03, 0.16), (0.11, 0.0, 0.03), BLACK)), (STEEL,), ("counter", "stove")
    ),
    _object("pan", (_can(0.14, 0.05), _box((0.18, 0.03, 0.02), (0.22, 0.0, 0.03))), (BLACK,), ("stove", "counter")),
    _object(
        "toaster", (_box((0.28, 0.18, 0.19)), _box((0.2, 0.03, 0.006), (0.0, 0.0, 0.19), BLACK)), (_RED,), ("counter",)
    ),
    _object("book", (_box((0.17, 0.24, 0.045)),), (_PURPLE, _BLUE, _ORANGE, GREEN), (*_SHELVES, *_TOPS, "sofa"), 4),
    _object("laptop", _laptop_parts(), (STEEL,), ("desk", "coffee table", "table")),
    _object("phone", _phone_parts(), (BLACK,), ("nightstand", "coffee table", "desk", "console")),
    _object(
        "keys",
        (_box((0.11, 0.05, 0.02)), _can(0.035, 0.02, (-0.07, 0.0, 0.0))),
        (_YELLOW,),
        ("console", "table", "desk"),
    ),
    _object("cushion", (_egg((0.4, 0.4, 0.16)),), (_YELLOW, _PINK, _TEAL), _SEATS, 3),
    _object("lamp", _lamp_parts(), ((0.98, 0.90, 0.65),), ("nightstand", "desk", "dresser"), 2),
    _object("plant", _plant_parts(), ((0.75, 0.36, 0.20),), ("floor", "tv stand", "dresser"), 2),
    _object("clock", _clock_parts(), (_ORANGE,), ("bookshelf", "dresser", "nightstand", "console")),
    _object("teddy bear", _bear_parts(), ((0.60, 0.38, 0.18),), ("bed", "armchair", "floor")),
    _object(
        "toy car",
        (
            _box((0.16, 0.12, 0.03), rgb=BLACK),
            _box((0.22, 0.11, 0.06), (0.0, 0.0, 0.02)),
            _box((0.11, 0.1, 0.05), (0.0, 0.0, 0.08), WHITE),
        ),
        (_RED,),
        ("floor", "coffee table"),
    ),
    _object("ball", (_egg((0.22, 0.22, 0.22)),), (_ORANGE,), ("floor",)),
    _object("remote", (_box((0.06, 0.2, 0.03)),), (BLACK,), ("coffee table", "sofa", "tv stand")),
    _object("towel", (_box((0.32, 0.24, 0.08)),), (_PINK, _BLUE), ("washing machine", "shelf", "bed"), 2),
    _object("soap", (_can(0.04, 0.13), _can(0.012, 0.05, (0.0, 0.0, 0.13), WHITE)), (_TEAL,), ("washbasin",)),
    _object(
        "vase",
        (_can(0.05, 0.08), _egg((0.17, 0.17, 0.2), (0.0, 0.0, 0.05))),
        (_PURPLE,),
        ("table", "dresser", "tv stand", "console"),
    ),
    _object("basket", (_can(0.17, 0.28),), ((0.76, 0.60, 0.36),), ("floor",)),
    _object(
        "backpack",
        (_box((0.32, 0.2, 0.42)), _box((0.22, 0.06, 0.2), (0.0, 0.13, 0.05))),
        (_BLUE,),
        ("floor", "office chair"),
    ),
)

WANTED: dict[str, tuple[tuple[str, str], ...]] = {
    "kitchen": (
        ("counter", "wall"),
        ("fridge", "wall"),
        ("stove", "wall"),
        ("table", "free"),
        ("chair", "table"),
        ("chair", "table"),
    ),
    "living room": (
        ("sofa", "wall"),
        ("coffee table", "front of sofa"),
        ("tv stand", "wall"),
        ("bookshelf", "wall"),
        ("armchair", "wall"),
    ),
    "bedroom": (("bed", "wall"), ("nightstand", "beside bed"), ("wardrobe", "wall"), ("dresser", "wall")),
    "bathroom": (("bathtub", "wall"), ("washbasin", "wall"), ("toilet", "wall"), ("washing machine", "wall")),
    "office": (("desk", "wall"), ("office chair", "front of desk"), ("shelf", "wall")),
    "hall": (("console", "wall"),),
}
"""Room -> (furniture, where it goes): "wall", "free", "front of X", "beside X", or the label of a table to sit at."""
