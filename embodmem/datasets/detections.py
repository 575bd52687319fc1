"""Detections that a detector wrote beside the frames of a recording, `detections.json`.

The file maps the name of a frame to its detections::

    {"000004": [{"label": "mug", "score": 0.86, "box": [368.8, 165.9, 393.6, 198.0], "instance_id": 3}]}

`score` (1 when absent) and `instance_id` are optional. A frame's name is its number in 7-Scenes ("000004"), and the
name of its colour image without the suffix in TUM ("1305031102.175304") and in the folder format.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from embodmem.datasets.files import read_json
from embodmem.errors import DatasetError, InvalidInput
from embodmem.types import Detection

FILE = "detections.json"
_KEYS = frozenset({"label", "score", "box", "instance_id"})


def parse_detection(entry: Any, where: str, **more: Any) -> Detection:
    """Detection of one JSON object.

    Args:
        entry: The object.
        where: What to call its place in messages.
        more: Further fields of `Detection` (mask, embedding).

    Raises:
        DatasetError: A key is unknown, or a value is not what `Detection` takes.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
        raise DatasetError(f"{where}: wanted an object with a label, got {entry!r}")
    unknown = set(entry) - _KEYS
    if unknown:
        raise DatasetError(f"{where}: unknown key {sorted(unknown)[0]!r}; known: {', '.join(sorted(_KEYS))}")
    instance_id = entry.get("instance_id")
    if instance_id is not None and type(instance_id) is not int:
        raise DatasetError(f"{where}: wanted instance_id as a whole number, got {instance_id!r}")
    score = entry.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise DatasetError(f"{where}: wanted score as a number in 0..1, got {score!r}")
    try:
        return Detection(
            label=entry["label"], score=float(score), box=entry.get("box"), instance_id=instance_id, **more
        )
    except InvalidInput as error:
        raise DatasetError(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{where}: wanted box as numbers x0, y0, x1, y1, got {entry.get('box')!r}: {error}"
        ) from error


def read_detections(folder: Path, frames: Collection[str]) -> dict[str, tuple[Detection, ...]]:
    """Detections of `detections.json` by name of the frame; empty where there is no such file.

    Args:
        folder: Where the file lies.
        frames: Names of the frames of the recording. The file may name more (a recording can be a part of another).

    Raises:
        DatasetError: The file is no JSON, an entry is not of the form above (file and frame are named), or it names
            none of the frames.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: wanted an object frame name -> list of detections, got {type(content).__name__}")
    found: dict[str, tuple[Detection, ...]] = {}
    for name, entries in content.items():
        where = f"{path}: frame {name!r}"
        if not isinstance(entries, list):
            raise DatasetError(f"{where}: wanted a list of detections, got {entries!r}")
        found[name] = tuple(parse_detection(entry, f"{where}, detection {n}") for n, entry in enumerate(entries))
    if found and not any(name in found for name in frames):
        raise DatasetError(
            f"{path}: names no frame of this recording; wanted names like {next(iter(frames), '')!r}, "
            f"got {next(iter(found))!r}"
        )
    return found
