"""The map from above: the numbers of an SVG drawing, in units of the drawing, from things in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embodmem.report.labels import place_inside, place_labels
from embodmem.report.pictures import shade_uri
from embodmem.report.times import nice_step
from embodmem.types import Recall

Points = NDArray[np.float64]

WIDTH, HEIGHT = 1000.0, 860.0
"""Largest size of the drawing, units."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 14.0, 40.0
_FONT = 14.0
_MAX_PATH, _COLOURS = 1200, 40
_MAX_LABEL = 28
_MAX_ROOMS, _MAX_MARKS = 200, 300
# Time from early to late; readable on white and on black.
_EARLY, _MIDDLE, _LATE = np.array([[46, 110, 225], [190, 60, 160], [240, 120, 30]], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Cells:
    """Occupied cells from above.

    Attributes:
        lower: (2,) metres, the corner of the picture with the smallest x and y.
        upper: (2,) metres, the opposite corner.
        uri: The picture, north (larger y) on top.
        note: Which heights it shows.
    """

    lower: Points
    upper: Points
    uri: str
    note: str


@dataclass(frozen=True, slots=True)
class Track:
    """Where an agent was: (N, 2) metres and (N,) 0..1 of the memory's time, in order."""

    agent: str
    places: Points
    moments: Points


@dataclass(frozen=True, slots=True)
class View:
    """A picture's place and direction on the map: anchor, words, (2,) metres, (2,) direction, 0..1 of the time."""

    anchor: str
    text: str
    place: Points
    direction: Points
    moment: float


@dataclass(slots=True)
class Plan:
    """A drawing: sizes in units, x right, y down. Entries of the lists are what the template writes."""

    width: float
    height: float
    box: tuple[float, float, float, float]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    scale: tuple[float, str]
    image: dict[str, float | str] | None = None
    rooms: list[dict[str, float | str]] = field(default_factory=list)
    objects: list[dict[str, object]] = field(default_factory=list)
    path: list[tuple[str, str]] = field(default_factory=list)
    ends: list[tuple[float, float, str, str]] = field(default_factory=list)
    views: list[tuple[str, str, str, str]] = field(default_factory=list)
    events: list[tuple[float, float, str, str]] = field(default_factory=list)
    hidden_events: int = 0
    hidden_rooms: int = 0


def occupied_cells(
    centres: NDArray[np.float32], edge_m: float, heights: tuple[float, float], side: int
) -> Cells | None:
    """Occupied voxels seen from above.

    Args:
        centres: (M, 3) of occupied voxels, metres, world.
        edge_m: Of a voxel, metres.
        heights: Lowest and highest that are shown, metres; where nothing lies between, all are.
        side: Cells along the longer side at most; beyond that, several voxels make one cell.

    Returns:
        The picture; None for an empty map.
    """
    if not len(centres):
        return None
    keep = (centres[:, 2] >= heights[0]) & (centres[:, 2] <= heights[1])
    note = f"occupied between {heights[0]:g} and {heights[1]:g} m of height"
    if not keep.any():
        keep[:], note = True, "occupied at any height"
    voxels = np.floor(centres[keep, :2].astype(np.float64) / edge_m).astype(np.int64)
    low = voxels.min(axis=0)
    factor = max(1, -(-int((voxels.max(axis=0) - low).max() + 1) // side))
    cells = (voxels - low) // factor
    nx, ny = (cells.max(axis=0) + 1).tolist()
    counts = np.bincount(cells[:, 1] * nx + cells[:, 0], minlength=nx * ny).reshape(ny, nx)
    # Walls fill a column: the strength grows with the count, the roots lift what is low, such as the top of a table.
    strength = np.sqrt(counts / max(float(np.quantile(counts[counts > 0], 0.95)), 1.0)).clip(0.0, 1.0)
    lower = low * edge_m
    upper = lower + np.array([nx, ny]) * factor * edge_m
    return Cells(lower, upper, shade_uri(strength[::-1]), note)


class _Frame:
    """Metres to units, y turned down, the same scale along both axes."""

    def __init__(self, lower: Points, upper: Points) -> None:
        middle, size = (lower + upper) / 2, np.maximum((upper - lower) * 1.06, 1.0)
        room = np.array([WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM])
        self.scale = float((room / size).min())
        # A narrow map still gets half of the width, or its axis would have no room for labels.
        size = np.maximum(size, room * [0.5, 0.3] / self.scale)
        self.lower, self.upper = middle - size / 2, middle + size / 2
        self.plot = size * self.scale

    def __call__(self, points: Points) -> Points:
        x = _LEFT + (points[..., 0] - self.lower[0]) * self.scale
        y = _TOP + (self.upper[1] - points[..., 1]) * self.scale
        units: Points = np.stack([x, y], axis=-1).round(1)
        return units

    def corners(self, lower: Points, upper: Points) -> Points:
        """(4,) x0, y0, x1, y1 in units of a box in metres, cut at the edges of the drawing."""
        ends = np.array([[lower[0], upper[1]], [upper[0], lower[1]]])
        return self(np.clip(ends, self.lower, self.upper)).reshape(4)

    def ticks(self, axis: int) -> list[tuple[float, str]]:
        """Position in units and words of round metres along an axis."""
        step = nice_step(float(self.plot.max()) / self.scale, 10)
        begin = np.ceil(self.lower[axis] / step) * step
        values = np.arange(begin, self.upper[axis] + step * 1e-6, step)
        digits = max(0, -int(np.floor(np.log10(step))))
        places = self(np.repeat(values[:, None], 2, axis=1))[:, axis]
        return [(p, f"{v + 0.0:.{digits}f}") for p, v in zip(places.tolist(), values.tolist(), strict=True)]


def make_plan(
    cells: Cells | None,
    rooms: Sequence[Recall],
    objects: Sequence[Recall],
    tracks: Sequence[Track],
    views: Sequence[View],
    events: Sequence[tuple[str, Recall]],
) -> Plan | None:
    """Lay out the map.

    Args:
        cells: Occupied cells, or None.
        rooms: Rooms; data: lower and upper.
        objects: Objects in the order of their numbers.
        tracks: One an agent.
        views: Of the pictures on the page.
        events: Anchor and event of those on the page.

    Returns:
        The drawing; None where nothing has a place.
    """
    placed = [event for event in events if event[1].position is not None]
    hidden_rooms, rooms, events = len(rooms[_MAX_ROOMS:]), rooms[:_MAX_ROOMS], placed[-_MAX_MARKS:]
    points = _corners(cells, rooms, objects, tracks, views, events)
    if not len(points):
        return None
    frame = _Frame(points.min(axis=0), points.max(axis=0))
    metres = nice_step(float(frame.plot[0]) / frame.scale, 10)
    width, height = frame.plot + [_LEFT + _RIGHT, _TOP + _BOTTOM]
    plan = Plan(
        width=round(float(width), 1),
        height=round(float(height), 1),
        box=(_LEFT, _TOP, round(float(frame.plot[0]), 1), round(float(frame.plot[1]), 1)),
        x_ticks=frame.ticks(0),
        y_ticks=frame.ticks(1),
        scale=(round(metres * frame.scale, 1), f"{metres:g} m"),
    )
    plan.hidden_events, plan.hidden_rooms = len(placed) - len(events), hidden_rooms
    if cells is not None:
        plan.image = {**_rectangle(frame.corners(cells.lower, cells.upper)), "uri": cells.uri}
    for track in tracks:
        _add_track(plan, frame, track, max(_MAX_PATH // len(tracks), 2))
    names = _add_rooms(plan, frame, rooms, objects)
    _add_objects(plan, frame, objects, names)
    plan.views = [(v.anchor, v.text, _wedge(frame, v), time_colour(v.moment)) for v in views]
    for anchor, event in events:
        x, y = frame(np.asarray(event.position)[:2]).tolist()
        plan.events.append((x, y, anchor, event.text))
    return plan


def _corners(
    cells: Cells | None,
    rooms: Sequence[Recall],
    objects: Sequence[Recall],
    tracks: Sequence[Track],
    views: Sequence[View],
    events: Sequence[tuple[str, Recall]],
) -> Points:
    """(N, 2) finite points, metres, whose box holds all that is drawn."""
    corners = [np.array([c.lower, c.upper]) for c in (cells,) if c is not None]
    corners += [np.array([r.data["lower"][:2], r.data["upper"][:2]]) for r in rooms]
    corners += [np.array([o.data["lower"][:2], o.data["upper"][:2]]) for o in objects]
    corners += [t.places for t in tracks] + [v.place[None] for v in views]
    corners += [np.asarray(e.position)[None, :2] for _, e in events]
    points = np.concatenate([np.zeros((0, 2)), *corners])
    finite: Points = points[np.isfinite(points).all(axis=1)]
    return finite


def _add_rooms(plan: Plan, frame: _Frame, rooms: Sequence[Recall], objects: Sequence[Recall]) -> Points:
    """Rectangles and names, each name where it covers few objects; returns (N, 4) boxes of the names."""
    things = [frame.corners(np.array(o.data["lower"]), np.array(o.data["upper"])) for o in objects]
    dots = [np.tile(frame(np.asarray(o.position)[:2]), 2) + [-5, -5, 5, 5] for o in objects]
    taken = np.array([*things, *dots]).reshape(-1, 4)
    boxes = []
    for room in rooms:
        name, corners = _short(room.label), frame.corners(np.array(room.data["lower"]), np.array(room.data["upper"]))
        half = np.array([len(name) * _FONT * 0.6 + 6, _FONT + 2]) / 2
        x, y = place_inside(corners, 2 * float(half[0]), 2 * float(half[1]), taken)
        boxes.append(np.array([x - half[0], y - half[1], x + half[0], y + half[1]]))
        plan.rooms.append(
            {"name": name, "name_x": round(x, 1), "name_y": round(y + _FONT * 0.35, 1), **_rectangle(corners)}
        )
    return np.array(boxes).reshape(-1, 4)


def _add_objects(plan: Plan, frame: _Frame, objects: Sequence[Recall], taken: Points) -> None:
    """Dots, footprints and labels; a label that finds no room becomes the object's number, or nothing."""
    dots = frame(np.array([np.asarray(o.position)[:2] for o in objects]).reshape(-1, 2))
    texts = [(f"{n} {_short(item.label)}", str(n)) for n, item in enumerate(objects, 1)]
    widths = [[len(text) * _FONT * 0.56 + 4 for text in pair] for pair in texts]
    places = place_labels(dots, widths, _FONT + 1, (plan.width, plan.height), taken)
    for item, dot, pair, place in zip(objects, dots.tolist(), texts, places, strict=True):
        label = None
        if place is not None:
            x, y = round(place.x, 1), round(place.y + _FONT * 0.35, 1)
            label = {"text": pair[place.choice], "x": x, "y": y, "line": place.far}
        footprint = _rectangle(frame.corners(np.array(item.data["lower"]), np.array(item.data["upper"])))
        plan.objects.append({"item": item, "x": dot[0], "y": dot[1], "footprint": footprint, "label": label})


def _short(name: str) -> str:
    return name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "\u2026"


def _rectangle(corners: Points) -> dict[str, float | str]:
    """x0, y0, x1, y1 as x, y, width and height."""
    x, y, right, bottom = corners.tolist()
    return {"x": x, "y": y, "w": round(right - x, 1), "h": round(bottom - y, 1)}


def _add_track(plan: Plan, frame: _Frame, track: Track, most: int) -> None:
    """A path of at most so many points, in pieces whose colours go from that of the beginning to that of the end."""
    if not len(track.places):
        return
    keep = np.unique(np.linspace(0, len(track.places) - 1, most).round().astype(int))
    places, moments = frame(track.places[keep]), track.moments[keep]
    bins = np.minimum((moments * _COLOURS).astype(int), _COLOURS - 1)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(bins) - 1], strict=True):
        piece = places[begin : end + 1]  # its last point is the first of the next piece
        if len(piece) > 1:
            line = " ".join(f"{x:g},{y:g}" for x, y in piece.tolist())
            plan.path.append((line, time_colour((bins[begin] + 0.5) / _COLOURS)))
    who = f" of {track.agent}" if track.agent else ""
    for place, moment, word in ((places[0], moments[0], "first"), (places[-1], moments[-1], "last")):
        plan.ends.append((float(place[0]), float(place[1]), f"{word} place{who}", time_colour(float(moment))))


def _wedge(frame: _Frame, view: View) -> str:
    """A small triangle that opens to where a camera looks."""
    tip = frame(view.place)
    along = view.direction / max(float(np.linalg.norm(view.direction)), 1e-9) * [1, -1]
    across = np.array([-along[1], along[0]])
    corners = np.array([tip, tip + 13 * along + 6 * across, tip + 13 * along - 6 * across]).round(1)
    return " ".join(f"{x:g},{y:g}" for x, y in corners.tolist())


def time_colour(moment: float) -> str:
    """The colour of a moment, 0 (first) .. 1 (last), as #rrggbb."""
    early = moment < 0.5
    a, b = (_EARLY, _MIDDLE) if early else (_MIDDLE, _LATE)
    mix = a + (b - a) * (moment * 2 if early else moment * 2 - 1)
    return "#" + "".join(f"{round(c):02x}" for c in np.clip(mix, 0, 255).tolist())
