"""A maze as MiniGrid's Memory (Chevalier-Boisvert et al., NeurIPS 2023): go to the thing that was in the first room."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from embodmem.errors import ConfigError
from embodmem_envs.diagnostics.base import Bools, DiagnosticVec, Floats, Ints

LEFT, RIGHT, FORWARD = 0, 1, 2
EMPTY, WALL, KEY, BALL = 0, 1, 2, 3
_ONE_HOT = np.eye(4, dtype=np.float32)
_AHEAD = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
"""x and y of a step forward for the headings 0 (x grows), 1 (y grows), 2, 3."""


class MemoryMazeVec(DiagnosticVec):
    """A key or a ball lies in a room at the left; a hallway leads to a fork with one of each. Stop beside the same.

    Walls, starts, rewards and limits are those of MiniGrid's Memory of the same size: 1 - 0.9 steps / limit beside the
    right thing, 0 beside the other, truncated after 5 size^2 steps. Unlike there, walls hide nothing and the
    observation is (view * view * 4,) float32: for every cell of a square before the agent, row by row from the
    farthest, left to right, one-hot of empty, wall, key, ball. The agent stands in the middle of the last row.
    Actions: 0 left, 1 right, 2 forward.

    Args:
        num_envs: Copies.
        size: Cells along a side of the maze, odd, 7 or more.
        random_length: Draw the hallway's length anew for every episode.
        view: Cells along a side of what is seen, odd, 3 to 9.
        autoreset_mode: See `DiagnosticVec`.

    Raises:
        ConfigError: A size is not of these.
    """

    def __init__(
        self,
        num_envs: int = 1,
        size: int = 13,
        random_length: bool = False,
        view: int = 5,
        autoreset_mode: str | AutoresetMode = "NextStep",
    ) -> None:
        if size < 7 or size % 2 == 0:
            raise ConfigError(f"diagnostics: wanted a maze of an odd size, 7 or more, got {size}")
        if not 3 <= view <= 9 or view % 2 == 0:
            raise ConfigError(f"diagnostics: wanted an odd view of 3 to 9 cells, got {view}")
        super().__init__(num_envs, view * view * 4, 3, autoreset_mode)
        self.size, self.limit = size, 5 * size**2
        self._ends = np.arange(4 if random_length else size - 3, size - 2)  # x of the hallway's last wall
        self._pad = view - 1
        self._side = size + 2 * self._pad
        self._plans = np.stack([self._plan(int(end)) for end in self._ends])
        self._grid = np.zeros((num_envs, self._side**2), dtype=np.int8)
        self._at = np.zeros(num_envs, dtype=np.int64)  # index of the agent's cell
        self._goal = np.zeros(num_envs, dtype=np.int64)
        self._trap = np.zeros(num_envs, dtype=np.int64)
        self._heading = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        ahead, aside = np.meshgrid(np.arange(view)[::-1], np.arange(view) - view // 2, indexing="ij")
        across = np.stack([-_AHEAD[:, 1], _AHEAD[:, 0]], axis=1)  # a step to the agent's right
        cells = ahead.reshape(-1, 1) * _AHEAD[:, None] + aside.reshape(-1, 1) * across[:, None]
        self._seen = cells[..., 0] + cells[..., 1] * self._side  # (4, view * view) offsets of the cells in view
        self._forward = _AHEAD[:, 0] + _AHEAD[:, 1] * self._side

    def _cell(self, x: NDArray[np.int64] | int, y: NDArray[np.int64] | int) -> NDArray[np.int64]:
        return np.asarray(x + self._pad + (y + self._pad) * self._side)

    def _plan(self, end: int) -> NDArray[np.int8]:
        """The walls with a hallway up to x = end, flat; all around is wall."""
        middle = self.size // 2
        plan = np.full((self.size, self.size), WALL, dtype=np.int8)
        plan[1:-1, 1:-1] = EMPTY
        plan[[middle - 2, middle + 2], 1:5] = WALL
        plan[[middle - 1, middle + 1], 4:end] = WALL
        plan[:, end] = WALL
        plan[middle, end] = EMPTY
        plan[:, end + 2] = WALL
        return np.pad(plan, self._pad, constant_values=WALL).reshape(-1)

    def _begin(self, rows: Ints) -> None:
        rng, middle, count = self.np_random, self.size // 2, len(rows)
        chosen = rng.integers(0, len(self._ends), count)
        end = self._ends[chosen]
        sign, above = rng.integers(KEY, BALL + 1, (2, count))
        self._grid[rows] = self._plans[chosen]
        self._grid[rows, self._cell(1, middle - 1)] = sign
        self._grid[rows, self._cell(end + 1, middle - 2)] = above
        self._grid[rows, self._cell(end + 1, middle + 2)] = KEY + BALL - above
        side = np.where(sign == above, -1, 1)
        self._goal[rows] = self._cell(end + 1, middle + side)
        self._trap[rows] = self._cell(end + 1, middle - side)
        self._at[rows] = self._cell(rng.integers(1, end + 1), middle)
        self._heading[rows] = 0
        self._steps[rows] = 0

    def _observe(self) -> Floats:
        cells = self._grid[self._rows[:, None], self._at[:, None] + self._seen[self._heading]]
        return np.asarray(_ONE_HOT[cells].reshape(self.num_envs, -1))

    def _advance(self, actions: Ints, live: Bools) -> tuple[NDArray[np.float64], Bools, Bools, Bools]:
        turn = (actions == RIGHT).astype(np.int64) - (actions == LEFT)
        self._heading = np.where(live, (self._heading + turn) % 4, self._heading)
        ahead = self._at + self._forward[self._heading]
        free = self._grid[self._rows, ahead] == EMPTY
        self._at = np.where(live & free & (actions == FORWARD), ahead, self._at)
        self._steps += live
        success = (self._at == self._goal) & live
        terminated = success | ((self._at == self._trap) & live)
        truncated = (self._steps >= self.limit) & live
        return success * (1.0 - 0.9 * self._steps / self.limit), terminated, truncated, success
