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
from embodmem.spatial.octree.files.octomap_write import binary_stream, bt_file, full_stream, ot_file
from embodmem.spatial.octree.octree import Octree
from embodmem.types import check_stamp

__all__ = ["MAP_FORMATS", "load_map", "read_map", "save_map"]

MAP_FORMATS = (".bt", ".ot")
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


def read_map(path: str | Path, config: SpatialConfig | None = None, stamp_ns: int = 0) -> tuple[Bricks, SpatialConfig]:
    """The bricks of a map file, and settings that fit it.

    Args:
        path: A file of `MAP_FORMATS`.
        config: Settings; without them the defaults with the file's voxel size.
        stamp_ns: When the map counts as last seen.

    Returns:
        Bricks, and `config` or what stands for it. Voxels of a .bt file are as sure as `log_odds_min` and
        `log_odds_max` say; the log-odds of a .ot file are kept to the bit.

    Raises:
        InvalidInput: The file is missing, foreign, damaged or truncated, has another voxel size than `config`, or
            holds more than `config.capacity_bricks`.
    """
    path = Path(path)
    _format_of(path)
    stamp = check_stamp(stamp_ns)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: wanted a map file: {error.strerror}") from error
    limits = SpatialConfig() if config is None else config
    odds = (limits.log_odds_min, limits.log_odds_max)
    keys, values, size = read_octomap(content, str(path), odds, limits.capacity_bricks)
    ages = np.zeros(values.shape, dtype=np.uint16)
    return Bricks(keys, values, np.full(len(keys), stamp, dtype=np.int64), ages), _with_size(config, size, path)


def load_map(path: str | Path, config: SpatialConfig | None = None, stamp_ns: int = 0) -> Octree:
    """A map made from a file; arguments and errors are those of `read_map`."""
    bricks, settled = read_map(path, config, stamp_ns)
    octree = Octree(settled)
    octree.load_bricks(*bricks)
    return octree


def save_map(octree: Octree, path: str | Path) -> None:
    """Write a map to a file, whole or not at all.

    Args:
        octree: The map.
        path: A file of `MAP_FORMATS`: .bt holds occupied and free, .ot the log-odds. OctoMap takes log-odds of 0 for
            occupied, this map takes those of `log_odds_occupied` for free.

    Raises:
        InvalidInput: The extension is another, the map does not fit the format, or the file cannot be written.
    """
    path = Path(path)
    form = _format_of(path)
    bricks, config = octree.bricks(), octree.config
    if form == ".bt":
        occupied = bricks.log_odds > config.log_odds_occupied
        free = bricks.log_odds <= config.log_odds_occupied
        content = bt_file(binary_stream(bricks.keys, occupied, free), config.voxel_size_m)
    else:
        content = ot_file(full_stream(bricks.keys, bricks.log_odds), config.voxel_size_m)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InvalidInput(f"{path}: wanted a file that can be written: {error.strerror}") from error
