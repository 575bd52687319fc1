"""Greedy cover against every possible choice; the index and the sets of leaves against plain ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import DamagedMemory
from embodmem.spatial.cover import SeenIndex, greedy_cover
from embodmem.spatial.leaves import (
    decode_leaves,
    element_depth,
    element_edge_m,
    encode_leaves,
    leaf_keys,
    leaves_within,
)

sets = st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=7)


def pairs_of(views: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    flat = np.array([(element, view) for view, seen in enumerate(views) for element in seen], dtype=np.intp)
    flat = flat.reshape(-1, 2)
    return flat[:, 0], flat[:, 1]


@given(sets, st.lists(st.floats(0.01, 1.0), min_size=12, max_size=12), st.integers(1, 5))
def test_greedy_choice_is_within_its_bound_of_the_best(views, weights, k):
    weight = np.array(weights)
    cover = greedy_cover(*pairs_of(views), weight, k)

    def covered(chosen) -> float:
        return float(sum(weight[e] for e in set().union(*(views[v] for v in chosen))))

    best = max(covered(chosen) for chosen in combinations(range(len(views)), min(k, len(views))))
    got = covered(cover.views)
    assert len(cover.views) <= k and len(set(cover.views.tolist())) == len(cover.views)
    assert got >= (1 - 1 / np.e) * best - 1e-9
    assert cover.adds.sum() == pytest.approx(got)
    assert (cover.adds > 0).all() and (np.diff(cover.adds) <= 1e-9).all()
    assert cover.covers.tolist() == pytest.approx([covered([v]) for v in cover.views])
    if len(cover.views) < k:  # it stopped because nothing was left to add
        assert got == pytest.approx(covered(range(len(views))))


def test_of_equal_views_the_later_one_is_taken():
    views = [{0, 1}, {2}, {0, 1}]
    assert greedy_cover(*pairs_of(views), np.ones(3), 5).views.tolist() == [2, 1]


def test_nothing_to_cover():
    empty = np.empty(0, np.intp)
    cover = greedy_cover(empty, empty, np.empty(0), 3)
    assert [len(part) for part in cover] == [0, 0, 0]


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.sets(st.integers(0, 30)), max_size=4), max_size=8), st.lists(st.integers(0, 33), max_size=20)
)
def test_the_index_finds_who_saw_a_key(batches, wanted):
    index, seen = SeenIndex(), []
    for batch in batches:
        numbers = list(range(len(seen), len(seen) + len(batch)))
        index.add([np.array(sorted(keys), dtype=np.int64) for keys in batch], numbers)
        seen.extend(batch)
    places, views = index.pairs(np.array(wanted, dtype=np.int64))
    got = sorted(zip(places.tolist(), views.tolist(), strict=True))
    assert got == sorted((i, v) for i, key in enumerate(wanted) for v, keys in enumerate(seen) if key in keys)


@given(st.sets(st.integers(0, (1 << 63) - 1)))
def test_sets_of_leaves_come_back(keys):
    array = np.array(sorted(keys), dtype=np.int64)
    assert np.array_equal(decode_leaves(encode_leaves(array)), array)


def test_damaged_leaves_are_told():
    for blob in (b"", b"nothing", encode_leaves(np.arange(3))[:-2]):
        with pytest.raises(DamagedMemory):
            decode_leaves(blob)


@given(
    st.lists(st.tuples(*[st.floats(-300.0, 300.0)] * 3), min_size=1, max_size=20),
    st.tuples(*[st.floats(-300.0, 300.0)] * 3),
    st.tuples(*[st.floats(0.0, 200.0)] * 3),
)
def test_leaves_within_a_box(points, lower, size):
    edge, p, low = 0.1, np.array(points), np.array(lower)
    high = low + np.array(size)
    got = leaves_within(leaf_keys(p, edge), low, high, edge)
    first = np.floor(p / edge)
    apart = ((first + 1) * edge <= low - 1e-6) | (first * edge >= high + 1e-6)
    touched = ((first + 1) * edge > low + 1e-6) & (first * edge < high - 1e-6)
    assert not got[apart.any(axis=1)].any() and got[touched.all(axis=1)].all()


def test_open_boxes_take_all():
    keys = leaf_keys(np.random.default_rng(0).uniform(-1e4, 1e4, (100, 3)), 0.1)
    assert leaves_within(keys, np.full(3, -np.inf), np.full(3, np.inf), 0.1).all()


@pytest.mark.parametrize(("voxel_m", "edge_m"), [(0.01, 0.08), (0.02, 0.08), (0.05, 0.1), (0.1, 0.2), (0.4, 0.8)])
def test_an_element_is_about_a_hand_wide(voxel_m, edge_m):
    assert element_edge_m(voxel_m) == pytest.approx(edge_m)
    assert voxel_m * 2 ** (24 - element_depth(voxel_m)) == pytest.approx(edge_m)
