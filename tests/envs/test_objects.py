"""Moving, picking up and putting down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from embodmem.errors import InvalidInput
from embodmem_envs import Action, HouseAdapter
from embodmem_envs.placing import GRASP_M, HELD, gripper_point, item_in_reach
from embodmem_envs.tour import Guide


def state_of(house: Any, name: str) -> Any:
    return next(state for state in house.objects if state.id == name)


def test_truth_about_objects(house: Any) -> None:
    house.reset(seed=0)
    rooms = {room.name: room for room in house.rooms}
    tops = {piece.id: piece for piece in house.furniture}
    assert len(house.objects) == 36
    numbers = [o.instance_id for o in house.objects] + [f.instance_id for f in house.furniture]
    assert len(set(numbers)) == len(numbers) and min(numbers) >= 1
    for state in house.objects:
        assert (state.extent > 0).all() and (state.extent < 0.7).all()
        assert (state.position > rooms[state.room].lower).all() and (state.position < rooms[state.room].upper).all()
        assert state.support == (tops[state.support_id].label if state.support_id in tops else "floor")
        assert house.world.labels[state.instance_id] == state.label


def test_moved_object_lies_on_what_was_asked_for_and_is_seen_there(house: Any) -> None:
    house.reset(seed=1)
    moved = house.move_object("mug_1", "desk")
    assert (moved.support, moved.room) == ("desk", "office")
    desk = next(f for f in house.furniture if f.label == "desk")
    assert np.isclose(moved.position[2] - moved.extent[2] / 2, (desk.position + desk.extent / 2)[2])
    geoms = house.world.instance_ids() == moved.instance_id
    centre = house.world.data.geom_xpos[geoms].mean(axis=0)
    assert np.linalg.norm(centre - moved.position) < 0.05
    assert house.move_object("ball_1", "floor").support == "floor"
    assert house.world.layout.unreachable() == []


def test_moves_are_drawn_from_the_seed(house: Any) -> None:
    def moved() -> list[tuple[str, list[float]]]:
        house.reset(seed=7)
        return [(state.id, state.position.tolist()) for state in house.move_objects(6)]

    first = moved()
    assert len(first) == 6 and first == moved()


@pytest.mark.parametrize(
    ("name", "support", "said"),
    [("unicorn", None, "mug_1"), ("mug_1", "roof", "table_1"), ("basket_1", "stove", "no free spot")],
)
def test_impossible_moves_are_refused(house: Any, name: str, support: str | None, said: str) -> None:
    house.reset(seed=0)
    if said == "no free spot":
        house.move_object("pan_1", "stove")
    with pytest.raises(InvalidInput, match=said):
        house.move_object(name, support)


def drive(house: Any, actions: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    for action in actions:
        obs, _, _, _, info = house.step(action)
    return obs, info


def test_pick_carries_and_place_puts_down(house: Any) -> None:
    _, info = house.reset(seed=0)
    adapter = HouseAdapter(step_s=0.5, start_ns=10**9, agent="robby")
    before = state_of(house, "book_1")
    obs, info = drive(house, Guide(house).pick("book_1"))
    assert info["held"] == "book_1" and obs["carrying"] == before.instance_id
    assert info["event"]["object"] == "book_1" and info["event"]["support"] == before.support_id
    assert np.allclose(info["event"]["position"], before.position)
    (event,) = adapter.events(info)
    assert event.kind == "pick" and event.objects == ("book",) and event.agent == "robby"
    assert event.stamp_ns == adapter.stamp_ns(info) == 10**9 + info["step"] * 5 * 10**8
    assert before.support in event.text and before.room in event.text

    held = state_of(house, "book_1")
    assert held.support == HELD
    assert np.linalg.norm((held.position - np.r_[house.robot_pose[:2], 0])[:2]) < 0.1
    assert before.instance_id not in obs["segmentation"]  # neither where it was nor in the robot's own view
    before_turn = state_of(house, "book_1").position
    obs, info = house.step(Action.PICK)[0], house.step(Action.TURN_LEFT)[4]
    assert "event" not in info and info["held"] == "book_1"  # its hands are full
    assert np.allclose(before_turn, state_of(house, "book_1").position, atol=0.05)

    obs, info = drive(house, Guide(house).place("desk"))
    after = state_of(house, "book_1")
    assert info["held"] == "" and obs["carrying"] == 0
    assert (after.support, after.room) == ("desk", "office")
    assert adapter.events(info)[0].text == "put the book on the desk in the office"
    spot = gripper_point(house.robot_pose)
    assert np.linalg.norm(house.world.items["book_1"].origin[:2] - spot) <= GRASP_M + 1e-9
    for other in house.objects:
        if other.id != "book_1":
            apart = np.abs(other.position - after.position) >= (other.extent + after.extent) / 2 - 1e-9
            assert apart.any(), other.id
    assert "event" not in house.step(Action.PLACE)[4]  # nothing left to put down


def test_reset_returns_what_is_carried_to_its_place(house: Any) -> None:
    house.reset(seed=0)
    before = state_of(house, "book_1")
    drive(house, Guide(house).pick("book_1"))
    house.reset()
    after = state_of(house, "book_1")
    assert np.array_equal(before.position, after.position) and after.support_id == before.support_id


def test_pick_takes_the_nearest_in_reach_of_its_own_room(house: Any) -> None:
    house.reset(seed=2)
    world, rng = house.world, np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        room = house.rooms[rng.integers(len(house.rooms))]
        pose = np.r_[rng.uniform(room.lower[:2], room.upper[:2]), rng.uniform(-np.pi, np.pi)]
        found = item_in_reach(world.layout, world.items, pose)
        ahead = pose[:2] + 0.55 * np.array([np.cos(pose[2]), np.sin(pose[2])])
        near = sorted(
            (float(np.hypot(*(i.origin[:2] - ahead))), i.id) for i in world.items.values() if i.room == room.name
        )
        expected = near[0][1] if near and near[0][0] <= GRASP_M else None
        assert (found.id if found else None) == expected
        hits += found is not None
    assert hits > 20


def test_place_on_the_floor_leaves_the_ways_open(house: Any) -> None:
    house.reset(seed=3)
    drive(house, Guide(house).pick("ball_1"))
    for _ in range(200):
        _, _, _, _, info = house.step(Action.PLACE)
        if "event" in info:
            break
        if house.step(Action.FORWARD)[4]["collided"]:
            house.step(Action.TURN_LEFT)
    assert info["event"]["kind"] == "place"
    from embodmem_envs.placing import floor_blocks

    assert house.world.layout.unreachable(floor_blocks(house.world.items)) == []
    blocks = house.world.obstacles()
    off = np.maximum(np.maximum(blocks[:, :2] - house.robot_pose[:2], house.robot_pose[:2] - blocks[:, 2:]), 0)
    assert np.linalg.norm(off, axis=1).min() >= 0.2
