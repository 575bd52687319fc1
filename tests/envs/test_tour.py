from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import gymnasium

from embodmem.errors import InvalidInput
from embodmem_envs.tour import Guide


@pytest.mark.parametrize("seed", [0, 1])
def test_tour_visits_every_room_and_sees_the_objects(house: Any, seed: int) -> None:
    house.reset(seed=seed)
    pixels = np.zeros(1025, dtype=int)
    rooms, steps = set(), 0
    for action in Guide(house).tour():
        obs, _, _, _, info = house.step(action)
        assert not info["collided"]
        pixels = np.maximum(pixels, np.bincount(obs["segmentation"].reshape(-1), minlength=1025))
        rooms.add(info["room"])
        steps += 1
    assert rooms == {room.name for room in house.rooms}
    assert steps <= 420
    seen = [pixels[state.instance_id] >= 20 for state in house.objects]
    assert np.mean(seen) >= 0.8, f"{np.sum(seen)} of {len(seen)}"
    assert all(pixels[piece.instance_id] >= 50 for piece in house.furniture)


@pytest.mark.parametrize("seed", [3, 4, 5, 6, 7])
def test_tour_fetch_and_put_down_in_other_apartments(seed: int) -> None:
    env = gymnasium.make("EmbodMem/House-v0", width=16, height=12, max_steps=5000)
    env.reset(seed=seed)
    house, guide, rooms = env.unwrapped, Guide(env), set()
    for action in guide.tour():
        rooms.add(env.step(action)[4]["room"])
    assert len(rooms) == 6
    for name, support in (("mug_1", "desk"), ("book_1", "bed"), ("phone_1", "table"), ("toy_car_1", "sofa")):
        for action in guide.pick(name):
            _, _, _, _, info = env.step(action)
        assert info["held"] == name
        for action in guide.place(support):
            _, _, _, _, info = env.step(action)
        assert info["event"]["object"] == name and info["event"]["support_label"] == support
        assert next(o for o in house.objects if o.id == name).support == support


def test_bad_requests_are_refused(house: Any) -> None:
    house.reset(seed=0)
    guide = Guide(house)
    with pytest.raises(InvalidInput, match="'unicorn'"):
        next(guide.pick("unicorn"))
    with pytest.raises(InvalidInput, match="carry something"):
        next(guide.place("desk"))
    with pytest.raises(InvalidInput, match="no way"):
        next(guide.go_to((100.0, 100.0), within_m=0.1))
    with pytest.raises(InvalidInput, match="House-v0"):
        Guide(gymnasium.make("CartPole-v1"))
    with pytest.raises(InvalidInput, match="'discrete'"):
        Guide(gymnasium.make("EmbodMem/House-v0", action_type="continuous"))
