"""Codebooks: exact where they can be, deterministic, and their queries equal those of what they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import DamagedMemory, InvalidInput
from embodmem.spatial.codebook import Codebook, QuantisedEmbeddings
from embodmem.store import Store


def clustered(n: int, dim: int = 32, clusters: int = 12, spread: float = 0.2, seed: int = 0) -> np.ndarray:
    """Unit vectors around some directions, as embeddings of a scene's things lie."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dim))
    vectors = centres[rng.integers(0, clusters, n)] + spread * rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.integers(1, 2))
def test_as_many_entries_as_vectors_are_exact(seed, n, levels):
    vectors = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    book = Codebook(5, 8, levels, seed)
    error = book.fit(np.repeat(vectors, 3, axis=0))
    assert error.rms < 1e-6 and error.cosine > 1 - 1e-6
    np.testing.assert_allclose(book.decode(book.encode(vectors)), vectors, atol=1e-6)


def test_a_vector_gets_its_nearest_entry():
    vectors = clustered(500)
    book = Codebook(32, 16)
    book.fit(vectors)
    away = np.linalg.norm(vectors[:, None] - book.entries[0][None], axis=2)
    np.testing.assert_allclose(away[np.arange(500), book.encode(vectors)[:, 0]], away.min(axis=1), atol=1e-5)
    # Lloyd's fixed point: each entry is the mean of what it stands for.
    codes = book.encode(vectors)[:, 0]
    for code in np.unique(codes):
        np.testing.assert_allclose(book.entries[0][code], vectors[codes == code].mean(axis=0), atol=1e-5)


def test_more_entries_and_more_levels_lower_the_error():
    vectors, rms = clustered(2000, spread=0.5), []
    for size, levels in ((4, 1), (16, 1), (64, 1), (64, 2), (64, 4)):
        book = Codebook(32, size, levels)
        rms.append(book.fit(vectors).rms)
        assert book.error(vectors).rms == pytest.approx(rms[-1])
    assert all(later < before for before, later in zip(rms, rms[1:], strict=False))
    rng = np.random.default_rng(0)
    chance = vectors[rng.choice(2000, 64, replace=False)]
    drawn = np.linalg.norm(vectors[:, None] - chance[None], axis=2).min(axis=1)
    assert rms[2] < np.sqrt((drawn**2).mean())  # better than as many vectors drawn at random


def test_sums_by_product_equal_sums_by_group(monkeypatch):
    vectors, results = clustered(600), []
    for most in (0, 1 << 23):
        monkeypatch.setattr("embodmem.spatial.codebook._ONE_HOT", most)
        book = Codebook(32, 16, 2)
        book.fit(vectors)
        results.append(book.entries)
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


def test_the_seed_decides_all():
    vectors = clustered(300)
    one, same, other = Codebook(32, 8, 2, 5), Codebook(32, 8, 2, 5), Codebook(32, 8, 2, 6)
    for book in (one, same, other):
        book.fit(vectors)
        book.partial_fit(vectors[:50])
    assert np.array_equal(one.entries, same.entries) and not np.array_equal(one.entries, other.entries)


def test_online_learning_follows_the_running_mean():
    book = Codebook(2, 2)
    book.fit([[0.0, 1.0], [0.0, 1.0], [5.0, 0.0]])
    book.partial_fit([[0.0, 4.0], [6.0, 0.0], [7.0, 0.0]])
    entries = sorted(book.entries[0].tolist())
    np.testing.assert_allclose(entries, [[0.0, 2.0], [6.0, 0.0]], atol=1e-6)
    assert sorted(book.counts[0].tolist()) == [3, 3]


@pytest.mark.parametrize(("size", "levels"), [(16, 1), (16, 3), (300, 2)])
def test_a_query_meets_the_codebook_only(size, levels):
    vectors = clustered(800)
    book = Codebook(32, size, levels)
    book.fit(vectors)
    held = QuantisedEmbeddings(book)
    keys = np.random.default_rng(1).choice(10**12, 800, replace=False)
    held.write(keys, vectors)
    assert held.codes.dtype == (np.uint8 if size <= 256 else np.uint16)
    query = np.random.default_rng(2).normal(size=32)
    whole = book.decode(held.codes).astype(float)
    wanted = whole @ query / np.linalg.norm(whole, axis=1) / np.linalg.norm(query)
    np.testing.assert_allclose(book.cosines(query, held.codes), wanted, atol=1e-6)
    found, cosines = held.nearest(query, 7)
    np.testing.assert_allclose(cosines, np.sort(wanted)[::-1][:7], atol=1e-6)
    assert set(found.tolist()) <= set(keys.tolist())


def test_what_is_like_the_query_is_found():
    """Open vocabulary: the cluster that a text embedding belongs to is what comes back."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(12, 32))
    kind = rng.integers(0, 12, 1000)
    vectors = centres[kind] + 0.3 * rng.normal(size=(1000, 32))
    book = Codebook(32, 64)
    book.fit(vectors)
    held = QuantisedEmbeddings(book)
    held.write(np.arange(1000), vectors)
    right = [np.mean(kind[held.nearest(centres[i], 20)[0]] == i) for i in range(12)]
    assert np.mean(right) > 0.98


def test_writing_again_replaces_and_the_report_adds_up():
    vectors = clustered(4000, dim=64)
    book = Codebook(64, 64)
    error = book.fit(vectors)
    held = QuantisedEmbeddings(book)
    held.write(np.arange(4000), vectors)
    report = held.report()
    assert (report.items, report.raw_bytes, report.bytes) == (4000, 4000 * 128, 4000 + 64 * 128)
    assert report.saved_bytes == report.raw_bytes - report.bytes > 0.9 * report.raw_bytes
    assert report.error == pytest.approx(error, abs=1e-6)
    held.write([5, 7], vectors[[7, 5]])
    assert np.array_equal(held.codes[[5, 7]], book.encode(vectors[[7, 5]])) and held.report().items == 4000
    assert held.remove([5, 7, 10**9]) == 2 and held.report().items == 3998
    few = QuantisedEmbeddings(book)
    few.write([1], vectors[:1])
    assert few.report().saved_bytes < 0 and QuantisedEmbeddings(book).report().items == 0


def test_saved_and_loaded_exactly(path: Path):
    vectors = clustered(200)
    book = Codebook(32, 16, 2, seed=4)
    book.fit(vectors)
    held = QuantisedEmbeddings(book)
    held.write(np.arange(200) * 7, vectors)
    store = Store(path)
    held.save(store, "clip")
    store.close()
    store = Store(path)
    again = QuantisedEmbeddings.load(store, "clip")
    for name, array in held.state_dict().items():
        assert np.array_equal(array, again.state_dict()[name]) and array.dtype == again.state_dict()[name].dtype
    with pytest.raises(InvalidInput, match=r"wanted one of \['clip'\], got 'dino'"):
        QuantisedEmbeddings.load(store, "dino")
    with store.transaction() as db:
        db.execute("UPDATE codebook SET content = ?", (b"PK nothing",))
    with pytest.raises(DamagedMemory, match="clip"):
        QuantisedEmbeddings.load(store, "clip")
    store.close()


def test_what_is_refused():
    book = Codebook(3, 4)
    refused = [
        lambda: book.encode([[1, 2, 3]]),  # nothing learnt yet
        lambda: book.partial_fit([[1, 2, 3]]),
        lambda: book.fit(np.empty((0, 3))),
        lambda: book.fit([[1, 2]]),
        lambda: book.fit([[1, 2, np.inf]]),
        lambda: Codebook(0),
        lambda: Codebook(3, 1),
        lambda: Codebook(3, 1 << 17),
        lambda: Codebook(3, levels=0),
    ]
    for call in refused:
        with pytest.raises(InvalidInput):
            call()
    book.fit(np.eye(3))
    held = QuantisedEmbeddings(book)
    for keys in ([1], [1, 1], [[1, 2]]):
        with pytest.raises(InvalidInput, match="distinct keys"):
            held.write(keys, np.eye(3)[:2])
    with pytest.raises(InvalidInput, match="k: wanted"):
        held.nearest([1, 0, 0], 0)
    assert len(held.keys) == 0
