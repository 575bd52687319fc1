"""Write one self-contained HTML page about a memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embodmem.errors import InvalidInput
from embodmem.report.config import ReportConfig
from embodmem.report.content import Content, anchor, collect, short
from embodmem.report.lanes import make_lanes
from embodmem.report.plan import Cells, make_plan, occupied_cells, time_colour

if TYPE_CHECKING:
    from embodmem.embodied import EmbodiedMemory


def write_report(
    memory: EmbodiedMemory,
    path: str | os.PathLike[str],
    *,
    questions: Sequence[str] = (),
    title: str | None = None,
    config: ReportConfig | None = None,
) -> None:
    """Write one HTML file that shows what a memory holds; it needs nothing but a browser and loads nothing.

    The same memory gives the same bytes.

    Args:
        memory: The memory; it is only read.
        path: The file; an existing one is replaced.
        questions: Asked of the memory; their answers and what these rest on go to the top of the page.
        title: Heading; None takes the name of the memory's file.
        config: Bounds of the page.

    Raises:
        InvalidInput: The folder of `path` does not exist, or `questions` is one string.
        EmbodmemError: What `embodmem.ask.ask` raises for a question.
    """
    target = checked_path(path)
    target.write_text(render_report(memory, questions=questions, title=title, config=config), encoding="utf-8")


def checked_path(path: str | os.PathLike[str]) -> Path:
    """A path that can be written to.

    Raises:
        InvalidInput: Its folder does not exist, or it is a folder itself.
    """
    target = Path(path)
    if not target.parent.is_dir() or target.is_dir():
        raise InvalidInput(f"report: wanted the path of a file in a folder that exists, got {target}")
    return target


def render_report(
    memory: EmbodiedMemory,
    *,
    questions: Sequence[str] = (),
    title: str | None = None,
    config: ReportConfig | None = None,
) -> str:
    """The page of `write_report` as a string."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if isinstance(questions, str):
        raise InvalidInput(f"report: wanted questions as a sequence of strings, got the string {questions!r}")
    config = config or ReportConfig()
    with memory.store.read():  # one snapshot, however much is written meanwhile
        content = collect(memory, questions, config)
        cells = _cells(memory, config)
        info = memory.info()
    plan = make_plan(
        cells,
        content.rooms,
        content.objects,
        content.tracks,
        content.views,
        [(anchor(row.item.id), row.item) for row in content.events],
    )
    environment = Environment(
        loader=PackageLoader("embodmem.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["anchor"] = anchor
    environment.filters["short"] = short
    environment.filters["metres"] = _metres
    return environment.get_template("page.html").render(
        title=title or Path(info["path"]).name,
        info=info,
        tiles=_tiles(info, content),
        content=content,
        plan=plan,
        cells=cells,
        lanes=make_lanes(content.all_events, content.keyframes_ns, content.times),
        colours=[time_colour(x) for x in (0.0, 0.25, 0.5, 0.75, 1.0)],
    )


def _cells(memory: EmbodiedMemory, config: ReportConfig) -> Cells | None:
    if not memory.info()["map"]["bricks"]:
        return None  # without a look at the map, which would be made, and Warp imported, for nothing
    centres, edge_m = memory.spatial.octree.occupied()
    return occupied_cells(centres, edge_m, (config.map_lower_m, config.map_upper_m), config.map_px)


def _tiles(info: dict[str, Any], content: Content) -> list[tuple[str, str]]:
    """The numbers at the top: (value, what it counts)."""
    records = info["records"]
    span = content.times.length(content.times.last_ns - content.times.first_ns)
    voxel = info["map"]["voxel_size_m"]
    return [
        *((str(records.get(kind, 0)), f"{kind}s") for kind in ("object", "room", "keyframe", "event", "fact")),
        (span, "from first to last"),
        (f"{info['map']['bricks']}", f"map bricks of 8\u00d78\u00d78 voxels of {voxel:g} m"),
        (_size(info["map"]["bytes"]), "of map"),
        (_size(info["bytes"]), "of file"),
    ]


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def _metres(values: Sequence[float], between: str = ", ") -> str:
    """Numbers with two digits: "1.00, 2.50, 0.80"."""
    return between.join(f"{float(x) + 0.0:.2f}" for x in values)
