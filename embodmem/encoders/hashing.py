"""Words to vectors without a model: hashed words and pieces of words."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.encoders.base import check_texts
from embodmem.errors import ConfigError

_WORD = re.compile(r"[^\W_]+")
_CACHED_WORDS = 16_384
_STOP_WEIGHT = 0.1
_PIECE_SHARE = 0.6
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about after again all also am an and any are as at be been before being but by can could did do does
        doing for from get give got had has have having he her here hers him his how i if in into is it its
        just let me more most my no not now of off on once only or other our out over own please s same she
        should so some such t than that the their them then there these they this those through to too under
        until up us very was we were what when where which while who whom why will with would you your
        """,
    )
)


class HashingEncoder:
    """The offline default: needs no download, knows no synonyms, and is the same on every machine.

    A text is a bag of words (Weinberger et al., ICML 2009, section 2: each feature adds a sign to the place that its
    hash gives). A word is itself, without its plural ending, and its pieces of 3 to 5 characters (Bojanowski et al.,
    TACL 2017, section 3.2), so that "shelves" is near "shelf". A word that occurs n times counts 1 + ln n times; a word
    like "the" counts a tenth.

    Args:
        dim: Length of a vector.

    Attributes:
        name: "hashing-<dim>".
        dim: Length of a vector.
        min_score: Cosine below which two texts have nothing to do with each other: 99 % of the pairs of a question and
            a dialogue turn of LoCoMo (Maharana et al., ACL 2024) that share no content word lie below 0.14 at dim 512.

    Raises:
        ConfigError: `dim` is below 16.
    """

    def __init__(self, dim: int = 512) -> None:
        if dim < 16:
            raise ConfigError(f"HashingEncoder: wanted dim >= 16, got {dim}")
        self.name = f"hashing-{dim}"
        self.dim = dim
        self.min_score = 0.14
        self._rows: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N,) texts to (N, dim) float32 rows of unit norm; a text without a word has a direction of its own."""
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        for i, text in enumerate(check_texts(texts)):
            counts = Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold())) or {"": 1}
            weights = np.array([1.0 + math.log(count) for count in counts.values()], dtype=np.float32)
            result[i] = weights @ np.array([self._row(word) for word in counts])
        return np.asarray(result / np.linalg.norm(result, axis=1, keepdims=True))

    def drop_held(self) -> None:
        """Let go of the words that are held."""
        self._rows = {}

    def _row(self, word: str) -> NDArray[np.float32]:
        """(dim,) vector of one word; its norm is the word's weight."""
        row = self._rows.get(word)
        if row is None:
            if len(self._rows) >= _CACHED_WORDS:
                self._rows.clear()
            row = self._rows[word] = self._make_row(word)
        return row

    def _make_row(self, word: str) -> NDArray[np.float32]:
        stem = _stem(word)
        marked = f"<{stem}>"
        pieces = [marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)]
        whole, parts = self._hashed([f"word {stem}"]), self._hashed([f"piece {piece}" for piece in pieces])
        # Pieces with the same place and opposite signs can cancel; the word itself stays.
        parts /= max(float(_norm(parts)), 1.0)
        row = math.sqrt(1.0 - _PIECE_SHARE) * whole + math.sqrt(_PIECE_SHARE) * parts
        weight = _STOP_WEIGHT if word in _STOP_WORDS else 1.0
        return np.asarray(weight * row / _norm(row), dtype=np.float32)

    def _hashed(self, features: list[str]) -> NDArray[np.float32]:
        """(dim,) sum of sign(feature) at hash(feature); Weinberger et al., ICML 2009, eq. 1."""
        digests = b"".join(hashlib.blake2b(feature.encode(), digest_size=8).digest() for feature in features)
        hashes = np.frombuffer(digests, dtype="<u8")
        signs = 1.0 - 2.0 * (hashes & np.uint64(1)).astype(np.float32)
        places = ((hashes >> np.uint64(1)) % np.uint64(self.dim)).astype(np.intp)
        return np.bincount(places, signs, self.dim).astype(np.float32)


def _norm(vector: NDArray[np.float32]) -> np.float32:
    length: np.float32 = np.sqrt(vector.dot(vector))
    return length


def _stem(word: str) -> str:
    """The word without an English plural ending (the rules of Harman, JASIS 1991, and -es after a hiss)."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("ches", "shes", "xes", "zes", "sses")) else word[:-1]
