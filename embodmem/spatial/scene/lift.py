"""From pixels to the world: each detection of an image becomes a 3D observation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodmem.config import SceneConfig
from embodmem.geometry import backproject
from embodmem.types import Detection, Percept, PinholeCamera, Pose

__all__ = ["Observation", "lift"]

Floats = NDArray[np.float64]
Samples = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]

_MAX_SAMPLES = 1024
"""Pixels looked at per detection: more do not change a median, and cost time."""
_GOLDEN = np.arange(_MAX_SAMPLES) * ((math.sqrt(5.0) - 1.0) / 2.0) % 1.0
_TABLE_IDS = 2**20
"""Instance ids below this are looked up in a table, which is quicker than a search."""
_MAX_DOUBT_M = 0.3
"""Depths far behind an object say no more than that its own is uncertain."""
_NEAR_SHARE = 0.5
"""The nearest part of a box wins when it has this much of the weight of the heaviest."""
_BORDER_PX = 2.0
"""A box this near the edge of the image is taken to be cut off by it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """One object as one image shows it, placed in the world.

    Attributes:
        label: What it is.
        score: Confidence of the detector in 0..1.
        position: (3,) metres, world. Of a box: on the ray through its centre, at the depth of its foreground. Of a
            mask: the centre of the visible surface.
        lower: (3,) lower corner of the visible surface, metres, world.
        upper: (3,) upper corner of the visible surface, metres, world.
        covariance: (3, 3) of `position`, square metres, world: narrow across the ray, wide along it.
        points: Pixels with depth it rests on.
        quality: Weight of this view in 0..1: large, whole, near views weigh most.
        box: (4,) x0, y0, x1, y1 px.
        at_border: The image cuts it off, so that its centre and extent are not to be trusted.
        masked: Its pixels were given one by one (mask or segmentation), not only by a box.
        embedding: (D,) float32 of unit norm, or None.
        instance_id: Number of the source for one and the same object, or None.
        camera: (3,) where it was seen from, metres, world.
    """

    label: str
    score: float
    position: Floats
    lower: Floats
    upper: Floats
    covariance: Floats
    points: int
    quality: float
    box: Floats
    at_border: bool
    masked: bool
    embedding: NDArray[np.float32] | None
    instance_id: int | None
    camera: Floats

    @property
    def size(self) -> float:
        """Longest edge of its extent, metres."""
        return float((self.upper - self.lower).max())


def lift(percept: Percept, config: SceneConfig) -> list[Observation]:
    """Place what an image shows in the world.

    Args:
        percept: A look with depth. Its detections (and the labelled instances of its segmentation) are lifted.
        config: Thresholds.

    Returns:
        The observations in an order that does not depend on the order of the detections. A detection below
        `min_score`, or with fewer than `min_points` pixels of depth, gives none.
    """
    camera, depth = percept.camera, percept.depth
    if camera is None or depth is None:
        return []
    found: list[Observation | None] = []
    for detection in percept.detections:
        if detection.score < config.min_score:
            continue
        samples, box = _samples(detection, depth, config)
        found.append(_observe(detection, samples, box, percept.T_world_sensor, camera, config))
    if percept.segmentation is not None and percept.labels:
        found += _lift_segmentation(percept, config)
    return _one_per_instance(sorted((o for o in found if o is not None), key=_order))


def _one_per_instance(observations: list[Observation]) -> list[Observation]:
    """An instance that came both as a detection and in the segmentation counts once: the view with more pixels."""
    best: dict[int, Observation] = {}
    for o in observations:
        if o.instance_id is not None:
            held = best.get(o.instance_id)
            if held is None or (o.masked, o.points) > (held.masked, held.points):
                best[o.instance_id] = o
    return [o for o in observations if o.instance_id is None or best[o.instance_id] is o]


def _order(o: Observation) -> tuple[object, ...]:
    instance = -1 if o.instance_id is None else o.instance_id
    return (o.label, instance, *o.box.tolist(), -o.score, *o.position.tolist())


def _samples(detection: Detection, depth: NDArray[np.float32], config: SceneConfig) -> tuple[Samples, Floats]:
    """Evenly spread pixels with depth of a detection, and its box clipped to the image."""
    height, width = depth.shape
    if detection.mask is not None:
        rows, cols = np.nonzero(detection.mask)
        if not len(rows):
            return _no_samples(), np.zeros(4)
        box = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], dtype=np.float64)
        some = _spread(len(rows))
        rows, cols = rows[some], cols[some]
    else:
        assert detection.box is not None
        box = np.clip(detection.box, 0.0, [width, height, width, height])
        x0, y0 = math.floor(box[0]), math.floor(box[1])
        x1, y1 = math.ceil(box[2]), math.ceil(box[3])
        step = math.ceil(math.sqrt(max(1, (y1 - y0) * (x1 - x0)) / _MAX_SAMPLES))
        patch = depth[y0:y1:step, x0:x1:step]
        rows, cols = np.nonzero((patch > 0) & (patch <= config.max_range_m))
        return (y0 + step * rows, x0 + step * cols, patch[rows, cols]), box
    z = depth[rows, cols]
    keep = (z > 0) & (z <= config.max_range_m)
    return (rows[keep], cols[keep], z[keep]), box


def _spread(n: int) -> NDArray[np.intp]:
    """At most `_MAX_SAMPLES` of n indices, evenly spread: by multiples of the golden ratio, since an even step could
    fall in with the width of the object and look at a few of its columns only.
    """
    return np.arange(n) if n <= _MAX_SAMPLES else (_GOLDEN * n).astype(np.intp)


def _no_samples() -> Samples:
    none = np.zeros(0, dtype=np.intp)
    return none, none, np.zeros(0, dtype=np.float32)


def _lift_segmentation(percept: Percept, config: SceneConfig) -> list[Observation | None]:
    """One observation per labelled instance: pixels are grouped by one stable sort of their ids."""
    camera, depth, segmentation = percept.camera, percept.depth, percept.segmentation
    assert camera is not None and depth is not None and segmentation is not None
    ids = np.array(sorted(id for id in percept.labels if id > 0), dtype=np.int64)
    if not len(ids):
        return []
    flat = segmentation.ravel()
    small = np.uint16 if len(ids) < 2**16 - 1 else np.int64
    if ids[-1] < _TABLE_IDS:
        table = np.zeros(int(ids[-1]) + 2, dtype=small)
        table[ids] = np.arange(1, len(ids) + 1)
        group = table.take(flat, mode="clip")
    else:
        at = np.minimum(np.searchsorted(ids, flat), len(ids) - 1)
        group = np.where(ids[at] == flat, at + 1, 0).astype(small)
    pixels = np.flatnonzero(group)
    group = group[pixels]
    pixels = pixels[np.argsort(group, kind="stable")]
    ends = np.cumsum(np.bincount(group, minlength=len(ids) + 1))[1:]
    found = []
    for index in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
        of_one = pixels[ends[index - 1] if index else 0 : ends[index]]
        rows, cols = np.divmod(of_one, camera.width)
        box = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], dtype=np.float64)
        some = _spread(len(rows))
        rows, cols = rows[some], cols[some]
        z = depth[rows, cols]
        keep = (z > 0) & (z <= config.max_range_m)
        name = int(ids[index])
        detection = Detection(label=percept.labels[name], box=box, instance_id=name)
        samples = (rows[keep], cols[keep], z[keep])
        found.append(_observe(detection, samples, box, percept.T_world_sensor, camera, config, exact=True))
    return found


def _foreground(samples: Samples, box: Floats) -> tuple[NDArray[np.bool_], float, float]:
    """Which pixels of a box are the object, the depth of its middle, and how far other depths are from it, metres.

    Boxes are loose, but they are centred: pixels count more towards the middle. Depths are split where there is a
    gap between them, and the nearest part with much weight is the object: what fills the rest of a box is more often
    behind an object than before it. The third value is the root mean square
    distance of all depths to the middle: large where the choice could as well have been another.
    """
    rows, cols, z = samples
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    offset = ((cols - centre[0]) / half[0]) ** 2 + ((rows - centre[1]) / half[1]) ** 2
    weight = np.exp(-2.0 * offset)
    order = np.argsort(z, kind="stable")
    sorted_z, sorted_weight = z[order], weight[order]
    along = np.cumsum(sorted_weight)
    cuts = np.flatnonzero(sorted_z[1:] - sorted_z[:-1] > np.maximum(0.04, 0.03 * sorted_z[1:])) + 1
    ends = np.append(cuts, len(z))
    begins = np.concatenate([[0], cuts])
    before = np.where(begins > 0, along[begins - 1], 0.0)
    total = along[ends - 1] - before
    best = int((total >= _NEAR_SHARE * total.max()).argmax())
    begin, end = int(begins[best]), int(ends[best])
    half_way = (before[best] + along[end - 1]) / 2
    middle = float(sorted_z[begin + int(np.searchsorted(along[begin:end], half_way))])
    doubt = math.sqrt(float(weight @ (z - middle) ** 2) / float(along[-1]))
    return (z >= sorted_z[begin]) & (z <= sorted_z[end - 1]), middle, min(doubt, _MAX_DOUBT_M)


def _without_bleeding(z: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels of a mask that do not belong to a small part lying apart in depth (the rim of a mask often bleeds)."""
    order = np.argsort(z)
    sorted_z = z[order]
    part = np.cumsum(np.diff(sorted_z, prepend=sorted_z[0]) > np.maximum(0.1, 0.05 * sorted_z))
    large = np.bincount(part) >= 0.2 * len(z)
    keep = np.zeros(len(z), dtype=bool)
    keep[order] = large[part] if large.any() else True
    return keep


def _observe(
    detection: Detection,
    samples: Samples,
    box: Floats,
    T_world_camera: Pose,
    camera: PinholeCamera,
    config: SceneConfig,
    exact: bool = False,
) -> Observation | None:
    rows, cols, z = samples
    if len(z) < config.min_points:
        return None
    masked = exact or detection.mask is not None
    doubt = 0.0
    if not masked:
        keep, middle, doubt = _foreground(samples, box)
        reach = max(0.1, 0.5 * float((box[2:] - box[:2]).max()) * middle / camera.fx)
        keep &= np.abs(z - middle) <= reach
    else:
        keep = np.ones(len(z), dtype=bool) if exact else _without_bleeding(z)
        middle = float(np.median(z[keep]))
    rotation, origin = T_world_camera[:3, :3], T_world_camera[:3, 3]
    points = backproject(camera, rows[keep], cols[keep], z[keep].astype(np.float64))
    world = np.sort(rotation @ points.T, axis=1) + origin[:, None]
    # Half a percent cut off each end loses nothing of a mask; of a box, the tenth at each end is often something else.
    cut = int((0.005 if masked else 0.1) * world.shape[1])
    lower, upper = world[:, cut].copy(), world[:, -1 - cut].copy()
    if masked:
        position = (lower + upper) / 2
    else:
        u, v = (box[:2] + box[2:]) / 2
        position = origin + rotation @ backproject(camera, np.array([v]), np.array([u]), np.array([middle]))[0]
    at_border = _touches_border(box, camera)
    span = float((box[2:] - box[:2]).max()) * middle / camera.fx
    return Observation(
        label=detection.label,
        score=detection.score,
        position=position,
        lower=lower,
        upper=upper,
        covariance=_covariance(position - origin, middle, span, doubt, at_border, camera, config),
        points=int(np.count_nonzero(keep)),
        quality=_quality(detection.score, box, at_border, len(z), camera),
        box=box,
        at_border=at_border,
        masked=masked,
        embedding=detection.embedding,
        instance_id=detection.instance_id,
        camera=origin.copy(),
    )


def _touches_border(box: Floats, camera: PinholeCamera) -> bool:
    edge = [camera.width - _BORDER_PX, camera.height - _BORDER_PX]
    return bool((box[:2] <= _BORDER_PX).any() or (box[2:] >= edge).any())


def _covariance(
    ray: Floats, depth: float, span: float, doubt: float, at_border: bool, camera: PinholeCamera, config: SceneConfig
) -> Floats:
    """(3, 3) of a position: the box fixes it across the ray, the foreground (less surely) along it."""
    loose = (0.3 if at_border else 0.08) * span
    across = config.position_sigma_m**2 + loose**2 + (3.0 * depth / camera.fx) ** 2
    along = across + (0.25 * span) ** 2 + (0.01 * depth * depth) ** 2 + doubt**2
    unit = ray / np.linalg.norm(ray)
    return across * np.eye(3) + (along - across) * np.outer(unit, unit)


def _quality(score: float, box: Floats, at_border: bool, points: int, camera: PinholeCamera) -> float:
    """Weight in 0..1 of a view: confident, whole, large in the image and full of depth is best."""
    area = float((box[2] - box[0]) * (box[3] - box[1])) / (camera.width * camera.height)
    large = min(1.0, float(np.sqrt(area / 0.05)))
    return score * (0.2 if at_border else 1.0) * (0.3 + 0.7 * large) * min(1.0, points / 100.0)
