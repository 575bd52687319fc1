"""Any MuJoCo model with a camera: depth, segmentation and colour by the ray caster, so without OpenGL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embodmem.errors import InvalidInput
from embodmem.types import Event, Percept, PinholeCamera
from embodmem_envs.adapter import optical_from_mujoco
from embodmem_envs.mjcf import import_mujoco
from embodmem_envs.render import RayRenderer, camera_of


class MujocoAdapter:
    """The adapter of environments that hold a MuJoCo model, such as gymnasium's own.

    Things are the bodies that hang on the world, each with all that hangs on it, and bear the body's name; geoms of
    the world itself (the floor) have the number 0. Seen are the geoms that MuJoCo's viewer shows by default (groups 0
    to 2).

    Args:
        env: An environment whose `unwrapped` has MuJoCo's `model` and `data`.
        camera: Name of a camera of the model.
        width: Columns of the images, px.
        height: Rows of the images, px.
        labels: Body name -> label; bodies that are left out are called by their names.
        hidden: Names of bodies on the world that are not seen and not told of, such as the robot itself.
        agent: Name that percepts and events bear.

    Raises:
        InvalidInput: There is no such model, camera or body, or the camera is orthographic.
        MissingDependency: MuJoCo is not installed.
    """

    def __init__(
        self,
        env: Any,
        camera: str,
        *,
        width: int = 160,
        height: int = 120,
        labels: Mapping[str, str] | None = None,
        hidden: Iterable[str] = (),
        agent: str = "",
    ) -> None:
        mujoco = import_mujoco()
        inner = getattr(env, "unwrapped", env)
        model, data = getattr(inner, "model", None), getattr(inner, "data", None)
        if not isinstance(model, mujoco.MjModel) or not isinstance(data, mujoco.MjData):
            raise InvalidInput(f"mujoco adapter: wanted an environment with MuJoCo's model and data, got {inner!r}")
        cameras = [model.camera(index).name for index in range(model.ncam)]
        if camera not in cameras:
            raise InvalidInput(f"mujoco adapter: wanted one of the model's cameras {cameras}, got {camera!r}")
        names = [model.body(body).name for body in range(model.nbody)]
        unknown = sorted({*(labels or {}), *hidden} - set(names))
        if unknown:
            raise InvalidInput(f"mujoco adapter: wanted bodies of {names}, got {unknown}")
        number = cameras.index(camera)
        # Newer MuJoCo has `cam_projection` (0 is perspective), older `cam_orthographic`.
        flat = getattr(model, "cam_projection", getattr(model, "cam_orthographic", np.zeros(model.ncam)))
        if int(flat[number]):
            raise InvalidInput(f"mujoco adapter: wanted a camera with perspective, got the orthographic {camera!r}")
        self.agent = agent
        self._model, self._data, self._name = model, data, camera
        fov_y = np.deg2rad(float(model.cam_fovy[cameras.index(camera)]))
        self.camera: PinholeCamera = camera_of(
            width, height, float(np.rad2deg(2 * np.arctan(np.tan(fov_y / 2) * width / height)))
        )
        roots = np.asarray(model.body_rootid)
        out = [names.index(name) for name in hidden]
        ids = np.where(np.isin(roots, out), 0, roots).astype(np.int32)
        self._labels = {
            int(root): (labels or {}).get(names[root], names[root] or f"body {root}") for root in np.unique(ids) if root
        }
        geoms = ids[model.geom_bodyid]
        unseen = np.isin(roots[model.geom_bodyid], out)
        self._renderer = RayRenderer(mujoco, model, data, self.camera, geoms, groups=(0, 1, 2), hidden=unseen)

    def stamp_ns(self, info: Mapping[str, Any]) -> int:
        """The simulation's time, ns; 0 at the begin of an episode."""
        return round(float(self._data.time) * 1e9)

    def percept(self, obs: Any, info: Mapping[str, Any], stamp_ns: int | None = None) -> Percept:
        """What the camera sees now; `obs` and `info` are not read."""
        view = self._data.camera(self._name)
        pose = optical_from_mujoco(view.xpos, view.xmat)
        frame = self._renderer.render(pose)
        return Percept(
            stamp_ns=self.stamp_ns(info) if stamp_ns is None else stamp_ns,
            T_world_sensor=pose,
            camera=self.camera,
            depth=frame.depth,
            rgb=frame.rgb,
            segmentation=frame.segmentation,
            labels=self._labels,
            agent=self.agent,
        )

    def events(self, info: Mapping[str, Any], stamp_ns: int | None = None) -> tuple[Event, ...]:
        """(): a model tells of no acts."""
        return ()

    def rooms(self, env: Any) -> Iterable[tuple[str, ArrayLike, ArrayLike]]:
        """(): a model names no rooms."""
        return ()
