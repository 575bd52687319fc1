"""A small memory that has something of everything, and a reader of pages."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

import numpy as np
import pytest

from embodmem.embodied import EmbodiedMemory
from embodmem.geometry import look_at
from embodmem.types import Detection, Event, Percept, PinholeCamera

CAMERA = PinholeCamera(width=64, height=48, fx=50.0, fy=50.0, cx=32.0, cy=24.0)
S = 1_000_000_000
VOID = {"meta", "link", "img", "br"}
LOADING = {"src", "srcset", "href", "data", "poster", "action", "xlink:href"}


def percept(stamp_ns: int, x: float = 0.0, colour: bool = True, detections: tuple[Detection, ...] = ()) -> Percept:
    """A look along +y at a wall 2 m away."""
    rng = np.random.default_rng(stamp_ns % 2**32)
    return Percept(
        stamp_ns=stamp_ns,
        T_world_sensor=look_at(np.array([x, 0.0, 1.0]), np.array([x, 2.0, 1.0])),
        camera=CAMERA,
        depth=np.full(CAMERA.shape, 2.0, dtype=np.float32),
        rgb=rng.integers(0, 256, (*CAMERA.shape, 3), dtype=np.uint8) if colour else None,
        detections=detections,
    )


def seen(label: str, x0: float) -> Detection:
    return Detection(label=label, score=0.9, box=np.array([x0, 16.0, x0 + 12.0, 32.0]))


def fill(memory: EmbodiedMemory, start_ns: int = 0) -> None:
    """Six looks at two things from places 0.6 m apart, two rooms, events, a fact that ended and one that holds."""
    memory.scene.add_room("hall & <i>stairs</i>", (-2, -1, 0), (1.0, 3, 2.5))
    memory.scene.add_room("kitchen", (1.0, -1, 0), (6, 3, 2.5))
    for i in range(6):
        shift = 50.0 * 0.05 * i / 2  # what stands still moves in the image as the camera moves 5 cm
        things = (seen("mug", 10.0 - shift), seen("<b>radio</b>", 40.0 - shift))
        memory.write(percept(start_ns + i * S, 0.05 * i, detections=things))
    for i in range(6, 10):
        memory.write(percept(start_ns + i * S, 0.6 * (i - 5)))
    memory.write(Event(stamp_ns=start_ns + 10 * S, kind="told", text="<script>alert('x')</script> & so on"))
    for i in range(3):
        memory.write(Event(stamp_ns=start_ns + (11 + i) * S, kind="wait", text="waited at the door"))
    pose = np.eye(4)
    pose[:3, 3] = 2.0, 0.5, 0.0
    memory.write(
        Event(stamp_ns=start_ns + 15 * S, kind="go", text="went to the kitchen", T_world_body=pose, outcome="done")
    )
    memory.semantic.assert_fact("keys", "in", "drawer", valid_from_ns=start_ns + 2 * S)
    memory.semantic.assert_fact("keys", "in", "bowl", valid_from_ns=start_ns + 9 * S)


@pytest.fixture(scope="package")
def memory() -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory() as made:
        fill(made)
        yield made


class Page(HTMLParser):
    """A page that must be well formed: every tag closed in order, every id once."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.anchors: list[str] = []
        self.loads: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, list[str]] = {}
        self.text = ""
        self._row: list[str] | None = None
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs) -> None:
        values = {name: value or "" for name, value in attrs}
        assert len(values) == len(attrs), f"an attribute stands twice in <{tag}>"
        self.tags.append((tag, values))
        if "id" in values:
            assert values["id"] not in self.ids, f"id {values['id']} stands twice"
            self.ids.add(values["id"])
        for name, value in values.items():
            assert not name.startswith("on"), f"<{tag} {name}=...>"
            if name in LOADING:
                (self.anchors if value.startswith("#") else self.loads).append(value)
        if tag == "tr":
            self._row = self.rows.setdefault(values.get("id", f"row {len(self.rows)}"), [])
        if tag in ("td", "th") and self._row is not None:
            self._row.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()
        if tag == "tr":
            self._row = None

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += data
        if self._row:
            self._row[-1] += data

    def row(self, name: str) -> list[str]:
        """The cells of a row as single lines."""
        return [" ".join(cell.split()) for cell in self.rows[name]]

    def count(self, tag: str, **attributes: str) -> int:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return sum(t == tag and wanted.items() <= a.items() for t, a in self.tags)


@pytest.fixture(scope="session")
def read_page():
    def read(html: str) -> Page:
        page = Page(html)
        assert all(load.startswith("data:") for load in page.loads)
        missing = {a[1:] for a in page.anchors} - page.ids
        assert not missing, f"links that lead nowhere: {missing}"
        return page

    return read
