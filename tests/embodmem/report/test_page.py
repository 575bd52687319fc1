"""The page: well formed, self-contained, complete, escaped, bounded, the same for the same memory."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from embodmem.config import Config, SceneConfig, StoreConfig, WorkingConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError, EmbodmemError, InvalidInput
from embodmem.geometry import look_at
from embodmem.report import ReportConfig, render_report, write_report
from embodmem.types import Detection, Event, Percept, PinholeCamera

S = 1_000_000_000
UNIX_NS = 1_714_644_903 * S  # 2024-05-02 10:15:03 UTC


def test_a_page_loads_nothing_and_its_links_resolve(memory, read_page):
    html = render_report(memory, questions=["where is the mug?"])
    page = read_page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert "http:" not in html and "https:" not in html and "@import" not in html
    assert all(found.startswith("data:") for found in re.findall(r"url\(['\"]?([^)]*)", html))
    assert len(page.anchors) > 20
    assert page.count("script") == page.count("style") == page.count("h1") == 1


def test_every_object_stands_in_the_table_and_on_the_map(memory, read_page):
    page = read_page(render_report(memory))
    objects = memory.scene.objects()
    assert {"mug", "<b>radio</b>"} <= {item.label for item in objects}
    for number, item in enumerate(objects, 1):
        cells = page.row(item.id.replace(":", "-"))
        assert cells[:2] == [str(number), item.label]
        assert cells[2] == ", ".join(f"{x + 0.0:.2f}" for x in item.position)
        assert cells[3] == " \u00d7 ".join(f"{x:.2f}" for x in item.data["extent"])
        assert cells[4] == f"{item.data['sightings']}\u00d7"
        assert cells[7] == item.data["room"]
        assert cells[9].startswith("view, ")  # a picture shows it
        assert f"{number} {item.label}, at" in page.text
    for room in memory.scene.rooms():
        assert room.label in page.text


def test_things_on_the_map_keep_their_distances(memory):
    """The same scale along both axes, y up: places on the drawing are places in metres times one number."""
    html = render_report(memory)
    items = memory.scene.objects()
    assert len(items) == 2
    dots = []
    for item in items:
        link = html[html.index(f'<a href="#{item.id.replace(":", "-")}"', html.index('class="things"')) :]
        dots.append([float(x) for x in re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', link).groups()])
    ticks = re.search(r'class="axis">\s*<path d="M([\d.]+) .*?>([-\d.]+)<.*?d="M([\d.]+) .*?>([-\d.]+)<', html, re.S)
    x0, a, x1, b = map(float, ticks.groups())
    scale = (x1 - x0) / (b - a)
    expected = (items[1].position - items[0].position)[:2] * [scale, -scale]
    assert np.allclose(np.subtract(dots[1], dots[0]), expected, atol=0.3)


def test_questions_are_answered_with_their_evidence(memory, read_page):
    page = read_page(render_report(memory, questions=["where is the mug?", "where is the zebra?"]))
    mug = memory.scene.objects("mug")[0]
    answers = page.text[page.text.index("where is the mug?") : page.text.index("Map from above")]
    assert f"{mug.position[0]:.2f}, {mug.position[1]:.2f}" in answers
    assert "zebra" in answers.split("where is the zebra?")[1]
    assert page.count("a", href="#" + mug.id.replace(":", "-")) >= 2  # on the map and under the answer


def test_texts_are_escaped(memory, read_page):
    html = render_report(memory, questions=["<img src=x onerror=alert(1)>?"], title="<u>title</u> & co")
    page = read_page(html)
    assert "<script>alert" not in html and "<img src=x" not in html
    assert "<b>radio" not in html and "<i>stairs" not in html and "<u>" not in html
    assert "<script>alert('x')</script> & so on" in page.text  # shown as it was told
    assert "<img src=x onerror=alert(1)>?" in page.text and "<u>title</u> & co" in page.text


def test_events_and_facts(memory, read_page):
    page = read_page(render_report(memory))
    events = {tuple(page.row(name)[:3]) for name in page.rows if name.startswith("event-")}
    assert ("11.0 s to 13.0 s", "wait", "waited at the door \u00d73") in events  # a run is one row
    assert any("went to the kitchen" in cells[2] and "done" in cells[2] for cells in events)
    facts = [page.row(name) for name in page.rows if name.startswith("fact-")]
    assert ["keys was in drawer", "2.0 s", "9.0 s"] in [cells[:3] for cells in facts]
    assert ["keys is in bowl", "9.0 s", "now"] in [cells[:3] for cells in facts]
    for kind in ("keyframes", "told", "wait", "go"):
        assert kind in page.text


def test_an_empty_memory(read_page):
    with EmbodiedMemory() as memory:
        page = read_page(render_report(memory))
    for words in (
        "nothing is remembered yet",
        "No objects.",
        "No events.",
        "No facts.",
        "No keyframes.",
        "has a place",
    ):
        assert words in page.text
    assert page.count("svg") == 0


def test_only_events_without_a_place(read_page):
    with EmbodiedMemory() as memory:
        memory.write(Event(stamp_ns=5, kind="told", text="the keys are in the drawer"))
        page = read_page(render_report(memory))
    assert "the keys are in the drawer" in page.text and "Nothing in this memory has a place." in page.text


def test_without_colour_and_rooms(read_page):
    camera = PinholeCamera(width=32, height=24, fx=25.0, fy=25.0, cx=16.0, cy=12.0)
    look = look_at(np.array([0.0, 0.0, 1.0]), np.array([0.0, 2.0, 1.0]))
    depth = np.full(camera.shape, 2.0, dtype=np.float32)
    with EmbodiedMemory() as memory:
        memory.write(Percept(stamp_ns=1, T_world_sensor=look, camera=camera, depth=depth, caption="a wall"))
        page = read_page(render_report(memory))
    assert "no colour image" in page.text and "a wall" in page.text
    assert page.count("figure") == 1 and page.count("img") == 0
    assert page.count("image") == 1  # the map


def test_unix_stamps_are_dates(read_page):
    with EmbodiedMemory() as memory:
        memory.write(Event(stamp_ns=UNIX_NS, kind="told", text="hello"))
        memory.write(Event(stamp_ns=UNIX_NS + 3 * 86_400 * S, kind="told", text="hello again"))
        page = read_page(render_report(memory))
    assert "2024-05-02 10:15:03" in page.text and "3 d 0 h from first to last" in page.text
    assert page.count("time", datetime="2024-05-02T10:15:03Z") >= 1


def test_a_large_memory_stays_a_readable_page(read_page):
    """Worst case: thousands of different long events, pictures of noise, long names."""
    camera = PinholeCamera(width=320, height=240, fx=250.0, fy=250.0, cx=160.0, cy=120.0)
    rng = np.random.default_rng(0)
    long = "<&\u00e4> " * 2000
    corners = [np.array([x, y]) for x in range(0, 312, 12) for y in range(0, 200, 10)]
    things = tuple(Detection(label=f"{i} {long[:80]}", box=np.r_[c, c + 9.0]) for i, c in enumerate(corners))
    config = Config(
        store=StoreConfig(jpeg_quality=95),
        scene=SceneConfig(max_tentative=1000),
        working=WorkingConfig(max_items=2),
        encoder="hashing",
    )
    with EmbodiedMemory(config=config) as memory:
        memory.scene.add_room(long, (-9, -9, -9), (99, 9, 9))
        for i in range(80):
            x = 0.0 if i < 3 else float(i)
            look = Percept(
                stamp_ns=i * S,
                T_world_sensor=look_at(np.array([x, 0.0, 1.0]), np.array([x, 2.0, 1.0])),
                camera=camera,
                rgb=rng.integers(0, 256, (*camera.shape, 3), dtype=np.uint8),
                depth=np.full(camera.shape, 2.0, dtype=np.float32) if i < 3 else None,
                detections=things if i < 3 else (),
                caption=long,
            )
            memory.write(look)
        events = [Event(stamp_ns=(80 + i) * S, kind=f"kind {i % 40}", text=f"{i} {long[:400]}") for i in range(2000)]
        memory.write_batch(events)
        with memory.store.transaction():
            for i in range(600):
                memory.semantic.assert_fact(f"thing {i}", "on", f"shelf {i}", valid_from_ns=i)
        html = render_report(memory, questions=["what did you see?"] * 2)
        page = read_page(html)
        counts = memory.counts()
    assert counts["object"] == 520 and counts["keyframe"] > 70
    assert len(html.encode()) < 10_000_000
    assert sum(name.startswith("object-") for name in page.rows) == 500
    assert page.count("figure") == 60 and f"{counts['keyframe'] - 60} more keyframes" in page.text
    assert sum(name.startswith("event-") for name in page.rows) == 500
    assert "1500 earlier events are in the drawing only" in page.text and "100 earlier facts" in page.text
    assert f"1999 {long[:290]}" in page.text
    assert page.count("rect", class_="lane") == 15  # keyframes, and the rarest kinds in one


def test_settings_bound_the_page(memory, read_page):
    config = ReportConfig(max_keyframes=1, max_events=1, max_facts=0, max_objects=1)
    page = read_page(render_report(memory, config=config))
    assert page.count("figure") == 1 and sum(name.startswith("event-") for name in page.rows) == 1
    assert sum(name.startswith("object-") for name in page.rows) == 1 and "1 more objects are not listed" in page.text
    none = read_page(render_report(memory, config=ReportConfig(max_keyframes=0)))
    assert none.count("figure") == 0 and "Keyframes are not shown." in none.text


def test_the_same_memory_gives_the_same_bytes(tmp_path, memory):
    for name in ("a.html", "b.html"):
        write_report(memory, tmp_path / name, questions=["how many mugs are there?"])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_bad_input(tmp_path, memory):
    with pytest.raises(InvalidInput, match="folder that exists"):
        write_report(memory, tmp_path / "none" / "page.html")
    with pytest.raises(InvalidInput, match="folder that exists"):
        write_report(memory, tmp_path)
    with pytest.raises(InvalidInput, match="sequence of strings"):
        write_report(memory, tmp_path / "page.html", questions="where is the mug?")
    with pytest.raises(ConfigError, match="max_events"):
        ReportConfig(max_events=-1)
    with pytest.raises(ConfigError, match="map_lower_m"):
        ReportConfig(map_lower_m=2.0, map_upper_m=1.0)
    assert issubclass(ConfigError, EmbodmemError)
    assert not list(tmp_path.iterdir())


def test_import_is_light():
    code = (
        "import sys, embodmem.report, embodmem.report.rerun; "
        "print(*{'jinja2', 'PIL', 'rerun', 'warp', 'dateparser'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
