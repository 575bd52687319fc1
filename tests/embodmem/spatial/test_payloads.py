"""Payloads against a list of tokens in plain Python."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embodmem.config import Config, PayloadConfig, SpatialConfig
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError, InvalidInput, ReadOnlyMemory
from embodmem.spatial.octree.keys import unpack_keys
from embodmem.spatial.payloads import Payloads
from embodmem.store import Store
from embodmem.types import Event, Query
from tests.embodmem.store.test_disk import files_with

SIZE = 0.1
Token = tuple[int, int, int, np.ndarray]  # depth, key, stamp, vector


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Store(path)
    yield made
    made.close()


def edge(depth: int) -> float:
    return SIZE * 2 ** (24 - depth)


def inside(token: Token, depth: int, key: int) -> bool:
    """Whether a token's node is a node, or lies below it."""
    here, there = unpack_keys(np.array([token[1], key], dtype=np.int64))
    return token[0] >= depth and bool(((here >> (token[0] - depth)) == there).all())


def check(payloads: Payloads, tokens: list[Token], dim: int) -> None:
    assert payloads.stats().tokens == len(tokens)
    for depth in (0, 12, 19, 21, 24):
        keys = {k for k in payloads.nodes(depth).tolist()}
        assert len(keys) == len(payloads.nodes(depth))
        held = sorted(keys)
        means, counts = payloads.pooled(depth, held)
        assert counts.sum() == sum(token[0] >= depth for token in tokens)
        for key, mean, count in zip(held, means, counts, strict=True):
            below = [token[3].astype(np.float64) for token in tokens if inside(token, depth, key)]
            assert len(below) == count > 0
            np.testing.assert_allclose(mean, np.mean(below, axis=0), rtol=1e-6, atol=1e-6)
    for depth, key in {(token[0], token[1]) for token in tokens}:
        wanted = [(stamp, vector) for d, k, stamp, vector in tokens if (d, k) == (depth, key)]
        got = payloads.tokens(depth, key)
        assert got.stamps_ns.tolist() == [stamp for stamp, _ in wanted]
        assert np.array_equal(got.vectors, np.array([vector for _, vector in wanted]))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float16", "float32"]))
def test_it_holds_what_a_list_would(tmp_path_factory, seed, dtype):
    rng, dim, tokens = np.random.default_rng(seed), 3, []
    path = tmp_path_factory.mktemp("payloads") / "memory.mem"
    config = PayloadConfig(dtype=dtype, max_bytes=40 * dim * np.dtype(dtype).itemsize)
    store = Store(path)
    payloads = Payloads(store, SIZE, config)
    for step in range(12):
        action = rng.integers(0, 5) if tokens else 0
        if action <= 2:
            n, depth = int(rng.integers(0, 9)), int(rng.choice([0, 12, 19, 21, 23, 24]))
            keys = payloads.keys_at(rng.uniform(-3, 3, (n, 3)), depth)
            if n > 2:
                keys[0] = keys[1]
            vectors = rng.normal(size=(n, dim))
            payloads.write(depth, keys, vectors, step)
            tokens += [(depth, int(k), step, v.astype(dtype)) for k, v in zip(keys, vectors, strict=True)]
            tokens = tokens[-40:]
        elif action == 3:
            lower = rng.uniform(-3, 2, 3)
            upper = lower + rng.uniform(0, 2, 3)
            index = {token[:2]: unpack_keys(np.array([token[1]], dtype=np.int64))[0] for token in tokens}
            touched = {
                node
                for node, i in index.items()
                if ((i + 1) * edge(node[0]) > lower).all() and (i * edge(node[0]) < upper).all()
            }
            gone = payloads.forget(Query(within=np.array([lower, upper])))
            assert gone == sum(token[:2] in touched for token in tokens)
            tokens = [token for token in tokens if token[:2] not in touched]
        else:
            store.close()
            store = Store(path)
            payloads = Payloads(store, SIZE, config)
        if step % 3 == 0:
            payloads.pooled(int(rng.choice([0, 12, 24])), [])
    check(payloads, tokens, dim)
    assert payloads.stats().bytes <= config.max_bytes
    store.close()


def test_the_oldest_go_first_and_are_counted(store: Store) -> None:
    payloads = Payloads(store, SIZE, PayloadConfig(max_bytes=10 * 4 * 2))
    keys = payloads.keys_at(np.arange(36).reshape(12, 3), 21)
    assert payloads.write(21, keys[:8], np.eye(8, 4), 0) == 0
    assert payloads.write(21, keys[8:], np.eye(4), 0) == 2
    assert payloads.write(21, keys[:3], np.ones((3, 4)), 1) == 3
    stats = payloads.stats()
    assert (stats.tokens, stats.bytes, stats.dropped) == (10, 80, 5)
    assert len(payloads.tokens(21, keys[4]).vectors) == 0 and len(payloads.tokens(21, keys[5]).vectors) == 1
    with pytest.raises(InvalidInput, match="max_bytes = 80 bytes, got 88"):
        payloads.write(21, keys[:11], np.ones((11, 4)), 2)
    assert payloads.stats() == stats


def test_old_tokens_come_back_exactly(store: Store) -> None:
    payloads = Payloads(store, SIZE, PayloadConfig(dtype="float32"))
    key = payloads.keys_at([[1.0, 2.0, 3.0]], 22)
    written = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    for stamp, vector in enumerate(written):
        payloads.write(22, key, [vector], stamp)
    got = payloads.tokens(22, int(key[0]))
    assert np.array_equal(got.vectors, written) and got.stamps_ns.tolist() == list(range(20))


def test_nearest_by_cosine_in_a_region(store: Store) -> None:
    rng = np.random.default_rng(1)
    payloads = Payloads(store, SIZE)
    places, vectors = rng.uniform(-4, 4, (300, 3)), rng.normal(size=(300, 8)).astype(np.float16)
    payloads.write(24, payloads.keys_at(places, 24), vectors, 0)
    query, box = rng.normal(size=8), np.array([[-2.0, -2, -2], [2, 2, 2]])
    for depth in (24, 21):
        found = payloads.nearest(query, 5, depth=depth, within=box)
        keys = payloads.keys_at(places, depth)
        scores = {}
        for key in set(keys.tolist()):
            mean = vectors[keys == key].astype(float).mean(axis=0)
            low = unpack_keys(np.array([key]))[0] * edge(depth)
            if (low < box[1]).all() and (low + edge(depth) > box[0]).all():
                scores[key] = mean @ query / np.linalg.norm(mean) / np.linalg.norm(query)
        best = sorted(scores, key=lambda key: -scores[key])[:5]
        assert found.keys.tolist() == best
        np.testing.assert_allclose(found.cosines, [scores[key] for key in best], atol=1e-6)
        assert np.array_equal(payloads.keys_at(found.centres, depth), found.keys)
        assert found.counts.tolist() == [np.count_nonzero(keys == key) for key in best]
    assert len(payloads.nearest(query, 5, within=box + 100).keys) == 0


def test_nothing_written_yet(store: Store) -> None:
    payloads = Payloads(store, SIZE)
    assert payloads.stats().tokens == 0 and len(payloads.nodes(21)) == 0
    assert payloads.pooled(21, [5])[0].shape == (1, 0)
    assert len(payloads.nearest([1.0, 2.0]).keys) == 0 and payloads.nearest_landmarks([1.0]) == []
    assert len(payloads.tokens(21, 5).vectors) == 0
    assert payloads.forget(Query(near=np.zeros(3), radius_m=1.0)) == 0


def test_what_is_refused_leaves_all_as_it_was(store: Store) -> None:
    payloads = Payloads(store, SIZE)
    key = payloads.keys_at([[0, 0, 0]], 21)
    payloads.write(21, key, [[1.0, 2.0]], 0)
    refused = [
        lambda: payloads.write(21, key, [[1.0, 2.0, 3.0]], 0),
        lambda: payloads.write(21, key, [[1.0, np.nan]], 0),
        lambda: payloads.write(21, key, [[1.0, 1e6]], 0),  # float16 ends at 65504
        lambda: payloads.write(21, key, [[1.0, 2.0]] * 2, 0),
        lambda: payloads.write(25, key, [[1.0, 2.0]], 0),
        lambda: payloads.write(21, [-1], [[1.0, 2.0]], 0),
        lambda: payloads.write(21, key, [[1.0, 2.0]], -1),
        lambda: payloads.write_landmarks(["object:99"], [[1.0, 2.0]], 0),
        lambda: payloads.keys_at([[1e9, 0, 0]], 24),
        lambda: payloads.nearest([1.0, 2.0], 0),
        lambda: payloads.nearest([1.0]),
        lambda: payloads.forget(Query(labels=("mug",))),
    ]
    for call in refused:
        with pytest.raises(InvalidInput):
            call()
    assert payloads.stats().tokens == 1 and payloads.nodes(21).tolist() == key.tolist()
    for bad in ({"dtype": "int8"}, {"max_bytes": 0}):
        with pytest.raises(ConfigError):
            PayloadConfig(**bad)


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    payloads = Payloads(store, SIZE)
    key = payloads.keys_at([[0, 0, 0]], 21)
    payloads.write(21, key, [[1.0, 2.0]], 0)
    payloads.pooled(0, key)
    with pytest.raises(ZeroDivisionError), store.transaction():
        payloads.write(21, key, [[5.0, 5.0]], 1)
        assert payloads.pooled(21, key)[1].tolist() == [2]  # seen by the transaction itself
        raise ZeroDivisionError
    means, counts = payloads.pooled(21, key)
    assert (means.tolist(), counts.tolist()) == ([[1.0, 2.0]], [1])


def test_readers_in_other_threads_and_processes(store: Store, path: Path) -> None:
    payloads = Payloads(store, SIZE)
    key = payloads.keys_at([[0, 0, 0]], 21)
    payloads.write(21, key, [[1.0, 2.0]], 0)
    reading = Store(path, "r")
    reader = Payloads(reading, SIZE)
    assert reader.pooled(21, key)[1].tolist() == [1]
    seen: list[int] = []

    def read() -> None:
        seen.append(int(payloads.pooled(21, key)[1][0]))

    with store.transaction():
        payloads.write(21, key, [[5.0, 5.0]], 1)
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    read()
    assert seen == [1, 2] and reader.pooled(21, key)[1].tolist() == [2]
    with pytest.raises(ReadOnlyMemory):
        reader.write(21, key, [[1.0, 2.0]], 2)
    reading.close()


def test_within_the_memory(path: Path) -> None:
    """Landmarks go with their records, nodes with their region, all with clear; the bytes leave the disk."""
    config = Config(
        spatial=SpatialConfig(voxel_size_m=0.1, budget_mib=0.215),
        payloads=PayloadConfig(dtype="float32"),
        encoder="hashing",
    )
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(4, 32)).astype(np.float32)
    with EmbodiedMemory(path, config=config) as memory:
        memory.write(Event(stamp_ns=1, kind="told", text="the door is blue"))
        memory.write(Event(stamp_ns=2, kind="told", text="the lamp is red"))
        door, lamp = (item.id for item in memory.episodic.timeline())
        memory.payloads.write_landmarks([door, lamp, door], vectors[:3], 3)
        key = memory.payloads.keys_at([[1.0, 1.0, 1.0]], 21)
        memory.payloads.write(21, key, vectors[3:], 4)
        assert np.array_equal(memory.payloads.landmark_tokens(door).vectors, vectors[[0, 2]])
        names, cosines = zip(*memory.payloads.nearest_landmarks(vectors[1], 2), strict=True)
        assert names == (lamp, door) and cosines[0] == pytest.approx(1.0, abs=1e-6)
        memory.forget(Query(ids=(door,)))
        assert len(memory.payloads.landmark_tokens(door).vectors) == 0 and memory.payloads.stats().tokens == 2
        assert files_with(path.parent, vectors[0].tobytes().lower()) == []
        memory.forget(Query(near=np.ones(3), radius_m=0.2))
        assert memory.payloads.nodes(0).tolist() == [] and memory.payloads.stats().tokens == 1
        assert files_with(path.parent, vectors[3].tobytes().lower()) == []
        assert files_with(path.parent, vectors[1].tobytes().lower()) != []
    with EmbodiedMemory(path) as memory:
        assert np.array_equal(memory.payloads.landmark_tokens(lamp).vectors, vectors[[1]])
        state = memory.state_dict()
        memory.clear()
        assert memory.payloads.stats().tokens == 0
        memory.payloads.write(21, key, [[1.0, 2.0]], 5)  # another length is fine now
        memory.load_state_dict(state)
        assert np.array_equal(memory.payloads.landmark_tokens(lamp).vectors, vectors[[1]])
        assert memory.payloads.stats().dropped == 0
