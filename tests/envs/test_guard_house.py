"""Detections that cannot be are kept apart in the house; those that can be are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from embodmem import Config, Detection, EmbodiedMemory, Percept
from embodmem.config import GuardConfig
from embodmem_envs.fetch import HouseBody
from embodmem_envs.house import HouseEnv

PX = 14
"""Width of the boxes that are planted, px."""


class Toured:
    """A memory that checks detections after a tour, and the looks of a second tour that it was not shown."""

    def __init__(self) -> None:
        self.env = HouseEnv(width=96, height=72, max_steps=10**9)
        self.memory = EmbodiedMemory(config=Config(encoder="hashing", guard=GuardConfig(check_detections=True)))
        self.body = HouseBody(self.env, self.memory)
        self.body.begin(seed=0)
        self.body.tour()
        self.alarms = len(self.memory.guard.quarantined())
        self.body._follow(self.body._guide.tour(), every=4)
        self.looks = [item for item in self.body._take() if isinstance(item, Percept)]

    def plain(self, look: Percept, **changes: Any) -> Percept:
        """A look without any detection, later than all before it."""
        stamp = (self.memory.newest_stamp() or 0) + 1
        return replace(look, stamp_ns=stamp, segmentation=None, labels={}, **changes)


@pytest.fixture(scope="module")
def toured() -> Iterator[Toured]:
    made = Toured()
    yield made
    made.memory.close()
    made.env.close()


def boxes(looks: list[Percept], seed: int, least_m: float, most_m: float) -> Iterator[tuple[Percept, slice, slice]]:
    """A look after the other, and rows and columns of a box in it whose depths are all within these bounds."""
    rng = np.random.default_rng(seed)
    for look in looks:
        assert look.depth is not None
        for _ in range(40):
            row, col = int(rng.integers(PX, 72 - 2 * PX)), int(rng.integers(PX, 96 - 2 * PX))
            around = look.depth[row - PX // 2 : row + 3 * PX // 2, col - PX // 2 : col + 3 * PX // 2]
            if around.min() >= least_m and around.max() <= most_m:
                yield look, slice(row, row + PX), slice(col, col + PX)
                break


def planted(label: str, rows: slice, cols: slice) -> Detection:
    return Detection(label=label, box=np.array([cols.start, rows.start, cols.stop, rows.stop], dtype=np.float64))


def kept_apart(toured: Toured, look: Percept, detection: Detection) -> bool:
    """Whether the guard takes it out of the look."""
    return toured.memory.guard.examine(toured.plain(look, detections=(detection,))).detections == ()


def test_looks_at_a_house_that_did_not_change_raise_no_alarm(toured: Toured) -> None:
    assert toured.alarms == 0
    looks = instances = lost = 0
    for look in toured.looks:
        examined = toured.memory.guard.examine(look)
        looks, instances = looks + 1, instances + len(np.unique(look.segmentation)) - 1
        lost += len(look.labels) - len(examined.labels)
    assert looks > 60 and instances > 300 and lost == 0


def test_what_would_float_in_known_free_space_is_kept_apart(toured: Toured) -> None:
    caught = []
    for look, rows, cols in boxes(toured.looks, 1, 1.5, 4.0):
        depth = np.array(look.depth)
        depth[rows, cols] *= 0.5
        caught.append(kept_apart(toured, replace(look, depth=depth), planted("drone", rows, cols)))
    assert len(caught) > 30
    assert np.mean(caught) > 0.9


def test_what_would_be_behind_a_wall_is_kept_apart(toured: Toured) -> None:
    caught = []
    for look, rows, cols in boxes(toured.looks, 2, 1.0, 3.0):
        depth = np.array(look.depth)
        depth[rows, cols] += 1.5
        caught.append(kept_apart(toured, replace(look, depth=depth), planted("ghost", rows, cols)))
    assert len(caught) > 30
    assert np.mean(caught) > 0.9


def test_what_would_be_far_too_large_for_its_kind_is_kept_apart(toured: Toured) -> None:
    caught = []
    for look, rows, cols in boxes(toured.looks, 3, 1.5, 5.0):
        wide = slice(rows.start - PX // 2, rows.stop + PX // 2), slice(cols.start - PX // 2, cols.stop + PX // 2)
        caught.append(kept_apart(toured, look, planted("mug", *wide)))
    assert len(caught) > 30
    assert np.mean(caught) > 0.9
