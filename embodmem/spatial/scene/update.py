"""What one look changed in the scene, in ids of records: what the other memories learn of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Move", "Relation", "SceneUpdate"]


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """An object that is elsewhere now; positions (3,) metres in the world."""

    id: str
    label: str
    origin: NDArray[np.float64]
    to: NDArray[np.float64]
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """A relation between two objects that was not there before; `position` (3,) metres is the subject's."""

    subject: str
    subject_name: str
    relation: str
    object: str
    object_name: str
    position: NDArray[np.float64]


@dataclass(slots=True)
class SceneUpdate:
    """What one percept changed, in ids of records.

    Attributes:
        stamp_ns: The percept's.
        seen: Ids of the objects seen.
        labels: Labels seen, those of objects not yet reported included.
        moves: Objects that are elsewhere now.
        relations: Relations that are new.
        merged: (id that stays, id that is gone).
        vanished: (id, label, text) of objects that are no longer where they were.
    """

    stamp_ns: int
    seen: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    moves: list[Move] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    merged: list[tuple[str, str]] = field(default_factory=list)
    vanished: list[tuple[str, str, str]] = field(default_factory=list)
