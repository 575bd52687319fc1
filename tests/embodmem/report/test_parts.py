"""Pictures, labels, cells, lanes and times against what they promise."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embodmem.report.labels import overlaps, place_inside, place_labels
from embodmem.report.lanes import make_lanes
from embodmem.report.pictures import shade_uri, spread, thumbnail
from embodmem.report.plan import occupied_cells
from embodmem.report.times import Times, nice_step
from embodmem.types import Recall

S = 1_000_000_000
UNIX_NS = 1_714_644_903 * S  # 2024-05-02 10:15:03 UTC


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


@pytest.mark.parametrize("limit", [2_000, 9_000, 40_000])
def test_a_picture_is_as_small_as_asked(limit):
    noise = np.random.default_rng(0).integers(0, 256, (240, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    uri, width, height = thumbnail(buffer.getvalue(), 320, limit)
    assert len(base64.b64decode(uri.partition("base64,")[2])) <= limit
    assert picture(uri).size == (width, height) and width <= 320
    assert width / height == pytest.approx(400 / 240, rel=0.05)


def test_a_small_picture_is_not_blown_up():
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(buffer, "JPEG")
    uri, width, height = thumbnail(buffer.getvalue(), 320, 20_000)
    assert (width, height) == (40, 30)
    assert np.allclose(np.asarray(picture(uri).convert("RGB"))[15, 20], (200, 30, 30), atol=6)


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=80, unique=True),
    st.integers(0, 30),
    st.lists(st.integers(0, 79), unique=True, max_size=40),
)
def test_spread_takes_the_wanted_and_covers_the_time(stamps, count, first):
    stamps_ns = np.array(sorted(stamps), dtype=np.int64)
    first = [i for i in first if i < len(stamps_ns)]
    chosen = spread(stamps_ns, count, first)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(count, len(stamps_ns))
    if count > 1:
        assert set(first[: count // 2]) <= set(chosen)
    if count > 2 and not first:
        assert {0, len(stamps_ns) - 1} <= set(chosen)


def test_spread_is_even_over_time_not_over_views():
    """A thousand views in the first second, then one a second: most pictures are of the seconds."""
    stamps_ns = np.r_[np.linspace(0, S, 1000), np.arange(2, 101) * S].astype(np.int64)
    chosen = spread(stamps_ns, 50, [])
    assert np.count_nonzero(stamps_ns[chosen] > S) >= 48


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 40), st.integers(0, 2**31))
def test_labels_cover_neither_one_another_nor_dots(count, seed):
    rng = np.random.default_rng(seed)
    dots = rng.uniform(20, [480, 280], (count, 2))
    widths = [[float(w), 14.0] for w in rng.uniform(30, 120, count)]
    taken = np.array([[100.0, 100, 200, 130]])
    placed = place_labels(dots, widths, 14.0, (500.0, 300.0), taken)
    assert len(placed) == count
    boxes = np.array(
        [
            [p.x - widths[i][p.choice] / 2, p.y - 7, p.x + widths[i][p.choice] / 2, p.y + 7]
            for i, p in enumerate(placed)
            if p is not None
        ]
    ).reshape(-1, 4)
    assert not overlaps(boxes, np.concatenate([dots - 5, dots + 5], axis=1)).any()
    assert not overlaps(boxes, taken).any()
    assert np.array_equal(overlaps(boxes, boxes), np.eye(len(boxes), dtype=bool))
    assert (boxes >= 0).all() and (boxes[:, 2:] <= [500, 300]).all()
    if count == 1:
        assert placed[0] is not None


def test_a_crowd_falls_back_to_numbers():
    dots = np.stack(np.meshgrid(np.arange(100.0, 400, 34), np.arange(100.0, 250, 34)), axis=-1).reshape(-1, 2)
    placed = place_labels(dots, [[90.0, 12.0]] * len(dots), 14.0, (500.0, 300.0), np.zeros((0, 4)))
    assert {p.choice for p in placed if p is not None} == {0, 1}
    assert sum(p is not None for p in placed) >= 0.85 * len(dots)


def test_a_room_name_keeps_clear_of_things():
    room = np.array([0.0, 0.0, 200.0, 100.0])
    x, y = place_inside(room, 60.0, 16.0, np.zeros((0, 4)))
    assert (x, y) == (35.0, 13.0)  # top left
    things = np.array([[0.0, 0.0, 120.0, 60.0]])
    x, y = place_inside(room, 60.0, 16.0, things)
    assert not overlaps(np.array([[x - 30, y - 8, x + 30, y + 8]]), things).any()


@pytest.mark.parametrize("side", [1000, 20])
def test_cells_against_a_plain_loop(side):
    rng = np.random.default_rng(3)
    voxels = np.unique(rng.integers([-30, -10, -2], [30, 15, 50], (800, 3)), axis=0)
    centres = ((voxels + 0.5) * 0.05).astype(np.float32)
    cells = occupied_cells(centres, 0.05, (0.1, 1.8), side)
    kept = [v for v, c in zip(voxels.tolist(), centres, strict=True) if 0.1 <= c[2] <= 1.8]
    low = [min(v[axis] for v in kept) for axis in (0, 1)]
    factor = 1
    while max(v[axis] - low[axis] for v in kept for axis in (0, 1)) // factor >= side:
        factor += 1
    expected = {((v[0] - low[0]) // factor, (v[1] - low[1]) // factor) for v in kept}
    image = np.asarray(picture(cells.uri).convert("RGBA"))[::-1, :, 3]  # row 0 is the smallest y
    assert {(int(x), int(y)) for y, x in np.argwhere(image > 0)} == expected
    assert max(image.shape) <= side
    assert np.allclose(cells.lower, np.array(low) * 0.05)
    assert np.allclose(cells.upper - cells.lower, np.array(image.shape[::-1]) * factor * 0.05)


def test_cells_of_other_heights_and_of_nothing():
    low = np.array([[0.5, 0.5, -3.0]], dtype=np.float32)
    cells = occupied_cells(low, 0.05, (0.1, 1.8), 100)
    assert cells is not None and cells.note == "occupied at any height"
    assert occupied_cells(np.zeros((0, 3), np.float32), 0.05, (0.1, 1.8), 100) is None


def test_a_raster_stays_small():
    noise = np.random.default_rng(0).uniform(0, 1, (640, 640))
    assert len(shade_uri(noise)) < 300_000
    alpha = np.asarray(picture(shade_uri(np.array([[0.0, 0.2], [0.6, 1.0]]))).convert("RGBA"))[..., 3].ravel().tolist()
    assert alpha[0] == 0 and sorted(alpha) == alpha and alpha[1] > 0


def event(stamp_ns: int, kind: str, until_ns: int | None = None) -> Recall:
    last = stamp_ns if until_ns is None else until_ns
    return Recall(
        kind="event", id="event:1", score=0.0, position=None, first_seen_ns=stamp_ns, last_seen_ns=last, label="",
        text="x", data={"kind": kind},
    )  # fmt: skip


def test_lanes_do_not_grow_with_the_events():
    few = [event(i * S, f"kind {i % 5}") for i in range(1000)]
    many = [event(i * S // 50, f"kind {i % 5}") for i in range(50_000)]
    sizes = []
    for events in (few, many):
        lanes = make_lanes(events, np.array([0], dtype=np.int64), Times(0, 1000 * S))
        assert [lane.count for lane in lanes.lanes] == [1, *[len(events) // 5] * 5]
        sizes.append(sum(len(path) for lane in lanes.lanes for _, path in lane.marks))
    assert sizes[1] < 3 * sizes[0] < 100_000


def test_a_lane_shows_how_long_things_took():
    lanes = make_lanes([event(0, "tour", 50 * S), event(100 * S, "told")], np.zeros(0, np.int64), Times(0, 100 * S))
    tour, told = lanes.lanes
    assert tour.stretches.count("M") == 1 and told.stretches == ""
    width = float(tour.stretches.split("h")[1].split("v")[0])
    assert width == pytest.approx((lanes.right - lanes.left) / 2, abs=6)
    assert make_lanes([], np.zeros(0, np.int64), Times(0, 0)) is None


@given(st.floats(1e-3, 1e6), st.integers(1, 20))
def test_a_step_is_round_and_coarse_enough(span, count):
    step = nice_step(span, count)
    assert span / step <= count * 1.01 and step <= span / count * 2.6
    assert f"{step:.0e}"[0] in "125" and step == pytest.approx(float(f"{step:.0e}"))


@pytest.mark.parametrize("begin", [0, 5 * S, UNIX_NS])
@pytest.mark.parametrize("span_s", [0, 1, 33, 600, 90_000, 40 * 86_400, 3000 * 86_400])
def test_ticks_are_few_and_within_the_time(begin, span_s):
    times = Times(begin, begin + span_s * S)
    ticks = times.ticks()
    assert len(ticks) <= 8 and (len(ticks) >= 2 or span_s <= 1)
    assert all(times.first_ns <= ns <= times.last_ns for ns, _ in ticks if span_s)
    assert len({words for _, words in ticks}) == len(ticks)


def test_moments_in_words():
    unix = Times(UNIX_NS, UNIX_NS + S)
    assert unix.tell(UNIX_NS) == "2024-05-02 10:15:03" and unix.machine(UNIX_NS) == "2024-05-02T10:15:03Z"
    robot = Times(7 * S, 9 * S)
    assert robot.tell(int(8.25 * S)) == "1.2 s" and robot.machine(8 * S) == "PT1.000S"
    assert [unix.length(x * S) for x in (33, 600, 3900 * 2, 300_000)] == ["33.0 s", "10 min", "2 h 10 min", "3 d 11 h"]
