"""Whether what was detected can be there: held against the map as it was before this look, and against its like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodmem.config import GuardConfig, SceneConfig
from embodmem.geometry import backproject
from embodmem.spatial.memory import SpatialMemory
from embodmem.spatial.scene.lift import Observation, lift
from embodmem.types import Percept

_AGREE = 0.7
"""So much of what is seen of a thing has to contradict the map before its detection is doubted."""
_KNOWN_FREE = -1.0
"""Log-odds below which space is known to be free: three looks through it, with the sensor model's defaults."""
_ALL_AROUND = 0.9
"""And so much of what is around it, if it is to be behind something: through a door, or past an edge, one can see."""
_WIDE_VOXELS = 2.0
"""What is behind something must be so wide there, voxels: a map of voxels knows no smaller gaps."""
_SLACK_VOXELS = 4
"""How far behind what the map holds a thing may seem to lie, voxels: edges, noise, a voxel's own size."""

_GRID = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 5), np.linspace(0.1, 0.9, 5)), axis=-1).reshape(-1, 2)
_AROUND = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3), axis=-1).reshape(-1, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """A detection that cannot be.

    Attributes:
        seen: What it claims.
        reason: Why that cannot be.
    """

    seen: Observation
    reason: str


class Sightings:
    """Holds detections against the map and against what is known of their like.

    Args:
        spatial: The map.
        scene: How detections are placed in the world.
        config: What is checked.
    """

    def __init__(self, spatial: SpatialMemory, scene: SceneConfig, config: GuardConfig) -> None:
        self.spatial, self.scene, self.config = spatial, scene, config

    def doubts(self, percept: Percept, sizes_m: dict[str, float]) -> list[Doubt]:
        """The detections, and labelled instances of a segmentation, of a percept that cannot be.

        Args:
            percept: A look that is not yet in the map.
            sizes_m: Label -> longest edge of the largest known thing of this label, metres.
        """
        seen = lift(percept, self.scene)
        if not seen:
            return []
        reasons = self._against_map(percept, seen)
        return [
            Doubt(one, reason)
            for one, found in zip(seen, reasons, strict=True)
            if (reason := found or self._against_like(one, sizes_m))
        ]

    def _against_map(self, percept: Percept, seen: Sequence[Observation]) -> list[str]:
        """What the map says against each: "" where nothing."""
        points, of = _surface(percept, seen)
        around, around_of = _beside(percept, seen)
        if not len(points):
            return [""] * len(seen)
        n, size_m, origin = len(seen), self.spatial.config.voxel_size_m, percept.T_world_sensor[:3, 3]
        distance_m = np.linalg.norm(points - origin, axis=1)
        far_m = np.array([np.median(distance_m[of == i]) if (of == i).any() else 0.0 for i in range(n)])
        through, wall_m = self._through(origin, points - origin, distance_m)
        beside, _ = self._through(origin, around, far_m[around_of])
        near = self.spatial.octree.log_odds((points[:, None] + size_m * _AROUND).reshape(-1, 3))
        free = (near.reshape(len(points), -1) < _KNOWN_FREE).all(axis=1)  # NaN, what is unknown, is not
        count = np.maximum(np.bincount(of, minlength=n), 1)
        blocked = (np.bincount(of, through, minlength=n) >= _AGREE * count) & (
            np.bincount(around_of, beside, minlength=n) >= _ALL_AROUND * np.bincount(around_of, minlength=n)
        )
        empty = np.bincount(of, free, minlength=n) >= _AGREE * count
        found = [""] * n
        for i in np.flatnonzero(empty & (far_m > 0)).tolist():
            found[i] = f"{_where(seen[i].position)}, in space that the map knows to be free"
        for i in np.flatnonzero(blocked & (far_m > 0)).tolist():
            at_m = float(np.median(wall_m[(of == i) & through]))
            if _width_m(seen[i], percept, at_m) >= _WIDE_VOXELS * size_m:
                found[i] = f"{_where(seen[i].position)}, behind what the map holds for occupied at {at_m:.2f} m"
        return found

    def _through(
        self, origin: NDArray[np.float64], way: NDArray[np.float64], distance_m: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether what lies this far away (N,) along ways (N, 3) is behind what is occupied, and how far that is."""
        along = way / np.linalg.norm(way, axis=1, keepdims=True)
        hits = self.spatial.octree.raycast(np.repeat(origin[None], len(way), axis=0), along, self._reach_m)
        slack_m = _SLACK_VOXELS * self.spatial.config.voxel_size_m
        return hits.hit & (hits.distance_m < distance_m - slack_m), hits.distance_m

    @property
    def _reach_m(self) -> float:
        return max(self.scene.max_range_m, self.spatial.config.max_range_m)

    def _against_like(self, seen: Observation, sizes_m: dict[str, float]) -> str:
        most = self.config.size_factor * sizes_m.get(seen.label, 0.0)
        if not most or seen.size <= most:
            return ""
        return f"{seen.size:.2f} m wide at its depth, wanted at most {most:.2f} m for a {seen.label}"


def _surface(percept: Percept, seen: Sequence[Observation]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Points (N, 3) on what is seen of each, metres, world, and which one (N,) each belongs to."""
    camera, depth = percept.camera, percept.depth
    assert camera is not None and depth is not None
    box = np.array([one.box for one in seen])
    pixels = box[:, None, :2] + _GRID * (box[:, None, 2:] - box[:, None, :2])
    cols = np.clip(pixels[..., 0].astype(np.intp), 0, camera.width - 1)
    rows = np.clip(pixels[..., 1].astype(np.intp), 0, camera.height - 1)
    z = depth[rows, cols].astype(np.float64)
    flat = backproject(camera, rows.ravel(), cols.ravel(), z.ravel())
    world = (flat @ percept.T_world_sensor[:3, :3].T + percept.T_world_sensor[:3, 3]).reshape(*z.shape, 3)
    lower, upper = (np.array([getattr(one, name) for one in seen])[:, None] for name in ("lower", "upper"))
    on_it = (z > 0) & (world >= lower - 1e-6).all(axis=-1) & (world <= upper + 1e-6).all(axis=-1)
    return world[on_it], np.nonzero(on_it)[0]


def _beside(percept: Percept, seen: Sequence[Observation]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Directions (N, 3) in the world, of any length, of a box twice as large as each, and whose (N,) each is."""
    camera = percept.camera
    assert camera is not None
    box = np.array([one.box for one in seen])
    middle, half = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    pixels = middle[:, None] + (2.0 * _GRID - 1.0) / 0.8 * half[:, None]
    inside = ((pixels >= 0) & (pixels <= [camera.width - 1, camera.height - 1])).all(axis=-1)
    flat = pixels[inside]
    ways = backproject(camera, flat[:, 1], flat[:, 0], np.ones(len(flat)))
    return ways @ percept.T_world_sensor[:3, :3].T, np.nonzero(inside)[0]


def _width_m(seen: Observation, percept: Percept, distance_m: float) -> float:
    """How wide the shorter edge of its box is at a distance, metres."""
    assert percept.camera is not None
    return float((seen.box[2:] - seen.box[:2]).min()) * distance_m / percept.camera.fx


def without(percept: Percept, doubts: Iterable[Doubt]) -> Percept:
    """A percept without these detections; its images stay."""
    seen = [doubt.seen for doubt in doubts]
    if not seen or percept.camera is None:
        return percept
    limits = np.array([percept.camera.width, percept.camera.height] * 2, dtype=np.float64)
    claimed = [(one.label, one.instance_id, one.box.tolist()) for one in seen]
    kept = []
    for detection in percept.detections:
        if detection.mask is not None:
            rows, cols = np.nonzero(detection.mask)
            box = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1] if len(rows) else [0.0] * 4
        else:
            assert detection.box is not None
            box = np.clip(detection.box, 0.0, limits).tolist()
        if (detection.label, detection.instance_id, [float(x) for x in box]) not in claimed:
            kept.append(detection)
    instances = {one.instance_id for one in seen if one.instance_id is not None}
    labels = {number: label for number, label in percept.labels.items() if number not in instances}
    return replace(percept, detections=tuple(kept), labels=labels)


def _where(position: NDArray[np.float64]) -> str:
    return f"at ({position[0]:.2f}, {position[1]:.2f}, {position[2]:.2f})"
