"""The robot's eye: depth, instance segmentation and shaded colour by MuJoCo's ray caster, or by OpenGL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import EmbodmemError
from embodmem.types import PinholeCamera, Pose
from embodmem_envs.mjcf import CAMERA, CEILING_GROUP

_HIDDEN_GROUP = 5
_LIGHT = np.array([0.35, 0.2, 0.92]) / np.linalg.norm([0.35, 0.2, 0.92])
_FAR_M = 1e3


class RendererUnavailable(EmbodmemError, RuntimeError):
    """OpenGL was asked for and is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image: rgb (H, W, 3) uint8, depth (H, W) float32 metres along +z, segmentation (H, W) int32 instance ids."""

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    segmentation: NDArray[np.int32]


class Renderer(Protocol):
    """Draws what the robot's camera sees."""

    def render(self, T_world_camera: Pose) -> Frame:
        """The image from an optical frame in the world."""

    def close(self) -> None:
        """Free what it holds."""


def camera_of(width: int, height: int, fov_x_deg: float) -> PinholeCamera:
    """A camera with square pixels and its principal point in the middle of the image."""
    focal = width / 2 / np.tan(np.deg2rad(fov_x_deg) / 2)
    return PinholeCamera(width=width, height=height, fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2)


def normals_from_depth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W, 3) unit normals, towards either side, of an image of points (H, W, 3); where MuJoCo gives none."""
    normal = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    length = np.linalg.norm(normal, axis=2, keepdims=True)
    return np.asarray(normal / np.maximum(length, 1e-12))


def _colours(model: Any) -> NDArray[np.float64]:
    """(G, 3) colour of every geom: that of its material where it has one."""
    colours = np.array(model.geom_rgba[:, :3], dtype=np.float64)
    painted = model.geom_matid >= 0
    colours[painted] = model.mat_rgba[model.geom_matid[painted], :3]
    return colours


class RayRenderer:
    """Casts one ray a pixel with `mj_multiRay`; needs no OpenGL and no display.

    Args:
        mujoco: The package.
        model: The MjModel.
        data: Its MjData with positions up to date at every `render`.
        camera: Size and focal length.
        instance_ids: (G,) int32 instance id of every geom, 0 for walls, floor and ceiling.
        groups: Which of MuJoCo's geom groups are seen; by default the house without its robot.
        hidden: (G,) bool geoms that are not seen at all.
    """

    def __init__(
        self,
        mujoco: Any,
        model: Any,
        data: Any,
        camera: PinholeCamera,
        instance_ids: NDArray[np.int32],
        groups: Sequence[int] = (0, CEILING_GROUP),
        hidden: NDArray[np.bool_] | None = None,
    ) -> None:
        self._cast, self._model, self._data, self._camera = mujoco.mj_multiRay, model, data, camera
        # The argument for normals came during MuJoCo 3; whether it is there is told by the signature.
        self._has_normals = "normal:" in (mujoco.mj_multiRay.__doc__ or "")
        self._ids = instance_ids
        # The last row serves the index -1 of rays that hit nothing.
        self._colours = np.concatenate([_colours(model), [[0.0, 0.0, 0.0]]]).astype(np.float32)
        self._hidden = np.zeros(model.ngeom, dtype=np.bool_) if hidden is None else hidden
        self._floor = np.r_[(model.geom_bodyid == 0) & (model.geom_pos[:, 2] < 0.0), False]
        columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        rays = [(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones(camera.shape)]
        directions = np.stack(rays, axis=-1).reshape(-1, 3)
        self._slope = np.abs(directions[:, :2]).max(axis=0) + 1e-3
        self._rays = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        self._groups = np.zeros(6, dtype=np.uint8)
        self._groups[list(groups)] = 1

    def render(self, T_world_camera: Pose) -> Frame:
        """The image from an optical frame (4, 4) in the world."""
        count, shape = len(self._rays), self._camera.shape
        rays = self._rays @ T_world_camera[:3, :3].T
        hit, distance = np.empty(count, np.int32), np.empty(count)
        arguments = {"normal": np.zeros(3 * count)} if self._has_normals else {}
        shown = self._model.geom_group.copy()
        self._model.geom_group[self._hidden | self._outside(T_world_camera)] = _HIDDEN_GROUP
        try:
            self._cast(
                m=self._model, d=self._data, pnt=T_world_camera[:3, 3], vec=rays.reshape(-1), geomgroup=self._groups,
                flg_static=True, bodyexclude=-1, geomid=hit, dist=distance, nray=count, cutoff=_FAR_M, **arguments,
            )  # fmt: skip
        finally:
            self._model.geom_group[:] = shown
        distance = np.where(hit >= 0, distance, 0.0)
        depth = distance * self._rays[:, 2]  # along +z, not along the ray
        points = rays * distance[:, None] + T_world_camera[:3, 3]
        if self._has_normals:
            normals = arguments["normal"].reshape(-1, 3)
        else:
            normals = normals_from_depth(points.reshape(*shape, 3)).reshape(-1, 3)
        ids = np.append(self._ids, np.int32(0))[hit]
        rgb = self._shade(hit, points, rays, normals)
        return Frame(rgb.reshape(*shape, 3), depth.astype(np.float32).reshape(shape), ids.reshape(shape))

    def close(self) -> None:
        """Nothing to free."""

    def _outside(self, T_world_camera: Pose) -> NDArray[np.bool_]:
        """(G,) geoms whose bounding sphere lies outside the view: MuJoCo would test every ray against their bodies."""
        centre = (self._data.geom_xpos - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
        radius = self._model.geom_rbound
        aside = np.abs(centre[:, :2]) - self._slope * centre[:, 2:]
        beyond = (aside > radius[:, None] * np.sqrt(1.0 + self._slope**2)).any(axis=1)
        return np.asarray((beyond | (centre[:, 2] < -radius)) & (radius > 0))

    def _shade(
        self, hit: NDArray[np.int32], points: NDArray[Any], rays: NDArray[Any], normals: NDArray[Any]
    ) -> NDArray[np.uint8]:
        """Lambert's law with a lamp overhead, one at the camera, and light from all around; (N, 3) uint8."""
        normals, rays = normals.astype(np.float32), rays.astype(np.float32)
        facing = np.abs(np.einsum("ij,ij->i", normals, rays))
        away = np.where(np.einsum("ij,ij->i", normals, rays) > 0, -1.0, 1.0)
        overhead = np.maximum(normals @ _LIGHT.astype(np.float32) * away, 0.0)
        light = 0.50 + 0.36 * overhead + 0.26 * facing
        # Boards on the floor, so that there is something to see on it.
        board = np.floor(points[:, 0] / 0.4).astype(np.int32) + np.floor(points[:, 1] / 0.4).astype(np.int32)
        light *= np.where(self._floor[hit] & (board % 2 == 0), 0.93, 1.0)
        return np.asarray(np.minimum(self._colours[hit] * light[:, None] * 255.0, 255.0).astype(np.uint8))


class GLRenderer:
    """MuJoCo's OpenGL renderer, from the camera on the robot's mast.

    Raises:
        RendererUnavailable: No OpenGL context can be made here.
    """

    def __init__(
        self, mujoco: Any, model: Any, data: Any, camera: PinholeCamera, instance_ids: NDArray[np.int32]
    ) -> None:
        try:
            self._renderer = mujoco.Renderer(model, camera.height, camera.width)
        except Exception as error:  # every back-end of OpenGL fails in its own way
            raise RendererUnavailable(
                f"renderer='gl' found no OpenGL ({type(error).__name__}: {error}). Set MUJOCO_GL=egl before Python "
                f"starts (needs a GPU driver or Mesa: libegl1 and libgl1-mesa-dri), or MUJOCO_GL=osmesa (libosmesa6), "
                f"or start with a display; or take renderer='raycast', which needs none"
            ) from error
        self._data = data
        self._ids = np.append(instance_ids, np.int32(0))
        self._geom = int(mujoco.mjtObj.mjOBJ_GEOM)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[[0, CEILING_GROUP]] = 1

    def render(self, T_world_camera: Pose) -> Frame:
        """The image of the mast's camera, which stands at `T_world_camera`."""
        renderer = self._renderer
        renderer.update_scene(self._data, camera=CAMERA, scene_option=self._option)
        rgb = renderer.render().copy()
        renderer.enable_depth_rendering()
        depth = renderer.render().astype(np.float32)
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        hit = renderer.render()
        renderer.disable_segmentation_rendering()
        geom = np.where(hit[..., 1] == self._geom, hit[..., 0], -1)
        return Frame(rgb, depth, self._ids[geom])

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()
