"""The scene core on a real recording: 17 hand-labelled objects, noisy boxes, real depth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embodmem.spatial.scene.graph import SceneGraph
from embodmem.types import Detection, Percept, PinholeCamera
from tests.embodmem.spatial.kitchen_objects import KITCHEN

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "seven_scenes_kitchen"
pytestmark = pytest.mark.skipif(not (DATA / "detections.json").exists(), reason="the kitchen recording is not here")
CAMERA = PinholeCamera(width=640, height=480, fx=525.0, fy=525.0, cx=320.0, cy=240.0)


@pytest.fixture(scope="module")
def percepts() -> list[Percept]:
    from PIL import Image

    T_world_scene = np.loadtxt(DATA / "T_world_scene.txt")
    made = []
    for frame, found in sorted(json.loads((DATA / "detections.json").read_text()).items()):
        detections = [Detection(label=d["label"], score=d["score"], box=np.array(d["box"])) for d in found]
        made.append(
            Percept(
                stamp_ns=int(frame) * 33_000_000,
                T_world_sensor=T_world_scene @ np.loadtxt(DATA / f"frame-{frame}.pose.txt"),
                camera=CAMERA,
                depth=np.asarray(Image.open(DATA / f"frame-{frame}.depth.png")).astype(np.uint16),
                detections=tuple(detections),
            )
        )
    return made


@pytest.fixture(scope="module")
def graph(percepts: list[Percept]) -> SceneGraph:
    graph = SceneGraph()
    for percept in percepts:
        graph.observe(percept)
    return graph


@pytest.mark.parametrize("truth", KITCHEN, ids=lambda truth: truth.name)
def test_every_object_is_exactly_one_node(graph: SceneGraph, truth) -> None:
    nodes = graph.with_label(truth.label)
    near = [n for n in nodes if np.linalg.norm(n.position - truth.position) <= 0.20]
    assert len(near) == 1, [n.position for n in nodes]
    assert np.linalg.norm(near[0].position - truth.picked) <= 0.20
    assert near[0].size < truth.size_m + 0.15
    assert near[0].sightings >= 15


def test_nothing_else_is_reported(graph: SceneGraph) -> None:
    assert len(graph.nodes(absent=True)) == len(KITCHEN)


def test_every_detection_is_used_once(graph: SceneGraph, percepts: list[Percept]) -> None:
    everything = graph.nodes(absent=True, tentative=True)
    assert sum(n.sightings for n in everything) == sum(len(p.detections) for p in percepts)


@pytest.mark.parametrize("order", ["backwards", "every other", "twice"])
def test_the_same_objects_from_another_tour(percepts: list[Percept], order: str) -> None:
    tour = {"backwards": percepts[::-1], "every other": percepts[1::2], "twice": percepts + percepts}[order]
    graph = SceneGraph()
    for percept in tour:
        graph.observe(percept)
    nodes = graph.nodes(absent=True)
    assert len(nodes) == len(KITCHEN)
    for truth in KITCHEN:
        assert sum(np.linalg.norm(n.position - truth.position) <= 0.20 for n in nodes if n.label == truth.label) == 1


def test_the_magazine_and_mugs_stand_on_no_chair(graph: SceneGraph) -> None:
    labels = {n.id: n.label for n in graph.nodes()}
    assert not [r for r in graph.relations() if labels[r[2]] in ("chair", "mug", "mouse")]
