"""Associative stores: the whole from a fragment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import EpisodicConfig, FragmentConfig
from embodmem.encoders import HashingEncoder
from embodmem.episodic import EpisodicMemory
from embodmem.episodic.associative import Hopfield, Superposition, willshaw_capacity
from embodmem.errors import ConfigError, InvalidInput
from embodmem.index import Records
from embodmem.store import Store as Database
from embodmem.types import Event, Query

Store = Hopfield | Superposition


def unit_rows(seed: int, n: int, dim: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def erased(rows: np.ndarray, part: float, seed: int = 0) -> np.ndarray:
    """NaN for a part of the entries of each row."""
    drop = np.argsort(np.random.default_rng(seed).random(rows.shape), axis=1) < round(part * rows.shape[1])
    return np.where(drop, np.nan, rows).astype(np.float32)


def flipped(rows: np.ndarray, part: float, seed: int = 0) -> np.ndarray:
    """The other sign for a part of the entries of each row."""
    flip = np.argsort(np.random.default_rng(seed).random(rows.shape), axis=1) < round(part * rows.shape[1])
    return np.where(flip, -rows, rows).astype(np.float32)


STORES = {"hopfield": lambda: Hopfield(128), "superposition": lambda: Superposition(128)}


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("damage", [lambda rows: erased(rows, 0.5), lambda rows: flipped(rows, 0.2)])
def test_recall_from_half_of_a_pattern_or_with_a_fifth_flipped(name: str, damage) -> None:  # type: ignore[no-untyped-def]
    store, rows, ids = STORES[name](), unit_rows(1, 1000, 128), np.arange(1000) + 5
    store.write(ids, rows)
    found, score = store.recall(damage(rows), k=3)
    # A fifth of the signs flipped leaves a cosine of 0.6; codes of 48 units blur that a little.
    assert (found[:, 0] == ids).mean() > (0.99 if name == "hopfield" else 0.93)
    assert (np.diff(score, axis=1) <= 1e-6).all()


@pytest.mark.parametrize("name", STORES)
def test_patterns_that_are_alike_are_told_apart(name: str) -> None:
    store = STORES[name]()
    centres = np.repeat(unit_rows(0, 20, 128), 10, axis=0)
    rows = centres + 0.7 * unit_rows(1, 200, 128)  # neighbours of cosine 0.67
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    store.write(np.arange(200), rows)
    found, _ = store.recall(erased(rows, 0.5))
    assert (found[:, 0] == np.arange(200)).mean() > (0.99 if name == "hopfield" else 0.9)


def test_the_hopfield_step_is_equation_3() -> None:
    rows, query = unit_rows(2, 30, 16), unit_rows(3, 4, 16)
    store = Hopfield(16, beta=5.0)
    store.write(np.arange(30), rows)
    logits = 5.0 * query @ rows.T
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(store.complete(query), weights @ rows, atol=1e-5)
    sharp = Hopfield(16, beta=200.0)
    sharp.write(np.arange(30), rows)
    assert np.allclose(sharp.complete(erased(rows, 0.3)), rows, atol=0.02)
    assert np.allclose(store.complete(query, steps=2), store.complete(store.complete(query)), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6), st.integers(1, 5))
def test_hopfield_calls_up_the_nearest(n: int, seed: int, k: int) -> None:
    rows, query = unit_rows(seed, n, 8), unit_rows(seed + 1, 3, 8)
    store = Hopfield(8)
    store.write(np.arange(n), rows)
    found, weight = store.recall(query, k)
    cosines = np.take_along_axis(query @ rows.T, found, axis=1)
    best = -np.sort(-(query @ rows.T), axis=1)[:, :k]
    assert np.allclose(cosines, best, atol=1e-5) and (weight.sum(axis=1) <= 1 + 1e-5).all()


@pytest.mark.parametrize("name", STORES)
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True)), max_size=12)
)
def test_forgetting_leaves_nothing(name: str, steps: list[tuple[bool, list[int]]]) -> None:
    """Whatever was written and forgotten on the way, what is left is as if it had been written alone."""
    store: Store = Hopfield(32) if name == "hopfield" else Superposition(32, units=64, active=4, capacity=100)
    rows, there = unit_rows(4, 13, 32), list[int]()
    for add, numbers in steps:
        there = [n for n in there if n not in numbers]
        if add:
            store.write(np.array(numbers), rows[numbers])
            there += numbers
        else:
            store.forget(np.array(numbers))
    assert store.ids.tolist() == there
    fresh: Store = Hopfield(32) if name == "hopfield" else Superposition(32, units=64, active=4, capacity=100)
    fresh.write(np.array(there, np.int64), rows[there])
    if isinstance(store, Superposition) and isinstance(fresh, Superposition):
        assert np.array_equal(store._links, fresh._links)
    for a, b in zip(store.recall(rows, 3) if there else (), fresh.recall(rows, 3) if there else (), strict=True):
        assert np.array_equal(a, b)


def test_the_first_make_way() -> None:
    hopfield = Hopfield(16, max_bytes=72 * 10)
    superposition = Superposition(16, units=128, active=4, capacity=10)
    for store in (hopfield, superposition):
        rows = unit_rows(0, 25, 16)
        for begin in range(0, 25, 5):
            store.write(np.arange(begin, begin + 5), rows[begin : begin + 5])
        assert store.ids.tolist() == list(range(15, 25))
        store.write(np.arange(100), unit_rows(1, 100, 16))
        assert store.ids.tolist() == list(range(90, 100))
    assert hopfield.nbytes <= 720


def test_the_code_is_completed_from_half_a_pattern() -> None:
    store, rows = Superposition(128), unit_rows(1, 1000, 128)
    store.write(np.arange(1000), rows)
    asked = erased(rows[:100], 0.5)
    begun = np.mean([np.isin(a, b).mean() for a, b in zip(store.encode(asked), store.encode(rows), strict=False)])
    done = np.mean([np.isin(a, b).mean() for a, b in zip(store.complete(asked), store.encode(rows), strict=False)])
    assert begun < 0.4 and done > 0.95


def test_codes_that_are_alike_intersect() -> None:
    store = Superposition(64)
    base = unit_rows(0, 1, 64)
    common = []
    for noise in (0.0, 0.5, 1.0, 3.0):
        rows = base + noise * unit_rows(1, 50, 64)
        codes = store.encode(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        common.append(np.isin(codes, store.encode(base)[0]).mean())
    assert common[0] == 1.0 and common == sorted(common, reverse=True) and common[-1] < 0.3
    store.write(np.arange(50), unit_rows(5, 50, 64))
    known, new = store.familiarity(unit_rows(5, 50, 64)), store.familiarity(unit_rows(6, 50, 64))
    assert (known == 1.0).all() and new.mean() < 0.6


def test_capacity_is_what_theory_says() -> None:
    """Random codes, half of each as the cue: below the theory's figure nearly all come back, far above few do."""
    units, active = 512, 12
    limit = willshaw_capacity(units, active, active // 2)
    rng = np.random.default_rng(0)
    exact = []
    for load in (0.5, 1.0, 4.0):
        store = Superposition(4, units, active, capacity=10**6)
        count = int(load * limit)
        codes = np.sort(np.argsort(rng.random((count, units)), axis=1)[:, :active], axis=1).astype(np.uint16)
        store.write_codes(np.arange(count), codes)
        asked = codes[:200]
        half = np.argsort(rng.random(asked.shape), axis=1)[:, : active // 2]
        back = store.complete_codes(np.take_along_axis(asked, half, 1))
        exact.append(float((back == asked).all(axis=1).mean()))
    assert exact[0] > 0.9 and 0.1 < exact[1] < 0.9 and exact[2] < 0.05


def test_what_is_refused() -> None:
    for store in (Hopfield(8), Superposition(8)):
        with pytest.raises(InvalidInput, match="empty store"):
            store.recall(unit_rows(0, 1, 8))
        with pytest.raises(InvalidInput, match=r"\(Q, 8\)"):
            store.recall(unit_rows(0, 1, 7))
    with pytest.raises(InvalidInput, match="finite"):
        Hopfield(8).write(np.arange(1), np.full((1, 8), np.nan))
    for wrong in (lambda: Hopfield(8, max_bytes=10), lambda: Hopfield(8, beta=0.0), lambda: Superposition(8, 64, 60)):
        with pytest.raises(InvalidInput):
            wrong()


def said(i: int, **more: object) -> Event:
    return Event(stamp_ns=i, kind="told", text=f"number {i}", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["hopfield", "superposition"])
def test_a_memory_is_called_up_from_a_fragment(kind: str) -> None:
    config = EpisodicConfig(fragments=FragmentConfig(store=kind))
    memory = EpisodicMemory(Records(Database(), HashingEncoder(64)), config)
    rows = unit_rows(0, 40, 128)
    for i in range(20):
        memory.write(said(i, embedding=rows[i], embedding_model="ears"))
    halves = erased(rows, 0.5)
    (best, *_) = memory.from_fragment(halves[3], model="ears")
    assert best.text == "number 3" and best.why["fragment"] == best.score
    for i in range(20, 40):  # what is new is known, what is forgotten is not
        memory.write(said(i, embedding=rows[i], embedding_model="ears"))
    memory.forget(Query(ids=(best.id,)))
    assert memory.from_fragment(halves[30], k=1, model="ears")[0].text == "number 30"
    assert "number 3" not in [item.text for item in memory.from_fragment(halves[3], k=50, model="ears")]
    text = memory.records.encode(["number 7"])[0]
    assert memory.from_fragment(text, k=1)[0].text == "number 7"  # of the texts, too
    assert memory.from_fragment(text, model="eyes") == []
    for wrong in (np.full(128, np.nan), np.zeros((2, 128)), rows[0][:7]):
        with pytest.raises(InvalidInput, match="fragment: wanted"):
            memory.from_fragment(wrong, model="ears")
    with pytest.raises(InvalidInput, match="k: wanted"):
        memory.from_fragment(rows[0], 0, model="ears")
    memory.clear()
    assert memory.from_fragment(halves[30], model="ears") == []
    memory.store.close()


@pytest.mark.parametrize("wrong", [{"store": "x"}, {"max_mib": 0.0}, {"beta": 0.0}, {"active": 1}, {"units": 40_000}])
def test_settings_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FragmentConfig(**wrong)
