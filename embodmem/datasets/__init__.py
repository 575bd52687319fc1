"""Recordings on disk as percepts: 7-Scenes, TUM RGB-D, ROS 2 bags, and the library's own folders of frames.

>>> from embodmem.datasets import open_dataset, prefetch
>>> dataset = open_dataset("kitchen")           # doctest: +SKIP
>>> for percept in prefetch(dataset):           # doctest: +SKIP
...     memory.write(percept)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from embodmem.config import config_from
from embodmem.datasets import folder, ros_bag, seven_scenes, tum
from embodmem.datasets.base import Dataset, Room, experiences, prefetch
from embodmem.datasets.folder import FolderDataset
from embodmem.datasets.ros_bag import RosBagDataset, RosBagOptions
from embodmem.datasets.seven_scenes import SevenScenesDataset
from embodmem.datasets.tum import TumDataset
from embodmem.datasets.writer import FolderWriter
from embodmem.errors import DatasetError
from embodmem.spatial.octree.files.pcd import PointCloud, read_pcd

__all__ = [
    "Dataset",
    "FolderDataset",
    "FolderWriter",
    "PointCloud",
    "Room",
    "RosBagDataset",
    "RosBagOptions",
    "SevenScenesDataset",
    "TumDataset",
    "experiences",
    "open_dataset",
    "prefetch",
    "read_pcd",
]


class _Format(NamedTuple):
    recognises: Callable[[Path], bool]
    wanted: str
    open: Callable[[Path], Dataset]


_FORMATS = {
    "folder": _Format(folder.recognises, folder.WANTED, FolderDataset),
    "seven_scenes": _Format(seven_scenes.recognises, seven_scenes.WANTED, SevenScenesDataset),
    "tum": _Format(tum.recognises, tum.WANTED, TumDataset),
    "ros_bag": _Format(ros_bag.recognises, ros_bag.WANTED, RosBagDataset),
}


def open_dataset(path: str | Path, *, format: str = "auto", options: Mapping[str, Any] | None = None) -> Dataset:
    """Open a recording.

    Args:
        path: Its folder, or the file of a ROS 2 bag.
        format: "folder", "seven_scenes", "tum", "ros_bag", or "auto" to tell by the files that are there.
        options: Settings of `RosBagOptions` that differ from the defaults, for a bag.

    Raises:
        ConfigError: An option is not known.
        DatasetError: There is no such folder, it is empty, the format is not known or not recognised, or a file is
            missing or damaged.
        PoseError: A pose that is read on opening is no rigid transform.
    """
    root = Path(path)
    if format != "auto" and format not in _FORMATS:
        raise DatasetError(f"format: wanted 'auto' or one of {', '.join(_FORMATS)}, got {format!r}")
    if ros_bag.recognises(root) if format == "auto" else format == "ros_bag":
        return RosBagDataset(root, config_from(dict(options or {}), RosBagOptions, "bag"))
    if options:
        raise DatasetError(f"{root}: options are for ROS 2 bags only, got {', '.join(options)}")
    if root.is_file() and root.suffix == ".bag":
        raise DatasetError(f"{root}: a bag of ROS 1 is not read; convert it: rosbags-convert --src {root} --dst FOLDER")
    if not root.is_dir():
        raise DatasetError(f"{root}: wanted the folder of a recording, got {'a file' if root.exists() else 'nothing'}")
    if not any(root.iterdir()):
        raise DatasetError(f"{root}: wanted a recording, got an empty folder")
    if format != "auto":
        return _FORMATS[format].open(root)
    for candidate in _FORMATS.values():
        if candidate.recognises(root):
            return candidate.open(root)
    tried = "; ".join(f"{name} wants {candidate.wanted}" for name, candidate in _FORMATS.items())
    raise DatasetError(f"{root}: its files are of no known format: {tried}")
