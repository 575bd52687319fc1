"""A room of boxes with a small ray-caster: percepts whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from embodmem.geometry import look_at
from embodmem.types import Detection, Percept, PinholeCamera

CAMERA = PinholeCamera(width=160, height=120, fx=130.0, fy=130.0, cx=80.0, cy=60.0)


class Box:
    """A solid box: centre (3,) and size (3,) in metres; label "" is never detected."""

    def __init__(self, label: str, centre: Sequence[float], size: Sequence[float], embedding=None) -> None:
        self.label = label
        self.centre = np.array(centre, dtype=float)
        self.size = np.array(size, dtype=float)
        self.embedding = embedding

    @property
    def lower(self) -> np.ndarray:
        return self.centre - self.size / 2

    @property
    def upper(self) -> np.ndarray:
        return self.centre + self.size / 2


def room() -> dict[int, Box]:
    """A floor of 6 x 6 m, two walls, a table with a top at 0.75 m: ids 1 to 4, of which only the table is named."""
    return {
        1: Box("", (0, 0, -0.05), (6, 6, 0.1)),
        2: Box("", (0, 3, 1.5), (6, 0.1, 3)),
        3: Box("", (3, 0, 1.5), (0.1, 6, 3)),
        4: Box("table", (0, 1, 0.72), (1.6, 0.8, 0.06)),
    }


def render(boxes: Mapping[int, Box], T_world_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) float32 metres and ids (H, W) int32 by the slab test of every ray with every box."""
    rows, cols = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.stack([(cols - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones(rows.shape)], axis=-1)
    rays = rays @ T_world_camera[:3, :3].T
    rays[np.abs(rays) < 1e-12] = 1e-12
    origin = T_world_camera[:3, 3]
    depth, ids = np.full(rows.shape, np.inf), np.zeros(rows.shape, dtype=np.int32)
    for id, box in boxes.items():
        a, b = (box.lower - origin) / rays, (box.upper - origin) / rays
        enter, leave = np.minimum(a, b).max(axis=-1), np.maximum(a, b).min(axis=-1)
        hit = (enter <= leave) & (enter > 0) & (enter < depth)
        depth[hit], ids[hit] = enter[hit], id
    return np.where(np.isfinite(depth), depth, 0).astype(np.float32), ids


def percept(
    boxes: Mapping[int, Box],
    step: int,
    kind: str,
    eye: Sequence[float] = (0, -1.2, 1.6),
    target: Sequence[float] = (0, 1, 0.75),
    skip: Sequence[int] = (),
) -> Percept:
    """A look at the room.

    `kind`: "box" and "mask" for detections that know no instance, "ids" for boxes that do, "segmentation" for a
    simulator. `skip`: ids that the detector misses.
    """
    T = look_at(eye, target)
    depth, ids = render(boxes, T)
    detections, labels = [], {}
    for id, box in boxes.items():
        mask = ids == id
        if not box.label or id in skip or mask.sum() < 8:
            continue
        labels[id] = box.label
        rows, cols = np.nonzero(mask)
        edges = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], dtype=float)
        detections.append(
            Detection(
                label=box.label,
                score=0.9,
                box=None if kind == "mask" else edges,
                mask=mask if kind == "mask" else None,
                instance_id=id if kind == "ids" else None,
                embedding=box.embedding,
            )
        )
    simulated = kind == "segmentation"
    return Percept(
        stamp_ns=step * 100_000_000,
        T_world_sensor=T,
        camera=CAMERA,
        depth=depth,
        detections=() if simulated else tuple(detections),
        segmentation=ids if simulated else None,
        labels=labels if simulated else {},
    )


def eyes(n: int) -> list[tuple[float, float, float]]:
    """n places on an arc in front of the table."""
    angles = np.linspace(-0.6, 0.6, n)
    return [(2.2 * float(np.sin(a)), 1.0 - 2.2 * float(np.cos(a)), 1.6) for a in angles]
