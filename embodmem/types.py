"""The few types that everything flows through, and the protocols that the rooms of the house keep.

Conventions, once: a transform ``T_a_b`` maps points of frame b into frame a, so ``T_a_b @ T_b_c = T_a_c``. The
``world`` frame is right-handed with z up; a camera frame is optical (x right, y down, z forward). Metres,
radians, integer nanoseconds. All checks happen when a value is made, so that what is inside is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embodmem.checks import check_stamp, check_texts, check_unit_vector, digest_of
from embodmem.errors import DepthError, InvalidInput
from embodmem.geometry import Pose, check_pose
from embodmem.query import Query

__all__ = [
    "Detection",
    "Encoder",
    "Event",
    "Memory",
    "Percept",
    "PinholeCamera",
    "Pose",
    "Query",
    "Recall",
    "check_stamp",
]

Vector = NDArray[np.float32]
_NO_LABELS: Mapping[int, str] = MappingProxyType({})


def _set(obj: object, name: str, value: Any) -> None:
    """Assign in ``__post_init__`` of a frozen dataclass."""
    object.__setattr__(obj, name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinholeCamera:
    """A pinhole camera without distortion; pixel (0, 0) is the centre of the top left pixel.

    Attributes:
        width: Columns of its images, px.
        height: Rows of its images, px.
        fx: Focal length along x, px.
        fy: Focal length along y, px.
        cx: Principal point along x, px.
        cy: Principal point along y, px.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InvalidInput(f"camera: wanted a size of at least 1x1 px, got {self.width}x{self.height}")
        if not (np.isfinite([self.fx, self.fy, self.cx, self.cy]).all() and self.fx > 0 and self.fy > 0):
            raise InvalidInput(
                f"camera: wanted finite fx, fy > 0 and cx, cy, got {self.fx}, {self.fy}, {self.cx}, {self.cy}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as numpy gives the shape of an image."""
        return (self.height, self.width)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """One object as a detector or a simulator saw it in one image.

    Attributes:
        label: What it is ("mug"); never empty.
        score: Confidence in 0..1.
        box: (4,) float64, x0, y0, x1, y1 in px, or None when there is a mask.
        mask: (H, W) bool, or None when there is a box.
        embedding: (D,) float32 of unit norm, or None.
        instance_id: Number that the source keeps for one and the same object, or None if it knows none.
    """

    label: str
    score: float = 1.0
    box: NDArray[np.float64] | None = None
    mask: NDArray[np.bool_] | None = None
    embedding: Vector | None = None
    instance_id: int | None = None

    def __post_init__(self) -> None:
        check_texts("detection: label", self.label)
        if not self.label.strip():
            raise InvalidInput("detection: wanted a label, got an empty one")
        if not 0.0 <= self.score <= 1.0:
            raise InvalidInput(f"detection {self.label!r}: wanted a score in 0..1, got {self.score}")
        if self.box is None and self.mask is None:
            raise InvalidInput(f"detection {self.label!r}: wanted a box or a mask, got neither")
        if self.box is not None:
            box = np.asarray(self.box, dtype=np.float64)
            if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
                raise InvalidInput(
                    f"detection {self.label!r}: wanted a box x0, y0, x1, y1 in px with x1 > x0 and y1 > y0, "
                    f"got {self.box!r}"
                )
            _set(self, "box", box)
        if self.mask is not None:
            mask = np.asarray(self.mask)
            if mask.ndim != 2 or mask.dtype != np.bool_:
                raise InvalidInput(
                    f"detection {self.label!r}: wanted a mask (H, W) bool, got {mask.shape} {mask.dtype}"
                )
            _set(self, "mask", mask)
        if self.embedding is not None:
            _set(self, "embedding", check_unit_vector(self.embedding, f"detection {self.label!r}: embedding"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Percept:
    """One posed, time-stamped look at the world.

    Attributes:
        stamp_ns: When it was seen, ns.
        T_world_sensor: (4, 4) float64; sensor frame to world. For a camera the sensor frame is optical. A rotation
            off by more than 1e-3 is refused, a smaller error is re-orthonormalised.
        camera: Intrinsics of `depth`, `rgb` and `segmentation`; None for a lidar.
        depth: (H, W) metres along +z of the camera, 0 = no return. float32, or uint16 millimetres, which are
            converted to float32 metres.
        rgb: (H, W, 3) uint8.
        points: (N, 3) float32 metres in the sensor frame (lidar).
        detections: What a detector found in this image.
        segmentation: (H, W) int32 instance ids, 0 = nothing known.
        labels: Instance id -> label, for the ids of `segmentation` and `point_ids`.
        point_ids: (N,) int32 instance ids of `points`, 0 = nothing known.
        point_rgb: (N, 3) uint8 colours of `points`.
        embedding: (D,) float32 of unit norm, of the whole view.
        embedding_model: Whose vector that is, by which `Query.embedding_model` finds it.
        caption: Words for the whole view.
        agent: Who looked; stamps must not decrease per agent.
    """

    stamp_ns: int
    T_world_sensor: Pose
    camera: PinholeCamera | None = None
    depth: NDArray[np.float32] | None = None
    rgb: NDArray[np.uint8] | None = None
    points: NDArray[np.float32] | None = None
    detections: tuple[Detection, ...] = ()
    segmentation: NDArray[np.int32] | None = None
    labels: Mapping[int, str] = field(default_factory=lambda: _NO_LABELS)
    point_ids: NDArray[np.int32] | None = None
    point_rgb: NDArray[np.uint8] | None = None
    embedding: Vector | None = None
    embedding_model: str = "view"
    caption: str = ""
    agent: str = ""

    def __post_init__(self) -> None:
        _set(self, "stamp_ns", check_stamp(self.stamp_ns))
        _set(self, "T_world_sensor", check_pose(self.T_world_sensor, "T_world_sensor"))
        check_texts("percept", self.caption, self.agent, self.embedding_model, *self.labels.values())
        if self.camera is None and any(x is not None for x in (self.depth, self.rgb, self.segmentation)):
            raise InvalidInput("percept: images came without a camera; wanted camera=PinholeCamera(...)")
        if self.depth is not None:
            _set(self, "depth", self._checked_depth(self.depth))
        if self.rgb is not None:
            self._check_image(self.rgb, "rgb", np.uint8, 3)
        if self.segmentation is not None:
            self._check_image(self.segmentation, "segmentation", np.int32, 0)
        if self.points is not None:
            points = np.asarray(self.points, dtype=np.float32)
            if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
                raise InvalidInput(f"points: wanted finite (N, 3) metres in the sensor frame, got shape {points.shape}")
            _set(self, "points", points)
        self._check_of_points(self.point_ids, "point_ids", np.int32, ())
        self._check_of_points(self.point_rgb, "point_rgb", np.uint8, (3,))
        for detection in self.detections:
            if detection.mask is not None and (self.camera is None or detection.mask.shape != self.camera.shape):
                raise InvalidInput(
                    f"detection {detection.label!r}: wanted a mask of the camera's size "
                    f"{self.camera and self.camera.shape}, got {detection.mask.shape}"
                )
        if self.embedding is not None:
            _set(self, "embedding", check_unit_vector(self.embedding, "percept: embedding"))

    def _checked_depth(self, depth: NDArray[Any]) -> NDArray[np.float32]:
        assert self.camera is not None
        if depth.shape != self.camera.shape:
            raise DepthError(f"depth: wanted the camera's size {self.camera.shape} (H, W), got {depth.shape}")
        if depth.dtype == np.uint16:
            metres: NDArray[np.float32] = depth.astype(np.float32) * np.float32(1e-3)
            return metres
        if depth.dtype != np.float32:
            raise DepthError(f"depth: wanted float32 metres or uint16 millimetres, got {depth.dtype}")
        # min and max carry a NaN along, so two passes tell of NaN, infinity and negative values at once.
        low, high = float(depth.min()), float(depth.max())
        if not (low >= 0.0 and np.isfinite(high)):
            bad = int(np.count_nonzero(~np.isfinite(depth) | (depth < 0)))
            raise DepthError(
                f"depth: wanted finite metres >= 0 with 0 for no return, got {bad} values that are NaN, infinite or "
                f"negative; set those to 0"
            )
        return depth

    def _check_of_points(self, array: NDArray[Any] | None, name: str, dtype: type, each: tuple[int, ...]) -> None:
        if array is None:
            return
        wanted = (0 if self.points is None else len(self.points), *each)
        if self.points is None or array.shape != wanted or array.dtype != dtype:
            raise InvalidInput(
                f"{name}: wanted {np.dtype(dtype)} for each of {wanted[0]} points, got {array.shape} {array.dtype}"
            )

    def _check_image(self, image: NDArray[Any], name: str, dtype: type, channels: int) -> None:
        assert self.camera is not None
        wanted = (*self.camera.shape, channels) if channels else self.camera.shape
        if image.shape != wanted or image.dtype != dtype:
            raise InvalidInput(f"{name}: wanted {wanted} {np.dtype(dtype)}, got {image.shape} {image.dtype}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Event:
    """One thing that was done, told or decided.

    Attributes:
        stamp_ns: When it happened (or began), ns.
        kind: "pick", "place", "told", "moved", "tour", ...: one word; never empty.
        text: What happened, as a sentence.
        until_ns: When it ended, ns; None when it took no time.
        T_world_body: (4, 4) pose of the body then, or None.
        objects: Labels or ids of the things it was about.
        outcome: What came of it ("done", "dropped").
        reward: What it earned, or None.
        action: What was done, as an action of the agent's ("grasp"); "" where it was none.
        modality: By which sense or way it came ("speech", "vision", "touch"); "" where that says nothing.
        embedding: (D,) float32 of unit norm; None takes the vector of the text.
        embedding_model: Whose vector that is; "" for the encoder of the memory. Vectors of two models never meet.
        source: Who says so ("robot", "user", "scene").
        agent: Who did it; stamps must not decrease per agent.
    """

    stamp_ns: int
    kind: str
    text: str
    until_ns: int | None = None
    T_world_body: Pose | None = None
    objects: tuple[str, ...] = ()
    outcome: str = ""
    reward: float | None = None
    action: str = ""
    modality: str = ""
    embedding: Vector | None = None
    embedding_model: str = ""
    source: str = ""
    agent: str = ""

    def __post_init__(self) -> None:
        _set(self, "stamp_ns", check_stamp(self.stamp_ns))
        if isinstance(self.objects, str):
            raise InvalidInput(f"event: wanted objects as a tuple of labels, got the string {self.objects!r}")
        check_texts("event", self.kind, self.text, self.outcome, self.source, self.agent, *self.objects)
        if not self.kind.strip() or not self.text.strip():
            raise InvalidInput(f"event: wanted a kind and a text, got kind={self.kind!r}, text={self.text!r}")
        if self.until_ns is not None:
            _set(self, "until_ns", check_stamp(self.until_ns, "until_ns"))
            if self.until_ns < self.stamp_ns:
                raise InvalidInput(f"event: wanted until_ns >= stamp_ns, got {self.until_ns} < {self.stamp_ns}")
        if self.T_world_body is not None:
            _set(self, "T_world_body", check_pose(self.T_world_body, "T_world_body"))
        check_texts("event", self.action, self.modality, self.embedding_model)
        if self.embedding is not None:
            _set(self, "embedding", check_unit_vector(self.embedding, "event: embedding"))
        elif self.embedding_model:
            raise InvalidInput(f"event: wanted an embedding of the model {self.embedding_model!r}, got none")

    @property
    def content_hash(self) -> str:
        """Digest of what was said, done or seen (BLAKE2b, 128 bits, hex), whoever did it, when and where."""
        seen = b"" if self.embedding is None else self.embedding.tobytes()
        said = (self.kind, self.text, self.action, self.outcome, self.modality, self.embedding_model)
        return digest_of(*(text.encode() for text in said), seen)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recall:
    """One thing remembered, with the reasons why it was chosen.

    Attributes:
        kind: "object", "keyframe", "event", "fact", ...
        id: Its id in the memory, e.g. "object:12"; stable over restarts.
        score: Larger is better; comparable only within one answer.
        position: (3,) metres in the world, or None when it has no place.
        first_seen_ns: When it was first seen or began, ns.
        last_seen_ns: When it was last seen or ended, ns.
        label: What it is.
        text: It in words.
        evidence: Ids that it rests on.
        why: Channel -> score that it reached there ("words", "meaning", "near", "recent").
        data: What its kind adds (an object's extent and sightings, a fact's validity).
    """

    kind: str
    id: str
    score: float
    position: NDArray[np.float64] | None
    first_seen_ns: int
    last_seen_ns: int
    label: str
    text: str
    evidence: tuple[str, ...] = ()
    why: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Memory(Protocol):
    """What every memory does. `testing.check_memory` tests an implementation against it."""

    def write(self, experience: Percept | Event) -> None:
        """Remember it; when this returns, it is kept. Raises StampError when time goes backwards for its agent."""

    def recall(self, query: Query | str, k: int = 10) -> list[Recall]:
        """The k best answers, best first; [] when nothing matches."""

    def forget(self, query: Query) -> int:
        """Remove what matches, from memory and from disk; returns how many things were removed."""

    def clear(self) -> None:
        """Remove everything."""

    def state_dict(self) -> dict[str, Any]:
        """All of its content as a tree of plain values and arrays."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace its content by what `state_dict` gave."""


@runtime_checkable
class Encoder(Protocol):
    """Words to vectors. `testing.check_encoder` tests an implementation against it.

    Attributes:
        name: Identifies the model; vectors of different names never meet.
        dim: Length of a vector.
        min_score: Cosine below which two texts have nothing to do with each other.
    """

    name: str
    dim: int
    min_score: float

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N,) texts to (N, dim) float32 rows of unit norm; deterministic, and the same batched or one by one."""
