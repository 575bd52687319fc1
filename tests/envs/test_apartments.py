from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("gymnasium")

from embodmem.errors import InvalidInput
from embodmem_envs.catalogue import OBJECTS, Part, bounds
from embodmem_envs.grid import Grid, clearance, overlaps
from embodmem_envs.layout import HEIGHT_M, ROBOT_RADIUS_M, Layout, make_layout
from embodmem_envs.placing import MAX_OBJECTS, floor_blocks, make_items, rectangles

seeds = st.integers(0, 10_000)


def walkable(layout: Layout, blocks: np.ndarray, step: float = 0.1) -> set[tuple[int, int]]:
    """Cells that a disc of the robot's radius gets to: plain breadth-first search, distances one by one."""

    def free(cell: tuple[int, int]) -> bool:
        x, y = layout.start[:2] + np.array(cell) * step
        away = np.hypot(
            np.maximum(np.maximum(blocks[:, 0] - x, x - blocks[:, 2]), 0),
            np.maximum(np.maximum(blocks[:, 1] - y, y - blocks[:, 3]), 0),
        )
        return bool(away.min() >= ROBOT_RADIUS_M)

    seen, queue = {(0, 0)}, deque([(0, 0)])
    while queue:
        i, j = queue.popleft()
        for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if cell not in seen and free(cell):
                seen.add(cell)
                queue.append(cell)
    return seen


@given(seeds)
@settings(max_examples=6, deadline=None)
def test_robot_gets_to_every_room_door_piece_of_furniture_and_object(seed: int) -> None:
    layout = make_layout(seed)
    items = make_items(np.random.default_rng(seed), layout, 30)
    blocks = np.concatenate([layout.obstacles, floor_blocks(items)])
    cells = np.array(sorted(walkable(layout, blocks)))
    places = layout.start[:2] + cells * 0.1
    assert (places > layout.lower).all() and (places < layout.upper).all()  # it did not leak through a wall
    for room in layout.rooms:
        inside = ((places > room.lower[:2]) & (places < room.upper[:2])).all(axis=1)
        assert inside.sum() * 0.01 > 0.5, f"{room.name}: {inside.sum()} cells"
    for door in layout.doors:
        assert np.linalg.norm(places - door.position[:2], axis=1).min() < 0.2, door.rooms
    for piece in layout.furniture:
        box = np.r_[(piece.position - piece.extent / 2)[:2], (piece.position + piece.extent / 2)[:2]]
        assert clearance(box[None], places).min() < 0.5, piece.id
    for item in items.values():
        assert np.linalg.norm(places - item.origin[:2], axis=1).min() < 0.9, item.id


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_furniture_and_objects_stand_inside_their_room_and_overlap_nothing(seed: int) -> None:
    layout = make_layout(seed)
    items = make_items(np.random.default_rng(seed), layout, MAX_OBJECTS)
    rooms = {room.name: room for room in layout.rooms}
    boxes = {f.id: (f.position - f.extent / 2, f.position + f.extent / 2, f.room) for f in layout.furniture}
    for low, high, room in boxes.values():
        assert (low >= rooms[room].lower - 1e-9).all() and (high <= rooms[room].upper + 1e-9).all()
    flat = np.array([[*low[:2], *high[:2]] for low, high, _ in boxes.values()])
    for index in range(len(flat)):
        assert not overlaps(flat[index][None], np.delete(flat, index, axis=0))[0]
    solid = [(*item.box, item) for item in items.values()]
    for index, (low, high, item) in enumerate(solid):
        for other_low, other_high, other in solid[index + 1 :]:
            apart = (low >= other_high - 1e-9) | (other_low >= high - 1e-9)
            assert apart.any(), f"{item.id} in {other.id}"
        if item.support == "floor":
            assert item.origin[2] == 0.0
            assert not overlaps(rectangles([item]), layout.obstacles)[0]
        else:  # on top of its piece of furniture, and not over its edge
            below, above, room = boxes[item.support]
            assert room == item.room
            assert (low[:2] >= below[:2]).all() and (high[:2] <= above[:2]).all()
            assert 0.1 < low[2] <= above[2] + 1e-9


def test_apartment_has_what_a_home_has() -> None:
    layout = make_layout(0)
    names = {room.name for room in layout.rooms}
    assert names == {"kitchen", "living room", "bedroom", "bathroom", "office", "hall"}
    assert {"table", "bed", "sofa", "desk", "fridge", "counter", "chair"} <= {f.label for f in layout.furniture}
    assert len(OBJECTS) >= 20
    for kind in OBJECTS:
        size = np.ptp(bounds(kind.parts), axis=0)
        assert (size > 0.01).all() and (size < 0.6).all(), kind.label
        assert np.isclose(bounds(kind.parts)[0, 2], 0.0), kind.label  # it stands on its support
    assert all(room.upper[2] == HEIGHT_M for room in layout.rooms)


def test_same_seed_same_apartment_and_other_seed_another() -> None:
    one, two, other = make_layout(3), make_layout(3), make_layout(4)
    assert [f.position.tolist() for f in one.furniture] == [f.position.tolist() for f in two.furniture]
    assert [r.upper.tolist() for r in one.rooms] != [r.upper.tolist() for r in other.rooms]


def test_bounds_hold_the_turned_parts() -> None:
    rng = np.random.default_rng(0)
    parts = (Part("box", (0.2, 0.1, 0.05), (0.1, 0.0, 0.05)), Part("ellipsoid", (0.1, 0.05, 0.1), (-0.2, 0.1, 0.1)))
    for yaw in (0.3, 1.2, 2.5):
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        points = []
        for part in parts:
            local = rng.normal(size=(200_000, 3))
            norm = np.abs(local).max(axis=1) if part.kind == "box" else np.linalg.norm(local, axis=1)
            local = local / norm[:, None] * part.half + part.offset
            points.append(np.c_[local[:, :2] @ turn.T, local[:, 2]])
        cloud = np.concatenate(points)
        assert np.allclose(bounds(parts, yaw), [cloud.min(axis=0), cloud.max(axis=0)], atol=2e-3)


def test_grid_distances_are_those_of_its_centres() -> None:
    blocks = np.array([[0.0, 0.0, 1.0, 0.5], [2.0, 1.0, 2.2, 3.0]])
    grid = Grid.over((-1.0, -1.0), (3.0, 3.5), blocks)
    centres = grid.centres(np.ones(grid.clear.shape, dtype=bool))
    assert np.allclose(grid.clear.reshape(-1), clearance(blocks, centres))
    assert grid.cell(centres[77]) == tuple(np.argwhere(np.ones(grid.clear.shape))[77])


def test_flood_counts_steps_around_a_wall() -> None:
    wall = np.array([[0.95, -1.0, 1.05, 1.5]])
    grid = Grid.over((0.0, 0.0), (2.0, 2.0), wall)
    steps = grid.flood((0.05, 0.05), 0.06)
    assert steps[grid.cell((0.05, 0.05))] == 0
    assert steps[grid.cell((0.55, 0.05))] == 5
    assert np.isinf(steps[grid.cell((1.0, 0.5))])
    assert steps[grid.cell((1.95, 0.05))] == 19 + 2 * round(
        (1.65 - 0.05) / 0.1
    )  # up over the end of the wall, and down again


@pytest.mark.parametrize("count", [-1, MAX_OBJECTS + 1])
def test_impossible_number_of_objects_is_refused(count: int) -> None:
    with pytest.raises(InvalidInput, match="n_objects"):
        make_items(np.random.default_rng(0), make_layout(0), count)


def test_negative_seed_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seed >= 0"):
        make_layout(-1)
