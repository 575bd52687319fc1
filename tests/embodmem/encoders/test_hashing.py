"""The hashing encoder: its contract, its notion of nearness, and that it never changes from run to run."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodmem.encoders import HashingEncoder
from embodmem.encoders import hashing as module
from embodmem.errors import ConfigError, InvalidInput
from embodmem.testing import check_encoder

PINNED = {
    67: 0.6325,
    110: -0.3162,
    179: -0.3162,
    212: 0.3162,
    358: -0.3162,
    369: 0.3162,
    510: 0.3162,
}


@pytest.mark.parametrize("dim", [256, 512, 1024])
def test_contract(dim: int) -> None:
    encoder = HashingEncoder(dim)
    assert (encoder.name, encoder.dim) == (f"hashing-{dim}", dim)
    check_encoder(encoder)


def test_contract_holds_while_the_cache_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHED_WORDS", 3)
    encoder = HashingEncoder()
    check_encoder(encoder)
    words = [f"word{i}" for i in range(50)]
    monkeypatch.undo()
    np.testing.assert_array_equal(encoder.encode(words), HashingEncoder().encode(words))


@pytest.mark.parametrize(
    ("text", "nearer", "than"),
    [
        ("mugs", "the mug", "the magazine"),
        ("berries in a box", "two boxes with a berry", "two bottles with a lid"),
        ("shelf", "two shelves", "two tables"),
        ("where did I leave my keys?", "The KEYS are in the drawer", "where did I leave my phone"),
        ("candle_holder", "the candle holder", "the towel rail"),
        ("armchair", "chair", "charger"),
        ("red mug", "red red red red mug", "red red red red"),
        ("Ｋey", "key", "lock"),
    ],
)
def test_nearness(text: str, nearer: str, than: str) -> None:
    a, b, c = HashingEncoder().encode([text, nearer, than])
    assert a @ b > a @ c


def test_small_words_hardly_count() -> None:
    a, b = HashingEncoder().encode(["is there a mug on the table?", "mug table"])
    assert a @ b > 0.97


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_has_a_unit_vector(texts: list[str]) -> None:
    vectors = HashingEncoder(64).encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.ones(len(texts)), atol=1e-5)


def test_half_a_surrogate_pair_is_a_text() -> None:
    assert HashingEncoder().encode(["\ud800 mug"]).shape == (1, 512)


def test_other_processes_get_the_same_vectors() -> None:
    code = (
        "import sys; from embodmem.encoders import HashingEncoder as H;"
        "v = H().encode(['a red mug', 'Tasse']); assert 'torch' not in sys.modules and 'PIL' not in sys.modules;"
        "sys.stdout.buffer.write(v.tobytes())"
    )
    here = HashingEncoder().encode(["a red mug", "Tasse"]).tobytes()
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout == here


def test_vectors_in_old_files_stay_valid() -> None:
    """Stored vectors meet new ones by the encoder's name: who changes the hash or the pieces must change the name."""
    vector = HashingEncoder().encode(["mug"])[0]
    places = np.flatnonzero(vector)
    assert dict(zip(places.tolist(), vector[places].tolist(), strict=True)) == pytest.approx(PINNED, abs=1e-4)


def test_bad_input() -> None:
    with pytest.raises(InvalidInput, match="wanted a list of strings, got 'mug'"):
        HashingEncoder().encode("mug")
    with pytest.raises(InvalidInput, match="wanted a list of strings"):
        HashingEncoder().encode(["mug", None])
    with pytest.raises(ConfigError, match="dim >= 16, got 4"):
        HashingEncoder(4)


def test_it_keeps_up_with_a_log() -> None:
    """About 80,000 short texts a second on one core; a tenth of it must hold on a busy machine."""
    encoder = HashingEncoder()
    texts = [f"picked up the {c} mug from table {n}" for n in range(500) for c in ("red", "blue", "green", "old")]
    encoder.encode(texts)
    start = time.perf_counter()
    encoder.encode(texts)
    assert len(texts) / (time.perf_counter() - start) > 8_000
