"""What comes in is checked where it comes in, and the message says what was wanted and what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embodmem.encoders import HashingEncoder
from embodmem.errors import DepthError, EmbodmemError, InvalidInput, MissingDependency, PoseError
from embodmem.types import Detection, Encoder, Event, Memory, Percept, PinholeCamera, Query, check_stamp

CAMERA = PinholeCamera(width=6, height=4, fx=5.0, fy=5.0, cx=3.0, cy=2.0)
DEPTH = np.ones((4, 6), np.float32)
BOX = np.array([1.0, 1.0, 3.0, 3.0])


def look(**fields: Any) -> Percept:
    return Percept(**{"stamp_ns": 1, "T_world_sensor": np.eye(4), "camera": CAMERA, **fields})


def bad_depth(value: float) -> np.ndarray:
    depth = DEPTH.copy()
    depth[2, 3] = depth[0, 0] = value
    return depth


BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: PinholeCamera(width=0, height=4, fx=1, fy=1, cx=0, cy=0), InvalidInput, "at least 1x1 px, got 0x4"),
    (lambda: PinholeCamera(width=6, height=-1, fx=1, fy=1, cx=0, cy=0), InvalidInput, "got 6x-1"),
    (lambda: PinholeCamera(width=6, height=4, fx=0, fy=1, cx=0, cy=0), InvalidInput, "fx, fy > 0"),
    (lambda: PinholeCamera(width=6, height=4, fx=1, fy=-1, cx=0, cy=0), InvalidInput, "fx, fy > 0"),
    (lambda: PinholeCamera(width=6, height=4, fx=1, fy=1, cx=np.nan, cy=0), InvalidInput, "finite"),
    (lambda: look(stamp_ns=-1), InvalidInput, "0 <= nanoseconds < 2\\*\\*63, got -1"),
    (lambda: look(stamp_ns=2**63), InvalidInput, "stamp_ns"),
    (lambda: look(stamp_ns=1.0), InvalidInput, "whole nanoseconds"),
    (lambda: look(stamp_ns=True), InvalidInput, "whole nanoseconds"),
    (lambda: look(stamp_ns="now"), InvalidInput, "whole nanoseconds"),
    (lambda: look(stamp_ns=None), InvalidInput, "whole nanoseconds"),
    (lambda: look(T_world_sensor=None), PoseError, "T_world_sensor.*got none"),
    (lambda: look(T_world_sensor=np.eye(3)), PoseError, r"wanted shape \(4, 4\), got \(3, 3\)"),
    (lambda: look(camera=None, depth=DEPTH), InvalidInput, "without a camera"),
    (lambda: look(camera=None, rgb=np.zeros((4, 6, 3), np.uint8)), InvalidInput, "without a camera"),
    (lambda: look(depth=DEPTH.T), DepthError, r"wanted the camera's size \(4, 6\) \(H, W\), got \(6, 4\)"),
    (lambda: look(depth=DEPTH[None]), DepthError, r"got \(1, 4, 6\)"),
    (lambda: look(depth=DEPTH.astype(np.float64)), DepthError, "float32 metres or uint16 millimetres, got float64"),
    (lambda: look(depth=DEPTH.astype(np.int32)), DepthError, "got int32"),
    (lambda: look(depth=bad_depth(np.nan)), DepthError, "got 2 values.*NaN"),
    (lambda: look(depth=bad_depth(np.inf)), DepthError, "got 2 values"),
    (lambda: look(depth=bad_depth(-np.inf)), DepthError, "got 2 values"),
    (lambda: look(depth=bad_depth(-0.001)), DepthError, "negative; set those to 0"),
    (lambda: look(rgb=np.zeros((4, 6), np.uint8)), InvalidInput, r"rgb: wanted \(4, 6, 3\) uint8, got \(4, 6\) uint8"),
    (lambda: look(rgb=np.zeros((4, 6, 4), np.uint8)), InvalidInput, "rgb: wanted"),
    (lambda: look(rgb=np.zeros((4, 6, 3), np.float32)), InvalidInput, "rgb: wanted.*got.*float32"),
    (lambda: look(segmentation=np.zeros((4, 6), np.int64)), InvalidInput, "segmentation: wanted.*int32.*got.*int64"),
    (lambda: look(segmentation=np.zeros((6, 4), np.int32)), InvalidInput, "segmentation: wanted"),
    (lambda: look(points=np.zeros((5, 2))), InvalidInput, r"points: wanted finite \(N, 3\)"),
    (lambda: look(points=np.full((5, 3), np.nan)), InvalidInput, "points: wanted finite"),
    (lambda: look(embedding=np.zeros(5)), InvalidInput, "unit norm, got all zeros"),
    (lambda: look(embedding=np.ones((2, 2))), InvalidInput, r"finite vector \(D,\)"),
    (lambda: look(embedding=[np.inf]), InvalidInput, "finite vector"),
    (
        lambda: look(detections=(Detection(label="mug", mask=np.zeros((6, 4), bool)),)),
        InvalidInput,
        "'mug': wanted a mask of the camera's size",
    ),
    (lambda: Detection(label=" ", box=BOX), InvalidInput, "wanted a label"),
    (lambda: Detection(label="mug"), InvalidInput, "a box or a mask, got neither"),
    (lambda: Detection(label="mug", score=1.2, box=BOX), InvalidInput, r"a score in 0\.\.1, got 1\.2"),
    (lambda: Detection(label="mug", score=np.nan, box=BOX), InvalidInput, "a score"),
    (lambda: Detection(label="mug", box=BOX[[2, 1, 0, 3]]), InvalidInput, "x1 > x0"),
    (lambda: Detection(label="mug", box=BOX[:3]), InvalidInput, "wanted a box"),
    (lambda: Detection(label="mug", box=BOX * np.nan), InvalidInput, "wanted a box"),
    (lambda: Detection(label="mug", mask=np.zeros((4, 6))), InvalidInput, r"a mask \(H, W\) bool, got.*float64"),
    (lambda: Detection(label="mug", mask=np.zeros(4, bool)), InvalidInput, "wanted a mask"),
    (lambda: Detection(label="mug", box=BOX, embedding=[0, 0]), InvalidInput, "'mug': embedding.*all zeros"),
    (lambda: Event(stamp_ns=1, kind="", text="x"), InvalidInput, "a kind and a text"),
    (lambda: Event(stamp_ns=1, kind="told", text="\n"), InvalidInput, "a kind and a text"),
    (lambda: Event(stamp_ns=5, kind="told", text="x", until_ns=4), InvalidInput, "until_ns >= stamp_ns, got 4 < 5"),
    (lambda: Event(stamp_ns=5, kind="told", text="x", objects="mug"), InvalidInput, "the string 'mug'"),  # type: ignore[arg-type]
    (lambda: Event(stamp_ns=5, kind="told", text="x", T_world_body=np.ones((4, 4))), PoseError, "T_world_body"),
    (lambda: Query(labels="mug"), InvalidInput, "labels as a tuple"),  # type: ignore[arg-type]
    (lambda: Query(kinds="event"), InvalidInput, "kinds as a tuple"),  # type: ignore[arg-type]
    (lambda: Query(ids="event:1"), InvalidInput, "ids as a tuple"),  # type: ignore[arg-type]
    (lambda: Query(radius_m=1.0), InvalidInput, "wants a point `near`"),
    (lambda: Query(near=np.zeros(3), radius_m=-1.0), InvalidInput, "a number >= 0, got -1.0"),
    (lambda: Query(near=np.zeros(3), radius_m=np.nan), InvalidInput, "a number >= 0"),
    (lambda: Query(near=np.zeros(2)), InvalidInput, r"near: wanted a finite point \(3,\)"),
    (lambda: Query(near=[0, 0, np.inf]), InvalidInput, "near: wanted a finite point"),  # type: ignore[arg-type]
    (lambda: Query(within=np.array([[1, 1, 1], [0, 2, 2]])), InvalidInput, "lower and upper corner"),
    (lambda: Query(within=np.zeros(6)), InvalidInput, r"within as \(2, 3\)"),
    (lambda: Query(within=np.full((2, 3), np.nan)), InvalidInput, "within"),
    (lambda: Query(between_ns=(5, 4)), InvalidInput, r"\(from, until\), got \(5, 4\)"),
    (lambda: Query(between_ns=(0.5, None)), InvalidInput, "whole nanoseconds"),  # type: ignore[arg-type]
    (lambda: Query(between_ns=(None, 2**63)), InvalidInput, "whole nanoseconds"),
    (lambda: Query(between_ns=7), InvalidInput, r"wanted \(from, until\), got 7"),  # type: ignore[arg-type]
    (lambda: Query(embedding=np.zeros(3)), InvalidInput, "query: embedding"),
    (lambda: Query(text="lone \ud800"), InvalidInput, "half a surrogate pair"),
    (lambda: Query(labels=("mug", 3)), InvalidInput, "query: labels: wanted text, got 3"),  # type: ignore[arg-type]
    (lambda: Event(stamp_ns=1, kind="told", text="lone \udc80"), InvalidInput, "half a surrogate pair"),
    (lambda: Event(stamp_ns=1, kind="told", text=5), InvalidInput, "event: wanted text, got 5"),  # type: ignore[arg-type]
    (lambda: Event(stamp_ns=1, kind="told", text="x", objects=(None,)), InvalidInput, "got None"),  # type: ignore[arg-type]
    (lambda: Detection(label=7, box=BOX), InvalidInput, "label: wanted text, got 7"),  # type: ignore[arg-type]
    (lambda: look(caption="\ud800"), InvalidInput, "percept: wanted Unicode text"),
    (lambda: look(labels={1: None}), InvalidInput, "percept: wanted text, got None"),
    (lambda: look(agent=3), InvalidInput, "percept: wanted text, got 3"),
]


@pytest.mark.parametrize("make, error, words", BAD, ids=range(len(BAD)))
def test_bad_input(make: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        make()
    assert isinstance(caught.value, EmbodmemError) and isinstance(caught.value, ValueError)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint16, (4, 6)))
def test_millimetres_become_metres(depth: np.ndarray) -> None:
    got = look(depth=depth).depth
    assert got is not None and got.dtype == np.float32
    assert np.allclose(got, depth / 1000.0, rtol=1e-6, atol=0)
    assert np.array_equal(got == 0, depth == 0)


def test_metres_stay_as_they_are() -> None:
    depth = np.array([[0.0, 1e-3, 0.5], [70.0, 3.0e38, 1.0]], np.float32)
    camera = PinholeCamera(width=3, height=2, fx=1, fy=1, cx=0, cy=0)
    got = look(camera=camera, depth=depth).depth
    assert got is not None and np.array_equal(got, depth)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, 4, elements=st.floats(-1e3, 1e3, width=32)).filter(lambda v: np.linalg.norm(v) > 1e-3))
def test_embeddings_get_unit_norm(vector: np.ndarray) -> None:
    for made in (look(embedding=vector), Detection(label="x", box=BOX, embedding=vector), Query(embedding=vector)):
        assert made.embedding is not None and made.embedding.dtype == np.float32
        assert np.linalg.norm(made.embedding) == pytest.approx(1.0, abs=1e-5)
        assert np.allclose(made.embedding * np.linalg.norm(vector), vector, atol=1e-3)


def test_numpy_numbers_are_numbers() -> None:
    assert type(look(stamp_ns=np.int64(5)).stamp_ns) is int
    assert type(Event(stamp_ns=np.int64(5), kind="told", text="x", until_ns=np.int32(9)).until_ns) is int  # type: ignore[arg-type]
    between = Query(between_ns=(np.int64(3), np.int64(4))).between_ns  # type: ignore[arg-type]
    assert between == (3, 4) and type(between[0]) is int
    assert check_stamp(np.uint64(2**63 - 1)) == 2**63 - 1
    assert Query(between_ns=(-5, None)).between_ns == (-5, None)  # "an hour before" may lie before the first stamp
    points = look(camera=None, points=[[1, 2, 3]]).points
    assert points is not None and points.dtype == np.float32 and points.shape == (1, 3)
    assert Detection(label="x", box=[1, 2, 3, 4]).box.dtype == np.float64  # type: ignore[arg-type,union-attr]


def test_values_are_frozen() -> None:
    for value, name in (
        (look(), "stamp_ns"),
        (Query(), "text"),
        (CAMERA, "fx"),
        (Detection(label="x", box=BOX), "label"),
    ):
        with pytest.raises(AttributeError):
            setattr(value, name, 3)


def test_the_pose_is_a_copy() -> None:
    T = np.eye(4)
    made = look(T_world_sensor=T)
    T[0, 3] = 9.0
    assert made.T_world_sensor[0, 3] == 0.0


def test_protocols_are_told_apart() -> None:
    assert isinstance(HashingEncoder(), Encoder) and not isinstance(HashingEncoder(), Memory)


def test_a_missing_package_says_what_to_install() -> None:
    error = MissingDependency("gymnasium", "envs", "the house")
    assert str(error) == 'the house needs gymnasium, which is not installed: pip install "embodmem[envs]"'
    assert isinstance(error, ImportError) and (error.package, error.extra) == ("gymnasium", "envs")
