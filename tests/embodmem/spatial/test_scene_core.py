"""Objects from percepts of a rendered room: add, place, merge, move, vanish."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import SceneConfig
from embodmem.errors import ConfigError, InvalidInput
from embodmem.spatial.scene.graph import ObjectNode, SceneGraph
from embodmem.spatial.scene.lift import lift
from embodmem.types import Percept
from tests.embodmem.spatial.scene_room import CAMERA, Box, eyes, percept, room

MUG, CUP, BALL = 10, 11, 12


def furnished() -> dict[int, Box]:
    """Two mugs 0.3 m apart and a ball of 12 cm on the table."""
    return room() | {
        MUG: Box("mug", (-0.3, 1.0, 0.80), (0.09, 0.09, 0.10)),
        CUP: Box("mug", (0.0, 1.0, 0.80), (0.09, 0.09, 0.10)),
        BALL: Box("ball", (0.45, 0.9, 0.81), (0.12, 0.12, 0.12)),
    }


def watch(graph: SceneGraph, boxes, kind: str, start: int, n: int, skip=(), **where):
    """Look n times; the changes of each look."""
    places = [where["eye"]] * n if "eye" in where else eyes(n)
    return [graph.observe(percept(boxes, start + i, kind, eye=eye, skip=skip)) for i, eye in enumerate(places)]


def one(graph: SceneGraph, label: str) -> ObjectNode:
    nodes = graph.with_label(label)
    assert len(nodes) == 1, [(n.label, n.position) for n in nodes]
    return nodes[0]


@pytest.mark.parametrize("kind", ["box", "mask", "ids", "segmentation"])
def test_each_object_becomes_one_node_at_its_place(kind: str) -> None:
    boxes, graph = furnished(), SceneGraph()
    changes = watch(graph, boxes, kind, 0, 8)
    nodes = graph.nodes()
    assert sorted(n.label for n in nodes) == ["ball", "mug", "mug", "table"]
    assert sorted(i for c in changes for i in c.added) == [n.id for n in nodes]
    for id in (MUG, CUP, BALL):
        near = graph.nearest(boxes[id].centre, label=boxes[id].label)[0]
        # A box is placed on the near surface, which lies up to half its depth before the middle.
        assert np.linalg.norm(near.position - boxes[id].centre) < 0.07
        assert near.sightings == 8 and near.first_seen_ns == 0 and near.last_seen_ns == 700_000_000


@pytest.mark.parametrize("kind", ["mask", "segmentation"])
def test_masks_give_the_true_extent(kind: str) -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, kind, 0, 10)
    for id in (MUG, BALL, 4):
        node = graph.nearest(boxes[id].centre, label=boxes[id].label)[0]
        # The lowest rows of a face blend into the table's, and its underside is never seen.
        np.testing.assert_allclose(node.upper, boxes[id].upper, atol=0.03)
        np.testing.assert_allclose(node.lower[:2], boxes[id].lower[:2], atol=0.03)


def test_objects_stand_on_the_table() -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, "segmentation", 0, 6)
    table = one(graph, "table").id
    assert sorted(graph.relations()) == sorted((n.id, "on", table) for n in graph.nodes() if n.id != table)


def test_an_object_seen_too_seldom_is_not_reported() -> None:
    boxes, graph = furnished(), SceneGraph(SceneConfig(min_sightings=4))
    changes = watch(graph, boxes, "box", 0, 3)
    assert graph.nodes() == [] and not any(c.added or c.updated for c in changes)
    assert len(graph.nodes(tentative=True)) == 4
    assert len(watch(graph, boxes, "box", 3, 1)[0].added) == 4


def test_a_false_detection_is_dropped() -> None:
    boxes = furnished()
    ghost = boxes | {99: Box("vase", (-0.6, 1.0, 0.77), (0.1, 0.1, 0.04))}
    graph = SceneGraph()
    watch(graph, ghost, "box", 0, 2)
    assert "vase" in [n.label for n in graph.nodes(tentative=True)]
    watch(graph, boxes, "box", 2, 8)
    assert "vase" not in [n.label for n in graph.nodes(tentative=True)]
    assert len(graph.nodes()) == 4


@pytest.mark.parametrize("kind", ["ids", "segmentation"])
def test_a_known_instance_elsewhere_has_moved(kind: str) -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, kind, 0, 5)
    ball = one(graph, "ball")
    old = ball.position
    boxes[BALL].centre = np.array([-0.6, 1.2, 0.81])
    changes = watch(graph, boxes, kind, 5, 1)[0]
    assert [m[0] for m in changes.moved] == [ball.id] and not changes.added
    np.testing.assert_array_equal(changes.moved[0][1], old)
    np.testing.assert_allclose(changes.moved[0][2], boxes[BALL].centre, atol=0.07)
    assert one(graph, "ball").id == ball.id and ball.sightings == 6


def test_a_nudged_instance_is_followed_without_a_move() -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, "segmentation", 0, 6)
    for step in range(12):
        boxes[BALL].centre[0] -= 0.05
        changes = watch(graph, boxes, "segmentation", 6 + step, 1, eye=(0, -1.2, 1.6))[0]
        assert not changes.moved
        assert abs(one(graph, "ball").position[0] - boxes[BALL].centre[0]) < 0.09
        assert one(graph, "ball").size < 0.2


def test_a_large_instance_seen_in_parts_has_not_moved() -> None:
    boxes, graph = room(), SceneGraph(SceneConfig(min_sightings=1))
    changes = []
    for step, x in enumerate((-1.2, -0.8, 0.0, 0.9, 1.3, -1.2)):
        changes.append(graph.observe(percept(boxes, step, "segmentation", eye=(x, -0.2, 1.4), target=(x, 1, 0.75))))
    assert not any(c.moved for c in changes)
    table = one(graph, "table")
    np.testing.assert_allclose(table.upper[:2] - table.lower[:2], [1.6, 0.8], atol=0.1)


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_what_is_gone_vanishes_and_turns_up_as_itself(kind: str) -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, kind, 0, 5)
    ball = one(graph, "ball")
    old = ball.position
    without = {id: box for id, box in boxes.items() if id != BALL}
    changes = watch(graph, without, kind, 5, 8)
    assert [i for c in changes for i in c.vanished] == [ball.id]
    assert graph.with_label("ball") == [] and not ball.present
    assert ball in graph.nodes(absent=True)
    boxes[BALL].centre = np.array([-0.6, 1.2, 0.81])
    changes = watch(graph, boxes, kind, 13, 5)
    moves = [m for c in changes for m in c.moved]
    assert [m[0] for m in moves] == [ball.id] and not any(c.added for c in changes)
    np.testing.assert_array_equal(moves[0][1], old)
    found = one(graph, "ball")
    assert found is ball and found.present and found.first_seen_ns == 0 and found.sightings == 10
    np.testing.assert_allclose(found.position, boxes[BALL].centre, atol=0.07)


def test_what_comes_back_to_its_place_is_itself() -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, "box", 0, 5)
    ball = one(graph, "ball")
    watch(graph, {id: box for id, box in boxes.items() if id != BALL}, "box", 5, 8)
    assert not ball.present
    changes = watch(graph, boxes, "box", 13, 3)
    assert one(graph, "ball") is ball and not any(c.added or c.moved for c in changes)


def test_what_is_hidden_or_only_missed_stays() -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, "box", 0, 5)
    ids = [n.id for n in graph.nodes()]
    # The detector is blind to the ball, which stands in plain view.
    assert not any(c.vanished for c in watch(graph, boxes, "box", 5, 10, skip=(BALL,)))
    # A screen hides everything.
    screen = boxes | {50: Box("", (0, 0.2, 1.0), (4, 0.02, 2.0))}
    assert not any(c.vanished for c in watch(graph, screen, "box", 15, 10))
    assert [n.id for n in graph.nodes()] == ids


def test_another_object_of_another_size_is_not_the_vanished_one() -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, "mask", 0, 5)
    ball = one(graph, "ball")
    del boxes[BALL]
    watch(graph, boxes, "mask", 5, 8)
    boxes[20] = Box("ball", (-0.55, 1.1, 0.93), (0.36, 0.36, 0.36))
    changes = watch(graph, boxes, "mask", 13, 5)
    assert len([i for c in changes for i in c.added]) == 1 and not any(c.moved for c in changes)
    assert one(graph, "ball") is not ball and not ball.present


def test_parts_that_turn_out_to_be_one_are_merged() -> None:
    shelf = room() | {30: Box("shelf", (0, 2.0, 1.0), (2.4, 0.3, 0.3))}
    del shelf[4]
    graph = SceneGraph()
    changes = []
    step = 0
    for x in (-0.9, 0.9):
        for _ in range(4):
            step += 1
            eye, target = (x, 0.9 + 0.02 * step, 1.3), (x, 2.0, 1.0)
            changes.append(graph.observe(percept(shelf, step, "mask", eye=eye, target=target)))
    for i in range(8):
        eye = (-0.4 + 0.1 * i, -1.5, 1.5)
        changes.append(graph.observe(percept(shelf, step + 1 + i, "mask", eye=eye, target=(0, 2, 1))))
    added = [i for c in changes for i in c.added]
    merged = [m for c in changes for m in c.merged]
    node = one(graph, "shelf")
    assert len(added) == 2 and merged == [(added[0], added[1])]
    assert node.id == added[0] and node.sightings == 16
    np.testing.assert_allclose(node.upper[0] - node.lower[0], 2.4, atol=0.1)


def test_embeddings_keep_apart_what_stands_close() -> None:
    axes = np.eye(4, dtype=np.float32)

    def pair(gap: float) -> dict[int, Box]:
        return room() | {
            21: Box("book", (-gap / 2, 1.0, 0.85), (0.05, 0.15, 0.2), embedding=axes[0]),
            22: Box("book", (gap / 2, 1.0, 0.85), (0.05, 0.15, 0.2), embedding=-axes[0]),
        }

    graph = SceneGraph()
    boxes = pair(0.09)
    for step, eye in enumerate(eyes(6)):
        # Only one of the two is detected at a time, so that nothing but the embedding tells them apart.
        graph.observe(percept(boxes, step, "box", eye=eye, skip=(21 if step % 2 else 22, 4)))
    nodes = graph.with_label("book")
    assert len(nodes) == 2
    assert {round(float(n.embedding[0])) for n in nodes} == {-1, 1}


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_detections_does_not_matter(random) -> None:
    boxes = furnished()
    first, second = SceneGraph(), SceneGraph()
    for step, eye in enumerate(eyes(4)):
        look = percept(boxes, step, "box", eye=eye)
        mixed = list(look.detections)
        random.shuffle(mixed)
        first.observe(look)
        second.observe(dataclasses.replace(look, detections=tuple(mixed)))
    assert first.to_dict() == second.to_dict()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.floats(0.0, 3.0), st.integers(0, 2**16))
def test_no_detection_is_used_twice(copies: int, jitter: float, seed: int) -> None:
    boxes, rng = furnished(), np.random.default_rng(seed)
    graph, total = SceneGraph(SceneConfig(tentative_misses=99)), 0
    for step, eye in enumerate(eyes(4)):
        look = percept(boxes, step, "box", eye=eye)
        noisy = []
        for detection in look.detections * copies:
            box = detection.box + rng.uniform(-jitter, jitter, 4)
            noisy.append(dataclasses.replace(detection, box=np.r_[box[:2], np.maximum(box[2:], box[:2] + 1)]))
        look = dataclasses.replace(look, detections=tuple(noisy))
        total += len(lift(look, graph.config))
        graph.observe(look)
    assert sum(n.sightings for n in graph.nodes(absent=True, tentative=True)) == total


@pytest.mark.parametrize("kind", ["box", "segmentation"])
def test_a_scene_survives_json_exactly(kind: str) -> None:
    boxes, graph = furnished(), SceneGraph()
    boxes[MUG].embedding = np.ones(3, dtype=np.float32)
    graph.add_room("kitchen", (-3, -3, 0), (3, 3, 3))
    watch(graph, boxes, kind, 0, 5)
    values = json.loads(json.dumps(graph.to_dict()))
    again = SceneGraph()
    again.load_dict(values)
    assert again.to_dict() == graph.to_dict() == values
    node = ObjectNode.from_dict(json.loads(json.dumps(graph.nodes()[0].to_dict())))
    np.testing.assert_array_equal(node.position, graph.nodes()[0].position)
    # What was restored goes on exactly as what was not.
    watch(graph, boxes, kind, 5, 4)
    watch(again, boxes, kind, 5, 4)
    assert again.to_dict() == graph.to_dict()


def test_memory_per_object_is_bounded() -> None:
    boxes, graph = furnished(), SceneGraph(SceneConfig(max_views=6))
    watch(graph, boxes, "box", 0, 20)
    assert max(len(n.views) for n in graph.nodes()) == 6
    assert all(n.sightings == 20 for n in graph.nodes())


def test_queries_in_ram() -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, "segmentation", 0, 4)
    mugs = graph.nearest(boxes[CUP].centre, k=2, label="mug")
    assert [round(float(n.position[0]), 1) for n in mugs] == [0.0, -0.3]
    assert graph.nearest(boxes[BALL].centre)[0].label == "ball"
    assert [n.label for n in graph.in_region((0.35, 0.8, 0.8), (0.6, 1.0, 0.9))] == ["ball"]
    graph.add_room("flat", (-5, -5, 0), (5, 5, 3))
    graph.add_room("kitchen", (-3, -3, 0), (3, 3, 3))
    assert graph.room_of((0, 0, 1)) == "kitchen" and graph.room_of((4, 0, 1)) == "flat"
    assert graph.room_of((9, 0, 1)) is None
    with pytest.raises(InvalidInput, match="lower <= upper"):
        graph.add_room("bad", (1, 1, 1), (0, 0, 0))
    with pytest.raises(InvalidInput, match="name"):
        graph.add_room(" ", (0, 0, 0), (1, 1, 1))
    with pytest.raises(InvalidInput, match="point"):
        graph.nearest((0, np.nan, 0))


def test_a_look_without_depth_changes_nothing() -> None:
    boxes, graph = furnished(), SceneGraph()
    watch(graph, boxes, "box", 0, 4)
    before = graph.to_dict()
    look = percept(boxes, 9, "box")
    blind = dataclasses.replace(look, depth=np.zeros(CAMERA.shape, dtype=np.float32))
    for changes in (
        graph.observe(dataclasses.replace(look, depth=None)),
        graph.observe(blind),
        graph.observe(Percept(stamp_ns=10**9, T_world_sensor=np.eye(4))),
    ):
        assert not (changes.added or changes.updated or changes.moved or changes.merged or changes.vanished)
    assert graph.to_dict() == before


def test_a_config_that_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_views: wanted at least 1, got 0"):
        SceneGraph(SceneConfig(max_views=0))
