"""AI2-THOR (Kolve et al., arXiv:1712.05474, 2017): its frames, fields and actions."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import InvalidInput
from embodmem.types import Event, Percept, PinholeCamera, Pose
from embodmem_envs.thor_process import Player, SimulatorError

__all__ = ["ACTIONS", "SimulatorError", "ThorAdapter", "ThorEnv", "from_unity", "optical_from_unity"]

ACTIONS = ("MoveAhead", "MoveBack", "RotateLeft", "RotateRight", "LookUp", "LookDown", "Pass")
"""What the discrete actions of `ThorEnv` are; `ThorEnv.act` does any other."""
STRUCTURE = ("Floor", "Wall", "Ceiling", "Room")
"""Types of AI2-THOR's objects that are the building; they bear no instance id."""
_ROOMS = {0: "kitchen", 2: "living room", 3: "bedroom", 4: "bathroom"}
"""Hundreds of the number of an iTHOR scene ("FloorPlan201") -> its room."""


def from_unity(points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 3) of Unity's left-handed frame with y up in the world's right-handed one with z up, metres.

    Unity's x stays x, its z (ahead) becomes y, its y (up) becomes z.
    """
    return np.asarray(points, dtype=np.float64)[..., [0, 2, 1]]


def optical_from_unity(position: ArrayLike, yaw_deg: float, horizon_deg: float) -> Pose:
    """T_world_camera (4, 4) of the optical frame.

    Args:
        position: (3,) of the camera in Unity's frame, metres.
        yaw_deg: The agent's rotation about y, degrees: 0 looks along z, 90 along x.
        horizon_deg: How far the camera looks down, degrees.
    """
    yaw, down = np.deg2rad(yaw_deg), np.deg2rad(horizon_deg)
    ahead = np.array([np.sin(yaw) * np.cos(down), -np.sin(down), np.cos(yaw) * np.cos(down)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    pose = np.eye(4)
    forward, side = from_unity(ahead), from_unity(right)
    pose[:3, :3] = np.column_stack([side, np.cross(forward, side), forward])
    pose[:3, 3] = from_unity(position)
    return pose


class ThorAdapter:
    """The adapter of AI2-THOR, of `ThorEnv` and of a `Controller` of one's own.

    It reads ai2thor's event, from `info["event"]` or handed over as `obs`. Depth of `max_depth_m` or more is no return
    (that is AI2-THOR's far plane). Objects bear their type as label, in words ("coffee machine"), and a number made
    from their objectId, so that it is the same after a restart.

    Args:
        step_s: How long one step takes, seconds.
        max_depth_m: See above.
        agent: Name that percepts and events bear.
    """

    def __init__(self, step_s: float = 0.5, max_depth_m: float = 20.0, agent: str = "") -> None:
        if not (step_s > 0 and max_depth_m > 0):
            raise InvalidInput(f"thor adapter: wanted step_s > 0 and max_depth_m > 0, got {step_s} and {max_depth_m}")
        self.step_s, self.max_depth_m, self.agent = step_s, max_depth_m, agent
        self._numbers: dict[str, int] = {}
        self._taken: set[int] = {0}
        self._held: dict[str, str] = {}

    def stamp_ns(self, info: Mapping[str, Any]) -> int:
        """The time of step `info["step"]`, ns."""
        return round(int(_get(info, "step", "info")) * self.step_s * 1e9)

    def percept(self, obs: Any, info: Mapping[str, Any], stamp_ns: int | None = None) -> Percept:
        """What the agent's camera saw.

        Raises:
            InvalidInput: The event lacks a field, an image, or has one of another size.
        """
        event = _event_of(obs, info)
        data = event.metadata
        camera = _camera(data)
        depth = np.array(_image(event, "depth_frame", "renderDepthImage", camera), dtype=np.float32)
        depth[~(depth < self.max_depth_m)] = 0.0
        where, body = _get(data, "cameraPosition"), _get(data, "agent")
        ids, labels = self._instances(event, camera)
        return Percept(
            stamp_ns=self.stamp_ns(info) if stamp_ns is None else stamp_ns,
            T_world_sensor=optical_from_unity(
                _vector(where), float(_get(_get(body, "rotation"), "y")), float(_get(body, "cameraHorizon"))
            ),
            camera=camera,
            depth=depth,
            rgb=np.ascontiguousarray(_image(event, "frame", "renderImage", camera)),
            segmentation=ids,
            labels=labels,
            agent=self.agent,
        )

    def events(self, info: Mapping[str, Any], stamp_ns: int | None = None) -> tuple[Event, ...]:
        """What the agent took into its hand or let go since the last call."""
        data = _event_of(None, info).metadata
        held = {item["objectId"]: _words(item["objectType"]) for item in data.get("inventoryObjects") or ()}
        before, self._held = self._held, held
        if data.get("lastAction") in ("Initialize", "Reset"):
            return ()
        changes = [("place", "put down the", name) for key, name in before.items() if key not in held]
        changes += [("pick", "picked up the", name) for key, name in held.items() if key not in before]
        return tuple(
            Event(
                stamp_ns=self.stamp_ns(info) if stamp_ns is None else stamp_ns,
                kind=kind,
                text=f"{verb} {name}",
                T_world_body=_body(_get(data, "agent")),
                objects=(name,),
                outcome="done",
                source="robot",
                agent=self.agent,
            )
            for kind, verb, name in changes
        )

    def rooms(self, env: Any) -> Iterable[tuple[str, ArrayLike, ArrayLike]]:
        """The one room of an iTHOR scene, by its number and bounds; () for others."""
        data = env.unwrapped.event.metadata
        number, bounds = re.match(r"FloorPlan(\d+)", str(data.get("sceneName"))), data.get("sceneBounds")
        name = _ROOMS.get(int(number.group(1)) // 100) if number else None
        if name is None or not bounds:
            return ()
        centre, half = from_unity(_vector(bounds["center"])), from_unity(_vector(bounds["size"])) / 2
        return ((name, centre - half, centre + half),)

    def _instances(self, event: Any, camera: PinholeCamera) -> tuple[NDArray[np.int32], dict[int, str]]:
        """(H, W) instance ids and the labels of those in view."""
        image = _image(event, "instance_segmentation_frame", "renderInstanceSegmentation", camera)
        packed = image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
        colours, index = np.unique(packed, return_inverse=True)
        types = {o["objectId"]: o["objectType"] for o in _get(event.metadata, "objects")}
        ids, labels = np.zeros(len(colours), dtype=np.int32), {}
        for place, colour in enumerate(colours.tolist()):  # the few things in view
            name = event.color_to_object_id.get((colour >> 16, colour >> 8 & 255, colour & 255))
            kind = types.get(name)
            if kind is None or kind in STRUCTURE:
                continue
            ids[place] = self._number(name)
            labels[int(ids[place])] = _words(kind)
        return ids[index].reshape(camera.shape), labels

    def _number(self, name: str) -> int:
        """A number in 1..2^31 - 1 from the text of an objectId; the next free one where two texts give the same."""
        if name not in self._numbers:
            number = zlib.crc32(name.encode()) & 0x7FFFFFFF
            while number in self._taken:
                number = (number + 1) & 0x7FFFFFFF
            self._taken.add(number)
            self._numbers[name] = number
        return self._numbers[name]


class ThorEnv(gymnasium.Env[dict[str, Any], Any]):
    """AI2-THOR as a gymnasium environment, with colour, depth and instance masks.

    There is no task: the reward is always 0 and an episode is truncated after `max_steps`. Observations are a dict of
    rgb (H, W, 3) uint8, depth (H, W) float32 metres along +z, and pose (3,) float32 x, y in metres and yaw in radians
    in the world (z up). `info` holds `event` (ai2thor's, for `ThorAdapter`), `step` (counts on over resets) and
    `done` (whether the action succeeded).

    Args:
        scene: "FloorPlan1" or another scene of the build, or a ProcTHOR house as a dict.
        width: Columns of the images, px.
        height: Rows of the images, px.
        actions: AI2-THOR's actions that the discrete ones stand for.
        max_steps: Steps after which an episode is truncated.
        timeout_s: A player that gives no answer for so long is given up, seconds.
        **controller: Passed on to `ai2thor.controller.Controller`, such as local_executable_path, platform, gridSize,
            server_start_timeout.

    Raises:
        MissingDependency: ai2thor is not installed.
        SimulatorError: The player does not start, crashes, sends what is none of its fields, or gives no answer. The
            environment is of no use then; whatever was written to a memory is kept.
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        scene: str | Mapping[str, Any] = "FloorPlan1",
        width: int = 300,
        height: int = 300,
        actions: Sequence[str] = ACTIONS,
        max_steps: int = 500,
        timeout_s: float = 100.0,
        **controller: Any,
    ) -> None:
        if max_steps < 1 or not timeout_s > 0 or not actions:
            raise InvalidInput(
                f"thor: wanted max_steps >= 1, timeout_s > 0 and some actions, got {max_steps}, {timeout_s}, {actions}"
            )
        self.scene, self.actions, self.max_steps = scene, tuple(actions), max_steps
        settings = {"renderDepthImage": True, "renderInstanceSegmentation": True, **controller}
        self._player = Player(timeout_s, scene=scene, width=width, height=height, **settings)
        self.event: Any = self._player.event
        high = np.array([1e4, 1e4, np.pi], dtype=np.float32)
        self.observation_space = spaces.Dict(
            {
                "rgb": spaces.Box(0, 255, (height, width, 3), np.uint8),
                "depth": spaces.Box(0.0, np.inf, (height, width), np.float32),
                "pose": spaces.Box(-high, high, dtype=np.float32),
            }
        )
        self.action_space = spaces.Discrete(len(self.actions))
        self._step = self._elapsed = 0
        self._is_fresh = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Load the scene anew; `options` go to `Controller.reset`, such as {"scene": "FloorPlan2"}.

        AI2-THOR's physics has no seed: `seed` seeds only the environment's own generator.
        """
        super().reset(seed=seed)
        self._elapsed = 0
        if self._is_fresh and not options:
            self._is_fresh = False  # the controller has loaded it already
        else:
            self._step += 1
            given = {"scene": self.scene, **(options or {})}
            self.scene = given["scene"]
            self.event = self._player.reset(**given)
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One of `actions`, by its number."""
        if not self.action_space.contains(action):
            raise InvalidInput(f"thor: wanted an action of {self.action_space} for {self.actions}, got {action!r}")
        return self.act(self.actions[int(action)])

    def act(self, name: str, **arguments: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Any action of AI2-THOR with its arguments as one step, such as PickupObject with its objectId.

        Raises:
            InvalidInput: AI2-THOR knows no such action, or wants other arguments.
        """
        self._is_fresh = False
        self.event = self._player.step(name, **arguments)
        self._step += 1
        self._elapsed += 1
        return self._observe(), 0.0, False, self._elapsed >= self.max_steps, self._info()

    def close(self) -> None:
        """End the player."""
        self._player.close()

    def _observe(self) -> dict[str, Any]:
        event, data = self.event, self.event.metadata
        camera = _camera(data)
        body = _body(_get(data, "agent"))
        yaw = np.arctan2(body[1, 0], body[0, 0])
        return {
            "rgb": np.ascontiguousarray(_image(event, "frame", "renderImage", camera)),
            "depth": np.array(_image(event, "depth_frame", "renderDepthImage", camera), dtype=np.float32),
            "pose": np.array([*body[:2, 3], yaw], dtype=np.float32),
        }

    def _info(self) -> dict[str, Any]:
        return {"event": self.event, "step": self._step, "done": bool(self.event.metadata["lastActionSuccess"])}


def _event_of(obs: Any, info: Mapping[str, Any]) -> Any:
    event = obs if hasattr(obs, "metadata") else info.get("event")
    if not hasattr(event, "metadata"):
        raise InvalidInput(f"thor adapter: wanted ai2thor's event as obs or info['event'], got {type(event).__name__}")
    return event


def _camera(data: Mapping[str, Any]) -> PinholeCamera:
    """Unity gives the vertical field of view; pixels are square."""
    width, height = int(_get(data, "screenWidth")), int(_get(data, "screenHeight"))
    focal = height / 2 / np.tan(np.deg2rad(float(_get(data, "fov"))) / 2)
    return PinholeCamera(width=width, height=height, fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2)


def _image(event: Any, name: str, switch: str, camera: PinholeCamera) -> NDArray[Any]:
    image = getattr(event, name, None)
    if image is None:
        raise InvalidInput(
            f"thor adapter: wanted the image {name!r}, got none; start the Controller with {switch}=True"
        )
    if image.shape[:2] != camera.shape:
        raise InvalidInput(f"thor adapter: wanted {name!r} of {camera.shape} (H, W) px, got {image.shape}")
    return np.asarray(image)


def _get(values: Mapping[str, Any], key: str, where: str = "metadata") -> Any:
    if not isinstance(values, Mapping) or key not in values:
        has = sorted(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
        raise InvalidInput(f"thor adapter: wanted the field {key!r} in AI2-THOR's {where}, got {has}")
    return values[key]


def _vector(values: Mapping[str, Any]) -> list[float]:
    return [float(_get(values, axis)) for axis in "xyz"]


def _body(agent: Mapping[str, Any]) -> Pose:
    """(4, 4) the agent's frame: x ahead, y to its left, z up, where AI2-THOR says it stands."""
    yaw = np.deg2rad(float(_get(_get(agent, "rotation"), "y")))
    pose = np.eye(4)
    pose[:2, :2] = [[np.sin(yaw), -np.cos(yaw)], [np.cos(yaw), np.sin(yaw)]]
    pose[:3, 3] = from_unity(_vector(_get(agent, "position")))
    return pose


def _words(kind: str) -> str:
    """A type in words: "coffee machine" for "CoffeeMachine"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", kind).lower()
