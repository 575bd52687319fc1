"""The apartment as a MuJoCo model: walls and furniture fixed, objects and the robot as mocap bodies."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import Any

import numpy as np

from embodmem.errors import EmbodmemError, MissingDependency
from embodmem_envs.catalogue import RGB, Part
from embodmem_envs.layout import HEIGHT_M, ROBOT_RADIUS_M, WALL_M, Layout
from embodmem_envs.placing import Items

CEILING_GROUP = 1
ROBOT_GROUP = 2
CAMERA = "mast"
SKY: RGB = (0.62, 0.80, 0.95)

_FLOORS: dict[str, RGB] = {
    "kitchen": (0.74, 0.72, 0.68),
    "living room": (0.70, 0.54, 0.38),
    "bedroom": (0.60, 0.56, 0.58),
    "bathroom": (0.58, 0.68, 0.72),
    "office": (0.52, 0.55, 0.50),
    "hall": (0.66, 0.50, 0.34),
}
_WALL: RGB = (0.88, 0.86, 0.80)


def import_mujoco() -> Any:
    """The mujoco package.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise MissingDependency("mujoco", "envs", "the environment EmbodMem/House-v0") from error
    except Exception as error:  # MUJOCO_GL names a library of OpenGL that is broken or not there
        raise EmbodmemError(
            f"mujoco cannot be imported with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r} "
            f"({type(error).__name__}: {error}); unset MUJOCO_GL for renderer='raycast', which needs no OpenGL"
        ) from error
    return mujoco


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{float(value):.6f}" for value in values)


def _geom(parent: ET.Element, kind: str, half: Any, centre: Any, rgb: RGB, group: int = 0) -> None:
    size = (half[0], half[2]) if kind == "cylinder" else half
    ET.SubElement(
        parent, "geom", type=kind, size=_numbers(size), pos=_numbers(centre), rgba=_numbers((*rgb, 1.0)),
        group=str(group), contype="0", conaffinity="0",
    )  # fmt: skip


def _box(parent: ET.Element, low: Any, high: Any, rgb: RGB, group: int = 0) -> None:
    low, high = np.asarray(low), np.asarray(high)
    _geom(parent, "box", (high - low) / 2, (high + low) / 2, rgb, group)


def _parts(parent: ET.Element, parts: Iterable[Part], rgb: RGB) -> None:
    for part in parts:
        _geom(parent, part.kind, part.half, part.offset, part.rgb or rgb)


def quat_about_z(yaw_rad: float) -> tuple[float, float, float, float]:
    """MuJoCo's quaternion (w, x, y, z) of a turn about z."""
    return (float(np.cos(yaw_rad / 2)), 0.0, 0.0, float(np.sin(yaw_rad / 2)))


def make_xml(layout: Layout, items: Items, fov_y_deg: float) -> str:
    """The model as MJCF. Every body is named by the id of what it is; the camera "mast" rides on the body "robot"."""
    root = ET.Element("mujoco", model=f"house_{layout.seed}")
    visual = ET.SubElement(root, "visual")
    ET.SubElement(visual, "headlight", ambient="0.45 0.45 0.45", diffuse="0.5 0.5 0.5", specular="0 0 0")
    ET.SubElement(visual, "global", offwidth="1920", offheight="1080")
    ET.SubElement(visual, "map", znear="0.002", zfar="10")
    world = ET.SubElement(root, "worldbody")
    for room in layout.rooms:
        half = np.array([WALL_M / 2, WALL_M / 2, 0.0])
        low, high = room.lower - half, room.upper + half
        _box(world, (*low[:2], -0.1), (*high[:2], 0.0), _FLOORS[room.name])
        _box(world, (*low[:2], HEIGHT_M), (*high[:2], HEIGHT_M + 0.1), (0.95, 0.95, 0.94), CEILING_GROUP)
    for low, high in layout.walls:
        _box(world, low, high, _WALL)
    for low, high in _windows(layout):
        _box(world, low, high, SKY)
    for piece in layout.furniture:
        body = ET.SubElement(
            world, "body", name=piece.id, pos=_numbers(piece.origin), quat=_numbers(quat_about_z(piece.yaw_rad))
        )
        _parts(body, piece.kind.parts, (0.5, 0.5, 0.5))
    for item in items.values():
        body = ET.SubElement(world, "body", name=item.id, mocap="true")
        _parts(body, item.kind.parts, item.rgb)
    robot = ET.SubElement(world, "body", name="robot", mocap="true")
    ET.SubElement(robot, "camera", name=CAMERA, fovy=f"{fov_y_deg:.6f}")
    _geom(robot, "cylinder", (ROBOT_RADIUS_M, ROBOT_RADIUS_M, 0.1), (0, 0, 0.1), (0.2, 0.3, 0.8), ROBOT_GROUP)
    _geom(robot, "cylinder", (0.03, 0.03, 0.5), (0, 0, 0.7), (0.3, 0.3, 0.3), ROBOT_GROUP)
    _geom(robot, "box", (0.06, 0.03, 0.02), (0.16, 0, 0.21), (0.9, 0.5, 0.1), ROBOT_GROUP)
    return ET.tostring(root, encoding="unicode")


def _windows(layout: Layout) -> list[tuple[Any, Any]]:
    """A pane on every outer wall of every room but the hall; painted on, since nothing stands outside."""
    panes = []
    for room in layout.rooms:
        middle = (room.lower + room.upper) / 2
        for axis in (0, 1):
            for at, edge in ((room.lower, layout.lower + WALL_M), (room.upper, layout.upper - WALL_M)):
                if room.name == "hall" or abs(at[axis] - edge[axis]) > 0.02:
                    continue
                low, high = np.array([*middle[:2], 1.1]), np.array([*middle[:2], 2.0])
                low[axis], high[axis] = at[axis] - 0.005, at[axis] + 0.005
                low[1 - axis] -= 0.6
                high[1 - axis] += 0.6
                panes.append((low, high))
    return panes
