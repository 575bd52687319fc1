"""The contracts of the protocols as tests: run one against your own implementation."""

from __future__ import annotations

import numpy as np

from embodmem.types import Encoder


def check_encoder(encoder: Encoder) -> None:
    """Test an encoder against the contract of `embodmem.types.Encoder`.

    Raises:
        AssertionError: It breaks the contract; the message says how.
    """
    texts = [
        "a red mug on the table",
        "the mug",
        "",
        "a bicycle in the garage",
        "Tasse à café ☕",
        "the mug",
        "x " * 999,
    ]
    vectors = encoder.encode(texts)
    assert isinstance(encoder.name, str) and encoder.name, f"name: wanted a text, got {encoder.name!r}"
    assert isinstance(encoder, Encoder), "wanted name, dim, min_score and encode"
    wanted = (len(texts), encoder.dim)
    assert vectors.shape == wanted, f"encode: wanted shape {wanted}, got {vectors.shape}"
    assert vectors.dtype == np.float32, f"encode: wanted float32, got {vectors.dtype}"
    norms = np.linalg.norm(vectors, axis=1)
    assert np.allclose(norms, 1.0, atol=1e-5), f"encode: wanted rows of unit norm (the empty text too), got {norms}"
    empty = encoder.encode([])
    assert empty.shape == (0, encoder.dim), f"encode([]): wanted shape {(0, encoder.dim)}, got {empty.shape}"
    assert empty.dtype == np.float32, f"encode([]): wanted float32, got {empty.dtype}"
    assert np.array_equal(vectors, encoder.encode(texts)), "encode: wanted the same vectors for the same call"
    single = np.concatenate([encoder.encode([text]) for text in texts])
    apart = float(np.abs(single - vectors).max())
    assert apart <= 1e-6, f"encode: wanted batched equal to one by one within 1e-6, got {apart:.1e}"
    same = float(np.abs(vectors[1] - vectors[5]).max())
    assert same <= 1e-6, f"encode: wanted equal texts of one batch equal within 1e-6, got {same:.1e}"
    related, unrelated = float(vectors[1] @ vectors[0]), float(vectors[1] @ vectors[3])
    assert related > encoder.min_score > unrelated, (
        f"encode: wanted cos('the mug', {texts[0]!r}) > min_score > cos('the mug', {texts[3]!r}), "
        f"got {related:.3f}, {encoder.min_score}, {unrelated:.3f}"
    )
