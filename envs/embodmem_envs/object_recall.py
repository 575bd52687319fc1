"""`EmbodMem/ObjectRecall-v0`: in which room did that object lie? A small, fast task on real looks in the house."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from embodmem.config import config_from
from embodmem.errors import InvalidInput
from embodmem_envs.diagnostics.base import Bools, DiagnosticVec, Floats, Ints
from embodmem_envs.tours import LABELS, ROOMS, ROW, RecallConfig, make_tours

__all__ = ["ObjectRecallEnv", "ObjectRecallVec", "RecallConfig"]

_ROOM_HOT = np.eye(len(ROOMS), dtype=np.float32)
_LABEL_HOT = np.eye(len(LABELS), dtype=np.float32)
_BARE = 1 + len(LABELS) + len(ROOMS)


class ObjectRecallVec(DiagnosticVec):
    """A robot is shown a few objects, each in another room of a home, and is then asked where one of them lay.

    An episode is a tour: `n_objects` looks, one a step, each from within 2 m of an object; then `delay` empty steps;
    then the question. Actions count only at the question: action i says `embodmem_envs.tours.ROOMS[i]`, earns 1 if
    the object lies there, else 0, and ends the episode. A guess earns 1 / 6 on average; who knows the rooms of the
    tour, but not what lay where, 1 / n_objects.

    The looks are real: MuJoCo's ray caster draws them in generated apartments, an `EmbodiedMemory` is fed every
    percept, and the rows are what it answers about the objects after each look. They are made once, when the first
    environment is (about 0.1 s a tour), and kept for the process; stepping reads arrays.

    Observations are flat, (N, D) float32: the first `obs_size` numbers are 1 at the question, the object asked for
    one-hot (8,), the room that the robot stands in one-hot (6,) during looks, and the picture of the look (rows,
    columns, 3) in 0..1; the others are the memory, (rows, 22) row by row, zeros without an object: x, y, z in the
    frame of the last look's camera in metres, extent (3,) in metres, seconds since it was seen, presence (see
    `nearest_objects`), its room one-hot (6,), its label one-hot (8,). They stand nearest first, and at the question
    by `RecallConfig.order`. `split` takes them apart.

    Args:
        num_envs: N.
        autoreset_mode: See `DiagnosticVec`.
        **settings: Fields of `RecallConfig`.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """

    def __init__(self, num_envs: int = 1, autoreset_mode: str | AutoresetMode = "NextStep", **settings: Any) -> None:
        self.config = config = config_from(settings, RecallConfig, "object recall")
        self.rows_shape = (config.rows, ROW)
        self._view_size = config.view_px * (config.view_px * 3 // 4) * 3
        self.obs_size = _BARE + self._view_size
        super().__init__(num_envs, self.obs_size + config.rows * ROW, len(ROOMS), autoreset_mode)
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (self.obs_size + config.rows * ROW,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        tours = make_tours(config.n_objects, config.rows, config.n_tours, config.n_houses, config.tours_seed)
        self._label, self._room = tours.label, tours.room
        self._memory = tours.memory if config.memory else np.zeros_like(tours.memory)
        self._views = self._small(tours.rgb)
        self._tour = np.zeros(num_envs, dtype=np.int64)
        self._asked = np.zeros(num_envs, dtype=np.int64)  # index of the look whose object is asked for
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._last = config.n_objects + config.delay  # the step of the question

    def split(self, obs: Floats) -> tuple[Floats, Floats]:
        """Observations (..., D) as (..., obs_size) without the memory and its rows (..., rows, 22)."""
        plain, rows = np.split(obs, [self.obs_size], axis=-1)
        return plain, np.reshape(rows, (*obs.shape[:-1], *self.rows_shape))

    def _small(self, rgb: NDArray[np.uint8]) -> Floats:
        """(E, n, view) the pictures, each pixel the mean of a block, flat in 0..1."""
        if not self._view_size:
            return np.zeros((*rgb.shape[:2], 0), dtype=np.float32)
        from PIL import Image

        size = (self.config.view_px, self.config.view_px * 3 // 4)
        flat = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for tour in rgb for image in tour]
        return np.asarray(np.stack(flat).reshape(*rgb.shape[:2], -1).astype(np.float32) / np.float32(255))

    def _begin(self, rows: Ints) -> None:
        self._tour[rows] = self.np_random.integers(0, len(self._label), len(rows))
        self._asked[rows] = self.np_random.integers(0, self.config.n_objects, len(rows))
        self._steps[rows] = 0

    def _observe(self) -> Floats:
        tour, looks = self._tour, self._steps < self.config.n_objects
        look = np.minimum(self._steps, self.config.n_objects - 1)
        asks = self._steps == self._last  # the observation after the answer asks nothing
        obs = np.zeros((self.num_envs, self.obs_size + self.config.rows * ROW), dtype=np.float32)
        obs[:, 0] = asks
        obs[:, 1 : 1 + len(LABELS)] = _LABEL_HOT[self._label[tour, self._asked]] * asks[:, None]
        obs[:, 1 + len(LABELS) : _BARE] = _ROOM_HOT[self._room[tour, look]] * looks[:, None]
        obs[:, _BARE : self.obs_size] = self._views[tour, look] * looks[:, None]
        rows = self._memory[tour, look]
        if self.config.order == "asked" and asks.any():
            rows = np.where(asks[:, None, None], self._asked_first(rows), rows)
        obs[:, self.obs_size :] = rows.reshape(self.num_envs, -1)
        return obs

    def _asked_first(self, rows: Floats) -> Floats:
        """(N, rows, 22) with those of the label asked for at the front, the others in their order."""
        column = ROW - len(LABELS) + self._label[self._tour, self._asked]
        match = rows[self._rows, :, column] > 0
        order = np.argsort(~match, axis=1, kind="stable")
        return np.take_along_axis(rows, order[:, :, None], axis=1)

    def _advance(self, actions: Ints, live: Bools) -> tuple[NDArray[np.float64], Bools, Bools, Bools]:
        ends = (self._steps == self._last) & live
        success = ends & (actions == self._room[self._tour, self._asked])
        self._steps += live
        return success.astype(np.float64), ends, np.zeros_like(ends), success


class ObjectRecallEnv(gymnasium.Env[dict[str, Any], Any]):
    """One copy of `ObjectRecallVec`; the observation is a dict of "obs" (D,) and "memory" (rows, 22), both float32.

    `info["success"]` stands in the step that ends an episode. A step after that raises InvalidInput.

    Args:
        **settings: Fields of `RecallConfig`.
    """

    metadata = {"render_modes": []}

    def __init__(self, **settings: Any) -> None:
        self._vec = ObjectRecallVec(1, AutoresetMode.DISABLED, **settings)
        self.config = self._vec.config
        obs_box = spaces.Box(0.0, 1.0, (self._vec.obs_size,), np.float32)
        row_box = spaces.Box(-np.inf, np.inf, self._vec.rows_shape, np.float32)
        self.observation_space = spaces.Dict({"obs": obs_box, "memory": row_box})
        self.action_space = self._vec.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode with its first look."""
        super().reset(seed=seed)
        if options:
            raise InvalidInput(f"object recall: wanted no options, got {sorted(options)}")
        if seed is None and not self._vec._is_begun:
            seed = int(self.np_random.integers(2**31))
        obs, _ = self._vec.reset(seed=seed)
        return self._dict(obs), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """The next look, or the answer."""
        obs, reward, terminated, truncated, info = self._vec.step(np.asarray([action]))
        told = {"success": bool(info["success"][0])} if info else {}
        return self._dict(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), told

    def _dict(self, obs: Floats) -> dict[str, Any]:
        plain, rows = self._vec.split(obs[0])
        return {"obs": plain, "memory": rows}
