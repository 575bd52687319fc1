"""MiniGrid (Chevalier-Boisvert et al., NeurIPS 2023): the agent's view of cells as a look from straight above."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput, MissingDependency
from embodmem.types import Event, Percept, PinholeCamera, Pose

_EYE = 10.0
"""Height of the eye over the floor, cells."""
_WALL = 0.5
"""Height of a wall or a closed door, cells."""
_PIXELS = 8
"""Along a cell."""
_STRUCTURE = ("unseen", "empty", "wall", "floor")
_PLAIN = ("goal", "lava")
"""Kinds whose colour says nothing."""


class MiniGridAdapter:
    """The adapter of MiniGrid's environments.

    The grid lies in the plane z = 0 of the world: the middle of cell (i, j) is at x = (i + 0.5) cell_m and
    y = (rows - j - 0.5) cell_m, so that the picture's up is y. What the agent sees, with what its view hides left
    out, is told as a look from straight above the middle of its view, whose top is the agent's front: depth, and
    instance ids of all things that are no walls or floor. Walls and closed doors stand half a cell high, things are
    flat. Labels are kind and colour ("green key"), "goal", "lava".

    Args:
        env: A MiniGrid environment, wrapped or not; the adapter reads where its agent is, which `obs` does not tell.
        cell_m: Edge of a cell, metres. The eye is 10 cells high, so with more than 0.5 the ranges of the memory's
            settings (`spatial.max_range_m`, `scene.max_range_m`) have to grow.
        step_s: How long one step takes, seconds.
        agent: Name that percepts and events bear.

    Raises:
        InvalidInput: It is another environment, or a number is not above 0.
        MissingDependency: MiniGrid is not installed.
    """

    def __init__(self, env: Any, cell_m: float = 0.25, step_s: float = 0.5, agent: str = "") -> None:
        try:
            from minigrid.core.constants import IDX_TO_OBJECT
            from minigrid.minigrid_env import MiniGridEnv
        except ModuleNotFoundError as error:
            raise MissingDependency("minigrid", "sim", "MiniGridAdapter") from error
        grid = getattr(env, "unwrapped", env)
        if not isinstance(grid, MiniGridEnv):
            raise InvalidInput(f"minigrid adapter: wanted an environment of MiniGrid, got {grid!r}")
        if not (cell_m > 0 and step_s > 0):
            raise InvalidInput(f"minigrid adapter: wanted cell_m > 0 and step_s > 0, got {cell_m} and {step_s}")
        self.cell_m, self.step_s, self.agent = cell_m, step_s, agent
        self._env: Any = grid
        self._kinds = {name: index for index, name in IDX_TO_OBJECT.items()}
        self._numbers: dict[int, int] = {}
        self._things: list[Any] = []  # keeps the things of `_numbers` alive, so that no id is used twice
        self._grid: Any = None
        self._held: Any = None
        view = int(grid.agent_view_size)
        side, focal = view * _PIXELS, _EYE * _PIXELS
        middle = (side - 1) / 2
        offset = (np.arange(side) - middle) / focal
        # In which row or column of cells a pixel's ray meets the floor, and the height of the walls' tops.
        self._low = np.floor(offset * _EYE + view / 2).astype(np.int64)
        self._top = np.floor(offset * (_EYE - _WALL) + view / 2).astype(np.int64)
        self.camera = PinholeCamera(width=side, height=side, fx=focal, fy=focal, cx=middle, cy=middle)

    def stamp_ns(self, info: Mapping[str, Any]) -> int:
        """The time of the step that the environment has just made, ns; 0 at the begin of an episode."""
        return round(int(self._env.step_count) * self.step_s * 1e9)

    def percept(self, obs: Any, info: Mapping[str, Any], stamp_ns: int | None = None) -> Percept:
        """What the agent sees now. `obs` may be of any wrapper: it is not read."""
        env = self._env
        seen = env.gen_obs()["image"].transpose(1, 0, 2)  # rows from the front to the agent, columns left to right
        kind, state = seen[..., 0], seen[..., 2]
        high = (kind == self._kinds["wall"]) | ((kind == self._kinds["door"]) & (state > 0))
        ids, labels = self._instances(kind)
        top, low = np.ix_(self._top, self._top), np.ix_(self._low, self._low)
        on_top, on_floor = high[top], ~high[low] & (kind != self._kinds["unseen"])[low]
        depth = np.where(on_top, _EYE - _WALL, np.where(on_floor, _EYE, 0.0)) * self.cell_m
        return Percept(
            stamp_ns=self.stamp_ns(info) if stamp_ns is None else stamp_ns,
            T_world_sensor=self._pose(),
            camera=self.camera,
            depth=depth.astype(np.float32),
            segmentation=np.where(on_top, ids[top], np.where(on_floor, ids[low], 0)).astype(np.int32),
            labels=labels,
            agent=self.agent,
        )

    def events(self, info: Mapping[str, Any], stamp_ns: int | None = None) -> tuple[Event, ...]:
        """A pick or a drop, told from what the agent carries now and carried at the last call."""
        stamp = self.stamp_ns(info) if stamp_ns is None else stamp_ns
        if self._grid is not self._env.grid:  # a new episode
            self._grid, self._held = self._env.grid, self._env.carrying
            return ()
        before, self._held = self._held, self._env.carrying
        events = []
        for kind, thing, text in (("place", before, "put down the {}"), ("pick", self._held, "picked up the {}")):
            if thing is not None and before is not self._held:
                label = _label(thing.type, thing.color)
                events.append(
                    Event(
                        stamp_ns=stamp,
                        kind=kind,
                        text=text.format(label),
                        T_world_body=self._body(),
                        objects=(label,),
                        outcome="done",
                        source="robot",
                        agent=self.agent,
                    )
                )
        return tuple(events)

    def rooms(self, env: Any) -> Iterable[tuple[str, ArrayLike, ArrayLike]]:
        """(): MiniGrid names no rooms."""
        return ()

    def point(self, cell: ArrayLike) -> NDArray[np.float64]:
        """The middle of a cell (i, j) in the world, (3,) metres."""
        column, row = np.asarray(cell, dtype=np.float64)
        return np.array([column + 0.5, self._env.grid.height - row - 0.5, 0.0]) * self.cell_m

    def _axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ahead and to the right of the agent, (3,) each, in the world, whose y runs against the grid's."""
        flip = np.array([1.0, -1.0])
        return np.r_[self._env.dir_vec * flip, 0.0], np.r_[self._env.right_vec * flip, 0.0]

    def _body(self) -> Pose:
        ahead, right = self._axes()
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack([ahead, -right, [0.0, 0.0, 1.0]])
        pose[:3, 3] = self.point(self._env.agent_pos)
        return pose

    def _pose(self) -> Pose:
        """The eye over the middle of the view: x to the agent's right, y to its back, z down."""
        ahead, right = self._axes()
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack([right, -ahead, [0.0, 0.0, -1.0]])
        middle = (self._env.agent_view_size - 1) / 2
        pose[:3, 3] = self.point(self._env.agent_pos) + ahead * middle * self.cell_m + [0.0, 0.0, _EYE * self.cell_m]
        return pose

    def _instances(self, kind: NDArray[Any]) -> tuple[NDArray[np.int32], dict[int, str]]:
        """(V, V) the numbers of the things in view, and their labels; what is carried is in no cell."""
        env, ids, labels = self._env, np.zeros(kind.shape, dtype=np.int32), {}
        rows, cols = np.nonzero(~np.isin(kind, [self._kinds[name] for name in _STRUCTURE]))
        ahead, aside = env.agent_view_size - 1 - rows, cols - env.agent_view_size // 2
        cells = np.asarray(env.agent_pos) + ahead[:, None] * env.dir_vec + aside[:, None] * env.right_vec
        for row, col, (i, j) in zip(rows, cols, cells, strict=True):  # the few things in view
            if (i, j) == tuple(env.agent_pos):  # shows what the agent carries, which lies nowhere
                continue
            thing = env.grid.get(int(i), int(j))
            number = self._number(thing)
            ids[row, col] = number
            labels[number] = _label(thing.type, thing.color)
        return ids, labels

    def _number(self, thing: Any) -> int:
        if id(thing) not in self._numbers:
            self._things.append(thing)
            self._numbers[id(thing)] = len(self._things)
        return self._numbers[id(thing)]


def _label(kind: str, colour: str) -> str:
    return kind if kind in _PLAIN else f"{colour} {kind}"
