"""The short-term cache against one entry at a time in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import InvalidInput, PoseError, StampError
from embodmem.geometry import inverse, pose_from_quat, transform_points
from embodmem.spatial.nearby import NearbyCache

S = 1_000_000_000


def some_pose(rng: np.random.Generator, reach_m: float = 1.0) -> np.ndarray:
    return pose_from_quat(rng.uniform(-reach_m, reach_m, 3), rng.normal(size=4))


class Plain:
    """The same rules, one entry at a time."""

    def __init__(self, capacity: int, weight: float) -> None:
        self.capacity, self.weight = capacity, weight
        self.entries: list[dict[str, Any]] = []

    def score(self, entry: dict[str, Any], now: int) -> float:
        return self.weight * entry["frequency"] - (1 - self.weight) * (now - entry["stamp"])

    def write(self, name: str, position: np.ndarray, vector: np.ndarray, now: int) -> None:
        frequency = 1
        for entry in self.entries:
            if name and entry["name"] == name:
                frequency += entry["frequency"]
                self.entries.remove(entry)
                break
        if len(self.entries) == self.capacity:
            self.entries.remove(min(self.entries, key=lambda e: self.score(e, now)))  # the first of equal ones
        self.entries.append(
            {"name": name, "position": position, "vector": vector, "stamp": now, "frequency": frequency}
        )

    def read(self, radius: float, k: int, query: np.ndarray) -> list[str]:
        inside = [e for e in self.entries if np.linalg.norm(e["position"]) <= radius]
        inside.sort(
            key=lambda e: (
                -float(e["vector"] @ query) / (np.linalg.norm(e["vector"]) * np.linalg.norm(query)),
                np.linalg.norm(e["position"]),
            )
        )
        for entry in inside[:k]:
            entry["frequency"] += 1
        return [e["name"] for e in inside[:k]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
def test_it_does_what_one_entry_at_a_time_does(seed, capacity, weight):
    rng = np.random.default_rng(seed)
    cache, plain, now = NearbyCache(4, capacity, weight), Plain(capacity, weight), 0
    for step in range(40):
        now += int(rng.integers(0, 3))
        action = rng.integers(0, 3)
        if action == 0:
            T = some_pose(rng)
            cache.move(T)
            for entry in plain.entries:
                entry["position"] = transform_points(inverse(T), entry["position"])
        elif action == 1:
            name = f"thing {rng.integers(0, 8)}" if rng.random() < 0.7 else f"once {step}"
            position, vector = rng.uniform(-2, 2, 3), rng.normal(size=4).astype(np.float32)
            cache.write([position], now * S, [vector], [name])
            plain.write(name, position, vector, now)
        else:
            query, k = rng.normal(size=4).astype(np.float32), int(rng.integers(1, 4))
            found = cache.read(2.0, k, embedding=query)
            assert [e.name for e in found] == plain.read(2.0, k, query)
            assert all(e.distance_m <= 2.0 for e in found)
        got = [(e.name, e.stamp_ns, e.frequency) for e in cache.entries()]
        assert got == [(e["name"], e["stamp"] * S, e["frequency"]) for e in plain.entries]
        for entry, wanted in zip(cache.entries(), plain.entries, strict=True):
            np.testing.assert_allclose(entry.position, wanted["position"], atol=1e-9)


def test_eviction_follows_the_score():
    cache = NearbyCache(0, 8, 0.6)
    rng = np.random.default_rng(1)
    for i in range(8):
        cache.write([[float(i), 0, 0]], int(rng.integers(0, 5)) * S if i == 0 else i * 5 * S, names=[f"{i}"])
    for i in (0, 0, 3, 5, 5, 5):
        cache.read(0.1, 1, near=(float(i), 0, 0))
    now = 40 * S
    order = [cache.entries()[i].name for i in np.argsort(cache.scores(now), kind="stable")]
    gone = []
    for i in range(8):
        before = {e.name for e in cache.entries()}
        assert cache.write([[0, 0, 9.0]], now, names=[f"new {i}"]) == 1
        gone += before - {e.name for e in cache.entries()}
    # New ones score 0.6 and come last: the old ones went in the order of their scores.
    assert gone == order and cache.evicted == 8


def test_a_batch_is_kept_whole():
    cache = NearbyCache(0, 4)
    cache.write(np.zeros((4, 3)), 0, names=list("abcd"))
    cache.read(1.0, 4)
    cache.read(1.0, 4)  # all of these score better than what is new
    assert cache.write(np.ones((3, 3)), S, names=list("efg")) == 3
    assert [e.name for e in cache.entries()] == list("defg")
    with pytest.raises(InvalidInput, match="at most 4"):
        cache.write(np.ones((5, 3)), S)
    assert len(cache) == 4


@pytest.mark.parametrize("how", ["move", "follow"])
def test_places_in_the_world_stay_put_when_the_body_moves(how):
    rng = np.random.default_rng(2)
    cache, T_world_body = NearbyCache(0), some_pose(rng, 20.0)
    world = rng.uniform(-20, 20, (100, 3))
    cache.follow(T_world_body)
    cache.write(transform_points(inverse(T_world_body), world), 0)
    for _ in range(3000):
        T = some_pose(rng)
        T_world_body = T_world_body @ T
        if how == "move":
            cache.move(T)
        else:
            cache.follow(T_world_body)
    got = transform_points(T_world_body, np.stack([e.position for e in cache.entries()]))
    np.testing.assert_allclose(got, world, atol=1e-8)
    centre = world.mean(axis=0)
    found = cache.read(15.0, 100, near=transform_points(inverse(T_world_body), centre))
    assert len(found) == np.count_nonzero(np.linalg.norm(world - centre, axis=1) <= 15.0)
    assert [e.distance_m for e in found] == sorted(e.distance_m for e in found)


def test_moves_and_poses_mix():
    cache = NearbyCache(0)
    cache.follow(np.eye(4))
    cache.write([[1.0, 0, 0]], 0)
    step = np.eye(4)
    step[0, 3] = 0.4
    cache.move(step)
    cache.follow(step)  # says where the move has led already
    np.testing.assert_allclose(cache.entries()[0].position, [0.6, 0, 0])


def test_state_comes_back_exactly():
    rng = np.random.default_rng(3)
    cache = NearbyCache(5, 16)
    cache.follow(some_pose(rng))
    for step in range(6):
        cache.write(rng.normal(size=(4, 3)), step * S, rng.normal(size=(4, 5)), [f"{step % 3}", "", "", ""])
        cache.read(2.0, 3)
    other = NearbyCache(5, 16)
    other.load_state_dict(cache.state_dict())
    T, query = some_pose(rng), rng.normal(size=5)
    for one in (cache, other):
        one.follow(T)
        one.write(rng.normal(size=(0, 3)), 9 * S, np.empty((0, 5)))
    same = [
        [(e.name, e.position.tolist(), e.cosine, e.frequency) for e in c.read(9.0, 16, embedding=query)]
        for c in (cache, other)
    ]
    assert same[0] == same[1] and len(same[0]) == 16
    for bad in ({}, {**cache.state_dict(), "embeddings": np.zeros((3, 4))}):
        with pytest.raises(InvalidInput, match="state"):
            other.load_state_dict(bad)


def test_what_is_refused():
    cache = NearbyCache(2)
    cache.write([[0, 0, 1]], 5, [[1, 0]])
    refused = [
        lambda: cache.write([[0, 0]], 5, [[1, 0]]),
        lambda: cache.write([[0, 0, np.nan]], 5, [[1, 0]]),
        lambda: cache.write([[0, 0, 1]], 5, [[1, 0, 0]]),
        lambda: cache.write([[0, 0, 1]], 5),
        lambda: cache.write([[0, 0, 1]], 5, [[1, 0]], ["a", "b"]),
        lambda: cache.write([[0, 0, 1]] * 2, 5, [[1, 0]] * 2, ["a", "a"]),
        lambda: cache.read(1.0, 0),
        lambda: cache.read(-1.0),
        lambda: cache.read(1.0, embedding=[1.0]),
        lambda: NearbyCache(2, 0),
        lambda: NearbyCache(2, frequency_weight=1.5),
        lambda: NearbyCache(2, tick_s=0),
    ]
    for call in refused:
        with pytest.raises(InvalidInput):
            call()
    with pytest.raises(StampError, match="wanted 5 or later, got 4"):
        cache.write([[0, 0, 1]], 4, [[1, 0]])
    with pytest.raises(PoseError):
        cache.move(np.ones((4, 4)))
    assert len(cache) == 1 and NearbyCache(0).read(1.0) == []
