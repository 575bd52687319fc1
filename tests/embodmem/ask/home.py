"""A small home that a memory has lived in: two rooms, a table with things on it, a tour, a fetch, a move."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone

import numpy as np

from embodmem.embodied import EmbodiedMemory
from embodmem.types import Event
from tests.embodmem.spatial.scene_room import Box, eyes, percept, room

S = 1_000_000_000
START_NS = int(datetime(2024, 5, 15, 10, 0, tzinfo=timezone.utc).timestamp()) * S
"""Wednesday, 15 May 2024, 10:00:00 UTC."""

MUG, CONTROLLER, LAPTOP, OTHER_MUG, SHELF = 10, 11, 12, 13, 14


def body(x: float, y: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = (x, y, 1.0)
    return T


def furnished() -> dict[int, Box]:
    return room() | {
        MUG: Box("mug", (-0.3, 1.0, 0.80), (0.09, 0.09, 0.10)),
        CONTROLLER: Box("game controller", (0.3, 1.0, 0.80), (0.16, 0.12, 0.10)),
        LAPTOP: Box("laptop", (0.0, 1.2, 0.80), (0.3, 0.2, 0.1)),
        OTHER_MUG: Box("mug", (0.55, 0.9, 0.80), (0.09, 0.09, 0.10)),
        SHELF: Box("shelf", (-1.8, 1.6, 0.3), (0.6, 0.6, 0.6)),
    }


def live(memory: EmbodiedMemory, start_ns: int = START_NS) -> None:
    """16 minutes: a tour that looks at the table, a controller laid on the shelf, a mug that somebody moved."""
    boxes = furnished()

    def see(second: float, eye: tuple[float, float, float], target: tuple[float, float, float]) -> None:
        look = percept(boxes, 0, "segmentation", eye=eye, target=target)
        memory.write(dataclasses.replace(look, stamp_ns=start_ns + int(second * S)))

    def do(second: float, kind: str, text: str, *objects: str, at: tuple[float, float] | None = None) -> None:
        T = None if at is None else body(*at)
        source = "user" if kind == "told" else "robot"
        stamp_ns = start_ns + int(second * S)
        memory.write(Event(stamp_ns=stamp_ns, kind=kind, text=text, objects=objects, T_world_body=T, source=source))

    memory.scene.add_room("kitchen", (-3, 0, 0), (3, 3, 3))
    memory.scene.add_room("bedroom", (-3, -3, 0), (3, 0, 3))
    do(0, "tour", "began the first tour", at=(0, -2))
    for i, eye in enumerate(eyes(6)):
        see(10 + 0.5 * i, eye, (0, 1, 0.75))
    do(20, "tour", "finished the first tour", at=(0, -1))
    do(30, "told", "the keys are in the drawer")
    do(60, "go", "went to the kitchen", at=(0, 0.5))
    do(70, "pick", "picked up the game controller in the kitchen", "game controller", at=(0, 0.5))
    do(80, "place", "put the game controller on the shelf in the kitchen", "game controller", "shelf", at=(-1.5, 0.5))
    boxes[CONTROLLER] = Box("game controller", (-1.8, 1.6, 0.65), (0.16, 0.12, 0.10))
    boxes[MUG] = Box("mug", (-0.6, 0.75, 0.80), (0.09, 0.09, 0.10))
    for i in range(8):
        see(900 + i, (-1.0 + 0.1 * i, -1.2, 1.7), (-1.0, 1.3, 0.6))
    do(910, "pick", "picked up the laptop in the kitchen", "laptop", at=(0, 0.5))
    do(930, "go", "went to the bedroom", at=(0, -2))
