"""habitat-sim 0.3 (Savva et al., ICCV 2019): its frames, its observations, and a Simulator as an environment.

habitat-sim has no wheel on the package index; it is installed by conda (see docs/simulators.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import EmbodmemError, InvalidInput, MissingDependency
from embodmem.geometry import pose_from_quat
from embodmem.types import Event, Percept, PinholeCamera, Pose
from embodmem_envs.render import camera_of

__all__ = [
    "ACTIONS",
    "HabitatAdapter",
    "HabitatEnv",
    "from_habitat",
    "import_habitat",
    "optical_from_habitat",
    "to_habitat",
]

ACTIONS = ("stop", "move_forward", "turn_left", "turn_right", "look_up", "look_down")
COLOR, DEPTH, SEMANTIC = "color_sensor", "depth_sensor", "semantic_sensor"
_WORLD_HABITAT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Rotation of habitat's frame (y up, -z to the front) into the world's (z up, y to the front)."""
_OPENGL_OPTICAL = np.diag([1.0, -1.0, -1.0])
"""An OpenGL camera looks along -z with y up, the optical frame along z with y down."""


def import_habitat() -> Any:
    """The habitat_sim package.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        import habitat_sim
    except ModuleNotFoundError as error:
        missing = MissingDependency("habitat-sim", "sim", "HabitatEnv")
        missing.msg = (  # what an ImportError shows
            "HabitatEnv needs habitat-sim, which is not installed and has no wheel: in a conda environment of Python "
            "3.10 to 3.12, conda install habitat-sim=0.3.4 headless withbullet -c conda-forge -c aihabitat, then "
            'pip install "embodmem[sim]"'
        )
        raise missing from error
    return habitat_sim


def from_habitat(points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 3) of habitat's frame in the world's, metres: (x, y, z) becomes (x, -z, y)."""
    return np.asarray(np.asarray(points, dtype=np.float64) @ _WORLD_HABITAT.T)


def to_habitat(points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 3) of the world's frame in habitat's, metres: (x, y, z) becomes (x, z, -y)."""
    return np.asarray(np.asarray(points, dtype=np.float64) @ _WORLD_HABITAT)


def optical_from_habitat(position: ArrayLike, quat_xyzw: ArrayLike) -> Pose:
    """T_world_camera (4, 4) of the optical frame from a sensor's state in habitat's frame.

    Args:
        position: (3,) metres.
        quat_xyzw: (4,) rotation of the OpenGL camera, in the order x, y, z, w.
    """
    pose = pose_from_quat(from_habitat(position), quat_xyzw)
    pose[:3, :3] = _WORLD_HABITAT @ pose[:3, :3] @ _OPENGL_OPTICAL
    return pose


class HabitatAdapter:
    """The adapter of habitat-sim, of `HabitatEnv` and of a `Simulator` of one's own.

    `obs` is habitat's dict of observations with colour (H, W, 3 or 4), depth (H, W) metres and, where there is one,
    semantic ids (H, W) under the names below; all three sensors stand in one place. `info["sensor"]` is the state of
    the depth sensor (`agent.get_state().sensor_states["depth_sensor"]`), `info["step"]` counts steps.

    Args:
        hfov_deg: Horizontal field of view of the sensors, degrees.
        labels: Semantic id -> label; ids that are left out are told as 0. `labels_of` reads those of a scene.
        step_s: How long one step takes, seconds.
        agent: Name that percepts and events bear.
    """

    def __init__(
        self, hfov_deg: float = 90.0, labels: Mapping[int, str] | None = None, step_s: float = 0.5, agent: str = ""
    ) -> None:
        if not (10 <= hfov_deg <= 150 and step_s > 0):
            raise InvalidInput(
                f"habitat adapter: wanted 10 <= hfov_deg <= 150 and step_s > 0, got {hfov_deg}, {step_s}"
            )
        self.hfov_deg, self.labels, self.step_s, self.agent = hfov_deg, dict(labels or {}), step_s, agent

    def stamp_ns(self, info: Mapping[str, Any]) -> int:
        """The time of step `info["step"]`, ns."""
        return round(int(_get(info, "step")) * self.step_s * 1e9)

    def percept(self, obs: Mapping[str, Any], info: Mapping[str, Any], stamp_ns: int | None = None) -> Percept:
        """What the agent's sensors saw."""
        depth = np.array(_get(obs, DEPTH), dtype=np.float32)
        depth[~np.isfinite(depth)] = 0.0
        camera = self.camera(*depth.shape[:2])
        sensor, ids = _get(info, "sensor"), None
        if SEMANTIC in obs:
            raw = np.asarray(obs[SEMANTIC])
            ids = np.where(np.isin(raw, list(self.labels)), raw, 0).astype(np.int32)
        turn = sensor.rotation
        return Percept(
            stamp_ns=self.stamp_ns(info) if stamp_ns is None else stamp_ns,
            T_world_sensor=optical_from_habitat(sensor.position, [turn.x, turn.y, turn.z, turn.w]),
            camera=camera,
            depth=depth,
            rgb=np.ascontiguousarray(_get(obs, COLOR)[..., :3]),
            segmentation=ids,
            labels=self.labels,
            agent=self.agent,
        )

    def camera(self, height: int, width: int) -> PinholeCamera:
        """The intrinsics of images of this size: square pixels, the principal point in the middle."""
        return camera_of(width, height, self.hfov_deg)

    def events(self, info: Mapping[str, Any], stamp_ns: int | None = None) -> tuple[Event, ...]:
        """(): habitat-sim tells of no acts."""
        return ()

    def rooms(self, env: Any) -> Iterable[tuple[str, ArrayLike, ArrayLike]]:
        """The regions of an annotated scene; () where there are none."""
        regions = getattr(getattr(env.unwrapped.sim, "semantic_scene", None), "regions", None) or ()
        found = []
        for region in regions:
            centre, size = _centre_and_size(region.aabb)
            half = size / 2
            ends = from_habitat(np.stack([centre - half, centre + half]))
            if region.category is not None and (half > 0).all():
                found.append((str(region.category.name()), ends.min(axis=0), ends.max(axis=0)))
        return tuple(found)


def _centre_and_size(aabb: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and size (3,) of a box, metres: Magnum's Range3D since habitat-sim 0.3.3, Eigen's before it."""
    if hasattr(aabb, "sizes"):
        return np.array(aabb.center, dtype=np.float64), np.array(aabb.sizes, dtype=np.float64)
    return np.array(aabb.center(), dtype=np.float64), np.array(aabb.size(), dtype=np.float64)


def labels_of(sim: Any) -> dict[int, str]:
    """Semantic id -> category of the objects of an annotated scene; {} where there is none."""
    found = getattr(sim.semantic_scene, "objects", None) or ()
    objects = [item for item in found if item is not None and item.category is not None]
    return {int(item.semantic_id): str(item.category.name()) for item in objects}


class HabitatEnv(gymnasium.Env[dict[str, Any], Any]):
    """One habitat-sim Simulator as a gymnasium environment. Make one a process: habitat-sim keeps one OpenGL context.

    There is no task: the reward is always 0 and an episode is truncated after `max_steps`. Observations are a dict of
    color_sensor (H, W, 3) uint8, depth_sensor (H, W) float32 metres and semantic_sensor (H, W) int32. `info` holds
    `sensor`, `step` (counts on over resets) and `collided`.

    Args:
        scene: A scene that habitat-sim reads (.glb, .stage_config.json), or what `house_to_glb` returned: then the
            things beside it are put in, with their semantic ids.
        width: Columns of the images, px.
        height: Rows of the images, px.
        hfov_deg: Horizontal field of view, degrees.
        eye_m: Height of the sensors over the floor, metres.
        gpu_device_id: The GPU that draws; -1 takes what EGL offers first, which is software where there is no GPU.
        max_steps: Steps after which an episode is truncated.

    Raises:
        MissingDependency: habitat-sim is not installed.
        InvalidInput: There is no such scene.
        EmbodmemError: habitat-sim cannot put a thing in, or finds no floor to walk on.
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        scene: str | os.PathLike[str],
        width: int = 160,
        height: int = 120,
        hfov_deg: float = 75.0,
        eye_m: float = 1.25,
        gpu_device_id: int = -1,
        max_steps: int = 500,
    ) -> None:
        self._habitat = habitat = import_habitat()
        path = Path(scene)
        if not path.is_file():
            raise InvalidInput(f"habitat: wanted a scene file, got {str(scene)!r}")
        self.hfov_deg, self.max_steps = hfov_deg, max_steps
        settings = habitat.SimulatorConfiguration()
        settings.scene_id = str(path)
        settings.gpu_device_id = gpu_device_id
        settings.enable_physics = True
        agent = habitat.agent.AgentConfiguration()
        agent.height, agent.radius = eye_m, 0.2
        agent.sensor_specifications = self._sensors(width, height, hfov_deg, eye_m)
        act, amount = habitat.agent.ActionSpec, habitat.agent.ActuationSpec
        sizes = {"move_forward": 0.25, "turn_left": 30.0, "turn_right": 30.0, "look_up": 15.0, "look_down": 15.0}
        agent.action_space = {name: act(name, amount(amount=size)) for name, size in sizes.items()}
        self.sim: Any = habitat.Simulator(habitat.Configuration(settings, [agent]))
        things = path.with_name("things.json")
        self.labels = self._furnish(things) if things.is_file() else labels_of(self.sim)
        self._make_navmesh(agent, path)
        self.action_space = spaces.Discrete(len(ACTIONS))
        self.observation_space = spaces.Dict(
            {
                COLOR: spaces.Box(0, 255, (height, width, 3), np.uint8),
                DEPTH: spaces.Box(0.0, np.inf, (height, width), np.float32),
                SEMANTIC: spaces.Box(0, 2**31 - 1, (height, width), np.int32),
            }
        )
        self._step = self._elapsed = 0

    def adapter(self, agent: str = "") -> HabitatAdapter:
        """The adapter with this environment's field of view and labels."""
        return HabitatAdapter(self.hfov_deg, self.labels, agent=agent)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Put the agent to a random place that it can stand at, or to `options={"position": (3,) world, metres}`."""
        super().reset(seed=seed)
        if seed is not None:
            self.sim.seed(seed)
            self.sim.pathfinder.seed(seed)
        self._elapsed = 0
        self._step += 1
        self.sim.reset()
        state = self._habitat.AgentState()
        given = (options or {}).get("position")
        point = self.sim.pathfinder.get_random_navigable_point() if given is None else to_habitat(given)
        state.position = np.asarray(point, dtype=np.float32)
        self.sim.get_agent(0).set_state(state)
        return self._observe(self.sim.get_sensor_observations()), self._info(False)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One of `ACTIONS`, by its number; "stop" stays."""
        if not self.action_space.contains(action):
            raise InvalidInput(f"habitat: wanted an action of {self.action_space} for {ACTIONS}, got {action!r}")
        name = ACTIONS[int(action)]
        raw = self.sim.get_sensor_observations() if name == "stop" else self.sim.step(name)
        self._step += 1
        self._elapsed += 1
        truncated = self._elapsed >= self.max_steps
        return self._observe(raw), 0.0, False, truncated, self._info(bool(raw.get("collided", False)))

    def geodesic(self, start: ArrayLike, goal: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """The shortest way on the navigation mesh.

        Args:
            start: (3,) world, metres.
            goal: (3,) world, metres.

        Returns:
            Its length in metres, infinite where there is none, and its corners (N, 3) in the world.
        """
        path = self._habitat.ShortestPath()
        path.requested_start = to_habitat(start).astype(np.float32)
        path.requested_end = to_habitat(goal).astype(np.float32)
        found = self.sim.pathfinder.find_path(path)
        points = from_habitat(np.array(path.points).reshape(-1, 3)) if found else np.zeros((0, 3))
        return (float(path.geodesic_distance) if found else float("inf")), points

    def close(self) -> None:
        """Free the Simulator."""
        self.sim.close()

    def _sensors(self, width: int, height: int, hfov_deg: float, eye_m: float) -> list[Any]:
        habitat, specs = self._habitat, []
        kinds = habitat.SensorType
        for name, kind in ((COLOR, kinds.COLOR), (DEPTH, kinds.DEPTH), (SEMANTIC, kinds.SEMANTIC)):
            spec = habitat.CameraSensorSpec()
            spec.uuid, spec.sensor_type = name, kind
            spec.resolution, spec.position, spec.hfov = [height, width], [0.0, eye_m, 0.0], hfov_deg
            spec.sensor_subtype = habitat.SensorSubType.PINHOLE
            specs.append(spec)
        return specs

    def _furnish(self, things: Path) -> dict[int, str]:
        """Put in the things of `house_to_glb`, which do not move; returns their labels."""
        templates, objects = self.sim.get_object_template_manager(), self.sim.get_rigid_object_manager()
        labels = {}
        for thing in json.loads(things.read_text()):
            template = templates.create_new_template(thing["id"])
            template.render_asset_handle = template.collision_asset_handle = str(things.parent / thing["file"])
            number = templates.register_template(template, thing["id"])
            item = objects.add_object_by_template_id(number)
            if item is None:
                raise EmbodmemError(f"habitat: habitat-sim could not put in {thing['file']}")
            # What is static does not move any more, so it is put in its place first.
            item.motion_type = self._habitat.physics.MotionType.KINEMATIC
            item.translation = to_habitat(thing["position"]).astype(np.float32)
            item.semantic_id = thing["instance_id"]
            item.motion_type = self._habitat.physics.MotionType.STATIC
            labels[int(thing["instance_id"])] = str(thing["label"])
        return labels

    def _make_navmesh(self, agent: Any, scene: Path) -> None:
        settings = self._habitat.NavMeshSettings()
        settings.set_defaults()
        settings.agent_height, settings.agent_radius = agent.height, agent.radius
        settings.include_static_objects = True
        if not self.sim.recompute_navmesh(self.sim.pathfinder, settings):
            raise EmbodmemError(f"habitat: habitat-sim finds no floor to walk on in {scene}; is its up the scene's up?")

    def _observe(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {
            COLOR: np.ascontiguousarray(raw[COLOR][..., :3]),
            DEPTH: np.array(raw[DEPTH], dtype=np.float32),
            SEMANTIC: np.asarray(raw[SEMANTIC]).astype(np.int32),
        }

    def _info(self, collided: bool) -> dict[str, Any]:
        sensor = self.sim.get_agent(0).get_state().sensor_states[DEPTH]
        return {"sensor": sensor, "step": self._step, "collided": collided}


def _get(values: Mapping[str, Any], key: str) -> Any:
    if not isinstance(values, Mapping) or key not in values:
        has = sorted(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
        raise InvalidInput(f"habitat adapter: wanted {key!r}, got {has}")
    return values[key]
