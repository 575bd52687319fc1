"""The commands that carry maps between memories and files of other programs; `embodmem.cli` takes them in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from embodmem.config import Config, load_config
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput

__all__ = ["export_map", "import_map"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]


def _say(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        print(", ".join(f"{name} {value}" for name, value in facts.items()))


def export_map(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The memory's file.")],
    out: Annotated[Path, typer.Option("--out", help="The map to make: .bt, .ot, .ply or .pcd.")],
    mesh: Annotated[bool, typer.Option("--mesh", help="A mesh of the surface instead of points (.ply).")] = False,
    as_json: Json = False,
) -> None:
    """Write a memory's map for other programs: OctoMap, point clouds, a mesh."""
    from embodmem.spatial.octree.files import save_map, save_mesh
    from embodmem.spatial.octree.surface import surface_mesh

    with EmbodiedMemory(file, "r") as memory:
        octree = memory.spatial.octree
        facts = {"path": str(out), "voxel_size_m": octree.config.voxel_size_m}
        if mesh:
            surface = surface_mesh(octree, closed=False)
            save_mesh(surface, out)
            facts |= {"vertices": len(surface.vertices), "triangles": len(surface.triangles)}
        else:
            save_map(octree, out)
            stats = octree.stats()
            facts |= {"occupied_voxels": stats.occupied_voxels, "free_voxels": stats.free_voxels}
    _say(facts, as_json)


def import_map(
    map_file: Annotated[Path, typer.Argument(metavar="MAP", help="A map: .bt, .ot, .ply or .pcd.")],
    out: Annotated[Path, typer.Option("--out", help="The memory to make; an existing file is refused.")],
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of settings.")] = None,
    voxel_size_m: Annotated[float | None, typer.Option("--voxel-size", help="Metres; for a cloud without.")] = None,
    as_json: Json = False,
) -> None:
    """Make a memory that begins with a map made elsewhere."""
    from embodmem.spatial.octree.files import merge_bricks, read_map

    settings = Config() if config is None else load_config(config)
    spatial = settings.spatial if config is not None else None
    if voxel_size_m is not None:
        spatial = replace(settings.spatial, voxel_size_m=voxel_size_m)
    bricks, fitting = read_map(map_file, spatial)
    if not len(bricks.keys):
        raise InvalidInput(f"{map_file}: wanted a map with something in it, got an empty one")
    with EmbodiedMemory(out, "x", config=replace(settings, spatial=fitting)) as memory:
        merge_bricks(memory.spatial.octree, bricks)
        memory.spatial.flush()
        stats = memory.spatial.octree.stats()
    facts = {"path": str(out), "voxel_size_m": fitting.voxel_size_m, "bricks": stats.bricks}
    _say(facts | {"occupied_voxels": stats.occupied_voxels, "free_voxels": stats.free_voxels}, as_json)
