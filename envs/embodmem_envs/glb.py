"""The house as GLB files, for habitat-sim and whatever else reads glTF."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput, MissingDependency
from embodmem_envs.habitat import to_habitat
from embodmem_envs.house import HouseEnv
from embodmem_envs.mjcf import ROBOT_GROUP

THINGS = "things.json"


def house_to_glb(env: Any, path: str | os.PathLike[str]) -> Path:
    """Write an apartment as it is now into a folder.

    * `house.glb`: walls, floors and ceilings in the world's frame, z up, metres. That is not glTF's y up:
      `house.stage_config.json` beside it says so to habitat-sim by "up" and "front".
    * `things/ID.glb`: every piece of furniture and every object, turned as it stands, around the middle of its box, in
      glTF's and habitat's frame with y up.
    * `things.json`: a list of id, label, instance_id, file, and position, the middle of the box in the world, metres.

    Args:
        env: `EmbodMem/House-v0`, wrapped or not, after a reset.
        path: The folder; it is made where it is not there.

    Returns:
        The path of `house.stage_config.json`.

    Raises:
        InvalidInput: It is another environment.
        MissingDependency: trimesh is not installed.
    """
    try:
        import trimesh
    except ModuleNotFoundError as error:
        raise MissingDependency("trimesh", "sim", "house_to_glb") from error
    house = getattr(env, "unwrapped", env)
    if not isinstance(house, HouseEnv):
        raise InvalidInput(f"glb: wanted EmbodMem/House-v0, got {house!r}")
    world, folder = house.world, Path(path)
    (folder / "things").mkdir(parents=True, exist_ok=True)
    by_body: dict[int, list[Any]] = {}
    for geom in np.flatnonzero(world.model.geom_group != ROBOT_GROUP):
        by_body.setdefault(int(world.model.geom_bodyid[geom]), []).append(_mesh(trimesh, world, int(geom)))
    trimesh.Scene(by_body.pop(0)).export(str(folder / "house.glb"))
    stage = {"render_asset": "house.glb", "up": [0.0, 0.0, 1.0], "front": [0.0, 1.0, 0.0], "units_to_meters": 1.0}
    config = folder / "house.stage_config.json"
    config.write_text(json.dumps(stage, indent=1) + "\n")
    ids, labels, things = world.instance_ids(), world.labels, []
    for body, meshes in by_body.items():
        name = world.model.body(body).name
        number = int(ids[np.flatnonzero(world.model.geom_bodyid == body)[0]])
        scene = trimesh.Scene(meshes)
        middle = np.asarray(scene.bounds).mean(axis=0)
        for mesh in meshes:
            mesh.vertices = to_habitat(np.asarray(mesh.vertices) - middle)
        file = f"things/{name}.glb"
        trimesh.Scene(meshes).export(str(folder / file))
        thing = {"id": name, "label": labels[number], "instance_id": number, "file": file}
        things.append({**thing, "position": middle.tolist()})
    (folder / THINGS).write_text(json.dumps(things, indent=1) + "\n")
    return config


def _mesh(trimesh: Any, world: Any, geom: int) -> Any:
    """One geom as a coloured mesh in the world."""
    mujoco, model, data = world.mujoco, world.model, world.data
    kind, size = int(model.geom_type[geom]), np.array(model.geom_size[geom])
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        mesh = trimesh.creation.box(extents=2 * size)
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        mesh = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=32)
    elif kind in (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_ELLIPSOID):
        mesh = trimesh.creation.icosphere(subdivisions=3)
        mesh.vertices = np.asarray(mesh.vertices) * (size if size[1] else size[0])
    else:
        raise InvalidInput(f"glb: wanted boxes, cylinders, spheres and ellipsoids, got a geom of type {kind}")
    place: NDArray[np.float64] = np.eye(4)
    place[:3, :3], place[:3, 3] = data.geom_xmat[geom].reshape(3, 3), data.geom_xpos[geom]
    mesh.apply_transform(place)
    colour = [*model.geom_rgba[geom, :3].tolist(), 1.0]
    paint = trimesh.visual.material.PBRMaterial(baseColorFactor=colour, metallicFactor=0.0, roughnessFactor=1.0)
    mesh.visual = trimesh.visual.TextureVisuals(material=paint)
    return mesh
