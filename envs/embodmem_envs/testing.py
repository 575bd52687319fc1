"""The contract of adapters as a test: run it against your own.

It stands here and not in `embodmem.testing`, because it drives a gymnasium environment and the memory itself must not
need gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.geometry import backproject, transform_points
from embodmem.types import Event, Percept
from embodmem_envs.adapter import Adapter

__all__ = ["check_adapter", "points_of"]

Box = tuple[str, ArrayLike, ArrayLike]
"""Label, lower and upper corner (3,) in metres in the world, z up."""


def points_of(percept: Percept, label: str) -> NDArray[np.float64]:
    """(N, 3) points in the world, metres, of the pixels with depth whose instance bears this label."""
    assert percept.camera is not None and percept.depth is not None and percept.segmentation is not None
    numbers = [number for number, name in percept.labels.items() if name == label]
    rows, cols = np.nonzero(np.isin(percept.segmentation, numbers) & (percept.depth > 0))
    points = backproject(percept.camera, rows, cols, percept.depth[rows, cols].astype(np.float64))
    return np.asarray(transform_points(percept.T_world_sensor, points))


def check_adapter(
    make: Callable[[], tuple[Any, Adapter]],
    truth: Callable[[Any], Iterable[Box]],
    *,
    steps: int = 40,
    tolerance_m: float = 0.01,
    seed: int = 0,
    least_seen: int = 2,
) -> None:
    """Test an adapter against the contract of `embodmem_envs.Adapter`, by random steps in its environment.

    * What is seen lands where it is: every pixel of a label, back-projected, lies in a true box of that label;
      this holds units, axes, the pose and the intrinsics at once.
    * Stamps are whole nanoseconds and never decrease within an episode; `percept` bears the stamp that it is given.
    * The same seed and actions give the same percepts.

    Args:
        make: Makes a fresh environment and its adapter; the environment is closed here.
        truth: The environment -> label, lower and upper corner of things in it now, in metres in the world with z up,
            from the simulator's own state rather than from its images. Labels left out are not tested.
        steps: Random actions.
        tolerance_m: How far a point may lie outside of its box, metres.
        seed: Of the environment and of the actions.
        least_seen: So many labels of `truth` must have come into view, or the test has shown nothing.

    Raises:
        AssertionError: The adapter breaks the contract; the message says how.
    """
    first = _walk(make, truth, steps, seed, tolerance_m, least_seen)
    second = _walk(make, truth, steps, seed, tolerance_m, least_seen)
    assert len(first) == len(second), f"determinism: wanted {len(first)} percepts again, got {len(second)}"
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        for name in ("stamp_ns", "T_world_sensor", "depth", "rgb", "segmentation", "labels", "camera"):
            same = np.array_equal(getattr(one, name), getattr(other, name))
            assert same, f"determinism: wanted the same {name} for the same seed and actions, step {number} differs"


def _walk(
    make: Callable[[], tuple[Any, Adapter]],
    truth: Callable[[Any], Iterable[Box]],
    steps: int,
    seed: int,
    tolerance_m: float,
    least_seen: int,
) -> list[Percept]:
    env, adapter = make()
    try:
        assert isinstance(adapter, Adapter), "wanted stamp_ns, percept, events and rooms"
        percepts, seen = [], set()
        obs, info = env.reset(seed=seed)
        env.action_space.seed(seed)
        newest = -1
        for number in range(steps + 1):
            stamp_ns = adapter.stamp_ns(info)
            assert type(stamp_ns) is int, f"stamp_ns: wanted whole nanoseconds (int), got {stamp_ns!r}"
            assert stamp_ns >= newest, f"stamp_ns: wanted {newest} or more at step {number}, got {stamp_ns}"
            newest = stamp_ns
            percept = adapter.percept(obs, info, stamp_ns)
            _check_percept(percept, stamp_ns)
            events = adapter.events(info, stamp_ns)
            assert all(isinstance(event, Event) for event in events), f"events: wanted events, got {events!r}"
            seen |= _check_points(percept, list(truth(env)), tolerance_m, number)
            percepts.append(percept)
            obs, _, terminated, truncated, info = env.step(env.action_space.sample())
            if terminated or truncated:
                obs, info = env.reset()
                newest = -1
        for name, lower, upper in adapter.rooms(env):
            assert name and (np.asarray(lower) < np.asarray(upper)).all(), f"rooms: wanted lower < upper of {name!r}"
        wanted = f"wanted {least_seen} labels or more in view within {steps} steps, got {sorted(seen)}"
        assert len(seen) >= least_seen, f"{wanted}; take more steps or another seed"
        return percepts
    finally:
        env.close()


def _check_percept(percept: Percept, stamp_ns: int) -> None:
    assert isinstance(percept, Percept), f"percept: wanted a Percept, got {type(percept).__name__}"
    assert percept.stamp_ns == stamp_ns, f"percept: wanted the stamp it was given, {stamp_ns}, got {percept.stamp_ns}"
    assert percept.camera is not None and percept.depth is not None, "percept: wanted a camera and depth"
    assert percept.segmentation is not None, "percept: wanted a segmentation"
    unnamed = set(np.unique(percept.segmentation).tolist()) - {0} - set(percept.labels)
    assert not unnamed, f"labels: wanted a label for every instance id but 0, got none for {sorted(unnamed)}"


def _check_points(percept: Percept, boxes: list[Box], tolerance_m: float, number: int) -> set[str]:
    """Which labels were seen where they are."""
    seen = set()
    for label in {name for name, *_ in boxes}:
        points = points_of(percept, label)
        if len(points) == 0:
            continue
        corners = np.array([(lower, upper) for name, lower, upper in boxes if name == label], dtype=np.float64)
        outside = np.maximum(corners[:, None, 0] - points, points - corners[:, None, 1]).max(axis=2)
        off = np.maximum(outside, 0.0).min(axis=0)
        worst = int(np.argmax(off))
        assert off[worst] <= tolerance_m, (
            f"percept: wanted every point of {label!r} within {tolerance_m} m of its true box at step {number}, got "
            f"one {off[worst]:.3f} m off, at {np.round(points[worst], 3).tolist()} for boxes "
            f"{np.round(corners, 2).tolist()}; are units (metres), axes (z up, right-handed) and pose the core's?"
        )
        seen.add(label)
    return seen
