"""The timeline: one lane a kind of event, as the numbers of an SVG drawing whose size does not grow with the events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodmem.report.times import Times
from embodmem.types import Recall

WIDTH = 1000.0
_LEFT, _RIGHT, _TOP, _LANE = 132.0, 16.0, 24.0, 24.0
_MAX_LANES = 14
_BIN = 3.0
_LEVELS = (0.55, 0.7, 0.85, 1.0)


@dataclass(frozen=True, slots=True)
class Lane:
    """One kind: its name, how many, top of the lane, and path data of its marks by opacity and of its stretches."""

    name: str
    count: int
    y: float
    marks: list[tuple[float, str]]
    stretches: str


@dataclass(frozen=True, slots=True)
class Lanes:
    """A drawing; sizes in units."""

    width: float
    height: float
    left: float
    right: float
    ticks: list[tuple[float, str]]
    lanes: list[Lane]


def make_lanes(events: Sequence[Recall], keyframes_ns: NDArray[np.int64], times: Times) -> Lanes | None:
    """Lay out the timeline.

    Args:
        events: All events, in order.
        keyframes_ns: (N,) stamps of all keyframes.
        times: The memory's time.

    Returns:
        The drawing; None where nothing happened.
    """
    spans: dict[str, list[tuple[int, int]]] = {}
    for event in events:
        name = str(event.data.get("kind", "event"))
        spans.setdefault(name, []).append((event.first_seen_ns, event.last_seen_ns))
    if len(spans) > _MAX_LANES:
        by_count = sorted(spans, key=lambda name: -len(spans[name]))
        other = [span for name in by_count[_MAX_LANES - 1 :] for span in spans.pop(name)]
        spans["other kinds"] = other
    kinds = [(name, np.array(stamps, dtype=np.int64)) for name, stamps in spans.items()]
    if len(keyframes_ns):
        kinds.insert(0, ("keyframes", np.stack([keyframes_ns, keyframes_ns], axis=1)))
    if not kinds:
        return None
    lanes = [_lane(name, stamps, _TOP + i * _LANE, times) for i, (name, stamps) in enumerate(kinds)]
    scale = WIDTH - _LEFT - _RIGHT
    ticks = [(float(times.fraction(np.array([ns]))[0]) * scale + _LEFT, words) for ns, words in times.ticks()]
    return Lanes(
        width=WIDTH,
        height=_TOP + len(lanes) * _LANE + 6,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        ticks=[(round(x, 1), words) for x, words in ticks],
        lanes=lanes,
    )


def _lane(name: str, stamps: NDArray[np.int64], y: float, times: Times) -> Lane:
    """Marks and stretches of one lane; what falls into one bin is one mark, the more the darker."""
    bins = int((WIDTH - _LEFT - _RIGHT) / _BIN)
    places = np.minimum((times.fraction(stamps) * bins).astype(int), bins - 1)
    counts = np.bincount(places[:, 0], minlength=bins)
    level = np.minimum(np.log2(np.maximum(counts, 1)).astype(int), len(_LEVELS) - 1)
    marks = []
    for i, opacity in enumerate(_LEVELS):
        chosen = np.flatnonzero((counts > 0) & (level == i)).tolist()
        if chosen:
            marks.append((opacity, "".join(_bar(b, _BIN - 0.6, y + 4, 16) for b in chosen)))
    change = np.zeros(bins + 1, dtype=int)
    np.add.at(change, places[:, 0], 1)
    np.add.at(change, places[:, 1], -1)
    busy = np.r_[0, (np.cumsum(change) > 0).astype(int), 0]
    covered = np.flatnonzero(np.diff(busy)).reshape(-1, 2).tolist()
    stretches = "".join(_bar(a, (b - a + 1) * _BIN, y + 9, 6) for a, b in covered)
    return Lane(name, len(stamps), y, marks, stretches)


def _bar(first_bin: int, width: float, top: float, height: float) -> str:
    """Path data of a rectangle that begins at a bin."""
    return f"M{_LEFT + first_bin * _BIN:g} {top:g}h{width:g}v{height:g}h-{width:g}z"
