"""The parts of the scene core against plain references: lifting, costs, assignment, support, visibility."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import SceneConfig
from embodmem.errors import InvalidInput
from embodmem.geometry import look_at
from embodmem.spatial.scene.associate import assign, costs
from embodmem.spatial.scene.lift import Observation, lift
from embodmem.spatial.scene.node import ObjectNode
from embodmem.spatial.scene.relations import support_relations
from embodmem.spatial.scene.visibility import SEEN_THROUGH, SURFACE, UNKNOWN, look_at_places
from embodmem.types import Detection, Percept
from tests.embodmem.spatial.scene_room import CAMERA, Box, percept, render, room

CONFIG = SceneConfig()


def seen(label="mug", position=(0.0, 0.0, 1.0), size=0.1, instance=None, embedding=None) -> Observation:
    at = np.array(position, dtype=float)
    return Observation(
        label=label,
        score=0.9,
        position=at,
        lower=at - np.array(size) / 2,
        upper=at + np.array(size) / 2,
        covariance=np.diag([0.002, 0.006, 0.003]),
        points=100,
        quality=0.8,
        box=np.array([10.0, 10.0, 30.0, 30.0]),
        at_border=False,
        masked=False,
        embedding=embedding,
        instance_id=instance,
        camera=np.array([0.0, -1.0, 1.5]),
    )


def node(id: int, **of) -> ObjectNode:
    return ObjectNode.from_observation(id, seen(**of), 0)


def test_segmentation_lifts_like_one_mask_after_another() -> None:
    boxes = room() | {
        10: Box("mug", (-0.3, 1, 0.8), (0.1, 0.1, 0.1)),
        5_000_000: Box("ball", (0.3, 1, 0.8), (0.1,) * 3),
    }
    for chosen in (boxes, {k: v for k, v in boxes.items() if k < 100}):  # by search, and by table
        look = percept(chosen, 0, "segmentation")
        lifted = {o.instance_id: o for o in lift(look, CONFIG)}
        assert set(lifted) == set(look.labels)
        for id, label in look.labels.items():
            mask = look.segmentation == id
            rows, cols = np.nonzero(mask)
            z = look.depth[mask].astype(float)
            points = np.stack([(cols - CAMERA.cx) / CAMERA.fx * z, (rows - CAMERA.cy) / CAMERA.fy * z, z], axis=1)
            points = points @ look.T_world_sensor[:3, :3].T + look.T_world_sensor[:3, 3]
            found = lifted[id]
            assert found.label == label and found.masked
            np.testing.assert_allclose(found.lower, np.quantile(points, 0.005, axis=0), atol=0.02)
            np.testing.assert_allclose(found.upper, np.quantile(points, 0.995, axis=0), atol=0.02)
            np.testing.assert_array_equal(found.box, [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])


def test_the_foreground_of_a_loose_box_is_found() -> None:
    pole = room() | {10: Box("lamp", (0, 1.5, 1.1), (0.12, 0.12, 0.8))}
    look = percept(pole, 0, "box")
    tight = next(d for d in look.detections if d.label == "lamp").box
    wide = tight + np.array([-1.0, -0.3, 1.0, 0.3]) * (tight[2] - tight[0])
    loose = dataclasses.replace(look, detections=(Detection(label="lamp", box=wide),))
    (found,) = lift(loose, CONFIG)
    # Two thirds of the box are wall, 1.5 m behind.
    assert abs(found.position[0]) < 0.05 and 1.4 < found.position[1] < 1.6
    assert found.upper[1] < 2.0
    assert np.linalg.eigvalsh(found.covariance)[-1] > 4 * np.linalg.eigvalsh(found.covariance)[0]


def test_a_mask_that_bleeds_onto_the_wall_keeps_its_extent() -> None:
    boxes = room() | {10: Box("ball", (0, 1.0, 1.0), (0.3, 0.3, 0.3))}
    look = percept(boxes, 0, "mask", eye=(0, -1, 1.6), target=(0, 1, 1.0))
    mask = next(d for d in look.detections if d.label == "ball").mask
    bled = np.pad(mask, 1)[2:, 1:-1] | mask
    look = dataclasses.replace(look, detections=(Detection(label="ball", mask=bled),))
    assert lift(look, CONFIG)[0].upper[1] < 1.2


def test_an_instance_that_comes_twice_counts_once() -> None:
    boxes = room() | {10: Box("ball", (0, 1.0, 0.9), (0.3, 0.3, 0.3))}
    both = dataclasses.replace(percept(boxes, 0, "ids"), labels={10: "ball"})
    both = dataclasses.replace(both, segmentation=render(boxes, both.T_world_sensor)[1])
    balls = [o for o in lift(both, CONFIG) if o.label == "ball"]
    assert len(balls) == 1 and balls[0].masked


def test_what_cannot_be_lifted_is_left_out() -> None:
    look = percept(room(), 0, "box")
    outside = Detection(label="a", box=np.array([-50.0, -50.0, -10.0, -10.0]))
    tiny = Detection(label="b", box=np.array([10.0, 10.0, 11.0, 11.0]))
    unsure = Detection(label="c", score=0.1, box=np.array([10.0, 10.0, 80.0, 80.0]))
    empty = Detection(label="d", mask=np.zeros(CAMERA.shape, dtype=bool))
    cut_off = Detection(label="e", box=np.array([-40.0, 30.0, 40.0, 90.0]))
    found = lift(dataclasses.replace(look, detections=(outside, tiny, unsure, empty, cut_off)), CONFIG)
    assert [(o.label, o.at_border) for o in found] == [("e", True)]
    unlabelled = dataclasses.replace(percept(room(), 0, "segmentation"), labels={0: "nothing"})
    assert lift(unlabelled, CONFIG) == []


places = st.tuples(*[st.floats(-0.4, 0.4)] * 3)
things = st.lists(st.tuples(st.sampled_from(["mug", "book"]), places, st.sampled_from([None, 1, 2])), max_size=6)


@settings(max_examples=60, deadline=None)
@given(things, things)
def test_costs_equal_a_plain_loop(some, others) -> None:
    observations = [seen(label, place, instance=instance) for label, place, instance in some]
    nodes, taken = [], set()
    for id, (label, place, instance) in enumerate(others):
        nodes.append(node(id, label=label, position=place, instance=None if instance in taken else instance))
        taken.add(instance)
    known = {n.instance_id for n in nodes if n.instance_id is not None}
    got = costs(observations, nodes, CONFIG)
    assert got.shape == (len(observations), len(nodes))
    for i, o in enumerate(observations):
        for j, n in enumerate(nodes):
            away = o.position - n.position
            distance = away @ np.linalg.inv(o.covariance + n.covariance()) @ away
            if o.instance_id is not None and o.instance_id == n.instance_id:
                assert got[i, j] == -1.0
            elif (
                o.label != n.label
                or o.instance_id in known
                or (o.instance_id is not None and n.instance_id is not None)
                or distance > CONFIG.gate_sigma**2
            ):
                assert got[i, j] == np.inf
            else:
                np.testing.assert_allclose(got[i, j], distance, rtol=1e-4, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(st.floats(0, 9), st.just(np.inf)), min_size=4, max_size=4), min_size=1, max_size=5))
def test_assignment_is_one_to_one_and_leaves_no_pair_over(rows) -> None:
    cost = np.array(rows)
    pairs = assign(cost)
    used_rows, used_cols = [r for r, _ in pairs], [c for _, c in pairs]
    assert len(set(used_rows)) == len(pairs) == len(set(used_cols))
    assert all(np.isfinite(cost[p]) for p in pairs)
    free = np.delete(np.delete(cost, used_rows, axis=0), used_cols, axis=1)
    assert not np.isfinite(free).any()
    if pairs:
        assert cost[pairs[0]] == cost.min()


def test_views_from_two_sides_triangulate_and_outliers_do_not_drag() -> None:
    truth = np.array([0.0, 1.0, 0.8])
    made = None
    rng = np.random.default_rng(3)
    for step in range(24):
        eye = truth + 2.0 * np.array([np.sin(step), np.cos(step), 0.3])
        ray = (truth - eye) / np.linalg.norm(truth - eye)
        along = 0.5 if step % 4 == 0 else rng.normal(0, 0.1)  # every fourth view takes the background for the object
        covariance = 0.001 * np.eye(3) + 0.01 * np.outer(ray, ray)
        view = dataclasses.replace(seen(position=truth + along * ray), camera=eye, covariance=covariance)
        if made is None:
            made = ObjectNode.from_observation(1, view, step)
        else:
            made.add(view, step, max_views=32)
    assert np.linalg.norm(made.position - truth) < 0.04


def test_a_thing_is_on_what_is_right_below_it() -> None:
    table = node(1, label="table", position=(0, 0, 0.375), size=(1.6, 0.8, 0.75))
    tray = node(2, label="tray", position=(0.3, 0.1, 0.765), size=(0.4, 0.3, 0.03))
    mug = node(3, label="mug", position=(0.3, 0.1, 0.83), size=0.1)
    book = node(4, label="book", position=(-0.5, 0.0, 0.77), size=(0.2, 0.2, 0.03))
    lamp = node(5, label="lamp", position=(0.0, 0.0, 1.8), size=0.3)
    beside = node(6, label="bin", position=(1.2, 0.0, 0.2), size=0.4)
    below = node(7, label="box", position=(0.0, 0.0, 0.15), size=0.3)
    got = support_relations([table, tray, mug, book, lamp, beside, below])
    assert got == [(2, "on", 1), (3, "on", 2), (4, "on", 1)]
    # The extent of a table often takes in what stands on it.
    tall = node(1, label="table", position=(0, 0, 0.45), size=(1.6, 0.8, 0.9))
    assert support_relations([tall, book]) == [(4, "on", 1)]
    assert support_relations([]) == support_relations([mug]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(places, st.floats(0.02, 0.8), st.floats(0.02, 0.5)), min_size=2, max_size=7))
def test_support_equals_a_plain_loop(items) -> None:
    nodes = [node(i, position=at, size=(w, w, h)) for i, (at, w, h) in enumerate(items)]
    expected = []
    for a in nodes:
        best, best_cost = None, np.inf
        for b in nodes:
            middle = (a.lower + a.upper) / 2
            inside = all(b.lower[k] <= middle[k] <= b.upper[k] for k in (0, 1))
            rise, height = a.lower[2] - b.upper[2], b.upper[2] - b.lower[2]
            area_a, area_b = np.prod((a.upper - a.lower)[:2]), np.prod((b.upper - b.lower)[:2])
            higher = middle[2] > (b.lower[2] + b.upper[2]) / 2
            near = -max(0.08, 0.35 * height) <= rise <= 0.08
            cost = abs(rise) + 1e-3 * area_b
            if a is not b and inside and near and higher and area_a <= 4 * area_b and cost < best_cost:
                best, best_cost = b, cost
        if best is not None:
            expected.append((a.id, "on", best.id))
    assert support_relations(nodes) == expected


def test_places_are_hidden_there_or_seen_through() -> None:
    boxes = room() | {10: Box("ball", (0, 1.0, 0.9), (0.3, 0.3, 0.3)), 11: Box("", (0.5, 0.2, 1.0), (0.3, 0.02, 0.6))}
    look = Percept(stamp_ns=0, T_world_sensor=look_at((0, -1.2, 1.6), (0, 1, 0.8)), camera=CAMERA)
    look = dataclasses.replace(look, depth=render(boxes, look.T_world_sensor)[0])
    there = node(1, position=(0, 1.0, 0.9), size=0.3)
    gone = node(2, position=(-0.5, 1.0, 0.95), size=0.2)
    hidden = node(3, position=(0.65, 0.9, 0.85), size=0.15)
    outside = node(4, position=(0, -3.0, 0.5), size=0.2)
    cut_off = node(5, position=(-1.4, 1.0, 0.9), size=0.6)
    got = look_at_places([there, gone, hidden, outside, cut_off], look, CONFIG)
    assert got.tolist() == [SURFACE, SEEN_THROUGH, UNKNOWN, UNKNOWN, UNKNOWN]
    assert look_at_places([there], dataclasses.replace(look, depth=None), CONFIG).tolist() == [UNKNOWN]
    assert look_at_places([], look, CONFIG).shape == (0,)


def test_a_node_of_other_fields_is_refused() -> None:
    values = node(1).to_dict()
    values["colour"] = values.pop("label")
    with pytest.raises(InvalidInput, match="missing \\['label'\\], unknown \\['colour'\\]"):
        ObjectNode.from_dict(values)


def test_the_best_view_is_the_best_not_the_last() -> None:
    made = ObjectNode.from_observation(1, seen(), 5)
    made.add(dataclasses.replace(seen(), quality=0.95), 6, max_views=4)
    made.add(dataclasses.replace(seen(), quality=0.2), 7, max_views=4)
    assert (made.best_view_ns, made.best_view_score, made.last_seen_ns) == (6, 0.95, 7)


def test_embeddings_are_averaged_on_the_unit_sphere() -> None:
    one, two = np.array([1, 0], dtype=np.float32), np.array([0, 1], dtype=np.float32)
    made = ObjectNode.from_observation(1, seen(embedding=one), 0)
    made.add(seen(embedding=two), 1, max_views=4)
    np.testing.assert_allclose(made.embedding, [np.sqrt(0.5)] * 2, rtol=1e-6)
    assert made.embedding.dtype == np.float32
