"""A map from a file, and a map as a file; the extension says which format."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from embodmem.config import SpatialConfig
from embodmem.errors import InvalidInput
from embodmem.spatial.octree.brick_map import Bricks
from embodmem.spatial.octree.files.octomap_read import read_octomap
from embodmem.spatial.octree.files.octomap_write import binary_stream, bt_file, full_stream, octomap_colours, ot_file
from embodmem.spatial.octree.files.pcd import read_pcd
from embodmem.spatial.octree.files.points import (
    bricks_of_points,
    colours_of_points,
    mesh_ply,
    pcd_points,
    ply_points,
    read_ply,
    voxel_size_in,
)
from embodmem.spatial.octree.keys import BRICK_EDGE, unpack_keys, voxel_offsets
from embodmem.spatial.octree.octree import Octree
from embodmem.spatial.octree.paint import split_colours
from embodmem.spatial.octree.surface import TriangleMesh, in_grey
from embodmem.types import check_stamp

__all__ = ["MAP_FORMATS", "load_map", "merge_bricks", "read_map", "save_map", "save_mesh"]

MAP_FORMATS = (".bt", ".ot", ".ply", ".pcd")
"""Extensions that `load_map` and `save_map` know."""


def _format_of(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in MAP_FORMATS:
        raise InvalidInput(f"{path}: wanted a map file that ends in {', '.join(MAP_FORMATS)}, got {path.name!r}")
    return suffix


def _with_size(config: SpatialConfig | None, voxel_size_m: float, path: Path) -> SpatialConfig:
    if config is None:
        usual = SpatialConfig()
        longest = usual.max_range_m / usual.voxel_size_m
        return replace(
            usual,
            voxel_size_m=voxel_size_m,
            max_range_m=min(usual.max_range_m, longest * voxel_size_m),
            min_range_m=min(usual.min_range_m, 0.5 * longest * voxel_size_m),
        )
    if not math.isclose(config.voxel_size_m, voxel_size_m, rel_tol=1e-6):
        raise InvalidInput(
            f"{path}: wanted voxels of {config.voxel_size_m} m as the settings say, got {voxel_size_m} m"
        )
    return config


def _size_of_points(content: bytes, config: SpatialConfig | None, path: Path) -> float:
    named = voxel_size_in(content)
    if named is None and config is None:
        raise InvalidInput(f"{path}: wanted settings with the voxel size: this point cloud names none")
    return config.voxel_size_m if named is None and config is not None else float(named or 0.0)


def read_map(path: str | Path, config: SpatialConfig | None = None, stamp_ns: int = 0) -> tuple[Bricks, SpatialConfig]:
    """The bricks of a map file, and settings that fit it.

    Args:
        path: A file of `MAP_FORMATS`.
        config: Settings; without them the defaults with the file's voxel size.
        stamp_ns: When the map counts as last seen.

    Returns:
        Bricks, and `config` or what stands for it. Voxels of a .bt file are as sure as `log_odds_min` and
        `log_odds_max` say; the log-odds of a .ot file are kept to the bit. Points of a .ply or .pcd file make their
        voxels occupied (by their `log_odds`, if they have any); the rest stays unknown. Colours of a .ot or
        .ply file are kept where `config.colour` is on.

    Raises:
        InvalidInput: The file is missing, foreign, damaged or truncated, has another voxel size than `config`, or
            holds more than fits into `config.budget_mib`.
    """
    path = Path(path)
    form = _format_of(path)
    stamp = check_stamp(stamp_ns)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: wanted a map file: {error.strerror}") from error
    limits = SpatialConfig() if config is None else config
    if form in (".bt", ".ot"):
        odds = (limits.log_odds_min, limits.log_odds_max)
        keys, values, size, colours = read_octomap(content, str(path), odds, limits.capacity_bricks)
    else:
        fields = read_ply(content, str(path)) if form == ".ply" else read_pcd(path).fields
        size = _size_of_points(content, config, path)
        keys, values = bricks_of_points(fields, size, limits.log_odds_max, str(path), limits.capacity_bricks)
        colours = colours_of_points(fields, size, keys)
    ages = np.zeros(values.shape, dtype=np.uint16)
    seen, none = np.full(len(keys), stamp, dtype=np.int64), np.empty((len(keys), 0), dtype=np.uint32)
    return Bricks(keys, values, seen, ages, colours, none), _with_size(config, size, path)


def load_map(path: str | Path, config: SpatialConfig | None = None, stamp_ns: int = 0) -> Octree:
    """A map made from a file; arguments and errors are those of `read_map`."""
    bricks, settled = read_map(path, config, stamp_ns)
    octree = Octree(settled)
    octree.load_bricks(*bricks)
    return octree


def merge_bricks(octree: Octree, bricks: Bricks) -> None:
    """Put bricks of a file into a map in place of those with the same key; they count as changed, so as to be saved.

    Raises:
        InvalidInput: The pool has no room for them; the map is unchanged then.
    """
    with octree._lock:
        octree.load_bricks(*bricks)
        slots = octree._pool.find(bricks.keys)
        octree._pool.put("dirty", slots[slots >= 0], 1)


def save_map(octree: Octree, path: str | Path) -> None:
    """Write a map to a file, whole or not at all.

    Args:
        octree: The map.
        path: A file of `MAP_FORMATS`: .bt holds occupied and free, .ot the log-odds, .ply and .pcd the centres of
            occupied voxels; .ot and .ply also the colours, where the map keeps any. OctoMap takes log-odds of 0 for
            occupied, this map takes those of `log_odds_occupied` for free.

    Raises:
        InvalidInput: The extension is another, the map does not fit the format, or the file cannot be written.
    """
    path = Path(path)
    form = _format_of(path)
    bricks, config = octree.bricks(), octree.config
    occupied = bricks.log_odds > config.log_odds_occupied
    if form == ".bt":
        free = bricks.log_odds <= config.log_odds_occupied
        content = bt_file(binary_stream(bricks.keys, occupied, free), config.voxel_size_m)
    elif form == ".ot":
        colours = octomap_colours(bricks.colours) if config.colour else None
        stream = full_stream(bricks.keys, bricks.log_odds, colours)
        content = ot_file(stream, config.voxel_size_m, coloured=colours is not None)
    else:
        brick, place = np.nonzero(occupied)
        voxels = unpack_keys(bricks.keys)[brick] * BRICK_EDGE + voxel_offsets()[place]
        centres = np.asarray((voxels + 0.5) * config.voxel_size_m, dtype=np.float64)
        values, size = bricks.log_odds[brick, place], config.voxel_size_m
        if form == ".pcd":
            content = pcd_points(centres, values, size)
        else:
            rgb = in_grey(split_colours(bricks.colours[brick, place])) if config.colour else None
            content = ply_points(centres, values, size, rgb)
    _write(path, content)


def save_mesh(mesh: TriangleMesh, path: str | Path) -> None:
    """Write a mesh (`embodmem.spatial.octree.surface.surface_mesh`) to a .ply file, whole or not at all.

    Raises:
        InvalidInput: The extension is another, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise InvalidInput(f"{path}: wanted a mesh file that ends in .ply, got {path.name!r}")
    _write(path, mesh_ply(mesh))


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InvalidInput(f"{path}: wanted a file that can be written: {error.strerror}") from error
