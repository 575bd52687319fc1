"""Vectors in fewer bits: what comes back, and that the bits of each are known."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodmem.index.bits import BITS, SQL_BITS, WHOLE, pack, unpack


def unit(seed: int, n: int, dim: int, sparse: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    vectors[rng.random((n, dim)) < sparse] = 0.0
    vectors[:, 0] += 1e-3  # none is 0
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(0, 2**16), st.integers(1, 70), st.sampled_from(BITS), st.sampled_from([0.0, 0.8]))
def test_what_comes_back_is_of_unit_norm_and_points_nearly_the_same_way(
    seed: int, dim: int, bits: int, sparse: float
) -> None:
    vectors = unit(seed, 5, dim, sparse)
    has, back = unpack(pack(vectors, bits), dim)
    assert has.all() and back.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1.0, atol=1e-5)
    cosines = np.einsum("ij,ij->i", vectors, back)
    assert (cosines >= {32: 1 - 1e-6, 8: 0.999, 4: 0.95, 2: 0.5}[bits]).all()
    if bits == WHOLE:
        np.testing.assert_array_equal(back, vectors)


@pytest.mark.parametrize(("bits", "least"), [(8, 0.9999), (4, 0.985), (2, 0.87)])
def test_long_vectors_keep_their_direction(bits: int, least: float) -> None:
    vectors = unit(0, 300, 384)
    _, back = unpack(pack(vectors, bits), 384)
    assert np.einsum("ij,ij->i", vectors, back).min() > least
    assert all(len(blob) == 1 + 384 * bits // 8 for blob in pack(vectors, bits))


@given(st.integers(1, 70), st.lists(st.sampled_from([None, *BITS]), min_size=1, max_size=12))
def test_all_bits_may_stand_side_by_side(dim: int, kinds: list[int | None]) -> None:
    vectors = unit(dim, len(kinds), dim)
    blobs = [None if b is None else pack(vectors[i : i + 1], b)[0] for i, b in enumerate(kinds)]
    has, back = unpack(blobs, dim)
    assert has.tolist() == [b is not None for b in kinds]
    for i, bits in enumerate(kinds):
        expected = np.zeros(dim) if bits is None else unpack(pack(vectors[i : i + 1], bits), dim)[1][0]
        np.testing.assert_array_equal(back[i], expected)
    assert not unpack(blobs, dim + 60)[0].any()  # the vectors of another encoder are none
    db = sqlite3.connect(":memory:")
    for blob, bits in zip(blobs, kinds, strict=True):
        if blob is not None:
            assert db.execute(f"SELECT {SQL_BITS.format('v')} FROM (SELECT ? AS v)", (blob,)).fetchone() == (bits,)
