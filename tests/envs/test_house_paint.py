"""Colours and labels of voxels in the house, where the truth is known: views that the map has not seen."""

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import gymnasium

from embodmem.config import SpatialConfig
from embodmem.geometry import backproject, transform_points
from embodmem.spatial.memory import SpatialMemory
from embodmem.store import Store
from embodmem_envs import HouseAdapter
from embodmem_envs.tour import Guide

CONFIG = SpatialConfig(voxel_size_m=0.05, colour=True, labels=True)
LOOKS = 150


def toured():
    """A memory of 9 in 10 looks of a tour, and the others."""
    env = gymnasium.make("EmbodMem/House-v0", width=160, height=120)
    adapter, memory, held_out = HouseAdapter(), SpatialMemory(Store(), CONFIG), []
    obs, info = env.reset(seed=3)
    for step, action in enumerate(Guide(env).tour()):
        percept = adapter.percept(obs, info)
        if step % 10 == 5:
            held_out.append(percept)
        else:
            memory.integrate(percept)
        obs, _, _, _, info = env.step(action)
        if step == LOOKS:
            break
    return memory, held_out


def test_views_that_were_not_seen_are_foretold():
    memory, held_out = toured()
    texts = np.array(memory.label_names.texts, dtype=object)
    right, named, errors = [], [], []
    for percept in held_out:
        rows, cols = np.nonzero((percept.depth > 0.3) & (percept.depth < 4.0))
        depth = percept.depth[rows, cols].astype(np.float64) + 0.002 * 0.05
        points = transform_points(percept.T_world_sensor, backproject(percept.camera, rows, cols, depth))
        known = memory.octree.occupancy(points) == 1  # it has seen that surface
        truth = np.array([percept.labels.get(i, "") for i in percept.segmentation[rows, cols].tolist()], dtype=object)
        said = texts[memory.octree.labels(points).label]
        real = known & (truth != "")
        right.append(said[real] == truth[real])
        # A voxel at the foot of a wall or a table holds both; away from those, what has no label got none.
        named.append((said == "")[known & (truth == "")])
        found = memory.octree.colours(points)
        coloured = known & (found.views > 0)
        assert coloured.sum() >= 0.97 * known.sum()
        errors.append(np.abs(found.rgb[coloured].astype(int) - percept.rgb[rows, cols][coloured]).mean(axis=1))
    right, named, errors = (np.concatenate(parts) for parts in (right, named, errors))
    assert len(right) > 5000 and right.mean() > 0.95
    assert named.mean() > 0.95
    # Light falls with the camera: the same place differs from view to view.
    assert np.median(errors) < 6 and errors.mean() < 10
