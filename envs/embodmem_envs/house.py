"""`EmbodMem/House-v0`: a robot with a camera in an apartment, as a gymnasium environment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodmem.config import config_from
from embodmem.errors import ConfigError, InvalidInput
from embodmem.types import PinholeCamera
from embodmem_envs.layout import Door, Furniture, Room
from embodmem_envs.mjcf import ROBOT_GROUP
from embodmem_envs.placing import MAX_OBJECTS, Item
from embodmem_envs.render import Frame, GLRenderer, RayRenderer, Renderer, camera_of
from embodmem_envs.world import ObjectState, World

MAX_DEPTH_M = 30.0
MAX_INSTANCES = 1024


@dataclass(frozen=True, kw_only=True)
class HouseConfig:
    """Settings of `EmbodMem/House-v0`; each is a keyword of `gymnasium.make`."""

    width: int = 160
    """Columns of the images, px."""
    height: int = 120
    """Rows of the images, px."""
    fov_deg: float = 75.0
    """Horizontal field of view, degrees."""
    max_steps: int = 1000
    """Steps after which an episode is truncated."""
    action_type: str = "discrete"
    """"discrete" (see `Action`) or "continuous": [v m/s, w rad/s, pick, place], the last two done above 0.5."""
    renderer: str = "raycast"
    """"raycast" (MuJoCo's ray caster, no OpenGL) or "gl"."""
    n_objects: int = 36
    """Objects in the apartment."""
    house_seed: int | None = None
    """The apartment; None takes it from the seed of `reset`."""
    step_s: float = 0.5
    """Time that one step takes, seconds."""
    forward_m: float = 0.25
    """Length of the discrete action forward, metres."""
    turn_deg: float = 30.0
    """Angle of the discrete turns, degrees."""
    look_deg: float = 15.0
    """Angle of looking up and down, degrees."""
    mast_m: float = 1.25
    """Height of the camera, metres."""
    pitch_deg: float = -20.0
    """Tilt of the camera at the start of an episode, degrees; negative looks down."""

    def __post_init__(self) -> None:
        wanted = {
            "width": 8 <= self.width <= 1920,
            "height": 8 <= self.height <= 1080,
            "fov_deg": 10 <= self.fov_deg <= 150,
            "max_steps": self.max_steps >= 1,
            "action_type": self.action_type in ("discrete", "continuous"),
            "renderer": self.renderer in ("raycast", "gl"),
            "n_objects": 0 <= self.n_objects <= MAX_OBJECTS,
            "house_seed": self.house_seed is None or self.house_seed >= 0,
            "step_s": 0 < self.step_s <= 60,
            "forward_m": 0 < self.forward_m <= 2,
            "turn_deg": 0 < self.turn_deg <= 180,
            "look_deg": 0 < self.look_deg <= 90,
            "mast_m": 0.3 <= self.mast_m <= 2.2,
            "pitch_deg": -60 <= self.pitch_deg <= 30,
        }
        ranges = {
            "width": "8 to 1920 px", "height": "8 to 1080 px", "fov_deg": "10 to 150", "max_steps": "at least 1",
            "action_type": "'discrete' or 'continuous'", "renderer": "'raycast' or 'gl'",
            "n_objects": f"0 to {MAX_OBJECTS}", "house_seed": "None or >= 0", "step_s": "above 0 and up to 60",
            "forward_m": "above 0 and up to 2", "turn_deg": "above 0 and up to 180", "look_deg": "above 0 and up to 90",
            "mast_m": "0.3 to 2.2", "pitch_deg": "-60 to 30",
        }  # fmt: skip
        for name, good in wanted.items():
            if not good:
                raise ConfigError(f"house: wanted {name} {ranges[name]}, got {getattr(self, name)!r}")


class Action(IntEnum):
    """The discrete actions."""

    STAY = 0
    FORWARD = 1
    TURN_LEFT = 2
    TURN_RIGHT = 3
    LOOK_UP = 4
    LOOK_DOWN = 5
    PICK = 6
    PLACE = 7


PITCH_LIMITS_DEG = (-60.0, 30.0)


class HouseEnv(gymnasium.Env[dict[str, Any], Any]):
    """An apartment to drive through, with things to see, to pick up and to put down.

    There is no task: the reward is always 0, `terminated` is always False, and an episode is truncated after
    `max_steps`. The robot is moved, not simulated (see `World`).

    The apartment is that of `house_seed`, or of the seed of `reset`. `reset()` without a seed keeps the apartment and
    where its objects lie, and puts the robot back to its start: the next day in the same home. With
    `options={"move": n}` somebody has moved n objects meanwhile.

    Observations (a dict):
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres along +z of the optical frame, 0 = no return.
        segmentation: (H, W) int32 instance ids of furniture and objects, 0 = wall, floor, ceiling.
        pose: (3,) float32 x, y in metres and yaw in radians, in the world.
        carrying: Instance id of the carried object, 0 = none.

    `info` holds `T_world_camera` and `T_world_base` (4, 4), `camera` (PinholeCamera), `labels` (instance id ->
    label), `step` (steps in this home, over resets without a seed), `room`, `held` (id or ""), `collided`, and, in a
    step that picked or placed something, `event`.

    Args:
        render_mode: "rgb_array" (the robot's view), "map" (the apartment from above), or None.
        config: Settings; None takes the defaults.
        **settings: Fields of `HouseConfig` that override it.

    Raises:
        ConfigError: A setting is unknown or out of range.
        MissingDependency: MuJoCo is not installed.
        RendererUnavailable: On the first reset, when renderer="gl" finds no OpenGL.
    """

    metadata = {"render_modes": ["rgb_array", "map"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None, config: HouseConfig | None = None, **settings: Any) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ConfigError(f"house: wanted render_mode None, 'rgb_array' or 'map', got {render_mode!r}")
        checked = config_from(settings, HouseConfig, "house")
        given = {name: getattr(checked, name) for name in settings}
        self.config = dataclasses.replace(config or HouseConfig(), **given)
        self.render_mode = render_mode
        self.camera: PinholeCamera = camera_of(self.config.width, self.config.height, self.config.fov_deg)
        shape, high = self.camera.shape, np.array([50.0, 50.0, 3.2], dtype=np.float32)
        self.observation_space = spaces.Dict(
            {
                "rgb": spaces.Box(0, 255, (*shape, 3), np.uint8),
                "depth": spaces.Box(0.0, MAX_DEPTH_M, shape, np.float32),
                "segmentation": spaces.Box(0, MAX_INSTANCES, shape, np.int32),
                "pose": spaces.Box(-high, high, dtype=np.float32),
                "carrying": spaces.Discrete(MAX_INSTANCES + 1),
            }
        )
        top = np.array([1.0, np.pi / 2, 1.0, 1.0], dtype=np.float32)
        continuous = spaces.Box(np.array([-1.0, -np.pi / 2, 0.0, 0.0], dtype=np.float32), top, dtype=np.float32)
        self.action_space = spaces.Discrete(len(Action)) if self.config.action_type == "discrete" else continuous
        self._world: World | None = None
        self._renderer: Renderer | None = None
        self._frame: Frame | None = None
        self._step = self._elapsed = 0

    # ---------------------------------------------------------------- gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; see the class for what a seed and `options={"move": n}` do.

        Raises:
            InvalidInput: An option is unknown, or there are not so many objects to move.
        """
        super().reset(seed=seed)
        unknown = sorted(set(options or {}) - {"move"})
        if unknown:
            raise InvalidInput(f"house: wanted options of {{'move': n}}, got {unknown}")
        if self._world is None or seed is not None:
            self._build(seed)
        else:
            self._step += 1
        self.world.to_start()
        self._elapsed = 0
        if options and options.get("move"):
            self.world.move_objects(self.np_random, int(options["move"]))
        self._frame = None
        return self._observe(), self._info(False)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One action.

        Raises:
            InvalidInput: The action is not of the action space, or there was no reset before.
        """
        world = self.world
        if not self.action_space.contains(action):
            raise InvalidInput(f"house: wanted an action of {self.action_space}, got {action!r}")
        picks, places, blocked = self._move(action)
        event: dict[str, Any] = {}
        if picks:
            event = self._event("pick", world.pick())
        elif places:
            event = self._event("place", world.place())
        world.update()
        self._step += 1
        self._elapsed += 1
        self._frame = None
        info = self._info(blocked)
        if event:
            info["event"] = event
        return self._observe(), 0.0, False, self._elapsed >= self.config.max_steps, info

    def render(self) -> Any:
        """(H, W, 3) uint8: the robot's view, or the apartment from above, by `render_mode`; None without a mode."""
        if self.render_mode == "rgb_array":
            return self._look().rgb.copy()
        return self.map_image() if self.render_mode == "map" else None

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None

    # ---------------------------------------------------------------- the truth

    @property
    def world(self) -> World:
        """The apartment and the robot. Raises InvalidInput before the first reset."""
        if self._world is None:
            raise InvalidInput("house: wanted reset() first; there is no apartment yet")
        return self._world

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Rooms with name, lower (3,) and upper (3,) corner of their inside, metres."""
        return self.world.layout.rooms

    @property
    def doors(self) -> tuple[Door, ...]:
        """Openings between rooms."""
        return self.world.layout.doors

    @property
    def furniture(self) -> tuple[Furniture, ...]:
        """Furniture with id, label, position (3,), extent (3,), room and instance id."""
        return self.world.layout.furniture

    @property
    def objects(self) -> list[ObjectState]:
        """Objects as they lie now."""
        return self.world.objects()

    @property
    def robot_pose(self) -> NDArray[np.float64]:
        """(3,) x, y in metres and yaw in radians."""
        return np.array(self.world.pose)

    def move_object(self, name: str, support: str | None = None) -> ObjectState:
        """Lay an object elsewhere (see `World.move_object`); the spot is drawn from the environment's generator."""
        self.world.move_object(self.np_random, name, support)
        self._frame = None
        return next(state for state in self.objects if state.id == name)

    def move_objects(self, count: int) -> list[ObjectState]:
        """Move `count` objects to other furniture; returns them as they lie now."""
        names = {item.id for item in self.world.move_objects(self.np_random, count)}
        self._frame = None
        return [state for state in self.objects if state.id in names]

    def map_image(self, pixels: int = 720) -> NDArray[np.uint8]:
        """(H, W, 3) uint8: the apartment from above without its ceiling; x to the right, y up, `pixels` wide."""
        layout = self.world.layout
        size = layout.upper - layout.lower
        camera = camera_of(pixels, int(pixels * size[1] / size[0]), 20.0)
        eye = np.r_[(layout.lower + layout.upper) / 2, size[0] / 2 / np.tan(np.deg2rad(10.0)) + 1.2]
        above = np.eye(4)
        above[:3, :3] = np.diag([1.0, -1.0, -1.0])
        above[:3, 3] = eye
        world = self.world
        seen = (0, ROBOT_GROUP)  # not the ceiling
        painter = RayRenderer(world.mujoco, world.model, world.data, camera, world.instance_ids(), seen)
        return painter.render(above).rgb

    # ---------------------------------------------------------------- inside

    def _build(self, seed: int | None) -> None:
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        config = self.config
        house = drawn if config.house_seed is None else config.house_seed
        fov_y = 2 * np.rad2deg(np.arctan(config.height / 2 / self.camera.fy))
        self.close()
        self._world = World(house, config.n_objects, float(fov_y), config.mast_m, float(np.deg2rad(config.pitch_deg)))
        world, kind = self._world, RayRenderer if config.renderer == "raycast" else GLRenderer
        self._renderer = kind(world.mujoco, world.model, world.data, self.camera, world.instance_ids())
        self._step = 0

    def _move(self, action: Any) -> tuple[bool, bool, bool]:
        """Drive or look; returns whether to pick, whether to place, and whether something was in the way."""
        config, world = self.config, self.world
        if config.action_type == "continuous":
            speed, rate, pick, place = (float(value) for value in action)
            return pick > 0.5, place > 0.5, world.drive(speed * config.step_s, rate * config.step_s)
        turn = {Action.TURN_LEFT: 1, Action.TURN_RIGHT: -1}.get(action, 0) * np.deg2rad(config.turn_deg)
        blocked = world.drive(config.forward_m if action == Action.FORWARD else 0.0, float(turn))
        look = {Action.LOOK_UP: 1, Action.LOOK_DOWN: -1}.get(action, 0) * config.look_deg
        pitch = np.clip(np.rad2deg(world.pitch_rad) + look, *PITCH_LIMITS_DEG)
        world.pitch_rad = float(np.deg2rad(pitch))
        return action == Action.PICK, action == Action.PLACE, blocked

    def _look(self) -> Frame:
        """The image of this step, drawn once."""
        if self._frame is None:
            if self._renderer is None:
                raise InvalidInput("house: wanted reset() first; the environment is closed or new")
            self._frame = self._renderer.render(self.world.T_world_camera)
        return self._frame

    def _observe(self) -> dict[str, Any]:
        frame, world = self._look(), self.world
        return {
            "rgb": frame.rgb.copy(),
            "depth": frame.depth.copy(),
            "segmentation": frame.segmentation.copy(),
            "pose": world.pose.astype(np.float32),
            "carrying": np.int64(world.held.instance_id if world.held else 0),
        }

    def _info(self, collided: bool) -> dict[str, Any]:
        world = self.world
        return {
            "T_world_camera": world.T_world_camera,
            "T_world_base": world.T_world_base,
            "camera": dataclasses.replace(self.camera),
            "labels": world.labels,
            "step": self._step,
            "room": world.room,
            "held": world.held.id if world.held else "",
            "collided": collided,
        }

    def _event(self, kind: str, item: Item | None) -> dict[str, Any]:
        if item is None:
            return {}
        names = {piece.id: piece.label for piece in self.furniture}
        return {
            "kind": kind,
            "object": item.id,
            "label": item.kind.label,
            "instance_id": item.instance_id,
            "support": item.support,
            "support_label": names.get(item.support, item.support),
            "room": item.room,
            "position": item.box.mean(axis=0),
        }
